"""What servers' refusals mean, and what to write instead.

RabbitMQ's words name the rule that was broken, not the way out. What is known of it is added to the exception's text;
its arguments stay the server's.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

__all__ = ["on", "on_frame_max", "on_global_qos"]


class _Advice(NamedTuple):
    reply_code: int
    words: Tuple[str, ...]  # all in the server's text, in lower case
    advice: str


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
        "the queue or exchange is there already, declared differently: use the same arguments, or passive=True to "
        "take it as it is",
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
        ("not supported by stream",),
        "a stream takes nothing back: acknowledge with basic_ack(); consume() gives nothing back where its arguments "
        "have an x-stream-offset",
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
        "a URL that ends in / names the vhost '': leave the / out, or write %2f for the vhost '/'",
    ),
    _Advice(530, ("vhost", "not found"), "there is no such vhost: rabbitmqctl add_vhost makes it"),
    _Advice(530, ("access to vhost", "refused"), "the user may not use it: rabbitmqctl set_permissions -p allows it"),
)


#: From this version on RabbitMQ takes basic.qos with its global bit, and does nothing.
_NO_GLOBAL_QOS = (4, 3)

#: From this version on RabbitMQ refuses smaller frames, without a word.
_LARGER_FRAMES, _FRAME_MIN = (4, 1), 8192


def _rabbitmq_is(server_properties: Dict[str, Any], version: Tuple[int, int]) -> bool:
    """Is it RabbitMQ of this version or a later one?"""
    if server_properties.get("product") != "RabbitMQ":
        return False
    numbers = str(server_properties.get("version", "")).split(".")[:2]
    return tuple(int(part) for part in numbers if part.isdigit()) >= version


def on_frame_max(server_properties: Dict[str, Any], frame_max: int) -> str:
    """Advice on a frame_max to be agreed on, '' where it will do."""
    if frame_max >= _FRAME_MIN or not _rabbitmq_is(server_properties, _LARGER_FRAMES):
        return ""
    return (
        "RabbitMQ 4.1 and later, and this one is %s, refuse a frame_max under 8192: %d was asked for; connect with "
        "frame_max=8192 or more, or without" % (server_properties.get("version"), frame_max)
    )


def on_global_qos(server_properties: Dict[str, Any]) -> str:
    """Advice on a basic.qos for the whole channel, '' where it works."""
    if not _rabbitmq_is(server_properties, _NO_GLOBAL_QOS):
        return ""
    return (
        "RabbitMQ %s ignores a prefetch limit for the whole channel: use a_global=False, a limit a consumer"
        % server_properties.get("version")
    )


def on(reply_code: int, reply_text: str) -> str:
    """Advice on a refusal, '' where there is none to give."""
    text = reply_text.lower()
    for known in _KNOWN:
        if known.reply_code == reply_code and all(word in text for word in known.words):
            return known.advice
    return ""
