"""What servers' refusals mean, and what to write instead.

RabbitMQ's words name the rule that was broken, not the way out. What is known of it is added to the exception's text;
its arguments stay the server's.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any, Dict, NamedTuple, Tuple

from ...wire.spec import reply_of
from ...wire.text import printable
from .address import DEFAULT_PORT, DEFAULT_TLS_PORT

__all__ = ["add", "on", "on_frame_max", "on_global_qos", "on_returned", "what_answered"]


class _Advice(NamedTuple):
    reply_code: int
    words: Tuple[str, ...]  # all in the server's text, in lower case
    advice: str


_PLUGIN = (
    "without plugins RabbitMQ has direct, fanout, topic and headers; rabbitmq-plugins enable NAME adds a type: "
    "rabbitmq_delayed_message_exchange has x-delayed-message, rabbitmq_consistent_hash_exchange has x-consistent-hash"
)
_REPLICATED = (
    "a quorum queue or stream is for all connections, and stays: declare it with durable=True, auto_delete=False, "
    "exclusive=False (client_0_8's auto_delete is True unless given)"
)

_KNOWN = (
    _Advice(
        541,
        ("transient_nonexcl_queues",),
        "RabbitMQ 4.3, and earlier ones that are configured so, deny queues that are neither durable nor exclusive: "
        "declare it with durable=True, or, for this connection only, with exclusive=True",
    ),
    _Advice(
        540,
        ("prefetch_size",),
        "no version of RabbitMQ has prefetch_size, it limits deliveries by their number only: "
        "basic_qos(0, prefetch_count, False)",
    ),
    _Advice(
        540,
        ("immediate",),
        "RabbitMQ 3.0 and later have no immediate: leave it out; with mandatory=True a message that no queue takes "
        "comes back, and a queue with x-message-ttl 0 drops what no consumer takes at once",
    ),
    _Advice(
        540,
        ("active=false",),
        "RabbitMQ 3.3 and later have no channel.flow for clients: basic_qos(0, prefetch_count, False) limits what is "
        "delivered",
    ),
    _Advice(
        406,
        ("delivery acknowledgement", "timed out"),
        "the broker's consumer_timeout (30 minutes unless set otherwise, RabbitMQ 3.8.15 and later) is the longest a "
        "message may stay unacknowledged: acknowledge sooner, or, from 3.12 on, declare the queue with a longer "
        "x-consumer-timeout, in milliseconds",
    ),
    _Advice(
        406,
        ("inequivalent arg",),
        "the queue or exchange is there already, declared differently: use the same arguments (durable is False "
        "unless given, and so is auto_delete, which is True in client_0_8), or passive=True to take it as it is; or "
        "delete it first, with what is in it",
    ),
    _Advice(
        406,
        ("unknown delivery tag",),
        "a message is acknowledged or given back once, on the channel that it came on: this one has been already "
        "(multiple=True takes all before it, too), or it came with no_ack, or on another channel",
    ),
    _Advice(406, ("unknown exchange type",), _PLUGIN),
    _Advice(503, ("unknown exchange type",), _PLUGIN),
    _Advice(
        540,
        ("requeue=false",),
        "RabbitMQ has basic_recover(True) only, and False is the default: to have messages again on the same consumer, "
        "reject each with basic_reject(tag, True)",
    ),
    _Advice(406, ("invalid property 'auto-delete'",), _REPLICATED),
    _Advice(406, ("invalid property 'non-durable'",), _REPLICATED),
    _Advice(406, ("invalid property 'exclusive-owner'",), _REPLICATED),
    _Advice(
        405,
        ("exclusive access to locked queue",),
        "an exclusive queue is there for the connection that declared it: another program's, or one of this program's "
        "that was lost and that the broker has not given up yet. It does so within two heartbeats: declare it again "
        "after that (connect with a short heartbeat), or have the broker make up a name: queue_declare('', "
        "exclusive=True)",
    ),
    _Advice(
        406,
        ("fast reply consumer does not exist",),
        "replies to 'amq.rabbitmq.reply-to' come on the channel that asks: "
        "basic_consume('amq.rabbitmq.reply-to', no_ack=True, callback=...) there, before the first publish",
    ),
    _Advice(
        406,
        ("reply consumer cannot acknowledge",),
        "replies are not acknowledged: basic_consume('amq.rabbitmq.reply-to', no_ack=True, callback=...)",
    ),
    _Advice(
        406,
        ("reply consumer already set",),
        "a channel has one consumer of 'amq.rabbitmq.reply-to': one callback for all replies, told apart by their "
        "correlation_id",
    ),
    _Advice(
        403,
        ("login was refused", "mechanism external"),
        "no user has the name in the client certificate (RabbitMQ's ssl_cert_login_from says where that stands), or "
        "the broker was shown no certificate (certfile, keyfile)",
    ),
    _Advice(
        406,
        ("prefetch count is not set",),
        "RabbitMQ delivers from a stream only as far as it is acknowledged: basic_qos(0, 100, False) before "
        "basic_consume(), without no_ack",
    ),
    _Advice(
        540,
        ("basic.get not supported by stream",),
        "a stream is read with a consumer: basic_qos(0, 100, False), and basic_consume() or consume() with "
        "arguments={'x-stream-offset': 'first'}",
    ),
    _Advice(
        540,
        ("automatic acknowledgement not supported by stream",),
        "consume from a stream without no_ack, and acknowledge: that has it send more, as basic_qos() limits it",
    ),
    _Advice(
        540,
        ("queue.purge not supported by stream",),
        "what a stream has goes by its age or size: declare it with x-max-age or x-max-length-bytes; or delete it",
    ),
    _Advice(
        540,
        ("not supported by stream",),
        "a stream takes nothing back: acknowledge with basic_ack(); consume() gives nothing back where its arguments "
        "have an x-stream-offset",
    ),
    _Advice(
        540,
        ("does not support global qos",),
        "quorum queues and streams have a limit for each consumer only: basic_qos(0, prefetch_count, False)",
    ),
    _Advice(
        530,
        ("attempt to reuse consumer tag",),
        "a channel has one consumer of each tag: leave consumer_tag out, and the broker makes one up; or end the first "
        "with basic_cancel()",
    ),
    _Advice(
        403,
        ("in exclusive use",),
        "its consumer was made with exclusive=True, by another program or on a connection that was lost and that the "
        "broker has not given up yet, as it does within two heartbeats. For one that stands by, declare the queue with "
        "x-single-active-consumer: True, and consume without exclusive",
    ),
    _Advice(
        404,
        ("no queue", "in vhost"),
        "declare it first: queue_declare() makes it, unless it is there",
    ),
    _Advice(
        404,
        ("no exchange", "in vhost"),
        "declare it first: exchange_declare() makes it, unless it is there",
    ),
    _Advice(
        403,
        ("contains reserved prefix",),
        "names that begin with amq. are the broker's: choose another, or '' to have one made up for a queue; with "
        "passive=True what is there may be looked at",
    ),
    _Advice(
        406,
        ("cannot switch from",),
        "a channel has either confirms or transactions: open another one for the other",
    ),
    _Advice(
        406,
        ("larger than configured max size",),
        "the broker's max_message_size (128 MB, 16 MB from RabbitMQ 4.0 on, unless set otherwise) is the longest body "
        "that it takes: raise it there, or send the message in parts",
    ),
    _Advice(
        406,
        ("invalid expiration",),
        "expiration is a whole number of milliseconds, 0 or more, as a str: expiration='60000'",
    ),
    _Advice(
        406,
        ("user_id property set to",),
        "user_id is for the broker to check: leave it out, or give the name that this connection has logged in with",
    ),
    _Advice(
        406,
        ("expected integer, got",),
        "the value of this argument is an int: {'x-message-ttl': 60000}",
    ),
    _Advice(
        403,
        ("login was refused",),
        "user or password is not right, or the user may not log in from here: RabbitMQ lets guest in from its own "
        "machine only (loopback_users)",
    ),
    _Advice(
        530,
        ("vhost  not found",),  # sic: the name between the blanks is empty
        "the vhost '' was asked for, as by a URL that ends in /: leave that / out, or write %2f for the vhost '/'",
    ),
    _Advice(530, ("vhost", "not found"), "there is no such vhost: rabbitmqctl add_vhost makes it"),
    _Advice(
        541, ("vhost", "is down"), "the broker runs, the vhost does not: rabbitmqctl restart_vhost starts it again"
    ),
    # whatever else has this code
    _Advice(
        541,
        ("internal_error",),
        "RabbitMQ could not do what was asked for, and its log says why; nothing here says which call it was: the last "
        "one, or a publish before it, as of a header that it cannot read (a float that is not finite, raw bytes)",
    ),
    _Advice(530, ("access to vhost", "refused"), "the user may not use it: rabbitmqctl set_permissions -p allows it"),
)


#: From this version on RabbitMQ takes basic.qos with its global bit, and does nothing.
_NO_GLOBAL_QOS = (4, 3)

#: From this version on RabbitMQ refuses smaller frames, without a word.
_LARGER_FRAMES, _FRAME_MIN = (4, 1), 8192


#: With this code a mandatory message comes back.
_NO_ROUTE = reply_of("NO_ROUTE").code

#: Digits of a number in a version that is taken for one.
_DIGITS = 9


def _rabbitmq_is(server_properties: Dict[str, Any], version: Tuple[int, int]) -> bool:
    """Is it RabbitMQ of this version or a later one?"""
    if server_properties.get("product") != "RabbitMQ":
        return False
    parts = str(server_properties.get("version", "")).split(".")[:2]
    # a peer may say anything: superscripts are digits to isdigit(), and Python makes no numbers of thousands of digits
    numbers = takewhile(lambda part: part.isascii() and part.isdigit() and len(part) <= _DIGITS, parts)
    return tuple(map(int, numbers)) >= version


def _version(server_properties: Dict[str, Any]) -> str:
    return printable(str(server_properties.get("version")))


def on_frame_max(server_properties: Dict[str, Any], frame_max: int) -> str:
    """Advice on a frame_max to be agreed on, '' where it will do."""
    if frame_max >= _FRAME_MIN or not _rabbitmq_is(server_properties, _LARGER_FRAMES):
        return ""
    return (
        "RabbitMQ 4.1 and later, and this one is %s, refuse a frame_max under 8192: %d was asked for; connect with "
        "frame_max=8192 or more, or without" % (_version(server_properties), frame_max)
    )


def on_global_qos(server_properties: Dict[str, Any]) -> str:
    """Advice on a basic.qos for the whole channel, '' where it works."""
    if not _rabbitmq_is(server_properties, _NO_GLOBAL_QOS):
        return ""
    return (
        "RabbitMQ %s ignores a prefetch limit for the whole channel: use a_global=False, a limit a consumer"
        % _version(server_properties)
    )


def on_returned(reply_code: int, exchange: str, routing_key: str) -> str:
    """Advice on a message that came back, '' where the reason is another one than that no queue was there for it."""
    if reply_code != _NO_ROUTE:
        return ""
    if exchange:
        return "no queue is bound to exchange %r for routing key %r: queue_bind() does it" % (exchange, routing_key)
    return "no queue is named %r: queue_declare() makes it" % (routing_key,)


def on(reply_code: int, reply_text: str) -> str:
    """Advice on a refusal, '' where there is none to give."""
    text = reply_text.lower()
    for known in _KNOWN:
        if known.reply_code == reply_code and all(word in text for word in known.words):
            return known.advice
    return ""


# --- what answered instead of a broker, or in its place: recognised by its first octets

_AMQP = b"AMQP"

#: The last four octets of a protocol header: what is spoken there.
_VERSIONS = {
    b"\x01\x01\x08\x00": "AMQP 0-8",
    b"\x01\x01\x09\x01": "AMQP 0-8",
    b"\x01\x01\x00\x09": "AMQP 0-9",
    b"\x00\x00\x09\x00": "AMQP 0-9",
    b"\x00\x00\x09\x01": "AMQP 0-9-1",
    b"\x01\x01\x00\x0a": "AMQP 0-10",
    b"\x00\x01\x00\x00": "AMQP 1.0",
    b"\x02\x01\x00\x00": "AMQP 1.0 with TLS",
    b"\x03\x01\x00\x00": "AMQP 1.0 with SASL",
}

#: How others begin: an HTTP server, an SSH server, a server of mail or files; an alert of TLS.
_OTHERS = (
    (b"HTTP/", "an HTTP server answered; RabbitMQ's management listens on 15672, AMQP on %d" % DEFAULT_PORT),
    (b"SSH-", "an SSH server answered: check the port; AMQP's is %d" % DEFAULT_PORT),
    (b"220", "a mail or FTP server answered: check the port; AMQP's is %d" % DEFAULT_PORT),
    (
        b"\x15\x03",
        "it speaks TLS there: connect with ssl=True, or to the port without TLS; RabbitMQ's ports are %d with TLS and "
        "%d without" % (DEFAULT_TLS_PORT, DEFAULT_PORT),
    ),
)


def what_answered(opening: bytes, tls: bool, timed_out: bool = False) -> str:
    """What to `add` to the error that came before connection.start; '' where nothing is known.

    opening: the first octets that came. tls: is TLS spoken? timed_out: was it time that was up?
    """
    if opening.startswith(_AMQP):
        version = _VERSIONS.get(opening[4:8])
        return "; it speaks %s" % version if version else "; it speaks some other version of AMQP"
    for beginning, what in _OTHERS:
        if opening.startswith(beginning):
            return what
    if opening:
        return ""
    if timed_out:
        text = "something has accepted the connection and says nothing: an overloaded broker, or a proxy without one"
    else:
        text = "a proxy without a broker behind it does that"
    if not tls:
        text += "; or it is a port for TLS: connect with ssl=True"
    return "; " + text


def add(hint: str, text: str) -> str:
    """An error's text with what `what_answered` says. Who answered goes before the bytes that tell it."""
    return "%s%s" % (text, hint) if hint.startswith(";") or not hint else "%s (%s)" % (hint, text)
