"""Proves that what a peer says can forge no line of a log, and commands no terminal, by way of an exception's text.

Programs get it as it came where they ask for it: amqp_reply_text, args, `mechanisms`, `blocked`.
"""

from __future__ import annotations

import logging
import pickle
from typing import Callable, Dict, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client.connect import hints
from amqplib.client.connect.address import Address

from .peer import PATIENCE, Peer

#: A line that looks like one of the log's own; a terminal is cleared; what follows is written backwards.
EVIL = "gone\r\n2026-01-01 INFO all is well \x1b[2J\x9b2J\u202e\0\u2028\x85."
SHOWN = r"gone\r\n2026-01-01 INFO all is well \x1b[2J\x9b2J\u202e\x00\u2028\x85."

KINDS: Dict[str, Callable[[str], BaseException]] = {
    "AMQPException": lambda text: amqp.AMQPException(404, text, (50, 10)),
    "a hint behind it": lambda text: amqp.AMQPChannelException(406, "inequivalent arg " + text, (50, 10)),
    "where it was": lambda text: amqp.AMQPConnectionException(320, "", (0, 0), text),
    "ConnectionLostError": lambda text: amqp.ConnectionLostError(0, text, errno=5),
    "AMQPTimeoutError": lambda text: amqp.AMQPTimeoutError(text),
    "ConnectionBlockedError": lambda text: amqp.ConnectionBlockedError(text),
    "UnconfirmedError": lambda text: amqp.UnconfirmedError({}, {}, {}, "here", text),
    "ConfirmTimeoutError": lambda text: amqp.ConfirmTimeoutError({}, {}, {}, text, "", ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    exc = KINDS[kind](EVIL)
    assert SHOWN in str(exc)
    for text in (str(exc), repr(exc), "%s" % exc, "%r" % (exc.args,), str(pickle.loads(pickle.dumps(exc)))):
        assert text.isprintable()


def test_what_programs_compare_is_as_it_came() -> None:
    exc = amqp.ConnectionLostError(320, EVIL)
    assert (exc.amqp_reply_text, exc.args[1], exc.strerror) == (EVIL, EVIL, EVIL)
    assert amqp.AMQPTimeoutError(EVIL).args == (EVIL,)


def test_a_close(peer: Peer, conn: amqp.Connection, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer.expect("channel.open")
    peer.send("connection.close", 320, EVIL, 0, 0, channel=0)
    peer.expect("connection.close_ok", channel=0)
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        conn.channel()
    assert SHOWN in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.amqp_reply_text == EVIL
    assert_printable(caplog)


def test_mechanisms(peer: Peer) -> None:
    peer.greet(mechanisms="GSSAPI\x1b[2J \u202eX")
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError) as caught:
        amqp.Connection(peer.address)
    assert r"GSSAPI\x1b[2J, \u202eX" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_reason_for_blocking(newer_peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    told: List[str] = []
    newer_peer.welcome()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0, blocked_timeout=0, on_blocked=told.append)
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.send("connection.blocked", EVIL, channel=0)
    newer_peer.wait()
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.drain_events(timeout=0.1)
    with pytest.raises(amqp.ConnectionBlockedError) as caught:
        channel.basic_publish(amqp91.Message("x"))
    assert SHOWN in str(caught.value)
    assert str(caught.value).isprintable()
    assert (told, conn.blocked) == ([EVIL], EVIL)
    assert any(SHOWN in record.getMessage() for record in caplog.records)
    assert_printable(caplog)
    newer_peer.part()
    conn.close()


def test_a_host_to_go_to(peer: Peer) -> None:
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    peer.send("connection.redirect", "there.invalid\u202e\x1b[2J:5672", "", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match=r"there\.invalid\\u202e\\x1b\[2J") as caught:
        amqp.Connection(peer.address)
    assert str(caught.value).isprintable()
    assert str(Address("a\n\x1bb", 1)) == r"a\n\x1bb:1"


def test_a_version() -> None:
    """Advice has the server's version in it."""
    properties = {"product": "RabbitMQ", "version": "4.3.\r\n\x1b[2J"}
    for advice in (hints.on_frame_max(properties, 4096), hints.on_global_qos(properties)):
        assert r"4.3.\r\n\x1b[2J" in advice
        assert advice.isprintable()


def assert_printable(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        assert record.getMessage().isprintable()


def test_what_a_server_names(newer_peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """In what is logged: its version, ends of consumers, fields that cannot be read, messages that are left out."""
    caplog.set_level(logging.DEBUG)
    name = "tag" + EVIL[:40]
    newer_peer.greet({"product": "RabbitMQ", "version": "4.3.0" + EVIL})
    newer_peer.let_in()
    newer_peer.open_host()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0, header_max=4096)
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.answer("basic.qos", "basic.qos_ok")
    channel.basic_qos(0, 1, True)
    newer_peer.send("basic.cancel", name, True)
    newer_peer.send_content("basic.deliver", name, 1, False, EVIL, EVIL, message=({"type": "x"}, b"x" * 10))
    unreadable = (
        b"\x20\0" + (len(EVIL.encode()) + 2).to_bytes(4, "big") + bytes([len(EVIL.encode())]) + EVIL.encode() + b"?"
    )
    for properties in (unreadable, b"\0\0" + bytes(5000)):
        newer_peer.send("basic.deliver", name, 1, False, EVIL, EVIL)
        header = b"\0\x3c\0\0" + bytes(8) + properties
        newer_peer.send_bytes(b"\2\0\1" + len(header).to_bytes(4, "big") + header + b"\xce")
    for _ in range(3):
        channel.wait(timeout=PATIENCE)
    newer_peer.part()
    conn.close()
    logged = "\n".join(record.getMessage() for record in caplog.records)
    for words in ("ignores a prefetch limit", "cancelled consumer", "could not be read", "was left out"):
        assert words in logged
    assert_printable(caplog)


def test_names_that_the_server_gives(newer_peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """Of queues and consumers, in properties, and what came back: in whatever is shown of them."""
    caplog.set_level(logging.DEBUG)
    newer_peer.greet({"product": EVIL, "version": EVIL, "cluster_name": EVIL})
    newer_peer.let_in()
    newer_peer.open_host()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0)
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.answer("queue.declare", "queue.declare_ok", EVIL, 0, 0)
    queue = channel.queue_declare()[0]
    newer_peer.answer("basic.consume", "basic.consume_ok", EVIL)
    assert channel.basic_consume(queue) == EVIL
    newer_peer.expect("basic.get")
    newer_peer.send_content(
        "basic.get_ok", 1, False, EVIL, EVIL, 0, message=({"type": EVIL, "message_id": EVIL}, EVIL.encode())
    )
    msg = channel.basic_get(queue)
    shown = [repr(conn), repr(channel), repr(msg), str(msg), repr(conn.stats())]
    newer_peer.answer("confirm.select", "confirm.select_ok")
    channel.confirm_select()
    newer_peer.expect_content("basic.publish", 0, "", EVIL, True, False, message=({}, b"x"))
    newer_peer.send_content("basic.return", 312, EVIL, "", EVIL, message=({}, b"x"))
    newer_peer.send("basic.nack", 1, False, False)
    with pytest.raises(amqp91.UnconfirmedError) as unconfirmed:
        channel.basic_publish_confirm(amqp91.Message(b"x"), routing_key=EVIL, mandatory=True, timeout=PATIENCE)
    newer_peer.expect("queue.declare")
    newer_peer.send("channel.close", 404, "no queue '%s'" % EVIL, 50, 10)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp91.NotFound) as missing:
        channel.queue_declare(queue, passive=True)
    newer_peer.part()
    conn.close()
    for exc in unconfirmed.value, missing.value:
        shown += [str(exc), repr(exc)]
    assert [text for text in shown if not text.isprintable()] == []
    assert_printable(caplog)


def test_a_host_to_go_to_is_logged(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    peer.send("connection.redirect", EVIL, "", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError):
        amqp.Connection(peer.address)
    assert any("redirects to " + SHOWN in record.getMessage() for record in caplog.records)
    assert_printable(caplog)


def test_a_refusal_before_another_dialect_is_tried(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """What is said instead of connection.start is logged, and stands in the error in the end."""
    caplog.set_level(logging.DEBUG)
    peer.accept()
    peer.send("connection.close", 320, EVIL, 0, 0, channel=0)
    peer.drain()
    peer.accept()
    peer.close()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection(peer.address, connect_timeout=PATIENCE)
    assert SHOWN in str(caught.value)
    assert any(SHOWN in record.getMessage() for record in caplog.records)
    assert_printable(caplog)
