"""Passwords, tokens and what is made of them, so that showing them shows nothing.

A traceback with local variables, a debugger, a log line with repr(): each shows what stands in our frames. What is
secret is therefore wrapped on its way in, is sent as it is, and shows its kind only. A part that is cut out of it is
an ordinary str or bytes again: whoever takes one apart must not raise, or wait, while holding the pieces.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, TypeVar

__all__ = ["SecretBytes", "SecretStr", "hide", "hide_in", "hide_made_of"]

_HIDDEN = "<secret>"

#: Options that are secret, in the dict for Connection's `ssl`.
_SECRET_OPTIONS = ("password",)

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
    """Connection's `ssl`, with the passphrase of a key, if it holds one, not shown."""
    if isinstance(options, Mapping):
        hidden: Dict[Any, Any] = dict(options)
        hidden.update({name: hide(hidden[name]) for name in _SECRET_OPTIONS if name in hidden})
        return hidden  # type: ignore[return-value]
    return options
