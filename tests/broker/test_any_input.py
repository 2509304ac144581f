"""Whatever a client sends, the broker itself does not fail over it."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from hypothesis import given
from hypothesis import strategies as st

from amqplib.broker.hub import Hub
from amqplib.wire.content import BASIC, encode_header
from amqplib.wire.frames import HEADER, encode_body, encode_frame
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1, Method
from tests.broker.test_without_io import Client, Clock
from tests.wire.helpers import FIELD_VALUES, examples, table_values, tables

METHODS = [method for method in AMQP_0_9_1.by_name.values() if method.name != "connection.close"]

#: Names and keys that meet each other, and what else may stand there.
few = st.sampled_from(["", "q", "e", "amq.topic", "amq.headers", "amq.direct", "x", "a.b", "#"])
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
    "x-priority": st.integers(),
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


WORK = ("exchange.", "queue.", "basic.", "tx.", "confirm.", "channel.")
ANY = st.sampled_from(METHODS).flatmap(of)
USEFUL = st.sampled_from([m for m in METHODS if m.name.startswith(WORK) and not m.name.endswith("_ok")]).flatmap(of)


def clients() -> Tuple[Hub, Clock, List[Client]]:
    clock = Clock()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    made = [Client(hub, clock), Client(hub, clock)]
    for client in made:
        client.log_in(0)
        client.send("queue.declare", 0, "q", False, False, False, False, False, {}, channel=1)
        client.send("basic.consume", 0, "q", "", False, False, False, False, {}, channel=1)
    return hub, clock, made


@examples(300)
@given(st.lists(st.tuples(st.sampled_from([0, 1]), USEFUL | USEFUL | ANY), max_size=25))
def test_methods(sequence: List[Tuple[int, bytes]]) -> None:
    """Any methods with any arguments, from two clients."""
    hub, clock, made = clients()
    for who, data in sequence:
        made[who].session.receive(data)
        clock.now += 0.01
        hub.timers.run()
    for client in made:
        client.names()
        client.session.lost()
    assert not hub.failures, hub.failures
    assert not hub.sessions


@examples(300)
@given(st.lists(USEFUL, min_size=1, max_size=5), st.data())
def test_octets(sequence: List[bytes], data: st.DataObject) -> None:
    """Some octets of some methods changed."""
    hub, _, made = clients()
    wire = bytearray(b"".join(sequence))
    for place in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=5)):
        wire[place] = data.draw(st.integers(0, 255))
    made[0].session.receive(bytes(wire))
    made[0].session.lost()
    assert not hub.failures, hub.failures


@examples(200)
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
