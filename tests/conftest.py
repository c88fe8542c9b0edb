"""Settings for all tests: one seed, pictures without a window, and the browser's fixtures."""

import os
import pathlib

import matplotlib
import pytest
import torch

matplotlib.use("agg")
ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def pytest_collection_modifyitems(items):
    """Fast tests first, then the browser, then whole notebooks."""
    slow = ("browser", "notebooks")
    items.sort(key=lambda item: sum((i + 1) * (m in item.keywords) for i, m in enumerate(slow)))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests that need it skip without one, except in CI, where they fail."""
    from playwright.sync_api import sync_playwright

    from tests.browser.lab import CHROMIUM_FLAGS, chromium

    path = chromium()
    if path is None:
        message = "no Chromium or Chrome on this machine: browser tests cannot run"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
