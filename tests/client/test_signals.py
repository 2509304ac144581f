"""Proves that a signal handler, or a __del__, can call the library whatever its thread is in the middle of.

While the thread waits, it works, as closing the connection at SIGTERM has to. In the middle of sending or taking in it
cannot, and an error says so: waiting for what was interrupted would take for ever.

The handler is called where a signal would have it called, by a function put in the way.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import ssl
import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.broker import Broker
from amqplib.client import driver
from amqplib.client.connect.address import Address
from amqplib.client.deadline import Deadline
from amqplib.client.driver import Driver
from amqplib.client.net.transport import Transport
from amqplib.client.timeouts import Timeouts
from amqplib.protocol.confirms import Confirms
from amqplib.protocol.session import Session
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from tests.rest import await_rest

from .moments import moments
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


@pytest.fixture
def wait_for_waiting(conn: amqp.Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """For a step of the peer's: what was sent has been read here, and its sender waits for the answer."""
    assert conn.transport is not None
    readable, waits = conn.transport.readable, threading.Event()

    def noticed(seconds: float) -> bool:
        waits.set()
        try:
            return readable(seconds)
        finally:
            waits.clear()

    monkeypatch.setattr(conn.transport, "readable", noticed)

    def wait() -> None:
        assert waits.wait(PATIENCE)
        await_rest()  # a signal that comes just before the system's own wait does not end it

    return wait


def test_closing_the_connection_while_it_waits(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, wait_for_waiting: Callable[[], None]
) -> None:
    """As programs do at SIGTERM."""
    with handling(conn.close) as send_signal:
        peer.do(wait_for_waiting)  # and so for the rest of the script
        peer.do(send_signal)
        peer.part()
        with pytest.raises(amqp.ConnectionLostError, match="closed by this program"):
            ch.wait()


def test_ending_a_consumer_while_it_waits(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, wait_for_waiting: Callable[[], None]
) -> None:
    """What came meanwhile for the wait that was interrupted is not forgotten."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    with handling(lambda: ch.basic_cancel("other")) as send_signal:
        peer.do(wait_for_waiting)
        peer.do(send_signal)
        peer.expect("basic.cancel")
        peer.send_content("basic.deliver", "tag", 1, False, "", "")
        peer.send("basic.cancel_ok", "other")
        ch.wait(timeout=PATIENCE)
    assert len(got) == 1


def test_a_call_in_the_middle_of_one_on_another_channel(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, wait_for_waiting: Callable[[], None]
) -> None:
    peer.open_channel(2)
    other = conn.channel()
    answers: List[Any] = []
    with handling(lambda: answers.append(other.queue_purge("q"))) as send_signal:
        peer.expect("queue.purge")
        peer.do(wait_for_waiting)
        peer.do(send_signal)
        peer.expect("queue.purge", channel=2)
        peer.send("queue.purge_ok", 1)
        peer.send("queue.purge_ok", 2, channel=2)
        assert ch.queue_purge("q") == 1
    assert answers == [2]


def test_a_call_in_the_middle_of_one_on_the_same_channel(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, wait_for_waiting: Callable[[], None]
) -> None:
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
        peer.do(wait_for_waiting)
        peer.do(send_signal)
        peer.do(await_handled)
        peer.send("queue.purge_ok", 1)
        assert ch.queue_purge("q") == 1
    assert "in the middle of waiting for a reply on the same channel in the same thread" in refused[0]


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
    said: List[str] = []
    assert conn.transport is not None
    send = conn.transport.send

    def interrupted(data: Any) -> int:
        monkeypatch.undo()
        said.extend(everything_refused([lambda: ch.basic_publish(amqp.Message("x")), lambda: other.queue_purge("q")]))
        return send(data)

    monkeypatch.setattr(conn.transport, "send", interrupted)
    peer.expect("basic.ack", 1, False)
    ch.basic_ack(1)
    assert len(said) == 2
    assert all("in the same thread: from a signal handler" in text for text in said)
    peer.answer("queue.purge", "queue.purge_ok", 2, channel=2)
    assert other.queue_purge("q") == 2
    peer.expect_content("basic.publish", message=({}, b"y"))
    ch.basic_publish(amqp.Message(b"y"))


def test_in_the_middle_of_taking_in(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending is possible then; a call is not, for its answer could not be read, and nothing of it is sent."""
    peer.open_channel(2)
    other = conn.channel()
    assert conn.transport is not None
    receive, said = conn.transport.receive, []

    def interrupted() -> bytes:
        monkeypatch.undo()
        other.basic_ack(1)
        other.basic_publish(amqp.Message(b"x"))
        said.extend(everything_refused([lambda: other.queue_purge("q"), other.wait, conn.drain_events]))
        return receive()

    monkeypatch.setattr(conn.transport, "receive", interrupted)
    ch.callbacks["tag"] = lambda msg: None
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.expect("basic.ack", 1, False, channel=2)
    peer.expect_content("basic.publish", message=({}, b"x"), channel=2)
    ch.wait()
    assert len(said) == 3
    peer.answer("queue.purge", "queue.purge_ok", 2, channel=2)
    assert other.queue_purge("q") == 2
    assert ch.is_open


def test_waiting_in_the_middle_of_a_returned_message(
    peer: Peer, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publish meets two: the first one is there to be counted as the second one is being put behind it."""
    returned, said = ch.returned_messages, []
    put = returned.put

    def interrupted(item: Any) -> None:
        if returned.qsize():
            monkeypatch.undo()
            with returned.mutex:  # as in the middle of put()
                said.extend(everything_refused([ch.wait]))
        put(item)

    monkeypatch.setattr(returned, "put", interrupted)
    for _ in range(2):
        peer.send_content("basic.return", 312, "NO_ROUTE", "", "nobody", message=({}, b"x"))
    peer.wait()
    time.sleep(0.06)  # a program that only sends looks every 50 ms
    peer.expect("basic.publish")
    peer.drain()
    ch.basic_publish(amqp.Message(b"y"))
    assert len(said) == 1
    for _ in range(2):
        ch.wait(timeout=0)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0)
    assert [returned.get_nowait()[4].body for _ in range(2)] == [b"x"] * 2
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.connection.close(timeout=0.1)  # type: ignore[union-attr]  # the peer answers nothing any more


def test_publishing_in_the_middle_of_decrypting(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    handlers: List[Callable[[], Any]] = []

    class Interrupted(ssl.SSLObject):
        def read(self, *args: Any) -> Any:
            while handlers:
                handlers.pop()()
            return super().read(*args)

    context = ssl.create_default_context(cafile=trusting["ca_certs"])
    context.sslobject_class = Interrupted
    tls_peer.welcome()
    conn = amqp.Connection(tls_peer.address, ssl=context)
    tls_peer.open_channel()
    ch = conn.channel()
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    handlers.append(lambda: ch.basic_publish(amqp.Message(b"nested")))
    tls_peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, b"outer"))
    tls_peer.expect_content("basic.publish", message=({}, b"nested"))
    ch.wait(timeout=PATIENCE)
    assert [msg.body for msg in got] == [b"outer"]
    tls_peer.part()
    conn.close()


@pytest.mark.parametrize("attribute", ["receive", "send"])
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
    assert newer_conn.transport is not None
    send, said = newer_conn.transport.send, []

    def interrupted(data: Any) -> int:
        monkeypatch.undo()
        with pytest.raises(amqp91.NestedCallError) as caught:
            newer.basic_publish(amqp91.Message("nested"))
        said.append(str(caught.value))
        return send(data)

    monkeypatch.setattr(newer_conn.transport, "send", interrupted)
    newer_peer.expect_content("basic.publish", message=({"content_encoding": "UTF-8"}, b"outer"))
    assert newer.basic_publish(amqp91.Message("outer")) == 1
    newer_peer.expect_content("basic.publish", message=({"content_encoding": "UTF-8"}, b"next"))
    assert newer.basic_publish(amqp91.Message("next")) == 2
    assert "in the middle of publishing" in said[0]
    assert list(newer.unconfirmed) == [1, 2]


class Key(str):
    """A routing key that the books cannot look up without a signal handler being called."""

    handlers: List[Callable[[], Any]]

    def __hash__(self) -> int:
        while self.handlers:
            self.handlers.pop()()
        return super().__hash__()


def test_in_the_middle_of_keeping_the_books(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """Of confirms: what is not sent is not counted either."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    key = Key("q")
    key.handlers = []
    newer_peer.expect_content("basic.publish", message=({}, b"outer"))
    newer.basic_publish(amqp91.Message(b"outer"), routing_key=key, mandatory=True)
    said: List[str] = []
    message = amqp91.Message(b"nested")

    def interrupted() -> None:
        calls: List[Callable[[], Any]] = [
            lambda: newer.basic_publish(message, mandatory=True),
            lambda: newer.basic_publish_confirm(message),
            newer.wait_for_confirms,
        ]
        said.extend(everything_refused(calls))

    key.handlers.append(interrupted)
    newer_peer.send("basic.ack", 1, False)
    newer.wait_for_confirms(timeout=PATIENCE)
    assert len(said) == 3
    assert all("the books of confirms" in text for text in said)
    newer_peer.expect_content("basic.publish", message=({}, b"next"))
    assert newer.basic_publish(amqp91.Message(b"next")) == 2
    assert list(newer.unconfirmed) == [2]


@pytest.mark.parametrize("mandatory", [False, True])
@pytest.mark.parametrize("call", ["basic_publish_confirm", "wait_for_confirms"])
def test_publishing_at_every_moment_of_keeping_the_books(
    call: str, mandatory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, or counted as the broker counts it; and does not read what changes the books in the middle."""
    monkeypatch.setattr(driver, "LOOK_EVERY", PATIENCE)
    with Broker() as broker, amqp91.Connection(broker.address) as conn:
        for moment in moments("protocol/confirms.py", "client/confirming.py"):
            ch = conn.channel()
            ch.queue_declare("q")
            ch.confirm_select(on_ack=lambda tag, msg: None)
            tags: List[Optional[int]] = []

            def handler(ch: amqp91.Channel = ch, tags: List[Optional[int]] = tags) -> None:
                conn._amqplib.driver.look_at = 0.0  # it is time to look what the broker says
                with contextlib.suppress(amqp91.NestedCallError):
                    tags.append(ch.basic_publish(amqp91.Message(b"nested"), routing_key="q", mandatory=mandatory))

            first = ch.basic_publish(amqp91.Message(b"x"), routing_key="q", mandatory=True)
            assert select.select([conn.fileno()], [], [], PATIENCE)[0]  # what it says of that is here
            with moment(handler):
                if call == "wait_for_confirms":
                    ch.wait_for_confirms(timeout=PATIENCE)
                else:
                    tags.append(ch.basic_publish_confirm(amqp91.Message(b"x"), "", "q", True, timeout=PATIENCE))
            ch.wait_for_confirms(timeout=PATIENCE)
            assert sorted([first, *tags]) == list(range(1, 2 + len(tags)))  # type: ignore[type-var]
            assert ch.unconfirmed == {}
            assert ch.queue_declare("q", passive=True)[1] == 1 + len(tags)
            broker.faults.nack_every(1)
            with pytest.raises(amqp91.UnconfirmedError) as caught:
                ch.basic_publish_confirm(amqp91.Message(b"x"), routing_key="q", timeout=PATIENCE)
            assert list(caught.value.nacked) == [2 + len(tags)]
            broker.faults.clear()
            ch.queue_delete("q")
            ch.close()


def test_closing_in_the_middle_of_the_end(
    newer_peer: Peer, newer_conn: amqp91.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends once, in good order."""
    transport = newer_conn.transport
    assert transport is not None
    shut, closed = transport.shut, []

    def interrupted() -> None:
        monkeypatch.undo()
        newer_conn.close()
        closed.append(newer_conn.transport)
        shut()

    monkeypatch.setattr(transport, "shut", interrupted)
    newer_peer.part()
    newer_conn.close()
    assert closed == [None]
    assert newer_conn.transport is None
    assert transport.sock.fileno() < 0


GIVEN_UP = "KeyboardInterrupt came while data was being passed on"


@pytest.mark.parametrize("when", ["it has been counted", "it is sent"])
def test_an_exception_in_the_middle_of_a_counted_publish(
    newer_peer: Peer,
    newer_conn: amqp91.Connection,
    newer: amqp91.Channel,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Nobody knows whether the server will count it: all is over, so that no confirm is for another message."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    count = Confirms.count

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        if when == "it has been counted":
            count(*args)
        raise KeyboardInterrupt

    if when == "it has been counted":
        monkeypatch.setattr(Confirms, "count", interrupted)
    else:
        monkeypatch.setattr(newer_conn.transport, "send", interrupted)
    newer_peer.expect_end()
    msg = amqp91.Message("x")
    with pytest.raises(KeyboardInterrupt):
        newer.basic_publish(msg)
    for _ in range(2):
        with pytest.raises(amqp91.ConnectionLostError, match=GIVEN_UP):
            newer.basic_publish(amqp91.Message("y"))
    assert not newer.is_open
    assert newer.unconfirmed == {1: msg}
    with pytest.raises(amqp91.UnconfirmedError, match=GIVEN_UP) as caught:
        newer.wait_for_confirms(timeout=PATIENCE)
    assert caught.value.unconfirmed == {1: msg}


def test_an_exception_while_a_batch_is_being_sent(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it went."""

    def interrupted(data: Any) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    peer.expect_end()
    batch = ch.batch()
    batch.__enter__()
    ch.basic_publish(amqp.Message("x"))
    monkeypatch.setattr(conn.transport, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.__exit__(None, None, None)
    assert not ch.is_open
    with pytest.raises(amqp.ConnectionLostError, match=GIVEN_UP):
        ch.basic_publish(amqp.Message("x"))


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


def test_a_reader_that_goes_without_a_word() -> None:
    """As an exception can have it: those who waited for it look again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = Session(Receiver(AMQP_0_9_1, lambda properties, body: body, utc_time), Sender(AMQP_0_9_1))
        driver = Driver(session, Transport(ours, Address("nowhere", 1)), Timeouts(), "nowhere")
        driver.reader = -1
        found: List[str] = []
        thread = threading.Thread(
            target=lambda: found.append(
                driver.wait_for(lambda: "it" if driver.liveness.octets else None, Deadline(PATIENCE))
            )
        )
        thread.start()
        end = time.monotonic() + PATIENCE
        while not driver.followers:
            assert time.monotonic() < end
        driver.reader = None
        theirs.sendall(b"\x08\0\0\0\0\0\0\xce")
        thread.join(3)  # it looks once a second
        assert found == ["it"]


def test_publishing_where_counting_begins(
    newer_peer: Peer, newer: amqp91.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes before that, or is refused."""
    said: List[str] = []

    class Interrupted(Confirms):
        def __init__(self) -> None:
            super().__init__()
            said.extend(everything_refused([lambda: newer.basic_publish(amqp91.Message(b"x"))]))

    monkeypatch.setattr(Session, "books_class", Interrupted)
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    assert len(said) == 1
    newer_peer.expect_content("basic.publish", message=({}, b"y"))
    assert newer.basic_publish(amqp91.Message(b"y")) == 1
