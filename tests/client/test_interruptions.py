"""Proves what an exception out of nowhere does, such as Ctrl-C: a signal handler raises in the middle of a call.

The peer sends the signal when it has come that far in its script. Whatever was going on then is given up, cleanly: the
wait, or the channel, or the whole connection; but no reply ever answers another call, and no byte is missing.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Callable, List, Optional

import pytest

import amqplib.client_0_8 as amqp
from tests.octets import frame, octets
from tests.rest import await_rest

from .peer import PATIENCE, Peer, content


class Interruption(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


def interrupted(peer: Peer, call: Callable[[], Any]) -> None:
    """Make a call, in which a signal comes at the end of the script so far."""
    main, handled = threading.main_thread().ident, threading.Event()
    assert main is not None

    def handle(number: int, at: Optional[FrameType]) -> None:
        if not handled.is_set():
            handled.set()
            raise Interruption

    def send_signal() -> None:
        # again and again: one that comes just before the system is asked to wait does not end the waiting
        while not handled.wait(0.01):
            signal.pthread_kill(main, signal.SIGURG)

    # this signal, because it does nothing where nobody handles it
    before = signal.signal(signal.SIGURG, handle)
    try:
        with pytest.raises(Interruption):
            do_and_call(peer, send_signal, call)
        peer.wait()
    finally:
        handled.set()
        signal.signal(signal.SIGURG, before)


def do_and_call(peer: Peer, step: Callable[[], None], call: Callable[[], Any]) -> None:
    peer.do(step)
    call()


def test_wait(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Nothing is lost, not even the first half of a message."""
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    delivery = content("basic.deliver", "tag", 1, False, "", "", message=({}, b"body"))
    assert conn.transport is not None
    for _ in range(20):
        peer.send_bytes(delivery[:-5])
        peer.wait()
        conn.transport.sock.settimeout(0.01)
        with pytest.raises(amqp.AMQPTimeoutError):
            ch.wait()
        conn.transport.sock.settimeout(PATIENCE)
        interrupted(peer, ch.wait)
        peer.send_bytes(delivery[-5:])
        ch.wait()
    assert [msg.body for msg in got] == [b"body"] * 20
    peer.answer("queue.purge", "queue.purge_ok", 3)
    assert ch.queue_purge() == 3


def test_a_call(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Its reply may still come, so the channel is closed. Where it was still being sent, the connection is over."""
    peer.expect("queue.purge")
    interrupted(peer, ch.queue_purge)
    assert not ch.is_open
    if conn.transport is None:
        with pytest.raises(amqp.ConnectionLostError, match="Interruption"):
            conn.channel()
        return
    peer.expect("channel.close")
    peer.send("queue.purge_ok", 99)
    peer.send("channel.close_ok")
    peer.open_channel(2)
    peer.answer("queue.purge", "queue.purge_ok", 3, channel=2)
    assert conn.channel().queue_purge() == 3


def test_closing_the_connection(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("connection.close", channel=0)
    interrupted(peer, conn.close)
    peer.expect_end()
    assert (conn.transport, ch.is_open) == (None, False)


def test_opening_the_connection(peer: Peer) -> None:
    """Nothing stays open."""
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    interrupted(peer, lambda: amqp.Connection(peer.address))
    peer.expect_end()


def test_publishing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Half a message is out, and nothing can follow it: the other half goes first, and the next call sees to that."""
    body = b"x" * (32 << 20)
    peer.expect_bytes(frame(1, 1, octets("003C 0028 0000 00 00 00")))
    peer.do(await_rest)  # it waits for room
    interrupted(peer, lambda: ch.basic_publish(amqp.Message(body)))
    assert conn.transport is not None
    bodies: List[bytes] = []
    peer.do(lambda: bodies.extend(peer.bodies(1)))
    peer.expect_content("basic.publish", message=({}, b"y"))
    peer.answer("queue.purge", "queue.purge_ok", 3)
    ch.basic_publish(amqp.Message(b"y"))
    assert ch.queue_purge() == 3
    assert bodies == [body]


def test_publishing_in_the_middle_of_a_write(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much is out nobody can tell, so nothing can follow it: the connection is over, and says so."""
    transport = conn.transport
    assert transport is not None
    send = transport.send

    def interrupted(data: Any) -> int:
        send(data[:10])
        raise Interruption

    with monkeypatch.context() as patched:
        patched.setattr(transport, "send", interrupted)
        with pytest.raises(Interruption):
            ch.basic_publish(amqp.Message(b"x" * 100))
    with pytest.raises(amqp.ConnectionLostError, match="Interruption"):
        ch.basic_publish(amqp.Message(b"y"))
    assert conn.transport is None
    peer.drain()


def test_between_the_socket_and_the_inbox(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is lost, so the connection is over, and says so."""
    transport = conn.transport
    assert transport is not None
    receive = transport.receive

    def interrupted() -> bytes:
        assert receive()
        raise Interruption

    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    with monkeypatch.context() as patched:
        patched.setattr(transport, "receive", interrupted)
        with pytest.raises(Interruption):
            ch.wait()
    with pytest.raises(amqp.ConnectionLostError, match="Interruption"):
        ch.wait()
    assert conn.transport is None
    peer.expect_end()


def test_the_end(peer: Peer, conn: amqp.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another close() completes it."""

    def interrupted() -> None:
        monkeypatch.undo()
        raise Interruption

    assert conn.transport is not None
    monkeypatch.setattr(conn.transport, "shut", interrupted)
    peer.part()
    with pytest.raises(Interruption):
        conn.close()
    conn.close()
    assert conn.transport is None
