"""Sphinx: `python -m sphinx -W docs DIRECTORY` puts these pages, as HTML, into the directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, List

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from plain import to_rst  # noqa: E402

import amqplib  # noqa: E402

project = "amqplib"
author = "the amqplib 2 developers"
version = release = amqplib.__version__
extensions = ["sphinx.ext.autodoc"]
source_suffix = {".rst": "restructuredtext", ".txt": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "a blocking AMQP client for Python", "page_width": "68em"}
html_copy_source = False
smartquotes = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in fewer words


def read_page(app: Any, docname: str, source: List[str]) -> None:
    if str(app.env.doc2path(docname)).endswith(".txt"):
        source[0] = to_rst(source[0])


def read_include(app: Any, relative_path: Path, parent: str, content: List[str]) -> None:
    """CHANGES, SECURITY.txt and the like; README.txt and CONTRIBUTING.txt are reStructuredText."""
    if Path(relative_path).suffix in ("", ".txt") and "README" not in str(relative_path):
        content[0] = to_rst(content[0])


def read_docstring(app: Any, what: str, name: str, obj: object, options: object, lines: List[str]) -> None:
    lines[:] = to_rst("\n".join(lines)).split("\n")


def setup(app: Any) -> None:
    app.connect("source-read", read_page)
    app.connect("include-read", read_include)
    app.connect("autodoc-process-docstring", read_docstring)
