"""python -m tools.slides [NOTEBOOK...]: write the decks of all notebooks, or of those whose names
begin as given, to _slides."""

import pathlib
import sys
import tempfile

from tools.book.build import write_book
from tools.notebooks import NOTEBOOKS, ROOT, NotebookError, run_all
from tools.slides.build import write_decks

if __name__ == "__main__":
    names = tuple(sys.argv[1:])
    chosen = [p for p in NOTEBOOKS if not names or p.stem.startswith(names)]
    if not chosen:
        sys.exit(__doc__)
    try:
        runs = run_all(chosen)
    except NotebookError as error:
        sys.exit(f"stopped: {error}")
    with tempfile.TemporaryDirectory() as folder:
        book = pathlib.Path(folder) / "book"
        write_book(book, runs)
        write_decks(ROOT / "_slides", book, chosen)
    print("_slides")
