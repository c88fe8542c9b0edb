"""How many minutes a notebook takes: python -m tools.minutes prints it for all.

Words at 150 a minute, code that is shown at 12 lines a minute, the run as it was measured, and
time to think: 1.5 for a prediction, 2 for an explorer or a Flipbook, half for a claim, and for
an exercise 3 (warm-up), 6, or 10 (stretch). What stands under "Going further" is left out.
"""

import ast
import re

from normlib.trial import Trial
from tools.notebooks import entry, run_all

THINKING = {"Predict": 1.5, "AxesExplorer": 2, "Flipbook": 2}


def minutes(notebook, seconds):
    """(without exercises, with them), for a run of so many seconds; not rounded."""
    total, exercises, part = seconds / 60, 0, ""
    for cell in notebook.cells:
        heading = re.match(r"## (.+)", cell.source)
        part = heading[1] if heading else part
        tags = cell.metadata.get("tags", [])
        if part == "Going further":
            continue
        if part == "Exercises":
            named = re.findall(r"^\*\*\d+( \(warm-up\)| \(stretch\))?\.", cell.source, re.M)
            exercises += sum({" (warm-up)": 3, "": 6, " (stretch)": 10}[name] for name in named)
        elif cell.cell_type == "markdown" and "solution" not in tags:
            total += len(cell.source.split()) / 150
        elif cell.cell_type == "code":
            hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
            lines = [line for line in cell.source.splitlines() if line.strip()]
            if not (hidden or cell.id == "imports"):
                total += len(lines) / 12
            for name, each in THINKING.items():
                total += each * len(re.findall(rf"\b{name}\(", cell.source))
            for sections in re.findall(r"= Trial\((.+?)\)", cell.source):
                total += 0.5 * len(Trial(*ast.literal_eval(f"[{sections}]")).entries)
    return total, total + exercises


def to_five(number):
    return 5 * round(number / 5)


if __name__ == "__main__":
    for path, run in run_all(tell=lambda text: None).items():
        both = minutes(run.notebook, run.seconds)
        print("{:50} {:5.1f} {:5.1f}".format(entry(path).title, *both))
