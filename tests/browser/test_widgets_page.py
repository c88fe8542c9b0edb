"""The widgets in a real browser, on a page without a kernel."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from normlib.axes import divisors, normalize
from normlib.layers import BatchInstanceNorm, BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from normlib.widgets import AxesExplorer, Flipbook, Predict
from tests.browser.host import page_of

pytestmark = pytest.mark.browser
X = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(3)) * 2 + 1
METHODS = {
    "BN": BatchNorm(6),
    "LN": LayerNorm((6, 4, 4)),
    "IN": InstanceNorm(6),
    "GN": {groups: GroupNorm(groups, 6) for groups in divisors(6)},
    "torch GN(2, 6)": nn.GroupNorm(2, 6),
    "mine": lambda x: normalize(x, "CW"),
}
# What torch says about the same cell, method by method: the set that shares a statistic.
SETS = {
    "BN": lambda n, c, h, w: X[:, c],
    "LN": lambda n, c, h, w: X[n],
    "IN": lambda n, c, h, w: X[n, c],
    "GN": lambda n, c, h, w: X[n],
    "torch GN(2, 6)": lambda n, c, h, w: X[n, c // 3 * 3 : c // 3 * 3 + 3],
    "mine": lambda n, c, h, w: X[n, :, h],
}


class Page:
    def __init__(self, page, *widgets, **options):
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.set_content(page_of(*widgets, **options))
        page.wait_for_selector("body[data-ready]")

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def number(self, key):
        return float(self.text(f'[data-key="{key}"]').replace("−", "-"))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def show(browser):
    """Open widgets on a page of their own; fails the test on any console error."""
    opened = []

    def opener(*widgets, **options):
        opened.append(
            Page(browser.new_page(viewport={"width": 1040, "height": 800}), *widgets, **options)
        )
        return opened[-1]

    yield opener
    for page in opened:
        assert page.errors == []
        page.page.close()


@pytest.fixture
def explorer():
    return AxesExplorer(METHODS, X)


@pytest.mark.parametrize("name", METHODS)
def test_numbers_equal_torch(show, explorer, name):
    page = show(explorer)
    page.page.get_by_role("button", name=name, exact=True).click()
    page.page.locator(".nl-sheet").focus()
    for index in [(0, 0, 0, 0), (1, 2, 1, 3), (3, 5, 3, 3)]:
        page.page.evaluate(f"window.models[0].set('cell', {np.ravel_multi_index(index, X.shape)})")
        values = SETS[name](*index)
        mean, var = values.mean(), values.var(unbiased=False)
        fn = METHODS[name][1] if name == "GN" else METHODS[name]
        assert page.number("count") == values.numel()
        assert abs(page.number("mean") - mean) < 1e-5
        assert abs(page.number("std") - var.sqrt()) < 1e-5
        assert abs(page.number("x") - X[index]) < 1e-5
        assert abs(page.number("normalized") - (X[index] - mean) / (var + 1e-5).sqrt()) < 1e-5
        assert abs(page.number("output") - fn(X)[index]) < 1e-5
        assert "The code gives the same" in page.text(".nl-note")


def test_a_mixture_shows_its_set_and_no_arithmetic(show):
    mixture = BatchInstanceNorm(6)
    nn.init.constant_(mixture.rho, 0.5)
    page = show(AxesExplorer({"mixture": mixture, "BN": BatchNorm(6)}, X))
    assert page.number("count") == X[:, 0].numel()
    assert page.text(".nl-arithmetic").startswith("No formula known here")
    page.page.get_by_role("button", name="BN", exact=True).click()
    assert page.text(".nl-arithmetic").startswith("(x − mean)")


def test_arrow_keys_walk_across_tiles_and_stop_at_the_rim(show, explorer):
    page = show(explorer)
    page.page.locator(".nl-sheet").focus()
    page.press("ArrowLeft", "ArrowUp")
    assert "example 0, channel 0, row 0, column 0" in page.text(".nl-where")
    page.press(*["ArrowRight"] * 5, *["ArrowDown"] * 6)
    assert "example 1, channel 1, row 2, column 1" in page.text(".nl-where")
    page.press("End")
    assert "example 3, channel 5, row 3, column 3" in page.text(".nl-where")
    page.press("Home")
    assert "example 0, channel 0" in page.text(".nl-where")


def test_keys_change_method_question_values_and_groups(show, explorer):
    page = show(explorer)
    page.page.locator(".nl-sheet").focus()
    assert page.text(".nl-sentence strong").startswith("This output uses 64 values: channel 0")
    page.press("]")
    assert "96 values: every channel, example 0" in page.text(".nl-sentence strong")
    page.press("[", "q")
    assert page.text(".nl-sentence strong").startswith("This input moves 64 outputs")
    before = page.text(".nl-table td")
    page.press("q", "v")
    assert page.text(".nl-table td") != before
    page.press("]", "]", "]")
    slider = page.page.locator("input[type=range]")
    assert slider.is_visible()
    page.press(".", ".")
    assert "32 values: channels 0 to 1, example 0" in page.text(".nl-sentence strong")
    page.press(".", ".", ".")
    assert "16 values: channel 0, example 0" in page.text(".nl-sentence strong")
    slider.focus()
    page.press("Home")
    assert "96 values: every channel, example 0" in page.text(".nl-sentence strong")
    assert slider.get_attribute("aria-valuetext") == "1"


def test_the_pointer_chooses_and_a_click_holds(show, explorer):
    page = show(explorer)
    cells = page.page.locator(".nl-cell")
    cells.nth(100).hover()
    assert "example 1, channel 0, row 1, column 0" in page.text(".nl-where")
    cells.nth(37).hover()
    assert "example 0, channel 2, row 1, column 1" in page.text(".nl-where")
    cells.nth(37).click()
    cells.nth(300).hover()
    assert "example 0, channel 2" in page.text(".nl-where")
    assert "Held" in page.text(".nl-help")
    cells.nth(37).click()
    cells.nth(300).hover()
    assert "example 3" in page.text(".nl-where")


def test_the_highlight_is_the_footprint(show, explorer):
    page = show(explorer)
    page.page.evaluate("window.models[0].set('method', 2)")
    page.page.evaluate("window.models[0].set('cell', 133)")  # example 1, channel 2
    lit = page.page.evaluate(
        "[...document.querySelectorAll('.nl-cell')].flatMap((c, i) =>"
        " c.classList.contains('nl-in') ? [i] : [])"
    )
    assert lit == list(range(128, 144))
    tiles = page.page.locator(".nl-table td.nl-in")
    assert tiles.count() == 1
    assert float(tiles.inner_text().replace("−", "-")) == pytest.approx(
        X[1, 2].mean().item(), abs=0.006
    )


def test_two_views_stay_in_step_and_two_widgets_do_not_touch(show, explorer):
    page = show(explorer, AxesExplorer(METHODS, X), views=2)
    sheets, places = page.page.locator(".nl-sheet"), page.page.locator(".nl-where")
    sheets.nth(0).focus()
    page.press("ArrowDown", "]")
    texts = places.all_inner_texts()
    assert texts[0] == texts[1] != texts[2] == texts[3]
    pressed = page.page.locator('.nl-methods button[aria-pressed="true"]').all_inner_texts()
    assert pressed == ["LN", "LN", "BN", "BN"]


def test_closing_a_view_leaves_no_listener(show, explorer):
    guess, book = Predict("Which?", ["a", "b"]), Flipbook(bar, alt="a bar", height=[1, 2])
    page = show(explorer, guess, book)
    page.page.evaluate("window.aborts.forEach((a) => a.abort())")
    left = page.page.evaluate("window.models.map((m) => Object.values(m.handlers).flat().length)")
    assert left == [0, 0, 0]
    before = page.text(".nl-where")
    page.page.locator(".nl-sheet").focus()
    page.press("ArrowDown")
    assert page.text(".nl-where") == before


def test_screen_readers_hear_what_changes(show, explorer):
    page = show(explorer)
    assert page.page.locator('.nl-sentence[aria-live="polite"]').count() == 1
    assert "Arrow keys" in page.page.locator(".nl-sheet").get_attribute("aria-label")
    assert page.page.locator("button:not([aria-pressed])").count() == 0


def contrast(page, selector, property="color"):
    """WCAG contrast of an element against the page's ground."""
    colors = page.page.evaluate(
        f"""() => {{
          const probe = document.createElement("canvas").getContext("2d");
          const rgb = (color) => {{
            probe.fillStyle = color; probe.fillRect(0, 0, 1, 1);
            return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
          }};
          const ground = getComputedStyle(document.body).backgroundColor;
          return [rgb(getComputedStyle(document.querySelector("{selector}")).{property}),
                  ground === "rgba(0, 0, 0, 0)" ? [255, 255, 255] : rgb(ground)];
        }}"""
    )

    def luminance(rgb):
        linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted(map(luminance, colors), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_readable_in_light_and_dark(show, explorer, dark):
    page = show(explorer, dark=dark)
    for selector in (".nl-sentence", ".nl-help", ".nl-where", ".nl-readout b"):
        assert contrast(page, selector) >= 4.5, selector
    assert contrast(page, ".nl-ring", "stroke") >= 3
    assert contrast(page, ".nl-chosen", "stroke") >= 3


def test_focus_is_visible(show, explorer):
    page = show(explorer)
    page.press("Tab")
    style = page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


def test_four_thousand_cells_are_drawn(show):
    x = torch.randn(8, 8, 8, 8)
    page = show(AxesExplorer(BatchNorm(8), x))
    assert page.page.locator(".nl-cell").count() == 4096
    assert "512 values" in page.text(".nl-sentence strong")


def bar(height, color="blue"):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.bar([0], [height], color=color)
    ax.set_ylim(0, 5)
    return fig


def shown(page):
    """Alt text of the one visible picture, and whether it has been decoded."""
    return page.page.evaluate(
        """() => {
          const seen = [...document.querySelectorAll(".nl-flipbook img")]
            .filter((i) => getComputedStyle(i).visibility === "visible");
          return [seen.length, seen[0].alt, seen[0].naturalWidth > 0];
        }"""
    )


def test_flipbook_flips_with_keys_and_buttons(show):
    def alt(height, color):
        return f"bar {height} {color}"

    page = show(Flipbook(bar, alt=alt, height=[1, 2.5, 4], color=["red", "blue"]))
    assert shown(page) == [1, "bar 1 red", True]
    page.page.locator("input[type=range]").focus()
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert shown(page)[1] == "bar 4 red"
    assert page.text("output") == "4"
    page.page.get_by_role("button", name="blue").click()
    assert shown(page)[1] == "bar 4 blue"
    page.press("ArrowLeft")
    assert shown(page)[1] == "bar 4 red"
    page.page.locator("input[type=range]").focus()
    page.press("Home")
    assert shown(page)[1] == "bar 1 red"
    assert page.text(".nl-caption") == "bar 1 red"


def test_flipbook_pictures_differ(show):
    page = show(Flipbook(bar, alt="bar", height=[1, 4]))
    pictures = []
    for key in ("Home", "End"):
        page.page.locator("input[type=range]").focus()
        page.press(key)
        pictures.append(page.page.locator(".nl-pages").screenshot())
    assert pictures[0] != pictures[1]


def test_predict_shows_nothing_before_locking(show):
    guess = Predict("Which is it?", ["cats", "dogs", "birds"])
    guess.reveal("dogs", because="Measured: nine to one.")
    page = show(guess)
    body = page.text(".nl-predict")
    assert "Measured" not in body
    assert "came out" not in body
    lock = page.page.get_by_role("button", name="Lock my answer")
    assert lock.is_disabled()
    page.page.get_by_label("cats").check()
    assert page.page.locator(".nl-measured").count() == 0
    lock.click()
    assert "You said cats. What came out: dogs. Measured: nine to one." in page.text(".nl-status")
    assert page.page.locator(".nl-measured").inner_text().startswith("dogs")
    assert page.page.get_by_label("birds").is_disabled()
    assert lock.is_hidden()


def test_predict_waits_for_the_answer_in_every_view(show):
    page = show(Predict("Which is it?", ["cats", "dogs"]), views=2)
    page.page.get_by_label("dogs").first.focus()
    page.press("Space", "Tab", "Enter")
    statuses = page.page.locator(".nl-status").all_inner_texts()
    assert statuses[0] == statuses[1]
    assert statuses[0].startswith("Locked: dogs")
    page.page.evaluate(
        "window.models[0].set('because', '9 to 1'); window.models[0].set('answer', 1)"
    )
    assert (
        page.page.locator(".nl-status").all_inner_texts()
        == ["You said dogs, and that is what came out. 9 to 1"] * 2
    )


def test_a_question_is_text_and_never_markup(show):
    page = show(Predict("<img src=x onerror=alert(1)>", ["<b>a</b>", "b"]))
    assert page.page.locator(".nl-predict img, .nl-predict b").count() == 0
    assert "<b>a</b>" in page.text(".nl-predict")


def test_a_broken_widget_is_caught(browser, explorer):
    """The harness itself: a script that throws must be heard."""
    explorer._esm = "export default { render() { throw new Error('broken on purpose'); } }"
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(page_of(explorer))
    page.wait_for_timeout(300)
    assert any("broken on purpose" in e for e in errors)
    page.close()
