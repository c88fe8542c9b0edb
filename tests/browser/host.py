"""A page with widgets and no kernel: what a page of the book has, by the book's own script."""

import ipywidgets

from tools.book.build import host, models_of

PAGE = """<!doctype html><meta charset="utf-8"><title>widgets</title>
<html data-theme="{theme}"><body style="{style}">{views}{host}"""
DARK = """--jp-ui-font-color1:#e0e0e0;--jp-ui-font-color2:#a8a8a8;--jp-layout-color0:#111;
--jp-border-color1:#5a5a5a;background:#111;"""


def page_of(*widgets, views=1, dark=False):
    """The HTML of a page that shows each widget in `views` views of one model.

    `models` and `aborts` of the window let a test look at what the script keeps to itself.
    """
    state = ipywidgets.Widget.get_manager_state(widgets=widgets)["state"]
    script = host(*models_of(state)).replace("#handlers", "handlers")
    script = script.replace(
        "alive[id] = new Model(state);",
        "alive[id] = new Model(state); (window.models ??= []).push(alive[id]);",
    )
    script = script.replace(
        "signal: new AbortController().signal",
        "signal: ((window.aborts ??= []).push(new AbortController()), window.aborts.at(-1).signal)",
    )
    places = [f'<div class="view" data-widget="{w.model_id}"></div>' for w in widgets]
    return PAGE.format(
        theme="dark" if dark else "light", style=DARK if dark else "",
        views="".join(place for place in places for _ in range(views)), host=script,
    )  # fmt: skip
