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
SLOW = ("browser", "notebooks", "book")


def pytest_collection_modifyitems(items):
    """Fast tests first, then the browser, then whole notebooks, then the book made of them.

    Notebooks that run in the browser come before its other tests, since others wait for them; and
    the one that counts the verdicts of all others comes last, so that it can run beside tests.
    """
    first = "test_a_student_runs", "test_widgets_live_on_live", "test_runs_in_a_fresh", "minutes"
    last = [f"[{path.stem}]" for path in NOTEBOOKS if counts(path)]
    items.sort(
        key=lambda item: (
            sum((i + 1) * (m in item.keywords) for i, m in enumerate(SLOW)),
            any(name in item.nodeid for name in last),
            not any(name in item.nodeid for name in first),
        )
    )


@pytest.fixture(scope="session", autouse=True)
def notebooks_run_in_the_background(request):
    """On the second core, beside the fast tests and the browser, where they will be needed."""
    if not any("notebooks" in item.keywords for item in request.session.items):
        yield
        return
    # Their places are found here: Python 3.11 fails when two threads parse at the same time.
    others = [place_of(p) for p in NOTEBOOKS if not counts(p)]
    done = threading.Event()
    work = threading.Thread(target=run_beside, args=(others, done))
    work.start()
    yield
    done.set()
    work.join()


def run_beside(others, done):
    """The longest notebook first, 4.8; the one that counts verdicts when all others have run."""
    last = [p for p in NOTEBOOKS if counts(p)]
    here = [p for p in reversed(NOTEBOOKS) if p not in last + IN_JUPYTERLAB + ON_LIVE_SLIDES]
    for paths in (here, last):
        while paths is last and not all(place.exists() for place in others):
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
