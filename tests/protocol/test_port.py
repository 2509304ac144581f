"""What a port keeps, whom it gives what arrives, and its gate."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Collection, Deque, List, Optional, Tuple

import pytest

from amqplib.protocol.endings import LOST, Ending
from amqplib.protocol.gates import BLOCKED, SHUT, Batch
from amqplib.protocol.port import ACK as ACK_SIG
from amqplib.protocol.port import DELIVER, Call, Item, Port
from amqplib.protocol.port import RETURN as RETURN_SIG
from amqplib.protocol.session import Session

from .octets import ACK, CLOSE, CLOSE_OK, DELIVERY, FLOW, RETURN, arrive, method, new_session, owed

FLOW_SIG, CLOSE_OK_SIG = (20, 20), (20, 41)


@pytest.fixture
def session() -> Session:
    return new_session()


@pytest.fixture
def port(session: Session) -> Port:
    found = session.allot(1, 1)
    assert found is not None
    found.happen("opened", session)
    return found


def signatures(port: Port) -> List[Tuple[int, int]]:
    return [item[0] for item in port.inbox]


def calls(port: Port, expected: Tuple[int, int], answered: Optional[Callable[[Tuple[Any, ...]], None]] = None) -> Call:
    """A call that waits for a reply."""
    call = port.call = Call((expected,), 1, answered)
    return call


# --- replies


def test_a_reply_goes_to_the_call_and_nowhere_else(session: Session, port: Port) -> None:
    seen: List[Tuple[Any, ...]] = []
    call = calls(port, FLOW_SIG, seen.append)
    arrive(session, ACK, FLOW, FLOW)
    assert call.reply == (FLOW_SIG, (True,), None)
    assert seen == [(True,)]
    assert port.call is None, "the next call may go"
    assert signatures(port) == [ACK_SIG, FLOW_SIG], "what came before and behind it is for wait()"


def test_a_call_takes_one_reply(session: Session, port: Port) -> None:
    call = calls(port, FLOW_SIG)
    call.reply = (FLOW_SIG, (), None)
    arrive(session, FLOW)
    assert signatures(port) == [FLOW_SIG]


def test_the_close_ok_that_is_waited_for_ends_the_channel(session: Session, port: Port) -> None:
    call = calls(port, CLOSE_OK_SIG)
    port.happen("closing", session)
    arrive(session, CLOSE_OK)
    assert call.reply == (CLOSE_OK_SIG, (), None)
    assert port.ending is not None
    assert session.allot(1, 1) is not None


def test_who_waits_for_a_reply_on_a_channel_that_the_server_closes_gets_none(session: Session, port: Port) -> None:
    call = calls(port, FLOW_SIG)
    arrive(session, CLOSE)
    assert call.reply is None
    assert port.call is None


def test_a_late_reply_does_not_answer_the_call_of_a_channel_that_was_given_up(session: Session, port: Port) -> None:
    port.ending = Ending(LOST, 0, "given up")
    port.happen("abandon", session)
    call = calls(port, FLOW_SIG)
    arrive(session, FLOW)
    assert call.reply is None
    assert not port.inbox


@pytest.mark.parametrize("told", [False, True])
def test_a_reply_that_nobody_waits_for_any_more_is_no_other_calls(session: Session, port: Port, told: bool) -> None:
    """The channel goes on, and what is asked next has the next reply."""
    seen: List[Tuple[Any, ...]] = []
    port.forgo(calls(port, FLOW_SIG, seen.append if told else None))
    assert seen == ([()] if told else [])
    assert port.call is None, "the next call may go"
    call = calls(port, FLOW_SIG)
    answered = []
    for octets in (ACK + FLOW, FLOW):
        arrive(session, octets)
        answered.append(call.reply)
    assert answered == [None, (FLOW_SIG, (True,), None)]
    assert signatures(port) == [ACK_SIG]


def test_a_call_that_has_its_reply_waits_for_no_other(session: Session, port: Port) -> None:
    seen: List[Tuple[Any, ...]] = []
    call = calls(port, FLOW_SIG, seen.append)
    arrive(session, FLOW)
    port.forgo(call)
    assert seen == [(True,)]
    arrive(session, FLOW)
    assert signatures(port) == [FLOW_SIG]


def test_a_reason_is_cut_to_what_a_close_has_room_for(session: Session, port: Port) -> None:
    port.ending = Ending(LOST, 0, "x" * 300)
    port.happen("abandon", session)
    assert owed(session) == (method(1, "0014 0028 0000 78 '%s' 0000 0000" % ("x" * 120)),)


def test_a_batch_that_will_never_leave_is_dropped(session: Session, port: Port) -> None:
    batch = port.batch = Batch(None, 1)
    batch.add(b"frame")
    port.happen("abandon", session)
    assert batch.take() == b""
    assert owed(session) == (method(1, "0014 0028 0000 00 0000 0000"),)


# --- returned messages


def test_a_returned_message_that_nobody_waits_for_is_not_counted(session: Session, port: Port) -> None:
    arrive(session, RETURN)
    assert not port.inbox
    assert not port.next_noted()


@pytest.mark.parametrize("who", ["a wait()", "a look in passing"])
def test_a_returned_message_counts_as_one_method(session: Session, port: Port, who: str) -> None:
    if who == "a wait()":
        port.waiting = 1
    else:
        session.in_passing = True
    arrive(session, RETURN, RETURN)
    assert not port.inbox
    assert [port.next_noted() for _ in range(3)] == [True, True, False]


def test_a_look_in_passing_notes_nothing_in_confirm_mode_or_during_a_call(session: Session, port: Port) -> None:
    session.in_passing = True
    port.call = Call((FLOW_SIG,), 1)
    arrive(session, RETURN)
    port.call = None
    port.begin_to_count(session)
    arrive(session, RETURN)
    assert not port.noted


@pytest.mark.parametrize("why", ["a function is to be called", "a drain_events()"])
def test_a_returned_message_that_is_to_be_handled(session: Session, port: Port, why: str) -> None:
    session.draining = int(why == "a drain_events()")
    port.keep_returned = lambda args, content: not session.draining
    arrive(session, RETURN)
    ((sig, args, content),) = port.inbox
    assert (sig, args, content.body) == (RETURN_SIG, (312, "NO_ROUTE", "", "k"), b"")
    assert session.next_ready() is not None


def test_a_program_that_reads_by_itself_has_its_own_arguments(session: Session, port: Port) -> None:
    session.raw = lambda args: ("its own", *args[2:])
    arrive(session, RETURN)
    assert port.inbox[0][:2] == (RETURN_SIG, ("its own", "", "k"))


def test_a_returned_message_is_entered_in_the_books(session: Session, port: Port) -> None:
    port.begin_to_count(session)
    assert port.books is not None
    port.books.enter(b"", "message", session.look_of("", "k", b"", {}))
    arrive(session, RETURN)
    assert port.books.returned == {1: "message"}


# --- confirms


def counting(session: Session, port: Port) -> Any:
    port.begin_to_count(session)
    assert port.books is not None
    port.books.enter(b"", "message", None)
    return port.books


@pytest.mark.parametrize("who", ["wait", "drain", "raw"])
def test_a_confirm_is_the_method_of_a_wait_that_has_no_other(session: Session, port: Port, who: str) -> None:
    counting(session, port)
    port.waiting, session.draining = int(who == "wait"), int(who == "drain")
    session.raw = (lambda args: args) if who == "raw" else None
    arrive(session, ACK, ACK)
    assert signatures(port) == [ACK_SIG]


def test_a_confirm_is_no_method_where_there_is_another(session: Session, port: Port) -> None:
    counting(session, port)
    port.waiting = 1
    arrive(session, FLOW, ACK)
    assert signatures(port) == [FLOW_SIG]


def test_one_reminder_stands_for_all_that_is_to_be_told(session: Session, port: Port) -> None:
    books = counting(session, port)
    books.enter(b"", "another", None)
    told: List[int] = []
    books.on_ack = lambda tag, msg: told.append(tag)
    arrive(session, ACK, method(1, "003C 0050 0000000000000002 00"))
    assert signatures(port) == [ACK_SIG]
    assert port.reminder is port.inbox[0]
    assert [list(settled) for _, settled in books.reports] == [[(1, "message")], [(2, "another")]]


def test_a_refusal(session: Session, port: Port) -> None:
    books = counting(session, port)
    arrive(session, method(1, "003C 0078 0000000000000001 00"))
    assert books.nacked == {1: "message"}


# --- the gate


def test_what_the_gate_is(session: Session, port: Any) -> None:
    assert not port.gate
    batch: Any = Batch(None, 1)
    port.batch = batch
    port.regate(session)
    assert port.gate is batch
    port.begin_to_count(session)
    assert port.gate is batch
    assert batch.books is port.books
    port.begin_to_count(session)  # a second time it changes nothing
    assert batch.books is port.books
    session.block("memory")
    assert port.gate is BLOCKED
    session.unblock()
    port.batch = None
    port.regate(session)
    assert port.gate is port.books
    session.block("memory")
    port.happen("closing", session)
    assert port.gate is SHUT


@pytest.mark.parametrize("batch", [None, Batch(None, 1)], ids=["plain", "in a batch"])
def test_counting_that_was_not_to_be(session: Session, port: Port, batch: Any) -> None:
    port.batch = batch
    port.begin_to_count(session)
    port.count_no_more(session)
    assert port.books is None
    assert port.gate is batch
    if isinstance(batch, Batch):
        assert batch.books is None


# --- what wait() takes


def items(*sigs: Tuple[int, int]) -> List[Item]:
    return [(sig, (), None) for sig in sigs]


def test_the_oldest_among_those_allowed(session: Session, port: Port) -> None:
    assert port.next() is None
    arrive(session, FLOW, DELIVERY, FLOW)
    found = port.next((DELIVER,))
    assert found is not None
    assert found[0] is DELIVER
    assert port.next((DELIVER,)) is None
    assert port.next() == (FLOW_SIG, (True,), None)
    assert port.next([FLOW_SIG]) == (FLOW_SIG, (True,), None)
    assert port.next() is None


class _Snatched(Deque[Item]):
    """An inbox from which another thread, which needs no lock for it, takes at the wrong moment."""

    def popleft(self) -> Item:
        self.clear()
        return super().popleft()


def test_another_thread_takes_the_last(port: Port) -> None:
    port.inbox = _Snatched(items(FLOW_SIG))
    assert port.next() is None


class _Snatching(Collection[Tuple[int, int]]):
    """Methods that are allowed; the first time it is asked, the inbox loses its oldest."""

    def __init__(self, port: Port, *allowed: Tuple[int, int]) -> None:
        self.port = port
        self.allowed = allowed
        self.asked = 0

    def __contains__(self, sig: object) -> bool:
        self.asked += 1
        if self.asked == 1:
            self.port.inbox.popleft()
        return sig in self.allowed

    def __iter__(self) -> Any:
        return iter(self.allowed)

    def __len__(self) -> int:
        return len(self.allowed)


@pytest.mark.parametrize(
    ("first", "found"),
    [(ACK_SIG, FLOW_SIG), (FLOW_SIG, None)],
    ids=["while it is looked through", "just that one"],
)
def test_another_thread_takes_one_while_the_inbox_is_looked_through(port: Port, first: Any, found: Any) -> None:
    port.inbox = deque(items(first, FLOW_SIG) if found else items(first))
    item = port.next(_Snatching(port, FLOW_SIG))
    assert (item and item[0]) == found
    assert not port.inbox


# --- the end


def test_what_belongs_to_the_program_is_let_go_of(session: Session, port: Any) -> None:
    port.keep_returned = lambda args, content: True
    port.let_go()
    books = counting(session, port)
    books.on_ack = books.on_nack = print
    arrive(session, FLOW)
    port.let_go()
    assert port.keep_returned is None
    assert not port.inbox
    assert [books.on_ack, books.on_nack] == [None, None]


def test_a_call_that_the_close_of_this_side_ends(session: Session, port: Port) -> None:
    port.happen("closing", session)
    arrive(session, CLOSE_OK)
    assert not owed(session)
    assert port.ending is not None
    assert port.ending.words == "by this program"
