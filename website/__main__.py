"""python -m website [site|slides|links] [NOTEBOOK...]: run notebooks and write what they show.

site      a page and a deck for every notebook, and an index, to _site
slides    the decks of all notebooks, or of those whose names begin as given, to _slides
links     nothing is run: print where Binder and a JupyterHub open the course
"""

import os
import pathlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from website.build import NOTEBOOKS, NotebookError, execute, links, write_decks, write_site


def main(what="site", *names):
    if what == "links":
        print(*links(), sep="\n")
        return
    chosen = [p for p in NOTEBOOKS if not names or p.stem.startswith(names)]
    if what not in ("site", "slides") or not chosen:
        sys.exit(__doc__)
    executed, start = {}, time.perf_counter()
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:  # a notebook trains on one core
        try:
            for path, notebook in zip(chosen, pool.map(execute, chosen), strict=True):
                executed[path] = notebook
                print(f"{path.stem}: done after {time.perf_counter() - start:.0f} s", flush=True)
        except NotebookError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"stopped: {error}")
    out = pathlib.Path(f"_{what}")
    (write_site if what == "site" else write_decks)(out, executed)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
