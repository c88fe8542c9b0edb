"""For teachers: assignments that nbgrader takes, a hub for a class, and what Binder would run."""

import copy
import csv
import os
import pathlib
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest

from tests.conftest import ON_LIVE_SLIDES
from tools.assignment.exercises import POINTS, assignment
from tools.bench import classroom
from tools.lab import TOKEN, Lab, server
from tools.notebooks import NOTEBOOKS, ROOT, exercises, keep, load, place_of, prepared

IDS = [path.stem for path in NOTEBOOKS]
(LAYER_NORM,) = ON_LIVE_SLIDES
needs_tools = pytest.mark.skipif(
    not classroom.TEACHING.exists() and not os.environ.get("CI"),
    reason="no teachers' tools here: run make teaching",
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_an_assignment_has_an_answer_and_a_test_for_every_exercise(path):
    notebook = nbformat.read(path, as_version=4)
    made = assignment(notebook)
    nbformat.validate(made)
    graded = [c for c in made.cells if "nbgrader" in c.metadata]
    answers = [c for c in graded if c.metadata.nbgrader.solution]
    tests = [c for c in graded if c.metadata.nbgrader.grade]
    assert len(answers) == len(tests) == len(list(exercises(notebook))) <= len(POINTS)
    assert [t.metadata.nbgrader.points for t in tests] == list(POINTS[: len(tests)])
    for answer in answers:
        assert answer.source.count("### BEGIN SOLUTION") == 1
        assert answer.source.count("### END SOLUTION") == 1
    words = [c.source for c in made.cells if c.cell_type == "markdown"]
    assert not any("<summary>Solution</summary>" in w for w in words)
    assert len(words) >= 1 + len(answers)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_the_answers_of_an_assignment_pass_its_tests_without_the_rest_of_the_notebook(path):
    scope = {"display": lambda result: None, "__name__": "__main__"}
    for cell in assignment(nbformat.read(path, as_version=4)).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{path.stem}: {cell.id}", "exec"), scope)


def tool(name, *args, cwd):
    """Run one of the teachers' tools, which find each other on the path."""
    path = f"{classroom.TEACHING}{os.pathsep}{os.environ['PATH']}"
    command = [classroom.TEACHING / name, *args]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_tools
@pytest.mark.notebooks
def test_nbgrader_releases_an_assignment_and_grades_a_right_and_a_wrong_one(tmp_path):
    name = LAYER_NORM.stem
    source = assignment(nbformat.read(LAYER_NORM, as_version=4))
    (tmp_path / "nbgrader_config.py").write_text('get_config().CourseDirectory.course_id = "n"')

    def put(folder, notebook):
        place = tmp_path / folder / name
        place.mkdir(parents=True)
        nbformat.write(notebook, place / LAYER_NORM.name)

    put("source", source)
    tool("nbgrader", "generate_assignment", name, "--create", cwd=tmp_path)
    released = nbformat.read(tmp_path / "release" / name / LAYER_NORM.name, as_version=4)
    text = "".join(c.source for c in released.cells)
    assert "SOLUTION" not in text
    assert "YOUR CODE HERE" in text

    answers = {c.id: c.source for c in source.cells}
    right, wrong = copy.deepcopy(released), copy.deepcopy(released)
    for cell in right.cells:
        cell.source = answers[cell.id]
    for cell in wrong.cells:  # the warm-up only; then Batch Norm in place of Layer Norm
        if cell.id == "vector-stub":
            cell.source = answers[cell.id]
        if cell.id == "ward-stub":
            cell.source = (
                "def pixel_norm(x):\n    return F.batch_norm(x, None, None, training=True)"
            )
    put("submitted/right", right)
    put("submitted/wrong", wrong)
    tool("nbgrader", "autograde", name, cwd=tmp_path)
    tool("nbgrader", "export", "--to", "grades.csv", cwd=tmp_path)
    with (tmp_path / "grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"right": 6.0, "wrong": 1.0}
    graded = nbformat.read(tmp_path / "autograded/wrong" / name / LAYER_NORM.name, as_version=4)
    errors = [o.evalue for c in graded.cells for o in c.get("outputs", []) if "evalue" in o]
    assert any("that is Batch Norm" in e for e in errors)


@needs_tools
@pytest.mark.notebooks
def test_a_class_on_a_hub_and_a_kernel_that_dies_in_the_middle_of_a_cell():
    start = NOTEBOOKS[0]
    with classroom.classroom(2, start) as (students, password), ThreadPoolExecutor(2) as pool:
        lessons = list(pool.map(lambda s: classroom.attend(s, password, start.name), students))
        left = classroom.lose_a_kernel(students, start.name)
    assert [error for *_, error in lessons] == [None, None]
    assert all(left.values()), left


@needs_tools
@pytest.mark.browser
def test_widgets_live_on_live_slides_and_every_slide_fits(browser, tmp_path):
    size = {"width": 1280, "height": 720}
    (tmp_path / "notebooks").mkdir()
    shutil.copy(LAYER_NORM.parent / "rise.css", tmp_path / "notebooks")
    place, copied = place_of(LAYER_NORM), tmp_path / "notebooks" / LAYER_NORM.name
    nbformat.write(prepared(load(LAYER_NORM)), copied)
    with server(tmp_path, classroom.TEACHING / "python") as address:
        lab, start = Lab(browser.new_page(viewport=size), address, copied.name), time.perf_counter()
        assert lab.run_all() == []
        seconds = time.perf_counter() - start
        lab.save()
        keep(place, load(copied), seconds)
        page, errors = browser.new_page(viewport=size), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/rise/{LAYER_NORM.name}?token={TOKEN}")
        page.wait_for_selector(".reveal section.present .jp-Cell")
        page.wait_for_function("() => document.querySelectorAll('.nl-root').length >= 6")
        seen, explored = [], False
        while page.url not in seen:
            seen.append(page.url)
            over = page.evaluate(
                "() => Math.max(...[...document.querySelectorAll('.reveal section.present')]"
                ".map((s) => s.scrollHeight - s.clientHeight))"
            )
            assert over <= 0, f"slide {len(seen)}"
            sheet = page.locator("section.present .nl-sheet")
            if sheet.count() and sheet.first.is_visible() and not explored:
                explored = True
                sheet.focus()
                page.keyboard.press("Home")
                where = page.locator("section.present .nl-where").inner_text()
                page.keyboard.press("ArrowRight")
                assert page.locator("section.present .nl-where").inner_text() != where
                page.mouse.click(1200, 20)
            page.keyboard.press("PageDown")
            page.wait_for_timeout(100)
        assert explored
        assert len(seen) > 20
        assert errors == []
        lab.page.close()
        page.close()


def teaching_sections():
    """Each notebook's part of TEACHING.md: (path, text)."""
    text = (ROOT / "notebooks" / "TEACHING.md").read_text("utf-8")
    parts = re.split(r"^## (?=\[.*\]\(\d)", text, flags=re.M)[1:]
    return [(ROOT / "notebooks" / re.match(r"\[.*\]\((.*?)\)", p)[1], p) for p in parts]


def test_the_teachers_guide_goes_through_every_notebook_in_order():
    assert [path for path, _ in teaching_sections()] == NOTEBOOKS


@pytest.mark.parametrize(("path", "text"), teaching_sections(), ids=IDS)
def test_the_teachers_guide_fits_the_notebook(path, text):
    cells = nbformat.read(path, as_version=4).cells
    ids = {cell.id for cell in cells}
    for name in re.findall(r"`([a-z0-9-]+)`", text):
        assert name in ids, f"{name}: no such cell in {path.name}"
    (minutes,) = re.findall(r", (\d+) minutes$", text, re.M)
    assert f"bout {minutes} minutes" in cells[0].source
    assert sum(map(int, re.findall(r"^\| (\d+) \|", text, re.M))) == int(minutes)
    reveals = [cell.id for cell in cells if ".reveal(" in cell.source]
    assert re.findall(r"^\*\*Ask before `([a-z-]+)`", text, re.M) == reveals
    for part in ("**Clears up.**", "**On the board.**", "**Exercises.**"):
        assert part in text
    count = sum("exercise" in cell.metadata.get("tags", []) for cell in cells)
    assert len(re.findall(r"\b\d+ min\b", text)) == count


@needs_tools
def test_binder_takes_the_recipe():
    recipe = tool("jupyter-repo2docker", "--no-build", "--debug", ".", cwd=ROOT)
    assert "binder/postBuild" in recipe
    assert "binder/start" in recipe


def test_binder_and_the_course_have_one_pin_for_uv():
    (pin,) = (ROOT / "binder" / "requirements.txt").read_text().split()
    assert pin in (ROOT / "tools" / "requirements.txt").read_text().split()


@pytest.mark.parametrize(("cores", "threads"), [("2", "2"), ("1.5", "2"), ("0.25", "1")])
def test_binders_start_takes_as_many_threads_as_cores_are_granted(cores, threads):
    env = os.environ | {"CPU_LIMIT": cores}
    shown = subprocess.run(
        [ROOT / "binder" / "start", "env"], env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        assert f"{name}={threads}" in shown


def test_scripts_can_be_executed():
    for script in ("binder/postBuild", "binder/start", ".ci/run"):
        assert os.access(ROOT / pathlib.Path(script), os.X_OK)
