"""The states of a connection and of a channel, and what each event does in each of them.

This is theory first (0-9-1, sections 2.2.4 and 2.2.5; RabbitMQ's reader process for what happens when closes cross),
and then one table for each, which `port` and `session` act by, the tests walk, and docs/design.txt shows.

A channel's life. It is OPENING until its open-ok, then OPEN. The program's close() makes it CLOSING: nothing more is
sent, while confirms, returned messages and, for those who wait, deliveries still count, until the close-ok. A call that
gives up (a timeout, Ctrl-C) must not have its late reply answer another call, so it retires the channel: it is over for
the program at once, and its number stays taken until the peer has agreed (RETIRED). What the peer ends is ENDED until
the program has been told why, which happens once, and then CLOSED.

A connection lives likewise; it is never retired: what gives up on channel 0 ends it.
"""

from __future__ import annotations

from typing import Dict, Tuple

__all__ = [
    "CHANNEL",
    "CHANNEL_ROWS",
    "CLOSED",
    "CLOSING",
    "CONNECTION",
    "CONNECTION_ROWS",
    "ENDED",
    "EVENTS",
    "OPEN",
    "OPENING",
    "OVER",
    "RETIRED",
    "Event",
    "State",
    "Table",
]


class State:
    """One state; there is one object for each, so `is` compares."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


#: Before its open-ok.
OPENING = State("OPENING")
OPEN = State("OPEN")
#: Our close has been sent, and the program waits for the answer.
CLOSING = State("CLOSING")
#: Over for the program; the peer has yet to answer our close.
RETIRED = State("RETIRED")
#: Over on the wire; the program has yet to be told.
ENDED = State("ENDED")
CLOSED = State("CLOSED")

#: States in which nothing is sent any more but what is owed.
OVER = (RETIRED, ENDED, CLOSED)

#: What happens. From the peer: `method` (replies and whatever has no line of its own), `delivery`, `return`, `confirm`
#: (basic.ack, basic.nack), `close`, `close-ok`. From this side: `opened`, `closing` (a close was sent), `unsent` (it
#: could not be, after all), `abandon` (nobody waits for a reply any more), `told` (the program knows why it is over).
#: `lost`: the network connection is over for a reason that the program has to be told; `parted`: the program has
#: closed it.
Event = str

EVENTS: Tuple[Event, ...] = (
    "method",
    "delivery",
    "return",
    "confirm",
    "close",
    "close-ok",
    "opened",
    "closing",
    "unsent",
    "abandon",
    "told",
    "lost",
    "parted",
)

#: state -> event -> (next state, what is done). The deeds are methods of Port (a channel) and Control (a connection).
Table = Dict[State, Dict[Event, Tuple[State, str]]]

#: A row is: state, event -> next state, what is done. An event that has no row in a state changes nothing there.
CHANNEL_ROWS = """
OPENING  method   -> OPENING  keep
OPENING  delivery -> OPENING  keep
OPENING  opened   -> OPEN     regate
OPENING  close    -> ENDED    agree
OPENING  closing  -> CLOSING  regate
OPENING  abandon  -> RETIRED  ask_to_close
OPENING  lost     -> ENDED    regate
OPENING  parted   -> CLOSED   regate

OPEN     method   -> OPEN     keep
OPEN     delivery -> OPEN     deliver
OPEN     return   -> OPEN     came_back
OPEN     confirm  -> OPEN     settle
OPEN     close    -> ENDED    agree
OPEN     closing  -> CLOSING  regate
OPEN     abandon  -> RETIRED  ask_to_close
OPEN     lost     -> ENDED    regate
OPEN     parted   -> CLOSED   regate

CLOSING  method   -> CLOSING  keep
CLOSING  delivery -> CLOSING  deliver_behind
CLOSING  return   -> CLOSING  came_back
CLOSING  confirm  -> CLOSING  settle
CLOSING  close    -> RETIRED  agree_crossing
CLOSING  close-ok -> CLOSED   part
CLOSING  unsent   -> OPEN     regate
CLOSING  abandon  -> RETIRED  regate
CLOSING  lost     -> ENDED    regate
CLOSING  parted   -> CLOSED   regate

RETIRED  close    -> RETIRED  agree_crossing
RETIRED  close-ok -> CLOSED   part
RETIRED  lost     -> CLOSED   regate
RETIRED  parted   -> CLOSED   regate

ENDED    told     -> CLOSED   regate
ENDED    parted   -> CLOSED   regate
"""

CONNECTION_ROWS = """
OPENING  method   -> OPENING  keep
OPENING  opened   -> OPEN     drop
OPENING  close    -> ENDED    agree
OPENING  lost     -> ENDED    end_channels
OPENING  parted   -> CLOSED   end_channels

OPEN     method   -> OPEN     keep
OPEN     close    -> ENDED    agree
OPEN     closing  -> CLOSING  close_channels
OPEN     lost     -> ENDED    end_channels
OPEN     parted   -> CLOSED   end_channels

CLOSING  method   -> CLOSING  keep
CLOSING  close    -> ENDED    agree
CLOSING  close-ok -> CLOSED   part
CLOSING  lost     -> ENDED    end_channels
CLOSING  parted   -> CLOSED   end_channels

ENDED    parted   -> CLOSED   drop
"""


def _table(rows: str) -> Table:
    states = {state.name: state for state in (OPENING, OPEN, CLOSING, RETIRED, ENDED, CLOSED)}
    table: Table = {state: dict.fromkeys(EVENTS, (state, "drop")) for state in states.values()}
    for row in filter(None, rows.splitlines()):
        state, event, _, then, deed = row.split()
        assert event in EVENTS
        table[states[state]][event] = states[then], deed
    return table


CHANNEL, CONNECTION = _table(CHANNEL_ROWS), _table(CONNECTION_ROWS)
