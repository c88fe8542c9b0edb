"""python -m tools.assignment [OUT]: write the exercises as nbgrader's source folder."""

import pathlib
import sys

import nbformat

from tools.assignment.exercises import assignment
from tools.notebooks import NOTEBOOKS, load

if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "_assignment")
    for path in NOTEBOOKS:
        folder = out / "source" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(assignment(load(path)), folder / path.name)
    print(out / "source")
