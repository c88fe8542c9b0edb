"""Key press to paint in JupyterLab: our widgets, and interact with matplotlib, in one run."""

import pathlib
import statistics
import tempfile
import time

import nbformat
from playwright.sync_api import sync_playwright

from tools.lab import CHROMIUM_FLAGS, KERNEL, Lab, chromium, server

CELLS = {
    "explorer": """
        import torch
        from normlib.layers import BatchNorm, LayerNorm, InstanceNorm, GroupNorm
        from normlib.widgets import AxesExplorer, Flipbook
        methods = [BatchNorm(6), LayerNorm((6, 4, 4)), InstanceNorm(6), GroupNorm(2, 6)]
        AxesExplorer(methods, torch.randn(4, 6, 4, 4))""",
    "large": """
        large = [BatchNorm(8), LayerNorm((8, 8, 8))]
        AxesExplorer(large, torch.randn(8, 8, 8, 8))""",
    "flipbook": """
        import matplotlib.pyplot as plt
        def bars(n):
            fig, ax = plt.subplots(figsize=(8, 4))
            ax.bar(range(n), range(n))
            return fig
        Flipbook(bars, alt="bars", n=list(range(2, 26)))""",
    "voxels": """
        import ipywidgets, numpy as np
        def voxels(i):
            colors = np.full((4, 6, 16), "#cccccc", object)
            colors[:, i % 6] = "#0072b2"  # one channel of the same 384 cells
            ax = plt.figure(figsize=(5, 4)).add_subplot(projection="3d")
            ax.voxels(np.ones(colors.shape, bool), facecolors=colors, edgecolor="k")
            plt.show()
        ipywidgets.interact(voxels, i=(0, 23));""",
    "echo": """
        slider, label = ipywidgets.IntSlider(max=100), ipywidgets.Label("0")
        label.add_class("bench-echo")
        slider.observe(lambda change: setattr(label, "value", str(change.new)), "value")
        ipywidgets.VBox([slider, label])""",
}

# From the key event to the change, and from there to the frame that shows it.
TIMER = """
([selector, change]) => {
  window.benchTimes = [];
  const painted = (start) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => window.benchTimes.push(performance.now() - start);
    port2.postMessage(0);
  });
  let start = 0;
  window.benchKey && document.removeEventListener("keydown", window.benchKey, true);
  window.benchObserver && window.benchObserver.disconnect();
  window.benchKey = (event) => {
    start = event.timeStamp;
    if (change === "floor") painted(start);
  };
  document.addEventListener("keydown", window.benchKey, true);
  if (change === "floor") return;
  const isImage = ({ addedNodes, attributeName }) => attributeName === "src" ||
    [...addedNodes].some((n) => n.tagName === "IMG" || n.querySelector?.("img"));
  window.benchObserver = new MutationObserver((records) => {
    if (!start || (change === "image" && !records.some(isImage))) return;
    const begin = start;
    start = 0;
    painted(begin);
  });
  window.benchObserver.observe(document.querySelector(selector), {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
}
"""


def key_times(lab, selector, keys, change="mutation", count=40):
    """Milliseconds per key; a key waits until the one before has been painted."""
    page = lab.page
    page.evaluate(TIMER, [selector, change])
    for i in range(count):
        page.keyboard.press(keys[i % len(keys)])
        page.wait_for_function(f"() => window.benchTimes.length > {i}", timeout=20_000)
        if change == "image":
            page.wait_for_timeout(700)  # a late second picture belongs to this key, not the next
    return page.evaluate("() => window.benchTimes")


def summary(times):
    ordered = sorted(times)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.95) - 1]


def clean(source):
    lines = source.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)


def measure():
    path = chromium()
    if path is None:
        yield "no Chromium or Chrome on this machine", "not measured", ""
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        server(pathlib.Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        cells = [nbformat.v4.new_code_cell(clean(s), id=name) for name, s in CELLS.items()]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
        nbformat.write(notebook, pathlib.Path(folder) / "notebooks" / "bench.ipynb")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        lab = Lab(browser.new_page(viewport={"width": 1280, "height": 900}), address, "bench.ipynb")
        errors = lab.run_all()
        if errors:
            raise RuntimeError(errors)
        yield from compare(lab)
        yield from endure(lab)
        browser.close()


def compare(lab):
    lab.cell("explorer")
    ours = '[data-cell-id="explorer"]'
    lab.page.locator(f"{ours} .nl-sheet").focus()
    floor, _ = summary(key_times(lab, ours, ["Shift"], "floor"))
    walk = summary(key_times(lab, f"{ours} .nl-where", ["ArrowRight", "ArrowLeft"]))
    method = summary(key_times(lab, f"{ours} .nl-sentence", ["]"]))
    change = summary(key_times(lab, f"{ours} .nl-moved", ["+", "+", "-"]))
    lab.cell("large")
    large = lab.page.locator('[data-cell-id="large"] .nl-sheet')
    large.focus()
    inside = '[data-cell-id="large"] .nl-moved'
    changes = [summary(key_times(lab, inside, ["+", "+", "-"]))]
    lab.page.keyboard.press("]")
    changes.append(summary(key_times(lab, inside, ["+", "+", "-"])))
    lab.cell("flipbook")
    lab.page.locator(".nl-flipbook input").focus()
    flip = summary(key_times(lab, ".nl-pages", ["ArrowRight", "ArrowRight", "ArrowLeft"]))
    lab.cell("voxels")
    focus_handle(lab, "voxels")
    picture = '[data-cell-id="voxels"] .widget-interact .jp-OutputArea'
    voxels = summary(key_times(lab, picture, ["ArrowRight"], "image", 12))
    lab.cell("echo")
    focus_handle(lab, "echo")
    echo = summary(key_times(lab, ".bench-echo", ["ArrowRight"], count=30))
    yield "key to next frame (the floor)", f"{floor:.1f} ms", ""
    yield "a bare kernel echo", f"{echo[0]:.1f} ms, p95 {echo[1]:.0f}", ""
    yield "interact with matplotlib voxels", f"{voxels[0]:.0f} ms, p95 {voxels[1]:.0f}", ""
    for name, (median, p95) in {
        "AxesExplorer, next cell": walk, "AxesExplorer, next method": method,
        "AxesExplorer, changing a number": change, "Flipbook": flip,
    }.items():  # fmt: skip
        yield f"{name}: median", f"{median:.1f} ms", f"<= {floor + 2:.1f} ms (the floor + 2)"
        yield f"{name}: 95th percentile", f"{p95:.1f} ms", "<= 33.3 ms (two frames)"
        yield f"{name}: faster than voxels", f"{voxels[0] / median:.0f}x", ">= 80x"
    for name, (median, p95) in zip(["Batch Norm", "Layer Norm"], changes, strict=True):
        what = f"4,096 cells, {name}, changing a number: median"
        yield what, f"{median:.1f} ms, p95 {p95:.0f}", "<= 33.3 ms (two frames)"


def endure(lab, seconds=30):
    """Drag over the explorer and flip pictures without a pause: what is left behind?"""
    page = lab.page
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def count():
        devtools.send("HeapProfiler.collectGarbage")
        found = devtools.send("Performance.getMetrics")["metrics"]
        return {m["name"]: m["value"] for m in found}

    lab.cell("flipbook")
    lab.cell("explorer")
    box = page.locator('[data-cell-id="explorer"] .nl-sheet').bounding_box()
    before, end, moves = count(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for i in range(50):
            at = (moves * 7 + i * 13) % 400
            page.mouse.move(box["x"] + 80 + at % 350, box["y"] + 50 + at * 0.6)
        page.keyboard.press("]")
        moves += 50
    start = time.monotonic()
    page.wait_for_function(f"{KERNEL}.status === 'idle'", timeout=60_000)
    backlog = (time.monotonic() - start) * 1e3
    after = count()
    yield (
        f"dragging {seconds} s, {moves} moves: kernel idle again after",
        f"{backlog:.0f} ms",
        "no backlog",
    )
    heap = (after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / 1e6
    yield "the same: growth of the page's heap", f"{heap:+.1f} MB", "flat"
    for what, key in {"DOM nodes": "Nodes", "event listeners": "JSEventListeners"}.items():
        yield f"the same: growth of {what}", f"{after[key] - before[key]:+.0f}", "flat"


def focus_handle(lab, cell):
    lab.page.locator(f'[data-cell-id="{cell}"] .noUi-handle').focus()
