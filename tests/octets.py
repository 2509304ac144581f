"""Literal bytes, for all tests: nothing of the library is used here."""

from __future__ import annotations

import re

__all__ = ["frame", "octets"]


def octets(text: str) -> bytes:
    """Bytes from hex digits and quoted text: "00 03 'foo' 49"."""
    found = re.findall(r"'([^']*)'|([0-9A-Fa-f]{2})", text)
    data = b"".join(quoted.encode("utf-8") or bytes.fromhex(pair) for quoted, pair in found)
    assert not re.sub(r"'[^']*'|[0-9A-Fa-f]{2}|\s", "", text), text
    return data


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame: 1 is a method, 2 a content header, 3 a body, 8 a heartbeat."""
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
