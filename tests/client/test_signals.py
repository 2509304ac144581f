"""Proves that a signal handler, or a __del__, can call the library whatever its thread is in the middle of.

While the thread waits, it works, as closing the connection at SIGTERM has to. In the middle of sending or taking in it
cannot, and an error says so: waiting for what was interrupted would take for ever.

The handler is called where a signal would have it called, by a function put in the way.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client import publishing
from amqplib.client.confirms import Confirms

from .peer import PATIENCE, Peer
from .tls_peer import TLSPeer


@contextlib.contextmanager
def handling(handler: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Have a signal handled; what is given sends it to this thread, once."""
    main = threading.main_thread().ident
    assert main is not None

    def handle(number: int, at: Optional[FrameType]) -> None:
        handler()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def wait_for_waiting(conn: amqp.Connection) -> None:
    """What was sent has been read here; a moment later its sender waits for the answer."""
    end = time.monotonic() + PATIENCE
    while conn._link._leader is None or conn._link._taking_in:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_closing_the_connection_while_it_waits(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """As programs do at SIGTERM."""
    with handling(conn.close) as send_signal:
        peer.do(lambda: wait_for_waiting(conn))  # and so for the rest of the script
        peer.do(send_signal)
        peer.part()
        with pytest.raises(amqp.ConnectionLostError, match="closed by this program"):
            ch.wait()


def test_ending_a_consumer_while_it_waits(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """What came meanwhile for the wait that was interrupted is not forgotten."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    with handling(lambda: ch.basic_cancel("other")) as send_signal:
        peer.do(lambda: wait_for_waiting(conn))
        peer.do(send_signal)
        peer.expect("basic.cancel")
        peer.send_content("basic.deliver", "tag", 1, False, "", "")
        peer.send("basic.cancel_ok", "other")
        ch.wait(timeout=PATIENCE)
    assert len(got) == 1


def test_a_call_in_the_middle_of_one_on_another_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.open_channel(2)
    other = conn.channel()
    answers: List[Any] = []
    with handling(lambda: answers.append(other.queue_purge("q"))) as send_signal:
        peer.expect("queue.purge")
        peer.do(lambda: wait_for_waiting(conn))
        peer.do(send_signal)
        peer.expect("queue.purge", channel=2)
        peer.send("queue.purge_ok", 1)
        peer.send("queue.purge_ok", 2, channel=2)
        assert ch.queue_purge("q") == 1
    assert answers == [2]


def test_a_call_in_the_middle_of_one_on_the_same_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    refused: List[str] = []
    handled = threading.Event()

    def call() -> None:
        with pytest.raises(amqp.NestedCallError) as caught:
            ch.queue_purge("q")
        refused.append(str(caught.value))
        handled.set()

    def await_handled() -> None:
        assert handled.wait(PATIENCE)

    with handling(call) as send_signal:
        peer.expect("queue.purge")
        peer.do(lambda: wait_for_waiting(conn))
        peer.do(send_signal)
        peer.do(await_handled)
        peer.send("queue.purge_ok", 1)
        assert ch.queue_purge("q") == 1
    assert "in the middle of waiting for Channel.queue_purge_ok in the same thread" in refused[0]


def everything_refused(calls: List[Callable[[], Any]]) -> List[str]:
    said = []
    for call in calls:
        with pytest.raises(amqp.NestedCallError) as caught:
            call()
        assert isinstance(caught.value, RuntimeError)
        said.append(str(caught.value))
    return said


def test_in_the_middle_of_sending(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.open_channel(2)
    other = conn.channel()
    link, said = conn._link, []
    assert conn.transport is not None
    write = conn.transport.write

    def interrupted(*args: Any) -> int:
        monkeypatch.undo()
        said.extend(everything_refused([lambda: ch.basic_publish(amqp.Message("x")), lambda: other.queue_purge("q")]))
        return write(*args)

    monkeypatch.setattr(conn.transport, "write", interrupted)
    peer.expect("basic.ack", 1, False)
    ch.basic_ack(1)
    assert all("in the middle of sending in the same thread" in text for text in said)
    peer.answer("queue.purge", "queue.purge_ok", 2, channel=2)
    assert other.queue_purge("q") == 2
    assert link._mid_write is False


def test_in_the_middle_of_taking_in(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending is possible then; waiting for an answer is not, and the answer may come when nobody waits for it."""
    peer.open_channel(2)
    other = conn.channel()
    assert conn.transport is not None
    receive, said = conn.transport.receive, []

    def interrupted() -> bytes:
        monkeypatch.undo()
        other.basic_ack(1)
        said.extend(everything_refused([lambda: other.queue_purge("q")]))
        return receive()

    monkeypatch.setattr(conn.transport, "receive", interrupted)
    ch.callbacks["tag"] = lambda msg: None
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.expect("basic.ack", 1, False, channel=2)
    peer.expect("queue.purge", channel=2)
    peer.expect("channel.close", channel=2)
    ch.wait()
    assert "in the middle of receiving in the same thread" in said[0]
    assert not other.is_open
    assert ch.is_open


def test_waiting_in_the_middle_of_a_returned_message(
    peer: Peer, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned, said = ch.returned_messages, []
    put = returned.put

    def interrupted(item: Any) -> None:
        monkeypatch.undo()
        ch._noted = 1
        with returned.mutex:  # as in the middle of put()
            said.extend(everything_refused([ch.wait]))
        put(item)

    monkeypatch.setattr(returned, "put", interrupted)
    peer.send_content("basic.return", 312, "NO_ROUTE", "", "nobody", message=({}, b"x"))
    ch.wait(timeout=PATIENCE)
    assert "in the middle of receiving" in said[0]
    assert returned.get_nowait()[4].body == b"x"


def test_publishing_in_the_middle_of_decrypting(
    tls_peer: TLSPeer, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_peer.welcome()
    conn = amqp.Connection(tls_peer.address, ssl=trusting)
    tls_peer.open_channel()
    ch = conn.channel()
    transport: Any = conn.transport
    decrypted = transport._decrypted

    def interrupted() -> bytes:
        monkeypatch.undo()
        ch.basic_publish(amqp.Message(b"nested"))
        data: bytes = decrypted()
        return data

    monkeypatch.setattr(transport, "_decrypted", interrupted)
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    tls_peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, b"outer"))
    tls_peer.expect_content("basic.publish", message=({}, b"nested"))
    ch.wait(timeout=PATIENCE)
    assert [msg.body for msg in got] == [b"outer"]
    tls_peer.part()
    conn.close()


@pytest.mark.parametrize("attribute", ["receive", "write"])
def test_closing_the_connection_then(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    """It is over, without the server's agreement; nobody waits for ever."""
    original = getattr(conn.transport, attribute)

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        everything_refused([conn.close])
        return original(*args)

    monkeypatch.setattr(conn.transport, attribute, interrupted)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.drain()
    call = ch.wait if attribute == "receive" else lambda: ch.basic_publish(amqp.Message("x"))
    with pytest.raises(amqp.ConnectionLostError, match=r"NestedCallError came while|closed by this program"):
        call()
    assert conn.transport is None


def test_publishing_in_the_middle_of_a_counted_publish(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would count them in another order."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    send, said = newer._link.send_raw, []

    def interrupted(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        with pytest.raises(amqp91.NestedCallError) as caught:
            newer.basic_publish(amqp91.Message("nested"))
        said.append(str(caught.value))
        send(*args, **options)

    monkeypatch.setattr(newer._link, "send_raw", interrupted)
    newer_peer.expect_content("basic.publish", message=({"content_encoding": "UTF-8"}, b"outer"))
    assert newer.basic_publish(amqp91.Message("outer")) == 1
    newer_peer.expect_content("basic.publish", message=({"content_encoding": "UTF-8"}, b"next"))
    assert newer.basic_publish(amqp91.Message("next")) == 2
    assert "in the middle of publishing" in said[0]
    assert list(newer.unconfirmed) == [1, 2]


def test_in_the_middle_of_keeping_the_books(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of confirms: what is not sent is not counted either."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    newer_peer.expect_content("basic.publish", message=({}, b"outer"))
    newer.basic_publish(amqp91.Message(b"outer"), mandatory=True)
    confirms: Any = newer._confirms
    sort_out, said = confirms._sort_out, []

    def interrupted(alike: Any) -> None:
        monkeypatch.undo()
        message = amqp91.Message(b"nested")
        said.extend(
            everything_refused(
                [
                    lambda: newer.basic_publish(message),
                    lambda: newer.basic_publish(message, mandatory=True),
                    lambda: newer.basic_publish_confirm(message),
                    newer.wait_for_confirms,
                    lambda: confirms.collect(),
                ],
            )
        )
        sort_out(alike)

    monkeypatch.setattr(confirms, "_sort_out", interrupted)
    newer_peer.send("basic.ack", 1, False)
    newer.wait_for_confirms(timeout=PATIENCE)
    assert len(said) == 5
    assert all("the books of confirms" in text for text in said)
    newer_peer.expect_content("basic.publish", message=({}, b"next"))
    assert newer.basic_publish(amqp91.Message(b"next")) == 2
    assert list(newer.unconfirmed) == [2]


def test_closing_in_the_middle_of_the_end(
    newer_peer: Peer, newer_conn: amqp91.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends heartbeats is told once: the Event that tells it cannot be set in the middle of that."""
    newer_conn._link.make_heartbeats(60)
    beats, ended = newer_conn._link._beats, []
    assert beats is not None
    stop = beats.stop

    def interrupted() -> None:
        ended.append(newer_conn.transport)
        newer_conn._end("a signal handler closes it")
        stop()

    monkeypatch.setattr(beats, "stop", interrupted)
    newer_peer.part()
    newer_conn.close()
    assert len(ended) == 1


def test_an_exception_in_the_middle_of_a_counted_publish(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether the server will count it: the channel is over, so that no confirm is for another message."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()

    def interrupted(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(newer._link, "send_raw", interrupted)
    newer_peer.expect("channel.close")
    with pytest.raises(KeyboardInterrupt):
        newer.basic_publish(amqp91.Message("x"))
    assert not newer.is_open
    assert list(newer.unconfirmed) == [1]


def test_an_exception_while_a_batch_is_being_sent(
    peer: Peer, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it went."""

    def interrupted(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    peer.expect("channel.close")
    batch = ch.batch()
    batch.__enter__()
    ch.basic_publish(amqp.Message("x"))
    monkeypatch.setattr(ch._link, "send_raw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.__exit__(None, None, None)
    assert not ch.is_open


@pytest.mark.parametrize("before", [True, False])
def test_an_exception_between_the_socket_and_the_queues(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """What was read is lost, or may be: nothing can be believed any more, so the connection is over."""
    assert conn.transport is not None
    receive = conn.transport.receive

    def interrupted() -> bytes:
        if not before:
            receive()
        raise KeyboardInterrupt

    monkeypatch.setattr(conn.transport, "receive", interrupted)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.expect_end()
    with pytest.raises(KeyboardInterrupt):
        ch.wait()
    with pytest.raises(amqp.ConnectionLostError, match="KeyboardInterrupt came while data was being passed on"):
        ch.wait()


def test_a_leader_that_goes_without_a_word(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """As an exception can have it: those who waited for it look again."""
    link = conn._link
    link._leader = -1
    found: List[str] = []
    thread = threading.Thread(
        target=lambda: found.append(link.wait_for(lambda: "it" if link.bytes_in > seen else None))
    )
    seen = link.bytes_in
    thread.start()
    while not link._followers:
        pass
    link._leader = None
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    thread.join(PATIENCE)
    assert found == ["it"]


def test_publishing_where_counting_begins(
    newer_peer: Peer, newer: amqp91.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes before that, or is refused."""

    class Interrupted(Confirms):
        def __init__(self) -> None:
            super().__init__()
            newer.basic_publish(amqp91.Message(b"x"))

    monkeypatch.setattr(publishing, "Confirms", Interrupted)
    newer_peer.expect_content("basic.publish", message=({}, b"x"))
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    newer_peer.expect_content("basic.publish", message=({}, b"y"))
    assert newer.basic_publish(amqp91.Message(b"y")) == 1
