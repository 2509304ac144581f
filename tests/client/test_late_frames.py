"""Proves what becomes of frames that come when nobody expects them, of answers nobody asked for, and of what a program
does to one message when the next is like it."""

from __future__ import annotations

import datetime
import time
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.octets import frame, octets

from .peer import PATIENCE, Peer, content, method

#: basic.deliver on channel 1, and a header of 10 octets without properties.
DELIVER = frame(1, 1, octets("003C 003C 03'tag' 0000000000000001 00 00 00"))
HEADER_OF_10 = frame(2, 1, octets("003C 0000 000000000000000A 0000"))


def take_in(conn: Any) -> None:
    """Whatever the peer has sent."""
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.drain_events(timeout=0.05)


def the_end(peer: Peer, conn: Any, code: int, match: str) -> None:
    """The peer is told that it broke the protocol, and so is the program."""
    closes: List[bytes] = []
    peer.do(lambda: closes.append(peer.payload()))
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match=match) as caught:
        conn.drain_events(timeout=PATIENCE)
    assert caught.value.amqp_reply_code == code
    peer.wait()
    assert closes[0][:6] == octets("000A 003C") + code.to_bytes(2, "big")


# --- frames of contents


@pytest.mark.parametrize("cut", [1, 8, 500, 1000])
def test_a_body_frame_that_is_too_long_in_parts(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, cut: int) -> None:
    """It is as wrong as in one."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    wire = DELIVER + HEADER_OF_10 + frame(3, 1, b"x" * 1000)
    peer.send_bytes(wire[:-cut])
    peer.wait()
    if cut < 500:
        take_in_or_end(conn)
    peer.send_bytes(wire[-cut:])
    with pytest.raises(amqp.ConnectionLostError) as caught:
        ch.wait(timeout=PATIENCE)
    assert caught.value.amqp_reply_code == 501
    assert got == []
    peer.drain()


def take_in_or_end(conn: amqp.Connection) -> None:
    """It may be found out as soon as its header is here."""
    with pytest.raises((amqp.AMQPTimeoutError, amqp.ConnectionLostError)):
        conn.drain_events(timeout=0.05)


def test_a_delivery_for_a_channel_that_both_sides_have_closed(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    peer.answer("channel.close", "channel.close_ok")
    ch.close()
    peer.send_bytes(DELIVER + HEADER_OF_10 + frame(3, 1, b"x" * 10))
    the_end(peer, conn, 504, "not open")


@pytest.mark.parametrize("again", [True, False])
def test_the_rest_of_a_body_that_began_right_behind_the_end_of_its_channel(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, again: bool
) -> None:
    """It is wrong, also when there is a channel of that number again."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    header = frame(2, 1, octets("003C 0000 00000000000003E8 0000"))
    body = frame(3, 1, b"x" * 1000)
    peer.expect("channel.close")
    peer.send_bytes(method("channel.close_ok") + DELIVER + header + body[:500])
    ch.close()
    if not again:
        peer.send_bytes(body[500:])
        the_end(peer, conn, 504, "not open")
        return
    peer.expect("channel.open")
    peer.send_bytes(body[500:])
    peer.expect("connection.close", channel=0)
    with pytest.raises(amqp.ConnectionLostError, match="a body frame on channel 1 without a method") as caught:
        conn.channel(1).callbacks["tag"] = got.append
    assert caught.value.amqp_reply_code == 505
    assert got == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_message_on_a_channel_that_nobody_waits_for_any_more(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, whole: bool
) -> None:
    """The program has closed it; the message, a part of which had come before, is dropped, and the next one of that
    number begins anew."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    message = DELIVER + HEADER_OF_10 + frame(3, 1, b"x" * 10)
    if not whole:
        peer.send_bytes(message[:-5])
        peer.wait()
        take_in(conn)
    peer.expect("channel.close")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.close(timeout=0.05)
    peer.send_bytes((message if whole else message[-5:]) + method("channel.close_ok"))
    peer.wait()
    take_in(conn)
    peer.open_channel()
    again = conn.channel(1)
    again.callbacks["tag"] = got.append
    peer.send_bytes(DELIVER + HEADER_OF_10 + frame(3, 1, b"y" * 10))
    again.wait(timeout=PATIENCE)
    assert [msg.body for msg in got] == [b"y" * 10]


@pytest.mark.parametrize("size", [1, 7, 8, 20, 5000])
@pytest.mark.parametrize("how", ["delivered", "got"])
def test_a_body_of_end_octets(peer: Peer, ch: amqp.Channel, how: str, size: int) -> None:
    """They end nothing in there."""
    body = b"\xce" * size
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    if how == "delivered":
        peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, body))
        ch.wait(timeout=PATIENCE)
    else:
        peer.expect("basic.get")
        peer.send_content("basic.get_ok", 1, False, "", "q", 0, message=({}, body))
        got.append(ch.basic_get("q"))
    assert got[0].body == body
    peer.answer("queue.purge", "queue.purge_ok", 3)
    assert ch.queue_purge("q") == 3


# --- answers


def test_an_answer_too_many(peer: Peer, ch: amqp.Channel) -> None:
    """It is not the one to the next call."""
    peer.expect("queue.purge")
    peer.send_bytes(method("queue.purge_ok", 7) + method("queue.purge_ok", 8))
    assert ch.queue_purge("q") == 7
    peer.answer("queue.purge", "queue.purge_ok", 9)
    assert ch.queue_purge("q") == 9


def test_an_answer_before_the_call(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.send("queue.purge_ok", 8)
    peer.wait()
    assert conn.transport
    conn.drain_events(timeout=PATIENCE)
    peer.answer("queue.purge", "queue.purge_ok", 9)
    assert ch.queue_purge("q") == 9


# --- messages that are alike


@pytest.mark.parametrize("how", ["delivered", "got"])
@pytest.mark.parametrize(
    "properties", [{"message_id": "a"}, {"priority": 1, "application_headers": {"a": {"b": 1}}}], ids=["short", "table"]
)
def test_what_a_program_does_to_one_message_is_not_in_the_next(
    peer: Peer, ch: amqp.Channel, how: str, properties: Any
) -> None:
    """Nor in the one after that, which is read from memory."""
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    for number in range(1, 5):
        if how == "delivered":
            peer.send_content("basic.deliver", "tag", number, False, "", "", message=(properties, b"x"))
            ch.wait(timeout=PATIENCE)
        else:
            peer.expect("basic.get")
            peer.send_content("basic.get_ok", number, False, "", "q", 0, message=(properties, b"x"))
            msg = ch.basic_get("q")
            assert msg is not None
            got.append(msg)
        msg = got[-1]
        assert msg.properties == properties
        assert (msg.delivery_tag, msg.routing_key) == (number, "" if how == "delivered" else "q")
        msg.properties.get("application_headers", {"a": {}})["a"]["c"] = 2
        msg.properties["message_id"] = "changed"
        msg.properties["type"] = "changed"
        msg.delivery_info["routing_key"] = "changed"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time of a place where some hours come twice."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system's time zone cannot be set")
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_timestamps_of_an_hour_that_comes_twice(newer_peer: Peer, newer: amqp91.Channel, berlin: None) -> None:
    """They are equal for Python, and an hour apart."""
    first = datetime.datetime(2023, 10, 29, 2, 30)
    second = first.replace(fold=1)
    assert first == second
    for when in (first, second, first):
        newer.basic_publish(amqp91.Message(b"x", timestamp=when))
    for seconds in ("00000000653DA788", "00000000653DB598", "00000000653DA788"):
        newer_peer.expect_bytes(
            frame(1, 1, octets("003C 0028 0000 00 00 00"))
            + frame(2, 1, octets("003C 0000 0000000000000001 0040" + seconds))
            + frame(3, 1, b"x")
        )
    newer_peer.wait()


def test_a_table_with_timestamps_of_an_hour_that_comes_twice(
    newer_peer: Peer, newer: amqp91.Channel, berlin: None
) -> None:
    first = datetime.datetime(2023, 10, 29, 2, 30)
    for when in (first, first.replace(fold=1)):
        newer.basic_publish(amqp91.Message(b"x", application_headers={"t": when}))
    for seconds in ("00000000653DA788", "00000000653DB598"):
        newer_peer.expect_bytes(
            frame(1, 1, octets("003C 0028 0000 00 00 00"))
            + frame(2, 1, octets("003C 0000 0000000000000001 2000 0000000B 01't' 54" + seconds))
            + frame(3, 1, b"x")
        )
    newer_peer.wait()


# --- one after the other


def test_a_delivery_and_what_comes_with_it(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """In one read, for two channels: each keeps its own, in order."""
    peer.open_channel(2)
    other = conn.channel()
    got: List[Any] = []
    ch.callbacks["tag"] = lambda msg: got.append((1, msg.delivery_tag))
    other.callbacks["tag"] = lambda msg: got.append((2, msg.delivery_tag))
    wire = b""
    for number in range(5):
        for channel in (1, 2):
            wire += content("basic.deliver", "tag", number, False, "", "", message=({}, b"b" * number), channel=channel)
    peer.expect("queue.purge")
    peer.send_bytes(wire + method("queue.purge_ok", 4))
    assert ch.queue_purge("q") == 4
    assert got == []
    for _ in range(5):
        other.wait(timeout=PATIENCE)
    for _ in range(5):
        ch.wait(timeout=PATIENCE)
    assert got == [(2, n) for n in range(5)] + [(1, n) for n in range(5)]
