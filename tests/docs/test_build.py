"""docs/ is built without a warning, README.txt and CONTRIBUTING.txt are valid, and files that are named are there."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.pages import DOCS, ROOT

PLAIN = (
    """\
Title
=====
Some *args and a name_, as `this` says.

- a list, with a |
  second line

    code(*args)

    more_
"""
    + "name: what it is,\n    and more\nother: likewise\n"
)


def test_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no markup in plain text is none in what becomes of it."""
    monkeypatch.syspath_prepend(str(DOCS))
    from plain import to_rst  # type: ignore[import-not-found]

    text = to_rst(PLAIN)
    assert "Some \\*args and a name\\_, as ``this`` says." in text
    assert "- a list, with a \\|\n  second line\n\n::\n\n        code(*args)\n\n        more_" in text
    assert to_rst("name: what it is,\n    and more\nother: likewise").split("\n")[:3] == [
        "- name: what it is,",
        "  and more",
        "- other: likewise",
    ]


@pytest.mark.timeout(300)
def test_sphinx(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, timeout=280, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = {path.relative_to(tmp_path / "html").with_suffix("") for path in (tmp_path / "html").rglob("*.html")}
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*") if path.suffix in (".rst", ".txt")}
    assert sources <= pages
    shown = (tmp_path / "html" / "reference" / "client_0_9_1.html").read_text(encoding="utf-8")
    assert all("client_0_9_1.Channel." + name in shown for name in ("basic_publish", "consume", "stop_consuming"))


@pytest.mark.parametrize("name", ["README.txt", "CONTRIBUTING.txt"])
def test_text_that_an_index_shows(name: str) -> None:
    pytest.importorskip("sphinx")
    core = importlib.import_module("docutils.core")  # it comes with it
    settings = {"report_level": 1, "halt_level": 1, "file_insertion_enabled": False, "raw_enabled": False}
    html = core.publish_string((ROOT / name).read_text(encoding="utf-8"), writer="html", settings_overrides=settings)
    assert b"<h1" in html


def test_the_type_of_the_readme() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'readme = { file = "README.txt", content-type = "text/x-rst" }' in project


def texts() -> List[Path]:
    return [*ROOT.glob("*.txt"), ROOT / "CHANGES", *DOCS.rglob("*.rst"), *DOCS.rglob("*.txt")]


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w./-])((?:docs|demo|tests|benchmarks|fuzz)/[\w/.-]*\w)", text))
    named |= {found + "." for found in re.findall(r"(?<![\w/])(CONTRIBUTING|SECURITY|README)\.txt", text)}
    for name in named:
        assert (ROOT / name).exists() or list(ROOT.glob(name.rstrip(".") + ".*")), name
