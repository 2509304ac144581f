"""Channel.batch(): publishes and acknowledgements leave together, in order, and before anything waits."""

from __future__ import annotations

import threading
import time
from typing import Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.broker import Broker
from amqplib.client.net.transport import Data
from tests.rest import await_rest

from .full import await_full
from .peer import PATIENCE, Peer, content, method
from .threads import Threads


def published(number: int) -> bytes:
    """The frames of one publish below."""
    return content("basic.publish", 0, "", "q", False, False, message=({}, b"%d" % number))


def publish(ch: amqp.Channel, *numbers: int) -> None:
    for number in numbers:
        ch.basic_publish(amqp.Message(b"%d" % number), routing_key="q")


@pytest.fixture
def writes(conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch) -> List[bytes]:
    """What goes to the network from now on, write by write."""
    seen: List[bytes] = []
    transport = conn.transport
    assert transport is not None
    send = transport.send

    left = 0

    def record(data: Data) -> int:
        nonlocal left
        frames = b"".join((data,) if isinstance(data, (bytes, memoryview)) else data)
        if not left:  # else it is the rest of what the system has not taken at once
            seen.append(frames)
            left = len(frames)
        sent = send(data)
        left -= sent
        return sent

    monkeypatch.setattr(transport, "send", record)
    return seen


def test_one_write_at_the_end(peer: Peer, ch: amqp.Channel, writes: List[bytes]) -> None:
    expected = published(1) + method("basic.ack", 7, True) + published(2) + method("basic.reject", 8, True)
    peer.expect_bytes(expected)
    with ch.batch():
        publish(ch, 1)
        ch.basic_ack(7, multiple=True)
        publish(ch, 2)
        ch.basic_reject(8, True)
        assert writes == []
    assert writes == [expected]
    peer.wait()


def test_nothing_to_send(ch: amqp.Channel, writes: List[bytes]) -> None:
    with ch.batch():
        pass
    assert writes == []


def test_at_once_again_afterwards(peer: Peer, ch: amqp.Channel, writes: List[bytes]) -> None:
    peer.expect_bytes(published(1) + published(2))
    with ch.batch():
        publish(ch, 1)
    publish(ch, 2)
    assert writes == [published(1), published(2)]


def test_pieces_of_64_kb(peer: Peer, ch: amqp.Channel, writes: List[bytes]) -> None:
    body = b"x" * 10000
    frames = content("basic.publish", 0, "", "q", False, False, message=({}, body))
    peer.expect_bytes(frames * 15)
    with ch.batch():
        for _ in range(15):
            ch.basic_publish(amqp.Message(body), routing_key="q")
    assert writes == [frames * 7, frames * 7, frames]


@pytest.mark.parametrize(("size", "times"), [(65535, 0), (65536, 1)])
def test_the_octet_that_fills_a_piece(peer: Peer, ch: amqp.Channel, writes: List[bytes], size: int, times: int) -> None:
    body = b"x" * (size - len(content("basic.publish", 0, "", "q", False, False, message=({}, b"x"))) + 1)
    frames = content("basic.publish", 0, "", "q", False, False, message=({}, body))
    assert len(frames) == size
    peer.expect_bytes(frames)
    with ch.batch():
        ch.basic_publish(amqp.Message(body), routing_key="q")
        assert writes == [frames] * times
    assert writes == [frames]


def test_before_a_call_on_any_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, writes: List[bytes]) -> None:
    peer.open_channel(2)
    other = conn.channel()
    del writes[:]
    peer.expect_bytes(published(1))
    peer.answer("tx.select", "tx.select_ok", channel=2)
    peer.expect_bytes(published(2))
    peer.answer("tx.commit", "tx.commit_ok")
    with ch.batch():
        publish(ch, 1)
        other.tx_select()
        publish(ch, 2)
        ch.tx_commit()
        assert len(writes) == 4


def test_before_a_wait(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect_bytes(published(1))
    peer.send("channel.alert", 1, "woken", {})
    with ch.batch():
        publish(ch, 1)
        ch.wait()
    assert ch.alerts.get_nowait()[1] == "woken"


def test_before_a_method_that_nothing_answers(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect_bytes(published(1) + method("basic.recover_async", True))
    with ch.batch():
        publish(ch, 1)
        ch.basic_recover(requeue=True)


def test_before_the_connection_is_closed(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect_bytes(published(1))
    peer.part()
    with ch.batch():
        publish(ch, 1)
        conn.close()


def test_also_when_the_block_raises(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect_bytes(published(1))
    with pytest.raises(KeyError), ch.batch():  # noqa: PT012
        publish(ch, 1)
        raise KeyError
    peer.wait()


def test_one_within_another(peer: Peer, ch: amqp.Channel, writes: List[bytes]) -> None:
    peer.expect_bytes(published(1) + published(2))
    with ch.batch():
        with ch.batch():
            publish(ch, 1)
        assert writes == []
        publish(ch, 2)
    assert len(writes) == 1


def test_what_cannot_be_sent_leaves_the_others(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect_bytes(published(1) + published(2))
    with ch.batch():
        publish(ch, 1)
        with pytest.raises(ValueError, match="routing_key"):
            ch.basic_publish(amqp.Message("x"), routing_key="x" * 256)
        publish(ch, 2)


def test_a_channel_that_is_closed_inside(peer: Peer, ch: amqp.Channel) -> None:
    """What was gathered before goes first; then nothing can be gathered any more."""
    peer.expect_bytes(published(1))
    peer.answer("channel.close", "channel.close_ok")
    with ch.batch():
        publish(ch, 1)
        ch.close()
        with pytest.raises(amqp.ChannelClosedError):
            publish(ch, 2)


def await_event(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_a_channel_that_another_thread_is_closing(peer: Peer, ch: amqp.Channel, threads: Threads) -> None:
    """Likewise, and publishing says so at once: before the peer has answered, and before the block ends."""
    answer = threading.Event()
    peer.expect_bytes(published(1))
    peer.expect("channel.close")
    peer.do(lambda: await_event(answer))
    peer.send("channel.close_ok")
    with ch.batch():
        publish(ch, 1)
        threads.start(ch.close)
        await_rest()
        for _ in range(2):
            with pytest.raises(amqp.ChannelClosedError, match="another thread is closing it"):
                publish(ch, 2)
        answer.set()
    threads.results()
    with pytest.raises(amqp.ChannelClosedError):
        publish(ch, 3)


def test_a_channel_that_the_peer_closes_meanwhile(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """What has not left never will, and the end of the block says so."""
    peer.open_channel(2)
    other = conn.channel()
    got: List[amqp.Message] = []
    other.callbacks["tag"] = got.append
    threads = Threads()
    threads.start(lambda: other.wait(timeout=PATIENCE))
    await_rest()
    with pytest.raises(amqp.AMQPChannelException, match="404") as caught, ch.batch():  # noqa: PT012
        publish(ch, 1)
        peer.send("channel.close", 404, "gone", 60, 40)
        peer.expect("channel.close_ok")
        peer.send_content("basic.deliver", "tag", 1, False, "", "", channel=2)
        threads.results()
    assert caught.value.amqp_reply_text == "gone"
    with pytest.raises(amqp.ChannelClosedError):
        publish(ch, 2)
    assert len(got) == 1


def test_threads_on_one_channel(peer: Peer, ch: amqp.Channel) -> None:
    frames = [published(number) for number in range(10)] * 50
    peer.do(lambda: check_all(peer, frames))

    def some() -> None:
        for _ in range(10):
            publish(ch, *range(10))

    with ch.batch():
        threads = [threading.Thread(target=some) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    peer.wait()


def check_all(peer: Peer, frames: List[bytes]) -> None:
    """The frames have come, in any order, each of them whole."""
    data = peer.take(sum(map(len, frames)), "500 publishes")
    size = len(frames[0])
    assert sorted(data[i : i + size] for i in range(0, len(data), size)) == sorted(frames)


def test_deadlines_hold_while_another_threads_batch_is_not_taken(
    peer: Peer, conn: amqp.Connection, threads: Threads
) -> None:
    """Of what calls send before they wait, too."""
    for number in (1, 2):
        peer.open_channel(number)
    one, two = conn.channel(), conn.channel()
    ended: List[BaseException] = []

    def publish_for_ever() -> None:
        try:
            with one.batch():
                while True:
                    one.basic_publish(amqp.Message(b"x" * 3000))
        except amqp.ConnectionLostError as exc:
            ended.append(exc.with_traceback(None))

    for _ in range(2):
        threads.start(publish_for_ever)
    await_full(conn)
    begun = time.monotonic()
    for call in (conn.drain_events, two.wait, conn.close):
        with pytest.raises(amqp.AMQPTimeoutError):
            call(timeout=0.2)
    assert time.monotonic() - begun < PATIENCE
    threads.results()
    assert len(ended) == 2
    peer.drain()


# --- what the server says meanwhile: a program that only publishes in batches hears it, too


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def in_batches(ch: amqp.Channel, exchange: str, body: bytes) -> None:
    """Until that raises."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with ch.batch():
            ch.basic_publish(amqp.Message(body), exchange)


BODIES = pytest.mark.parametrize("body", [b"x", b"x" * 100_000], ids=["small", "large"])


@BODIES
def test_the_end_of_the_channel_is_heard(broker: Broker, body: bytes) -> None:
    with amqp.Connection(broker.address) as conn, pytest.raises(amqp.AMQPChannelException, match=r"404 .*nowhere"):
        in_batches(conn.channel(), "nowhere", body)


@BODIES
def test_the_end_of_the_connection_is_heard(broker: Broker, body: bytes) -> None:
    ch = amqp.Connection(broker.address).channel()
    broker.faults.close_connections("bye")
    with pytest.raises(amqp.AMQPConnectionException, match=r"320 .*bye"):
        in_batches(ch, "amq.fanout", body)


def test_one_batch_that_goes_on_and_on_hears_it(broker: Broker) -> None:
    """Each time that some of it leaves."""

    def publish(ch: amqp.Channel) -> None:
        until = time.monotonic() + PATIENCE
        with ch.batch():
            while time.monotonic() < until:
                ch.basic_publish(amqp.Message(b"x" * 10_000), "nowhere")

    with amqp.Connection(broker.address) as conn, pytest.raises(amqp.AMQPChannelException, match=r"404 .*nowhere"):
        publish(conn.channel())


def test_a_batch_leaves_though_a_function_of_the_program_raises(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """One that is called for what the server has said."""
    conn = newer.connection
    assert conn is not None

    def on_unblocked() -> None:
        raise KeyError("mine")

    conn.on_unblocked = on_unblocked
    newer_peer.send_bytes(
        method("connection.blocked", "low", channel=0, dialect=newer_peer.dialect)
        + method("connection.unblocked", channel=0, dialect=newer_peer.dialect)
    )
    newer_peer.wait()
    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=({}, b"1"))
    time.sleep(0.06)  # a program that only sends looks every 50 ms
    with pytest.raises(KeyError, match="mine"), newer.batch():
        newer.basic_publish(amqp91.Message(b"1"), routing_key="q")
    newer_peer.wait()
    assert newer.is_open
