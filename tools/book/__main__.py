"""python -m tools.book: run the notebooks that changed, and write the book to _book."""

import sys

from tools.book.build import write_book
from tools.notebooks import ROOT, NotebookError, run_all

if __name__ == "__main__":
    try:
        write_book(ROOT / "_book", run_all())
    except NotebookError as error:
        sys.exit(f"stopped: {error}")
    print("_book/index.html")
