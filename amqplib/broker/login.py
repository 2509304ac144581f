"""SASL from the server's side: who a response of connection.start-ok says the client is."""

from __future__ import annotations

from typing import Callable, Dict, Optional, Tuple

from ..wire.tables import Reading, decode_table, utc_time

__all__ = ["MECHANISMS"]

Login = Tuple[str, str]


def _plain(response: bytes) -> Optional[Login]:
    """RFC 4616: authorisation id (which nobody looks at), user, password."""
    parts = response.split(b"\0")
    return (_text(parts[1]), _text(parts[2])) if len(parts) == 3 else None


def _amqplain(response: bytes) -> Optional[Login]:
    """A field table without its length."""
    length = len(response).to_bytes(4, "big")
    table, _ = decode_table(length + response, 0, 4 + len(response), Reading(utc_time))
    user, password = table.get("LOGIN"), table.get("PASSWORD")
    return (user, password) if isinstance(user, str) and isinstance(password, str) else None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


#: mechanism -> user and password of a response, None for a response that is none
MECHANISMS: Dict[str, Callable[[bytes], Optional[Login]]] = {"PLAIN": _plain, "AMQPLAIN": _amqplain}
