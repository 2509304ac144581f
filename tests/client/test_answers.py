"""Proves that what answers in the place of a broker is recognised, and that the error says where and what to do."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from typing import Dict, Iterator, Tuple, Type

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

from .frozen import AMQP_0_9_1
from .peer import HEADER, PATIENCE, Peer

OTHERS: Dict[str, Tuple[bytes, str]] = {
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server answered; RabbitMQ's management listens on 15672"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server answered: check the port; AMQP's is 5672"),
    "SMTP": (b"220 mail.example.com ESMTP\r\n", "a mail or FTP server answered"),
    "a TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS there: connect with ssl=True"),
    "AMQP 1.0": (b"AMQP\x00\x01\x00\x00", "it speaks AMQP 1.0"),
    "AMQP 1.0 with SASL": (b"AMQP\x03\x01\x00\x00", "it speaks AMQP 1.0 with SASL"),
    "AMQP 0-10": (b"AMQP\x01\x01\x00\x0a", "it speaks AMQP 0-10"),
    "an AMQP to come": (b"AMQP\x07\x07\x07\x07", "it speaks some other version of AMQP"),
}


def error_of(address: str, kind: Type[amqp.AMQPException] = amqp.ConnectionLostError) -> str:
    """What is said of a connection that cannot be made; the host and the port are, always."""
    with pytest.raises(kind) as caught:
        amqp.Connection(address, protocol="0-8")
    assert address in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", OTHERS)
def test_others(peer: Peer, name: str) -> None:
    answer, advice = OTHERS[name]
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send_bytes(answer)
    peer.drain()
    kind = amqp.ProtocolVersionError if name.startswith(("AMQP", "an AMQP")) else amqp.ConnectionLostError
    said = error_of(peer.address, kind)
    assert advice in said
    if answer[:2].hex(" ") in said:  # who it is comes before the bytes that tell it
        assert said.index(advice) < said.index(answer[:2].hex(" "))
    else:
        assert name.startswith(("AMQP", "an AMQP"))


def test_an_older_amqp() -> None:
    with Peer(dialect=AMQP_0_9_1) as peer:
        peer.accept()
        peer.expect_bytes(b"AMQP\0\0\x09\x01")
        peer.send_bytes(b"AMQP\x01\x01\x08\x00")
        peer.close()
        with pytest.raises(amqp.ProtocolVersionError, match=r"AMQP 0-9-1 was refused.*; it speaks AMQP 0-8") as caught:
            amqp91.Connection(peer.address)
        assert peer.address in str(caught.value)


def test_an_immediate_close(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.close()
    said = error_of(peer.address)
    assert "closed the connection without a word; a proxy without a broker behind it does that" in said
    assert "connect with ssl=True" in said


def test_refused_in_every_version(peer: Peer) -> None:
    """The hint comes once, with what was said to each version."""
    for header in (HEADER, b"AMQP\0\0\x09\x01"):
        peer.accept()
        peer.expect_bytes(header)
        peer.send_bytes(b"AMQP\x00\x01\x00\x00")
        peer.close()
    with pytest.raises(amqp.ProtocolVersionError) as caught:
        amqp.Connection(peer.address)
    said = str(caught.value)
    assert said.count("; it speaks AMQP 1.0") == 1
    assert "%s speaks no AMQP that is known here (0-8: " % peer.address in said
    assert "0-9-1: " in said


def test_silence(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.expect_end()
    with pytest.raises(amqp.AMQPTimeoutError, match="accepted the connection and says nothing") as caught:
        amqp.Connection(peer.address, connect_timeout=0.2)
    assert peer.address in str(caught.value)


def test_nothing_is_guessed_of_other_bytes(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send_bytes(b"\xff\xfe")
    peer.drain()
    assert re.search(r"not an AMQP frame: ff fe \[", error_of(peer.address))


@pytest.fixture
def tls_port() -> Iterator[int]:
    """A server that speaks TLS, to one client; it gets no further than to refuse its greeting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)

    def serve() -> None:
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        with sock, contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(PATIENCE)
    listener.close()


def test_a_port_for_tls(tls_port: int) -> None:
    assert "connect with ssl=True" in error_of("127.0.0.1:%d" % tls_port)


def test_tls_to_a_port_without(peer: Peer) -> None:
    """RabbitMQ answers a TLS greeting with its protocol header."""
    peer.accept()
    peer.send_bytes(b"AMQP\0\0\x09\x01")
    peer.drain()
    with pytest.raises(amqp.ConnectionLostError, match=r"it speaks AMQP without TLS on that port") as caught:
        amqp.Connection(peer.address, ssl=True)
    assert peer.address in str(caught.value)
