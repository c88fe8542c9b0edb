"""python -m tools.picture: the explorer of the README, light and dark, photographed alive."""

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tools.book.build import explorer
from tools.lab import CHROMIUM_FLAGS, chromium
from tools.notebooks import ROOT

PLACE = ROOT / "notebooks" / "pictures"
PAGE = """<!DOCTYPE html><html data-theme="{theme}"><body style="margin:0;background:{ground};
--jp-ui-font-color1:{ink};--jp-ui-font-color2:{ink};--jp-layout-color0:{ground}">
<main style="padding:12px">{widget}</main>{host}</body></html>"""
THEMES = {"light": ("#ffffff", "#1f2430"), "dark": ("#0d1117", "#e6edf3")}


def take():
    widget, host = explorer()
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 700})
        for theme, (ground, ink) in THEMES.items():
            path = Path(folder, f"{theme}.html")
            text = PAGE.format(theme=theme, ground=ground, ink=ink, widget=widget, host=host)
            path.write_text(text, "utf-8")
            page.goto(path.as_uri())
            page.wait_for_selector("body[data-ready]")
            page.locator("main").screenshot(path=PLACE / f"explorer-{theme}.png")
        browser.close()


if __name__ == "__main__":
    take()
    print(PLACE)
