"""python -m tools.verdicts [SETS]: does a conclusion depend on the seeds?

Runs all notebooks with their own seeds, and with SETS other sets of seeds (3 by default), and
prints every claim's verdict and every prediction's answer under each. A line that turns is marked.
"""

import sys

from tools.notebooks import NOTEBOOKS, run_all

APART = 1000  # no experiment has so many seeds


def table(sets):
    """{(notebook, claim or question): [what came out under the first set, the second, ...]}."""
    rows = {}
    for number in range(sets + 1):
        runs = run_all(NOTEBOOKS, number * APART, tell=lambda text: print(text, file=sys.stderr))
        for path, run in runs.items():
            for what, came_out in (run.verdicts | run.predictions).items():
                rows.setdefault((path.stem, what), []).append(came_out)
    return rows


def report(rows):
    """The table as Markdown, a line for each claim and prediction."""
    count = max(map(len, rows.values()))
    titles = ["", "notebook", "claim or question", "own seeds", *map(str, range(1, count))]
    lines = [titles, ["---"] * len(titles)]
    for (stem, what), came_out in rows.items():
        mark = "turns" if len(set(came_out)) > 1 else ""
        lines.append([mark, stem, what, *came_out])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(report(table(int(sys.argv[1]) if len(sys.argv) > 1 else 3)))
