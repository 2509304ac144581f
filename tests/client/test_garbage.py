"""Proves that a connection that is over, and its channels, die by reference count alone.

The collector is off: what is part of a cycle stays, and its weak reference with it.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import subprocess
import sys
import weakref
from typing import Any, Callable, Counter, Dict, Iterator, List, Tuple

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

from .peer import Peer, content, method

pytestmark = pytest.mark.skipif(sys.implementation.name != "cpython", reason="nothing dies by reference count here")


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def open_two(peer: Peer) -> amqp.Connection:
    """A connection with channels 1 and 2, and with a consumer whose callback knows its channel."""
    peer.welcome()
    conn = amqp.Connection(peer.address)
    for number in (1, 2):
        peer.open_channel(number)
        ch = conn.channel()
        peer.answer("basic.consume", "basic.consume_ok", "tag", channel=number)
        ch.basic_consume("q", "tag", callback=lambda msg, ch=ch: ch.basic_ack(msg.delivery_tag))  # type: ignore[misc]
    return conn


def channel(conn: amqp.Connection, number: int) -> amqp.Channel:
    assert conn.channels is not None
    found = conn.channels[number]
    assert isinstance(found, amqp.Channel)
    return found


def watch(conn: amqp.Connection) -> List[weakref.ref[Any]]:
    assert conn.channels is not None
    parts: List[Any] = [conn, conn.channels[1], conn.channels[2], conn.transport]
    return [weakref.ref(part) for part in parts]


def assert_gone(watched: List[weakref.ref[Any]]) -> None:
    left = [type(ref()).__name__ for ref in watched if ref() is not None]
    assert not left, "%s are kept alive by %s" % (left, [gc.get_referrers(ref()) for ref in watched if ref()])


def alive() -> Counter[str]:
    """Objects of the library, by the names of their classes; as far as the collector knows them."""
    return collections.Counter(
        type(o).__name__ for o in gc.get_objects() if str(type(o).__module__).startswith("amqplib.")
    )


def closed(peer: Peer, conn: amqp.Connection) -> None:
    peer.part()
    conn.close()


def closed_by_the_server(peer: Peer, conn: amqp.Connection) -> None:
    peer.send("connection.close", 320, "bye", 0, 0, channel=0)
    peer.expect("connection.close_ok", channel=0)
    with contextlib.suppress(amqp.AMQPConnectionException):
        channel(conn, 1).wait()


def lost_in_wait(peer: Peer, conn: amqp.Connection) -> None:
    peer.close()
    with contextlib.suppress(OSError):
        channel(conn, 1).wait()


def reset_in_a_call(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect("tx.select")
    peer.reset()
    with contextlib.suppress(OSError):
        channel(conn, 1).tx_select()


def lost_while_publishing(peer: Peer, conn: amqp.Connection) -> None:
    ch = channel(conn, 1)
    peer.reset()
    peer.wait()
    with contextlib.suppress(OSError):
        while True:
            ch.basic_publish(amqp.Message(b"x" * 100000))


def timed_out(peer: Peer, conn: amqp.Connection) -> None:
    assert conn.transport is not None
    conn.transport.sock.settimeout(0.01)
    peer.expect("connection.close", channel=0)
    with contextlib.suppress(OSError):
        conn.close()


def peer_broke_the_protocol(peer: Peer, conn: amqp.Connection) -> None:
    peer.send_bytes(b"rubbish!")
    peer.expect("connection.close", channel=0)
    with contextlib.suppress(OSError):
        channel(conn, 1).wait()


def callback_that_fails(msg: amqp.Message) -> None:
    raise KeyError("mine")


def closed_after_all_kinds_of_errors(peer: Peer, conn: amqp.Connection) -> None:
    one, two = channel(conn, 1), channel(conn, 2)
    with contextlib.suppress(ValueError):
        one.basic_publish(amqp.Message(b"x", priority=-1))
    with contextlib.suppress(ValueError):
        one.queue_declare("x" * 256)
    peer.expect("queue.purge")
    peer.send("channel.close", 404, "gone", 50, 30)
    peer.expect("channel.close_ok")
    with contextlib.suppress(amqp.AMQPChannelException):
        one.queue_purge("q")
    with contextlib.suppress(amqp.AMQPChannelException):
        one.queue_purge("q")
    assert conn.transport is not None
    conn.transport.sock.settimeout(0.01)
    with contextlib.suppress(OSError):
        two.wait()
    conn.transport.sock.settimeout(None)
    two.callbacks["tag"] = callback_that_fails
    peer.send_content("basic.deliver", "tag", 1, False, "", "", channel=2)
    with contextlib.suppress(KeyError):
        two.wait()
    closed(peer, conn)
    with contextlib.suppress(amqp.AMQPException):
        two.wait()
    with contextlib.suppress(amqp.AMQPException):
        conn.channel()


def closed_with_methods_unhandled(peer: Peer, conn: amqp.Connection) -> None:
    one = channel(conn, 1)
    peer.expect("tx.select")
    deliveries = content("basic.deliver", "tag", 1, False, "", "") + content("basic.return", 312, "", "", "")
    peer.send_bytes(deliveries + method("tx.select_ok"))
    one.tx_select()
    closed(peer, conn)


ENDINGS: Dict[str, Callable[[Peer, amqp.Connection], None]] = {
    function.__name__: function
    for function in (
        closed,
        closed_by_the_server,
        lost_in_wait,
        reset_in_a_call,
        lost_while_publishing,
        timed_out,
        peer_broke_the_protocol,
        closed_after_all_kinds_of_errors,
        closed_with_methods_unhandled,
    )
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_connection_that_is_over(peer: Peer, name: str) -> None:
    before = alive()
    conn = open_two(peer)
    watched = watch(conn)
    ENDINGS[name](peer, conn)
    assert conn.transport is None
    del conn
    assert_gone(watched)
    assert not alive() - before, "no part of it is left either"


def test_a_connection_that_could_not_be_opened(peer: Peer) -> None:
    made: List[weakref.ref[Any]] = []

    class Watched(amqp.Connection):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            made.append(weakref.ref(self))
            super().__init__(*args, **keywords)

    for reply, args in (
        ("connection.close", (403, "no", 10, 11)),
        ("connection.close", (530, "no", 10, 11)),
    ):
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.send(reply, *args, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
        with contextlib.suppress(amqp.AMQPException):
            Watched(peer.address)
    peer.greet()
    peer.close()
    with contextlib.suppress(OSError):
        Watched(peer.address)
    peer.greet()
    with contextlib.suppress(OSError):
        Watched(peer.address, connect_timeout=0.05)
    peer.drain()
    with contextlib.suppress(OSError):
        Watched("no-such-host.invalid")
    assert len(made) == 5
    assert_gone(made)


@pytest.mark.parametrize("name", ["AMQPConnectionException", "ConnectionLostError"])
def test_while_the_exception_is_being_handled(peer: Peer, name: str) -> None:
    """Its traceback keeps the frames; when it has been handled, nothing does."""
    conn = open_two(peer)
    watched = watch(conn)
    if name == "ConnectionLostError":
        peer.close()
    else:
        peer.send("connection.close", 320, "bye", 0, 0, channel=0)
        peer.expect("connection.close_ok", channel=0)
    alive = False
    try:
        channel(conn, 1).wait()
    except getattr(amqp, name):
        del conn
        alive = any(ref() is not None for ref in watched)
    assert alive
    assert_gone(watched)


def test_an_exception_that_is_kept_keeps_no_connection_once_its_traceback_is_dropped(peer: Peer) -> None:
    conn = open_two(peer)
    watched = watch(conn)
    peer.close()
    kept: List[BaseException] = []
    try:
        channel(conn, 1).wait()
    except OSError as exc:
        cause = exc.__cause__ or exc.__context__
        kept.append(exc.with_traceback(None))
        if cause is not None:
            cause.__traceback__ = None
        del cause
    del conn
    assert_gone(watched)
    assert len(kept) == 1


def test_a_closed_channel(peer: Peer, conn: amqp.Connection) -> None:
    for how in ("program", "server"):
        peer.open_channel(1)
        ch = conn.channel()
        ch.callbacks["tag"] = lambda msg, ch=ch: ch  # type: ignore[misc]
        watched = weakref.ref(ch)
        if how == "program":
            peer.answer("channel.close", "channel.close_ok")
            ch.close()
        else:
            peer.send("channel.close", 404, "gone", 0, 0)
            peer.expect("channel.close_ok")
            with contextlib.suppress(amqp.AMQPChannelException):
                ch.wait()
        del ch
        assert_gone([watched])


def test_messages_die_with_their_last_use(peer: Peer, ch: amqp.Channel) -> None:
    seen: List[weakref.ref[Any]] = []
    ch.callbacks["tag"] = lambda msg: seen.append(weakref.ref(msg))
    peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, b"x"))
    ch.wait()
    assert_gone(seen)


def test_a_connection_that_is_dropped_without_a_close(peer: Peer) -> None:
    """Whenever it is collected, it is so in silence, but for Python's own word about the socket."""
    peer.welcome()
    conn = amqp.Connection(peer.address)
    assert conn.transport is not None
    sock = conn.transport.sock
    del conn
    gc.collect()
    sock.close()


class Program:
    """As most are: what has the connection has the functions that it calls."""

    def __init__(self, peer: Peer) -> None:
        peer.welcome()
        self.conn = amqp91.Connection(
            peer.address, heartbeat=0, credentials=self.log_in, on_blocked=self.notice, on_unblocked=self.notice
        )
        peer.open_channel()
        self.ch = self.conn.channel()
        self.ch.on_return = self.notice
        peer.answer("confirm.select", "confirm.select_ok")
        self.ch.confirm_select(on_ack=self.notice, on_nack=self.notice)
        peer.answer("basic.consume", "basic.consume_ok", "tag")
        self.ch.basic_consume("q", callback=self.notice, on_cancel=self.notice)

    def log_in(self) -> Tuple[str, str]:
        return "guest", "guest"

    def notice(self, *args: Any) -> None:
        """Not called here."""


@pytest.mark.parametrize("lost", [False, True])
def test_functions_of_what_has_the_connection(newer_peer: Peer, lost: bool) -> None:
    program = Program(newer_peer)
    if lost:
        newer_peer.close()
        with contextlib.suppress(OSError):
            program.ch.wait()
    else:
        newer_peer.part()
        program.conn.close()
    watched: List[weakref.ref[Any]] = [weakref.ref(each) for each in (program, program.conn, program.ch)]
    del program
    assert_gone(watched)


PROGRAM = """
import sys
import amqplib.client_0_8 as amqp

class Program:
    def __init__(self):
        self.conn = amqp.Connection(sys.argv[1])

    def __del__(self):
        self.conn.close()

program = Program()
"""


def test_the_interpreter_exits(peer: Peer) -> None:
    """A __del__ may close the connection when hardly anything of Python is left."""
    peer.welcome()
    peer.part()
    command = [sys.executable, "-X", "dev", "-c", PROGRAM, peer.address]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=50, check=True)
    assert done.stdout == b""
