"""Every notebook in a fresh kernel: seconds from top to bottom, and the kernel's peak memory."""

import os
import tempfile
import time

import nbformat
from nbclient import NotebookClient

from website.build import NOTEBOOKS

# Linux's own record of this process; ru_maxrss would count the parent's memory too.
PEAK = "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"


def measure():
    total = 0.0
    data = tempfile.mkdtemp(prefix="normlib-bench-")  # verdicts of this run are not the reader's
    env = os.environ | {"JUPYTER_DATA_DIR": data}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(f"import pathlib, re\n{PEAK}"))
        start = time.perf_counter()
        NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": path.parent}}
        ).execute(env=env)
        took = time.perf_counter() - start
        total += took
        peak = int(notebook.cells[-1].outputs[0].text) / 1024
        yield f"{path.stem}: top to bottom", f"{took:.0f} s", "<= 60 s"
        yield f"{path.stem}: kernel's peak memory", f"{peak:.0f} MB", "<= 850 MB"
    yield "all notebooks", f"{total:.0f} s", "<= 480 s"
