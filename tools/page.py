"""python -m tools.page NOTEBOOK...: somebody's own executed notebook as one page, beside it.

Nothing is run: answers, choices and outputs are those in the file. The page needs nothing else:
its widgets live from the state that was saved with the notebook, or leave words and a picture.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import nbformat
from bs4 import BeautifulSoup

from tools.book.build import HERE, chapter
from tools.notebooks import ROOT, load

PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}
body > main {{ max-width: 60rem; margin: 0 auto; padding: 1rem; display: block; }}</style></head>
<body><main class="bd-main">{article}</main></body></html>
"""


def one_page(path):
    """The page of an executed notebook, as text. Raises ValueError for what is no notebook."""
    try:
        notebook = load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a notebook: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        sources, pages = pathlib.Path(folder, "sources"), pathlib.Path(folder, "pages")
        sources.mkdir()
        nbformat.write(chapter(notebook), sources / "index.ipynb")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", HERE, sources, pages]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{path} cannot be made a page:\n{done.stderr}")
        built = BeautifulSoup((pages / "index.html").read_text("utf-8"), "html.parser")
        sheets = [link["href"].partition("?")[0] for link in built.select("link[rel=stylesheet]")]
        style = "\n".join((pages / sheet).read_text("utf-8") for sheet in sheets)
    article = built.select_one("article.bd-article")
    for link in article.select("a.headerlink"):
        link.decompose()
    for link in article.select("a[href]:not([href^=http])"):
        if not article.find(id=link["href"].lstrip("#")):
            link.unwrap()  # to a chapter that is not here
    style = re.sub(r"@font-face\s*{[^}]*}|@import[^;]*;", "", style)
    style = re.sub(r"url\((?!['\"]?data:)[^)]*\)", "none", style)
    title = article.h1.get_text() if article.h1 else path.stem
    return PAGE.format(title=title, style=style, article=article)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for path in map(pathlib.Path, sys.argv[1:]):
        try:
            path.with_suffix(".html").write_text(one_page(path), "utf-8")
        except ValueError as error:
            sys.exit(str(error))
        print(path.with_suffix(".html"))
