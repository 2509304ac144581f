"""Proves that nothing passes for audited that was not."""

from __future__ import annotations

import importlib.util
from typing import Any, Dict, List, Optional

import pytest

from tests import audit

Packages = Optional[List[Dict[str, Any]]]

GOOD: Dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: Dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}]}
UNKNOWN: Dict[str, Any] = {"name": "c", "skip_reason": "the registry does not have it"}


def installed(name: str) -> str:
    return name


def not_installed(name: str) -> None:
    return None


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        (None, 0, "NOTHING WAS AUDITED"),
        ([UNKNOWN], 0, "NOTHING WAS AUDITED"),
        ([GOOD, UNKNOWN], 0, "none of 1 packages is known to be vulnerable; of 1 nothing"),
        ([GOOD, BAD], 1, "b 2: CVE-1"),
    ],
)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], packages: Packages, code: int, words: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", installed)
    monkeypatch.setattr(audit, "ask", lambda: packages)
    assert audit.main() == code
    assert words in capsys.readouterr().out


def test_no_pip_audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", not_installed)
    assert audit.main() == 1
    assert "not installed" in capsys.readouterr().out
