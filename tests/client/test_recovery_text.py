"""Every example of docs/recovery.txt does what is printed below it."""

from __future__ import annotations

import doctest
from pathlib import Path

TEXT = Path(__file__).resolve().parents[2] / "docs" / "recovery.txt"


def test_examples() -> None:
    result = doctest.testfile(str(TEXT), module_relative=False, encoding="utf-8")
    assert result.attempted > 10
    assert result.failed == 0
