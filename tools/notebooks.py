"""The course's notebooks: which there are, what is in them, and one way to run each once.

What came out of a run is kept in _runs/, under a name made from everything it depends on. Book,
slides, tests and bench take it from there. python -m tools.notebooks NAME... runs the notebooks
whose names begin so, in that order.
"""

import ast
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import nbformat
from filelock import FileLock
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNS = ROOT / "_runs"
WIDGETS = "application/vnd.jupyter.widget-state+json"
PINS = ROOT / "requirements.txt"
# Two runs with two threads each, on two cores, are several times slower: each waits for the other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class NotebookError(Exception):
    """A notebook that does not run: the message names it and the cell."""


class Entry(NamedTuple):
    """One notebook on the map: its file, its title, and its question."""

    stem: str
    title: str
    question: str


def load(path):
    return nbformat.read(path, as_version=4)


def entry(path):
    first = load(path).cells[0].source
    question = re.search(r"\*\*The question\.\*\* (.*)", first)
    return Entry(path.stem, first.splitlines()[0].removeprefix("# "), question[1])


class Exercise(NamedTuple):
    """One exercise: the name of its answer, its stub and its check, and a right answer."""

    name: str
    stub: nbformat.NotebookNode
    check: nbformat.NotebookNode
    solution: str


def exercises(notebook):
    """The exercises of a notebook, found by the tags of its cells, in order."""
    tags = ("exercise", "check", "solution")
    found = [[c for c in notebook.cells if tag in c.metadata.get("tags", [])] for tag in tags]
    for stub, check, solution in zip(*found, strict=True):
        last = ast.parse(stub.source).body[-1]
        name = last.name if isinstance(last, ast.FunctionDef) else last.targets[0].id
        answer = re.search(r"```python\n(.*?)\n```", solution.source, re.S)[1]
        yield Exercise(name, stub, check, answer)


class Run(NamedTuple):
    """What came out of a notebook: all cells with outputs and widgets, and what was measured.

    seconds: from the first cell to the last; memory: the kernel's peak, bytes (Linux only, else
    0); verdicts: {claim: verdict}; exercises: for each, what its check says to the stub, to the
    solution, and to every mistake it knows.
    """

    notebook: nbformat.NotebookNode
    seconds: float
    memory: int
    verdicts: dict
    exercises: list

    @property
    def predictions(self):
        """{question: the answer that was measured}."""
        states = (widget["state"] for widget in widget_state(self.notebook).values())
        asked = (s for s in states if "because" in s and "question" in s)
        return {s["question"]: s["options"][s["answer"]] for s in asked if s["answer"] >= 0}


def widget_state(notebook):
    return notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})


# Runs as the last cell: what only the kernel can tell. The exercises are tried where the student
# tries them, after everything else, so that nothing in the notebook sees their names.
LAST = """
import ast as _ast, json as _json, pathlib as _pathlib
from normlib.trial import verdicts as _verdicts

def _check(source):
    tree = _ast.parse(source)
    last = _ast.Expression(tree.body.pop().value)
    exec(compile(tree, "check", "exec"), globals())
    card = eval(compile(last, "check", "eval"), globals())
    return card, [card.passed, card.title]

def _try(name, stub, check, solution):
    seen = []
    for source in (stub, solution):
        exec(source, globals())
        card, came_out = _check(check)
        seen.append(came_out)
    mistakes = {}
    for message, wrong in card.mistakes.items():
        globals()[name] = wrong
        mistakes[message] = _check(check)[1]
    return {"name": name, "stub": seen[0], "solution": seen[1], "mistakes": mistakes}

_status = _pathlib.Path("/proc/self/status")
_peak = _status.read_text().split("VmHWM:")[1].split()[0] if _status.exists() else 0
_all = _verdicts()
print(_json.dumps({
    "memory": int(_peak) * 1024,
    "verdicts": {id: _all.get(id) for id in CLAIMS},
    "exercises": [_try(*e) for e in _json.loads(EXERCISES)],
}))
"""


def prepared(notebook):
    """Add the last cell to a notebook that is to be run; returns it."""
    tries = [(e.name, e.stub.source, e.check.source, e.solution) for e in exercises(notebook)]
    claims = re.findall(r'\.weigh\(\s*"([^"]+)"', "\n".join(c.source for c in notebook.cells))
    source = f"CLAIMS = {claims!r}\nEXERCISES = {json.dumps(tries)!r}{LAST}"
    skipped = {"slideshow": {"slide_type": "skip"}}
    last = nbformat.v4.new_code_cell(source, id="what-only-the-kernel-can-tell", metadata=skipped)
    notebook.cells.append(last)
    return notebook


def keep(place, notebook, seconds):
    """Keep a notebook that was prepared and has been run. place: place_of, before it was run."""
    told = json.loads(notebook.cells.pop().outputs[0].text)
    notebook.metadata["run"] = {"seconds": seconds, **told}
    place.parent.mkdir(exist_ok=True)
    stem, shift, *_ = place.name.split(".")
    for old in place.parent.glob(f"{stem}.{shift}.*.ipynb"):
        old.unlink()
    nbformat.write(notebook, place)


def found(path, shift=0):
    """The Run that is kept, if nothing it depends on has changed, else None."""
    place = place_of(path, shift)
    if not place.exists():
        return None
    run, now = load(place), load(path)
    outputs = {cell.id: cell.get("outputs", []) for cell in run.cells}
    for cell in now.cells:  # words may have changed
        if cell.cell_type == "code":
            cell.outputs = outputs[cell.id]
    now.metadata.widgets = run.metadata.get("widgets", {})
    told = run.metadata["run"]
    return Run(now, told["seconds"], told["memory"], told["verdicts"], told["exercises"])


def place_of(path, shift=0):
    """Where the run is kept: a name made from the code, normlib, the versions and the seeds."""
    about = sys.version, importlib.metadata.version("torch"), shift, record_for(path, shift)
    notebook = load(path)
    code = [(cell.id, cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    solutions = [exercise.solution for exercise in exercises(notebook)]
    text = hashlib.sha256(repr((about, code, solutions)).encode())
    for file in (PINS, *sorted((ROOT / "normlib").rglob("*.*"))):
        if file.suffix != ".pyc":
            text.update(file.read_bytes())
    return RUNS / f"{path.stem}.{shift}.{text.hexdigest()[:16]}.ipynb"


def counts(path):
    """Whether a notebook counts the verdicts of all others, and so comes after them."""
    return "Trial()" in path.read_text("utf-8")


def record_for(path, shift):
    """What a notebook finds on the machine: for one that counts verdicts, those of all others."""
    others = [found(p, shift) for p in NOTEBOOKS if not counts(p)] if counts(path) else []
    return "".join(f"{id}\t{v}\n" for r in others if r for id, v in r.verdicts.items())


def run(path, shift=0):
    """Run a notebook in a fresh kernel, unless its run is kept. shift: of all experiments' seeds.

    Raises NotebookError if a cell fails.
    """
    RUNS.mkdir(exist_ok=True)
    with FileLock(RUNS / f"{path.stem}.{shift}.lock"):  # somebody else may be at it
        kept = found(path, shift)
        if kept is None:
            execute(path, shift)
            kept = found(path, shift)
        return kept


def execute(path, shift):
    place, notebook = place_of(path, shift), prepared(load(path))
    with tempfile.TemporaryDirectory(prefix="normlib-run-") as data:
        (pathlib.Path(data) / "normlib-verdicts.txt").write_text(record_for(path, shift), "utf-8")
        client = NotebookClient(
            notebook,
            timeout=300,
            resources={"metadata": {"path": path.parent}},
            extra_arguments=["--log-level=ERROR"],
        )
        env = os.environ | ONE_THREAD | {"JUPYTER_DATA_DIR": data, "NORMLIB_SEEDS": str(shift)}
        with client.setup_kernel(env=env):
            start = time.perf_counter()
            for index, cell in enumerate(notebook.cells):
                if index == len(notebook.cells) - 1:
                    seconds = time.perf_counter() - start
                try:
                    client.execute_cell(cell, index)
                except CellExecutionError as error:
                    message = f"{path.name}, cell {cell.id}: {error.ename}: {error.evalue}"
                    raise NotebookError(message) from error
            client.set_widgets_metadata()
    keep(place, notebook, seconds)


def run_all(paths=NOTEBOOKS, shift=0, tell=print):
    """Run notebooks, two at a time (each trains on one core); {path: Run}.

    One that counts verdicts comes after all others, with theirs. Raises NotebookError, at once,
    if a notebook fails; what has run by then is kept.
    """
    start, runs = time.perf_counter(), {}
    last = [p for p in paths if counts(p)]
    first = [p for p in (NOTEBOOKS if last else paths) if not counts(p)]
    spawn = multiprocessing.get_context("spawn")  # the tests' process has threads
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), spawn) as pool:
        for some in (first, last):
            waiting = [(p, pool.submit(run, p, shift)) for p in some]
            for path, future in waiting:
                try:
                    runs[path] = future.result()
                except NotebookError:
                    pool.shutdown(cancel_futures=True)
                    raise
                tell(f"{path.stem}: {time.perf_counter() - start:.0f} s")
    return {path: runs[path] for path in paths}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for chosen in NOTEBOOKS:
            if chosen.stem.startswith(name):
                print(f"{chosen.stem}: {run(chosen).seconds:.0f} s", flush=True)
