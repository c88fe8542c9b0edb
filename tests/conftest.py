"""Settings for all tests: a seed, a thread, pictures without a window, the browser's fixtures."""

import os
import subprocess
import sys
import tempfile
import threading

# Before Jupyter and normlib are imported: verdicts of test runs are not those of this machine.
os.environ["JUPYTER_DATA_DIR"] = tempfile.mkdtemp(prefix="normlib-tests-")

from tools.notebooks import NOTEBOOKS, ONE_THREAD, ROOT, counts, place_of

os.environ |= ONE_THREAD  # before torch is imported; for all kernels too

import matplotlib
import pytest
import torch

from tools.lab import CHROMIUM_FLAGS, chromium

matplotlib.use("agg")
NO_BROWSER = "no Chromium or Chrome on this machine: browser tests cannot run"
IN_JUPYTERLAB = [p for p in NOTEBOOKS if p.stem.startswith(("00", "04_0", "04_4"))]
ON_LIVE_SLIDES = [p for p in NOTEBOOKS if p.stem.startswith("04_2")]
LAST = [p for p in NOTEBOOKS if counts(p)]  # it counts the verdicts of all others
OTHERS = [p for p in NOTEBOOKS if p not in LAST]
OTHERS.insert(0, OTHERS.pop())  # 4.8 is long: at the end, one core would wait for it
SLOW = ("browser", "notebooks", "book")


def pytest_collection_modifyitems(items):
    """Fast tests first, then the browser, then whole notebooks, then the book made of them.

    Notebooks that run in the browser come before its other tests, since others wait for them; and
    the one that counts verdicts comes last: it runs beside tests that need no notebook.
    """
    first = "test_a_student_runs", "test_widgets_live_on_live", "test_runs_in_a_fresh", "minutes"

    def place(item):
        kind = sum((i + 1) * (m in item.keywords) for i, m in enumerate(SLOW))
        return (
            2 if "test_widgets_page" in item.nodeid else kind,
            any(f"[{path.stem}]" in item.nodeid for path in LAST),
            not any(name in item.nodeid for name in first),
        )

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def notebooks_run_in_the_background(request):
    """On the second core, beside the fast tests and the browser, where they will be needed."""
    if not any("notebooks" in item.keywords for item in request.session.items):
        yield
        return
    # Found here: Python 3.11 fails when two threads parse at the same time.
    awaited = [place_of(p) for p in OTHERS]
    done = threading.Event()
    work = threading.Thread(target=run_beside, args=(awaited, done))
    work.start()
    yield
    done.set()
    work.join()


def run_beside(awaited, done):
    """What runs in no browser; then, when all others have run, the one that counts verdicts."""
    here = [p for p in OTHERS if p not in IN_JUPYTERLAB + ON_LIVE_SLIDES]
    for paths in (here, LAST):
        while paths is LAST and not all(place.exists() for place in awaited):
            if done.wait(3):
                return
        command = [sys.executable, "-m", "tools.notebooks", *(p.stem for p in paths)]
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }  # their tests will tell
        with subprocess.Popen(command, cwd=ROOT, **quiet) as process:
            while process.poll() is None:
                if done.wait(1):
                    process.terminate()


def pytest_terminal_summary(terminalreporter):
    """What the run spent on what."""
    spent = dict.fromkeys(("fast", *SLOW), 0.0)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                kind = next((m for m in reversed(SLOW) if m in report.keywords), "fast")
                spent[kind] += report.duration
    words = ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in spent.items())
    terminalreporter.write_line(f"spent on: {words}")


def pytest_report_header():
    return f"browser: {chromium() or NO_BROWSER}"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests that need it skip without one, except in CI, where they fail."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
