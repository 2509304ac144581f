"""Proves that what has been done leaves nothing behind: see test_verdicts for what confirms keep."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import weakref
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp

from .peer import PATIENCE, Peer
from .test_confirmed_publishing import expect_publish, select

#: Octets that are no growth: less than one machine word each time.
NOTHING = 50_000


def growth(do: Callable[[], Any], times: int) -> int:
    """Octets of memory that are still taken when it has been done so many times."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count what is allocated")
    tracemalloc.start()  # before anything is remembered that later takes its place
    try:
        for _ in range(200):
            do()
        gc.collect()
        before: int = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            do()
        gc.collect()
        after: int = tracemalloc.get_traced_memory()[0]
        return after - before
    finally:
        tracemalloc.stop()


def empty_batch(conn: amqp.Connection, ch: amqp.Channel) -> None:
    with ch.batch():
        pass


def batch_that_raises(conn: amqp.Connection, ch: amqp.Channel) -> None:
    try:
        with ch.batch():
            raise KeyError
    except KeyError:
        pass


def wait_in_vain(conn: amqp.Connection, ch: amqp.Channel) -> None:
    for call in (ch.wait, conn.drain_events):
        try:
            call(timeout=0)
        except amqp.AMQPTimeoutError:
            pass


DONE: Dict[str, Callable[[amqp.Connection, amqp.Channel], Any]] = {
    "empty batches": empty_batch,
    "batches that raise": batch_that_raises,
    "waits": wait_in_vain,
    "waits for no confirms": lambda conn, ch: ch.wait_for_confirms(timeout=0),
}


@pytest.mark.parametrize("name", DONE)
def test_nothing_grows(newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, name: str) -> None:
    select(newer_peer, newer)
    newer_peer.wait()
    assert growth(lambda: DONE[name](newer_conn, newer), 20_000 if "batches" in name else 5_000) < NOTHING


def test_no_message_is_kept(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Neither one that was published in a batch nor one that was confirmed, returned or delivered."""
    refs: List[weakref.ref[Any]] = []

    def made(body: bytes) -> amqp.Message:
        msg = amqp.Message(body)
        refs.append(weakref.ref(msg))
        return msg

    acked: List[int] = []
    with newer.batch():
        newer.basic_publish(made(b"1"), routing_key="q")
    expect_publish(newer_peer, "q", b"1")
    select(newer_peer, newer, on_ack=lambda tag, msg: acked.append(tag))
    with newer.batch():
        newer.basic_publish(made(b"2"), routing_key="q", mandatory=True)
        newer.basic_publish(made(b"3"), routing_key="q")
    expect_publish(newer_peer, "q", b"2", True)
    expect_publish(newer_peer, "q", b"3")
    newer_peer.send_content("basic.return", 312, "NO_ROUTE", "", "q", message=({}, b"2"))
    newer_peer.send("basic.ack", 2, True)
    with pytest.raises(amqp.UnconfirmedError):
        newer.wait_for_confirms(timeout=PATIENCE)
    assert acked == [2]
    newer.callbacks["tag"] = lambda msg: refs.append(weakref.ref(msg))
    newer_peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, b"4"))
    newer.wait(timeout=PATIENCE)
    assert newer.returned_messages.empty()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4


# --- what comes from a broker


def publish_in_vain(conn: amqp.Connection, ch: amqp.Channel) -> None:
    try:
        ch.basic_publish_confirm(amqp.Message(b"x" * 1000), routing_key="nowhere", mandatory=True, timeout=PATIENCE)
    except amqp.UnconfirmedError:
        pass


def wait_in_vain_for_all(conn: amqp.Connection, ch: amqp.Channel) -> None:
    for _ in range(5):
        ch.basic_publish(amqp.Message(b"x" * 1000), routing_key="nowhere", mandatory=True)
    try:
        ch.wait_for_confirms(timeout=PATIENCE)
    except amqp.UnconfirmedError:
        pass


def take_out_what_comes_back(conn: amqp.Connection, ch: amqp.Channel) -> None:
    ch.basic_publish(amqp.Message(b"x" * 1000), routing_key="nowhere", mandatory=True)
    while ch.unconfirmed:
        ch.wait(timeout=PATIENCE)
    ch.returned_messages.get_nowait()


def hear_what_comes_back(conn: amqp.Connection, ch: amqp.Channel) -> None:
    """In wait(), as a program that never waits for confirms."""
    told: List[Any] = []
    ch.on_return = lambda *args: told.append(args)
    ch.basic_publish(amqp.Message(b"x" * 1000), routing_key="nowhere", mandatory=True)
    while ch.unconfirmed or not told:
        ch.wait(timeout=PATIENCE)
    ch.on_return = None


def hear_of_confirms(conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Of publishes that are waited for, with functions."""
    ch.confirm_select(on_ack=lambda tag, msg: None, on_nack=lambda tag, msg: None)
    ch.basic_publish_confirm(amqp.Message(b"x" * 1000), "amq.fanout", timeout=PATIENCE)


def consume_a_while(conn: amqp.Connection, ch: amqp.Channel) -> None:
    """And end it with messages that were not handled."""
    tag = ch.basic_consume("full", "tag", callback=lambda msg: None)
    ch.queue_declare("full", passive=True)
    ch.basic_cancel(tag)


def consume_nowait(conn: amqp.Connection, ch: amqp.Channel) -> None:
    tag = "tag%d" % next(NUMBERS)
    ch.basic_consume("empty", tag, nowait=True, callback=lambda msg: None)
    ch.basic_cancel(tag, nowait=True)


def settle_what_is_given(conn: amqp.Connection, ch: amqp.Channel) -> None:
    ch.basic_consume("empty", "tag", callback=lambda msg: None)
    for _ in range(3):
        ch.basic_get("full")
    ch.basic_nack(0, multiple=True)
    ch.basic_cancel("tag")


NUMBERS = itertools.count()

WITH_A_BROKER: Dict[str, Callable[[amqp.Connection, amqp.Channel], Any]] = {
    "publishes that come back": publish_in_vain,
    "waits for what comes back": wait_in_vain_for_all,
    "what is taken out": take_out_what_comes_back,
    "what a function is told": hear_what_comes_back,
    "functions for confirms": hear_of_confirms,
    "consumers": consume_a_while,
    "consumers without answers": consume_nowait,
    "settled at once": settle_what_is_given,
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a broker in another process, or what it remembers would be counted."""
    command = [sys.executable, "-m", "amqplib.broker", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            yield program.stdout.readline().split(";")[0].split()[-1]
        finally:
            program.terminate()


@pytest.mark.parametrize("name", WITH_A_BROKER)
def test_nothing_grows_with_a_broker(address: str, name: str) -> None:
    with amqp.Connection(address, heartbeat=0, reply_timeout=PATIENCE) as conn, conn.channel() as ch:
        ch.queue_declare("full", auto_delete=False)
        ch.queue_declare("empty", auto_delete=False)
        for _ in range(3):
            ch.basic_publish(amqp.Message(b"x" * 1000), routing_key="full")
        ch.confirm_select()
        assert growth(lambda: WITH_A_BROKER[name](conn, ch), 1_000) < NOTHING


def test_refused_ones_that_a_function_is_told_of(newer_peer: Peer, newer: amqp.Channel) -> None:
    refused: List[int] = []
    select(newer_peer, newer, on_nack=lambda tag, msg: refused.append(tag))
    refs: List[weakref.ref[Any]] = []
    for number in (1, 2):
        msg = amqp.Message(b"x")
        refs.append(weakref.ref(msg))
        expect_publish(newer_peer, "q", b"x")
        newer.basic_publish(msg, routing_key="q")
        del msg
        newer_peer.send("basic.nack", number, False, False)
        newer.wait(timeout=PATIENCE)
    gc.collect()
    assert (refused, [ref() for ref in refs]) == ([1, 2], [None, None])
