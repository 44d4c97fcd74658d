"""How the site is built: ``make docs``, or ``python -m sphinx -W -c docs . build/site``.

The sources are the repository itself, so that a link between pages, tutorials and files is right in
both places. What is made from docstrings is written into docs/reference first.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import generate

import lavalike

generate.reference(ROOT / "docs" / "reference")

project, author, copyright = "lavalike", "The lavalike developers", "The lavalike developers"
version = release = lavalike.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/**.rst", "tutorials/*.ipynb", "[A-Z]*.md"]
exclude_patterns = ["README.md", "build", ".*", "lavalike", "netx", "tests", "benchmarks"]

nb_execution_mode = "off"  # outputs are committed with the tutorials
myst_heading_anchors = 3

napoleon_custom_sections = [("Common arguments", "params_style")]
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch have links of their own
autodoc_typehints = "none"  # shapes, units and kinds stand in the text
add_module_names = False

html_theme = "furo"
html_title = f"lavalike {release}"
html_additional_pages = {"index": "redirect.html"}  # the first page is docs/index.html
templates_path = ["_templates"]
html_show_sourcelink = False
html_copy_source = False


def literal(app, what, name, obj, options, lines):
    """Docstrings are plain text: what is indented without a heading before it is an equation or a
    table, and is shown as it stands."""
    lines[:] = generate.literal(lines)


def signature(app, what, name, obj, options, text, returns):
    """A process's class takes what its ``__init__`` does; ``__new__`` takes everything."""
    if what == "class" and text == "(*args, **kwargs)":
        text = generate.signature(obj)
    return text, returns


def setup(app):
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", literal, priority=100)  # before napoleon
