"""The book and the slides: executed notebooks, alive without a kernel and without a network."""

import base64
import re
import runpy
import subprocess
import sys
from itertools import pairwise

import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tools import launch, notebooks
from tools.book import build
from tools.notebooks import NOTEBOOKS, entry
from tools.slides.build import write_decks

WIDTHS = 390, 768, 1280, 1500
STEMS = [path.stem for path in NOTEBOOKS]
STREAM = {"output_type": "stream", "text": "3 < 4"}


def test_what_needs_python_says_so_and_progress_bars_are_gone():
    def view(id, text):
        data = {build.VIEW: {"model_id": id}, "text/plain": text}
        return build.shown(nbformat.v4.new_output("display_data", data=data), models)

    models = {"known": {"state": {"still": "abc"}}}
    assert view("known", "").data["text/html"] == '<div data-widget="known"></div>'
    assert "needs Python" in view("other", "IntSlider(value=7)").data["text/html"]
    assert "value=7" in view("other", "IntSlider(value=7)").data["text/html"]
    bar = nbformat.v4.new_output("display_data", data={"text/plain": ""})
    assert build.shown(bar, {}) is None
    assert view("lost", "") is None  # ours, and its state was not saved: its still stands there
    words = '<p class="nl-still" data-still="abc">'
    still = nbformat.v4.new_output("display_data", data={"text/html": words})
    assert build.shown(still, {}) is still
    assert build.shown(still, models).data["text/html"] == f"<noscript>{words}</noscript>"
    streams = [nbformat.from_dict(STREAM | {"name": name}) for name in ("stdout", "stderr")]
    assert [build.shown(stream, {}) for stream in streams] == [streams[0], None]


@pytest.mark.parametrize(
    ("remote", "link"),
    {
        "https://github.com/someone/course.git": "https://mybinder.org/v2/gh/someone/course/launch",
        "git@github.com:someone/course.git": "https://mybinder.org/v2/gh/someone/course/launch",
        "https://example.org/a/b": "https://mybinder.org/v2/git/https%3A%2F%2Fexample.org%2Fa%2Fb/launch",
        "/somewhere/on/this/disk": None,
    }.items(),
)
def test_launch_links_follow_the_repository(remote, link, monkeypatch):
    class Done:
        stdout = remote + "\n"

    monkeypatch.setattr(launch.subprocess, "run", lambda *args, **keywords: Done)
    found = launch.links()
    assert (not found) if link is None else found["Binder"].startswith(f"{link}?urlpath=lab/tree/")
    assert link is None or "git-pull?repo=https%3A%2F%2F" in found["JupyterHub"]
    assert link is None or "&branch=launch&" in found["JupyterHub"]
    settings = runpy.run_path(str(build.HERE / "conf.py"))["html_theme_options"]
    assert ("launch_buttons" in settings) == ("github" in remote) == ("Colab" in found)


@pytest.fixture(scope="session")
def runs():
    return notebooks.run_all(tell=lambda text: None)


@pytest.fixture(scope="session")
def book(tmp_path_factory, runs):
    out = tmp_path_factory.mktemp("book")
    build.write_book(out, runs)
    write_decks(out, out, NOTEBOOKS)
    return out


@pytest.fixture
def opened(browser, book):
    """Opens a page from its file, without a network; fails on errors and on requests."""
    contexts = []

    def opener(name, width=1280, height=900):
        context = browser.new_context(
            offline=True, color_scheme="light", reduced_motion="reduce",
            viewport={"width": width, "height": height},
        )  # fmt: skip
        page, wrong = context.new_page(), []
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        local = ("file:", "blob:", "data:")
        page.on("request", lambda r: r.url.startswith(local) or wrong.append(r.url))
        page.goto((book / f"{name}.html").as_uri())
        contexts.append((context, wrong))
        return page

    yield opener
    for context, wrong in contexts:
        assert wrong == []
        context.close()


def alive(page):
    page.wait_for_selector("body[data-ready]")
    return page


def follows_the_pointer(page):
    """Whether the explorer names the cell that the pointer is over, at any zoom of the page."""
    for number in (1, 2):
        page.locator(".nl-cell").nth(number).hover()
        expect(page.locator(".nl-where").first).to_have_text(re.compile(rf"\b{number}\b"))


# A page has some hundred elements, and its code thousands: a colour for every word of it.
PLAIN_CODE = "document.querySelectorAll('pre').forEach((e) => { e.textContent = e.textContent; })"


def violations(page, only_colours=False):
    """What axe calls serious or critical."""
    options = {"preload": False, "resultTypes": ["violations"]}
    options |= {"runOnly": ["color-contrast"]} if only_colours else {}
    return [
        (v["id"], v["nodes"][0]["html"][:200])
        for v in Axe().run(page, options=options).response["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def check_headings_and_pictures(page):
    levels = page.evaluate(
        "[...document.querySelectorAll('main :is(h1, h2, h3, h4)')]"
        ".filter((h) => !h.closest('#jb-print-docs-body')).map((h) => +h.tagName[1])"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert page.locator("main img:not([alt])").count() == 0


def shows_the_numbers_and_answers_to_keys(page, notebook):
    """What the cells printed stands on the page, and the widgets of all three kinds live."""
    whole = " ".join(page.locator("main").inner_text().split())
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stdout":
                assert " ".join(output.text.split()) in whole
    states = notebooks.widget_state(notebook)
    bundles = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    shown = [d[build.VIEW]["model_id"] for d in bundles if build.VIEW in d]
    views = [states[id] for id in shown]
    explorer = next(s for s in views if "AxesExplorer" in s.state.get("_anywidget_id", ""))
    (data,) = (base64.b64decode(b["data"]) for b in explorer.buffers if b["path"] == ["data"])
    method = explorer.state.spec.methods[explorer.state.method].variants[explorer.state.setting]
    _, offset, count = method.y

    assert page.locator("[data-widget]").count() >= 3
    assert page.locator("[data-widget]:empty").count() == 0
    page.locator(".nl-sheet").first.focus()
    page.keyboard.press("Home")
    words = page.locator('[data-key="output"]').first.inner_text().replace("−", "-")
    assert abs(float(words) - np.frombuffer(data, "<f8", count, offset)[0]) < 1e-6
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

    guess = page.locator(".nl-predict").last  # revealed
    assert guess.locator(".nl-status").inner_text().startswith("Choose one")
    guess.locator("input").first.focus()
    page.keyboard.press("Space")
    guess.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert guess.locator(".nl-status").inner_text().startswith("You said")


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.parametrize("stem", ["index", *STEMS, "poster", "GLOSSARY", "TEACHING", "search"])
def test_a_page_is_small_alive_and_accessible_at_all_widths_in_both_themes(
    opened, book, runs, stem
):
    assert (book / f"{stem}.html").stat().st_size <= 4e6
    page = opened(stem)
    if page.locator("#widget-state").count():
        alive(page)
    if stem in STEMS:
        shows_the_numbers_and_answers_to_keys(page, runs[NOTEBOOKS[STEMS.index(stem)]].notebook)
    if stem != STEMS[2]:  # the colours of code are the same on every page
        page.evaluate(PLAIN_CODE)
    assert violations(page) == []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    if page.locator("#widget-state").count():
        page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    assert violations(page, only_colours=True) == []
    check_headings_and_pictures(page)
    page.emulate_media(media="print", color_scheme="light")
    cut = (
        "(e) => getComputedStyle(e).whiteSpace !== 'pre-wrap' || e.scrollWidth > e.clientWidth + 1"
    )
    assert page.evaluate(f"[...document.querySelectorAll('main pre')].filter({cut}).length") == 0
    whole = "(e) => getComputedStyle(e).breakInside !== 'avoid'"
    assert page.evaluate(f"[...document.querySelectorAll('figure')].filter({whole}).length") == 0


@pytest.mark.book
@pytest.mark.browser
def test_without_script_every_widget_of_a_page_leaves_its_still(browser, book, runs):
    (path,) = (p for p in NOTEBOOKS if p.stem.startswith("02_1"))
    outputs = [o for c in runs[path].notebook.cells for o in c.get("outputs", [])]
    widgets = sum(build.VIEW in output.get("data", {}) for output in outputs)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / f"{path.stem}.html").as_uri())
    stills = page.locator(".nl-still")
    assert stills.count() == widgets > 5
    assert all(still.is_visible() for still in stills.all())
    assert page.locator(".nl-still img").first.bounding_box()["width"] > 100
    context.close()


@pytest.mark.book
@pytest.mark.browser
def test_the_first_page_has_the_explorer_and_leads_to_every_notebook(opened, book):
    page = alive(opened("index"))
    follows_the_pointer(page)
    cards = page.locator(".nl-cards a")
    assert [c.get_attribute("href") for c in cards.all()] == [f"{stem}.html" for stem in STEMS]
    for card, one in zip(cards.all(), map(entry, NOTEBOOKS), strict=True):
        assert one.question.rstrip() in card.inner_text()
    cards.nth(3).focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1").first).to_contain_text("2.2")
    assert not (book / "genindex.html").exists()


@pytest.mark.book
@pytest.mark.browser
def test_search_finds_a_word_and_formulas_are_no_latex(opened):
    page = opened("search")
    page.locator("#searchbox input, main input[name=q]").first.fill("ghost")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a", has_text="Small batches")
    found.first.wait_for()
    page.goto(page.url.partition("search.html")[0] + "02_1_batch_normalization.html")
    assert page.locator("math").count() > 10
    assert "\\frac" not in page.locator("main").inner_text()


@pytest.mark.book
@pytest.mark.browser
def test_tables_that_cells_show_are_tables(opened):
    page = opened("05_conclusion")
    assert page.locator("table tr", has_text="SwitchableNorm").count() >= 1
    assert "| method |" not in page.locator("main").inner_text()


@pytest.mark.book
@pytest.mark.browser
def test_the_poster_is_printed_on_one_sheet(opened):
    page = opened("poster")
    assert page.locator(".nl-poster img").count() == 1
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


@pytest.mark.book
def test_the_words_can_be_translated(book, tmp_path):
    """Sphinx writes what is to be translated from the sources that the book leaves behind."""
    sources = notebooks.RUNS / "sources"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "gettext", "-c", build.HERE]
    subprocess.run([*command, sources, tmp_path], cwd=notebooks.ROOT, check=True)
    words = (tmp_path / "02_1_batch_normalization.pot").read_text("utf-8")
    assert 'msgid "What it remembers"' in words


@pytest.mark.book
def test_what_is_downloaded_is_the_notebook_itself(book):
    for path in NOTEBOOKS:
        assert (book / "_sources" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.parametrize("stem", STEMS)
def test_a_deck_has_no_slide_that_overflows_is_accessible_and_lives(opened, book, stem):
    assert (book / f"{stem}.slides.html").stat().st_size <= 4e6
    page = alive(opened(f"{stem}.slides", width=1280, height=720))
    count, explored = page.locator(".slide").count(), False
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
        if not explored and page.locator(".nl-sheet").first.is_visible():
            explored = True
            page.locator(".nl-sheet").first.focus()
            page.keyboard.press("Home")
            before = page.locator(".nl-where").first.inner_text()
            page.keyboard.press("ArrowRight")  # the figure's own key now
            assert page.locator(".nl-where").first.inner_text() != before
            follows_the_pointer(page)
        page.keyboard.press("PageDown")
    assert explored
    check_headings_and_pictures(page)
    page.locator("#theme").press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    if stem in STEMS[::4]:  # the same cells as on the pages, in one style
        page.evaluate(PLAIN_CODE)
        page.emulate_media(media="print")  # all slides at once
        assert violations(page) == []
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        assert violations(page) == []
