"""Passwords, tokens and what is made of them, so that showing them shows nothing.

A traceback with local variables, a debugger, a log line with repr(): each shows what stands in our frames. Those who
print tracebacks cut long values first, and show the part. What is secret is therefore wrapped on its way in, and stays
so whatever is made of it.

To C a SecretStr is the text '<secret>': what looks at a str without asking it - json, "".join(), a format, a debugger -
gets that. What it means comes out by encode(), which the wire calls, as SecretBytes, and by plain(). SecretBytes are
what they say, for they go to the socket as they are: to C they are bytes, and what it makes of them - b"".join(),
bytearray(), memoryview() - is not secret.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Mapping, Tuple, TypeVar

__all__ = ["SecretBytes", "SecretStr", "hide", "hide_in", "hide_made_of", "plain"]

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
    """A str that is not shown; it compares as what it is."""

    __slots__ = ("_reveal",)

    _reveal: Callable[[], str]

    def __new__(cls, value: str = "") -> SecretStr:
        if isinstance(value, SecretStr):
            return value
        self = super().__new__(cls, _HIDDEN)
        text = str(value)
        self._reveal = lambda: text  # whoever prints attributes prints a function
        return self

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        return map(SecretStr, self._reveal())

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """As SecretBytes."""
        try:
            return SecretBytes(self._reveal().encode(encoding, errors))
        except UnicodeEncodeError as exc:  # which holds all of the text
            problem = UnicodeEncodeError(exc.encoding, _HIDDEN, 0, len(_HIDDEN), exc.reason)
        raise problem

    def __radd__(self, other: str) -> str:
        return SecretStr(other + self._reveal())

    def __copy__(self) -> SecretStr:
        return self

    def __deepcopy__(self, memo: Any) -> SecretStr:
        return self

    def __reduce_ex__(self, protocol: Any) -> Tuple[Any, ...]:
        return str, (_HIDDEN,)  # nor is it written to where nobody knows that it is one


class SecretBytes(bytes):
    """bytes that are not shown."""

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __bytes__(self) -> bytes:
        return self

    def __getitem__(self, key: Any) -> Any:
        part = bytes.__getitem__(self, key)
        return SecretBytes(part) if isinstance(part, bytes) else _SecretInt(part)

    def __iter__(self) -> Iterator[int]:
        return map(_SecretInt, bytes.__iter__(self))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """As a SecretStr."""
        try:
            return SecretStr(bytes.decode(self, encoding, errors))
        except UnicodeDecodeError as exc:
            problem = UnicodeDecodeError(exc.encoding, _HIDDEN.encode(), 0, len(_HIDDEN), exc.reason)
        raise problem

    def __radd__(self, other: bytes) -> bytes:
        return SecretBytes(bytes.__add__(other, self))

    def __rmod__(self, other: bytes) -> bytes:
        return SecretBytes(bytes.__mod__(other, self))

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: Any) -> SecretBytes:
        return self

    def __reduce_ex__(self, protocol: Any) -> Tuple[Any, ...]:
        return bytes, (_HIDDEN.encode(),)


class _SecretInt(int):
    """An octet of a secret."""

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _HIDDEN


def plain(value: Any) -> Any:
    """What a SecretStr means; anything else as it is. The caller must not raise, or wait, while a variable holds it."""
    return value._reveal() if isinstance(value, SecretStr) else value


def _hidden(made: Any) -> Any:
    """What was made of a secret."""
    if isinstance(made, str):
        return SecretStr(made)
    if isinstance(made, bytes):
        return SecretBytes(made)
    if isinstance(made, (list, tuple)):
        return type(made)(map(_hidden, made))
    return made  # a number, an answer


def _of_what_it_means(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def call(self: SecretStr, *args: Any, **options: Any) -> Any:
        if name == "join":
            return SecretStr(self._reveal().join(map(plain, *args)))
        return _hidden(method(self._reveal(), *map(plain, args), **options))

    call.__name__ = name
    return call


def _made_hidden(name: str) -> Callable[..., Any]:
    method = getattr(bytes, name)

    def call(self: SecretBytes, *args: Any, **options: Any) -> Any:
        return _hidden(method(self, *args, **options))

    call.__name__ = name
    return call


#: Of the methods of str and bytes, those that every object has, and those that make no part of it.
_LEFT_ALONE = {"__getnewargs__", "__rmod__", "__format__", "maketrans", "fromhex", *dir(object)} - {
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
}

for _name in dir(str):
    if _name not in vars(SecretStr) and _name not in _LEFT_ALONE:
        setattr(SecretStr, _name, _of_what_it_means(_name))
for _name in ("__add__", "__mod__", "__mul__", "__rmul__", *(name for name in dir(bytes) if name[0] != "_")):
    if _name not in vars(SecretBytes) and _name not in _LEFT_ALONE:
        setattr(SecretBytes, _name, _made_hidden(_name))


class _Misplaced:
    """Instead of what no secret can be - a list, a number - but may hold one."""

    def __repr__(self) -> str:
        return _HIDDEN


def hide(value: T) -> T:
    """The same value, if it is a str or bytes as one that is not shown. Neither is what is of a wrong type, and to be
    refused; None, and a function that is to be asked for the secret, are as they were."""
    if isinstance(value, (SecretStr, SecretBytes)):
        return value
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
