"""What publishes have to pass, and what batch() gathers."""

from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.protocol.confirms import Confirms
from amqplib.protocol.endings import Over
from amqplib.protocol.gates import BLOCKED, SHUT, Batch


def test_what_is_over_takes_nothing() -> None:
    with pytest.raises(Over):
        SHUT.enter(b"frames", "message", None)
    assert repr(SHUT) == "shut"


def test_while_the_broker_blocks_everything_waits() -> None:
    assert BLOCKED.enter(b"frames", "message", None) is None
    assert repr(BLOCKED) == "blocked"


def test_frames_are_gathered_in_order() -> None:
    batch = Batch(None, 1)
    assert batch.enter(b"one", "message", None) == (None, None)
    batch.add(b"two")
    assert batch.size == 6
    assert batch.take() == b"onetwo"
    assert (batch.size, batch.take()) == (0, b"")


def test_a_long_body_goes_at_once_when_what_was_gathered_before_it_has_gone() -> None:
    books = Confirms()
    batch = Batch(books, 1)
    batch.add(b"gathered")
    pieces = (b"head", memoryview(b"body"), b"\xce")
    assert batch.enter(pieces, "message", None) is None
    assert books.unconfirmed == {}
    assert batch.take() == b"gathered"
    assert batch.enter(pieces, "message", None) == (1, pieces)
    assert batch.size == 0


def test_what_could_not_be_sent_is_put_back_before_what_came_since() -> None:
    batch = Batch(None, 1)
    batch.add(b"one")
    taken = batch.take()
    batch.add(b"two")
    batch.put_back(taken)
    assert batch.size == 6
    assert batch.take() == b"onetwo"


def test_in_confirm_mode_they_are_counted_as_they_are_gathered() -> None:
    books = Confirms()
    batch = Batch(books, 1)
    assert batch.enter(b"one", "first", None) == (1, None)
    assert batch.enter(b"two", "second", None) == (2, None)
    assert books.unconfirmed == {1: "first", 2: "second"}


def test_a_full_window_holds_a_batch_up() -> None:
    books = Confirms()
    books.window = 1
    batch = Batch(books, 1)
    assert batch.enter(b"one", "first", None) == (1, None)
    assert batch.enter(b"two", "second", None) is None
    assert batch.take() == b"one"
    books.settle(1, False, True)
    assert batch.enter(b"two", "second", None) == (2, None)


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=5), st.sampled_from(["take", "fail"])), max_size=20))
def test_nothing_is_lost_or_put_out_of_order(steps: List[object]) -> None:
    """Frames are added, taken, and now and then put back: what has left and what is there is what was added."""
    batch, added, left = Batch(None, 1), b"", b""
    for step in steps:
        if isinstance(step, bytes):
            batch.add(step)
            added += step
        elif step == "take":
            left += batch.take()
        else:
            batch.put_back(batch.take())
        assert batch.size == len(added) - len(left)
    assert left + batch.take() == added
