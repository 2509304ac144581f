"""Where a broker is: the host argument of Connection, read."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEFAULT_PORT", "DEFAULT_TLS_PORT", "Address", "parse_host"]

DEFAULT_PORT = 5672
DEFAULT_TLS_PORT = 5671


class Address(NamedTuple):
    """A host name or address literal, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return ("[%s]:%d" if ":" in self.host else "%s:%d") % self


def parse_host(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """'name', 'name:port', '1.2.3.4:5672', '[::1]', '[fe80::1]:5672', '::1'. ValueError says what is wrong."""
    if not isinstance(text, str):
        raise ValueError("host: %r is not a string such as 'localhost' or '10.0.0.7:5672'" % (text,))
    host = text.strip()
    port = ""
    if host.startswith("["):
        host, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("host: %r: an IPv6 address is written [::1] or [::1]:5672" % text)
        port = rest[1:]
        if rest == ":":
            port = "nothing"
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        port = port or "nothing"
    if not host:
        raise ValueError("host: %r names no host" % text)
    if not port:
        return Address(host, default_port)
    if not (port.isdigit() and port.isascii() and 0 < int(port) < 65536):
        raise ValueError("host: %r: the port is a number from 1 to 65535, not %r" % (text, port))
    return Address(host, int(port))
