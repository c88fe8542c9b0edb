"""From a notebook to a page: run it, turn words, code and outputs into HTML, keep the widgets."""

import html
import json
import pathlib
import re
import subprocess
from typing import NamedTuple
from urllib.parse import quote

import jinja2
import nbformat
from latex2mathml.converter import convert as mathml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"\d+%\|")  # tqdm's bars: on a page, all work is done


class Entry(NamedTuple):
    """One notebook on the map: its file, its title, and its question."""

    stem: str
    title: str
    question: str

    @property
    def short(self):
        return self.title.split(" ", 1)[0] if self.title[0].isdigit() else self.title


def entry(path):
    first = nbformat.read(path, as_version=4).cells[0].source
    question = re.search(r"\*\*The question\.\*\* (.*)", first)
    return Entry(path.stem, first.splitlines()[0].removeprefix("# "), question[1])


class NotebookError(Exception):
    """A notebook that does not run: the message names it and the cell."""


def execute(path):
    """Run a notebook in a fresh kernel. Raises NotebookError with the cell that failed."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        resources={"metadata": {"path": path.parent}},
        extra_arguments=["--log-level=ERROR"],
    )
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                message = f"{path.name}, cell {cell.id}: {error.ename}: {error.evalue}"
                raise NotebookError(message) from error
        client.set_widgets_metadata()
    return notebook


class Words(IPythonRenderer):
    """Markdown with formulas as MathML, made now: nothing is fetched when the page is read."""

    def block_math(self, body):
        return mathml(body, display="block")

    def inline_math(self, body):
        return mathml(body)


def words(source):
    source = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.html)", source)  # to pages, not to files
    renderer = Words(escape=False, exclude_anchor_links=True)
    found = MarkdownWithMath(renderer=renderer).render(source)
    scrolling = '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>'
    return found.replace("<table>", scrolling).replace("</table>", "</table></div>")


def code(cell, closed=False):
    shown = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    closed = closed or cell.metadata.get("jupyter", {}).get("source_hidden")
    return (
        f'<details class="code"{"" if closed else " open"}><summary>Code</summary>'
        f'<pre class="highlight" tabindex="0"><code>{shown}</code></pre></details>'
    )


def outputs(cell, models):
    parts = []
    for output in cell.outputs:
        bundle = output.get("data", {})
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(f'<pre tabindex="0">{html.escape(output.text)}</pre>')
        elif VIEW in bundle:
            parts.append(widget(bundle, models))
        elif "text/html" in bundle:
            parts.append(bundle["text/html"])
        elif "text/markdown" in bundle:
            parts.append(words(bundle["text/markdown"]))
        elif "text/plain" in bundle:
            parts.append(f'<pre tabindex="0">{html.escape(bundle["text/plain"])}</pre>')
    found = "".join(parts)
    return f'<div class="output">{found}</div>' if found else ""


def widget(bundle, models):
    """The place of a widget; one that needs Python shows its last state in words."""
    id, text = bundle[VIEW]["model_id"], bundle.get("text/plain", "")
    if id in models:
        return f'<div data-widget="{id}"></div>'
    if PROGRESS.search(text):
        return ""
    return f'<p class="note">This control needs Python. Its last state: {html.escape(text)}</p>'


def widget_state(notebook):
    """(sources, models) of all anywidgets: code and style once, then the state of each."""
    sources, models = {}, {}
    saved = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    for id, entry in saved.items():
        if entry["model_module"] != "anywidget":
            continue
        state = {k: v for k, v in entry["state"].items() if not k.startswith("_")}
        for foreign in ("layout", "tabbable", "tooltip"):
            state.pop(foreign, None)
        name = entry["state"]["_anywidget_id"]
        sources[name] = {"esm": entry["state"]["_esm"], "css": entry["state"].get("_css", "")}
        buffers = {buffer["path"][0]: buffer["data"] for buffer in entry.get("buffers", [])}
        models[id] = {"source": name, "state": state, "buffers": buffers}
    return sources, models


def repository():
    """The address of the repository that this clone came from, for a browser, or None."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    found = subprocess.run(command, capture_output=True, text=True)
    address = re.sub(r"^git@([^:]+):", r"https://\1/", found.stdout.strip()).removesuffix(".git")
    return address if address.startswith("https://") else None


def launch_link(stem):
    """Where Binder opens this notebook from this clone's repository, or None."""
    address = repository()
    if address is None:
        return None
    github = address.removeprefix("https://github.com/")
    where = f"git/{quote(address, safe='')}" if github == address else f"gh/{github}"
    return f"https://mybinder.org/v2/{where}/HEAD?urlpath=lab/tree/notebooks/{stem}.ipynb"


def links():
    """Where Binder and a JupyterHub with nbgitpuller open the course."""
    first, address = NOTEBOOKS[0].stem, repository()
    if address is None:
        return ["This clone has no git remote 'origin' with a public address: there is no link."]
    folder = address.rsplit("/", 1)[1]
    place = quote(f"lab/tree/{folder}/notebooks/{first}.ipynb", safe="")
    pull = f"git-pull?repo={quote(address, safe='')}&urlpath={place}"
    return [
        f"Binder:     {launch_link(first)}",
        f"JupyterHub: https://YOUR-HUB/hub/user-redirect/{pull}",
    ]


def note(stem):
    launch = launch_link(stem)
    ways = [f'<a href="{stem}.ipynb" download>download the notebook</a>']
    ways += [f'<a href="{launch}">launch it on Binder</a>'] if launch else []
    return (
        '<p class="note">This page has been run already. Its figures answer to keys and pointer; '
        f"to change code or try the exercises, {' or '.join(ways)}. "
        f'There are <a href="{stem}.slides.html">slides</a>, too.</p>'
    )


def styles():
    """Colours for code in both themes."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    return light + HtmlFormatter(style="github-dark").get_style_defs(
        '[data-theme="dark"] .highlight'
    )


def fill(template, title, sources=(), models=(), **parts):
    """A whole HTML file from a template: style, scripts and widget state go into it."""
    template = jinja2.Template((HERE / template).read_text("utf-8"))
    state = json.dumps({"sources": dict(sources), "models": dict(models)}, allow_nan=False)
    files = {f.name.replace(".", "_"): f.read_text("utf-8") for f in HERE.glob("*.[cj]s*")}
    return template.render(
        title=html.escape(title), css=styles(), state=state.replace("</", "<\\/"), **files, **parts
    )


def block(cell, models, on_slide=False):
    """One cell as HTML. On a slide, the code that made a widget is folded away."""
    if cell.cell_type == "markdown":
        return words(cell.source)
    shown = outputs(cell, models)
    return code(cell, closed=on_slide and "data-widget" in shown) + shown


def page(notebook, this, before, after):
    """The page of one executed notebook."""
    sources, models = widget_state(notebook)
    first, *rest = (block(cell, models) for cell in notebook.cells)
    body = "\n".join([first, note(this.stem), *rest])
    return fill("page.html", this.title, sources, models, body=body, before=before, after=after)


def deck(notebook, this):
    """The same cells as slides: one file that needs nothing else."""
    sources, models = widget_state(notebook)
    slides, part = [], this.title
    for cell in notebook.cells:
        kind = cell.metadata.slideshow.slide_type
        if kind == "skip":
            continue
        if kind in ("slide", "subslide"):
            heading = re.match(r"## (.+)", cell.source)
            part = heading[1] if heading else part
            slides.append((part, []))
        slides[-1][1].append(block(cell, models, on_slide=True))
    return fill("deck.html", this.title, sources, models, slides=slides)


def index(entries):
    rows = "".join(
        f'<li><a href="{e.stem}.html">{html.escape(e.title)}</a><br>{html.escape(e.question)}</li>'
        for e in entries
    )
    body = (
        "<h1>Normalization in deep learning</h1><p>An interactive course. Every formula runs, "
        "every picture of tensor axes is measured from the code it explains, and every claim of a "
        f"well-read survey article is put on trial.</p><ul>{rows}</ul>"
    )
    return fill("page.html", "Normalization in deep learning", body=body)


def write_decks(out, executed):
    """Write the slides; executed: {path: notebook}."""
    out.mkdir(parents=True, exist_ok=True)
    for path, notebook in executed.items():
        (out / f"{path.stem}.slides.html").write_text(deck(notebook, entry(path)), "utf-8")


def write_site(out, executed):
    """Write pages, slides and the index; executed: {path: notebook}, in reading order."""
    write_decks(out, executed)
    entries = [entry(path) for path in executed]
    places = zip(
        executed.items(), [None, *entries[:-1]], entries, [*entries[1:], None], strict=True
    )
    for (path, notebook), before, this, after in places:
        (out / f"{this.stem}.html").write_text(page(notebook, this, before, after), "utf-8")
        (out / path.name).write_bytes(path.read_bytes())
    (out / "index.html").write_text(index(entries), "utf-8")
