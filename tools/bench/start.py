"""What it costs to start: importing normlib beyond its libraries, and a notebook's first cell."""

import statistics
import subprocess
import sys
import time

LIBRARIES = "torch, anywidget, matplotlib.pyplot, tqdm, sklearn.datasets, sklearn.model_selection"
MODULES = "axes, layers, data, training, plots, feedback, environment, widgets"


def seconds(code):
    """Median of five fresh interpreters."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure():
    libraries = seconds(f"import {LIBRARIES}")
    everything = seconds(f"import {LIBRARIES}\nfrom normlib import {MODULES}")
    yield "libraries alone", f"{libraries:.2f} s", ""
    yield (
        "normlib, all modules, beyond its libraries",
        f"{everything - libraries:+.2f} s",
        "<= 0.2 s",
    )
    yield "a notebook's first cell", f"{everything:.2f} s", "<= 6 s"
