"""Whatever a client sends, the broker itself does not fail over it."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.broker.hub import Hub
from amqplib.wire.content import BASIC, encode_header
from amqplib.wire.frames import HEADER, encode_body, encode_frame
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1, Method
from tests.broker.test_without_io import Client, Clock
from tests.wire.helpers import FIELD_VALUES, examples, table_values, tables

pytestmark = pytest.mark.timeout(300)  # a second or two of work, which a busy machine takes its time for

METHODS = [method for method in AMQP_0_9_1.by_name.values() if method.name != "connection.close"]

#: Names and keys that meet each other, and what else may stand there.
few = st.sampled_from(["", "q", "q", "q", "d", "e", "amq.topic", "amq.headers", "x", "a.b", "#"])
ARGUMENTS = {
    "x-expires": st.integers(-1, 5000),
    "x-message-ttl": st.integers(-1, 50),
    "x-max-length": st.integers(-1, 3),
    "x-max-length-bytes": st.integers(-1, 3),
    "x-max-priority": st.integers(-1, 9),
    "x-overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
    "x-dead-letter-exchange": few,
    "x-dead-letter-routing-key": few,
    "x-single-active-consumer": st.booleans(),
    "x-queue-type": st.sampled_from(["classic", "quorum", "stream"]),
    "x-delivery-limit": st.integers(0, 2),
    "x-match": st.sampled_from(["all", "any"]),
    "x-priority": st.integers(-(2**63), 2**63 - 1),
    "alternate-exchange": few,
}
sensible: st.SearchStrategy[Dict[str, Any]] = st.fixed_dictionaries({}, optional=ARGUMENTS)
senseless = st.dictionaries(st.sampled_from(list(ARGUMENTS)), table_values, max_size=3)
FIELDS: Dict[str, st.SearchStrategy[Any]] = {
    **FIELD_VALUES,
    "shortstr": few,
    "table": sensible | senseless | tables,
    "longlong": st.integers(0, 5),
    "bit": st.sampled_from([False, False, True]),
}
HEADERS = {
    "CC": table_values | st.lists(few, max_size=2),
    "BCC": table_values,
    "x-death": table_values | st.lists(tables, max_size=2),
}
PROPERTIES: Dict[str, st.SearchStrategy[Any]] = {
    "application_headers": st.fixed_dictionaries({}, optional=HEADERS) | tables,
    "expiration": st.sampled_from(["0", "5", "-1", "x", "99999999999999999999"]),
    "priority": st.integers(0, 255),
    "user_id": st.sampled_from(["guest", "fred"]),
    "timestamp": FIELD_VALUES["timestamp"],
}


def said(method: Method, channel: int, args: Tuple[Any, ...], properties: Dict[str, Any], body: bytes) -> bytes:
    """The method, and its content where it has one."""
    frame = Sender(AMQP_0_9_1).method(channel, method, args)
    if not method.has_content:
        return frame
    header = encode_frame(HEADER, channel, encode_header(BASIC.encode(properties), len(body)))
    return b"".join((frame, header, *encode_body(channel, body, 0)))


def of(method: Method) -> st.SearchStrategy[bytes]:
    channel = st.just(0) if method.name.startswith("connection") else st.sampled_from([1, 1, 1, 2])
    args = st.tuples(*(FIELDS[kind] for _, kind in method.fields))
    properties: st.SearchStrategy[Dict[str, Any]] = st.fixed_dictionaries({}, optional=PROPERTIES)
    return st.builds(lambda *given: said(method, *given), channel, args, properties, st.binary(max_size=3))


WORK = ("exchange.", "queue.", "basic.", "tx.")
ANY = st.sampled_from(METHODS).flatmap(of)
USEFUL = st.sampled_from([m for m in METHODS if m.name.startswith(WORK) and not m.name.endswith("_ok")]).flatmap(of)
OFTEN = st.sampled_from([AMQP_0_9_1["basic." + name] for name in ("publish", "publish", "get", "reject", "nack")])
SEQUENCE = st.lists(st.tuples(st.sampled_from([0, 1]), OFTEN.flatmap(of) | USEFUL | ANY), min_size=5, max_size=40)

DYING = {"x-message-ttl": 20, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}


class World:
    """Two clients with something to work on; one that has ended is followed by another."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, {"guest": "guest"}, ["/"])
        self.clients = [self.client(), self.client()]

    def client(self) -> Client:
        client = Client(self.hub, self.clock)
        client.log_in(0)
        self.work_for(client)
        client.names()
        return client

    @staticmethod
    def work_for(client: Client) -> None:
        for name, arguments in (("q", {"x-dead-letter-exchange": "e", "x-max-length": 5}), ("d", DYING)):
            client.send("queue.declare", 0, name, False, False, False, False, False, arguments, channel=1)
        client.send("exchange.declare", 0, "e", "topic", False, False, False, False, False, {}, channel=1)
        client.send("queue.bind", 0, "d", "e", "#", False, {}, channel=1)
        client.send("basic.qos", 0, 2, False, channel=1)
        client.send("basic.consume", 0, "d", "", False, False, False, False, {}, channel=1)

    def play(self, who: int, data: bytes) -> None:
        client = self.clients[who]
        client.session.receive(data)
        self.clock.now += 0.01
        self.hub.timers.run()
        names = client.names()
        if "connection.close" in names or client.session.finished:
            client.session.lost()
            self.clients[who] = self.client()
        elif "channel.close" in names:
            client.send("channel.close_ok", channel=1)
            client.send("channel.open", "", channel=1)
            self.work_for(client)

    def end(self) -> None:
        for client in self.clients:
            client.session.lost()
        assert not self.hub.failures, self.hub.failures
        assert not self.hub.sessions
        assert not self.hub.handshakes
        vhost = self.hub.vhosts["/"]
        for queue in vhost.queues.values():
            assert queue.unacknowledged == 0
            assert queue.consumers == []
        vhost.restart(durable=True)
        vhost.restart(durable=False)
        assert vhost.queues == {}
        assert all(name == "" or name.startswith("amq.") for name in vhost.exchanges)
        assert self.hub.memory.octets == 0


@examples(100)
@given(SEQUENCE)
def test_methods(sequence: List[Tuple[int, bytes]]) -> None:
    """Any methods with any arguments; in the end, nobody holds anything."""
    world = World()
    for who, data in sequence:
        world.play(who, data)
    world.end()


@examples(100)
@given(st.lists(USEFUL, min_size=1, max_size=5), st.data())
def test_octets(sequence: List[bytes], data: st.DataObject) -> None:
    """Some octets of some methods changed."""
    world = World()
    wire = bytearray(b"".join(sequence))
    for place in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=5)):
        wire[place] = data.draw(st.integers(0, 255))
    world.play(0, bytes(wire))
    world.end()


@examples(100)
@given(st.binary(max_size=60))
def test_noise(noise: bytes) -> None:
    """Before the login, where anything may come."""
    clock = Clock()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    for start in (b"", AMQP_0_9_1.header, AMQP_0_9_1.header + b"\x01\x00\x00"):
        client = Client(hub, clock)
        client.session.receive(start + noise)
        client.session.lost()
    assert not hub.failures, hub.failures
