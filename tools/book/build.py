"""From executed notebooks to a book that lives without a kernel: their outputs, for Sphinx."""

import copy
import html
import json
import pathlib
import re
import shutil
import string
import subprocess
import sys

import ipywidgets
import nbformat

from tools.launch import links
from tools.notebooks import NOTEBOOKS, ROOT, RUNS, entry, load, widget_state

HERE = pathlib.Path(__file__).parent
VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NO_SCRIPT = "<p>Without scripts the widgets of this page are words and pictures.</p>"
PARTS = {  # headings of the contents, by the first letters of the notebooks
    "Start": ("00", "01"), "Batch Normalization": ("02",), "Its limits": ("03",),
    "Its family": ("04",), "In the end": ("05",),
}  # fmt: skip


def models_of(state):
    """(sources, models) of all anywidgets: code and style once, then the state of each."""
    sources, models = {}, {}
    for id, saved in state.items():
        if saved["model_module"] != "anywidget":
            continue
        foreign = "_", "layout", "tabbable", "tooltip"
        kept = {k: v for k, v in saved["state"].items() if not k.startswith(foreign)}
        name = saved["state"]["_anywidget_id"]
        sources[name] = {"esm": saved["state"]["_esm"], "css": saved["state"].get("_css", "")}
        buffers = {buffer["path"][0]: buffer["data"] for buffer in saved.get("buffers", [])}
        models[id] = {"source": name, "state": kept, "buffers": buffers}
    return sources, models


def host(sources, models):
    """The saved state of a page's widgets, and the script that brings them to life."""
    state = json.dumps({"sources": sources, "models": models}, allow_nan=False)
    state = state.replace("</", "<\\/")
    script = (HERE / "host.js").read_text("utf-8")
    return (
        f"<noscript>{NO_SCRIPT}</noscript>\n"
        f'<script type="application/json" id="widget-state">{state}</script>\n'
        f'<script type="module">\n{script}</script>'
    )


def shown(output, models):
    """An output as it stands on a page, or None: a widget that lives, or else its still."""
    bundle = output.get("data", {})
    words, text = bundle.get("text/html", ""), html.escape(bundle.get("text/plain", ""))
    still = re.search(r'data-still="(\w+)"', words)
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    lives = bundle.get(VIEW, {}).get("model_id") in models
    if bundle == {"text/plain": ""} or (VIEW in bundle and not text and not lives):
        return None  # where a progress bar was, or a widget of ours whose still follows
    if lives:
        place = f'<div data-widget="{bundle[VIEW]["model_id"]}"></div>'
    elif VIEW in bundle:
        place = f"<p>This control needs Python. Its last state: {text}</p>"
    elif still and still[1] in (model["state"].get("still") for model in models.values()):
        place = f"<noscript>{words}</noscript>"
    else:
        return output
    return nbformat.v4.new_output("display_data", data={"text/html": place})


def chapter(notebook):
    """An executed notebook as Sphinx's source: cells, marks for the slides, living widgets."""
    sources, models = models_of(widget_state(notebook))
    about = {"kernelspec": notebook.metadata.get("kernelspec", KERNEL)}
    made = nbformat.v4.new_notebook(metadata=about)
    for cell in copy.deepcopy(notebook.cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if made.cells and kind != "-":
            mark = f'<div class="nl-slide" data-kind="{kind}" hidden></div>'
            made.cells.append(nbformat.v4.new_markdown_cell(mark))
        if cell.cell_type == "code":
            cell.outputs = [o for o in (shown(o, models) for o in cell.outputs) if o is not None]
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                cell.metadata.tags = [*cell.metadata.get("tags", []), "hide-input"]
        made.cells.append(cell)
    made.cells.append(
        nbformat.v4.new_markdown_cell("```{raw} html\n" + host(sources, models) + "\n```")
    )
    return made


def poster(notebook):
    """The page of the master table's pictures, as notebook 5 has drawn them."""
    (cell,) = (cell for cell in notebook.cells if cell.id == "poster")
    picture = cell.outputs[0].data["text/html"] if cell.outputs else "Notebook 5 has not run."
    return f'# The master table, measured\n\n<div class="nl-poster">{picture}</div>\n'


def explorer():
    """The explorer on real digits that introduces the course: (its place on a page, its host)."""
    from normlib.data import digit_activations
    from normlib.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
    from normlib.widgets import AxesExplorer

    methods = {
        "Batch Norm": BatchNorm(6), "Layer Norm": LayerNorm((6, 4, 4)),
        "Instance Norm": InstanceNorm(6), "Group Norm": GroupNorm(2, 6),
    }  # fmt: skip
    widget = AxesExplorer(methods, digit_activations(), cell=229)
    state = ipywidgets.Widget.get_manager_state(widgets=[widget])["state"]
    return f'<div data-widget="{widget.model_id}"></div>', host(*models_of(state))


def first_page():
    """The cover: what the course is, the explorer itself, the questions, how to open it."""
    widget, alive = explorer()
    cards, contents = [], []
    for one in map(entry, NOTEBOOKS):
        words = f"<strong>{html.escape(one.title)}</strong> {html.escape(one.question)}"
        cards.append(f'<a href="{one.stem}.html">{words}</a>')
    for caption, beginnings in PARTS.items():
        stems = [p.stem for p in NOTEBOOKS if p.stem.startswith(beginnings)]
        contents.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *stems]))
    binder = links().get("Binder")
    return string.Template((HERE / "index.md").read_text("utf-8")).substitute(
        launch=f"Or [open it on Binder]({binder}), where nothing is kept." if binder else "",
        explorer=widget,
        cards="".join(cards), contents="\n```\n\n".join(contents), host=alive,
    )  # fmt: skip


def write_book(out, runs):
    """Build the book in the folder `out`; a notebook without its Run in {path: Run} has no outputs.

    Raises RuntimeError if Sphinx warns.
    """
    sources, pages = RUNS / "sources", RUNS / "pages"
    for old in (sources, pages, out):
        shutil.rmtree(old, ignore_errors=True)
    sources.mkdir(parents=True)
    for path in NOTEBOOKS:
        executed = runs[path].notebook if path in runs else load(path)
        nbformat.write(chapter(executed), sources / path.name)
        if path.stem.startswith("05"):
            (sources / "poster.md").write_text(poster(executed), "utf-8")
    (sources / "index.md").write_text(first_page(), "utf-8")
    for words in ("GLOSSARY.md", "TEACHING.md"):
        shutil.copy(ROOT / "notebooks" / words, sources)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-d", RUNS / "doctrees", "-c", HERE, sources, pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the book was not built:\n{done.stderr}")
    for path in NOTEBOOKS:  # what is downloaded is the notebook itself, without outputs
        shutil.copy(path, pages / "_sources")
    shutil.copytree(pages, out)
