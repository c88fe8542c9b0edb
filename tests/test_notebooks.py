"""Every notebook: clean, complete by the course's pattern, and run in a fresh kernel.

After a notebook has run, its exercises are tried in the same kernel: the stub must fail, the
folded solution must pass, and every wrong answer that the check recognises must get its message.
"""

import ast
import copy
import json
import re
from collections import Counter

import nbformat
import pytest
from nbclient import NotebookClient

from normlib.feedback import ledger
from teaching.exercises import exercises
from tests.conftest import EXECUTED
from website.build import NOTEBOOKS

IDS = [path.stem for path in NOTEBOOKS]


def load(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def calls(notebook, name):
    """Every call of a function or method with this name, as syntax trees."""
    return [
        node
        for cell in code(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]


@pytest.fixture(params=NOTEBOOKS, ids=IDS)
def notebook(request):
    return load(request.param)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


def test_committed_without_outputs_and_with_stable_ids(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), f"{cell.id!r}: give it a name"
        assert cell.metadata.slideshow.slide_type
    for cell in code(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_follows_the_pattern(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    first = notebook.cells[0].source
    for part in ("# ", "**The question.**", "After this notebook you can", "minutes"):
        assert part in first
    for heading in (
        "## Predict", "## The idea", "## The axes", "## From scratch", "## What the article says",
        "## Exercises", "## What to remember",
    ):  # fmt: skip
        assert heading in text, heading
    assert re.search(r"^## .*[Ee]xperiment", text, re.M)
    assert "**Misconceptions.**" in text
    assert "**Further reading.**" in text
    assert calls(notebook, "Predict")
    assert len(calls(notebook, "reveal")) == len(calls(notebook, "Predict"))
    assert calls(notebook, "AxesExplorer")
    assert calls(notebook, "Flipbook")
    assert calls(notebook, "claim")
    assert len(list(exercises(notebook))) >= 2


def test_a_prediction_comes_before_its_answer(notebook):
    sources = [cell.source for cell in notebook.cells]
    predict = next(i for i, s in enumerate(sources) if "Predict(" in s)
    reveal = next(i for i, s in enumerate(sources) if ".reveal(" in s)
    assert predict < next(i for i, s in enumerate(sources) if "## The idea" in s) < reveal


def test_cells_are_short(notebook):
    for cell in code(notebook):
        if "check" not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= 20, cell.id


def test_pictures_have_alt_text(notebook):
    for call in calls(notebook, "Flipbook"):
        assert any(keyword.arg == "alt" for keyword in call.keywords)
    for call in calls(notebook, "show"):
        assert len(call.args) == 3
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert "![](" not in cell.source
            assert "<img" not in cell.source


def test_verdicts_are_measured_and_not_written_down(notebook):
    for call in calls(notebook, "claim"):
        for keyword in call.keywords:
            value = keyword.value
            value = value.elts[0] if isinstance(value, ast.Tuple) else value
            assert not isinstance(value, ast.Constant), f"{call.args[0].value}: {keyword.arg}"
    for call in calls(notebook, "reveal"):
        assert not isinstance(call.args[0], ast.Constant)


def test_every_claim_of_the_ledger_is_tried_exactly_once():
    used = Counter(c.args[0].value for path in NOTEBOOKS for c in calls(load(path), "claim"))
    assert used == Counter(ledger().keys())


TRY_EXERCISES = """
import ast as _ast, json as _json

def _run(source):
    tree = _ast.parse(source)
    last = _ast.Expression(tree.body.pop().value)
    exec(compile(tree, "check", "exec"), globals())
    return eval(compile(last, "check", "eval"), globals())

def _try(name, stub, check, solution):
    exec(stub, globals())
    seen = {"stub": _run(check).title}
    exec(solution, globals())
    result = _run(check)
    seen["solution"] = [result.passed, result.title]
    seen["mistakes"] = {}
    for message, wrong in result.mistakes.items():
        globals()[name] = wrong
        result = _run(check)
        seen["mistakes"][message] = [result.passed, result.title]
    return seen

print(_json.dumps([_try(*e) for e in _json.loads(EXERCISES)]))
"""


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_runs_in_a_fresh_kernel_and_its_exercises_answer(path):
    notebook = load(path)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": path.parent}})
    tries = [(e.name, e.stub.source, e.check.source, e.solution) for e in exercises(notebook)]
    source = f"EXERCISES = {json.dumps(tries)!r}\n{TRY_EXERCISES}"
    with client.setup_kernel():
        for index, cell in enumerate(list(notebook.cells)):
            client.execute_cell(cell, index)
            check_outputs(cell)
        client.set_widgets_metadata()
        EXECUTED[path] = copy.deepcopy(notebook)
        extra = nbformat.v4.new_code_cell(source)
        notebook.cells.append(extra)
        client.execute_cell(extra, len(notebook.cells) - 1)
    for (name, *_), seen in zip(tries, json.loads(extra.outputs[0].text), strict=True):
        assert seen["stub"].startswith("Not yet."), name
        assert seen["solution"][0], f"{name}: {seen['solution'][1]}"
        assert seen["mistakes"], f"{name} recognises no mistake"
        for message, (passed, title) in seen["mistakes"].items():
            assert not passed, f"{name}: passes although {message}"
            assert message in title, f"{name}: expected {message!r}, got {title!r}"


def check_outputs(cell):
    """Nothing on the error stream but progress bars, and every check card says 'Not yet'."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stderr":
            assert "it/s]" in output.text or "?it" in output.text, output.text
        html = output.get("data", {}).get("text/html", "")
        if "check" in cell.metadata.get("tags", []):
            assert "Not yet." in html
        if "<img" in html:
            assert re.search(r'alt="[^"]{20,}"', html)
