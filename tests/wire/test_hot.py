"""The hot paths give what the plain codecs give, remember a bounded number of things, and share nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Callable, Dict, List, Tuple, Type, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqplib.wire import content, frames
from amqplib.wire.errors import LocalError
from amqplib.wire.hot import AckWriter, DeliveryReader, GetReader
from amqplib.wire.protocol import Event, Receiver, Sender
from amqplib.wire.spec import AMQP_0_8
from amqplib.wire.tables import utc_time

PUBLISH, DELIVER, ACK = AMQP_0_8["basic.publish"], AMQP_0_8["basic.deliver"], AMQP_0_8["basic.ack"]
GET, GET_OK = AMQP_0_8["basic.get"], AMQP_0_8["basic.get_ok"]

ReaderT = TypeVar("ReaderT", DeliveryReader, GetReader)
Make = Callable[[int, str, str, Dict[str, Any], bytes], bytes]

properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.sampled_from(["text/plain", "a/b"]),
        "priority": st.integers(0, 255),
        "application_headers": st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9), max_size=2),
        "message_id": st.text(max_size=300).filter(lambda text: len(text.encode("utf-8", "replace")) < 256),
        "timestamp": st.just(datetime(2026, 11, 23)),
    },
).filter(lambda given: all(not isinstance(v, str) or v.isprintable() for v in given.values()))
messages = st.tuples(st.sampled_from(["", "x"]), st.sampled_from(["k", "ü" * 100]), properties, st.binary(max_size=60))


def plain(method: Any, args: Tuple[Any, ...], props: Dict[str, Any], body: bytes, frame_max: int = 0) -> bytes:
    """The frames of a content, by the plain codecs."""
    header = content.encode_header(content.BASIC.encode(props), len(body))
    return b"".join(
        (
            frames.encode_frame(frames.METHOD, 1, method.encode(*args)),
            frames.encode_frame(frames.HEADER, 1, header),
            *frames.encode_body(1, body, frame_max),
        )
    )


def published(sender: Sender, args: Tuple[Any, ...], props: Dict[str, Any], body: bytes) -> bytes:
    made = sender.publish(1, args, props, body)
    return made if isinstance(made, bytes) else b"".join(made)


def receiver(hot: bool = True, **limits: int) -> Receiver:
    one = Receiver(AMQP_0_8, lambda props, body: (props, body), utc_time, **limits)
    one.channels.add(1)
    if not hot:
        one._runs = {}
    return one


def feed(one: Receiver, pieces: List[bytes]) -> Tuple[List[Event], Any]:
    events = [event for piece in pieces for event in one.receive(piece)]
    return events, one.error and (one.error.reply_code,)  # the text quotes what had come by then


@settings(max_examples=150, deadline=None)
@given(st.lists(messages, max_size=6))
def test_publishing(sent: List[Tuple[str, str, Dict[str, Any], bytes]]) -> None:
    sender = Sender(AMQP_0_8)
    sender.frame_max = 4096
    for exchange, routing_key, props, body in sent * 2:
        args = 0, exchange, routing_key, True, False
        assert published(sender, args, props, body) == plain(PUBLISH, args, props, body)


def reader_of(one: Receiver, kind: Type[ReaderT]) -> ReaderT:
    (found,) = (reader for reader in one._runs.values() if type(reader) is kind)
    assert isinstance(found, kind)
    return found


def delivered(number: int, exchange: str, routing_key: str, props: Dict[str, Any], body: bytes) -> bytes:
    return plain(DELIVER, ("tag", number, number % 2 == 1, exchange, routing_key), props, body)


def got(number: int, exchange: str, routing_key: str, props: Dict[str, Any], body: bytes) -> bytes:
    return plain(GET_OK, (number, number % 2 == 1, exchange, routing_key, 7), props, body)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([delivered, got]), messages), min_size=1, max_size=5), st.data())
def test_receiving(sent: List[Tuple[Make, Tuple[str, str, Dict[str, Any], bytes]]], data: st.DataObject) -> None:
    """Whole, cut up, cut short and with an octet changed: events and error are those of the plain way."""
    wire = b"".join(make(number, *message) for number, (make, message) in enumerate(sent))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(wire) - 1))
        wire = wire[:place] + bytes((data.draw(st.integers(0, 255)),)) + wire[place + 1 :]
    cut = data.draw(st.integers(0, len(wire)))
    expected = feed(receiver(hot=False), [wire])
    assert feed(receiver(), [wire]) == expected
    assert feed(receiver(), [wire[:cut], wire[cut:]]) == expected
    assert feed(receiver(), [wire[:cut]]) == feed(receiver(hot=False), [wire[:cut]])


def test_limits() -> None:
    wire = plain(DELIVER, ("tag", 1, False, "", "k"), {}, b"x" * 100)
    events, error = feed(receiver(body_max=99), [wire])
    assert events == []
    assert error[0] == 501
    one = receiver()
    one.frame_max = 107
    assert feed(one, [wire])[1][0] == 501


def test_memories_are_bounded() -> None:
    sender = Sender(AMQP_0_8)
    writer = sender._publish
    one = receiver()
    for n in range(9000):
        args = 0, "", "key %d" % n, False, False
        assert published(sender, args, {"message_id": str(n)}, b"") == plain(PUBLISH, args, {"message_id": str(n)}, b"")
        delivery = plain(DELIVER, ("tag %d" % n, n, False, "", "key %d" % n), {"message_id": str(n)}, b"")
        ((_, _, got, (props, _)),) = one.receive(delivery)
        assert (got[0], got[4], props) == ("tag %d" % n, "key %d" % n, {"message_id": str(n)})
    reader = reader_of(one, DeliveryReader)
    for memory in (writer._methods, writer._properties, reader._heads, reader._routes, reader._properties):
        assert 0 < len(memory) <= 4096


def test_long_ones_are_not_remembered() -> None:
    writer = Sender(AMQP_0_8)._publish
    long = {"message_id": "x" * 255, "app_id": "y" * 200}
    assert writer.properties(long) == content.BASIC.encode(long)
    assert not writer._properties
    one = receiver()
    one.receive(plain(DELIVER, ("tag", 1, False, "", "k"), long, b""))
    assert not reader_of(one, DeliveryReader)._properties


def test_nothing_is_shared() -> None:
    """What a program does to one message is not seen in the next."""
    for props in ({"priority": 1}, {"application_headers": {"a": {"b": 1}}}):
        one = receiver()
        wire = plain(DELIVER, ("tag", 1, False, "", "k"), props, b"")
        ((_, _, _, (first, _)),) = one.receive(wire)
        first.get("application_headers", {"a": {}})["a"]["c"] = 2
        first["priority"] = 9
        ((_, _, _, (second, _)),) = one.receive(wire)
        assert second == props
    sender = Sender(AMQP_0_8)
    headers: Dict[str, Any] = {"a": 1}
    args = 0, "", "k", False, False
    sender.publish(1, args, {"application_headers": headers}, b"")
    headers["a"] = 2
    changed = {"application_headers": headers}
    assert published(sender, args, changed, b"") == plain(PUBLISH, args, changed, b"")


def test_an_argument_that_can_be_changed() -> None:
    sender = Sender(AMQP_0_8)
    key = bytearray(b"k")
    for _ in range(2):
        key += b"k"
        args = 0, "", key, False, False
        assert published(sender, args, {}, b"") == plain(PUBLISH, args, {}, b"")
        assert published(sender, args, {"type": key}, b"") == plain(PUBLISH, args, {"type": key}, b"")
    with pytest.raises(LocalError, match="routing_key"):
        sender.publish(1, (0, "", ["k"], False, False), {}, b"")


def test_what_is_too_long_for_the_short_way() -> None:
    sender = Sender(AMQP_0_8)
    sender.frame_max = 8192
    args = 0, "", "k", False, False
    for props, body in (
        ({"application_headers": {"a": "x" * 5000}}, b"body"),
        ({}, b"x" * 8184),
        ({}, b"x" * 8185),
        ({"type": "t"}, b"x" * 20000),
    ):
        assert published(sender, args, props, body) == plain(PUBLISH, args, props, body, 8192)
    sender.frame_max = 64
    with pytest.raises(LocalError, match=r"^basic\.publish: 57 octets"):
        sender.publish(1, (0, 48 * "x", "", False, False), {}, b"")
    assert published(sender, (0, 47 * "x", "", False, False), {}, b"") == plain(
        PUBLISH, (0, 47 * "x", "", False, False), {}, b""
    )


@pytest.mark.parametrize("tag", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("multiple", [True, False, None, 1])
def test_acks(tag: int, multiple: Any) -> None:
    assert AckWriter(AMQP_0_8).frame(3, tag, multiple) == frames.encode_frame(1, 3, ACK.encode(tag, multiple))


@pytest.mark.parametrize("tag", [-1, 2**64, "1", None])
def test_acks_that_cannot_be_sent(tag: Any) -> None:
    with pytest.raises(LocalError, match=r"basic\.ack: delivery_tag"):
        AckWriter(AMQP_0_8).frame(3, tag, False)


@pytest.mark.parametrize("queue", ["q", "r", bytearray(b"q")])
def test_gets(queue: Any) -> None:
    """Known, or not; with an argument that can be changed."""
    sender = Sender(AMQP_0_8)
    for no_ack in (True, False, True):
        args = 0, queue, no_ack
        assert sender.get(1, args) == frames.encode_frame(1, 1, GET.encode(*args))
        assert sender.get(2, args) == frames.encode_frame(1, 2, GET.encode(*args))
    with pytest.raises(LocalError, match=r"basic\.get: queue"):
        sender.get(1, (0, None, False))


def test_a_get_that_is_too_long() -> None:
    sender = Sender(AMQP_0_8)
    sender.frame_max = 64
    with pytest.raises(LocalError, match=r"basic\.get: 58 octets"):
        sender.get(1, (0, "x" * 50, False))


@pytest.mark.parametrize("make", [delivered, got])
def test_every_octet_of_a_run_changed(make: Make) -> None:
    """In the second of two contents, so that the first has been taken by the short way."""
    one = make(1, "x", "k", {"priority": 1}, b"body")
    for place in range(len(one)):
        wire = one + one[:place] + bytes((one[place] ^ 0x55,)) + one[place + 1 :] + one
        assert feed(receiver(), [wire]) == feed(receiver(hot=False), [wire])


def test_what_is_known_of_property_lists_is_bounded() -> None:
    codec = content.PropertyCodec(content.BASIC.fields)
    for n in range(1100):
        assert codec.encode({"unknown %d" % n: 1, "priority": n % 256}) == b"\x08\x00" + bytes((n % 256,))
    assert 0 < len(codec._plans) <= 512
