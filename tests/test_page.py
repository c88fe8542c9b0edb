"""A student's own executed notebook as one page that needs nothing else."""

import nbformat
import pytest
from playwright.sync_api import expect

from normlib.widgets import Predict
from tools.notebooks import WIDGETS
from tools.page import one_page


@pytest.fixture
def answered(monkeypatch):
    """A notebook with a prediction that was locked and an answer, as JupyterLab saves it."""
    outputs = []

    def caught(data, metadata=None, **keywords):
        outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata or {}))

    monkeypatch.setattr("normlib.widgets._base.display", caught)
    guess = Predict("Which?", ["this", "that"])
    guess.choice, guess.locked = 1, True
    guess._ipython_display_()
    state = guess.get_manager_state(widgets=[guess])
    cells = [
        nbformat.v4.new_markdown_cell("# Mine\n\nSee [the next](01_next.ipynb)."),
        nbformat.v4.new_code_cell("count = 256  # my answer"),
        nbformat.v4.new_code_cell("guess", outputs=outputs),
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {WIDGETS: state}})


@pytest.mark.browser
@pytest.mark.parametrize("saved", [True, False], ids=["with state", "without state"])
def test_answers_and_choices_are_there_without_a_network(browser, answered, tmp_path, saved):
    path = tmp_path / "mine.ipynb"
    if not saved:
        del answered.metadata["widgets"]
    nbformat.write(answered, path)
    path.with_suffix(".html").write_text(one_page(path), "utf-8")
    context, wrong = browser.new_context(offline=True), []
    page = context.new_page()
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("request", lambda r: r.url.startswith(("file:", "blob:")) or wrong.append(r.url))
    page.goto(path.with_suffix(".html").as_uri())
    expect(page.locator("main")).to_contain_text("count = 256  # my answer")
    expect(page.locator("main")).to_contain_text("Locked: that.")
    assert page.locator(".nl-predict").count() == saved
    assert page.locator("a[href$=ipynb]").count() == 0
    assert wrong == []
    context.close()


def test_what_is_no_notebook_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as a notebook"):
        one_page(tmp_path / "none.ipynb")
    (tmp_path / "text.ipynb").write_text("words")
    with pytest.raises(ValueError, match="cannot be read as a notebook"):
        one_page(tmp_path / "text.ipynb")
