"""Channel.batch(): publishes and acknowledgements leave together, in order, and before anything waits."""

from __future__ import annotations

import threading
import time
from typing import List

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.transport import Wait

from .peer import PATIENCE, Peer, content, method


def published(number: int) -> bytes:
    """The frames of one publish below."""
    return content("basic.publish", 0, "", "q", False, False, message=({}, b"%d" % number))


def publish(ch: amqp.Channel, *numbers: int) -> None:
    for number in numbers:
        ch.basic_publish(amqp.Message(b"%d" % number), routing_key="q")


@pytest.fixture
def writes(ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch) -> List[bytes]:
    """What goes to the network from now on, write by write."""
    seen: List[bytes] = []
    transport = ch._link.transport
    write = transport.write

    def record(data: bytes, wait: Wait) -> int:
        seen.append(data)
        return write(data, wait)

    monkeypatch.setattr(transport, "write", record)
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


def test_a_channel_that_is_closed_meanwhile(peer: Peer, ch: amqp.Channel) -> None:
    """What has not left never will, and the end of the block says so."""
    peer.answer("channel.close", "channel.close_ok")
    with pytest.raises(amqp.ChannelClosedError), ch.batch():  # noqa: PT012
        ch.close()
        with pytest.raises(amqp.ChannelClosedError):
            publish(ch, 1)
        assert ch._gathered is not None
        ch._gathered.append(published(2))  # as another thread may have, just before


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
    data = peer._take(sum(map(len, frames)), "500 publishes")
    size = len(frames[0])
    assert sorted(data[i : i + size] for i in range(0, len(data), size)) == sorted(frames)


def test_deadlines_hold_while_another_threads_batch_is_not_taken(peer: Peer, conn: amqp.Connection) -> None:
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

    threads = [threading.Thread(target=publish_for_ever, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE
    while conn._link._stall is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)  # so that the other one publishes as well
    begun = time.monotonic()
    for call in (conn.drain_events, two.wait, conn.close):
        with pytest.raises(amqp.AMQPTimeoutError):
            call(timeout=0.2)
    assert time.monotonic() - begun < PATIENCE
    for thread in threads:
        thread.join(PATIENCE)
    assert len(ended) == 2
    peer.drain()
