"""The branch that Binder, Colab and hubs open: main and a cell that installs the course."""

import subprocess
import sys

import nbformat
import pytest

from tools.launch import git, publish
from tools.notebooks import NOTEBOOKS, ROOT


@pytest.fixture
def clone(tmp_path):
    git("clone", "-q", str(ROOT), str(tmp_path / "clone"))
    for key, value in {"user.name": "A", "user.email": "a@example.org"}.items():
        git("config", key, value, at=tmp_path / "clone")
    return tmp_path / "clone"


def test_the_branch_is_main_and_one_folded_first_cell_in_every_notebook(clone):
    publish("https://example.org/a/b", clone)
    publish("https://example.org/a/b", clone)  # again, over the old one
    assert git("diff", "--name-only", "HEAD", "launch", at=clone).splitlines() == [
        f"notebooks/{path.name}" for path in NOTEBOOKS
    ]
    commit = git("rev-parse", "HEAD", at=clone)
    assert git("rev-parse", "launch^", at=clone) == commit
    assert git("status", "--short", at=clone) == ""
    assert git("worktree", "list", at=clone).count("\n") == 0
    for path in NOTEBOOKS:
        there = nbformat.reads(git("show", f"launch:notebooks/{path.name}", at=clone), 4)
        here = nbformat.reads(git("show", f"HEAD:notebooks/{path.name}", at=clone), 4)
        first, *others = there.cells
        assert others == here.cells
        assert f"git+https://example.org/a/b@{commit}" in first.source
        assert first.source.startswith("# Install: ")
        assert first.metadata.jupyter.source_hidden


def test_the_cell_does_nothing_where_the_course_is_or_is_not_served(clone):
    publish("https://example.org/a/b", clone)
    text = git("show", f"launch:notebooks/{NOTEBOOKS[0].name}", at=clone)
    source = nbformat.reads(text, 4).cells[0].source
    stop = "import subprocess\nsubprocess.run = None\n"  # any install would fail
    served = "import sys\nsys.modules['google.colab'] = sys\n"
    for before in ("", served):
        command = [sys.executable, "-c", stop + before + source]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    missing = "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
    command = [sys.executable, "-c", missing + stop + served + source]
    here = subprocess.run(command, capture_output=True, text=True)
    assert "not callable" in here.stderr  # it would install
