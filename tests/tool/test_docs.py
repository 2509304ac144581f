"""Where the documents are is said without a broker, and is true."""

from __future__ import annotations

from pathlib import Path

import pytest

import amqplib
from amqplib.tool.docs import where
from amqplib.tool.program import run

ROOT = Path(__file__).resolve().parents[2]


def test_in_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["docs"]) == 0
    said = capsys.readouterr().out
    assert str(ROOT / "docs") in said
    assert (ROOT / "docs" / "index.rst").is_file()
    assert (ROOT / "demo" / "quickstart.py").is_file()


def test_where_only_the_package_is_installed(tmp_path: Path) -> None:
    said = where(tmp_path / "amqplib")
    assert "amqplib==%s" % amqplib.__version__ in said
    assert "amqplib-%s.tar.gz" % amqplib.__version__ in said
    assert str(tmp_path) not in said
