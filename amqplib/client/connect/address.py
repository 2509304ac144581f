"""Where a broker is: host names and ports. URLs, which say more, are read in `url`."""

from __future__ import annotations

import socket
from typing import List, NamedTuple

from ...wire.text import printable

__all__ = ["DEFAULT_PORT", "DEFAULT_TLS_PORT", "Address", "is_ipv6", "parse_host", "parse_hosts"]

DEFAULT_PORT = 5672
DEFAULT_TLS_PORT = 5671


class Address(NamedTuple):
    """A host name or address literal, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return printable(("[%s]:%d" if ":" in self.host else "%s:%d") % self)


def parse_hosts(text: str, default_port: int = DEFAULT_PORT) -> List[Address]:
    """One host or several with commas between them, to be tried in this order. ValueError says what is wrong."""
    if not isinstance(text, str):
        raise ValueError("host: it is not a string such as 'localhost' or '10.0.0.7:5672'")
    return [parse_host(host, default_port) for host in text.split(",")]


# What stands in the place of a host may be a part of a URL in which the host was forgotten, and hold a password:
# errors show none of it.


def parse_host(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """'name', 'name:port', '1.2.3.4:5672', '[::1]', '[fe80::1]:5672', '::1'. ValueError says what is wrong.

    Also for what a server says of another host: a name in which there are control characters is none, wherever they
    stand. Spaces before and behind it are passed over, as amqplib 1.0 did.
    """
    host = text.strip(" ")
    port = ""
    if "@" in host:
        raise ValueError("host: an '@' is for URLs only: amqp://user:password@host:port/vhost")
    if not host.isprintable():  # the system would read a name up to its first NUL, and connect to that
        raise ValueError("host: it holds a NUL, a control character, or another one that no host's name can have")
    if "," in host:  # parse_hosts() has taken these apart; a server that redirects names one
        raise ValueError("host: it holds a comma, and one host is wanted here")
    bracketed = host.startswith("[")
    if bracketed:
        host, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("host: " + _IPV6)
        port = rest[1:]
        if rest == ":":
            port = "nothing"
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        port = port or "nothing"
    if not host:
        raise ValueError("host: '' names no host")
    if (bracketed or ":" in host) and not is_ipv6(host):
        raise ValueError("host: it has colons or brackets, and is no IPv6 address; %s; %s" % (_IPV6, _USER))
    if "%" in host and ":" not in host:  # what is verified, and what is looked up, are to be the same name
        raise ValueError("host: it holds a %, which only an IPv6 address has, in front of its zone; " + _USER)
    if not port:
        return Address(host, default_port)
    if not is_port(port):
        raise ValueError("host: the port is not a number from 1 to 65535; " + _USER)
    return Address(host, int(port))


_IPV6 = "an IPv6 address is written [::1] or [::1]:5672"
_USER = "a user and a password stand before an '@', as in amqp://user:password@host:port/vhost"


def is_ipv6(host: str) -> bool:
    """Is this the address of an IPv6 host, with or without a zone?"""
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):  # a NUL is a ValueError, and so is what is not UTF-8
        return False
    return True


def is_port(text: str) -> bool:
    """Is this the number of a TCP port, in decimal?"""
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536
