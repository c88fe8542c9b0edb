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
    """The answers of each notebook under a folder that has any: {path: {id: answers}}."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*.ipynb")):
        for cell in load(path).cells:
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
            said = [s[id] for s in students if s[id][when]]
            right = sum(s[when] == s["measured"] for s in said)
            cells.append(f"{right} of {len(said)}")
            wrong = Counter(s[when] for s in said if s[when] != s["measured"])
        left = "; ".join(f"{answer} ({count})" for answer, count in wrong.most_common(1))
        lines.append(f"| {entry['question']} | {' | '.join(cells)} | {left} |")
    return "\n".join(lines)


def main(folder):
    found = collected(folder)
    if not found:
        return f"no notebook under {folder} has answers: students save 05_conclusion.ipynb, run"
    return f"{len(found)} students\n\n{table(list(found.values()))}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.answers FOLDER")
    print(main(sys.argv[1]))
