"""What a student reads stays short: lines of code, without docstrings, comments and blanks."""

import ast
import io
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
    ("files", "limit"), [(["layers"], 350), (["axes", "footprint", "layers", "weights"], 850)]
)
def test_what_a_student_reads_stays_short(files, limit):
    texts = [(NORMLIB / f"{name}.py").read_text("utf-8") for name in files]
    assert sum(map(lines_of_code, texts)) <= limit
