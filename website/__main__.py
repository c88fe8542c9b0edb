"""python -m website [site|slides|links] [NOTEBOOK...]: run notebooks and write what they show.

site      a page and a deck for every notebook, and an index, to _site
slides    the decks of all notebooks, or of those whose names begin as given, to _slides
links     nothing is run: print where Binder and a JupyterHub open the course
"""

import pathlib
import sys
import time

from website.build import NOTEBOOKS, NotebookError, execute, links, write_decks, write_site

what, *names = sys.argv[1:] or ["site"]
if what == "links":
    print(*links(), sep="\n")
    sys.exit()
chosen = [p for p in NOTEBOOKS if not names or p.stem.startswith(tuple(names))]
if what not in ("site", "slides") or not chosen:
    sys.exit(__doc__)
executed = {}
for path in chosen:
    start = time.perf_counter()
    try:
        executed[path] = execute(path)
    except NotebookError as error:
        sys.exit(f"stopped: {error}")
    print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
out = pathlib.Path(f"_{what}")
(write_site if what == "site" else write_decks)(out, executed)
print(out)
