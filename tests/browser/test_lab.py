"""The notebooks and the widgets in a real JupyterLab, as a student meets them."""

import re
import time

import pytest
import torch
from playwright.sync_api import expect

from tests.browser.conftest import opened
from tests.conftest import IN_JUPYTERLAB
from tools.lab import KERNEL
from tools.notebooks import NOTEBOOKS, found, keep, load, place_of

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", IN_JUPYTERLAB, ids=lambda path: path.stem)
def test_a_student_runs(open_notebook, path):
    """A notebook opens, runs, and all its widgets answer to pointer and keys; its run is kept."""
    place, lab, start = place_of(path), open_notebook(path), time.perf_counter()
    assert lab.run_all() == []
    seconds = time.perf_counter() - start
    lab.save()
    keep(place, load(lab.path), seconds)
    came_out = found(path)
    assert came_out.predictions
    answers_to_pointer_and_keys(lab, came_out.notebook)
    assert lab.errors == []


def test_what_is_run_here_has_every_widget_and_every_kind_of_cell():
    calls = re.compile(r"\b(AxesExplorer|Flipbook|Predict|reveal|weigh|check|show)\(")

    def kinds(path):
        cells = load(path).cells
        tags = {tag for cell in cells for tag in cell.metadata.get("tags", [])}
        return tags | {name for cell in cells for name in calls.findall(cell.source)}

    assert set().union(*map(kinds, IN_JUPYTERLAB)) == set().union(*map(kinds, NOTEBOOKS))


def answers_to_pointer_and_keys(lab, notebook):
    def first(text):
        return next(c.id for c in notebook.cells if c.cell_type == "code" and text in c.source)

    page = lab.page
    cell = lab.cell(first("AxesExplorer("))
    sheet, sentence = cell.locator(".nl-sheet"), cell.locator(".nl-where")
    sheet.wait_for()
    for number in (1, 2):
        cell.locator(".nl-cell").nth(number).hover()
        expect(sentence).to_have_text(re.compile(rf"\b{number}\b"))
    sheet.focus()
    page.keyboard.press("Home")
    expect(sentence).to_have_text(re.compile(r"\w+ 0, \w+ 0"))
    place = sentence.inner_text()
    page.keyboard.press("ArrowDown")
    expect(sentence).not_to_have_text(place)
    name = cell.locator('.nl-methods [aria-pressed="true"]').inner_text()
    page.keyboard.press("]")
    assert cell.locator('.nl-methods [aria-pressed="true"]').inner_text() != name
    words = cell.locator(".nl-sentence").inner_text()
    assert re.search(r"This output uses|This input moves", words)

    for c in notebook.cells:
        if c.cell_type == "code" and "Flipbook(" in c.source:
            every_knob_reaches_both_ends(page, lab.cell(c.id))

    cell = lab.cell(first("= Predict("))
    cell.locator("input").first.check()
    cell.get_by_role("button", name="Lock my answer").click()
    assert cell.locator(".nl-status").inner_text().startswith("You said")


def every_knob_reaches_both_ends(page, cell):
    picture = cell.locator("img.nl-shown")
    picture.wait_for()
    for control in cell.locator(".nl-choice").all():
        slider, buttons = control.locator("input"), control.locator("button")
        alts = []
        for key, button in (("End", buttons.last), ("Home", buttons.first)):
            if slider.count():
                slider.focus()
                page.keyboard.press(key)
            else:
                button.click()
            alts.append(picture.get_attribute("alt"))
        assert alts[0] != alts[1]


EXPLORER = """
import torch
from normlib.layers import BatchNorm, LayerNorm
from normlib.widgets import AxesExplorer
explorer = AxesExplorer([BatchNorm(6), LayerNorm((6, 4, 4))], torch.randn(4, 6, 4, 4))
explorer
"""


NUMBERS = """
import torch
from normlib.axes import normalize
from normlib.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, SwitchableNorm
from normlib.widgets import AxesExplorer
x = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(3)) * 2 + 1
evaluated = BatchNorm(6)
evaluated(x)
methods = {
    "BN": BatchNorm(6), "LN": LayerNorm((6, 4, 4)), "IN": InstanceNorm(6), "GN": GroupNorm(2, 6),
    "torch": torch.nn.GroupNorm(2, 6), "mine": lambda x: normalize(x, over="CW"),
    "eval": evaluated.eval(), "RMS": RMSNorm((6, 4, 4), eps=1e-5), "SN": SwitchableNorm(6),
    "tanh": lambda x: torch.tanh(x - x.mean()),
}
explorer = AxesExplorer(methods, x, cell=133)  # example 1, channel 2, row 1, column 1
explorer
"""
HERE = (1, 2, 1, 1)


@pytest.fixture(scope="module")
def numbers(browser, jupyter):
    """An explorer in JupyterLab, and what made it."""
    given = {}
    exec(NUMBERS, given)
    with opened(browser, jupyter, [NUMBERS, "print('changed', explorer.changes)"]) as lab:
        assert lab.run_all() == []
        yield lab, given
        assert lab.errors == []


def test_the_numbers_on_the_screen_are_torchs_before_and_after_changes(numbers):
    lab, given = numbers
    x, page = given["x"], lab.page
    shared = {
        "BN": x[:, 2], "LN": x[1], "IN": x[1, 2], "GN": x[1, :3], "torch": x[1, :3],
        "mine": x[1, :, 1],
    }  # fmt: skip
    page.locator(".nl-sheet").focus()
    for name, values in shared.items():
        assert page.locator('.nl-methods [aria-pressed="true"]').inner_text() == name
        std = values.std(unbiased=False)
        normalized = (x[HERE] - values.mean()) / (std**2 + 1e-5).sqrt()
        expected = {"count": values.numel(), "mean": values.mean(), "std": std}
        for key, value in (expected | {"normalized": normalized, "output": normalized}).items():
            assert abs(shown(page, key) - value) < 1e-5, (name, key)
        page.keyboard.press("]")

    unit, changed = x.std(correction=0), x.clone()
    page.keyboard.press("o")
    changed[HERE] = x.mean() + 6 * unit
    every_method_agrees(page, given["methods"], x, changed)
    page.get_by_label("value", exact=True).fill("-4.5")
    changed[HERE] = -4.5
    every_method_agrees(page, given["methods"], x, changed)
    page.get_by_role("button", name="put back").click()
    page.get_by_role("button", name="its channel").click()
    page.get_by_label("add").fill("1.5")
    every_method_agrees(page, given["methods"], x, x + 1.5 * (torch.arange(6) == 2).view(6, 1, 1))
    page.get_by_role("button", name="put back").click()
    page.get_by_role("button", name="its example").click()
    page.get_by_label("times").fill("3")
    factors = 1 + 2 * (torch.arange(4) == 1).view(4, 1, 1, 1)
    every_method_agrees(page, given["methods"], x, x * factors)
    page.get_by_role("button", name="put back").click()
    cell = page.locator(".nl-cell").nth(133).bounding_box()
    at = cell["x"] + 5, cell["y"] + 5
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] + 10, at[1])
    page.mouse.move(at[0] + 48, at[1])
    page.mouse.up()
    page.get_by_role("button", name="this value").click()
    changed = x * 1
    changed[1] += 2 * unit  # still the whole example
    every_method_agrees(page, given["methods"], x, changed)


def shown(page, key):
    return float(page.locator(f'[data-key="{key}"]').inner_text().replace("−", "-"))


def every_method_agrees(page, methods, x, changed):
    """Also of functions that Python must be asked about."""
    for name, fn in methods.items():
        page.get_by_role("button", name=name, exact=True).click()
        before, after = fn(x).detach(), fn(changed).detach()
        moved = int(((after - before).abs() > 1e-3 * before.std(correction=0)).sum())
        sentence = page.locator(".nl-moved")
        starts = f"{moved} of 384 outputs moved" if moved else "No output moved"
        expect(sentence).to_have_text(re.compile("^" + starts))
        assert abs(shown(page, "x") - changed[HERE]) < 1e-5
        assert abs(shown(page, "output") - after[HERE]) < 1e-5 * before.std() + 2e-6, name


def test_python_answers_a_quick_hand_with_the_newest_and_never_a_queue(numbers):
    lab, given = numbers
    page, x = lab.page, given["x"].clone()
    page.get_by_role("button", name="SN").click()
    page.locator(".nl-sheet").focus()
    page.keyboard.press("0")  # puts back what was changed before
    for _ in range(30):
        page.keyboard.press("+")
        page.wait_for_timeout(15)
    x[HERE] += 30 / 4 * x.std(correction=0)
    wanted = given["methods"]["SN"](x).detach()[HERE].item()
    text = f"{wanted:.6f}"[:-2]
    expect(page.locator('[data-key="output"]')).to_contain_text(text, timeout=2000)
    lab.cell("cell-1")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    page.get_by_text(f"changed {{'133': {x[HERE]:.4f}"[:-1]).wait_for()


@pytest.fixture(scope="module")
def explored(browser, jupyter):
    """An explorer in JupyterLab, for several tests, and a cell that asks what was chosen."""
    cells = [EXPLORER, "print('cell', explorer.cell, 'method', explorer.method)"]
    with opened(browser, jupyter, cells) as lab:
        assert lab.run_all() == []
        yield lab
        assert lab.errors == []


def test_the_kernel_hears_of_a_choice(explored):
    explored.page.locator(".nl-sheet").focus()
    explored.page.keyboard.press("Home")
    explored.page.keyboard.press("ArrowRight")
    explored.page.keyboard.press("]")
    explored.page.wait_for_timeout(300)
    explored.cell("cell-1")
    explored.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    explored.page.get_by_text("cell 1 method 1").wait_for()


def test_a_quick_hand_is_not_overtaken_by_the_kernel(explored):
    """The kernel echoes every choice; an old echo must not undo a newer choice."""
    explored.page.locator(".nl-sheet").focus()
    explored.page.keyboard.press("Home")
    where, seen = explored.page.locator(".nl-where"), []
    for _ in range(40):
        explored.page.keyboard.press("ArrowRight")
        explored.page.wait_for_timeout(23)
        seen.append(where.inner_text())
    assert len(set(seen)) == 23  # a row has 24 columns of cells: 23 steps, then the rim
    assert seen[22:] == [seen[22]] * 18


def test_widgets_live_on_without_a_kernel(open_notebook):
    lab = open_notebook([EXPLORER])
    assert lab.run_all() == []
    page = lab.page
    page.get_by_role("button", name="BatchNorm").click()
    page.evaluate(f"() => {KERNEL}.shutdown()")
    page.wait_for_timeout(500)
    page.locator(".nl-sheet").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert "example 3, channel 5, row 2, column 3" in page.locator(".nl-where").inner_text()
    page.keyboard.press("]")
    assert "96 values" in page.locator(".nl-sentence").inner_text()
    # Until JupyterLab has noticed, it says of each choice that it could not be sent.
    assert [e for e in lab.errors if "Could not send widget sync message" not in e] == []


def test_typing_in_a_widget_does_not_edit_the_notebook(explored):
    count = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    explored.page.locator(".nl-sheet").focus()
    for key in ("a", "b", "x", "d", "d", "m", "q", "v", "ArrowDown", "Enter"):
        explored.page.keyboard.press(key)
    assert explored.page.evaluate(count) == 2


# The harness itself: what it must not miss.

BROKEN = """
import anywidget

class Broken(anywidget.AnyWidget):
    _esm = {script!r}

Broken()
"""
THROWS = "export default { render() { throw new Error('on purpose'); } }"
SLIDER = """export default { render({ el }) {
  el.innerHTML = '<input class=plain type=range min=0 max=5 value=0>';
} }"""


def test_what_fails_is_caught(open_notebook):
    """A script that throws, one that is none, a failing cell; and a key that JupyterLab takes."""
    scripts = THROWS, "export default {", SLIDER
    lab = open_notebook([*(BROKEN.format(script=script) for script in scripts), "1 / 0"])
    (error,) = lab.run_all()
    assert "ZeroDivisionError" in error
    lab.page.wait_for_timeout(500)
    assert any("on purpose" in error for error in lab.errors)
    assert any("SyntaxError" in error for error in lab.errors)
    # Without the attribute that our widgets set, JupyterLab takes the arrows for itself.
    lab.page.locator(".plain").focus()
    lab.page.keyboard.press("ArrowRight")
    assert lab.page.locator(".plain").input_value() == "0"
