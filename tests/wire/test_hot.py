"""The hot paths give what the plain codecs give, remember a bounded number of things, and share nothing."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Tuple, Type, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire import content, frames, hot
from amqplib.wire.errors import LocalError
from amqplib.wire.hot import AckWriter, DeliveryReader, GetReader
from amqplib.wire.protocol import Event, Receiver, Sender
from amqplib.wire.spec import AMQP_0_8
from amqplib.wire.tables import utc_time

from .helpers import examples

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
    made = sender.publish((1, *args), props, body)
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


@examples(150)
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


@examples(300)
@given(
    st.lists(st.tuples(st.sampled_from([delivered, got]), messages, st.integers(1, 4)), min_size=1, max_size=5),
    st.data(),
)
def test_receiving(sent: List[Tuple[Make, Tuple[str, str, Dict[str, Any], bytes], int]], data: st.DataObject) -> None:
    """Whole, cut up, cut short and with an octet changed: events and error are those of the plain way."""
    wire = b"".join(make(n, *message) for n, (make, message, times) in enumerate(sent) for _ in range(times))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(wire) - 1))
        wire = wire[:place] + bytes((data.draw(st.integers(0, 255)),)) + wire[place + 1 :]
    cut = data.draw(st.integers(0, len(wire)))
    expected = feed(receiver(hot=False), [wire])
    assert feed(receiver(), [wire]) == expected
    assert feed(receiver(), [wire[:cut], wire[cut:]]) == expected
    assert feed(receiver(), [wire[:cut]]) == feed(receiver(hot=False), [wire[:cut]])


@pytest.mark.parametrize("body", [b"x" * 9, b""], ids=["with a body", "without"])
@pytest.mark.parametrize(("make", "kind"), [(delivered, DeliveryReader), (got, GetReader)], ids=["deliver", "get"])
def test_the_short_way_takes_what_is_whole(make: Make, kind: Any, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not take, the plain one does, so that nobody would miss it."""
    one = receiver()
    monkeypatch.setattr(one, "_frame", lambda *args: pytest.fail("the plain way was taken"))
    wire = make(1, "x", "k", {"priority": 3, "message_id": "m"}, body)
    ((_, _, _, message),) = one.receive(wire)
    assert message == ({"priority": 3, "message_id": "m"}, body)
    assert reader_of(one, kind).empty == 0  # it has been counted
    assert (one.frames, one.contents) == (3 if body else 2, 1)


def test_limits() -> None:
    wire = plain(DELIVER, ("tag", 1, False, "", "k"), {}, b"x" * 100)
    events, error = feed(receiver(body_max=99), [wire])
    assert events == []
    assert error[0] == 501
    one = receiver()
    one.frame_max = 99
    assert feed(one, [wire]) == ([], None)
    assert len(one.left_out) == 1


def test_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "_BOUND", 400)
    sender = Sender(AMQP_0_8)
    writer = sender._publish
    one = receiver()
    for n in range(9000):
        args = 0, "", "key %d" % n, False, False
        assert published(sender, args, {"type": str(n)}, b"") == plain(PUBLISH, args, {"type": str(n)}, b"")
        delivery = plain(DELIVER, ("tag %d" % n, n, False, "", "key %d" % n), {"type": str(n)}, b"")
        ((_, _, got, (props, _)),) = one.receive(delivery)
        assert (got[0], got[4], props) == ("tag %d" % n, "key %d" % n, {"type": str(n)})
    reader = reader_of(one, DeliveryReader)
    for memory in (writer._routes.known, reader._heads, reader._routes.known, reader._properties.known):
        assert 0 < len(memory) <= 400


def test_keys_that_never_come_again_do_not_fill_a_memory() -> None:
    """One in 32 is remembered, once there have been many; so those that do come again are known soon."""
    sender = Sender(AMQP_0_8)
    one = receiver()
    for n in range(1256):
        sender.publish((1, 0, "", "key %d" % n, False, False), {"type": str(n)}, b"")
        one.receive(delivered(2, "", "key %d" % n, {"type": str(n)}, b""))
    reader = reader_of(one, DeliveryReader)
    writer = sender._publish
    memories = [memory.known for memory in (writer._routes, reader._routes, reader._properties)]
    assert [len(memory) for memory in memories] == [256 + 31] * 3
    for _ in range(32):
        sender.publish((1, 0, "", "again", False, False), {"type": "again"}, b"")
        one.receive(delivered(2, "", "again", {"type": "again"}, b""))
    assert [len(memory) for memory in memories] == [256 + 32] * 3


@pytest.mark.parametrize(
    "props",
    [
        {"type": "x" * 255, "app_id": "y" * 200},
        {"application_headers": {"a": 1}},
        {"correlation_id": "x"},
        {"message_id": "x", "type": "t"},
        {"timestamp": datetime(2026, 11, 26, tzinfo=timezone.utc)},
    ],
)
@pytest.mark.parametrize("make", [delivered, got])
def test_what_is_long_or_another_each_time_is_not_remembered(make: Make, props: Dict[str, Any]) -> None:
    one = receiver()
    for body in (b"", b"x", b"x"):
        assert one.receive(make(2, "", "k", props, body))[0][3] == (props, body)
    assert not any(reader._properties.known for reader in one._runs.values() if isinstance(reader, DeliveryReader))


def test_nothing_is_shared() -> None:
    """What a program does to one message is not seen in the next."""
    for props in ({"priority": 1}, {"application_headers": {"a": {"b": 1}}}):
        one = receiver()
        wire = plain(DELIVER, ("tag", 1, False, "", "k"), props, b"")
        ((_, _, _, (first, _)),) = one.receive(wire)
        first.get("application_headers", {"a": {}})["a"]["c"] = 2
        first["priority"] = 9
        # read once more, and from memory
        for _ in range(3):
            ((_, _, _, (another, _)),) = one.receive(wire)
            assert another == props
            another.get("application_headers", {"a": {}})["a"]["d"] = 3
            another["priority"] = 8
    sender = Sender(AMQP_0_8)
    headers: Dict[str, Any] = {"a": 1}
    args = 0, "", "k", False, False
    sender.publish((1, *args), {"application_headers": headers}, b"")
    headers["a"] = 2
    changed = {"application_headers": headers}
    assert published(sender, args, changed, b"") == plain(PUBLISH, args, changed, b"")


def test_publishes_that_are_alike() -> None:
    """The third of a kind is made of what is remembered; a program that changes its properties is not surprised."""
    sender = Sender(AMQP_0_8)
    args = 0, "", "k", False, False
    kinds: List[Dict[str, Any]] = [
        {},
        {"priority": 1},
        {"timestamp": datetime(2026, 11, 23)},
        {"type": bytearray(b"t")},
    ]
    for props in [*kinds, {"application_headers": {"a": 1}}]:
        for number in range(12):
            body = b"x" * (1 + number // 6)
            assert published(sender, args, props, body) == plain(PUBLISH, args, props, body)
            if number % 6 == 4:
                props["message_id"] = "m%d" % number
                props.get("application_headers", {})["b"] = number
                props.get("type", bytearray()).append(number)


@examples(150)
@given(st.lists(st.tuples(messages, st.integers(1, 4)), max_size=6))
def test_publishing_again_and_again(sent: List[Tuple[Tuple[str, str, Dict[str, Any], bytes], int]]) -> None:
    sender = Sender(AMQP_0_8)
    for (exchange, routing_key, props, body), times in sent * 2:
        for _ in range(times):
            args = 0, exchange, routing_key, True, False
            assert published(sender, args, props, body) == plain(PUBLISH, args, props, body)


def test_an_argument_that_can_be_changed() -> None:
    sender = Sender(AMQP_0_8)
    key = bytearray(b"k")
    for _ in range(2):
        key += b"k"
        args = 0, "", key, False, False
        assert published(sender, args, {}, b"") == plain(PUBLISH, args, {}, b"")
        assert published(sender, args, {"type": key}, b"") == plain(PUBLISH, args, {"type": key}, b"")
        known = 0, "", "k", False, False
        assert published(sender, known, {"type": key}, b"") == plain(PUBLISH, known, {"type": key}, b"")
    with pytest.raises(LocalError, match="routing_key"):
        sender.publish((1, 0, "", ["k"], False, False), {}, b"")


@pytest.mark.parametrize("key", [b"k", "\udcff", "ü" * 127, "x" * 255])
@pytest.mark.parametrize("bits", [(0, 1), (None, "yes"), (True, True)])
def test_arguments_of_other_classes(key: Any, bits: Tuple[Any, Any]) -> None:
    args = 0, "x", key, *bits
    assert published(Sender(AMQP_0_8), args, {}, b"") == plain(PUBLISH, args, {}, b"")


@pytest.mark.parametrize("key", [None, 1, "x" * 256, "ü" * 128, "\ud800"])
def test_arguments_that_do_not_fit(key: Any) -> None:
    with pytest.raises(LocalError, match=r"^basic\.publish: routing_key: "):
        Sender(AMQP_0_8).publish((1, 0, "", key, False, False), {}, b"")
    with pytest.raises(LocalError, match=r"^basic\.publish: ticket: "):
        Sender(AMQP_0_8).publish((1, -1, "", "k", False, False), {}, b"")


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
        sender.publish((1, 0, 48 * "x", "", False, False), {}, b"")
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
@pytest.mark.parametrize("props", [{"priority": 1}, {"message_id": "m"}])
def test_every_octet_of_a_run_changed(make: Make, props: Dict[str, Any]) -> None:
    """Behind contents that are alike, so that all that can be known of one is known; or hardly anything can be."""
    one = make(1, "x", "k", props, b"body")
    for place in range(len(one)):
        wire = 3 * one + one[:place] + bytes((one[place] ^ 0x55,)) + one[place + 1 :] + one
        assert feed(receiver(), [wire]) == feed(receiver(hot=False), [wire])


@pytest.mark.parametrize("is_hot", [False, True])
@pytest.mark.parametrize("make", [delivered, got])
def test_where_no_content_may_come(make: Make, is_hot: bool) -> None:
    """On a channel that is not open any more, and in the middle of another content."""
    wire = make(2, "x", "k", {"priority": 1}, b"body")
    head = wire[: wire.index(b"\xce\x02") + 1]
    for before, expected in ((b"", 504), (wire + head, 505)):
        one = receiver(is_hot)
        assert len(one.receive(wire + before)) == 1 + bool(before)
        if not before:
            one.forget(1)
        assert one.receive(wire) == []
        assert one.error is not None
        assert one.error.reply_code == expected


def middles_of(one: Receiver) -> Dict[bytes, Any]:
    return {raw: it for head in reader_of(one, DeliveryReader)._heads.values() for raw, it in head.middles.items()}


def test_deliveries_that_are_alike() -> None:
    """Of what is looked up as a whole, nothing is shared, and a frame that is too long now costs its message."""
    one = receiver()
    wire = b"".join(delivered(2 * n, "x", "k", {"priority": 1}, b"body %d" % n) for n in range(9))
    events = one.receive(wire)
    assert len(middles_of(one)) == 1
    for n, (_, _, args, (props, body)) in enumerate(events):
        assert (args, props, body) == (("tag", 2 * n, False, "x", "k"), {"priority": 1}, b"body %d" % n)
        props["priority"] = 2
    assert one.receive(wire)[-1][3] == ({"priority": 1}, b"body 8")
    one.frame_max = 5
    assert one.receive(wire) == []
    assert len(one.left_out) == 9


def test_deliveries_that_are_not_alike() -> None:
    """What was remembered of them is dropped; when they become alike, it is found out."""
    one = receiver()
    for n in range(1, 300):
        one.receive(delivered(n, "x", "k", {}, b"x" * n))
    assert not middles_of(one)
    for n in range(20000, 20010):
        one.receive(delivered(n, "x", "k", {}, b"x"))
    assert len(middles_of(one)) == 2  # of even numbers and of odd ones


def test_deliveries_of_many_kinds_that_come_again() -> None:
    """More kinds than a consumer is judged by, each so often that looking for them pays: they stay known."""
    one = receiver()
    for n in range(1, 201):
        for again in range(5):
            one.receive(delivered(10 * n + 2 * again, "x", "k", {}, b"x" * n))
    assert len(middles_of(one)) > 100


def test_what_is_known_of_deliveries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "_BOUND", 40)
    one = receiver()
    known, heads = [], []
    for n in range(100):
        for number in range(2, 10, 2):
            wire = plain(DELIVER, ("tag %d" % n, number, False, "", "k"), {}, b"x" * (number // 4))
            assert [(event[2][0], event[3][1]) for event in one.receive(wire)] == [("tag %d" % n, b"x" * (number // 4))]
            known_heads = reader_of(one, DeliveryReader)._heads
            heads.append(len(known_heads))
            known.append(sum(len(head.middles) for head in known_heads.values()))
    assert (max(known), max(heads)) == (40, 40)
