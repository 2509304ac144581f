"""Proves that the library logs under one name only, and that no password is in a log, a repr or an exception."""

from __future__ import annotations

import contextlib
import logging
from typing import Iterator, List

import pytest

import amqplib.client_0_8 as amqp

from .exposed import exposed
from .peer import Peer

PASSWORD = "hunter2"


class Recorder(logging.Handler):
    """Keeps all records of all loggers."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: List[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    handler, root = Recorder(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def play_everything(peer: Peer) -> List[BaseException]:
    """A connection's life with all that may be logged in it; the exceptions on the way."""
    raised: List[BaseException] = []

    @contextlib.contextmanager
    def caught() -> Iterator[None]:
        try:
            yield
        except (amqp.AMQPException, OSError, ValueError) as exc:
            raised.append(exc)

    for mechanism in ("AMQPLAIN", "PLAIN"):
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.send("connection.close", 403, "ACCESS_REFUSED", 10, 11, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
        with caught():
            amqp.Connection(peer.address, "bob", PASSWORD, mechanism)
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.close()
        with caught():
            amqp.Connection(peer.address, "bob", PASSWORD, mechanism)
    peer.greet()
    peer.expect_end()
    with caught():
        amqp.Connection(peer.address, "bob", PASSWORD, "EXTERNAL")
    peer.welcome()
    conn = amqp.Connection(peer.address, "bob", PASSWORD)
    peer.open_channel()
    ch = conn.channel()
    raised.append(ValueError(repr(conn) + repr(ch) + repr(conn.transport)))
    peer.send("basic.cancel", "who?", True)
    ch.wait()
    peer.send("basic.ack", 1, False)
    ch.wait()
    peer.send("basic.deliver", "tag", 1, False, "", "")
    peer.send_bytes(b"\x02\0\x01\0\0\0\x17\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\x05\x01zz\1\2\xce")
    ch.wait()
    peer.send("channel.close", 404, "gone", 50, 10)
    peer.expect("channel.close_ok")
    with caught():
        ch.wait()
    with caught():
        ch.wait()
    peer.expect("channel.open")
    peer.close()
    with caught():
        conn.channel()
    with caught():
        conn.channel()
    return raised


def test_one_logger(peer: Peer, recorder: Recorder) -> None:
    """A handler that publishes over AMQP leaves this name out, or it would feed itself."""
    play_everything(peer)
    assert recorder.records
    assert {record.name for record in recorder.records} == {"amqplib"}


def test_no_password(peer: Peer, recorder: Recorder) -> None:
    raised = play_everything(peer)
    assert len(raised) >= 9
    for exc in raised:
        assert PASSWORD not in exposed(exc)
    for record in recorder.records:
        assert PASSWORD not in record.getMessage()
        assert PASSWORD not in repr(record.args)


def test_messages_say_who_and_where(peer: Peer, recorder: Recorder) -> None:
    raised = play_everything(peer)
    refused = [exc for exc in raised if isinstance(exc, amqp.AuthenticationError) and "EXTERNAL" not in str(exc)]
    assert len(refused) == 4
    for exc in refused:
        assert "'bob'" in str(exc)
        assert "127.0.0.1:%d" % peer.port in str(exc)


def test_quiet_by_default(peer: Peer, recorder: Recorder) -> None:
    """An ordinary life gives nothing above DEBUG."""
    peer.welcome()
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        with conn.channel() as ch:
            peer.answer("tx.select", "tx.select_ok")
            ch.tx_select()
            ch.basic_publish(amqp.Message("x"))
            peer.expect_content("basic.publish", 0, "", "", False, False, message=({"content_encoding": "UTF-8"}, b"x"))
            peer.answer("channel.close", "channel.close_ok")
        peer.part()
    assert [record for record in recorder.records if record.levelno > logging.DEBUG] == []
