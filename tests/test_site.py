"""The web site: pages of executed notebooks, alive without a kernel and without a network."""

import base64
import re
from itertools import pairwise

import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.conftest import EXECUTED
from website import build
from website.build import NOTEBOOKS


def test_formulas_become_mathml_and_links_lead_to_pages():
    found = build.words("See [2.1](02_1_batch_normalization.ipynb): $x^2$\n\n$$\\frac{a}{b}$$")
    assert 'href="02_1_batch_normalization.html"' in found
    assert found.count("<math") == 2
    assert 'display="block"' in found
    assert "$" not in found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_no_formula_is_left_in_latex(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            shown = re.sub(r"<(pre|code)\b.*?</\1>", "", build.words(cell.source), flags=re.S)
            assert "\\" not in re.sub(r"<[^>]*>", "", shown), shown
            assert "$" not in shown


def small(tmp_path, *sources):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path / "small.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.notebooks
def test_a_notebook_that_fails_stops_the_build_with_its_name_and_cell(tmp_path):
    path = small(tmp_path, "x = 1", "1 / 0")
    with pytest.raises(build.NotebookError, match=r"small.ipynb, cell c1: ZeroDivisionError"):
        build.execute(path)


@pytest.mark.notebooks
def test_what_needs_python_says_so_and_progress_bars_are_gone(tmp_path):
    sources = (
        "import ipywidgets; ipywidgets.IntSlider(7)",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass",
        "print('<b>1 < 2</b>')",
    )
    executed = build.execute(small(tmp_path, *sources))
    shown = [build.outputs(cell, build.widget_state(executed)[1]) for cell in executed.cells]
    assert "needs Python" in shown[0]
    assert "value=7" in shown[0]
    assert shown[1] == ""
    assert "&lt;b&gt;1 &lt; 2" in shown[2]


@pytest.mark.parametrize(
    ("remote", "link"),
    {
        "https://github.com/someone/course.git": "https://mybinder.org/v2/gh/someone/course/HEAD",
        "git@github.com:someone/course.git": "https://mybinder.org/v2/gh/someone/course/HEAD",
        "https://example.org/a/b": "https://mybinder.org/v2/git/https%3A%2F%2Fexample.org%2Fa%2Fb/HEAD",
        "/somewhere/on/this/disk": None,
    }.items(),
)
def test_launch_links_follow_the_repository(remote, link, monkeypatch):
    class Done:
        stdout = remote + "\n"

    monkeypatch.setattr(build.subprocess, "run", lambda *args, **keywords: Done)
    found = build.launch_link("05_conclusion")
    assert found == (link and f"{link}?urlpath=lab/tree/notebooks/05_conclusion.ipynb")
    words = build.links()
    assert ("no link" in words[0]) if link is None else (link in words[0])
    assert link is None or "git-pull?repo=https%3A%2F%2F" in words[1]


@pytest.fixture(scope="session")
def executed():
    """All notebooks that this test run has executed; two of them, if it has none."""
    found = dict(EXECUTED) or {p: build.execute(p) for p in NOTEBOOKS[:1] + NOTEBOOKS[6:7]}
    return dict(sorted(found.items()))


@pytest.fixture(scope="session")
def site(tmp_path_factory, executed):
    out = tmp_path_factory.mktemp("site")
    build.write_site(out, executed)
    return out


@pytest.fixture
def opened(browser, site):
    """Opens a page from its file, without a network; fails on errors and on requests."""
    contexts = []

    def opener(name, theme="light", width=1280, height=900):
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": height}
        )
        page, wrong = context.new_page(), []
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: r.url[:5] in ("blob:", "data:") or wrong.append(r.url))
        address = (site / f"{name}.html").as_uri()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        contexts.append((context, wrong, address))
        return page

    yield opener
    for context, wrong, address in contexts:
        assert wrong == [address]
        context.close()


def follows_the_pointer(page):
    """Whether the explorer names the cell that the pointer is over, at any zoom of the page."""
    for number in (1, 2):
        page.locator(".nl-cell").nth(number).hover()
        expect(page.locator(".nl-where").first).to_have_text(re.compile(rf"\b{number}\b"))


def violations(page):
    """What axe calls serious or critical."""
    return [
        (v["id"], v["nodes"][0]["html"][:200])
        for v in Axe().run(page).response["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def check_headings_and_pictures(page):
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert page.locator("img:not([alt])").count() == 0


@pytest.mark.site
@pytest.mark.browser
def test_every_page_is_small_whole_and_accessible_in_both_themes(opened, site, subtests):
    pages = [p for p in sorted(site.glob("*.html")) if ".slides" not in p.name]
    assert len(pages) >= 3
    for path in pages:
        with subtests.test(path.stem):
            assert path.stat().st_size <= 4e6
            for theme in ("light", "dark"):
                page = opened(path.stem, theme)
                assert violations(page) == []
            check_headings_and_pictures(page)
            phone = opened(path.stem, width=390)
            assert phone.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.site
@pytest.mark.browser
def test_no_slide_overflows_and_all_are_accessible(opened, site, subtests):
    decks = sorted(site.glob("*.slides.html"))
    assert len(decks) >= 2
    for path in decks:
        with subtests.test(path.stem):
            assert path.stat().st_size <= 4e6
            page = opened(path.stem, width=1280, height=720)
            count = page.locator(".slide").count()
            for number in range(1, count + 1):
                assert page.locator("#place").inner_text().startswith(f"{number} of {count}: ")
                over, zoom = page.evaluate(
                    """() => {
                      const s = document.querySelector(".slide.shown");
                      const over = [s.scrollHeight - s.clientHeight, s.scrollWidth - s.clientWidth];
                      return [Math.max(...over), +s.querySelector(".fit").style.zoom];
                    }"""
                )
                assert over <= 0, f"slide {number}"
                assert zoom > 0.55, f"slide {number} is too full to be read"
                page.keyboard.press("PageDown")
            check_headings_and_pictures(page)
            for theme in ("light", "dark"):
                page = opened(path.stem, theme)
                page.emulate_media(media="print", color_scheme=theme)  # all slides at once
                assert violations(page) == []


@pytest.mark.site
@pytest.mark.browser
def test_widgets_live_on_slides(opened, site, subtests):
    for path in sorted(site.glob("*.slides.html")):
        with subtests.test(path.stem):
            page = opened(path.stem, width=1280, height=720)
            while not page.locator(".nl-sheet").first.is_visible():
                page.keyboard.press("ArrowRight")
            place = page.locator("#place").inner_text()
            page.locator(".nl-sheet").first.focus()
            page.keyboard.press("Home")
            before = page.locator(".nl-where").first.inner_text()
            page.keyboard.press("ArrowRight")  # the figure's own key now
            assert page.locator(".nl-where").first.inner_text() != before
            assert page.locator("#place").inner_text() == place
            follows_the_pointer(page)
            page.keyboard.press("PageDown")
            assert page.locator("#place").inner_text() != place


@pytest.mark.site
@pytest.mark.browser
def test_pages_show_the_numbers_of_the_executed_notebook(opened, executed, subtests):
    for path, notebook in executed.items():
        with subtests.test(path.stem):
            page = opened(path.stem)
            whole = " ".join(page.locator("main").inner_text().split())
            for cell in notebook.cells:
                for output in cell.get("outputs", []):
                    if output.output_type == "stream" and output.name == "stdout":
                        assert " ".join(output.text.split()) in whole
            states = notebook.metadata.widgets[build.WIDGETS].state
            bundles = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
            shown = [states[d[build.VIEW]["model_id"]] for d in bundles if build.VIEW in d]
            entry = next(s for s in shown if "AxesExplorer" in s.state.get("_anywidget_id", ""))
            data = base64.b64decode(entry.buffers[0]["data"])
            shown = entry.state.spec.methods[entry.state.method].variants[entry.state.setting]
            _, offset, count = shown.y
            page.locator(".nl-sheet").first.focus()
            page.keyboard.press("Home")
            words = page.locator('[data-key="output"]').first.inner_text().replace("−", "-")
            assert abs(float(words) - np.frombuffer(data, "<f8", count, offset)[0]) < 1e-6


@pytest.mark.site
@pytest.mark.browser
def test_widgets_answer_to_keys_and_show_the_numbers_of_the_notebook(opened, site, subtests):
    for path in sorted(site.glob("*.html")):
        if path.stem == "index" or ".slides" in path.name:
            continue
        with subtests.test(path.stem):
            page = opened(path.stem)
            assert page.locator("[data-widget]").count() >= 3
            assert page.locator("[data-widget]:empty").count() == 0

            sheet = page.locator(".nl-sheet").first
            sheet.focus()
            page.keyboard.press("Home")
            before = page.locator(".nl-where").first.inner_text()
            page.keyboard.press("ArrowRight")
            assert page.locator(".nl-where").first.inner_text() != before
            follows_the_pointer(page)

            picture = page.locator("img.nl-shown").first
            alt = picture.get_attribute("alt")
            control = page.locator(".nl-flipbook .nl-choice").first
            if control.locator("input").count():
                control.locator("input").focus()
                page.keyboard.press("End")
            else:
                control.locator("button").last.focus()
                page.keyboard.press("Enter")
            assert picture.get_attribute("alt") != alt

            guess = page.locator(".nl-predict").first
            assert guess.locator(".nl-status").inner_text().startswith("Choose one")
            guess.locator("input").first.focus()
            page.keyboard.press("Space")
            guess.get_by_role("button").focus()
            page.keyboard.press("Enter")
            assert guess.locator(".nl-status").inner_text().startswith("You said")


@pytest.mark.site
@pytest.mark.browser
def test_the_theme_can_be_changed_and_stays(opened):
    page = opened("index")
    button = page.locator("#theme")
    assert button.get_attribute("aria-pressed") == "false"
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert button.get_attribute("aria-pressed") == "true"
