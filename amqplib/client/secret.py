"""Passwords, tokens and what is made of them, so that showing them shows nothing.

A traceback with local variables, a debugger, a log line with repr(): each shows what stands in our frames. What is
secret is therefore wrapped on its way in, is sent as it is, and shows its kind only. A part that is cut out of it is
an ordinary str or bytes again: whoever takes one apart must not raise, or wait, while holding the pieces.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, TypeVar

__all__ = ["SecretBytes", "SecretStr", "hide", "hide_in", "hide_made_of"]

_HIDDEN = "<secret>"

#: Options of Connection's `ssl` that are not secret. Not the reverse: one that is misspelt may be the passphrase.
_SHOWN_OPTIONS = frozenset(
    (
        "ca_certs",
        "certfile",
        "keyfile",
        "cert_reqs",
        "ssl_version",
        "ciphers",
        "server_hostname",
        "context",
        "server_side",
        "do_handshake_on_connect",
        "suppress_ragged_eofs",
    )
)

T = TypeVar("T")


class SecretStr(str):
    """A str whose repr() is not its value. str() is: else whoever converts it would send something else."""

    def __repr__(self) -> str:
        return _HIDDEN


class SecretBytes(bytes):
    """bytes that are not shown."""

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__


class _Misplaced:
    """Instead of what no secret can be - a list, a number - but may hold one."""

    def __repr__(self) -> str:
        return _HIDDEN


def hide(value: T) -> T:
    """The same value, if it is a str or bytes as one that is not shown. Neither is what is of a wrong type, and to be
    refused; None, and a function that is to be asked for the secret, are as they were."""
    if isinstance(value, str):
        return SecretStr(value)  # type: ignore[return-value]
    if isinstance(value, (bytes, bytearray)):
        return SecretBytes(value)  # type: ignore[return-value]
    if value is None or callable(value):
        return value
    return _Misplaced()  # type: ignore[return-value]


_SECRETS = frozenset((SecretStr, SecretBytes))


def hide_made_of(parts: Iterable[Any], data: bytes) -> bytes:
    """Bytes that were made of these parts; if one of them is not shown, neither are they."""
    return data if _SECRETS.isdisjoint(map(type, parts)) else SecretBytes(data)


def hide_in(options: T) -> T:
    """Connection's `ssl`, with the passphrase of a key, and whatever else may be one, not shown."""
    if isinstance(options, Mapping):
        shown = _SHOWN_OPTIONS
        return {n: v if n in shown else hide(v) for n, v in options.items()}  # type: ignore[return-value]
    return options
