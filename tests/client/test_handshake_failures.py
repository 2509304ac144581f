"""Proves that a connection that does not come about says why, in time, and leaves nothing open.

The peer of each test checks that the client has closed its socket; warnings are errors, so that a forgotten one
shows too.
"""

from __future__ import annotations

import errno
import functools
import re
import socket
from typing import Dict, Tuple, Type

import pytest

import amqplib.client_0_8 as amqp
from tests.waits import waits

from .peer import HEADER, Peer, method

#: What the client waits for, in order.
WAITING_FOR = ["connection.start", "connection.tune", "connection.open_ok"]


def play_until(peer: Peer, name: str) -> None:
    """The handshake, up to where the client waits for this method."""
    peer.accept()
    peer.expect_bytes(HEADER)
    if name == "connection.start":
        return
    peer.send("connection.start", 8, 0, {}, "PLAIN AMQPLAIN", "en_US", channel=0)
    peer.expect("connection.start_ok", channel=0)
    if name == "connection.tune":
        return
    peer.send("connection.tune", 0, 0, 0, channel=0)
    peer.expect("connection.tune_ok", channel=0)
    peer.expect("connection.open", channel=0)


#: Insists on 0-8: what else happens when the first try fails is in test_negotiation.
connect = functools.partial(amqp.Connection, protocol="0-8")


# --- refused by the server ---------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting_for", WAITING_FOR)
@pytest.mark.parametrize(
    ("code", "kind"), [(320, amqp.ConnectionForced), (530, amqp.NotAllowed), (541, amqp.InternalError)]
)
def test_close_from_the_server(
    peer: Peer, waiting_for: str, code: int, kind: Type[amqp.AMQPConnectionException]
) -> None:
    play_until(peer, waiting_for)
    peer.send("connection.close", code, "SORRY - vhost 'x' not found", 10, 40, channel=0)
    peer.expect_bytes(method("connection.close_ok", channel=0))
    peer.expect_end()
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        connect(peer.address)
    assert type(caught.value) is kind
    assert caught.value.args == (code, "SORRY - vhost 'x' not found", (10, 40), "Connection.open")
    assert "127.0.0.1:%d" % peer.port in str(caught.value)


def test_login_refused(peer: Peer) -> None:
    play_until(peer, "connection.tune")
    peer.send("connection.close", 403, "ACCESS_REFUSED - Login was refused", 10, 11, channel=0)
    peer.expect("connection.close_ok", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError) as caught:
        connect(peer.address, "bob", "hunter2")
    assert caught.value.args == (403, "ACCESS_REFUSED - Login was refused", (10, 11), "Connection.start_ok")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, amqp.AMQPConnectionException)
    assert "bob" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_access_to_the_virtual_host_refused(peer: Peer) -> None:
    """403 as well, but the login was fine."""
    play_until(peer, "connection.open_ok")
    peer.send("connection.close", 403, "access refused", 10, 40, channel=0)
    peer.expect("connection.close_ok", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AMQPConnectionException, match="403 access refused"):
        connect(peer.address, virtual_host="/secret")


# --- lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting_for", ["connection.start", "connection.open_ok"])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost(peer: Peer, waiting_for: str, ending: str) -> None:
    play_until(peer, waiting_for)
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        connect(peer.address)
    assert type(caught.value) is amqp.ConnectionLostError
    assert caught.value.errno == errno.ECONNRESET
    assert "127.0.0.1:%d" % peer.port in str(caught.value)


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost_after_the_login(peer: Peer, ending: str) -> None:
    """How brokers refuse a login that know no better."""
    play_until(peer, "connection.tune")
    getattr(peer, ending)()
    with pytest.raises(amqp.AuthenticationError, match="bob") as caught:
        connect(peer.address, "bob")
    assert caught.value.amqp_reply_code == 403
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize("waiting_for", WAITING_FOR)
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost_within_a_frame(peer: Peer, waiting_for: str, ending: str) -> None:
    play_until(peer, waiting_for)
    peer.send_bytes(b"\x01\0\0\0\0\0")
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError):
        connect(peer.address)


def test_lost_before_a_word(peer: Peer) -> None:
    peer.accept()
    peer.reset()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        connect(peer.address)
    assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE)


# --- not an AMQP 0-8 broker --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x00\x09\x01"])
def test_another_version_answered(peer: Peer, header: bytes) -> None:
    """How RabbitMQ >= 4 refuses AMQP 0-8."""
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send_bytes(header)
    peer.close()
    with pytest.raises(amqp.ConnectionLostError, match=re.escape(repr(header))):
        connect(peer.address)


OTHERS: Dict[str, Tuple[bytes, str]] = {
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "48 54 54 50"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "53 53 48"),
    "TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46", "15 03 01"),
    "TLS alert, half": (b"\x15\x03", "15 03"),
    "SMTP": (b"220 mail.example.com ESMTP\r\n", "32 32 30"),
    "almost": (b"AMQQ\x01\x01\x09\x01", "41 4d 51 51"),
    "a frame too long": (b"\x01\0\0\x7f\xff\xff\xff\x00", "01 00 00 7f ff ff ff"),
    "a wrong end": (b"\x01\0\0\0\0\0\x04\0\x0a\0\x0a\xcd", "01 00 00"),
    "a channel nobody opened": (method("channel.open_ok", channel=1), "channel 1"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_something_else_answers(peer: Peer, name: str) -> None:
    """It is reported at once, with the bytes that came, although the peer keeps the connection open."""
    answer, shown = OTHERS[name]
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send_bytes(answer)
    peer.drain()  # the client may say why it goes
    with pytest.raises(amqp.ConnectionLostError, match=shown) as caught:
        connect(peer.address)
    assert not isinstance(caught.value, amqp.AuthenticationError)
    assert "127.0.0.1:%d" % peer.port in str(caught.value)


@pytest.mark.parametrize("waiting_for", ["connection.tune", "connection.open_ok"])
def test_rubbish_later_is_no_refused_login(peer: Peer, waiting_for: str) -> None:
    play_until(peer, waiting_for)
    peer.send_bytes(b"rubbish!")
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match="72 75 62") as caught:
        connect(peer.address)
    assert type(caught.value) is amqp.ConnectionLostError
    assert caught.value.amqp_reply_code == 501


# --- silence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting_for", WAITING_FOR)
def test_connect_timeout(peer: Peer, waiting_for: str) -> None:
    play_until(peer, waiting_for)
    peer.expect_end()
    with waits(0.95, 1.01), pytest.raises(amqp.AMQPTimeoutError, match=r"127\.0\.0\.1"):
        connect(peer.address, connect_timeout=1.0)


def test_connect_timeout_while_bytes_trickle_in(peer: Peer) -> None:
    """The time is for all of the handshake, not for a single read."""
    peer.accept()
    peer.expect_bytes(HEADER)
    start = method("connection.start", 8, 0, {"padding": "x" * 1000}, "PLAIN AMQPLAIN", "en_US", channel=0)

    peer.trickle(start, 0.005)
    with waits(0.15, 0.21), pytest.raises(amqp.AMQPTimeoutError):
        connect(peer.address, connect_timeout=0.2)


def test_connect_timeout_when_nobody_accepts() -> None:
    """A listener whose queue is full drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                waiting.append(sock)
                sock.setblocking(False)
                assert sock.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
            with pytest.raises(amqp.AMQPTimeoutError, match=r"no connection within 0\.(2|1\d*) s"):
                connect("127.0.0.1:%d" % listener.getsockname()[1], connect_timeout=0.2)
        finally:
            for sock in waiting:
                sock.close()


def test_a_timeout_is_a_timeout_by_every_name(peer: Peer) -> None:
    play_until(peer, "connection.start")
    with pytest.raises(socket.timeout):
        connect(peer.address, connect_timeout=0.05)
    peer.expect_end()
    peer.accept()
    peer.expect_bytes(HEADER)
    with pytest.raises(TimeoutError):
        connect(peer.address, connect_timeout=0.05)
