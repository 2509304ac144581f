"""Where a broker is: host names and ports. URLs, which say more, are read in `url`."""

from __future__ import annotations

from typing import List, NamedTuple

__all__ = ["DEFAULT_PORT", "DEFAULT_TLS_PORT", "Address", "parse_host", "parse_hosts"]

DEFAULT_PORT = 5672
DEFAULT_TLS_PORT = 5671


class Address(NamedTuple):
    """A host name or address literal, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return ("[%s]:%d" if ":" in self.host else "%s:%d") % self


def parse_hosts(text: str, default_port: int = DEFAULT_PORT) -> List[Address]:
    """One host or several with commas between them, to be tried in this order. ValueError says what is wrong."""
    if not isinstance(text, str):
        raise ValueError("host: it is not a string such as 'localhost' or '10.0.0.7:5672'")
    return [parse_host(host, default_port) for host in text.split(",")]


def parse_host(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """'name', 'name:port', '1.2.3.4:5672', '[::1]', '[fe80::1]:5672', '::1'. ValueError says what is wrong."""
    host = text.strip()
    port = ""
    if "@" in host:  # what stands before it may be a password: it is not shown
        raise ValueError("host: an '@' is for URLs only: amqp://user:password@host:port/vhost")
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
        raise ValueError("host: '' names no host")
    if not port:
        return Address(host, default_port)
    if not is_port(port):  # nor is this shown: it is a password where 'user:password' stands without a host
        raise ValueError(
            "host: the port of %r is not a number from 1 to 65535; a user and a password stand before an '@', as in"
            " amqp://user:password@host:port/vhost" % host
        )
    return Address(host, int(port))


def is_port(text: str) -> bool:
    """Is this the number of a TCP port, in decimal?"""
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536
