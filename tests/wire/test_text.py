"""Proves what is made of text that strangers send before it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("NOT_FOUND - no queue 'p\u00e4\u4e2d' in vhost '/'", "NOT_FOUND - no queue 'p\u00e4\u4e2d' in vhost '/'"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[2J\x9bA\0", r"\x1b[2J\x9bA\x00"),
        ("\u202eback\u2028line\u200b", r"\u202eback\u2028line\u200b"),
        ("\U000e0041\udcfc", r"\U000e0041\udcfc"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_whatever_comes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown
