"""python -m tools.answers FOLDER: what a class answered before the course and after it.

Reads the saved notebooks 5 under FOLDER, one for each student, and prints for every question how
many were right before and after, and the commonest wrong answer that is left.
"""

import pathlib
import sys
from collections import Counter

from normlib.questions import ANSWERS, asked
from tools.notebooks import load


def collected(folder):
    """{path: {id: answers}} of the notebooks under a folder that have any, None for broken ones.

    JupyterLab's own copies do not count.
    """
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        try:
            cells = load(path).cells
        except (OSError, ValueError):
            found[path] = None
            continue
        for cell in cells:
            for output in cell.get("outputs", []):
                if ANSWERS in output.get("data", {}):
                    found[path] = output.data[ANSWERS]
    return found


def table(students):
    """A line of Markdown for each question."""
    lines = ["| question | right before | right after | still believed |", "|---|---|---|---|"]
    for id, entry in asked().items():
        cells = []
        for when in ("before", "after"):
            said = [s[id] for s in students if id in s and s[id][when]]
            right = sum(s[when] == s["measured"] for s in said)
            cells.append(f"{right} of {len(said)}")
            wrong = Counter(s[when] for s in said if s[when] != s["measured"])
        left = "; ".join(f"{answer} ({count})" for answer, count in wrong.most_common(1))
        lines.append(f"| {entry['question']} | {' | '.join(cells)} | {left} |")
    return "\n".join(lines)


def main(folder):
    found = collected(folder)
    broken = [f"\n{path} cannot be read as a notebook" for path in found if found[path] is None]
    students = [answers for answers in found.values() if answers]
    if students:
        lines = [f"students: {len(students)}", "", table(students)]
    else:
        lines = [f"no notebook under {folder} has answers: students save 05_conclusion.ipynb, run"]
    return "\n".join([*lines, *broken])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.answers FOLDER")
    print(main(sys.argv[1]))
