"""Books of confirms that note how long the server takes."""

from __future__ import annotations

from typing import List, Type

import pytest

from amqplib.protocol import timing
from amqplib.protocol.carried import CarriedBooks
from amqplib.protocol.confirms import Confirms, Sent
from amqplib.protocol.timing import ConfirmTime, Times, time_confirms

LOOKS = Sent("", "q", b"body", b"")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[Confirms, CarriedBooks])
def books(request: pytest.FixtureRequest, clock: Clock) -> Confirms:
    kind: Type[Confirms] = request.param
    books = kind()
    time_confirms(books, clock)
    assert isinstance(books, kind)
    return books


def publish(books: Confirms, clock: Clock, at: float, count: int = 1) -> None:
    clock.now = at
    for _ in range(count):
        assert books.count(object(), b"frames")


def settle(books: Confirms, clock: Clock, at: float, tag: int, multiple: bool = False, ack: bool = True) -> None:
    clock.now = at
    books.settle(tag, multiple, ack)


def taken(books: Confirms) -> List[ConfirmTime]:
    times = books.times
    assert isinstance(times, Times)
    return times.take()


def test_each_by_itself(books: Confirms, clock: Clock) -> None:
    publish(books, clock, 1)
    clock.now = 2
    assert books.enter(b"frames", object(), None) == (2, b"frames")
    settle(books, clock, 5, 2)
    settle(books, clock, 6, 1, ack=False)
    assert taken(books) == [(3, True), (5, False)]
    assert taken(books) == []
    assert books.times.begun == {}


def test_several_at_once(books: Confirms, clock: Clock) -> None:
    publish(books, clock, 1, 2)
    publish(books, clock, 2)
    publish(books, clock, 3)
    settle(books, clock, 4, 3, multiple=True)
    assert taken(books) == [(3, True), (3, True), (2, True)]
    assert list(books.times.begun) == [4]


def test_what_is_never_told_of(books: Confirms, clock: Clock) -> None:
    """What came back, what was taken back, and what the window keeps out."""
    clock.now = 1
    books.enter(b"frames", object(), LOOKS)
    books.came_back(LOOKS)
    publish(books, clock, 2, 2)
    assert books.take_back(3)
    assert not books.take_back(1)
    books.window = 1
    assert books.count(object(), b"frames") == 0
    assert books.enter(b"frames", object(), None) is None
    assert list(books.times.begun) == [1, 2]
    settle(books, clock, 3, 1)
    assert list(books.times.begun) == [2]
    settle(books, clock, 4, 2)
    settle(books, clock, 5, 2)
    assert taken(books) == [(2, True)]


def test_what_was_published_before(clock: Clock) -> None:
    books = Confirms()
    publish(books, clock, 0, 2)
    time_confirms(books, clock)
    times = books.times
    time_confirms(books, clock)
    assert books.times is times
    publish(books, clock, 1)
    settle(books, clock, 3, 3, multiple=True)
    assert taken(books) == [(2, True)]


def test_over_a_loss(clock: Clock) -> None:
    """The time away counts; what is reported as refused at the loss has none."""
    books = CarriedBooks()
    time_confirms(books, clock)
    publish(books, clock, 1, 2)
    settle(books, clock, 2, 1)
    books.lose(report=False)
    assert books.begin() == [2]
    books.sent_again()
    settle(books, clock, 9, 1)
    assert taken(books) == [(1, True), (8, True)]
    publish(books, clock, 10)
    books.lose(report=True)
    books.begin()
    publish(books, clock, 11)
    settle(books, clock, 12, 1)
    assert taken(books) == [(1, True)]
    assert books.times.begun == {}


def test_as_many_as_are_kept(books: Confirms, clock: Clock) -> None:
    publish(books, clock, 0, timing._MOST + 5)
    settle(books, clock, 1, timing._MOST + 5, multiple=True)
    assert len(taken(books)) == timing._MOST


def test_another_thread_takes_them_as_well(clock: Clock) -> None:
    class Emptied(List[ConfirmTime]):
        def popleft(self) -> ConfirmTime:
            raise IndexError

    times = Times(clock)
    times.taken = Emptied([ConfirmTime(1, True)])  # type: ignore[assignment]
    assert times.take() == []
