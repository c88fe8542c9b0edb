"""The widgets in a real browser, on a page without a kernel."""

import copy
import functools
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from normlib.axes import divisors, normalize
from normlib.footprint import footprint
from normlib.layers import (
    BatchInstanceNorm,
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    SwitchableNorm,
)
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


@pytest.fixture(scope="module")
def explorer():
    """What it is on a page does not come back to it."""
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
    page.press("q")
    assert page.text('[aria-pressed="true"] >> nth=1') == "What if I change it?"
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


def test_screen_readers_hear_what_came_out_once(show, explorer):
    page = show(explorer)
    assert "Arrow keys" in page.page.locator(".nl-sheet").get_attribute("aria-label")
    assert page.page.locator(".nl-switch button:not([aria-pressed])").count() == 0
    assert page.page.locator('[aria-live="polite"]').count() == 1
    page.page.wait_for_timeout(400)  # what stood there at first has been said
    page.page.evaluate(
        """() => {
          window.heard = [];
          const live = document.querySelector(".nl-heard");
          new MutationObserver(() => window.heard.push(live.textContent))
            .observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )
    page.page.locator(".nl-sheet").focus()
    page.press(*["+"] * 12)
    page.page.wait_for_timeout(600)
    heard = page.page.evaluate("window.heard")
    assert len(heard) == 1
    assert heard[0].endswith(page.text(".nl-moved"))


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


# Changing a number. Every output that is read off the page is compared with the method itself.

EVAL = BatchNorm(6)
EVAL(X)
CHANGED = {
    "BN": BatchNorm(6),
    "LN": LayerNorm((6, 4, 4)),
    "IN": InstanceNorm(6),
    "GN": GroupNorm(2, 6),
    "eval": EVAL.eval(),
    "RMS": RMSNorm((6, 4, 4), eps=1e-5),
    "mine": lambda x: 0.5 + normalize(x, "CW") * torch.arange(1.0, 7.0).view(6, 1, 1),
}
CELL = (1, 2, 1, 3)
HERE = np.ravel_multi_index(CELL, X.shape)
UNIT = X.std(correction=0)


LOOKED_AT = [CELL, (3, 2, 0, 0), (1, 5, 3, 1)]


@functools.cache
def footprints(fn):
    return [footprint(fn, X, at=index) for index in LOOKED_AT]


def flat(index):
    return int(np.ravel_multi_index(index, X.shape))


def agrees_with(page, fn, x):
    """The page shows what fn makes of the changed x: outputs, statistics, and how many moved."""
    exact = copy.deepcopy(fn).double() if isinstance(fn, nn.Module) else fn
    before, after = (exact(t.double()).detach() for t in (X, x))
    distance, unit = (after - before).abs(), before.std(correction=0)
    moved = page.text(".nl-moved")
    count = int((distance > 1e-3 * unit).sum())
    if count:
        assert moved.startswith(f"{count} of 384 outputs moved; the largest by "), moved
        largest = float(re.search(r"largest by ([\d.]+)", moved)[1])
        assert largest == pytest.approx(distance.max().item(), rel=0.06)
    else:
        assert moved.startswith("No output moved"), moved
    for index, seen in zip(LOOKED_AT, footprints(fn), strict=True):
        page.page.evaluate(f"window.models[0].set('cell', {flat(index)})")
        assert abs(page.number("x") - x[index]) < 1e-5
        assert abs(page.number("output") - after[index]) < 1e-5 * unit + 1e-6
        was = page.text('[data-was="output"]').replace("−", "-")
        assert abs(float(was) - before[index]) < 1e-5 * unit + 1e-6
        if seen.sum() > 1:
            assert page.number("count") == seen.sum()
            assert abs(page.number("mean") - x[seen].mean()) < 1e-5
            assert abs(page.number("std") - x[seen].std(correction=0)) < 1e-5
    page.page.evaluate(f"window.models[0].set('cell', {HERE})")


@pytest.mark.parametrize("name", CHANGED)
def test_changes_by_key_pointer_and_typing_give_what_the_method_gives(show, name):
    fn, x = CHANGED[name], X.clone()
    page = show(AxesExplorer({name: fn}, X, cell=HERE))
    sheet = page.page.locator(".nl-sheet")
    sheet.focus()
    page.press("+")
    x[CELL] += UNIT / 4
    agrees_with(page, fn, x)
    page.press("o")
    x[CELL] = X.mean() + 6 * UNIT
    agrees_with(page, fn, x)
    page.press("0")
    assert page.text(".nl-moved").startswith("Nothing is changed yet")
    value = page.page.get_by_label("value", exact=True)
    value.fill("-3.25")
    x = X.clone()
    x[CELL] = -3.25
    agrees_with(page, fn, x)

    other = (3, 2, 0, 0)  # a second cell, by dragging it 48 pixels up: two deviations
    box = page.page.locator(".nl-cell").nth(flat(other)).bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(*at)
    page.page.mouse.down()
    page.page.mouse.move(at[0], at[1] - 20)
    page.page.mouse.move(at[0], at[1] - 48)
    page.page.mouse.up()
    x[other] += 2 * UNIT
    agrees_with(page, fn, x)


@pytest.mark.parametrize("name", CHANGED)
def test_a_channel_an_example_and_a_tile_change_as_a_whole(show, name):
    fn = CHANGED[name]
    page = show(AxesExplorer({name: fn}, X, cell=HERE))
    page.page.locator(".nl-sheet").focus()
    page.press("c", "c")  # this value, its tile, its channel
    page.press("+", "+", "=")
    x = X.clone()
    x[:, 2] += 0.75 * UNIT
    agrees_with(page, fn, x)
    page.press("0", "c")
    page.page.get_by_label("times").fill("3")
    x = X.clone()
    x[1] *= 3
    agrees_with(page, fn, x)
    page.page.get_by_role("button", name="put back").click()
    page.page.locator(".nl-table td").nth(6 + 4).click()  # the tile of example 1, channel 4
    page.page.get_by_label("add").fill("-2")
    x = X.clone()
    x[1, 4] -= 2
    agrees_with(page, fn, x)
    page.page.get_by_role("button", name="put back").click()
    box = page.page.locator(".nl-sheet").bounding_box()
    cell = page.page.locator(".nl-cell").nth(flat((0, 3, 0, 0))).bounding_box()
    at = cell["x"] + 20, box["y"] + 20  # the header of channel 3
    page.page.mouse.move(*at)
    page.page.mouse.down()
    page.page.mouse.move(at[0] + 10, at[1])
    page.page.mouse.move(at[0] + 24, at[1])
    page.page.mouse.up()
    x = X.clone()
    x[:, 3] += UNIT
    agrees_with(page, fn, x)


@pytest.mark.parametrize(
    ("name", "part", "field", "says"),
    [
        ("BN", "its channel", "add", "No output moved: BN takes out a shift of one channel."),
        ("LN", "its example", "add", "No output moved: LN takes out a shift of one example."),
        ("IN", "its tile", "times", "No output moved: IN takes out the scale of one tile."),
        ("RMS", "its example", "times", "No output moved: RMS takes out the scale of one example."),
    ],
)
def test_what_does_not_move_is_what_the_method_takes_out(show, name, part, field, says):
    page = show(AxesExplorer({name: CHANGED[name]}, X, cell=HERE, question="change"))
    page.page.get_by_role("button", name=part).click()
    page.page.get_by_label(field).fill("3")
    assert page.text(".nl-moved").startswith(says)
    if field == "times":
        assert page.text(".nl-moved").endswith("is ε's doing.")


def test_what_only_eps_moves_is_called_that(show):
    small = X * 0.01  # a deviation of 0.02: eps is not small beside its square
    page = show(AxesExplorer({"LN": LayerNorm((6, 4, 4))}, small, cell=HERE, question="change"))
    page.page.get_by_role("button", name="its example").click()
    page.page.get_by_label("times").fill("3")
    assert re.match(r"\d+ of 384 outputs moved", page.text(".nl-moved"))
    assert page.text(".nl-moved").endswith("With ε = 0 none would move: what you see is ε.")


def test_changed_cells_are_marked_and_go_back(show, explorer):
    page = show(explorer)
    page.page.locator(".nl-sheet").focus()
    page.press("o", "ArrowRight", "+")
    marks = page.page.locator(".nl-dots")
    assert marks.get_attribute("d").count("M") == 2
    assert page.page.evaluate("Object.keys(window.models[0].get('changes'))") == ["0", "1"]
    page.press("-")  # a nudge up and a nudge down: as it was
    assert page.page.evaluate("Object.keys(window.models[0].get('changes'))") == ["0"]
    page.press("q")  # the mark stays where the question is another
    assert marks.get_attribute("d").count("M") == 1
    page.press("0")
    assert marks.get_attribute("d") == ""


def test_a_function_that_only_python_knows_says_so_without_python(show):
    page = show(AxesExplorer({"SN": SwitchableNorm(6), "BN": BatchNorm(6)}, X, cell=HERE))
    page.page.locator(".nl-sheet").focus()
    page.press("o")
    page.page.wait_for_timeout(600)
    assert "no answer has come from Python" in page.text(".nl-moved")
    assert "144 outputs can move" in page.text(".nl-moved")
    assert page.text('[data-key="output"]') == "–"
    changed = X.clone()
    changed[CELL] = X.mean() + 6 * UNIT
    seen = footprint(SwitchableNorm(6), X, at=CELL)
    assert abs(page.number("mean") - changed[seen].mean()) < 1e-5  # what it can say
    page.press("]")
    agrees_with(page, BatchNorm(6), changed)


def test_a_script_that_computes_something_else_is_not_believed(show):
    """The tests that travel along: where the page's own arithmetic fails them, Python is asked."""
    explorer = AxesExplorer({"BN": BatchNorm(6)}, X, cell=HERE)
    explorer._esm = str(explorer._esm).replace("(x - s.mean) / Math.sqrt(s.var + eps)", "x * 1.001")
    page = show(explorer)
    page.page.locator(".nl-sheet").focus()
    page.press("o")
    page.page.wait_for_timeout(600)
    assert "no answer has come from Python" in page.text(".nl-moved")


def test_the_scale_of_colours_stands_while_a_value_changes(show, explorer):
    page = show(explorer)
    page.page.locator(".nl-sheet").focus()
    levels = (
        "[...document.querySelectorAll('.nl-cell')].map((c) => c.style.getPropertyValue('--v'))"
    )
    page.press("+")
    first = page.page.evaluate(levels)
    page.press(*["+"] * 8)
    second = page.page.evaluate(levels)
    assert float(second[0]) > float(first[0])
    assert second[16:96] == first[16:96] == ["0"] * 80  # other channels
    page.press("q", "v", "v")
    x = page.page.evaluate(levels)
    page.press("0")
    assert page.page.evaluate(levels)[1:] == x[1:]


def test_a_finger_changes_a_number_on_a_narrow_page(browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = Page(context.new_page(), AxesExplorer({"BN": BatchNorm(6)}, X))
    box = page.page.locator(".nl-cell").nth(HERE).bounding_box()
    at = {"x": box["x"] + 3, "y": box["y"] + 3}
    finger = context.new_cdp_session(page.page)
    for kind, by in (("touchStart", 0), ("touchMove", 10), ("touchMove", 24), ("touchEnd", None)):
        points = [] if by is None else [{"x": at["x"] + by, "y": at["y"]}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    changed = X.clone()
    changed[CELL] += UNIT
    agrees_with(page, BatchNorm(6), changed)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.errors == []
    context.close()


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


def test_a_broken_widget_is_caught(browser):
    """The harness itself: a script that throws must be heard."""
    explorer = AxesExplorer(torch.tanh, X)
    explorer._esm = "export default { render() { throw new Error('broken on purpose'); } }"
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(page_of(explorer))
    page.wait_for_timeout(300)
    assert any("broken on purpose" in e for e in errors)
    page.close()
