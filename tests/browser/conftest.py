"""A JupyterLab for all browser tests, and how to open a notebook in it."""

import contextlib

import nbformat
import pytest

from tools.lab import KERNEL, Lab, server
from tools.notebooks import load, prepared


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("lab")
    with server(folder) as address:
        yield address, folder / "notebooks"


def notebook_of(sources):
    """A notebook of code cells: cell-0, cell-1, ..."""
    cells = [nbformat.v4.new_code_cell(s.strip(), id=f"cell-{i}") for i, s in enumerate(sources)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@contextlib.contextmanager
def opened(browser, jupyter, notebook):
    """A notebook (by its path, or a list of code cells) in JupyterLab, on a page of its own."""
    address, folder = jupyter
    if isinstance(notebook, list):
        path = folder / f"cells-{len(list(folder.iterdir()))}.ipynb"
        notebook = notebook_of(notebook)
    else:
        path, notebook = folder / notebook.name, prepared(load(notebook))
    nbformat.write(notebook, path)
    lab = Lab(browser.new_page(viewport={"width": 1280, "height": 900}), address, path.name)
    lab.path = path
    yield lab
    lab.page.evaluate(f"() => {KERNEL}?.shutdown()")
    lab.page.close()


@pytest.fixture
def open_notebook(browser, jupyter):
    with contextlib.ExitStack() as pages:
        yield lambda notebook: pages.enter_context(opened(browser, jupyter, notebook))
