"""Proves what happens to deliveries and their callbacks, and to the messages of basic_get()."""

from __future__ import annotations

import queue
import threading
from typing import Any, Dict, List

import pytest

import amqplib.client_0_8 as amqp
from tests.octets import frame, octets

from .peer import Content, Peer, content, method


def delivery(number: int, tag: str = "tag", message: Content = ({}, b"body"), redelivered: bool = False) -> bytes:
    return content("basic.deliver", tag, number, redelivered, "x", "a.b", message=message)


def receive(peer: Peer, ch: amqp.Channel, message: Content) -> amqp.Message:
    """The message as a callback gets it."""
    got: List[amqp.Message] = []
    ch.callbacks["direct"] = got.append
    peer.send_bytes(delivery(1, "direct", message))
    ch.wait()
    (msg,) = got
    return msg


def test_a_delivery(peer: Peer, ch: amqp.Channel) -> None:
    got: List[amqp.Message] = []
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", "tag", callback=got.append)
    assert ch.callbacks == {"tag": got.append}
    properties = {"content_type": "text/plain", "application_headers": {"foo": 7}, "delivery_mode": 2}
    peer.send_bytes(delivery(2**63, "tag", (properties, b"body"), redelivered=True))
    ch.wait()
    (msg,) = got
    assert type(msg) is amqp.Message
    assert msg.body == b"body"
    assert msg.properties == properties
    assert msg.delivery_info == {
        "channel": ch,
        "consumer_tag": "tag",
        "delivery_tag": 2**63,
        "redelivered": True,
        "exchange": "x",
        "routing_key": "a.b",
    }
    assert (msg.channel, msg.consumer_tag, msg.delivery_tag) == (ch, "tag", 2**63)
    assert (msg.redelivered, msg.exchange, msg.routing_key) == (True, "x", "a.b")
    assert (msg.content_type, msg.application_headers, msg.delivery_mode) == ("text/plain", {"foo": 7}, 2)
    assert not hasattr(msg, "message_count")
    assert not hasattr(msg, "priority")


def test_a_tag_made_by_the_server(peer: Peer, ch: amqp.Channel) -> None:
    got: List[amqp.Message] = []
    peer.expect("basic.consume", 0, "q", "", False, False, False, False)
    peer.send_bytes(method("basic.consume_ok", "amq.ctag-1") + delivery(1, "amq.ctag-1"))
    assert ch.basic_consume("q", callback=got.append) == "amq.ctag-1"
    assert list(ch.callbacks) == ["amq.ctag-1"]
    ch.wait()
    assert got[0].consumer_tag == "amq.ctag-1"


def test_several_consumers(peer: Peer, ch: amqp.Channel) -> None:
    got: Dict[str, List[Any]] = {"a": [], "b": []}
    for tag, messages in got.items():
        peer.answer("basic.consume", "basic.consume_ok", tag)
        ch.basic_consume("q", tag, callback=messages.append)
    peer.send_bytes(delivery(1, "b") + delivery(2, "a") + delivery(3, "b"))
    for _ in range(3):
        ch.wait()
    assert {tag: [msg.delivery_tag for msg in messages] for tag, messages in got.items()} == {"a": [2], "b": [1, 3]}


def test_consume_without_waiting_for_the_answer(peer: Peer, ch: amqp.Channel) -> None:
    got: List[amqp.Message] = []
    peer.expect("basic.consume", 0, "q", "tag", False, False, False, True)
    assert ch.basic_consume("q", "tag", nowait=True, callback=got.append) == "tag"
    peer.send_bytes(delivery(1))
    ch.wait()
    assert len(got) == 1


def test_no_callback(peer: Peer, ch: amqp.Channel) -> None:
    """The deliveries are taken and dropped, one each wait()."""
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", "tag")
    assert ch.callbacks == {"tag": None}
    peer.send_bytes(delivery(1) + delivery(2))
    assert [ch.wait(), ch.wait()] == [None, None]


def test_an_unknown_tag(peer: Peer, ch: amqp.Channel) -> None:
    peer.send_bytes(delivery(1, "who?"))
    assert ch.wait() is None


def test_callbacks_run_in_the_thread_that_waits(peer: Peer, ch: amqp.Channel) -> None:
    seen: List[threading.Thread] = []
    ch.callbacks["tag"] = lambda msg: seen.append(threading.current_thread())
    peer.send_bytes(delivery(1))
    ch.wait()
    assert seen == [threading.current_thread()]


def test_an_exception_out_of_a_callback(peer: Peer, ch: amqp.Channel) -> None:
    got: List[int] = []

    def callback(msg: amqp.Message) -> None:
        got.append(msg.delivery_tag)
        if msg.delivery_tag == 1:
            raise KeyError("mine")

    ch.callbacks["tag"] = callback
    peer.send_bytes(delivery(1) + delivery(2))
    with pytest.raises(KeyError, match="mine"):
        ch.wait()
    ch.wait()
    assert got == [1, 2]
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()


def test_calls_inside_a_callback(peer: Peer, ch: amqp.Channel) -> None:
    """Of every kind; what is delivered meanwhile waits for the next wait()."""
    seen: List[Any] = []

    def callback(msg: amqp.Message) -> None:
        seen.append(("in", msg.delivery_tag))
        if msg.delivery_tag == 1:
            msg.channel.basic_ack(msg.delivery_tag)
            seen.append(msg.channel.queue_purge("q"))
            msg.channel.basic_publish(msg, "other")
        seen.append(("out", msg.delivery_tag))

    ch.callbacks["tag"] = callback
    peer.send_bytes(delivery(1))
    peer.expect("basic.ack", 1, False)
    peer.expect("queue.purge")
    peer.send_bytes(delivery(2) + method("queue.purge_ok", 5))
    peer.expect_content("basic.publish", 0, "other", "", False, False, message=({}, b"body"))
    ch.wait()
    assert seen == [("in", 1), 5, ("out", 1)]
    ch.wait()
    assert seen[3:] == [("in", 2), ("out", 2)]


def test_wait_inside_a_callback(peer: Peer, ch: amqp.Channel) -> None:
    seen: List[int] = []

    def callback(msg: amqp.Message) -> None:
        if msg.delivery_tag < 3:
            ch.wait()
        seen.append(msg.delivery_tag)

    ch.callbacks["tag"] = callback
    peer.send_bytes(delivery(1) + delivery(2) + delivery(3))
    ch.wait()
    assert seen == [3, 2, 1]


@pytest.mark.parametrize("nowait", [False, True])
def test_cancel_inside_a_callback(peer: Peer, ch: amqp.Channel, nowait: bool) -> None:
    """What was sent before the server knew of it goes back."""
    seen: List[int] = []

    def callback(msg: amqp.Message) -> None:
        seen.append(msg.delivery_tag)
        msg.channel.basic_cancel(msg.consumer_tag, nowait)
        assert msg.channel.callbacks == {}

    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", "tag", callback=callback)
    peer.send_bytes(delivery(1))
    peer.expect("basic.cancel", "tag", nowait)
    if not nowait:
        peer.send_bytes(delivery(2) + method("basic.cancel_ok", "tag"))
    else:
        peer.send_bytes(delivery(2))
    peer.expect("basic.reject", 2, True)
    while ch.callbacks:
        ch.wait()
    if nowait:
        ch.wait()
    assert seen == [1]
    assert ch.pending() == 0


def test_closing_inside_a_callback(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    ch.callbacks["tag"] = lambda msg: conn.close()
    peer.send_bytes(delivery(1))
    peer.part()
    while ch.callbacks:
        ch.wait()
    assert conn.transport is None


def test_cancel_a_tag_nobody_knows(peer: Peer, ch: amqp.Channel) -> None:
    peer.answer("basic.cancel", "basic.cancel_ok", "who?")
    ch.basic_cancel("who?")


# --- basic_get ---------------------------------------------------------------------------------------------


def test_get(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect("basic.get")
    peer.send_content("basic.get_ok", 5, False, "x", "a.b", 3, message=({"priority": 1}, b"body"))
    msg = ch.basic_get("q")
    assert type(msg) is amqp.Message
    assert (msg.body, msg.properties) == (b"body", {"priority": 1})
    assert msg.delivery_info == {
        "delivery_tag": 5,
        "redelivered": False,
        "exchange": "x",
        "routing_key": "a.b",
        "message_count": 3,
    }
    assert (msg.delivery_tag, msg.message_count, msg.priority) == (5, 3, 1)
    assert not hasattr(msg, "channel")
    assert not hasattr(msg, "consumer_tag")


def test_get_until_empty(peer: Peer, ch: amqp.Channel) -> None:
    for number in (2, 1):
        peer.expect("basic.get")
        peer.send_content("basic.get_ok", number, False, "", "q", number - 1, message=({}, b""))
    peer.answer("basic.get", "basic.get_empty", "")
    bodies = [msg.body for msg in iter(lambda: ch.basic_get("q"), None)]
    assert bodies == [b"", b""]


# --- bodies ------------------------------------------------------------------------------------------------

DECODED = [
    ({"content_encoding": "UTF-8"}, "Grüße".encode(), "Grüße"),
    ({"content_encoding": "utf8"}, b"", ""),
    ({"content_encoding": "latin-1"}, b"Gr\xfc\xdfe", "Grüße"),
    ({"content_encoding": "utf-16"}, "Grüße".encode("utf-16"), "Grüße"),
    ({}, "Grüße".encode(), "Grüße".encode()),
    ({"content_encoding": ""}, b"x", b"x"),
    ({"content_encoding": "UTF-8"}, b"Gr\xfc\xdfe", b"Gr\xfc\xdfe"),
    ({"content_encoding": "utf-16"}, b"x", b"x"),
    ({"content_encoding": "deflate"}, b"\x78\x9c", b"\x78\x9c"),
    ({"content_encoding": "binary"}, b"\0\xff", b"\0\xff"),
    ({"content_encoding": "gzip"}, b"\x1f\x8b", b"\x1f\x8b"),
    ({"content_encoding": "base64"}, b"aGk=", b"aGk="),  # Python knows it, and it does not give text
    ({"content_encoding": "hex"}, b"00", b"00"),
    ({"content_encoding": "rot13"}, b"uryyb", b"uryyb"),
    ({"content_encoding": "utf\0"}, b"x", b"x"),
    ({"content_encoding": "idna"}, b"xn--a", b"xn--a"),
    ({"content_encoding": "../../etc/passwd"}, b"x", b"x"),
    ({"content_encoding": "unicode_escape"}, b"\\q", b"\\q"),  # Python warns, and warnings are errors in these tests
]


@pytest.mark.parametrize(("properties", "sent", "received"), DECODED)
def test_auto_decode(peer: Peer, ch: amqp.Channel, properties: Dict[str, Any], sent: bytes, received: Any) -> None:
    """Of deliveries, gets and returned messages alike."""
    assert receive(peer, ch, (properties, sent)).body == received

    peer.expect("basic.get")
    peer.send_content("basic.get_ok", 5, False, "x", "a.b", 3, message=(properties, sent))
    msg = ch.basic_get("q")
    assert msg is not None
    assert msg.body == received

    peer.send_content("basic.return", 312, "NO_ROUTE", "", "q", message=(properties, sent))
    ch.wait()
    assert ch.returned_messages.get_nowait()[4] == amqp.Message(received, **properties)
    peer.expect("tx.select")
    peer.send_bytes(content("basic.return", 312, "", "", "", message=(properties, sent)) + method("tx.select_ok"))
    ch.tx_select()
    assert ch.returned_messages.get_nowait()[4].body == received
    with pytest.raises(queue.Empty):
        ch.returned_messages.get_nowait()


@pytest.mark.parametrize("encoding", ["punycode", "Punycode", " idna"])
def test_encodings_that_take_hours(peer: Peer, ch: amqp.Channel, encoding: str) -> None:
    """Messages of strangers keep nobody busy."""
    sent = b"z-" + b"ba" * 60000
    assert receive(peer, ch, ({"content_encoding": encoding}, sent)).body == sent


def test_auto_decode_may_be_set_at_any_time(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    message: Content = ({"content_encoding": "UTF-8"}, b"text")
    for on, body in ((False, b"text"), (True, "text"), (False, b"text")):
        ch.auto_decode = on
        assert receive(peer, ch, message).body == body
    peer.open_channel(2)
    assert amqp.Channel(conn, auto_decode=False).auto_decode is False


# --- published again ---------------------------------------------------------------------------------------

HEADERS = {
    "none": "0000",
    "plain": "9000 0A 'text/plain' 02",
    "all": "FFFC 01 'y' 05 'UTF-8' 00000000 01 00 01 'c' 01 'r' 01 '1' 01 'm' 00000000499602D2 01 't'"
    " 01 'u' 01 'a' 01 'k'",
    "headers of many types": "2000 00000058 01 't' 74 01 01 'I' 49 FFFFFFFF 01 'l' 6C 0000000100000000 01 'd' 64"
    " 3FF8000000000000 01 'D' 44 02 0000013A 01 'S' 53 00000002 'hi' 01 'x' 78 00000001 FF 01 'T' 54 00000000499602D2"
    " 01 'F' 46 00000003 01 'V' 56 01 'A' 41 00000002 74 00",
    "an undecodable field": "2000 0000000D 01 'a' 49 00000001 01 'z' 7A 01 02 03",
    "an undecodable field in a nested table": "2000 00000010 01 'n' 46 00000006 01 'z' 7A 01 02 03 01 'b' 56",
    "an array of tables": "2000 00000019 07 'x-death' 41 0000000C 46 00000007 01 'n' 49 00000002",
    "a string that is not UTF-8": "8000 03 'a' FF 'b'",
    "a timestamp out of range": "0040 7FFFFFFFFFFFFFFF",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_message_is_published_again_as_it_came(peer: Peer, ch: amqp.Channel, name: str) -> None:
    """The header byte for byte, also what could not be read of it."""
    header = frame(2, 1, b"\0\x3c\0\0" + b"\0\0\0\0\0\0\0\x04" + octets(HEADERS[name]))
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    body = frame(3, 1, b"body")
    peer.send_bytes(frame(1, 1, octets("003C 003C 03 'tag' 0000000000000001 00 01 'x' 01 'k'")) + header + body)
    ch.wait()
    peer.expect_bytes(frame(1, 1, octets("003C 0028 0000 05 'again' 00 00")) + header + body)
    ch.basic_publish(got[0], "again")
