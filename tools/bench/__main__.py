"""Print what was measured beside the budgets. Nothing here fails: machines differ.

python -m tools.bench [layers] [start] [browser] [notebooks] [classroom]
"""

import sys

from tools.bench import browser, classroom, layers, notebooks, start

PARTS = {
    "layers": layers, "start": start, "browser": browser, "notebooks": notebooks,
    "classroom": classroom,
}  # fmt: skip
for name in sys.argv[1:] or PARTS:
    print(f"\n## {name}: {PARTS[name].__doc__.splitlines()[0]}", flush=True)
    for what, measured, budget in PARTS[name].measure():
        print(f"{what:58} {measured:>22}   {budget}", flush=True)
