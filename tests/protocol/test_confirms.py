"""The books of publisher confirms balance, whatever the server says and in whatever order.

A rule is something that a server or a program may do at any time: acknowledge or refuse a tag, or all up to one, again,
late, or one that never was; return a message; publish; collect. The first part tries all orders of a few of these, the
second one random orders of many.
"""

from __future__ import annotations

import gc
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqplib.protocol.confirms import Confirms, Sent
from tests.wire.helpers import scaled

from .truth import Truth

LOOKS = [Sent("", route, body, b"") for route in ("here", "there") for body in (b"same", b"other")]

FRAMES = b"frames"


class Message:
    """All that the books know of a message is that it is one."""


def publish(confirms: Confirms, looks: Optional[Sent] = None, msg: Optional[Message] = None) -> int:
    """Enter a publish, for which there has to be room; its tag."""
    entered = confirms.enter(FRAMES, msg or Message(), looks)
    assert entered is not None
    tag, frames = entered
    assert frames is FRAMES
    assert tag is not None
    return tag


def collected(confirms: Confirms) -> List[List[int]]:
    """Tags that are refused, returned, unconfirmed."""
    return [list(found) for found in confirms.collect()]


def kept(confirms: Confirms) -> List[Any]:
    """Whatever the books hold that is not empty."""
    return [each for each in gc.get_referents(confirms) if not isinstance(each, (type, int)) and each]


# --- every order


class Event(NamedTuple):
    """What happens next; what is left out does not matter to it."""

    what: str
    tag: int = 0


ACK, NACK, RETURN = "ack", "nack", "return"
MULTIPLE = {"all acked up to": True, "all refused up to": False}


class Story:
    """A few events, told to the books and to the truth."""

    def __init__(self, all_alike: bool) -> None:
        self.all_alike = all_alike
        self.confirms = Confirms()
        self.truth = Truth()
        self.messages: Dict[int, Message] = {}
        self.safe: List[int] = []

    def possible(self) -> Iterator[Event]:
        """All that may happen now."""
        truth, tags = self.truth, range(1, len(self.truth.sent) + 1)
        yield Event("publish")
        yield Event("publish mandatory")
        for tag in sorted(truth.outstanding):
            yield Event(ACK, tag)
            if truth.may_refuse(tag, False):
                yield Event(NACK, tag)
        if len(truth.outstanding) > 1:
            for tag in sorted(truth.outstanding)[1:]:
                yield Event("all acked up to", tag)
                if truth.may_refuse(tag, True):
                    yield Event("all refused up to", tag)
        for tag in sorted(truth.returnable()):
            yield Event(RETURN, tag)
        for tag in [0, *sorted({*tags} - truth.outstanding), len(tags) + 1]:  # late, or of what never was
            yield Event("ack out of place", tag)
        if tags and tags[-1] in truth.outstanding - truth.returned:
            yield Event("take back", tags[-1])
        if len(tags) > 1:
            yield Event("take back too late", tags[-2])

    def tell(self, event: Event) -> None:
        confirms, truth = self.confirms, self.truth
        what, tag = event
        if what in ("publish", "publish mandatory"):
            looks = None
            if what == "publish mandatory":
                looks = Sent("", "q", b"same" if self.all_alike else b"%d" % len(truth.sent), b"")
            msg = Message()
            tag = publish(confirms, looks, msg)
            assert tag == truth.publish(looks)
            self.messages[tag] = msg
        elif what == RETURN:
            looks = truth.sent[tag]  # type: ignore[assignment]
            assert looks is not None
            truth.give_back(tag)
            confirms.came_back(looks)
        elif what == "take back":
            truth.take_back()
            del self.messages[tag]
            assert confirms.take_back(tag)
        elif what == "take back too late":
            assert not confirms.take_back(tag)
        else:
            ack, multiple = MULTIPLE.get(what, what != NACK), what in MULTIPLE
            truth.settle(tag, multiple, ack)
            settled = confirms.settle(tag, multiple, ack)
            assert all(msg is self.messages[one] for one, msg in settled)
            assert ack or [one for one, _ in settled] == sorted({*dict(settled)})
            if ack:
                self.safe += [one for one, _ in settled]

    def end(self) -> None:
        """The connection is lost: every message has one fate, and none that is called safe is not."""
        confirms, truth = self.confirms, self.truth
        assert list(confirms.unconfirmed) == sorted(truth.outstanding)
        assert confirms.next_tag == len(truth.sent) + 1
        nacked, returned, unconfirmed = confirms.collect()
        for tag, msg in [*nacked.items(), *returned.items(), *unconfirmed.items()]:
            assert msg is self.messages[tag]
        every = sorted([*self.safe, *nacked, *returned, *unconfirmed])
        assert every == list(range(1, len(truth.sent) + 1)), "one is forgotten, or has two fates"
        truth.compare(self.safe, nacked, returned)
        if not self.all_alike:
            assert {*returned} == truth.returned
            assert {*self.safe} == truth.acked
            assert {*unconfirmed} == truth.outstanding - truth.returned


def told(events: List[Event], all_alike: bool) -> Story:
    story = Story(all_alike)
    for event in events:
        story.tell(event)
    return story


def every_order(events: List[Event], all_alike: bool, more: int) -> int:
    """Tell all stories that begin with these events and have up to so many more; how many."""
    story = told(events, all_alike)
    possible = list(story.possible()) if more else []
    try:
        story.end()
    except AssertionError as exc:
        raise AssertionError("%s: %s" % (", ".join("%s %d" % event for event in events), exc)) from exc
    return 1 + sum(every_order([*events, event], all_alike, more - 1) for event in possible)


@pytest.mark.parametrize("all_alike", [True, False])
def test_every_order_of_up_to_six_events(all_alike: bool) -> None:
    """Nothing is called safe that is not, and nothing is forgotten, whenever the connection is lost."""
    assert every_order([], all_alike, 6) > 50_000


# --- random orders


class Books(RuleBasedStateMachine):
    """Confirms beside the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms = Confirms()
        self.truth = Truth()
        self.sent: Dict[int, Message] = {}
        self.acked: List[int] = []
        self.nacked: List[int] = []
        self.returned: List[int] = []  # collected, as those above are

    @rule(looks=st.sampled_from(LOOKS), mandatory=st.booleans())
    def publish(self, looks: Sent, mandatory: bool) -> None:
        msg = Message()
        tag = publish(self.confirms, looks if mandatory else None, msg)
        assert tag == self.truth.publish(looks if mandatory else None)
        self.sent[tag] = msg

    @rule(looks=st.sampled_from([None, *LOOKS]))
    def publish_that_was_not_sent(self, looks: Optional[Sent]) -> None:
        assert self.confirms.take_back(publish(self.confirms, looks))

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
        assert kept(self.confirms) == []


Books.TestCase.settings = settings(max_examples=scaled(150), stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase


@pytest.mark.parametrize("first_is_acked_first", [False, True])
def test_which_of_two_that_are_alike_came_back(first_is_acked_first: bool) -> None:
    """The one that is acknowledged next; until then nobody is told that either is safe, or is not."""
    confirms = Confirms()
    for _ in range(2):
        publish(confirms, LOOKS[0])
    confirms.came_back(LOOKS[0])
    assert collected(confirms) == [[], [], [1, 2]]
    came_back, other = (1, 2) if first_is_acked_first else (2, 1)
    assert confirms.settle(came_back, False, True) == []
    assert collected(confirms) == [[], [came_back], [other]]
    assert [tag for tag, _ in confirms.settle(other, False, True)] == [other]


def test_one_that_is_refused_did_not_come_back() -> None:
    confirms = Confirms()
    for _ in range(2):
        publish(confirms, LOOKS[0])
    confirms.came_back(LOOKS[0])
    confirms.settle(1, False, False)
    assert collected(confirms) == [[1], [2], []]


def test_more_come_back_than_were_sent() -> None:
    """The broker is wrong: one that was sent comes back once."""
    confirms = Confirms()
    publish(confirms, LOOKS[0])
    for _ in range(2):
        confirms.came_back(LOOKS[0])
    assert collected(confirms) == [[], [1], []]
    assert publish(confirms, LOOKS[0]) == 2
    assert [tag for tag, _ in confirms.settle(2, False, True)] == [2]


def test_one_that_was_sent_later_did_not_come_back() -> None:
    confirms = Confirms()
    for _ in range(2):
        publish(confirms, LOOKS[0])
    confirms.came_back(LOOKS[0])
    assert publish(confirms, LOOKS[0]) == 3
    confirms.settle(1, False, False)
    assert collected(confirms) == [[1], [2], [3]]
    assert [tag for tag, _ in confirms.settle(3, False, True)] == [3]


def test_a_tag_that_is_taken_back_and_given_again() -> None:
    """What the server said meanwhile was not of the second one."""
    confirms = Confirms()
    for _ in range(3):
        publish(confirms, LOOKS[0])
    confirms.came_back(LOOKS[0])
    confirms.take_back(3)
    assert publish(confirms, LOOKS[0]) == 3
    assert [tag for tag, _ in confirms.settle(3, False, True)] == [3]
    confirms.settle(4, True, False)
    confirms.take_back(publish(confirms))
    assert publish(confirms) == 4
    assert [tag for tag, _ in confirms.settle(4, True, True)] == [4]


def test_a_broker_that_adds_to_headers() -> None:
    """Then the way and the body have to do, and what was heard before counts on."""
    confirms = Confirms()
    looks = [Sent("", "q", b"x", b"%d" % number) for number in (2, 1, 1)]
    for each in looks:
        publish(confirms, each)
    confirms.came_back(looks[1])
    confirms.came_back(Sent("", "q", b"x", b"more"))
    for tag in (3, 2, 1):
        confirms.settle(tag, False, True)
    nacked, returned, unconfirmed = confirms.collect()
    assert (nacked, list(returned), unconfirmed) == ({}, [2, 3], {})


def test_properties_tell_which_one_came_back() -> None:
    confirms = Confirms()
    for properties in (b"1", b"2"):
        publish(confirms, Sent("", "q", b"x", properties))
    confirms.came_back(Sent("", "q", b"x", b"2"))
    assert collected(confirms) == [[], [2], [1]]


MANY = 100_000


def books_of(many: int, order: str, alike: bool) -> float:
    """Seconds for the books of so many publishes."""
    confirms = Confirms()
    gc.collect()
    gc.disable()  # what it takes grows with all that there is
    try:
        return _time_of(confirms, many, order, alike)
    finally:
        gc.enable()


def _time_of(confirms: Confirms, many: int, order: str, alike: bool) -> float:
    looks = [Sent("", "q", b"%d" % (0 if alike else number), b"") for number in range(many)]
    began = time.process_time()
    for each in looks:
        publish(confirms, each)
    settled = 0
    tags = range(1, many + 1)
    if order == "every second, then multiple":
        settled += sum(len(confirms.settle(tag, False, True)) for tag in tags[::2])
    for tag in reversed(tags) if order == "backwards" else tags:
        if order == "returned":
            confirms.came_back(looks[tag - 1])
        settled += len(confirms.settle(tag, order in ("multiple", "every second, then multiple"), True))
    took = time.process_time() - began
    assert settled == (0 if order == "returned" else many)
    assert confirms.unconfirmed == {}
    assert len(confirms.returned) == many - settled
    return took


@pytest.mark.parametrize(
    ("order", "alike"),
    [("multiple", False), ("backwards", False), ("every second, then multiple", False), ("returned", True)],
)
def test_books_of_a_hundred_thousand(order: str, alike: bool) -> None:
    """Ten times as many take ten times as long, where with anything quadratic it would be a hundred times."""
    few = min(books_of(MANY // 10, order, alike) for _ in range(2))
    assert books_of(MANY, order, alike) < 30 * few


def test_a_late_ack_for_one_message_never_vouches_for_another() -> None:
    confirms = Confirms()
    first, second = publish(confirms), publish(confirms)
    assert confirms.settle(first, False, True)
    assert confirms.settle(first, False, True) == []
    assert list(confirms.unconfirmed) == [second]


def test_several_who_wait() -> None:
    """What one of them collects is noted for those who wait, and for nobody else."""
    confirms = Confirms()
    for _ in range(3):
        publish(confirms)
    first, second, third = (confirms.begin_to_wait() for _ in range(3))
    confirms.settle(1, False, False)
    confirms.settle(2, False, False)
    assert [list(found) for found in confirms.collect_one(2, first)] == [[2], [], []]
    confirms.wait_no_more(first)
    assert [list(found) for found in confirms.collect(second)] == [[1, 2], [], [3]]
    confirms.wait_no_more(second)
    assert [list(found) for found in confirms.collect_one(1, third)] == [[1], [], []]
    assert [list(found) for found in confirms.collect_one(3, third)] == [[], [], [3]]
    confirms.wait_no_more(third)
    assert collected(confirms) == [[], [], [3]]
    confirms.settle(3, False, True)
    assert kept(confirms) == []


@pytest.mark.parametrize("ack", [True, False])
def test_reports(ack: bool) -> None:
    """Of what the program wants to be told of: all that one acknowledgement or refusal has settled together."""
    confirms = Confirms()
    messages = [Message() for _ in range(4)]
    for msg in messages:
        publish(confirms, None, msg)

    def function(tag: int, msg: Message) -> None:
        raise AssertionError("it is not for the books to call it")

    confirms.on_ack, confirms.on_nack = (function, None) if ack else (None, function)
    confirms.settle(1, False, not ack)
    assert not confirms.reports
    confirms.settle(3, True, ack)
    confirms.settle(3, True, ack)
    confirms.settle(4, False, ack)
    reports = [(called, list(settled)) for called, settled in confirms.reports]
    assert reports == [(function, [(2, messages[1]), (3, messages[2])]), (function, [(4, messages[3])])]


def test_nothing_is_reported_of_what_came_back() -> None:
    confirms = Confirms()
    confirms.on_ack = confirms.on_nack = lambda tag, msg: None
    publish(confirms, LOOKS[0])
    confirms.came_back(LOOKS[0])
    confirms.settle(1, False, True)
    assert not confirms.reports


@pytest.mark.parametrize(("window", "outstanding", "full"), [(None, 100, False), (2, 1, False), (2, 2, True)])
def test_window(window: Optional[int], outstanding: int, full: bool) -> None:
    confirms = Confirms()
    confirms.window = window
    for _ in range(outstanding):
        publish(confirms)
    assert confirms.full() is full
    entered = confirms.enter(FRAMES, Message(), LOOKS[0])
    assert (entered is None) is full
    assert len(confirms.unconfirmed) == outstanding + (not full)
    if full:
        confirms.settle(1, False, True)
        assert publish(confirms, LOOKS[0]) == outstanding + 1
