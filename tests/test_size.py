"""What is read stays short: lines of code, without docstrings, comments and blanks."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

NORMLIB = Path(__file__).parent.parent / "normlib"
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
          tokenize.ENDMARKER)  # fmt: skip


def lines_of_code(text):
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, holders) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_lines_are_counted_without_words():
    assert lines_of_code('"""Words."""\n\n# more\nx = [\n    1,  # one\n]\n') == 3


@pytest.mark.parametrize(
    ("files", "limit"),
    [(["layers"], 350), (["axes", "footprint", "layers", "weights"], 850), (["survey"], 230)],
)
def test_what_a_student_reads_stays_short(files, limit):
    texts = [(NORMLIB / f"{name}.py").read_text("utf-8") for name in files]
    assert sum(map(lines_of_code, texts)) <= limit


def test_the_widgets_scripts_stay_short():
    lines = {
        file.name: len(re.findall(r"^(?!\s*//).*\S", file.read_text("utf-8"), re.M))
        for file in (NORMLIB / "widgets").glob("*.js")
    }
    assert sum(lines.values()) <= 900
    assert max(lines.values()) <= 400


def test_the_book_is_a_kept_librarys_and_little_of_our_own():
    book = NORMLIB.parent / "tools" / "book"
    assert sum(lines_of_code(f.read_text("utf-8")) for f in book.glob("*.py")) <= 200
    own = [f.read_text("utf-8") for name in ("js", "css", "md") for f in book.glob(f"*.{name}")]
    assert sum(len(list(filter(str.strip, text.splitlines()))) for text in own) <= 120


def test_the_top_level_shows_the_course():
    listed = subprocess.run(["git", "ls-files"], cwd=NORMLIB.parent, capture_output=True, text=True)
    top = {path.partition("/")[0] for path in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= {
        "README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.txt", "CITATION.cff",
        "notebooks", "normlib", "tests", "tools", "binder",
    }  # fmt: skip
