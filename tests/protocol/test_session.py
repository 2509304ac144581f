"""A session: channel numbers, what arrives for whom, blocks, and the end."""

from __future__ import annotations

from typing import List

import pytest

from amqplib.protocol.endings import BY_PEER, BY_PROGRAM, CONNECTION_PARTED, LOST, Ending
from amqplib.protocol.gates import BLOCKED, SHUT
from amqplib.protocol.port import Call, Port
from amqplib.protocol.session import Session
from amqplib.protocol.states import CLOSED, CLOSING, ENDED, OPEN

from .octets import CLOSE, CLOSE_OK, DELIVERY, FLOW, arrive, decode, method, new_session, owed

BLOCK = method(0, "000A 003C 06 'memory'")
UNBLOCK = method(0, "000A 003D")
CONNECTION_CLOSE = method(0, "000A 0032 0140 03 'bye' 0000 0000")
CONNECTION_CLOSE_OK = method(0, "000A 0033")


@pytest.fixture
def session() -> Session:
    return new_session()


def opened(session: Session, number: int) -> Port:
    port = session.allot(number, 10)
    assert port is not None
    port.happen("opened", session)
    return port


# --- numbers


def test_the_lowest_number_that_is_free(session: Session) -> None:
    assert [port and port.number for port in (session.allot(None, 3) for _ in range(4))] == [1, 2, 3, None]
    session.free(session.ports[2])
    again = session.allot(None, 3)
    assert again is not None
    assert again.number == 2


def test_a_number_that_is_asked_for(session: Session) -> None:
    port = session.allot(7, 10)
    assert port is not None
    assert port.number == 7
    assert session.allot(7, 10) is None
    assert session.receiver.channels == {0, 7}
    session.free(port)
    assert session.receiver.channels == {0}


def test_a_number_is_not_taken_from_who_has_it_now(session: Session) -> None:
    old = opened(session, 1)
    session.free(old)
    new = opened(session, 1)
    session.free(old)
    assert session.ports[1] is new


def test_the_number_of_a_channel_that_was_given_up_is_taken_until_the_peer_agrees(session: Session) -> None:
    opened(session, 1).happen("abandon", session)
    assert session.allot(1, 1) is None
    arrive(session, FLOW, CLOSE_OK)
    assert session.allot(1, 1) is not None


def test_a_new_channel_of_a_connection_that_is_being_closed(session: Session) -> None:
    """Nothing follows the connection's close."""
    for event in ("opened", "closing"):
        session.control.happen(event, session)
    port = session.allot(None, 10)
    assert port is not None
    assert (port.state, port.gate) == (CLOSING, SHUT)


def test_a_new_channel_of_a_blocked_connection(session: Session) -> None:
    session.block("memory")
    assert opened(session, 1).gate is BLOCKED


# --- in


def test_ports_take_turns(session: Session) -> None:
    ports = [opened(session, number) for number in (1, 2)]
    second = DELIVERY.replace(b"\x01\x00\x01", b"\x01\x00\x02", 1).replace(b"\x02\x00\x01", b"\x02\x00\x02", 1)
    arrive(session, DELIVERY, DELIVERY, second, FLOW)
    order = []
    while True:
        found = session.next_ready()
        if found is None:
            break
        order.append((found[0].number, found[1][0]))
    assert order == [(1, (60, 60)), (2, (60, 60)), (1, (60, 60)), (1, (20, 20))]
    assert not any(port.inbox for port in ports)


def test_what_was_handled_already_is_passed_over(session: Session) -> None:
    port = opened(session, 1)
    arrive(session, DELIVERY)
    port.inbox.clear()
    assert session.next_ready() is None


def test_what_comes_behind_a_close_in_the_same_octets_is_for_nobody(session: Session) -> None:
    port = opened(session, 1)
    events = decode(session, DELIVERY, CLOSE, DELIVERY, FLOW)
    session.take(events)
    assert [item[0] for item in port.inbox] == [(60, 60), (20, 40)], "the close stands behind what came before it"
    assert owed(session) == (CLOSE_OK,)


def test_what_another_channel_gets_behind_that_is_its_own(session: Session) -> None:
    opened(session, 1)
    other = opened(session, 2)
    session.take(decode(session, CLOSE, FLOW, method(2, "0014 0014 01")))
    assert [item[0] for item in other.inbox] == [(20, 20)]


def test_how_a_message_looks_when_it_comes_back(session: Session) -> None:
    one = session.look_of("e", "k", b"body", {"application_headers": {"b": 1, "a": 2}, "priority": 1})
    other = session.look_of("e", "k", b"body", {"priority": 1, "application_headers": {"a": 2, "b": 1}})
    assert one == other
    assert one != session.look_of("e", "k", b"body", {"priority": 1})
    assert session.look_of("e", "k", b"", {})[:3] == ("e", "k", b"")


# --- the connection's own methods


def test_blocked_and_unblocked(session: Session) -> None:
    port = opened(session, 1)
    session.control.happen("opened", session)
    arrive(session, BLOCK)
    assert (session.blocked, port.gate) == ("memory", BLOCKED)
    arrive(session, UNBLOCK)
    assert (session.blocked, port.gate) == (None, None)
    assert list(session.news) == ["memory", None]
    assert not session.control.inbox, "nobody waits for it"


def test_they_are_kept_for_who_waits_for_them(session: Session) -> None:
    session.control.waiting = 1
    arrive(session, BLOCK)
    session.control.waiting = 0
    session.raw = lambda args: args
    arrive(session, UNBLOCK)
    assert [item[1] for item in session.control.inbox] == [("memory",), ()]


def test_a_method_for_the_connection_that_nobody_waits_for(session: Session) -> None:
    arrive(session, method(0, "000A 001E 000A 00001000 003C"))
    assert not session.control.inbox
    assert not session.news


def test_a_reply_on_channel_0(session: Session) -> None:
    call = session.control.call = Call(((10, 60), (10, 30)), 1)
    arrive(session, method(0, "000A 001E 000A 00001000 003C"))
    assert call.reply == ((10, 30), (10, 4096, 60), None)
    assert session.control.call is None


def test_the_close_ok_that_is_waited_for(session: Session) -> None:
    session.control.happen("opened", session)
    port = opened(session, 1)
    sig = session.dialect["connection.close_ok"].sig
    call = session.control.call = Call((sig,), 1)
    session.control.happen("closing", session)
    assert port.gate is SHUT
    arrive(session, CONNECTION_CLOSE_OK)
    assert call.reply == (sig, (), None)
    assert session.ending is CONNECTION_PARTED
    assert port.ending is CONNECTION_PARTED
    assert (session.state, port.state) == (CLOSED, CLOSED)


def test_both_close_at_once(session: Session) -> None:
    session.control.happen("opened", session)
    call = session.control.call = Call((session.dialect["connection.close_ok"].sig,), 1)
    session.control.happen("closing", session)
    arrive(session, CONNECTION_CLOSE)
    assert owed(session) == (CONNECTION_CLOSE_OK,)
    assert call.reply is None
    ending = session.ending
    assert ending is not None
    assert (ending.by, ending.reply_code, ending.reply_text, ending.method_sig) == (BY_PEER, 320, "bye", (0, 0))
    assert session.state is ENDED


# --- the end


def test_the_first_reason_stands(session: Session) -> None:
    session.control.happen("opened", session)
    port = opened(session, 1)
    assert session.state is OPEN
    first, second = Ending(LOST, 0, "first"), Ending(LOST, 0, "second")
    session.end(first)
    session.end(second)
    assert session.ending is first
    assert port.ending is first


def test_a_channel_that_was_over_before_keeps_its_own_reason(session: Session) -> None:
    given_up = Ending(BY_PROGRAM, 0, "given up")
    port = opened(session, 1)
    port.ending = given_up
    port.happen("abandon", session)
    session.end(Ending(LOST, 0, "cut"))
    assert port.ending is given_up
    assert port.state is CLOSED


def test_a_close_ok_after_the_connection_was_given_up(session: Session) -> None:
    ending = Ending(LOST, 0, "cut")
    session.control.happen("opened", session)
    session.control.happen("closing", session)
    session.control.ending = ending
    arrive(session, CONNECTION_CLOSE_OK)
    assert session.ending is ending


def test_all_channels(session: Session) -> None:
    ports: List[Port] = [opened(session, number) for number in (3, 1)]
    assert session.channels() == ports
    session.end(CONNECTION_PARTED, "parted")
    assert [port.gate for port in ports] == [SHUT, SHUT]


def test_answers_to_a_peer_that_does_not_read_them_are_bounded(session: Session) -> None:
    for _ in range(20_000):
        session.offer(b"answer")
    assert len(session.owed) == 10_000
    session.owe(b"close")  # what it must get comes all the same
    assert session.owed[-1] == b"close"
