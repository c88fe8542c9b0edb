"""python -m tools.picture: the explorer of the README, light and dark, photographed alive."""

import tempfile
from pathlib import Path

import ipywidgets
from playwright.sync_api import sync_playwright

from normlib.data import digit_activations
from normlib.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from normlib.widgets import AxesExplorer
from tools.book.build import host, models_of
from tools.lab import CHROMIUM_FLAGS, chromium
from tools.notebooks import ROOT

PLACE = ROOT / "notebooks" / "pictures"
PAGE = """<!DOCTYPE html><html data-theme="{theme}"><body style="margin:0;background:{ground};
--jp-ui-font-color1:{ink};--jp-ui-font-color2:{ink};--jp-layout-color0:{ground}">
<div data-widget="{id}" style="padding:12px"></div>{host}</body></html>"""
THEMES = {"light": ("#ffffff", "#1f2430"), "dark": ("#0d1117", "#e6edf3")}


def take():
    methods = {
        "Batch Norm": BatchNorm(6), "Layer Norm": LayerNorm((6, 4, 4)),
        "Instance Norm": InstanceNorm(6), "Group Norm": GroupNorm(2, 6),
    }  # fmt: skip
    explorer = AxesExplorer(methods, digit_activations(), cell=229)
    state = ipywidgets.Widget.get_manager_state(widgets=[explorer])["state"]
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 700})
        for theme, (ground, ink) in THEMES.items():
            path = Path(folder, f"{theme}.html")
            alive = host(*models_of(state))
            text = PAGE.format(
                theme=theme, ground=ground, ink=ink, id=explorer.model_id, host=alive
            )
            path.write_text(text, "utf-8")
            page.goto(path.as_uri())
            page.wait_for_selector("body[data-ready]")
            page.locator("[data-widget]").screenshot(path=PLACE / f"explorer-{theme}.png")
        browser.close()


if __name__ == "__main__":
    take()
    print(PLACE)
