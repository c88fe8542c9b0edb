"""From a page of the book to slides: the same cells, cut where the notebook says, in one file."""

import pathlib

import jinja2
from bs4 import BeautifulSoup, Tag

from tools.notebooks import entry

HERE = pathlib.Path(__file__).parent


def write_decks(out, book, paths):
    """Write a deck for each notebook of a book that was built in the folder `book`."""
    out.mkdir(parents=True, exist_ok=True)
    colours = (book / "_static" / "pygments.css").read_text("utf-8")
    for path in paths:
        page = BeautifulSoup((book / f"{path.stem}.html").read_text("utf-8"), "html.parser")
        made = deck(page.select_one("article.bd-article"), entry(path).title, colours)
        (out / f"{path.stem}.slides.html").write_text(made, "utf-8")


def blocks(element):
    """What stands on a page, in order, out of its sections."""
    for child in element.find_all(recursive=False):
        if child.name == "section":
            yield from blocks(child)
        else:
            yield child


def deck(article, title, colours):
    slides, part, skipped, scripts = [(title, [])], title, False, []
    for block in blocks(article):
        kind = block.get("data-kind")
        if kind is not None:
            skipped = kind == "skip"
            if kind in ("slide", "subslide"):
                slides.append((part, []))
        elif block.name == "script":
            scripts.append(str(block))
        elif not skipped:
            if block.name == "h2":
                part = block.find(string=True)
                slides[-1] = (part, slides[-1][1])
            slides[-1][1].append(str(folded(block)))
    files = {f.name.replace(".", "_"): f.read_text("utf-8") for f in HERE.glob("deck.[cj]s*")}
    template = jinja2.Template((HERE / "deck.html").read_text("utf-8"))
    return template.render(title=title, colours=colours, slides=slides, scripts=scripts, **files)


def folded(block: Tag):
    """The block, with the code that made a widget folded away: the widget needs the slide."""
    for link in block.select("a.headerlink"):
        link.decompose()
    for wide in block.select("pre"):
        wide["tabindex"] = "0"  # the keyboard can scroll it
    code = block.select_one(":scope > div.cell_input")
    if code is not None and block.select_one("[data-widget]"):
        fold = BeautifulSoup("<details><summary>Code</summary></details>", "html.parser").details
        code.wrap(fold)
        fold.insert(0, fold.summary)
    return block
