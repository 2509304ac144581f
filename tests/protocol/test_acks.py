"""Acknowledgements that are held back: what is sent in their place settles the same messages, and no others."""

from __future__ import annotations

from typing import List, Set, Tuple

from hypothesis import given
from hypothesis import strategies as st

from amqplib.protocol.acks import HELD, Acks
from tests.client import frozen


def ack(tag: int, multiple: bool = False, channel: int = 1) -> bytes:
    return frozen.AMQP_0_9_1.method(channel, "basic.ack", (tag, multiple))


def said(frame: bytes) -> Tuple[str, Tuple[object, ...]]:
    name, args = frozen.AMQP_0_9_1.read_method(frame[7:-1])
    return name, tuple(args)


def test_a_run_from_the_first_message_on_is_one_frame() -> None:
    acks = Acks()
    for tag in (1, 2, 3):
        acks.add(1, ack(tag), 0.0)
    assert acks.waiting == {1}
    assert acks.take() == [ack(3, True)]
    assert not acks.waiting
    assert acks.take() == []
    acks.add(1, ack(4), 0.0)
    assert acks.take() == [ack(4)]
    acks.add(1, ack(5), 0.0)
    acks.add(1, ack(6), 0.0)
    assert acks.take() == [ack(6, True)]


def test_beyond_a_message_that_is_not_settled_each_is_a_frame() -> None:
    acks = Acks()
    for tag in (3, 2):
        acks.add(1, ack(tag), 0.0)
    assert acks.take() == [ack(3), ack(2)]
    acks.add(1, ack(5), 0.0)
    acks.add(1, ack(1), 0.0)
    assert acks.take() == [ack(5), ack(1)]  # 2 and 3 had gone: there is nothing that goes together
    acks.add(1, ack(7), 0.0)
    acks.add(1, ack(6), 0.0)
    acks.add(1, ack(4), 0.0)
    assert acks.take() == [ack(7, True)]


def test_one_that_is_acknowledged_twice_is_told_twice() -> None:
    acks = Acks()
    for tag in (1, 2, 2):
        acks.add(1, ack(tag), 0.0)
    assert acks.take() == [ack(2, True), ack(2)]
    for tag in (3, 4, 1):
        acks.add(1, ack(tag), 0.0)
    assert acks.take() == [ack(4, True), ack(1)]


def test_what_lies_behind_one_that_is_never_settled_is_bounded() -> None:
    acks = Acks()
    for tag in range(2, 10_003):
        acks.add(1, ack(tag), 0.0)
    assert len(acks.take()) == 10_001
    acks.add(1, ack(1), 0.0)
    acks.add(1, ack(10_003), 0.0)
    assert acks.take() == [ack(1), ack(10_003)]


def test_channels_are_counted_each_by_itself() -> None:
    acks = Acks()
    for channel, tag in ((1, 1), (2, 1), (2, 2), (1, 2)):
        acks.add(channel, ack(tag, channel=channel), 0.0)
    assert acks.take() == [ack(2, True), ack(2, True, channel=2)]
    acks.forget(1)
    acks.add(1, ack(1), 0.0)
    acks.add(1, ack(2), 0.0)
    assert acks.take() == [ack(2, True)]
    acks.add(2, ack(1, channel=2), 0.0)
    acks.forget(2)
    assert acks.take() == []


def test_what_else_settles_is_counted() -> None:
    method = frozen.AMQP_0_9_1.method
    acks = Acks()
    acks.sent(1, method(1, "basic.reject", (1, True)))
    acks.sent(1, method(1, "basic.nack", (2, False, True)))
    acks.sent(1, method(1, "basic.qos", (0, 3, False)))
    acks.sent(1, method(1, "basic.nack", (9, False, True)))  # 3 to 8 are not settled
    acks.add(1, ack(3), 0.0)
    acks.add(1, ack(4), 0.0)
    assert acks.take() == [ack(4, True)]
    acks.sent(1, method(1, "basic.nack", (9, True, True)))
    acks.sent(1, ack(12, True))
    acks.sent(1, ack(11, True))
    acks.add(1, ack(13), 0.0)
    acks.add(1, ack(14), 0.0)
    assert acks.take() == [ack(14, True)]
    acks.unsent(1, method(1, "basic.qos", (0, 3, False)))
    acks.unsent(1, method(1, "basic.reject", (13, True)))
    acks.add(1, ack(15), 0.0)
    acks.add(1, ack(16), 0.0)
    assert acks.take() == [ack(15), ack(16)]


def test_they_are_due_after_a_moment_or_when_they_are_many() -> None:
    acks = Acks()
    assert not acks.add(1, ack(1), 7.0)
    assert not acks.add(1, ack(2), 7.0 + HELD / 2)
    assert acks.add(1, ack(3), 7.0 + HELD * 1.5)
    acks.take()
    assert [acks.add(1, ack(tag), 8.0) for tag in range(4, 504)] == [False] * 499 + [True]


@given(
    st.lists(
        st.tuples(st.sampled_from(["ack", "reject", "nack", "nack all", "ack all"]), st.integers(1, 12), st.booleans()),
        max_size=30,
    )
)
def test_the_same_messages_are_settled(steps: List[Tuple[str, int, bool]]) -> None:
    """Twelve messages have come, and the program settles each once at most, in any order and by any method."""
    acks = Acks()
    settled: Set[int] = set()
    at_broker: Set[int] = set()

    def hears(frames: List[bytes]) -> None:
        for frame in frames:
            name, args = said(frame)
            tag, multiple = int(str(args[0])), name != "basic.reject" and bool(args[1])
            new = set(range(1, tag + 1)) - at_broker if multiple else {tag}
            assert new
            assert not (new & at_broker)
            at_broker.update(new)

    for how, tag, flushes in steps:
        if tag in settled:
            continue
        if how == "ack":
            acks.add(1, ack(tag), 0.0)
            settled.add(tag)
        else:
            hears(acks.take())  # whatever else is sent goes behind them
            multiple = how.endswith("all")
            if how.startswith("ack"):
                frame = ack(tag, multiple)
            elif how == "reject":
                frame = frozen.AMQP_0_9_1.method(1, "basic.reject", (tag, True))
            else:
                frame = frozen.AMQP_0_9_1.method(1, "basic.nack", (tag, multiple, True))
            acks.sent(1, frame)
            hears([frame])
            settled.update(range(1, tag + 1) if multiple else (tag,))
        if flushes:
            hears(acks.take())
            assert at_broker == settled
    hears(acks.take())
    assert at_broker == settled
