"""Proves that every call of a channel sends the bytes that AMQP 0-8 has for it, and returns what the reply says.

The payloads are written out by hand from the specification: class and method ids, then the arguments; bits share an
octet, the first of them lowest.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import pytest

import amqplib.client_0_8 as amqp
from tests.octets import frame, octets

from .peer import Peer

Call = Callable[[amqp.Channel], Any]


class Row(NamedTuple):
    """A call, the payload of its method frame, the name and arguments of the reply (if any), and what is returned."""

    call: Call
    payload: str
    reply: Tuple[Any, ...] = ()
    result: Any = None


TABLE_A = "0000 0007 01 'a' 49 0000 0001"  # {"a": 1}

ROWS: Dict[str, Row] = {
    "close": Row(lambda ch: ch.close(), "0014 0028 0000 00 0000 0000", ("channel.close_ok",)),
    "close, all": Row(
        lambda ch: ch.close(406, "bye", (60, 80)), "0014 0028 0196 03 'bye' 003C 0050", ("channel.close_ok",)
    ),
    "close, by name": Row(
        lambda ch: ch.close(reply_code=200, reply_text="é", method_sig=(50, 10)),
        "0014 0028 00C8 02 C3 A9 0032 000A",
        ("channel.close_ok",),
    ),
    "flow on": Row(lambda ch: ch.flow(True), "0014 0014 01", ("channel.flow_ok", True), True),
    "flow off": Row(lambda ch: ch.flow(active=False), "0014 0014 00", ("channel.flow_ok", False), False),
    "access_request": Row(
        lambda ch: ch.access_request("/data"), "001E 000A 05 '/data' 00", ("access.request_ok", 101), 101
    ),
    "access_request, positions": Row(
        lambda ch: ch.access_request("/data", True, False, True, False, True),
        "001E 000A 05 '/data' 15",
        ("access.request_ok", 0),
        0,
    ),
    "access_request, names": Row(
        lambda ch: ch.access_request(realm="/data", write=True, active=True, passive=True),
        "001E 000A 05 '/data' 0E",
        ("access.request_ok", 65535),
        65535,
    ),
    "exchange_declare": Row(
        lambda ch: ch.exchange_declare("logs", "fanout"),
        "0028 000A 0000 04 'logs' 06 'fanout' 04 00000000",
        ("exchange.declare_ok",),
    ),
    "exchange_declare, positions": Row(
        lambda ch: ch.exchange_declare("x", "topic", True, True, False, True, False, {"a": 1}, 7),
        "0028 000A 0007 01 'x' 05 'topic' 0B " + TABLE_A,
        ("exchange.declare_ok",),
    ),
    "exchange_declare, names": Row(
        lambda ch: ch.exchange_declare(
            ticket=7, arguments={"a": 1}, nowait=True, auto_delete=False, durable=True, type="direct", exchange="x"
        ),
        "0028 000A 0007 01 'x' 06 'direct' 12 " + TABLE_A,
    ),
    "exchange_delete": Row(
        lambda ch: ch.exchange_delete("logs"), "0028 0014 0000 04 'logs' 00", ("exchange.delete_ok",)
    ),
    "exchange_delete, positions": Row(
        lambda ch: ch.exchange_delete("logs", True, True, 3), "0028 0014 0003 04 'logs' 03"
    ),
    "exchange_delete, names": Row(
        lambda ch: ch.exchange_delete(exchange="logs", if_unused=True, ticket=3),
        "0028 0014 0003 04 'logs' 01",
        ("exchange.delete_ok",),
    ),
    "queue_declare": Row(
        lambda ch: ch.queue_declare(),
        "0032 000A 0000 00 08 00000000",
        ("queue.declare_ok", "amq.gen-1", 0, 0),
        ("amq.gen-1", 0, 0),
    ),
    "queue_declare, positions": Row(
        lambda ch: ch.queue_declare("q", True, True, True, False, False, {"a": 1}, 2),
        "0032 000A 0002 01 'q' 07 " + TABLE_A,
        ("queue.declare_ok", "q", 4294967295, 12),
        ("q", 4294967295, 12),
    ),
    "queue_declare, names": Row(
        lambda ch: ch.queue_declare(
            queue="ü", durable=True, exclusive=True, auto_delete=False, nowait=False, arguments={}, ticket=2
        ),
        "0032 000A 0002 02 C3 BC 06 00000000",
        ("queue.declare_ok", "ü", 1, 2),
        ("ü", 1, 2),
    ),
    "queue_declare, nowait": Row(lambda ch: ch.queue_declare("q", nowait=True), "0032 000A 0000 01 'q' 18 00000000"),
    "queue_bind": Row(
        lambda ch: ch.queue_bind("q", "x"), "0032 0014 0000 01 'q' 01 'x' 00 00 00000000", ("queue.bind_ok",)
    ),
    "queue_bind, positions": Row(
        lambda ch: ch.queue_bind("q", "x", "a.b", True, {"a": 1}, 9),
        "0032 0014 0009 01 'q' 01 'x' 03 'a.b' 01 " + TABLE_A,
    ),
    "queue_bind, names": Row(
        lambda ch: ch.queue_bind(ticket=9, arguments=None, nowait=False, routing_key="#", exchange="x", queue="q"),
        "0032 0014 0009 01 'q' 01 'x' 01 '#' 00 00000000",
        ("queue.bind_ok",),
    ),
    "queue_unbind": Row(
        lambda ch: ch.queue_unbind("q", "x"), "0032 0032 0000 01 'q' 01 'x' 00 00000000", ("queue.unbind_ok",)
    ),
    # there is no nowait on the wire, and so the answer has to be waited for
    "queue_unbind, positions": Row(
        lambda ch: ch.queue_unbind("q", "x", "a.b", True, {"a": 1}, 9),
        "0032 0032 0009 01 'q' 01 'x' 03 'a.b' " + TABLE_A,
        ("queue.unbind_ok",),
    ),
    "queue_unbind, names": Row(
        lambda ch: ch.queue_unbind(ticket=9, arguments={}, nowait=False, routing_key="#", exchange="x", queue="q"),
        "0032 0032 0009 01 'q' 01 'x' 01 '#' 00000000",
        ("queue.unbind_ok",),
    ),
    "queue_purge": Row(lambda ch: ch.queue_purge(), "0032 001E 0000 00 00", ("queue.purge_ok", 3), 3),
    "queue_purge, positions": Row(lambda ch: ch.queue_purge("q", True, 4), "0032 001E 0004 01 'q' 01"),
    "queue_purge, names": Row(
        lambda ch: ch.queue_purge(ticket=4, nowait=False, queue="q"),
        "0032 001E 0004 01 'q' 00",
        ("queue.purge_ok", 0),
        0,
    ),
    "queue_delete": Row(lambda ch: ch.queue_delete(), "0032 0028 0000 00 00", ("queue.delete_ok", 0), 0),
    "queue_delete, positions": Row(
        lambda ch: ch.queue_delete("q", True, True, False, 5), "0032 0028 0005 01 'q' 03", ("queue.delete_ok", 8), 8
    ),
    "queue_delete, names": Row(
        lambda ch: ch.queue_delete(ticket=5, nowait=True, if_empty=True, queue="q"), "0032 0028 0005 01 'q' 06"
    ),
    "basic_qos": Row(lambda ch: ch.basic_qos(0, 10, False), "003C 000A 00000000 000A 00", ("basic.qos_ok",)),
    "basic_qos, names": Row(
        lambda ch: ch.basic_qos(prefetch_size=65536, prefetch_count=1, a_global=True),
        "003C 000A 00010000 0001 01",
        ("basic.qos_ok",),
    ),
    "basic_consume": Row(
        lambda ch: ch.basic_consume(), "003C 0014 0000 00 00 00", ("basic.consume_ok", "amq.ctag-1"), "amq.ctag-1"
    ),
    "basic_consume, positions": Row(
        lambda ch: ch.basic_consume("q", "tag", True, True, True, False, print, 6),
        "003C 0014 0006 01 'q' 03 'tag' 07",
        ("basic.consume_ok", "tag"),
        "tag",
    ),
    "basic_consume, names": Row(
        lambda ch: ch.basic_consume(
            ticket=6, callback=None, nowait=True, exclusive=True, no_ack=True, consumer_tag="tag", queue="q"
        ),
        "003C 0014 0006 01 'q' 03 'tag' 0E",
        (),
        "tag",
    ),
    "basic_cancel": Row(lambda ch: ch.basic_cancel("tag"), "003C 001E 03 'tag' 00", ("basic.cancel_ok", "tag")),
    "basic_cancel, positions": Row(lambda ch: ch.basic_cancel("tag", True), "003C 001E 03 'tag' 01"),
    "basic_cancel, names": Row(
        lambda ch: ch.basic_cancel(nowait=False, consumer_tag="tag"),
        "003C 001E 03 'tag' 00",
        ("basic.cancel_ok", "tag"),
    ),
    "basic_get": Row(lambda ch: ch.basic_get(), "003C 0046 0000 00 00", ("basic.get_empty", ""), None),
    "basic_get, positions": Row(
        lambda ch: ch.basic_get("q", True, 11), "003C 0046 000B 01 'q' 01", ("basic.get_empty", ""), None
    ),
    "basic_get, names": Row(
        lambda ch: ch.basic_get(ticket=11, no_ack=False, queue="q"),
        "003C 0046 000B 01 'q' 00",
        ("basic.get_empty", "x"),
    ),
    "basic_ack": Row(lambda ch: ch.basic_ack(1), "003C 0050 0000000000000001 00"),
    "basic_ack, positions": Row(lambda ch: ch.basic_ack(2**64 - 1, True), "003C 0050 FFFFFFFFFFFFFFFF 01"),
    "basic_ack, names": Row(lambda ch: ch.basic_ack(multiple=True, delivery_tag=0), "003C 0050 0000000000000000 01"),
    "basic_reject": Row(lambda ch: ch.basic_reject(3, True), "003C 005A 0000000000000003 01"),
    "basic_reject, names": Row(
        lambda ch: ch.basic_reject(requeue=False, delivery_tag=3), "003C 005A 0000000000000003 00"
    ),
    "basic_recover": Row(lambda ch: ch.basic_recover(), "003C 0064 00"),
    "basic_recover, positions": Row(lambda ch: ch.basic_recover(True), "003C 0064 01"),
    "basic_recover, names": Row(lambda ch: ch.basic_recover(requeue=True), "003C 0064 01"),
    "tx_select": Row(lambda ch: ch.tx_select(), "005A 000A", ("tx.select_ok",)),
    "tx_commit": Row(lambda ch: ch.tx_commit(), "005A 0014", ("tx.commit_ok",)),
    "tx_rollback": Row(lambda ch: ch.tx_rollback(), "005A 001E", ("tx.rollback_ok",)),
}


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_call(peer: Peer, ch: amqp.Channel, row: Row) -> None:
    peer.expect_bytes(frame(1, 1, octets(row.payload)))
    if row.reply:
        peer.send(*row.reply)
    assert row.call(ch) == row.result


def test_opening_a_channel(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect_bytes(frame(1, 1, octets("0014 000A 00")))
    peer.send("channel.open_ok")
    conn.channel()
    peer.expect_bytes(frame(1, 2047, octets("0014 000A 00")))
    peer.send("channel.open_ok", channel=2047)
    conn.channel(2047)


class Flags(NamedTuple):
    """A method's bits in order, the other arguments of a call, and its payload around the octet of bits."""

    method: str
    args: Tuple[Any, ...]
    before: str
    bits: List[str]
    after: str = ""
    reply: Tuple[Any, ...] = ()


FLAGS = [
    Flags(
        "access_request",
        ("r",),
        "001E 000A 01 'r'",
        ["exclusive", "passive", "active", "write", "read"],
        "",
        ("access.request_ok", 1),
    ),
    Flags(
        "exchange_declare",
        ("x", "t"),
        "0028 000A 0000 01 'x' 01 't'",
        ["passive", "durable", "auto_delete", "internal", "nowait"],
        "00000000",
        ("exchange.declare_ok",),
    ),
    Flags("exchange_delete", ("x",), "0028 0014 0000 01 'x'", ["if_unused", "nowait"], "", ("exchange.delete_ok",)),
    Flags(
        "queue_declare",
        ("q",),
        "0032 000A 0000 01 'q'",
        ["passive", "durable", "exclusive", "auto_delete", "nowait"],
        "00000000",
        ("queue.declare_ok", "q", 0, 0),
    ),
    Flags(
        "queue_delete", ("q",), "0032 0028 0000 01 'q'", ["if_unused", "if_empty", "nowait"], "", ("queue.delete_ok", 0)
    ),
    Flags(
        "basic_consume",
        ("q", "t"),
        "003C 0014 0000 01 'q' 01 't'",
        ["no_local", "no_ack", "exclusive", "nowait"],
        "",
        ("basic.consume_ok", "t"),
    ),
]

ONE_FLAG = [pytest.param(row, name, id="%s %s" % (row.method, name)) for row in FLAGS for name in row.bits]


@pytest.mark.parametrize(("row", "name"), ONE_FLAG)
def test_each_bit_has_its_place(peer: Peer, ch: amqp.Channel, row: Flags, name: str) -> None:
    bits = bytes([1 << row.bits.index(name)])
    peer.expect_bytes(frame(1, 1, octets(row.before) + bits + octets(row.after)))
    if name != "nowait":
        peer.send(*row.reply)
    getattr(ch, row.method)(*row.args, **{other: other == name for other in row.bits})


@pytest.mark.parametrize("value", [1, "yes", [0]])
def test_a_bit_is_any_true_value(peer: Peer, ch: amqp.Channel, value: Any) -> None:
    peer.expect_bytes(frame(1, 1, octets("003C 0050 0000000000000001 01")))
    ch.basic_ack(1, value)


def test_a_granted_ticket_is_the_default_of_all_calls(peer: Peer, ch: amqp.Channel) -> None:
    assert ch.default_ticket == 0
    for granted in (5, 6):  # the latest one counts
        peer.answer("access.request", "access.request_ok", granted)
        ch.access_request("/data", active=True)
        assert ch.default_ticket == granted

    with_ticket: List[Tuple[Call, str]] = [
        (lambda ch: ch.exchange_declare("x", "t", nowait=True), "0028 000A TICKET 01 'x' 01 't' 14 00000000"),
        (lambda ch: ch.exchange_delete("x", nowait=True), "0028 0014 TICKET 01 'x' 02"),
        (lambda ch: ch.queue_declare("q", nowait=True), "0032 000A TICKET 01 'q' 18 00000000"),
        (lambda ch: ch.queue_bind("q", "x", nowait=True), "0032 0014 TICKET 01 'q' 01 'x' 00 01 00000000"),
        (lambda ch: ch.queue_purge("q", nowait=True), "0032 001E TICKET 01 'q' 01"),
        (lambda ch: ch.queue_delete("q", nowait=True), "0032 0028 TICKET 01 'q' 04"),
        (lambda ch: ch.basic_consume("q", "t", nowait=True), "003C 0014 TICKET 01 'q' 01 't' 08"),
    ]
    for call, payload in with_ticket:
        peer.expect_bytes(frame(1, 1, octets(payload.replace("TICKET", "0006"))))
        call(ch)
    peer.expect_bytes(frame(1, 1, octets("0032 001E 0000 01 'q' 01")))
    ch.queue_purge("q", True, ticket=0)  # no default is taken for a ticket that is given
    peer.expect_bytes(frame(1, 1, octets("0032 0032 0006 01 'q' 01 'x' 00 00000000")))
    peer.send("queue.unbind_ok")
    ch.queue_unbind("q", "x")
    peer.expect_bytes(frame(1, 1, octets("003C 0046 0006 01 'q' 00")))
    peer.send("basic.get_empty", "")
    ch.basic_get("q")


SIGNATURES = {
    "__init__": "connection, channel_id=None, auto_decode=True",
    "close": "reply_code=0, reply_text='', method_sig=(0, 0), timeout=None",
    "flow": "active",
    "access_request": "realm, exclusive=False, passive=False, active=False, write=False, read=False",
    "exchange_declare": "exchange, type, passive=False, durable=False, auto_delete=True, internal=False, nowait=False, "
    "arguments=None, ticket=None",
    "exchange_delete": "exchange, if_unused=False, nowait=False, ticket=None",
    "queue_declare": "queue='', passive=False, durable=False, exclusive=False, auto_delete=True, nowait=False, "
    "arguments=None, ticket=None",
    "queue_bind": "queue, exchange, routing_key='', nowait=False, arguments=None, ticket=None",
    "queue_unbind": "queue, exchange, routing_key='', nowait=False, arguments=None, ticket=None",
    "queue_purge": "queue='', nowait=False, ticket=None",
    "queue_delete": "queue='', if_unused=False, if_empty=False, nowait=False, ticket=None",
    "basic_qos": "prefetch_size, prefetch_count, a_global",
    "basic_consume": "queue='', consumer_tag='', no_local=False, no_ack=False, exclusive=False, nowait=False, "
    "callback=None, ticket=None, arguments=None, on_cancel=None",
    "basic_cancel": "consumer_tag, nowait=False",
    "basic_get": "queue='', no_ack=False, ticket=None",
    "basic_publish": "msg, exchange='', routing_key='', mandatory=False, immediate=False, ticket=None",
    "basic_ack": "delivery_tag, multiple=False",
    "basic_reject": "delivery_tag, requeue",
    "basic_recover": "requeue=False",
    "tx_select": "",
    "tx_commit": "",
    "tx_rollback": "",
    "wait": "allowed_methods=None, timeout=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_positions_names_and_defaults(name: str) -> None:
    parameters = inspect.signature(getattr(amqp.Channel, name)).parameters.values()
    shown = [str(p.replace(annotation=p.empty)) for p in parameters if p.name != "self"]
    assert ", ".join(shown) == SIGNATURES[name]
