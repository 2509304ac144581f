"""The method table: every AMQP method that we speak, one row each, and the dialects made of the rows.

This is the only place where class and method ids are written. Encoders, decoders, replies, the names in
exceptions and the documentation's list are all read from here, and the tests compare the rows with
RabbitMQ's own tables.

A row is: class.method, class id, method id, then the fields in wire order as name:type. `+content` marks
a method that a content header and body follow; `-> ...` lists the replies that answer it.

The reply codes of a close are a table as well, the only one: the client's exceptions and the broker's texts read it.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from . import codecs

__all__ = ["AMQP_0_8", "AMQP_0_9_1", "REPLIES", "Dialect", "Method", "Reply", "Sig", "reply_of", "sig_of"]

Sig = Tuple[int, int]

_SHARED = """
connection.start          10 10  version_major:octet version_minor:octet server_properties:table mechanisms:longstr locales:longstr -> connection.start_ok
connection.start_ok       10 11  client_properties:table mechanism:shortstr response:longstr locale:shortstr
connection.secure         10 20  challenge:longstr -> connection.secure_ok
connection.secure_ok      10 21  response:longstr
connection.tune           10 30  channel_max:short frame_max:long heartbeat:short -> connection.tune_ok
connection.tune_ok        10 31  channel_max:short frame_max:long heartbeat:short
connection.open           10 40  virtual_host:shortstr capabilities:shortstr insist:bit -> connection.open_ok connection.redirect
connection.open_ok        10 41  known_hosts:shortstr

channel.open              20 10  out_of_band:shortstr -> channel.open_ok
channel.flow              20 20  active:bit -> channel.flow_ok
channel.flow_ok           20 21  active:bit
channel.close             20 40  reply_code:short reply_text:shortstr class_id:short method_id:short -> channel.close_ok
channel.close_ok          20 41

access.request            30 10  realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit -> access.request_ok
access.request_ok         30 11  ticket:short

exchange.declare          40 10  ticket:short exchange:shortstr type:shortstr passive:bit durable:bit auto_delete:bit internal:bit nowait:bit arguments:table -> exchange.declare_ok
exchange.declare_ok       40 11
exchange.delete           40 20  ticket:short exchange:shortstr if_unused:bit nowait:bit -> exchange.delete_ok
exchange.delete_ok        40 21

queue.declare             50 10  ticket:short queue:shortstr passive:bit durable:bit exclusive:bit auto_delete:bit nowait:bit arguments:table -> queue.declare_ok
queue.declare_ok          50 11  queue:shortstr message_count:long consumer_count:long
queue.bind                50 20  ticket:short queue:shortstr exchange:shortstr routing_key:shortstr nowait:bit arguments:table -> queue.bind_ok
queue.bind_ok             50 21
queue.purge               50 30  ticket:short queue:shortstr nowait:bit -> queue.purge_ok
queue.purge_ok            50 31  message_count:long
queue.delete              50 40  ticket:short queue:shortstr if_unused:bit if_empty:bit nowait:bit -> queue.delete_ok
queue.delete_ok           50 41  message_count:long
queue.unbind              50 50  ticket:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table -> queue.unbind_ok
queue.unbind_ok           50 51

basic.qos                 60 10  prefetch_size:long prefetch_count:short a_global:bit -> basic.qos_ok
basic.qos_ok              60 11
basic.consume_ok          60 21  consumer_tag:shortstr
basic.cancel              60 30  consumer_tag:shortstr nowait:bit -> basic.cancel_ok
basic.cancel_ok           60 31  consumer_tag:shortstr
basic.publish             60 40  ticket:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit +content
basic.return              60 50  reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr +content
basic.deliver             60 60  consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr +content
basic.get                 60 70  ticket:short queue:shortstr no_ack:bit -> basic.get_ok basic.get_empty
basic.get_ok              60 71  delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr message_count:long +content
basic.get_empty           60 72  cluster_id:shortstr
basic.ack                 60 80  delivery_tag:longlong multiple:bit
basic.reject              60 90  delivery_tag:longlong requeue:bit
basic.recover_async       60 100 requeue:bit
basic.recover             60 110 requeue:bit -> basic.recover_ok
basic.recover_ok          60 111

tx.select                 90 10  -> tx.select_ok
tx.select_ok              90 11
tx.commit                 90 20  -> tx.commit_ok
tx.commit_ok              90 21
tx.rollback               90 30  -> tx.rollback_ok
tx.rollback_ok            90 31
"""

_ONLY_0_8 = """
connection.redirect       10 50  host:shortstr known_hosts:shortstr
connection.close          10 60  reply_code:short reply_text:shortstr class_id:short method_id:short -> connection.close_ok
connection.close_ok       10 61
channel.open_ok           20 11
channel.alert             20 30  reply_code:short reply_text:shortstr details:table
basic.consume             60 20  ticket:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit nowait:bit -> basic.consume_ok
"""

_ONLY_0_9_1 = """
connection.close          10 50  reply_code:short reply_text:shortstr class_id:short method_id:short -> connection.close_ok
connection.close_ok       10 51
connection.blocked        10 60  reason:shortstr
connection.unblocked      10 61
connection.update_secret  10 70  new_secret:longstr reason:shortstr -> connection.update_secret_ok
connection.update_secret_ok 10 71
channel.open_ok           20 11  channel_id:longstr
exchange.bind             40 30  ticket:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table -> exchange.bind_ok
exchange.bind_ok          40 31
exchange.unbind           40 40  ticket:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table -> exchange.unbind_ok
exchange.unbind_ok        40 51
basic.consume             60 20  ticket:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit nowait:bit arguments:table -> basic.consume_ok
basic.nack                60 120 delivery_tag:longlong multiple:bit requeue:bit
confirm.select            85 10  nowait:bit -> confirm.select_ok
confirm.select_ok         85 11
"""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    class_id: int
    method_id: int
    fields: Tuple[Tuple[str, str], ...]
    has_content: bool
    replies: Tuple[str, ...]


def _rows(text: str) -> Iterator[Row]:
    for line in filter(None, text.split("\n")):
        call, _, replies = line.partition("->")
        name, class_id, method_id, *words = call.split()
        fields = tuple((w.split(":")[0], w.split(":")[1]) for w in words if w[0] != "+")
        yield Row(name, int(class_id), int(method_id), fields, "+content" in words, tuple(replies.split()))


class Method:
    """A method of one dialect: its row, and the functions compiled from it on first use.

    `sig` is the (class id, method id) by which programs know the method: the 0-8 ids, whatever the dialect,
    so that a program written against 0-8 reads the same ids everywhere. `key` is the pair on the wire, as
    one 32-bit number.
    """

    __slots__ = ("_encode", "decode", "fields", "has_content", "key", "name", "replies", "sig")

    #: Arguments of a payload: decode(buffer, offset of the first argument, end of the frame's payload, reading).
    decode: codecs.Decoder

    def __init__(self, row: Row, sig: Sig) -> None:
        self.name = row.name
        self.sig = sig
        self.key = row.class_id << 16 | row.method_id
        self.fields = row.fields
        self.has_content = row.has_content
        #: Signatures of the methods that answer this one; empty for a method that nothing answers.
        self.replies: Tuple[Sig, ...] = ()
        self.decode = self._first_decode
        self._encode: Optional[codecs.Encoder] = None

    def encode(self, *args: object) -> bytes:
        """The payload of a method frame: both ids and the arguments, given in the row's order.

        LocalError names the method and the argument that does not fit.
        """
        if self._encode is None:
            self._encode = codecs.compile_encoder(self.key, self.fields)
        try:
            return self._encode(*args)
        except codecs.MISFITS as exc:
            raise codecs.explain(self.name, self.fields, args, exc) from None

    def _first_decode(self, *call: object) -> Tuple[object, ...]:
        self.decode = codecs.compile_decoder(self.fields)
        decode: Callable[..., Tuple[object, ...]] = self.decode
        return decode(*call)

    def __repr__(self) -> str:
        return "<%s %d,%d>" % (self.name, self.key >> 16, self.key & 0xFFFF)


class Dialect:
    """A version of the protocol: its name, its protocol header and its methods, by name and by wire key."""

    __slots__ = ("by_key", "by_name", "header", "name")

    def __init__(self, name: str, header: bytes, table: str) -> None:
        self.name = name
        #: The 8 bytes that a client opens with.
        self.header = header
        rows = list(_rows(table))
        self.by_name: Dict[str, Method] = {row.name: Method(row, _api_sig(row)) for row in rows}
        self.by_key: Dict[int, Method] = {method.key: method for method in self.by_name.values()}
        for row in rows:
            # connection.redirect answers connection.open in one dialect only
            known = (self.by_name.get(reply) for reply in row.replies)
            self.by_name[row.name].replies = tuple(method.sig for method in known if method)

    def sig(self, class_id: int, method_id: int) -> Sig:
        """The signature that programs know for the ids of a method on the wire."""
        method = self.by_key.get(class_id << 16 | method_id)
        return method.sig if method else (class_id, method_id)

    def ids(self, sig: Sig) -> Tuple[int, int]:
        """The ids on the wire of the method that programs know by this signature; (0, 0) where there is none."""
        key = next((method.key for method in self.by_name.values() if method.sig == sig), 0)
        return key >> 16, key & 0xFFFF

    def __getitem__(self, name: str) -> Method:
        return self.by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def __repr__(self) -> str:
        return "<AMQP %s>" % self.name


_SIGS_0_8: Dict[str, Sig] = {r.name: (r.class_id, r.method_id) for r in _rows(_SHARED + _ONLY_0_8)}


def _api_sig(row: Row) -> Sig:
    """The 0-8 ids; a method that 0-8 lacks keeps its own, unless they mean something else there (10,60 and 10,61)."""
    own = row.class_id, row.method_id
    if row.name not in _SIGS_0_8 and own in _SIGS_0_8.values():
        return row.class_id, -row.method_id
    return _SIGS_0_8.get(row.name, own)


# The old client wrote 01 01 09 01 for "0-9 framing of 0-8"; RabbitMQ up to 3.13 reads it as 0-8.
AMQP_0_8 = Dialect("0-8", b"AMQP\x01\x01\x09\x01", _SHARED + _ONLY_0_8)
AMQP_0_9_1 = Dialect("0-9-1", b"AMQP\x00\x00\x09\x01", _SHARED + _ONLY_0_9_1)


def sig_of(name: str) -> Sig:
    """The signature that programs know for a method, whichever dialects have it."""
    return (AMQP_0_8 if name in AMQP_0_8 else AMQP_0_9_1)[name].sig


# --- reply codes

#: Section "constants" of 0-8 and 0-9-1. What the specification calls a soft error ends the channel, a hard one the
#: connection. RabbitMQ's reply texts begin with the names. 310, 312 and 313 are of basic.return.
_REPLIES = """
310 NOT_DELIVERED        channel
311 CONTENT_TOO_LARGE    channel
312 NO_ROUTE             channel
313 NO_CONSUMERS         channel
320 CONNECTION_FORCED    connection
402 INVALID_PATH         connection
403 ACCESS_REFUSED       channel
404 NOT_FOUND            channel
405 RESOURCE_LOCKED      channel
406 PRECONDITION_FAILED  channel
501 FRAME_ERROR          connection
502 SYNTAX_ERROR         connection
503 COMMAND_INVALID      connection
504 CHANNEL_ERROR        connection
505 UNEXPECTED_FRAME     connection
506 RESOURCE_ERROR       connection
530 NOT_ALLOWED          connection
540 NOT_IMPLEMENTED      connection
541 INTERNAL_ERROR       connection
"""


class Reply(NamedTuple):
    """One line of that table."""

    code: int
    name: str
    #: What the close that has it ends: "channel" or "connection".
    ends: str


REPLIES: Dict[int, Reply] = {
    int(code): Reply(int(code), name, ends) for code, name, ends in map(str.split, _REPLIES.strip().split("\n"))
}


def reply_of(name: str) -> Reply:
    """The reply code of this name."""
    return next(reply for reply in REPLIES.values() if reply.name == name)
