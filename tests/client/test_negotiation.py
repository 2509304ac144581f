"""client_0_8 offers 0-8, and connects again with 0-9-1 when that is refused; once, within one deadline."""

from __future__ import annotations

import errno
import socket
import threading
import uuid
from contextlib import ExitStack
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.waits import waits

from .frozen import AMQP_0_9_1
from .peer import HEADER, PATIENCE, Peer, method
from .test_hosts import offer

HEADER_0_9_1 = b"AMQP\x00\x00\x09\x01"


@pytest.fixture
def peer(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer at an address of which nothing has been learned."""
    offer(monkeypatch, ("127.0.0.1", peer.port))
    peer.address = "%s.example:%d" % (uuid.uuid4().hex, peer.port)
    return peer


def newer(name: str, *args: Any) -> bytes:
    """A method for the connection, in 0-9-1."""
    return method(name, *args, channel=0, dialect=AMQP_0_9_1)


def start(minor: int = 9, major: int = 0) -> bytes:
    return method("connection.start", major, minor, {}, "PLAIN AMQPLAIN", "en_US", channel=0)


def welcome(peer: Peer) -> None:
    """A handshake in 0-9-1, up to the closing by the client."""
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.send_bytes(start())
    peer.let_in()
    peer.open_host()


def part(peer: Peer) -> None:
    peer.expect_bytes(newer("connection.close", 0, "", 0, 0))
    peer.send_bytes(newer("connection.close_ok"))
    peer.expect_end()


def refuse(peer: Peer, how: str) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    if how == "header":
        peer.send_bytes(b"AMQP\x03\x01\x00\x00")
        peer.close()
    elif how == "close":
        peer.close()
    elif how == "reset":
        peer.reset()
    elif how == "another version":
        peer.send_bytes(start())
        peer.expect_end()
    else:
        peer.send("connection.close", 530, "not here", 0, 0, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()


@pytest.mark.parametrize("how", ["header", "close", "reset", "another version", "connection.close"])
def test_refused(peer: Peer, how: str) -> None:
    refuse(peer, how)
    welcome(peer)
    conn = amqp.Connection(peer.address)
    assert conn.protocol == "0-9-1"
    part(peer)
    conn.close()
    # and the next connection starts right
    welcome(peer)
    part(peer)
    amqp.Connection(peer.address).close()


def test_both_refused(peer: Peer) -> None:
    refuse(peer, "header")
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.close()
    with pytest.raises(amqp.ProtocolVersionError, match=r"0-8: .*refused.*; 0-9-1: .*without a word"):
        amqp.Connection(peer.address)


def test_what_was_learned_is_not_for_ever(peer: Peer) -> None:
    refuse(peer, "header")
    welcome(peer)
    part(peer)
    amqp.Connection(peer.address).close()
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.close()
    peer.welcome()
    peer.part()
    conn = amqp.Connection(peer.address)
    assert conn.protocol == "0-8"
    conn.close()


def test_silence_is_no_refusal(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.expect_end()
    with waits(0.25, 0.31), pytest.raises(amqp.AMQPTimeoutError):
        amqp.Connection(peer.address, connect_timeout=0.3)


def test_one_deadline_for_both(peer: Peer) -> None:
    refuse(peer, "header")
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.expect_end()
    with waits(0.95, 1.01), pytest.raises(amqp.AMQPTimeoutError):
        amqp.Connection(peer.address, connect_timeout=1.0)


def test_something_else_is_no_refusal(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.drain()
    with pytest.raises(amqp.ConnectionLostError, match="not an AMQP frame"):
        amqp.Connection(peer.address)


def test_pinned(peer: Peer) -> None:
    welcome(peer)
    part(peer)
    amqp.Connection(peer.address, protocol="0-9-1").close()
    refuse(peer, "header")
    with pytest.raises(amqp.ProtocolVersionError, match=r"0-8 was refused.*connect without protocol='0-8'") as caught:
        amqp.Connection(peer.address, protocol="0-8")
    assert caught.value.errno == errno.EPROTONOSUPPORT
    with pytest.raises(ValueError, match="'0-8' or '0-9-1'"):
        amqp.Connection(peer.address, protocol="0-10")
    with pytest.raises(ValueError, match="'0-9-1'"):
        amqp91.Connection(peer.address, protocol="0-8")


def test_the_newer_client_offers_the_newer_version_only(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.close()
    with pytest.raises(amqp91.ConnectionLostError):
        amqp91.Connection(peer.address)
    with pytest.raises(TypeError, match="port"):
        amqp91.Connection(peer.address, port=5672)  # type: ignore[arg-type]


def test_ids_of_the_old_version_in_exceptions(peer: Peer) -> None:
    """connection.close is (10, 50) on the wire, and what it blames has the wire's ids, too."""
    welcome(peer)
    conn = amqp91.Connection(peer.address, heartbeat=0)
    peer.send_bytes(newer("connection.blocked", "low on memory"))
    peer.send_bytes(newer("connection.unblocked"))
    peer.send_bytes(newer("connection.close", 320, "enough", 10, 50))
    peer.expect_bytes(newer("connection.close_ok"))
    peer.expect_end()
    with pytest.raises(amqp91.AMQPConnectionException) as caught:
        conn.drain_events(timeout=5)
    assert caught.value.args == (320, "enough", (10, 60), "Connection.close")


def test_blocked_and_unblocked(peer: Peer) -> None:
    welcome(peer)
    said: List[str] = []
    conn = amqp91.Connection(
        peer.address, heartbeat=0, on_blocked=said.append, on_unblocked=lambda: said.append("again")
    )
    peer.send_bytes(newer("connection.blocked", "low on memory"))
    conn.wait()
    assert str(conn.blocked) == "low on memory"
    peer.send_bytes(newer("connection.unblocked"))
    conn.wait()
    assert not conn.blocked
    assert said == ["low on memory", "again"]
    part(peer)
    conn.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.confirm_select(),
        lambda ch: ch.wait_for_confirms(),
        lambda ch: ch.basic_publish_confirm(amqp.Message("x")),
        lambda ch: ch.basic_nack(1),
        lambda ch: ch.exchange_bind("a", "b"),
        lambda ch: ch.exchange_unbind("a", "b"),
        lambda ch: ch.basic_consume("q", arguments={"x-priority": 1}),
        lambda ch: ch.connection.update_secret("x"),
    ],
)
def test_what_0_8_lacks(peer: Peer, ch: amqp.Channel, call: object) -> None:
    assert callable(call)
    with pytest.raises(amqp.DialectError, match="AMQP 0-8, which is spoken here, has no"):
        call(ch)
    assert ch.unconfirmed == {}


@pytest.mark.parametrize("name", ["on_blocked", "on_unblocked"])
def test_notices_that_0_8_lacks(peer: Peer, name: str, caplog: pytest.LogCaptureFixture) -> None:
    peer.welcome()
    peer.part()
    notices: Any = {name: print}
    amqp.Connection(peer.address, **notices).close()
    assert "AMQP 0-8, which is spoken here, has no connection.blocked; connect with protocol='0-9-1'" in caplog.text


def test_heartbeats(peer: Peer) -> None:
    """Sent while the program sleeps; and a peer that is silent for two intervals is lost."""
    peer.greet()
    peer.let_in(heartbeat=1)
    peer.open_host()

    def three_of_them() -> None:
        beat = b"\x08\0\0\0\0\0\0\xce"
        for _ in range(3):
            while not peer.hears(0.1):
                peer.says(beat)  # so that it is silent only when three have come, however slow the machine is
            assert peer.take(8, "a heartbeat") == beat

    peer.do(three_of_them)
    peer.drain()
    conn = amqp.Connection(peer.address, heartbeat=5)
    assert conn.heartbeat == 1
    with pytest.raises(amqp.ConnectionLostError, match="silent for"):
        conn.wait()


def test_both_fail_each_in_its_way(peer: Peer) -> None:
    """The kind of the error and its errno are the later one's, unless the server has said what it is."""
    refuse(peer, "close")
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.send_bytes(b"\x01\0\0\0\0\0\4\0\x0a\0\x0b!")  # a frame without its end
    peer.drain()
    with pytest.raises(amqp.ConnectionLostError, match=r"0-8: .*without a word; 0-9-1: ") as caught:
        amqp.Connection(peer.address)
    assert not isinstance(caught.value, amqp.ProtocolVersionError)


def test_both_are_closed(peer: Peer) -> None:
    """As by a proxy that has no broker: that is a lost connection, with the errno of one."""
    for header in (HEADER, HEADER_0_9_1):
        peer.accept()
        peer.expect_bytes(header)
        peer.reset()
    with pytest.raises(amqp.ConnectionLostError, match=r"0-8: .*; 0-9-1: ") as caught:
        amqp.Connection(peer.address)
    assert not isinstance(caught.value, amqp.ProtocolVersionError)
    assert caught.value.errno == errno.ECONNRESET


def test_the_second_one_has_no_answer(peer: Peer) -> None:
    refuse(peer, "header")
    peer.accept()
    peer.expect_bytes(HEADER_0_9_1)
    peer.expect_end()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"before that, AMQP 0-8: .*refused"):
        amqp.Connection(peer.address, connect_timeout=1.0)


def test_many_at_once() -> None:
    """Each finds out for itself, or from another."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        threading.Thread(target=_refuse_0_8, args=(listener, 2 * 16), daemon=True).start()
        found: List[str] = []

        def connect() -> None:
            try:
                amqp.Connection(address, connect_timeout=PATIENCE)
            except amqp.AuthenticationError:  # it spoke 0-9-1 as far as that
                found.append("0-9-1")

        threads = [threading.Thread(target=connect) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == ["0-9-1"] * 16


def _refuse_0_8(listener: socket.socket, connections: int) -> None:
    """A broker of today that lets nobody in."""
    for _ in range(connections):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client,), daemon=True).start()


def _serve(client: socket.socket) -> None:
    with client:
        if client.recv(8) == HEADER_0_9_1:
            client.sendall(start())
            client.recv(10000)
            client.sendall(newer("connection.close", 403, "not you", 10, 11))
            client.recv(10000)
        else:
            client.sendall(b"AMQP\x03\x01\x00\x00")
