"""The books of publisher confirms balance, whatever the server says and in whatever order.

A rule is something that a server or a program may do at any time: acknowledge or refuse a tag, or all up to one, again,
late, or one that never was; return a message; publish; collect.
"""

from __future__ import annotations

import threading
import time
from typing import Dict, List, Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqplib.client.confirms import Confirms, Sent
from amqplib.client.message import GenericContent, Message

from .peer import PATIENCE
from .truth import Truth

LOOKS = [Sent("", route, body, b"") for route in ("here", "there") for body in (b"same", b"other")]


class Books(RuleBasedStateMachine):
    """Confirms beside the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms = Confirms()
        self.truth = Truth()
        self.sent: Dict[int, GenericContent] = {}
        self.acked: List[int] = []
        self.nacked: List[int] = []
        self.returned: List[int] = []  # collected, as those above are

    @rule(looks=st.sampled_from(LOOKS), mandatory=st.booleans())
    def publish(self, looks: Sent, mandatory: bool) -> None:
        msg = Message("x")
        tag = self.confirms.sent(msg, looks if mandatory else None)
        assert tag == self.truth.publish(looks if mandatory else None)
        self.sent[tag] = msg

    @rule(looks=st.sampled_from([None, *LOOKS]))
    def publish_that_was_not_sent(self, looks: Optional[Sent]) -> None:
        self.confirms.take_back(self.confirms.sent(Message("never"), looks))

    @rule(tag=st.integers(0, 12), multiple=st.booleans(), ack=st.booleans())
    def settle(self, tag: int, multiple: bool, ack: bool) -> None:
        ack = ack or not self.truth.may_refuse(tag, multiple)
        self.truth.settle(tag, multiple, ack)
        settled = self.confirms.settle(tag, multiple, ack)
        assert all(msg is self.sent[one] for one, msg in settled)
        if ack:
            self.acked += [one for one, _ in settled]

    @precondition(lambda self: self.truth.returnable())
    @rule(data=st.data(), added=st.booleans())
    def come_back(self, data: st.DataObject, added: bool) -> None:
        tag = data.draw(st.sampled_from(sorted(self.truth.returnable())))
        looks = self.truth.sent[tag]
        assert isinstance(looks, Sent)
        self.truth.give_back(tag)
        self.confirms.came_back(looks._replace(properties=b"more") if added else looks)

    @rule(looks=st.sampled_from(LOOKS))
    def come_back_though_never_sent(self, looks: Sent) -> None:
        self.confirms.came_back(looks._replace(exchange="elsewhere"))

    @rule()
    def collect(self) -> None:
        nacked, returned, unconfirmed = self.confirms.collect()
        self.nacked += nacked
        self.returned += returned
        for one, msg in {**nacked, **returned, **unconfirmed}.items():
            assert msg is self.sent[one]
        # one that was returned and reported, but not acknowledged yet, is not reported again
        assert list(unconfirmed) == [tag for tag in self.confirms.unconfirmed if tag not in self.returned]
        self.truth.compare(self.acked, self.nacked, self.returned)
        assert {*self.acked, *self.nacked, *self.returned, *unconfirmed} == set(self.sent)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def collect_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.sent)))
        nacked, returned, unconfirmed = self.confirms.collect_one(tag)
        assert {**nacked, **returned, **unconfirmed} in ({}, {tag: self.sent[tag]})
        assert len(nacked) + len(returned) + len(unconfirmed) <= 1
        self.nacked += nacked
        self.returned += returned

    @invariant()
    def what_is_outstanding(self) -> None:
        assert list(self.confirms.unconfirmed) == sorted(self.truth.outstanding)

    def teardown(self) -> None:
        """In the end the server acknowledges all, and nothing is kept of it."""
        self.settle(len(self.sent), True, True)
        self.collect()
        assert vars(self.confirms)["_mandatory"] == vars(self.confirms)["_alike"] == {}
        assert vars(self.confirms)["_came_back"] == set()


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase


@pytest.mark.parametrize("first_is_acked_first", [False, True])
def test_which_of_two_that_are_alike_came_back(first_is_acked_first: bool) -> None:
    """The one that is acknowledged next; until then nobody is told that either is safe, or is not."""
    confirms = Confirms()
    for _ in range(2):
        confirms.sent(Message("x"), LOOKS[0])
    confirms.came_back(LOOKS[0])
    assert [list(found) for found in confirms.collect()] == [[], [], [1, 2]]
    came_back, other = (1, 2) if first_is_acked_first else (2, 1)
    assert confirms.settle(came_back, False, True) == []
    assert [list(found) for found in confirms.collect()] == [[], [came_back], [other]]
    assert [tag for tag, _ in confirms.settle(other, False, True)] == [other]


def test_one_that_is_refused_did_not_come_back() -> None:
    confirms = Confirms()
    for _ in range(2):
        confirms.sent(Message("x"), LOOKS[0])
    confirms.came_back(LOOKS[0])
    confirms.settle(1, False, False)
    assert [list(found) for found in confirms.collect()] == [[1], [2], []]


def test_one_that_was_sent_later_did_not_come_back() -> None:
    confirms = Confirms()
    for _ in range(2):
        confirms.sent(Message("x"), LOOKS[0])
    confirms.came_back(LOOKS[0])
    assert confirms.sent(Message("x"), LOOKS[0]) == 3
    confirms.settle(1, False, False)
    assert [list(found) for found in confirms.collect()] == [[1], [2], [3]]
    assert [tag for tag, _ in confirms.settle(3, False, True)] == [3]


def test_a_tag_that_is_taken_back_and_given_again() -> None:
    """What the server said meanwhile was not of the second one."""
    confirms = Confirms()
    for _ in range(3):
        confirms.sent(Message("x"), LOOKS[0])
    confirms.came_back(LOOKS[0])
    confirms.take_back(3)
    assert confirms.sent(Message("x"), LOOKS[0]) == 3
    assert [tag for tag, _ in confirms.settle(3, False, True)] == [3]
    confirms.settle(4, True, False)
    confirms.take_back(confirms.sent(Message("x")))
    assert confirms.sent(Message("x")) == 4
    assert [tag for tag, _ in confirms.settle(4, True, True)] == [4]


def test_a_broker_that_adds_to_headers() -> None:
    """Then the way and the body have to do, and what was heard before counts on."""
    confirms = Confirms()
    looks = [Sent("", "q", b"x", b"%d" % number) for number in (2, 1, 1)]
    for each in looks:
        confirms.sent(Message("x"), each)
    confirms.came_back(looks[1])
    confirms.came_back(Sent("", "q", b"x", b"more"))
    for tag in (3, 2, 1):
        confirms.settle(tag, False, True)
    nacked, returned, unconfirmed = confirms.collect()
    assert (nacked, list(returned), unconfirmed) == ({}, [2, 3], {})


def test_properties_tell_which_one_came_back() -> None:
    confirms = Confirms()
    for properties in (b"1", b"2"):
        confirms.sent(Message("x"), Sent("", "q", b"x", properties))
    confirms.came_back(Sent("", "q", b"x", b"2"))
    assert [list(found) for found in confirms.collect()] == [[], [2], [1]]


MANY = 100_000


@pytest.mark.parametrize(
    ("order", "alike"),
    [("multiple", False), ("backwards", False), ("every second, then multiple", False), ("returned", True)],
)
def test_books_of_a_hundred_thousand(order: str, alike: bool) -> None:
    """A second or less, where anything quadratic takes minutes."""
    confirms = Confirms()
    looks = [Sent("", "q", b"%d" % (0 if alike else number), b"") for number in range(MANY)]
    began = time.process_time()
    for each in looks:
        confirms.sent(Message("x"), each)
    settled = 0
    tags = range(1, MANY + 1)
    if order == "every second, then multiple":
        settled += sum(len(confirms.settle(tag, False, True)) for tag in tags[::2])
    for tag in reversed(tags) if order == "backwards" else tags:
        if order == "returned":
            confirms.came_back(looks[tag - 1])
        settled += len(confirms.settle(tag, order in ("multiple", "every second, then multiple"), True))
    assert time.process_time() - began < 20
    assert settled == (0 if order == "returned" else MANY)
    assert confirms.unconfirmed == {}
    assert len(confirms.returned) == MANY - settled


def test_a_late_ack_for_one_message_never_vouches_for_another() -> None:
    confirms = Confirms()
    first, second = confirms.sent(Message("1")), confirms.sent(Message("2"))
    assert confirms.settle(first, False, True)
    assert confirms.settle(first, False, True) == []
    assert list(confirms.unconfirmed) == [second]


def test_a_fork_while_another_thread_is_at_the_books() -> None:
    confirms = Confirms()
    settled: List[object] = []

    def in_the_child() -> None:
        settled.extend(confirms.settle(confirms.sent(Message("x"), LOOKS[0]), False, True))

    def fork() -> None:
        confirms.forked()
        child = threading.Thread(target=in_the_child, daemon=True)
        child.start()
        child.join(PATIENCE)

    confirms._entry(fork)
    assert len(settled) == 1


@pytest.mark.parametrize(("window", "outstanding", "full"), [(None, 100, False), (2, 1, False), (2, 2, True)])
def test_window(window: Optional[int], outstanding: int, full: bool) -> None:
    confirms = Confirms()
    confirms.window = window
    for _ in range(outstanding):
        confirms.sent(Message("x"))
    assert confirms.full() is full
