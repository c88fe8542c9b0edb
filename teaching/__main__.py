"""python -m teaching [OUT]: write the exercises as nbgrader's source folder, by default there."""

import pathlib
import sys

import nbformat

from teaching.exercises import assignment
from website.build import NOTEBOOKS

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "_assignment")
for path in NOTEBOOKS:
    folder = out / "source" / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(assignment(nbformat.read(path, as_version=4)), folder / path.name)
print(out / "source")
