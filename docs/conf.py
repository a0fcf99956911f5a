"""Sphinx builds the site from here: `python -m sphinx -W -b html docs docs/_build/html`."""

import os
import re

# Threads that spin while they wait make small networks many times slower on a busy machine. Read
# when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Without it sphinx-gallery cannot look up the halving searches that an example imports.
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

import skvae

project = "skvae"
author = "The skvae developers"
project_copyright = author
release = version = skvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_static", "_templates", "auto_examples/*.ipynb"]
templates_path = ["_templates"]

# ------------------------------------------------------------------ pages

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# ------------------------------------------------------------------ reference

autosummary_generate = True
autodoc_member_order = "bysource"
# A law's page says what the law is; what all laws are asked for stands once, in `Likelihood`.
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False
default_role = "code"


def escape_initials(app, what, name, obj, options, lines):
    """A reference that begins "D. P. Kingma" is not item D of a list."""
    lines[:] = [re.sub(r"^(\s*)([A-Z]\.) ", r"\1\\\2 ", line) for line in lines]


def setup(app):
    # Before numpydoc, which has 500.
    app.connect("autodoc-process-docstring", escape_initials, priority=400)


# ------------------------------------------------------------------ examples

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(quickstart|pictures)\.py",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skvae",),
    "capture_repr": (),
    "parallel": 2,
    "download_all_examples": False,
}

# ------------------------------------------------------------------ look

html_theme = "pydata_sphinx_theme"
html_title = "skvae"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
