"""Proves that what nobody has asked for does not pile up, though a server says it without end while a call waits.

Memory is counted in the middle of that call, once all of a flood has been read.
"""

from __future__ import annotations

import gc
import logging
import time
from functools import partial
from typing import Any, Callable, Dict, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.octets import frame

from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer, content, method

tracemalloc: Any = pytest.importorskip("tracemalloc", reason="PyPy does not count what is allocated")

#: Octets that come, and that may be held of them: SECURITY.txt.
FLOOD, HELD = 1_500_000, 1_000_000

NEWER: Dict[str, Any] = {"dialect": AMQP_0_9_1}

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


def delivery(tag: str, size: int) -> bytes:
    return content("basic.deliver", tag, 1, False, "", "q", message=({"message_id": "m"}, b"x" * size), **NEWER)


#: What comes over and over.
UNASKED: Dict[str, bytes] = {
    "deliveries to a consumer that there is not": delivery("nobody's", 100),
    "... with long bodies": delivery("nobody's", 60_000),
    "... with no body": delivery("", 0),
    "returns with nothing published": content("basic.return", 312, "NO_ROUTE", "", "q", message=({}, b"x"), **NEWER),
    "... returns with long bodies": content(
        "basic.return", 312, "NO_ROUTE", "", "q", message=({}, b"x" * 4000), **NEWER
    ),
    "acks outside of confirm mode": method("basic.ack", 1, False, **NEWER),
    "nacks outside of confirm mode": method("basic.nack", 1, True, True, **NEWER),
    "ends of a consumer that there is not": method("basic.cancel", "nobody's", True, **NEWER),
    "... that are to be answered": method("basic.cancel", "nobody's", False, **NEWER),
    "ends of the same consumer": method("basic.cancel", "tag", True, **NEWER),
    "deliveries to a consumer that was cancelled": delivery("late", 100),
    "deliveries without acknowledgement to one that was": delivery("lossy", 100),
    "blocked notices": method("connection.blocked", "r" * 255, channel=0, **NEWER),
    "blocked and unblocked": method("connection.blocked", "r", channel=0, **NEWER)
    + method("connection.unblocked", channel=0, **NEWER),
    "flow": method("channel.flow", True, **NEWER),
    "answers to no call": method("basic.consume_ok", "q" * 200, **NEWER),
    "answers to no call, with a message": content("basic.get_ok", 1, False, "", "q", 0, message=({}, b"x"), **NEWER),
    "answers to a handshake that is over": method("connection.tune", 0, 4096, 0, channel=0, **NEWER),
}


def flood(peer: Peer, conn: Any, data: bytes, held: List[int], size: int = FLOOD) -> None:
    """Have it come, as the client waits, and count what is held once it has been read. Then the connection ends."""

    def read(octets: int) -> None:
        end = time.monotonic() + 3 * PATIENCE
        while conn.stats().bytes_in < octets:
            assert time.monotonic() < end, "it is not read"
            time.sleep(0.002)

    def step() -> None:
        before = conn.stats().bytes_in
        whole = data * (size // len(data))
        tracemalloc.start()
        try:
            peer.says(whole)
            read(before + len(whole))
            peer.says(HEARTBEAT)  # read behind it, so all of that has been acted on
            read(before + len(whole) + len(HEARTBEAT))
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()

    peer.do(step)
    peer.reset()


def take(peer: Peer, count: int) -> None:
    """In a step of a peer: so many publishes."""
    peer.bodies(count)


def connect(peer: Peer) -> amqp91.Connection:
    peer.welcome()
    return amqp91.Connection(peer.address, heartbeat=0, on_blocked=lambda reason: None, on_unblocked=lambda: None)


def open_channel(peer: Peer, conn: amqp91.Connection) -> amqp91.Channel:
    """With a consumer, and two that were cancelled without waiting for the answer."""
    peer.open_channel()
    ch = conn.channel()
    for tag in ("tag", "late", "lossy"):
        peer.answer("basic.consume", "basic.consume_ok", tag)
        ch.basic_consume("q", tag, no_ack=tag == "lossy", callback=lambda msg: None)
    for tag in ("late", "lossy"):
        peer.expect("basic.cancel")
        ch.basic_cancel(tag, nowait=True)
    return ch


@pytest.mark.parametrize("what", UNASKED)
def test_while_a_call_waits(newer_peer: Peer, what: str) -> None:
    held: List[int] = []
    with_conn = connect(newer_peer)
    ch = open_channel(newer_peer, with_conn)
    newer_peer.expect("queue.declare")
    flood(newer_peer, with_conn, UNASKED[what], held)
    with pytest.raises(amqp91.ConnectionLostError):
        ch.queue_declare("q")
    assert len(held) == 1
    assert held[0] < HELD


@pytest.mark.parametrize(
    "what",
    [
        "deliveries to a consumer that there is not",
        "... returns with long bodies",
        "returns with nothing published",
        "answers to no call, with a message",
    ],
)
def test_while_confirms_are_waited_for(newer_peer: Peer, what: str) -> None:
    """One publish, which is not mandatory, is outstanding: none can come back."""
    held: List[int] = []
    conn = connect(newer_peer)
    newer_peer.open_channel()
    ch = conn.channel()
    newer_peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select()
    newer_peer.do(partial(take, newer_peer, 1))
    ch.basic_publish(amqp91.Message(b"x"), routing_key="q")
    flood(newer_peer, conn, UNASKED[what], held)
    with pytest.raises(amqp91.UnconfirmedError):
        ch.wait_for_confirms(timeout=3 * PATIENCE)
    assert held[0] < HELD


@pytest.mark.parametrize("closes", ["the channel", "the connection"])
@pytest.mark.parametrize("tag", ["tag", "nobody's"])
def test_behind_our_close(newer_peer: Peer, closes: str, tag: str) -> None:
    """Also what comes for a consumer that there is: nobody will be given it."""
    held: List[int] = []
    conn = connect(newer_peer)
    ch = open_channel(newer_peer, conn)
    if closes == "the channel":
        newer_peer.expect("channel.close")
    else:
        newer_peer.expect("connection.close", channel=0)
    flood(newer_peer, conn, delivery(tag, 100), held)
    with pytest.raises(amqp91.ConnectionLostError):
        (ch if closes == "the channel" else conn).close()
    assert held[0] < HELD


def test_closes_of_a_channel_that_was_given_up(newer_peer: Peer) -> None:
    """Each is answered; the answers do not pile up where the server does not read them."""
    held: List[int] = []
    conn = connect(newer_peer)
    ch, other = open_channel(newer_peer, conn), None
    newer_peer.open_channel(2)
    other = conn.channel()
    newer_peer.expect("queue.declare")
    with pytest.raises(amqp91.AMQPTimeoutError):
        ch._amqplib.call("queue.declare", 0, "q", False, False, False, False, False, {}, timeout=0.01)
    newer_peer.expect("channel.close")
    newer_peer.expect("queue.declare", channel=2)
    flood(newer_peer, conn, method("channel.close", 404, "", 0, 0, **NEWER), held)
    with pytest.raises(amqp91.ConnectionLostError):
        other.queue_declare("q")
    assert held[0] < HELD


#: In 0-8 alone.
ALERTS = {
    "alerts": method("channel.alert", 1, "x" * 200, {}),
    "alerts with details": method("channel.alert", 1, "", {"k%d" % n: n for n in range(100)}),
    "alerts with long details": method("channel.alert", 1, "", {"k": "x" * 70_000}),
}


@pytest.mark.parametrize("what", ALERTS)
def test_alerts(peer: Peer, what: str) -> None:
    held: List[int] = []
    peer.welcome()
    conn = amqp.Connection(peer.address)
    peer.open_channel()
    ch = conn.channel()
    peer.expect("queue.declare")
    flood(peer, conn, ALERTS[what], held)
    with pytest.raises(amqp.ConnectionLostError):
        ch.queue_declare("q")
    assert held[0] < HELD


@pytest.mark.parametrize("what", ALERTS)
def test_alerts_that_are_handled(peer: Peer, what: str) -> None:
    """In wait(), and nobody takes them out of the queue."""
    held: List[int] = []
    peer.welcome()
    conn = amqp.Connection(peer.address)
    peer.open_channel()
    ch = conn.channel()
    flood(peer, conn, ALERTS[what], held)
    with pytest.raises(amqp.ConnectionLostError):
        wait_for_ever(ch)
    assert held[0] < HELD


def wait_for_ever(ch: Any) -> None:
    while True:
        ch.wait()


def test_many_channels_have_a_room_each(newer_peer: Peer) -> None:
    """And what is dropped on one is not on another."""
    conn = connect(newer_peer)
    channels = []
    for number in (1, 2):
        newer_peer.open_channel(number)
        channels.append(conn.channel())
    newer_peer.expect("queue.declare")
    newer_peer.send_bytes(UNASKED["flow"] * 5000)
    newer_peer.send("channel.flow", True, channel=2)
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    assert channels[0].queue_declare("q") == ("q", 0, 0)
    assert [ch.pending() for ch in channels] == [1000, 1]
    newer_peer.part()
    conn.close()


def test_there_is_room_again_for_what_is_handled(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """Though the inbox is never empty: something that was asked for is always in it."""
    got: List[Any] = []
    newer.callbacks["tag"] = got.append
    flows = 0
    for _ in range(4):
        newer_peer.expect("queue.declare")
        newer_peer.send_bytes(delivery("tag", 1) + UNASKED["flow"] * 900)
        newer_peer.send("queue.declare_ok", "q", 0, 0)
        newer.queue_declare("q")
        while newer.pending() > 1:
            sig = newer._amqplib.port.inbox[0][0]
            if sig == (20, 20):
                newer_peer.expect("channel.flow_ok")
                flows += 1
            newer.wait()
    assert flows >= 4 * 900 - 1
    while newer.pending():
        newer_peer.expect("channel.flow_ok")
        newer.wait()
    assert len(got) == 4


def test_it_is_said_once(newer_peer: Peer, newer: amqp91.Channel, caplog: pytest.LogCaptureFixture) -> None:
    newer_peer.expect("queue.declare")
    newer_peer.send_bytes(UNASKED["flow"] * 1500 + delivery("nobody's", 1) * 1500)
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    with caplog.at_level(logging.WARNING, "amqplib"):
        newer.queue_declare("q")
    assert [record.getMessage().partition(", more often")[0].rpartition(": ")[2] for record in caplog.records] == [
        "Channel.flow came",
        "Channel.basic_deliver came",
    ]


def test_late_deliveries_all_go_back(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """Those that there is no room for do so as they come, though nobody is in a wait(); the others in wait()."""
    newer_peer.answer("basic.consume", "basic.consume_ok", "late")
    newer.basic_consume("q", "late", callback=lambda msg: None)
    newer_peer.expect("basic.cancel")
    newer.basic_cancel("late", nowait=True)
    newer_peer.expect("queue.declare")
    for tag in (1, 2, 3):
        body = b"x" * (50_000 if tag < 3 else 1)
        newer_peer.send_content("basic.deliver", "late", tag, False, "", "q", message=({}, body))
        if tag < 3:
            newer_peer.expect("basic.reject", tag, True)
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    newer.queue_declare("q")
    assert newer.pending() == 1
    newer_peer.expect("basic.reject", 3, True)
    newer.wait(timeout=PATIENCE)


def test_late_deliveries_that_cannot_go_back_are_said_to_be_lost(
    newer_peer: Peer, newer: amqp91.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that there is no room for."""
    newer_peer.answer("basic.consume", "basic.consume_ok", "lossy")
    newer.basic_consume("q", "lossy", no_ack=True, callback=lambda msg: None)
    newer_peer.expect("basic.cancel")
    newer.basic_cancel("lossy", nowait=True)
    newer_peer.expect("queue.declare")
    newer_peer.send_bytes(delivery("lossy", 50_000) * 2)
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    with caplog.at_level(logging.WARNING, "amqplib"):
        newer.queue_declare("q")
    text = "1 messages are lost: they had come for consumer 'lossy' (no_ack) when it was cancelled"
    assert [record.getMessage().rpartition(": 1 ")[2] for record in caplog.records] == [text[2:]] * 2
    assert newer.pending() == 0


def test_what_comes_before_consume_ok_is_kept(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """Some server may send the messages first, more of them than there is room for what nobody has asked for."""
    got: List[Any] = []
    newer_peer.expect("basic.consume")
    newer_peer.send_bytes(delivery("early", 10) * 1500)
    newer_peer.send("basic.consume_ok", "early")
    newer.basic_consume("q", callback=got.append)
    while newer.pending():
        newer.wait(timeout=0)
    assert len(got) == 1500


def test_returns_of_all_that_was_published(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """Mandatory or immediate ones, and a hundred more: none of them is lost."""
    newer_peer.do(partial(take, newer_peer, 300))
    for number in range(300):
        newer.basic_publish(amqp91.Message(b"x"), routing_key="q", mandatory=number % 2 == 0, immediate=number % 2 == 1)
    newer_peer.expect("queue.declare")
    newer_peer.send_bytes(UNASKED["returns with nothing published"] * 1000)
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    newer.queue_declare("q")
    assert newer.returned_messages.qsize() == 400


# --- what is logged


def unreadable(fields: int, channel: int = 1) -> bytes:
    """A delivery with so many tables nested as deep as can be, in each of which a table is too deep."""
    deepest = b"\x01aF\0\0\0\0"
    items = (b"F" + len(deepest).to_bytes(4, "big") + deepest) * fields
    inner = b"A" + len(items).to_bytes(4, "big") + items
    for _ in range(61):
        inner = b"A" + len(inner).to_bytes(4, "big") + inner
    table = b"\x01h" + inner
    header = b"\0\x3c\0\0" + (1).to_bytes(8, "big") + b"\x20\0" + len(table).to_bytes(4, "big") + table
    frames = method("basic.deliver", "tag", 1, False, "", "q", channel=channel, **NEWER)
    for kind, payload in ((2, header), (3, b"x")):
        frames += bytes((kind,)) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
    return frames


def test_one_message_makes_one_line(newer_peer: Peer, newer: amqp91.Channel, caplog: pytest.LogCaptureFixture) -> None:
    data = unreadable(10_000)
    assert len(data) > 120_000
    got: List[Any] = []
    newer.callbacks["tag"] = got.append
    with caplog.at_level(logging.WARNING, "amqplib"):
        newer_peer.send_bytes(data * 2)
        newer.wait(timeout=PATIENCE)
        newer.wait(timeout=PATIENCE)
    assert len(caplog.records) == 2
    assert {": 10000 fields of a message could not be read" in each.getMessage() for each in caplog.records} == {True}
    assert len(got) == 2


@pytest.mark.parametrize("fields", [1, 3])
def test_what_waits_to_be_logged_is_bounded(
    newer_peer: Peer, newer: amqp91.Channel, caplog: pytest.LogCaptureFixture, fields: int
) -> None:
    """Many messages while a call waits, each with a line of its own: the first are logged, and the others counted."""
    newer.callbacks["tag"] = lambda msg: None
    for count in (2000, 1):
        newer_peer.expect("queue.declare")
        newer_peer.send_bytes(unreadable(fields) * count)
        newer_peer.send("queue.declare_ok", "q", 0, 0)
        with caplog.at_level(logging.WARNING, "amqplib"):
            newer.queue_declare("q")
    assert len(caplog.records) == 102
    assert caplog.records[100].getMessage().startswith("1900 more warnings were left out")


#: A table of so many fields, in each of which a table cannot be read.
UNREADABLE = b"".join(b"\x05%05dF\0\0\0\2\1?" % number for number in range(5000))
UNREADABLE = len(UNREADABLE).to_bytes(4, "big") + UNREADABLE


def test_a_server_whose_properties_cannot_be_read(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    start = b"\0\x0a\0\x0a\x08\0" + UNREADABLE + b"\0\0\0\x08AMQPLAIN" + b"\0\0\0\5en_US"
    peer.accept()
    peer.expect_bytes(peer.dialect.header)
    peer.send_bytes(frame(1, 0, start))
    peer.let_in()
    peer.open_host()
    with caplog.at_level(logging.WARNING, "amqplib"):
        conn = amqp.Connection(peer.address)
    assert len(conn.server_properties) == 5000
    assert len(caplog.records) <= 1 + sum("clear text" in record.getMessage() for record in caplog.records)
    peer.part()
    conn.close()


def test_an_alert_whose_details_cannot_be_read(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    peer.expect("queue.declare")
    peer.send_bytes(frame(1, 1, b"\0\x14\0\x1e\0\1\1x" + UNREADABLE))
    peer.send("queue.declare_ok", "q", 0, 0)
    with caplog.at_level(logging.WARNING, "amqplib"):
        ch.queue_declare("q")
    assert sum("5000 fields" in record.getMessage() for record in caplog.records) == 1
    assert len(caplog.records) <= 2


def test_a_block_is_told_once(newer_peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """However often the server says it, while a call waits and between calls; another reason, and its end, are news."""
    told: List[Any] = []
    newer_peer.welcome()
    conn = amqp91.Connection(
        newer_peer.address, heartbeat=0, on_blocked=told.append, on_unblocked=lambda: told.append(None)
    )
    newer_peer.open_channel()
    ch = conn.channel()
    with caplog.at_level(logging.WARNING, "amqplib"):
        for _ in range(3):
            newer_peer.expect("queue.declare")
            newer_peer.send_bytes(UNASKED["blocked notices"] * 1000)
            newer_peer.send("queue.declare_ok", "q", 0, 0)
            ch.queue_declare("q")
        newer_peer.expect("queue.declare")
        newer_peer.send("connection.blocked", "another", channel=0)
        newer_peer.send_bytes(method("connection.unblocked", channel=0, **NEWER) * 50)
        newer_peer.send("queue.declare_ok", "q", 0, 0)
        ch.queue_declare("q")
    assert told == ["r" * 255, "another", None]
    assert len(caplog.records) == 3
    newer_peer.part()
    conn.close()


def test_functions_of_the_program_that_wait_to_be_called_are_bounded(
    newer_peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    """The last of them is: it tells how things stand. Of the log it takes a few lines."""
    told: List[Any] = []
    newer_peer.welcome()
    conn = amqp91.Connection(
        newer_peer.address, heartbeat=0, on_blocked=told.append, on_unblocked=lambda: told.append(None)
    )
    newer_peer.open_channel()
    ch = conn.channel()
    newer_peer.expect("queue.declare")
    newer_peer.send_bytes(UNASKED["blocked and unblocked"] * 500 + UNASKED["blocked notices"])
    newer_peer.send("queue.declare_ok", "q", 0, 0)
    with caplog.at_level(logging.WARNING, "amqplib"):
        ch.queue_declare("q")
    assert len(caplog.records) == 11
    assert len(told) == 100
    assert told[-1] == "r" * 255 == conn.blocked
    newer_peer.part()
    conn.close()


@pytest.mark.parametrize(
    "what",
    [
        "acks outside of confirm mode",
        "answers to no call",
        "ends of a consumer that there is not",
        "nacks outside of confirm mode",
    ],
)
def test_what_is_handled_is_said_once(
    newer_peer: Peer, newer: amqp91.Channel, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """A loop handles as many as a server sends, and a line for each would be thousands a second."""
    newer_peer.send_bytes(UNASKED[what] * 100)
    with caplog.at_level(logging.WARNING, "amqplib"):
        for _ in range(100):
            newer.wait(timeout=PATIENCE)
    assert len(caplog.records) == 1


# --- deadlines


#: What a server says while a program waits for confirms of many mandatory publishes.
SAID: Dict[str, Callable[[int], bytes]] = {
    "returns of what was never published": lambda n: content(
        "basic.return", 312, "", "", "q", message=({"message_id": str(n)}, b"y"), **NEWER
    ),
    "returns with other properties": lambda n: content(
        "basic.return", 312, "", "", "q", message=({"message_id": "new%d" % n}, b"%d" % (n % 50)), **NEWER
    ),
    "acks of what was never published": lambda n: method("basic.ack", 2**40 + n, False, **NEWER),
}


@pytest.mark.parametrize("what", SAID)
def test_a_wait_for_confirms_holds_its_deadline(newer_peer: Peer, newer: amqp91.Channel, what: str) -> None:
    """Counted is the time of the processor: a busy machine makes no difference to that."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    many = 5000
    newer_peer.do(partial(take, newer_peer, many))
    for number in range(many):
        msg = amqp91.Message(b"%d" % (number % 50), message_id=str(number))
        newer.basic_publish(msg, routing_key="q", mandatory=True)
    newer_peer.send_bytes(b"".join(map(SAID[what], range(many // 2))))
    began = time.thread_time()
    with pytest.raises(amqp91.ConfirmTimeoutError):
        newer.wait_for_confirms(timeout=1)
    assert time.thread_time() - began < 1.5
