"""Every notebook: clean, complete by the course's pattern, and run in a fresh kernel.

After a notebook has run, its exercises are tried in the same kernel: the stub must fail, the
folded solution must pass, and every wrong answer that the check recognises must get its message.
"""

import ast
import contextlib
import re
from collections import Counter

import nbformat
import pytest

from normlib.questions import asked
from normlib.trial import Trial, ledger
from tests.conftest import OTHERS
from tools.minutes import minutes
from tools.notebooks import (
    NOTEBOOKS,
    ROOT,
    NotebookError,
    exercises,
    load,
    place_of,
    run,
    run_all,
)
from tools.verdicts import report

IDS = [path.stem for path in NOTEBOOKS]


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
        "## The idea", "## The axes", "## From scratch", "## The article on trial",
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
    assert [cell.source for cell in code(notebook)].count("trial") == 1
    assert len(list(exercises(notebook))) >= 2


# What is shown and what is folded.


def folded(cell):
    """Folded in JupyterLab, in the book and in Colab, or in none of them."""
    marks = (
        cell.metadata.get("jupyter", {}).get("source_hidden", False),
        "hide-input" in cell.metadata.get("tags", []),
        cell.metadata.get("cellView") == "form",
    )
    assert len(set(marks)) == 1, f"{cell.id}: folded in one place and not in another"
    return all(marks)


def core(notebook):
    """The cells before "Going further" and what comes after the next heading."""
    cells, further = [], False
    for cell in notebook.cells:
        if cell.source.startswith("## "):
            further = cell.source.startswith("## Going further")
        if not further:
            cells.append(cell)
    return cells


def shown(notebook):
    return [c for c in core(notebook) if c.cell_type == "code" and not folded(c)]


def lines(cell):
    return len([line for line in cell.source.splitlines() if line.strip()])


def names(tree, kind):
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, kind)}


DRAWS = r"\bPredict\(|\.reveal\(|\.weigh\(|\bFlipbook\(|plots\.|plt\."
TRAINS = {"fit", "step"}
DIFFERENTIATES = {"backward", "grad", "jacobian"}


def called(tree):
    found = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    return {getattr(f, "id", None) or getattr(f, "attr", None) for f in found}


def test_what_draws_is_folded_and_says_what_it_does(notebook):
    for cell in code(notebook):
        tags = cell.metadata.get("tags", [])
        if folded(cell):
            assert re.match(r"# \w+: .{4,}", cell.source), cell.id
            assert "exercise" not in tags
            assert not cell.id.startswith(("scratch", "imports"))
        elif cell.id != "imports":
            assert not re.search(DRAWS, cell.source), f"{cell.id}: fold it"
            assert "check" not in tags
            assert "fmt: skip" not in cell.source, cell.id
            assert "fmt: off" not in cell.source, cell.id
            assert len(cell.source.splitlines()) <= 20, cell.id


def test_what_is_folded_neither_trains_nor_defines_what_is_shown(notebook):
    trees = {cell.id: ast.parse(cell.source) for cell in code(notebook)}
    functions = {
        node.name: node
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    trains = set(TRAINS)
    while more := {n for n, f in functions.items() if called(f) & trains} - trains:
        trains |= more
    for i, cell in enumerate(code(notebook)):
        if not folded(cell) or "check" in cell.metadata.tags:
            continue
        assert not called(trees[cell.id]) & (trains | DIFFERENTIATES), f"{cell.id} trains"
        made = {n.name for n in trees[cell.id].body if isinstance(n, ast.FunctionDef)}
        for other in code(notebook)[i + 1 :]:
            if not folded(other):
                assert not made & names(trees[other.id], ast.Load), f"{cell.id}: {other.id}"


def test_going_further_opens_collapsed_and_stays_so(notebook):
    """JupyterLab opens a section again in which the last cell that runs is the last of all."""
    further = [c for c in notebook.cells if c.source.startswith("## Going further")]
    assert all(cell.metadata.get("jp-MarkdownHeadingCollapsed") for cell in further)
    assert notebook.cells[-1].cell_type == "markdown"


def test_the_core_is_short(notebook):
    assert sum(lines(c) for c in shown(notebook) if c.id != "imports") <= 200
    assert len(core(notebook)) <= 70


@pytest.mark.parametrize(("half", "limit"), [("00 to 03", 1000), ("04 to 05", 1500)])
def test_what_is_shown_is_read_in_an_evening(half, limit):
    first, last = half.split(" to ")
    notebooks = [load(path) for path in NOTEBOOKS if first <= path.stem[:2] <= last]
    cells = [cell for notebook in notebooks for cell in shown(notebook) if cell.id != "imports"]
    assert sum(map(lines, cells)) <= limit


def test_a_prediction_stands_directly_before_its_experiment(notebook):
    """Between a prediction and its reveal: no other prediction, and at most one run."""
    cells = code(notebook)
    for i, cell in enumerate(cells):
        if "Predict(" not in cell.source:
            continue
        guess = ast.parse(cell.source).body[-1].value.id
        j = next(j for j, c in enumerate(cells) if f"{guess}.reveal(" in c.source)
        assert i < j, f"{cell.id}: revealed before it is asked"
        between = cells[i + 1 : j]
        assert not any("Predict(" in c.source for c in between), cell.id
        assert sum("progress(" in c.source for c in between if not folded(c)) <= 1, cell.id


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
    for call in calls(notebook, "weigh"):
        for keyword in call.keywords:
            value = keyword.value
            value = value.elts[0] if isinstance(value, ast.Tuple) else value
            assert not isinstance(value, ast.Constant), f"{call.args[0].value}: {keyword.arg}"
    for call in calls(notebook, "reveal"):
        assert not isinstance(call.args[0], ast.Constant)


def test_every_claim_of_the_ledger_is_on_one_docket_and_weighed_once_or_settled():
    entries, dockets = ledger(), Counter()
    for notebook in map(load, NOTEBOOKS):
        (made,) = calls(notebook, "Trial")
        sections = [argument.value for argument in made.args] or ["5"]  # its docket shows all
        docket = Trial(*sections)
        dockets.update(docket.entries.keys())
        weighed = Counter(call.args[0].value for call in calls(notebook, "weigh"))
        assert weighed == Counter(i for i, e in docket.entries.items() if "settled" not in e)
    assert dockets == Counter(entries.keys())


def test_a_run_is_kept_until_something_it_depends_on_changes(tmp_path):
    path, notebook = tmp_path / "copy.ipynb", load(NOTEBOOKS[0])
    nbformat.write(notebook, path)
    place = place_of(path)
    notebook.cells[0].source += " More words."
    nbformat.write(notebook, path)
    assert place_of(path) == place
    assert place_of(path, shift=1) != place
    code(notebook)[-1].source += "\n"
    nbformat.write(notebook, path)
    assert place_of(path) != place


@pytest.fixture(scope="session")
def others_have_run():
    """All but the one that counts verdicts, two at a time; what does not run fails in its test."""
    with contextlib.suppress(NotebookError):
        run_all(OTHERS, tell=lambda text: None)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_runs_in_a_fresh_kernel_and_its_exercises_answer(path, others_have_run):
    came_out = run(path)
    for cell in came_out.notebook.cells:
        check_outputs(cell)
    assert None not in came_out.verdicts.values()
    asked_again = len(asked()) * len(calls(came_out.notebook, "compare"))
    assert len(came_out.predictions) == len(calls(came_out.notebook, "Predict")) + asked_again
    assert len(came_out.exercises) == len(list(exercises(came_out.notebook)))
    for seen in came_out.exercises:
        name = seen["name"]
        assert seen["stub"][1].startswith("Not yet."), name
        assert seen["solution"][0], f"{name}: {seen['solution'][1]}"
        assert seen["mistakes"], f"{name} recognises no mistake"
        for message, (passed, title) in seen["mistakes"].items():
            assert not passed, f"{name}: passes although {message}"
            assert message in title, f"{name}: expected {message!r}, got {title!r}"


@pytest.mark.notebooks
def test_a_notebook_that_fails_says_so_with_its_name_and_cell(tmp_path):
    cells = [nbformat.v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(("x = 1", "1 / 0"))]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "small.ipynb"
    )
    with pytest.raises(NotebookError, match=r"small.ipynb, cell c1: ZeroDivisionError"):
        run(tmp_path / "small.ipynb")


def check_outputs(cell):
    """Nothing on the error stream, no progress bar, and every check card says 'Not yet'."""
    for output in cell.get("outputs", []):
        assert output.get("name") != "stderr", output.text
        assert not re.search(r"\d+%\|", str(output.get("data", "")))
        html = output.get("data", {}).get("text/html", "")
        if "check" in cell.metadata.get("tags", []):
            assert "Not yet." in html
        if "<img" in html:
            assert re.search(r'alt="[^"]{20,}"', html)


def test_what_turns_with_the_seeds_is_marked():
    shown = report(
        {("a", "1"): ["holds", "holds"], ("b", "Who wins?"): ["we", "they"]}
    ).splitlines()
    assert shown[2] == "|  | a | 1 | holds | holds |"
    assert shown[3] == "| turns | b | Who wins? | we | they |"


def test_no_cell_names_a_seed_by_its_number(notebook):
    makers = r"(manual_seed|default_rng)\(\d+\)|(random_state|\bseeds?) ?(=|==) ?\d|seeds? = range"
    loops = r"for (seed|s) in range\("
    for cell in code(notebook):
        assert not re.search(f"{makers}|{loops}", cell.source), f"{cell.id}: use training.seeds"


def stated(text):
    """The minutes that a text names, without exercises and with them."""
    (both,) = re.findall(r"(\d+) minutes, (\d+) with the exercises", text)
    return tuple(map(int, both))


def test_the_map_names_the_minutes_that_the_notebooks_name():
    rows = (ROOT / "README.md").read_text("utf-8")
    for path in NOTEBOOKS:
        named = re.search(rf"\({re.escape('notebooks/' + path.name)}\).*\| (\d+) \| (\d+) \|", rows)
        assert tuple(map(int, named.groups())) == stated(load(path).cells[0].source), path.stem


def test_the_ways_through_add_up():
    """The same in the first notebook and the README; minutes are those that the notebooks name."""
    places = ROOT / "README.md", NOTEBOOKS[0]
    texts = places[0].read_text("utf-8"), "\n".join(c.source for c in load(places[1]).cells)
    rows, again = (re.findall(r"^\| ([a-z ]+) \| (\d+) \| (.+) \|$", text, re.M) for text in texts)
    assert rows == again
    assert len(rows) == 3
    titles = [load(path).cells[0].source for path in NOTEBOOKS]
    named = {title.split()[1]: int(re.search(r"bout (\d+) min", title)[1]) for title in titles}
    for _, minutes_in_all, what in rows:
        parts = [int(part) for part in re.findall(r"\((\d+)\)", what)]
        parts = parts or [named[number] for number in what.split(", ")]
        assert sum(parts) == int(minutes_in_all)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_the_minutes_are_true(path, others_have_run):
    came_out = run(path)
    counted = minutes(came_out.notebook, came_out.seconds)
    for named, true in zip(stated(came_out.notebook.cells[0].source), counted, strict=True):
        assert named % 5 == 0
        assert abs(named - true) <= 5, f"{named} minutes are named and {true:.0f} are needed"
