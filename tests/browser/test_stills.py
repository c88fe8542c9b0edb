"""What a widget leaves where it cannot live, and keys that run the cell from inside a widget."""

import os
import pathlib
import subprocess
import sys

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import TimeoutError, expect

from tests.browser.conftest import notebook_of
from tools.bench import classroom
from tools.lab import KERNEL, Lab, server
from tools.notebooks import widget_state

pytestmark = pytest.mark.browser
CELLS = [
    """
import matplotlib.pyplot as plt
import torch
from normlib.layers import BatchNorm, GroupNorm
from normlib.widgets import AxesExplorer, Flipbook, Predict, progress
methods = {"BN": BatchNorm(2), "GN": {1: GroupNorm(1, 2), 2: GroupNorm(2, 2)}}
AxesExplorer(methods, torch.randn(2, 2, 2, 2), method=1, question="change")""",
    """
def bar(height, color):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.bar([0], [height], color=color)
    return fig
Flipbook(bar, alt="a bar", height=[1, 2], color=["red", "blue"])""",
    """
guess = Predict("Which is it?", ["cats", "dogs"])
guess""",
    """
for _ in progress(range(3), "counting"):
    pass
guess.reveal("dogs", because="Nine to one.")""",
]
STILLS = "Run the notebook to"
VISIBLE = """() => [...document.querySelectorAll(".nl-still")].filter((still) =>
  still.checkVisibility({ visibilityProperty: true }) && still.getBoundingClientRect().height > 0
).map((still) => still.innerText)"""


@pytest.fixture(scope="module")
def saved(browser, jupyter):
    """The notebook, run in JupyterLab with a choice locked after that, and saved."""
    address, folder = jupyter
    path = folder / "stills.ipynb"
    nbformat.write(notebook_of(CELLS), path)
    lab = Lab(browser.new_page(viewport={"width": 1280, "height": 2400}), address, path.name)
    lab.page.evaluate(
        f"""() => {{
          const visible = {VISIBLE};
          window.seenStills = [];
          const look = () => {{
            window.seenStills.push(...visible());
            requestAnimationFrame(look);
          }};
          look();
        }}"""
    )
    assert lab.run_all() == []
    lab.page.locator(".nl-predict input").first.check()
    lab.page.get_by_role("button", name="Lock my answer").first.click()
    expect(lab.page.locator(".nl-status").first).to_contain_text("You said cats")
    lab.page.wait_for_timeout(3500)  # longer than a still waits for its widget
    assert lab.page.evaluate("window.seenStills") == []  # in no frame
    lab.save()
    assert lab.errors == []
    lab.page.evaluate(f"() => {KERNEL}.shutdown()")
    lab.page.close()
    return path, nbformat.read(path, as_version=4)


def reopened(browser, jupyter, saved, name, trusted=True, state=True):
    """The saved notebook, opened again with a kernel in which nothing has run."""
    address, folder = jupyter
    notebook = nbformat.from_dict(saved[1])
    if not state:
        notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, folder / name)
    if trusted:
        environment = os.environ | {"JUPYTER_DATA_DIR": str(folder.parent / "home/data")}
        command = [sys.executable, "-m", "jupyter", "trust", folder / name]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    lab = Lab(browser.new_page(viewport={"width": 1280, "height": 2400}), address, name)
    lab.page.wait_for_timeout(3300)  # longer than a still waits for its widget
    return lab.page


def test_what_was_locked_later_is_in_the_file_and_no_bar_is(saved):
    text = saved[0].read_text("utf-8")
    assert "You said cats. What came out: dogs. Nine to one." in text
    for leftover in ("counting", "drawing", "it/s", "0%|"):
        assert not any(
            leftover in str(output) for cell in saved[1].cells for output in cell.outputs
        ), leftover
    models = widget_state(saved[1]).values()
    assert {m["model_module"] for m in models} == {"anywidget", "@jupyter-widgets/base"}


def test_reopened_with_its_state_every_widget_lives(browser, jupyter, saved):
    page = reopened(browser, jupyter, saved, "state.ipynb")
    assert page.locator(".nl-root").count() == 4
    assert page.evaluate(VISIBLE) == []
    page.locator(".nl-sheet").focus()
    page.keyboard.press("o")
    expect(page.locator(".nl-moved")).to_contain_text("outputs moved")
    page.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_reopened_without_state_every_widget_leaves_its_still(browser, jupyter, saved, trusted):
    name = f"stateless-{trusted}.ipynb"
    page = reopened(browser, jupyter, saved, name, trusted=trusted, state=False)
    stills = page.evaluate(VISIBLE)
    assert len(stills) == 4
    assert "This output uses 8 values" in stills[0]
    assert "a bar" in stills[1]
    assert all("You said cats. What came out: dogs." in text for text in stills[2:])
    for picture in page.locator(".nl-still img").all():
        assert picture.evaluate("(i) => i.naturalWidth") > 30
    body = page.locator(".jp-Notebook").inner_text()
    assert "model not found" not in body
    assert "object at 0x" not in body
    page.close()


@pytest.mark.parametrize("state", [True, False])
def test_nbconvert_without_network_shows_the_stills(browser, saved, tmp_path, state):
    notebook = nbformat.from_dict(saved[1])
    if not state:
        notebook.metadata.pop("widgets", None)
    page_of_notebook, _ = HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "page.html").write_text(page_of_notebook, "utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(pathlib.Path(tmp_path, "page.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_timeout(3300)
    stills = page.evaluate(VISIBLE)
    assert len(stills) == 4
    assert sum(STILLS in text for text in stills) == 2  # both predictions say what was locked
    assert "object at 0x" not in page.locator("body").inner_text()
    context.close()


KEYS = ("Shift", "Control", "Alt")
CONTROLS = {  # of every widget, every kind of control: its cell, and how to find it
    "sheet": ("cell-0", ".nl-sheet"),
    "method": ("cell-0", ".nl-methods button >> nth=0"),
    "groups": ("cell-0", 'input[type="range"]'),
    "question": ("cell-0", '.nl-switch button:has-text("change it")'),
    "part": ("cell-0", '.nl-switch button:has-text("its channel")'),
    "nudge": ("cell-0", '.nl-nudges button:has-text("outlier")'),
    "put back": ("cell-0", '.nl-nudges button:has-text("put back")'),
    "number": ("cell-0", 'input[type="number"] >> nth=0'),
    "slider": ("cell-1", 'input[type="range"]'),
    "button": ("cell-1", '.nl-choice button:has-text("blue")'),
    "option": ("cell-2", 'input[type="radio"] >> nth=1'),
    "lock": ("cell-2", 'button:has-text("Lock")'),
}


def test_enter_with_shift_control_or_alt_runs_the_cell_from_every_control(browser, jupyter):
    address, folder = jupyter
    keys_run_cells(browser, address, folder, "lab/tree", first=0)


def test_in_notebook_7_too(browser, tmp_path):
    python = classroom.TEACHING / "python"
    if not python.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("make teaching brings Notebook 7")
    with server(tmp_path, python) as address:
        keys_run_cells(browser, address, tmp_path / "notebooks", "notebooks", first=1)


def keys_run_cells(browser, address, folder, where, first):
    """Operate every control and press one of the keys, in turn; another one in the other host."""
    nbformat.write(notebook_of(CELLS[:3]), folder / "keys.ipynb")
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    lab, failed = Lab(page, address, "keys.ipynb", where), []
    assert lab.run_all() == []
    for i, (name, (id, selector)) in enumerate(CONTROLS.items()):
        key = KEYS[(first + i) % 3]
        page.wait_for_function(f"{lab.count_of(id)} > 0")
        cell, count = lab.cell(id), lab.count(id)
        control = cell.locator(selector)
        if name == "lock":  # works when something is chosen
            cell.locator('input[type="radio"]').first.check()
        if name in ("groups", "slider", "sheet", "number"):
            control.focus()
            page.keyboard.press("1" if name == "number" else "ArrowRight")
        else:
            control.click()
        if name == "number":
            page.keyboard.press("Enter")  # alone it stays in its field
            assert lab.count(id) == count
        page.keyboard.press(f"{key}+Enter")
        try:
            page.wait_for_function(f"{lab.count_of(id)} > {count}", timeout=15000)
            page.wait_for_function(f"{KERNEL}.status === 'idle'")
        except TimeoutError:
            failed.append((name, key))
    assert failed == []
    page.evaluate(f"() => {KERNEL}.shutdown()")
    page.close()
