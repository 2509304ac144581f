"""Tags that go on counting over sessions: the books of confirms in every order of a few events, with a loss at every
place, against a model that keeps what each session's server really got; and deliveries.
"""

from __future__ import annotations

import random
import tracemalloc
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.protocol.carried import CarriedBooks, CarriedSession, LaterSession, cut_to
from amqplib.protocol.confirms import Sent
from amqplib.protocol.states import OPEN
from amqplib.wire.content import Oversize
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from tests.octets import frame, octets

from .octets import Content, arrive, method

# --- the books


class Event(NamedTuple):
    """What happens next."""

    what: str
    tag: int = 0


class Story:
    """A few events, told to the books, and what is true."""

    def __init__(self, report: bool = False, keeps: int = 0) -> None:
        self.report = report
        self.books = CarriedBooks()
        #: How often each that is refused is sent again; how often each was; what has yet to be.
        self.keeps = keeps
        self.kept: Dict[int, int] = {}
        self.to_send: Set[int] = set()
        if keeps:
            self.books.keeper = self
        self.settled: List[Tuple[int, bool]] = []
        self.books.on_ack = lambda tag, msg: self.settled.append((tag, True))
        self.books.on_nack = lambda tag, msg: self.settled.append((tag, False))
        #: The program's tags in the order in which this session's server got them; [tag - 1] is the server's tag.
        self.got: List[int] = []
        #: What has yet to be sent again in this session.
        self.again: List[int] = []
        self.looks: Dict[int, Sent] = {}
        self.published = 0
        self.acked: Set[int] = set()
        self.refused: Set[int] = set()
        self.came_back: Set[int] = set()
        #: The server's tags that it has answered for in the present session.
        self.done: Set[int] = set()

    def is_kept(self, tag: int) -> bool:
        """Asked by the books."""
        return self.kept.get(tag, 0) < self.keeps

    @property
    def outstanding(self) -> List[int]:
        every = range(1, self.published + 1)
        return [tag for tag in every if tag not in self.acked | self.refused | self.came_back]

    def possible(self) -> Iterator[Event]:
        """All that may happen now."""
        if not self.again:  # the program's publishes wait for what is sent again
            yield Event("publish")
            yield Event("mandatory")
        else:
            yield Event("again")
        yield Event("lose")
        for tag in range(1, len(self.got) + 2):  # among them one that the server never got, and cannot vouch for
            for what in ("ack", "all acked", "nack", "all refused"):
                yield Event(what, tag)
        for its, tag in enumerate(self.got, 1):
            if tag in self.looks and tag not in self.came_back and its not in self.done:
                yield Event("return", tag)
        if not self.again:
            for tag in self.to_send:
                yield Event("send refused", tag)

    def tell(self, event: Event) -> None:
        if event.what in ("publish", "mandatory"):
            self.published += 1
            tag, frames = self.published, b"%d" % self.published
            if event.what == "publish":
                assert self.books.count("message %d" % tag, frames) == tag
            else:
                self.looks[tag] = Sent("", "key", frames, b"")
                assert self.books.enter(frames, "message %d" % tag, self.looks[tag]) == (tag, frames)
            self.got.append(tag)
        elif event.what == "again":
            self.books.sent_again()
            self.got.append(self.again.pop(0))
        elif event.what == "lose":
            before = self.outstanding
            assert self.books.lose(self.report) == len(before)
            if self.report:
                self.refused.update(before)
            self.again, self.got, self.done = self.books.begin(), [], set()
            self.to_send = set()
            assert self.again == ([] if self.report else before)
        elif event.what == "send refused":
            self.books.send_refused(event.tag)
            self.to_send.remove(event.tag)
            self.got.append(event.tag)
        elif event.what == "return":
            self.came_back.add(event.tag)
            self.books.came_back(self.looks[event.tag])
        else:
            self.settle(event.tag, event.what.startswith("all"), event.what.endswith("acked") or event.what == "ack")

    def settle(self, tag: int, multiple: bool, ack: bool) -> None:
        self.books.settle(tag, multiple, ack)
        for its in range(1 if multiple else tag, tag + 1):
            if its in self.done or its > len(self.got):
                continue
            self.done.add(its)
            each = self.got[its - 1]
            if each in self.came_back:
                continue
            if not ack and self.is_kept(each):
                self.kept[each] = self.kept.get(each, 0) + 1
                self.to_send.add(each)
            else:
                (self.acked if ack else self.refused).add(each)

    def check(self) -> None:
        books = self.books
        held = {tag for tag in books.unconfirmed if tag not in self.came_back}
        assert held == set(self.outstanding)
        assert list(books.unconfirmed) == sorted(books.unconfirmed)
        assert all(msg == "message %d" % tag for tag, msg in books.unconfirmed.items())
        assert books.frames == {tag: b"%d" % tag for tag in books.unconfirmed}
        assert set(books.nacked) == self.refused
        assert set(books.returned) == self.came_back
        assert books.next_tag == self.published + 1
        assert set(books.kept) == self.to_send
        for callback, settled in books.reports:
            for tag, msg in settled:
                callback(tag, msg)
        books.reports.clear()
        assert {tag for tag, ack in self.settled if ack} == self.acked
        assert {tag for tag, ack in self.settled if not ack} == self.refused
        assert len(self.settled) == len(self.acked) + len(self.refused)  # each is told once


def stories(length: int, report: bool, keeps: int = 0) -> int:
    """Tell every story of so many events; how many there are."""
    told, todo = 0, [[Event("publish")], [Event("mandatory")]]
    while todo:
        events = todo.pop()
        story = Story(report, keeps)
        for event in events:
            story.tell(event)
        story.check()
        told += 1
        if len(events) < length:
            todo += [[*events, event] for event in story.possible()]
    return told


@pytest.fixture(params=[CarriedBooks.REMEMBERED, 0], ids=["remembered", "forgotten"])
def _remembered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused and sent again is remembered for long, or for as short a time as can be."""
    monkeypatch.setattr(CarriedBooks, "REMEMBERED", request.param)


@pytest.mark.parametrize("report", [False, True])
def test_every_order_of_events_with_a_loss_at_every_place(report: bool) -> None:
    assert stories(5, report) > 10000


@pytest.mark.usefixtures("_remembered")
def test_the_same_where_what_is_refused_is_sent_again() -> None:
    assert stories(5, False, keeps=1) > 10000


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("report", [False, True])
def test_every_order_of_more_events(report: bool) -> None:
    assert stories(6, report) > 100000


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("_remembered")
def test_every_order_of_more_events_where_what_is_refused_is_sent_again() -> None:
    assert stories(6, False, keeps=1) > 100000


@given(st.data())
def test_long_stories(data: st.DataObject) -> None:
    story = Story(data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(1, 40))):
        story.tell(data.draw(st.sampled_from(list(story.possible()))))
        story.check()


@pytest.mark.parametrize("remembered", [CarriedBooks.REMEMBERED, 3, 0])
@given(st.data())
def test_long_stories_where_what_is_refused_is_sent_again(remembered: int, data: st.DataObject) -> None:
    before, CarriedBooks.REMEMBERED = CarriedBooks.REMEMBERED, remembered
    try:
        story = Story(keeps=data.draw(st.integers(1, 3)))
        for _ in range(data.draw(st.integers(1, 60))):
            story.tell(data.draw(st.sampled_from(list(story.possible()))))
            story.check()
    finally:
        CarriedBooks.REMEMBERED = before


@pytest.mark.parametrize("remembered", [CarriedBooks.REMEMBERED, 3, 0])
def test_stories_of_few_losses(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that much is sent again in one session, and something else is outstanding all the while."""
    monkeypatch.setattr(CarriedBooks, "REMEMBERED", remembered)
    for seed in range(100):
        pick, story = random.Random(seed), Story(keeps=2)
        for _ in range(60):
            lost = pick.random() < 0.05
            story.tell(pick.choice([event for event in story.possible() if (event.what == "lose") == lost]))
            story.check()


def test_one_that_is_refused_all_the_time_takes_no_memory() -> None:
    """What was sent again is forgotten once it is settled."""
    books = CarriedBooks()
    books.keeper = Story(keeps=1)
    books.keeper.keeps = 10**9
    books.count("one", b"one")
    tracemalloc.start()
    try:
        for number in range(1, 20001):
            books.settle(number, False, False)
            books.send_refused(1)
            if number == 5000:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] < before + 50000
    finally:
        tracemalloc.stop()
    books.settle(20001, False, True)
    assert not books.unconfirmed


def test_what_could_not_be_sent_with_something_refused_behind_it() -> None:
    """It is counted already: it cannot be taken back."""
    books = CarriedBooks()
    books.keeper = Story(keeps=1)
    books.count("one", b"one")
    books.settle(1, False, False)
    books.count("two", b"two")
    books.send_refused(1)
    assert not books.take_back(2)
    books.count("three", b"three")
    assert books.take_back(3)
    books.settle(3, True, True)
    assert not books.unconfirmed


def test_messages_that_look_alike_are_all_sent_again() -> None:
    """One of two came back, and it is not known which: none is taken for safe, and none for returned."""
    books, look = CarriedBooks(), Sent("", "key", b"same", b"")
    books.enter(b"one", "one", look)
    books.enter(b"two", "two", look)
    books.came_back(look)
    assert books.lose(False) == 2
    assert books.begin() == [1, 2]
    for _ in "12":
        books.sent_again()
    books.settle(1, False, True)
    assert (list(books.unconfirmed), books.returned) == ([2], {})
    books.came_back(look)
    assert books.returned == {2: "two"}


def test_one_that_came_back_is_not_sent_again() -> None:
    books, look = CarriedBooks(), Sent("", "key", b"same", b"")
    books.enter(b"one", "one", look)
    books.count("two", b"two")
    books.came_back(look)
    assert list(books.unconfirmed) == [1, 2]  # the server is still to acknowledge it
    assert books.lose(False) == 1
    assert books.begin() == [2]
    assert books.collect() == ({}, {1: "one"}, {2: "two"})


def test_what_could_not_be_sent_is_taken_back() -> None:
    books = CarriedBooks()
    assert books.count("one", b"one") == 1
    assert books.take_back(1)
    assert (books.frames, books.next_tag) == ({}, 1)
    books.count("one", b"one")
    books.count("two", b"two")
    assert not books.take_back(1)
    assert list(books.frames) == [1, 2]


def test_the_window_holds() -> None:
    books = CarriedBooks()
    books.window = 1
    assert books.count("one", b"one") == 1
    assert books.count("two", b"two") == 0
    assert books.enter(b"two", "two", None) is None
    assert list(books.frames) == [1]


# --- deliveries


def later(base: int) -> LaterSession:
    """A session with an open channel 1, and a limit on headers."""
    receiver = Receiver(AMQP_0_9_1, Content, utc_time, header_max=4096)
    receiver.frame_max = 131072
    session = LaterSession(receiver, Sender(AMQP_0_9_1), base)
    port = session.allot(1, 1)
    assert port is not None
    port.happen("opened", session)
    assert port.state is OPEN
    return session


def delivery(tag: int) -> bytes:
    return method(1, "003C 003C 01 'c' %016X 00 00 01 'k'" % tag) + frame(2, 1, octets("003C 0000 %016X 0000" % 0))


def test_tags_of_deliveries_go_on() -> None:
    session = later(100)
    arrive(session, delivery(1), delivery(2))
    assert [item[1][1] for item in session.ports[1].inbox] == [101, 102]
    assert session.delivered() == 102


def test_tags_of_answers_to_get_go_on() -> None:
    session = later(100)
    body = frame(2, 1, octets("003C 0000 0000000000000000 0000"))
    arrive(session, method(1, "003C 0047 0000000000000003 01 01'e' 01'k' 00000007") + body)
    assert [item[1] for item in session.ports[1].inbox] == [(103, True, "e", "k", 7)]


def test_other_methods_are_left_alone() -> None:
    session = later(100)
    arrive(session, method(1, "0014 0014 01"))
    assert [item[1] for item in session.ports[1].inbox] == [(True,)]


def test_one_that_is_left_out_counts() -> None:
    session = later(100)
    long = octets("003C 0000 0000000000000000 2000") + b"\x00\x00\x17\x70" + b"\x01xS" + (5993).to_bytes(4, "big")
    arrive(
        session,
        delivery(1),
        method(1, "003C 003C 01 'c' 0000000000000002 00 00 01 'k'"),
        frame(2, 1, long + b"x" * 5993),
    )
    ((number, args, why),) = session.receiver.left_out
    assert (number, args[1], type(why)) == (1, 102, Oversize)
    assert session.delivered() == 102


@pytest.mark.parametrize(
    ("tag", "dead", "sent"),
    [(0, False, 0), (1, True, None), (100, True, None), (101, False, 1), (250, False, 150)],
)
@pytest.mark.parametrize("multiple", [False, True])
def test_acknowledgements(tag: int, dead: bool, sent: Any, multiple: bool) -> None:
    """Of the session that is gone none, of the present one by its own tags. 0 is all of the present one."""
    session = later(100)
    assert session.dead(tag) == dead
    if not dead:
        assert session.ack(1, tag, multiple) == method(1, "003C 0050 %016X %02X" % (sent, multiple))


def test_what_is_no_tag_is_no_dead_one() -> None:
    session = later(100)
    assert not session.dead("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="delivery_tag"):
        session.ack(1, "1", False)  # type: ignore[arg-type]


def test_books_of_a_channel() -> None:
    session = later(0)
    session.ports[1].begin_to_count(session)
    assert type(session.ports[1].books) is CarriedBooks


def test_the_first_session_translates_nothing() -> None:
    session = CarriedSession(Receiver(AMQP_0_9_1, Content, utc_time), Sender(AMQP_0_9_1))
    assert not session.dead(1)
    assert session.ack(1, 7, False) == method(1, "003C 0050 0000000000000007 00")
    assert session.delivered() == 0


# --- frames for another frame_max


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 10000, 131064, 300000])
@pytest.mark.parametrize("before", [4096, 131072])
@pytest.mark.parametrize("after", [4096, 10000, 131072])
def test_frames_are_cut_anew(size: int, before: int, after: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    first, other = Sender(AMQP_0_9_1), Sender(AMQP_0_9_1)
    first.frame_max, other.frame_max = before, after
    args, properties = (7, 0, "e", "k", False, False), {"type": "t"}
    found = cut_to(after, first.publish(args, properties, body[:size]))
    whole = found if isinstance(found, bytes) else b"".join(found)
    receiver = Receiver(AMQP_0_9_1, Content, utc_time)
    receiver.channels.add(7)
    receiver.frame_max = after
    wanted = other.publish(args, properties, body[:size])
    if before >= after:
        assert whole == (wanted if isinstance(wanted, bytes) else b"".join(wanted))
    events = receiver.receive(whole)
    assert receiver.error is None
    ((number, publish, _, content),) = events
    assert (number, publish.name, content.body, content.properties) == (7, "basic.publish", body[:size], {"type": "t"})
