"""Connection(gather_acks=True): acknowledgements leave together, before anything else, after a moment and at the end;
and what is acknowledged is what the program has acknowledged."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import heartbeat
from amqplib.client.net.transport import Transport
from amqplib.client.sending import Sending
from amqplib.protocol.acks import Acks

from .peer import PATIENCE, Peer
from .threads import Threads


@pytest.fixture
def conn(newer_peer: Peer) -> Iterator[amqp.Connection]:
    """For it no time passes: nothing is sent because it was held back for long enough."""
    newer_peer.welcome(heartbeat=0)
    connection = amqp.Connection(newer_peer.address, gather_acks=True)
    connection._amqplib.driver.clock = lambda: 0.0
    yield connection
    if connection.transport is not None:
        newer_peer.part()
        connection.close()


@pytest.fixture
def newer(newer_peer: Peer, conn: amqp.Connection) -> amqp.Channel:
    newer_peer.open_channel()
    return conn.channel()


def consume(peer: Peer, ch: amqp.Channel, *tags: int) -> List[Any]:
    """Messages with these delivery tags, in hand."""
    got: List[Any] = []
    peer.expect("basic.consume")
    peer.send("basic.consume_ok", "ctag")
    for tag in tags:
        peer.send_content("basic.deliver", "ctag", tag, False, "", "q", message=({}, b"%d" % tag))
    ch.basic_consume("q", callback=got.append)
    while len(got) < len(tags):
        ch.wait()
    return got


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_they_leave_as_one_before_the_program_waits(newer_peer: Peer, newer: amqp.Channel) -> None:
    for msg in consume(newer_peer, newer, 1, 2, 3):
        msg.ack()
    newer_peer.wait()
    newer_peer.expect("basic.ack", 3, True)
    newer_peer.send_content("basic.deliver", "ctag", 4, False, "", "q", message=({}, b"4"))
    newer.wait()
    newer.basic_ack(4)
    newer_peer.expect("basic.ack", 4, False)
    newer_peer.answer("queue.purge", "queue.purge_ok", 0)
    newer.queue_purge("q")


def test_they_leave_before_anything_else(newer_peer: Peer, newer: amqp.Channel) -> None:
    messages = consume(newer_peer, newer, 1, 2, 3, 4, 5, 6, 7)
    messages[0].ack()
    newer_peer.expect("basic.ack", 1, False)
    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=({}, b"x"))
    newer.basic_publish(amqp.Message(b"x"), routing_key="q")
    messages[1].ack()
    newer_peer.expect("basic.ack", 2, False)
    newer_peer.expect("basic.reject", 3, False)
    messages[2].reject()
    messages[3].ack()
    messages[4].ack()
    newer_peer.expect("basic.ack", 5, True)  # the third has been settled
    newer_peer.expect("basic.ack", 6, False)
    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=({}, b"y"))
    with newer.batch():  # in its order
        messages[5].ack()
        newer.basic_publish(amqp.Message(b"y"), routing_key="q")
    messages[6].ack()
    newer_peer.expect("basic.ack", 7, False)
    newer_peer.answer("channel.close", "channel.close_ok")
    newer.close()


def test_what_was_not_acknowledged_is_left_alone(newer_peer: Peer, newer: amqp.Channel) -> None:
    messages = consume(newer_peer, newer, 1, 2, 3)
    messages[2].ack()
    messages[1].ack()
    newer_peer.expect("basic.ack", 3, False)
    newer_peer.expect("basic.ack", 2, False)
    newer_peer.answer("queue.purge", "queue.purge_ok", 0)
    newer.queue_purge("q")


def test_in_a_transaction_each_leaves_at_once(newer_peer: Peer, newer: amqp.Channel) -> None:
    """A rollback takes acknowledgements back, and what comes then must not settle those once more."""
    newer_peer.answer("tx.select", "tx.select_ok")
    newer.tx_select()
    messages = consume(newer_peer, newer, 1, 2)
    newer_peer.expect("basic.ack", 1, False)
    messages[0].ack()
    newer_peer.wait()
    newer_peer.expect("basic.ack", 2, False)
    messages[1].ack()
    newer_peer.wait()


def test_many_leave_at_once(newer_peer: Peer, newer: amqp.Channel) -> None:
    messages = consume(newer_peer, newer, *range(1, 501))
    newer_peer.expect("basic.ack", 500, True)
    for msg in messages:
        msg.ack()
    newer_peer.wait()


def test_on_a_channel_that_is_over_none_is_held_back(newer_peer: Peer, newer: amqp.Channel, conn: Any) -> None:
    messages = consume(newer_peer, newer, 1, 2)
    messages[0].ack()
    newer_peer.send("channel.close", 404, "NOT_FOUND", 0, 0)
    newer_peer.expect("basic.ack", 1, False)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp.NotFound):
        newer.wait()
    with pytest.raises(amqp.AMQPException):
        messages[1].ack()
    newer_peer.open_channel()
    again = conn.channel()
    [one] = consume(newer_peer, again, 1)
    one.ack()
    newer_peer.expect("basic.ack", 1, False)
    newer_peer.answer("queue.purge", "queue.purge_ok", 0)
    again.queue_purge("q")


def test_one_that_cannot_be_encoded_is_refused_at_once(newer: amqp.Channel) -> None:
    with pytest.raises(ValueError, match="delivery"):
        newer.basic_ack(-1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def unacknowledged(broker: Broker) -> int:
    return sum(queue.unacknowledged for queue in broker.queues().values())


def filled(conn: amqp.Connection, count: int) -> amqp.Channel:
    ch = conn.channel()
    ch.queue_declare("q")
    with ch.batch():
        for number in range(count):
            ch.basic_publish(amqp.Message(b"%d" % number), routing_key="q")
    return ch


def test_one_does_not_lie_for_long(broker: Broker) -> None:
    """While the program does something else, the thread of heartbeats sends it; then that has nothing to do."""
    with amqp.Connection(broker.address, gather_acks=True, heartbeat=0) as conn:
        ch = filled(conn, 2)
        for _ in range(2):
            msg = ch.basic_get("q")
            assert msg is not None
            msg.ack()
            until(lambda: not unacknowledged(broker))
            until(lambda: not heartbeat._beats._entries)


def test_one_leaves_while_another_thread_waits(broker: Broker, threads: Threads) -> None:
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch, other = filled(conn, 1), conn.channel()
        msg = ch.basic_get("q")
        assert msg is not None
        threads.start(lambda: next(other.consume("nothing comes", timeout=PATIENCE), None))
        other_one = conn.channel()
        other_one.queue_declare("nothing comes")
        msg.ack()
        until(lambda: not unacknowledged(broker))
        other.close()
        threads.outcomes()


def test_where_no_thread_can_be_started_it_leaves_at_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(driver: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(heartbeat, "watch_held", refused)
    with amqp.Connection(broker.address, gather_acks=True, heartbeat=0) as conn:
        ch = filled(conn, 1)
        msg = ch.basic_get("q")
        assert msg is not None
        msg.ack()
        until(lambda: not unacknowledged(broker))


@pytest.mark.parametrize("end", ["", "conn.close()", "ch.close()", "sys.exit(0)"])
def test_none_is_lost_when_the_program_ends(broker: Broker, end: str) -> None:
    with amqp.Connection(broker.address) as conn:
        filled(conn, 3)
    program = (
        "import sys, amqplib.client_0_9_1 as amqp, amqplib.protocol.acks\n"
        "conn = amqp.Connection(%r, gather_acks=True, heartbeat=0)\n"
        "conn._amqplib.driver.clock = lambda: 0.0\n"
        "ch = conn.channel()\n"
        "got = [ch.basic_get('q') for _ in 'abc']\n"
        "for msg in got: msg.ack()\n" % broker.address
    )
    subprocess.run([sys.executable, "-c", program + end], check=True, timeout=PATIENCE)
    with amqp.Connection(broker.address) as conn:
        assert conn.channel().queue_declare("q", passive=True).message_count == 0


def test_a_worker_with_signals_loses_none_and_takes_none(broker: Broker) -> None:
    """A handler acknowledges what the loop has in hand, whatever that is in the middle of."""
    count, at_hand, seen = 2000, [], []  # type: ignore[var-annotated]
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = filled(conn, count)

        def handler(*args: Any) -> None:
            while at_hand:
                try:
                    msg = at_hand.pop()
                except IndexError:
                    return  # a handler may be interrupted by itself, and that took it
                try:
                    msg.ack()
                except amqp.NestedCallError:
                    at_hand.append(msg)
                    return

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for msg in ch.consume("q", timeout=PATIENCE):
                seen.append(msg.body)
                if len(seen) % 3:
                    msg.ack()
                else:
                    at_hand.append(msg)
                if len(seen) == count:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        handler()
        ch.close()
        assert seen == [b"%d" % number for number in range(count)]
        assert conn.channel().queue_declare("q", passive=True).message_count == 0


def test_threads_acknowledge_beside_each_other(broker: Broker, threads: Threads, hurried: None) -> None:
    """Every third is never acknowledged, and these are what comes back."""
    count, per_thread = 900, 300
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = filled(conn, count)
        got = list(iter(lambda: ch.basic_get("q"), None))

        def work(start: int) -> None:
            for msg in got[start : start + per_thread]:
                if int(msg.body) % 3:
                    msg.ack()

        for start in range(0, count, per_thread):
            threads.start(work, start)
        threads.results()
        ch.close()
        other = conn.channel()
        left = [int(msg.body) for msg in iter(lambda: other.basic_get("q", no_ack=True), None)]
        assert sorted(left) == list(range(0, count, 3))


def test_after_a_loss_only_its_own_messages_are_settled(broker: Broker) -> None:
    """What was held back when the connection was lost comes again; tags go on counting, and the new ones are merged."""
    with amqp.Connection(broker.address, gather_acks=True, recover=True) as conn:
        ch = filled(conn, 6)
        ch.basic_qos(prefetch_count=3)
        messages = ch.consume("q", timeout=PATIENCE)
        next(messages).ack()
        conn._amqplib.driver.clock = lambda: 0.0
        conn.transport.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        seen = []
        for msg in messages:
            seen.append(int(msg.body))
            if seen[-1] != 4:
                msg.ack()
            if seen[-1] == 5:
                break
        ch.close()
        other = conn.channel()
        left = [int(msg.body) for msg in iter(lambda: other.basic_get("q", no_ack=True), None)]
        assert left == [4]


# --- what comes in between


def held(conn: amqp.Connection) -> amqp.Channel:
    """A channel with an acknowledgement that is held back, and nothing that sends it by itself."""
    ch = filled(conn, 2)
    msg = ch.basic_get("q")
    assert msg is not None
    conn._amqplib.driver.clock = lambda: 0.0
    msg.ack()
    return ch


@pytest.mark.parametrize("what", ["publish", "batch", "reject", "call", "wait"])
def test_the_connection_is_lost_when_it_is_sent(broker: Broker, what: str) -> None:
    """One that comes back comes back then, too."""
    with amqp.Connection(broker.address, gather_acks=True, recover=True, reply_timeout=PATIENCE) as conn:
        ch = held(conn)
        ch.confirm_select()
        [msg] = [ch.basic_get("q")]
        assert msg is not None
        ch.queue_declare("q", passive=True)
        msg.ack()
        driver = conn._amqplib.driver
        driver.look_at = float("inf")
        conn.transport.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        if what == "publish":
            ch.basic_publish(amqp.Message(b"x"), routing_key="q")
        elif what == "batch":
            with ch.batch():
                ch.basic_publish(amqp.Message(b"x"), routing_key="q")
        elif what == "reject":
            ch.basic_reject(msg.delivery_tag)
        elif what == "call":
            ch.queue_declare("q", passive=True)
        else:
            next(ch.consume("q"))
        ch.wait_for_confirms(timeout=PATIENCE)
        ch.queue_declare("q", passive=True)
        assert conn.stats().recoveries == 1


def test_the_connection_is_lost_and_does_not_come_back(broker: Broker) -> None:
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = held(conn)
        conn._amqplib.driver.look_at = float("inf")
        conn.transport.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        with pytest.raises(amqp.ConnectionLostError), ch.batch():
            ch.basic_publish(amqp.Message(b"x"), routing_key="q")


def test_ctrl_c_as_it_is_sent(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be known whether it has gone, so nothing follows, and it is not sent twice."""
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = held(conn)
        send = Transport.send

        def interrupted(transport: Transport, data: Any) -> int:
            send(transport, data)
            raise KeyboardInterrupt

        monkeypatch.setattr(Transport, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            conn._amqplib.driver.pay()
        monkeypatch.undo()
        with pytest.raises(amqp.ConnectionLostError, match="KeyboardInterrupt"):
            ch.queue_declare("q", passive=True)


@pytest.mark.parametrize("mandatory", [False, True])
def test_a_handler_acknowledges_in_the_middle_of_a_publish(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, mandatory: bool
) -> None:
    """It is told that it cannot, or the acknowledgement leaves before the channel is closed."""
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = filled(conn, 1)
        msg = ch.basic_get("q")
        assert msg is not None
        conn._amqplib.driver.clock = lambda: 0.0
        enter, at_hand = Sending._enter, [msg]

        def entered(*args: Any) -> Any:
            while at_hand:
                at_hand.pop().ack()
            return enter(*args)

        monkeypatch.setattr(Sending, "_enter", entered)
        with ch.batch():
            ch.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=mandatory)
        ch.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=True)
        monkeypatch.undo()
        ch.close()
        assert conn.channel().queue_declare("q", passive=True).message_count == 2


def test_a_handler_closes_the_channel_in_the_middle_of_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with amqp.Connection(broker.address, gather_acks=True) as conn:
        ch = filled(conn, 1)
        msg = ch.basic_get("q")
        assert msg is not None
        conn._amqplib.driver.clock = lambda: 0.0
        add = Acks.add

        def closed_first(*args: Any) -> Any:
            with contextlib.suppress(amqp.NestedCallError):
                ch.close()
            return add(*args)

        monkeypatch.setattr(Acks, "add", closed_first)
        with contextlib.suppress(amqp.AMQPException):
            msg.ack()
        monkeypatch.undo()
        assert conn.channel().queue_declare("q", passive=True).consumer_count == 0


def test_what_goes_wrong_in_the_thread_ends_no_heartbeats(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with amqp.Connection(broker.address, gather_acks=True, heartbeat=0) as conn:
        ch = filled(conn, 1)
        msg = ch.basic_get("q")
        assert msg is not None
        send, main, broken = Transport.send, threading.get_ident(), threading.Event()

        def fails(transport: Transport, data: Any) -> int:
            if threading.get_ident() != main and not broken.is_set() and transport is conn.transport:
                broken.set()
                raise RuntimeError
            return send(transport, data)

        monkeypatch.setattr(Transport, "send", fails)
        msg.ack()
        assert broken.wait(PATIENCE)
        with pytest.raises(amqp.ConnectionLostError, match="RuntimeError"):
            ch.queue_declare("q", passive=True)
    with amqp.Connection(broker.address, gather_acks=True, heartbeat=0) as other:
        ch = other.channel()
        ch.basic_publish(amqp.Message(b"x"), routing_key="q")
        msg = ch.basic_get("q")
        assert msg is not None
        msg.ack()
        until(lambda: not unacknowledged(broker))
