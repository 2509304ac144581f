"""SASL: what is sent to log in."""

from __future__ import annotations

from contextlib import suppress
from typing import Callable, Dict

from ..wire.tables import encode_table

__all__ = ["login_response"]


def _amqplain(userid: str, password: str) -> bytes:
    """A field table without its length: RabbitMQ's and the first specifications' own mechanism."""
    return encode_table({"LOGIN": userid, "PASSWORD": password})[4:]


def _plain(userid: str, password: str) -> bytes:
    """RFC 4616."""
    return b"\0%s\0%s" % (userid.encode("utf-8"), password.encode("utf-8"))


_MECHANISMS: Dict[str, Callable[[str, str], bytes]] = {"AMQPLAIN": _amqplain, "PLAIN": _plain}


def login_response(mechanism: str, userid: str, password: str) -> bytes:
    """The response for connection.start-ok. ValueError for a mechanism that needs one given."""
    try:
        build = _MECHANISMS[mechanism]
    except KeyError:
        raise ValueError(
            "login_method: %r: a login_response has to be given with it; without one there are %s"
            % (mechanism, " and ".join(sorted(_MECHANISMS)))
        ) from None
    for name, value in (("userid", userid), ("password", password)):
        if not _sendable(value):
            raise ValueError("%s: not a str that can be encoded as UTF-8" % name)  # and it is not shown
    return build(userid, password)


def _sendable(value: str) -> bool:
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            value.encode("utf-8")
            return True
    return False
