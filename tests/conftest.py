"""Settings for all tests: one seed, pictures without a window, and the browser's fixtures."""

import os
import tempfile

# Before Jupyter and normlib are imported: verdicts of test runs are not those of this machine.
os.environ["JUPYTER_DATA_DIR"] = tempfile.mkdtemp(prefix="normlib-tests-")

import matplotlib
import pytest
import torch

from tests.browser.lab import CHROMIUM_FLAGS, chromium

matplotlib.use("agg")
NO_BROWSER = "no Chromium or Chrome on this machine: browser tests cannot run"
EXECUTED = {}  # path: notebook with its outputs, filled by test_notebooks for test_site


def pytest_collection_modifyitems(items):
    """Fast tests first, then the browser, then whole notebooks, then the site made of them."""
    slow = ("browser", "notebooks", "site")
    items.sort(key=lambda item: sum((i + 1) * (m in item.keywords) for i, m in enumerate(slow)))


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
