"""Proves how a host is found: what may be written, which addresses are tried, and what is said when none answers."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any, List, Tuple

import pytest

import amqplib.client_0_8 as amqp

from .peer import Peer

Found = List[Tuple[Any, ...]]


def connect_and_close(peer: Peer, host: str) -> None:
    peer.welcome()
    conn = amqp.Connection(host)
    peer.part()
    conn.close()


@pytest.mark.parametrize("form", ["127.0.0.1:%d", "127.0.0.1:%d ", " 127.0.0.1:%d  ", "localhost:%d"])
def test_forms(peer: Peer, form: str) -> None:
    connect_and_close(peer, form % peer.port)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("broker", ("broker", 5672)),
        ("broker:1", ("broker", 1)),
        ("10.0.0.7", ("10.0.0.7", 5672)),
        ("10.0.0.7:65535", ("10.0.0.7", 65535)),
        ("[::1]", ("::1", 5672)),
        ("[fe80::1]:5673", ("fe80::1", 5673)),
        ("::1", ("::1", 5672)),
        ("broker.example.com:5672 ", ("broker.example.com", 5672)),
    ],
)
def test_what_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch, host: str, asked: Tuple[str, int]) -> None:
    seen = []

    def getaddrinfo(host: str, port: int, *args: Any, **keywords: Any) -> Found:
        seen.append((host, port))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(amqp.ConnectionLostError, match=asked[0]) as caught:
        amqp.Connection(host)
    assert seen == [asked]
    assert caught.value.errno == socket.EAI_NONAME


def test_the_default_is_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, port: int, *args: Any, **keywords: Any) -> Found:
        raise OSError(errno.EIO, "asked for %s port %s" % (host, port))

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(amqp.ConnectionLostError, match="asked for localhost port 5672"):
        amqp.Connection()


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", ":5672", "broker:", "broker:amqp", "broker:0", "broker:65536", "broker:-1", "broker:5672x"),
        *("broker:\uff15", "[::1", "[::1]5672", "[::1]:", "[]", "[]:5672"),
        *(None, 5672, b"broker", ("broker", 5672)),
    ],
)
def test_bad_hosts(host: Any) -> None:
    with pytest.raises(ValueError, match=r"^host: ") as caught:
        amqp.Connection(host)
    assert "secret" not in str(caught.value).lower()


def test_a_name_that_is_none() -> None:
    """Neither too long for a name nor unknown: both are the system's to say, and a lost connection to the program."""
    for name in ("no-such-host.invalid", "x" * 70, "a..b"):
        with pytest.raises(amqp.ConnectionLostError, match=name):
            amqp.Connection(name)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_refused() -> None:
    port = unused_port()
    with pytest.raises(amqp.ConnectionLostError, match="127.0.0.1:%d" % port) as caught:
        amqp.Connection("127.0.0.1:%d" % port)
    assert caught.value.errno == errno.ECONNREFUSED
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, amqp.AMQPConnectionException)


def test_refused_is_no_timeout() -> None:
    begin = time.monotonic()
    with pytest.raises(amqp.ConnectionLostError):
        amqp.Connection("127.0.0.1:%d" % unused_port(), connect_timeout=30)
    assert time.monotonic() - begin < 5


def ipv6_peer() -> Peer:
    try:
        return Peer("::1", socket.AF_INET6)
    except OSError as exc:
        pytest.skip("no IPv6 here: %s" % exc)


def test_ipv6() -> None:
    with ipv6_peer() as peer:
        assert peer.address == "[::1]:%d" % peer.port
        connect_and_close(peer, peer.address)


# --- several addresses -------------------------------------------------------------------------------------


def offer(monkeypatch: pytest.MonkeyPatch, *addresses: Tuple[str, int]) -> None:
    """Whatever the program asks for, these are its addresses."""

    def getaddrinfo(host: str, port: int, *args: Any, **keywords: Any) -> Found:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_addresses_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    refusing = "127.0.0.1", unused_port()
    offer(monkeypatch, refusing, refusing, ("127.0.0.1", peer.port))
    connect_and_close(peer, "broker")


def test_the_first_that_accepts_is_taken(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    with Peer() as other:  # checks that nobody comes
        offer(monkeypatch, ("127.0.0.1", peer.port), ("127.0.0.1", other.port))
        connect_and_close(peer, "broker")


def test_the_last_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    original = socket.socket.connect

    def connect(self: socket.socket, address: Tuple[str, int]) -> None:
        if address[1] == 1:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    refusing = "127.0.0.1", unused_port()
    offer(monkeypatch, refusing, ("127.0.0.1", 1))
    with pytest.raises(amqp.ConnectionLostError, match=r"broker:5672.*Network is unreachable") as caught:
        amqp.Connection("broker")
    assert caught.value.errno == errno.ENETUNREACH
    offer(monkeypatch, ("127.0.0.1", 1), refusing)
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection("broker")
    assert caught.value.errno == errno.ECONNREFUSED


def test_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    with pytest.raises(amqp.ConnectionLostError, match="broker"):
        amqp.Connection("broker")
