"""The exercises of a notebook as an nbgrader assignment."""

import ast

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.notebooks import exercises

POINTS = 1, 2, 3  # warm-up, second, stretch
SCHEMA = 3  # of nbgrader's cell metadata


def assignment(notebook):
    """The exercises alone, as nbgrader's source: solutions marked, checks as tests with points."""
    cells = notebook.cells
    title = cells[0].source.splitlines()[0]
    imports = next(c for c in cells if c.cell_type == "code" and "import torch" in c.source)
    start = next(i for i, c in enumerate(cells) if c.source.startswith("## Exercises"))
    points, tried = iter(POINTS), {e.stub.id: e for e in exercises(notebook)}
    made = [
        new_markdown_cell(f"{title}: exercises", id="title"),
        new_code_cell(imports.source, id=imports.id),
    ]
    for cell in cells[start:]:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and cell.source.startswith("## What to remember"):
            break
        if "exercise" in tags:
            answer = with_markers(tried[cell.id])
            made.append(new_code_cell(answer, id=cell.id, metadata=graded(cell.id, solution=True)))
        elif "check" in tags:
            test = graded(cell.id, grade=True, locked=True, points=next(points))
            made.append(new_code_cell(as_test(cell.source), id=cell.id, metadata=test))
        elif "solution" not in tags:
            made.append(cell)
    return new_notebook(cells=made, metadata=notebook.metadata)


def graded(id, **what):
    """nbgrader's metadata for one cell."""
    plain = {"grade": False, "locked": False, "solution": False, "task": False}
    return {"nbgrader": {"schema_version": SCHEMA, "grade_id": id, **plain, **what}}


def with_markers(exercise):
    """The stub's first line, then the solution between nbgrader's markers."""
    first, lines = exercise.stub.source.splitlines()[0], exercise.solution.splitlines()
    indent = "    " if first.startswith("def ") else ""
    inside = lines[1:] if indent else lines
    marked = [f"{indent}### BEGIN SOLUTION", *inside, f"{indent}### END SOLUTION"]
    return "\n".join([first, *marked])


def as_test(check):
    """The check as nbgrader's test: an answer that does not pass raises, with the check's words."""
    call = ast.parse(check).body[-1]
    lines = check.splitlines()
    lines[call.lineno - 1] = f"result = {lines[call.lineno - 1]}"
    return "\n".join([*lines, "display(result)", "assert result.passed, result.title"])
