"""Sphinx's settings for the book. The sources are written by build.py, from executed notebooks."""

import os
import pathlib

from docutils import nodes
from latex2mathml.converter import convert

from tools.launch import repository

project = html_title = "Normalization in deep learning"
author = "normlib"
extensions = ["myst_nb", "sphinx_copybutton"]
nb_execution_mode = "off"  # the notebooks have been run
nb_render_markdown_format = "myst"  # or tables that a cell shows stay words
nb_ipywidgets_js = {}  # our widgets bring their own script: nothing is fetched
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
copybutton_selector = ".cell_input pre"
language = os.environ.get("BOOK_LANGUAGE", "en")
locale_dirs = [str(pathlib.Path("locale").resolve())]
html_theme = "sphinx_book_theme"
html_static_path = [str(pathlib.Path(__file__).with_name("style.css"))]
html_css_files = ["style.css"]
html_use_index = False
html_show_sphinx = False
html_show_search_summary = False  # it fetches pages, which a file address does not allow
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": True, "home_page_in_toc": True, "show_toc_level": 2,
    "navbar_persistent": [],  # its search stands in the sidebar already
    "footer_content_items": "",
}  # fmt: skip
address = repository()
if address is not None and address.startswith("https://github.com/"):
    html_theme_options |= {
        "repository_url": address, "path_to_docs": "notebooks", "use_repository_button": True,
        "repository_branch": "launch",
        "launch_buttons": {
            "notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "jupyterhub_url": os.environ.get("BOOK_HUB", ""),
        },
    }  # fmt: skip


def formula(display):
    def visit(self, node):
        self.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit, None


html_math_renderer = "mathml"


def setup(app):
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
