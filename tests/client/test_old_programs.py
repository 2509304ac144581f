"""Proves what programs of amqplib 1.0 lean on: module paths, names, and the internals that they reach into."""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Optional

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client_0_8 import connection as connection_module
from amqplib.client_0_8 import transport as transport_module

from .peer import Peer, content, method

MODULES = {
    "abstract_channel": ["AbstractChannel"],
    "basic_message": ["Message"],
    "channel": ["Channel"],
    "connection": ["Connection", "create_transport"],
    "exceptions": ["AMQPException", "AMQPConnectionException", "AMQPChannelException", "METHOD_NAME_MAP"],
    "method_framing": ["MethodReader", "MethodWriter"],
    "serialization": ["AMQPReader", "AMQPWriter", "GenericContent"],
    "transport": ["AMQP_PROTOCOL_HEADER", "TCPTransport", "create_transport"],
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    module = importlib.import_module("amqplib.client_0_8." + name)
    for attribute in MODULES[name]:
        assert hasattr(module, attribute)
        assert getattr(amqp, attribute, None) in (None, getattr(module, attribute))


def test_import_star() -> None:
    names: Dict[str, Any] = {}
    exec("from amqplib.client_0_8 import *", names)
    for name in (
        "Connection",
        "Channel",
        "Message",
        "AMQPException",
        "AMQPConnectionException",
        "AMQPChannelException",
    ):
        assert names[name] is getattr(amqp, name)
        assert name in amqp.__all__


def test_both_ways_to_import() -> None:
    from amqplib import client_0_8

    assert client_0_8 is amqp


def test_a_message_is_a_generic_content() -> None:
    from amqplib.client_0_8.serialization import GenericContent

    assert issubclass(amqp.Message, GenericContent)


def test_another_protocol_header(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """1.0's own was the one with 8-0 in it, for a while; programs set what their broker takes."""
    monkeypatch.setattr(transport_module, "AMQP_PROTOCOL_HEADER", b"AMQP\x01\x01\x08\x00")
    peer.accept()
    peer.expect_bytes(b"AMQP\x01\x01\x08\x00")
    peer.send("connection.start", 8, 0, {}, "AMQPLAIN", "en_US", channel=0)
    peer.let_in()
    peer.open_host()
    conn = amqp.Connection(peer.address)
    peer.part()
    conn.close()


def test_another_transport(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    original = transport_module.create_transport
    calls: List[Any] = []

    def create_transport(*args: Any, **keywords: Any) -> Any:
        calls.append(args)
        return original(*args, **keywords)

    monkeypatch.setattr(connection_module, "create_transport", create_transport)
    peer.welcome()
    conn = amqp.Connection(peer.address)
    assert len(calls) == 1
    peer.part()
    conn.close()


# --- a loop of one's own -----------------------------------------------------------------------------------


def test_read_method(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """For all channels at once, as event loops do."""
    peer.open_channel(2)
    other = conn.channel()
    got: List[Any] = []
    for opened in (ch, other):
        opened.callbacks["tag"] = lambda msg: got.append((msg.channel.channel_id, msg.body))
    for number in (2, 1, 2):
        peer.send_content("basic.deliver", "tag", 1, False, "x", "k", message=({}, b"x"), channel=number)
    for _ in range(3):
        number, method_sig, args, msg = conn.method_reader.read_method()
        assert method_sig == (60, 60)
        assert args == ("tag", 1, False, "x", "k")
        assert conn.channels is not None
        channel = conn.channels[number]
        if msg is None:
            channel._METHOD_MAP[method_sig](channel, args)
        else:
            channel._METHOD_MAP[method_sig](channel, args, msg)
    assert sorted(got) == [(1, b"x"), (2, b"x"), (2, b"x")]


def test_read_method_without_content(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.send("basic.cancel", "tag", True)
    ch.callbacks["tag"] = None
    number, method_sig, args, msg = conn.method_reader.read_method()
    assert (number, method_sig, msg) == (1, (60, 30), None)
    ch._METHOD_MAP[method_sig](ch, args)
    assert ch.callbacks == {}


def test_read_method_and_the_end_of_a_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.send("channel.close", 404, "gone", 50, 10)
    peer.expect("channel.close_ok")
    number, method_sig, args, _ = conn.method_reader.read_method()
    assert (number, method_sig, tuple(args)) == (1, (20, 40), (404, "gone", 50, 10))
    with pytest.raises(amqp.AMQPChannelException) as caught:
        ch._METHOD_MAP[method_sig](ch, args)
    assert caught.value.args == (404, "gone", (50, 10), "Channel.queue_declare")
    assert not ch.is_open


def test_read_method_and_returned_messages(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """A loop gets each of them, from the queue of methods or from the network, and takes the arguments one by one."""
    peer.send_bytes(b"".join(content("basic.return", 312, "NO_ROUTE", "x", key) for key in "abc"))
    got: List[Any] = []
    while len(got) < 3:
        if ch.method_queue:
            method_sig, args, msg = ch.method_queue.popleft()
        else:
            _, method_sig, args, msg = conn.method_reader.read_method()
        assert method_sig == (60, 50)
        got.append((args.read_short(), args.read_shortstr(), args.read_shortstr(), args.read_shortstr(), msg))
    assert [item[:4] for item in got] == [(312, "NO_ROUTE", "x", key) for key in "abc"]
    assert [ch.returned_messages.get_nowait()[4] for _ in got] == [item[4] for item in got]


def test_write_method(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("basic.ack", 5, True)
    conn.method_writer.write_method(1, (60, 80), (5, True))
    peer.expect_content("basic.publish", 0, "x", "k", False, False, message=({"priority": 1}, b"body"))
    conn.method_writer.write_method(1, (60, 40), (0, "x", "k", False, False), amqp.Message(b"body", priority=1))
    with pytest.raises(ValueError, match="99, 99"):
        conn.method_writer.write_method(1, (99, 99), ())


def test_method_queue(peer: Peer, ch: amqp.Channel) -> None:
    """Of (method signature, args, content); programs look into it, take from it and put back."""
    got: List[Any] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    assert not ch.method_queue
    peer.expect("tx.select")
    deliveries = b"".join(content("basic.deliver", "tag", n, False, "x", "k") for n in (1, 2, 3))
    peer.send_bytes(deliveries + method("tx.select_ok"))
    ch.tx_select()
    assert len(ch.method_queue) == 3
    for n, (method_sig, args, msg) in enumerate(ch.method_queue, 1):
        assert (method_sig, args[1], type(msg)) == ((60, 60), n, amqp.Message)
    taken = ch.method_queue[1]
    ch.method_queue.remove(taken)
    ch.method_queue.append(taken)
    while ch.method_queue:
        ch.wait()
    assert got == [1, 3, 2]


# --- subclasses --------------------------------------------------------------------------------------------


class Base:
    """Something that knows nothing of AMQP."""

    class_attribute = 5

    def second(self) -> str:
        return "second"


class OldChannel(amqp.Channel, Base):
    def __init__(self, connection: Any, channel_id: Optional[int] = None, auto_decode: bool = True) -> None:
        self.before = "set before the constructor"
        self.closings: List[Any] = []
        super().__init__(connection, channel_id, auto_decode)
        self.after = self.channel_id

    def _do_close(self, *args: Any, **keywords: Any) -> None:
        self.closings.append((args, keywords))
        super()._do_close(*args, **keywords)


class OldConnection(amqp.Connection):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.before = "set before the constructor"
        self.closings: List[Any] = []
        super().__init__(*args, **keywords)

    def _do_close(self, *args: Any, **keywords: Any) -> None:
        self.closings.append((args, keywords))
        super()._do_close(*args, **keywords)

    def channel(self, channel_id: Optional[int] = None) -> OldChannel:
        assert self.channels is not None
        found = self.channels.get(channel_id) if channel_id is not None else None
        if isinstance(found, OldChannel):
            return found
        return OldChannel(self, channel_id)


def test_subclasses(peer: Peer) -> None:
    peer.welcome()
    conn = OldConnection(peer.address)
    peer.open_channel(3)
    ch = conn.channel(3)
    assert type(ch) is OldChannel
    assert conn.channel(3) is ch
    assert conn.channels == {0: conn, 3: ch}
    assert (ch.before, ch.after, ch.second(), ch.class_attribute) == ("set before the constructor", 3, "second", 5)
    peer.answer("queue.purge", "queue.purge_ok", 3, channel=3)
    assert ch.queue_purge("q") == 3
    peer.open_channel(1)
    other = conn.channel()
    peer.answer("channel.close", "channel.close_ok", channel=3)
    ch.close()
    assert ch.closings == [((), {})]
    peer.part()
    conn.close()
    conn.close()
    assert (conn.closings, ch.closings, other.closings) == ([((), {})], [((), {})], [((), {})])
    assert conn.transport is None


def test_attributes_whose_names_have_been_taken_since(peer: Peer) -> None:
    """A subclass keeps what it sets, before the constructor or after it."""

    class OwnChannel(amqp.Channel):
        def __init__(self, *args: Any) -> None:
            self.unconfirmed = 5  # type: ignore[misc, assignment]
            super().__init__(*args)

    class OwnConnection(amqp.Connection):
        def __init__(self, *args: Any) -> None:
            for name in ("blocked", "protocol", "method_reader", "method_writer"):
                setattr(self, name, 6)
            super().__init__(*args)

    peer.welcome()
    conn: Any = OwnConnection(peer.address)
    assert conn.blocked == conn.protocol == conn.method_reader == conn.method_writer == 6
    peer.open_channel()
    ch: Any = OwnChannel(conn)
    assert ch.unconfirmed == 5
    assert conn.stats().in_flight == 0
    peer.part()
    conn.close()


def test_subclasses_when_the_connection_is_lost(peer: Peer) -> None:
    peer.welcome()
    conn = OldConnection(peer.address)
    peer.open_channel(1)
    ch = conn.channel()
    peer.close()
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        ch.wait()
    assert (conn.closings, ch.closings) == ([((), {})], [((), {})])
    assert (conn.transport, ch.connection) == (None, None)


def test_a_channel_with_a_handler_of_its_own(peer: Peer, conn: amqp.Connection) -> None:
    """Handlers by method name, and by the map of the class."""
    seen: List[Any] = []

    class Own(amqp.Channel):
        def basic_deliver(self, args: Any, msg: amqp.Message) -> str:
            seen.append((args[1], msg.body))
            return "handled"

    Own._METHOD_MAP = {**amqp.Channel._METHOD_MAP, (60, 60): Own.basic_deliver}
    peer.open_channel()
    ch = Own(conn)
    peer.send_content("basic.deliver", "tag", 7, False, "x", "k", message=({}, b"x"))
    assert ch.wait() == "handled"  # wait() returns what the handler returns
    assert seen == [(7, b"x")]


def test_a_channel_with_a_handler_of_its_own_for_returned_messages(peer: Peer, conn: amqp.Connection) -> None:
    seen: List[Any] = []

    class Own(amqp.Channel):
        def basic_return(self, args: Any, msg: amqp.Message) -> None:
            seen.append((tuple(args), msg.body))

    Own._METHOD_MAP = {**amqp.Channel._METHOD_MAP, (60, 50): Own.basic_return}
    peer.open_channel()
    ch = Own(conn)
    peer.send_bytes(b"".join(content("basic.return", 312, "NO_ROUTE", "x", key, message=({}, b"b")) for key in "ab"))
    ch.wait()
    ch.wait()
    assert seen == [((312, "NO_ROUTE", "x", key), b"b") for key in "ab"]
    assert ch.returned_messages.empty()
