"""python -m website [OUT]: run every notebook and write the site, by default to _site."""

import pathlib
import sys
import time

from website.build import NOTEBOOKS, NotebookError, execute, write

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "_site")
executed = {}
for path in NOTEBOOKS:
    start = time.perf_counter()
    try:
        executed[path] = execute(path)
    except NotebookError as error:
        sys.exit(f"stopped: {error}")
    print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
write(out, executed)
print(f"{out / 'index.html'}")
