"""python -m tools.book [links]: run the notebooks that changed, and write the book to _book.

links     nothing is run: print where Binder and a JupyterHub open the course
"""

import sys

from tools.book.build import links, write_book
from tools.notebooks import ROOT, NotebookError, run_all

if __name__ == "__main__":
    if sys.argv[1:] == ["links"]:
        for place, link in links().items():
            print(f"{place}: {link}")
        if not links():
            print("this clone has no git remote 'origin' with a public address: there is no link")
    else:
        try:
            write_book(ROOT / "_book", run_all())
        except NotebookError as error:
            sys.exit(f"stopped: {error}")
        print("_book/index.html")
