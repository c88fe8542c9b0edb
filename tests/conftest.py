"""Settings for all tests: one seed, pictures without a window, and the browser's fixtures."""

import os
import subprocess
import sys
import tempfile

# Before Jupyter and normlib are imported: verdicts of test runs are not those of this machine.
os.environ["JUPYTER_DATA_DIR"] = tempfile.mkdtemp(prefix="normlib-tests-")

import matplotlib
import pytest
import torch

from tools.lab import CHROMIUM_FLAGS, chromium
from tools.notebooks import NOTEBOOKS, ROOT, counts

matplotlib.use("agg")
NO_BROWSER = "no Chromium or Chrome on this machine: browser tests cannot run"
IN_JUPYTERLAB = [p for p in NOTEBOOKS if p.stem.startswith(("00", "04_0", "04_1"))]
ON_LIVE_SLIDES = [p for p in NOTEBOOKS if p.stem.startswith("04_2")]
SLOW = ("browser", "notebooks", "book")


def pytest_collection_modifyitems(items):
    """Fast tests first, then the browser, then whole notebooks, then the book made of them.

    Teachers' tools come before the notebooks, which are still running in the background then.
    """
    items.sort(
        key=lambda item: (
            sum((i + 1) * (m in item.keywords) for i, m in enumerate(SLOW)),
            "test_teaching" not in item.nodeid,
        )
    )


@pytest.fixture(scope="session", autouse=True)
def notebooks_run_in_the_background(request):
    """On the second core, beside the fast tests and the browser, where they will be needed."""
    if not any("notebooks" in item.keywords for item in request.session.items):
        yield
        return
    elsewhere = IN_JUPYTERLAB + ON_LIVE_SLIDES
    names = [p.stem for p in NOTEBOOKS if p not in elsewhere and not counts(p)]
    command = [sys.executable, "-m", "tools.notebooks", *reversed(names)]  # 4.8 is the longest
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # their tests will tell
    with subprocess.Popen(command, cwd=ROOT, **quiet) as process:
        yield
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
