"""Every event in every state of a channel and of a connection, and what comes of it.

The tables are walked, not read: what is compared is what a peer would see (octets that are owed to it), what a program
would see (may it publish, what is kept for it, what has come back, why is it over), and whether the number is free.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.protocol import states
from amqplib.protocol.endings import BY_PROGRAM, CONNECTION_PARTED, LOST, Ending
from amqplib.protocol.gates import SHUT
from amqplib.protocol.port import Port
from amqplib.protocol.session import Session
from amqplib.protocol.states import CHANNEL, CONNECTION, EVENTS

from .octets import ACK, CLOSE, CLOSE_OK, DELIVERY, FLOW, RETURN, arrive, decode, method, new_session, owed

GIVEN_UP = Ending(BY_PROGRAM, 0, "given up")
CUT = Ending(LOST, 0, "the cable was cut")

#: channel.close of a channel that is given up, connection.close-ok.
WE_CLOSE = method(1, "0014 0028 0000 08 'given up' 0000 0000")
CONNECTION_CLOSE_OK = method(0, "000A 0033")


class Seen(NamedTuple):
    """What can be seen of a channel after an event."""

    #: Frames that the peer is to get.
    owed: Tuple[bytes, ...] = ()
    #: May the program publish? What is kept for its wait(); messages that came back.
    publishes: bool = False
    kept: int = 0
    returned: int = 0
    #: Can the number be used for another channel?
    free: bool = False
    #: Why it is over.
    why: str = ""
    #: Has the program yet to be told?
    untold: bool = False


class Walk:
    """A channel on its way."""

    def __init__(self) -> None:
        self.session = new_session()
        self.session.control.happen("opened", self.session)
        port = self.session.allot(1, 1)
        assert port is not None
        self.port: Port = port
        self.returned: List[Any] = []
        port.keep_returned = self.keep_returned
        # what has been read from the network at once is decoded at once, before any of it is acted on
        self.frames = {
            name: decode(self.session, data)
            for name, data in (
                ("method", FLOW),
                ("delivery", DELIVERY),
                ("return", RETURN),
                ("confirm", ACK),
                ("close", CLOSE),
            )
        }
        self.frames["close-ok"] = decode(self.session, CLOSE_OK)

    def keep_returned(self, args: Tuple[Any, ...], content: Any) -> bool:
        self.returned.append(args)
        return False

    def happen(self, event: str) -> None:
        session = self.session
        if event in self.frames:
            session.take(self.frames[event])
        elif event == "lost":
            session.end(CUT)
        elif event == "parted":
            session.end(CONNECTION_PARTED, "parted")
        else:
            if event == "abandon" and self.port.ending is None:
                self.port.ending = GIVEN_UP
            self.port.happen(event, session)

    def to(self, *events: str) -> Walk:
        for event in events:
            self.happen(event)
        self.session.owed.clear()
        self.port.inbox.clear()
        return self

    def seen(self) -> Seen:
        port, ending = self.port, self.port.ending
        return Seen(
            owed=owed(self.session),
            publishes=port.gate is not SHUT,
            kept=len(port.inbox),
            returned=len(self.returned),
            free=1 not in self.session.ports and 1 not in self.session.receiver.channels,
            why=ending.words if ending else "",
            untold=port.state is states.ENDED,
        )


#: How each state is come to, and what is seen of it.
WAYS: Dict[str, Tuple[Tuple[str, ...], Seen]] = {
    "OPENING": ((), Seen(publishes=True)),
    "OPEN": (("opened",), Seen(publishes=True)),
    "CLOSING": (("opened", "closing"), Seen()),
    "RETIRED": (("opened", "abandon"), Seen(why="given up")),
    "ENDED": (("opened", "close"), Seen(free=True, why="by the server: 404 gone", untold=True)),
    "CLOSED": (("opened", "closing", "close-ok"), Seen(free=True, why="by this program")),
}

BY_SERVER = "by the server: 404 gone"
THE_END = "the connection was closed by this program"

#: What is seen of events that change anything to be seen; all others leave things as they are.
CHANGES: Dict[Tuple[str, str], Seen] = {
    ("OPENING", "method"): Seen(publishes=True, kept=1),
    ("OPENING", "close"): Seen(owed=(CLOSE_OK,), kept=1, free=True, why=BY_SERVER, untold=True),
    ("OPENING", "closing"): Seen(),
    ("OPENING", "abandon"): Seen(owed=(WE_CLOSE,), why="given up"),
    ("OPENING", "lost"): Seen(why="the cable was cut", untold=True),
    ("OPENING", "parted"): Seen(why=THE_END),
    ("OPEN", "method"): Seen(publishes=True, kept=1),
    ("OPENING", "delivery"): Seen(publishes=True, kept=1),
    ("OPEN", "delivery"): Seen(publishes=True, kept=1),
    ("OPEN", "return"): Seen(publishes=True, returned=1),
    ("OPEN", "confirm"): Seen(publishes=True, kept=1),  # outside of confirm mode; wait() says that it is not for us
    ("OPEN", "close"): Seen(owed=(CLOSE_OK,), kept=1, free=True, why=BY_SERVER, untold=True),
    ("OPEN", "closing"): Seen(),
    ("OPEN", "abandon"): Seen(owed=(WE_CLOSE,), why="given up"),
    ("OPEN", "lost"): Seen(why="the cable was cut", untold=True),
    ("OPEN", "parted"): Seen(why=THE_END),
    ("CLOSING", "method"): Seen(kept=1),
    ("CLOSING", "return"): Seen(returned=1),
    ("CLOSING", "confirm"): Seen(kept=1),
    ("CLOSING", "close"): Seen(owed=(CLOSE_OK,), why=BY_SERVER),
    ("CLOSING", "close-ok"): Seen(free=True, why="by this program"),
    ("CLOSING", "unsent"): Seen(publishes=True),
    ("CLOSING", "abandon"): Seen(why="given up"),
    ("CLOSING", "lost"): Seen(why="the cable was cut", untold=True),
    ("CLOSING", "parted"): Seen(why=THE_END),
    ("RETIRED", "close"): Seen(owed=(CLOSE_OK,), why="given up"),
    ("RETIRED", "close-ok"): Seen(free=True, why="given up"),
    ("ENDED", "told"): Seen(free=True, why=BY_SERVER),
}

EACH = [pytest.param(state, event, id="%s-%s" % (state, event)) for state in WAYS for event in EVENTS]


def test_every_state_has_a_way_and_every_change_a_state() -> None:
    assert {state.name for state in CHANNEL} == set(WAYS) == {state.name for state in CONNECTION}
    assert {state for state, _ in CHANGES} <= set(WAYS)
    assert {event for _, event in CHANGES} <= set(EVENTS)


@pytest.mark.parametrize("state", WAYS)
def test_what_is_seen_of_a_state(state: str) -> None:
    way, before = WAYS[state]
    walk = Walk().to(*way)
    assert repr(walk.port.state) == state
    assert walk.seen() == before


@pytest.mark.parametrize(("state", "event"), EACH)
def test_every_event_in_every_state_of_a_channel(state: str, event: str) -> None:
    way, before = WAYS[state]
    walk = Walk().to(*way)
    walk.happen(event)
    assert walk.seen() == CHANGES.get((state, event), before)


@pytest.mark.parametrize("way", [("opened", "lost"), ("opened", "closing", "lost")])
@pytest.mark.parametrize("event", EVENTS)
def test_after_a_loss_nothing_changes_but_that_the_program_is_told(way: Tuple[str, ...], event: str) -> None:
    walk = Walk().to(*way)
    before = walk.seen()
    walk.happen(event)
    assert walk.seen() == before._replace(untold=event != "told")


@pytest.mark.parametrize(
    ("way", "kept"),
    [
        ((), False),
        (("opened",), True),
        (("opened", "closing"), True),
        (("opened", "closing", "close"), False),
        (("opened", "abandon"), False),
        (("opened", "close"), False),
        (("opened", "lost"), False),
        (("opened", "closing", "close-ok"), False),
    ],
)
def test_confirms_count_until_the_channel_is_over(way: Tuple[str, ...], kept: bool) -> None:
    walk = Walk()
    walk.port.begin_to_count(walk.session)
    books = walk.port.books
    assert books is not None
    assert books.enter(b"", "message", None) == (1, b"")
    walk.to(*way).happen("confirm")
    assert (books.unconfirmed == {}) is kept
    assert not walk.port.inbox, "there is nothing for the program to do"


# --- a connection


class SeenOfConnection(NamedTuple):
    """What can be seen of a connection after an event, and of the channel that it has."""

    owed: Tuple[bytes, ...] = ()
    publishes: bool = True
    why: str = ""
    blocked: bool = False
    #: Why the channel is over, and has the program yet to be told of it?
    channels: str = ""
    untold: bool = False
    open: bool = True


#: connection.blocked, close, close-ok.
FROM_PEER = {
    "method": method(0, "000A 003C 06 'memory'"),
    "close": method(0, "000A 0032 0140 03 'bye' 0000 0000"),
    "close-ok": method(0, "000A 0033"),
}


def connection_event(session: Session, event: str) -> None:
    if event in FROM_PEER:
        arrive(session, FROM_PEER[event])
    elif event == "lost":
        session.end(CUT)
    elif event == "parted":
        session.end(CONNECTION_PARTED, "parted")
    else:
        session.control.happen(event, session)


def connection_at(*events: str) -> Tuple[Session, Port]:
    session = new_session()
    port = session.allot(1, 1)
    assert port is not None
    port.happen("opened", session)
    for event in events:
        connection_event(session, event)
    session.owed.clear()
    return session, port


def seen_of_connection(session: Session, port: Port) -> SeenOfConnection:
    return SeenOfConnection(
        owed=owed(session),
        publishes=port.gate is not SHUT,
        why=session.ending.words if session.ending else "",
        blocked=bool(session.news),
        channels=port.ending.words if port.ending else "",
        untold=port.state is states.ENDED,
        open=session.state is states.OPEN,
    )


BYE = "by the server: 320 bye"

CONNECTION_WAYS: Dict[str, Tuple[Tuple[str, ...], SeenOfConnection]] = {
    "OPENING": ((), SeenOfConnection(open=False)),
    "OPEN": (("opened",), SeenOfConnection()),
    "CLOSING": (("opened", "closing"), SeenOfConnection(publishes=False, open=False)),
    "ENDED": (
        ("opened", "close"),
        SeenOfConnection(publishes=False, why=BYE, channels=BYE, untold=True, open=False),
    ),
    "CLOSED": (
        ("opened", "closing", "close-ok"),
        SeenOfConnection(publishes=False, why=THE_END, channels=THE_END, open=False),
    ),
}

ENDED_BY_PEER = SeenOfConnection((CONNECTION_CLOSE_OK,), False, BYE, False, BYE, True, False)
ENDED_BY_LOSS = SeenOfConnection((), False, CUT.words, False, CUT.words, True, False)
PARTED_WITH = SeenOfConnection((), False, THE_END, False, THE_END, False, False)

CONNECTION_CHANGES: Dict[Tuple[str, str], SeenOfConnection] = {
    ("OPENING", "method"): SeenOfConnection(blocked=True, open=False),
    ("OPENING", "opened"): SeenOfConnection(),
    ("OPENING", "close"): ENDED_BY_PEER,
    ("OPENING", "lost"): ENDED_BY_LOSS,
    ("OPENING", "parted"): PARTED_WITH,
    ("OPEN", "method"): SeenOfConnection(blocked=True),
    ("OPEN", "closing"): SeenOfConnection(publishes=False, open=False),
    ("OPEN", "close"): ENDED_BY_PEER,
    ("OPEN", "lost"): ENDED_BY_LOSS,
    ("OPEN", "parted"): PARTED_WITH,
    ("CLOSING", "method"): SeenOfConnection(publishes=False, blocked=True, open=False),
    ("CLOSING", "close"): ENDED_BY_PEER,
    ("CLOSING", "close-ok"): PARTED_WITH,
    ("CLOSING", "lost"): ENDED_BY_LOSS,
    ("CLOSING", "parted"): PARTED_WITH,
}

EACH_OF_CONNECTION = [
    pytest.param(state, event, id="%s-%s" % (state, event)) for state in CONNECTION_WAYS for event in EVENTS
]


@pytest.mark.parametrize("state", CONNECTION_WAYS)
def test_what_is_seen_of_a_state_of_a_connection(state: str) -> None:
    way, before = CONNECTION_WAYS[state]
    session, port = connection_at(*way)
    assert repr(session.state) == state
    assert seen_of_connection(session, port) == before


@pytest.mark.parametrize(("state", "event"), EACH_OF_CONNECTION)
def test_every_event_in_every_state_of_a_connection(state: str, event: str) -> None:
    way, before = CONNECTION_WAYS[state]
    session, port = connection_at(*way)
    connection_event(session, event)
    assert seen_of_connection(session, port) == CONNECTION_CHANGES.get((state, event), before)


def test_a_connection_is_never_retired() -> None:
    events = [then for table in CONNECTION.values() for then, _ in table.values() if then is states.RETIRED]
    assert events == [states.RETIRED] * len(EVENTS)  # nothing happens there
    assert all(then is states.RETIRED for then, _ in CONNECTION[states.RETIRED].values())


# --- any life


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_any_life_of_a_channel(events: List[str]) -> None:
    """Whatever happens, in whatever order: the rules that hold for all lives."""
    walk = Walk()
    port, over, closes = walk.port, False, 0
    for event in events:
        before = len(walk.session.owed)
        walk.happen(event)
        frames = list(walk.session.owed)[before:]
        assert len(frames) <= 1
        closes += frames.count(WE_CLOSE)
        assert not frames or event in ("close", "abandon")
        over = over or port.ending is not None
        if over:
            assert port.gate is SHUT, "nothing is published on what is over"
            assert port.ending is not None, "why it is over is not forgotten"
        if port.state is states.CLOSED or port.state is states.ENDED:
            assert port.ending is not None, "what is over says why"
    assert closes <= 1


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("who", ["nobody", "a wait()", "a drain_events()"])
def test_a_delivery_behind_our_close_is_for_those_who_wait(state: str, who: str) -> None:
    walk = Walk().to(*WAYS[state][0])
    walk.port.taking = int(who == "a wait()")
    walk.session.draining = int(who == "a drain_events()")
    walk.happen("delivery")
    assert len(walk.port.inbox) == (state in ("OPENING", "OPEN") or (state == "CLOSING" and who != "nobody"))
