"""The optional arguments of queues: which there are, what they may be, and whether two declarations agree.

https://www.rabbitmq.com/docs/queues#optional-arguments; the words of the refusals are RabbitMQ's. An argument that is
in no table is kept and means nothing, as RabbitMQ has it.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Callable, Dict, Iterable, Mapping, Optional

from .errors import ChannelRefusal

__all__ = [
    "QueueOptions",
    "check_binding_arguments",
    "check_equivalent",
    "check_equivalent_arguments",
    "check_exchange_arguments",
    "check_queue_arguments",
    "consumer_priority",
    "equivalent_arguments",
    "expiration",
    "type_name",
]

#: RabbitMQ's highest level of priority.
_MOST_PRIORITIES = 255

#: RabbitMQ's longest time in milliseconds: ten years.
_LONGEST = 10 * 365 * 24 * 3600 * 1000

#: What each argument of one of these may be.
_WORDS = {
    "x-overflow": (("drop-head", "reject-publish", "reject-publish-dlx"), "invalid_overflow"),
    "x-queue-mode": (("default", "lazy"), "\"unsupported queue mode '%s'\""),
    "x-queue-type": (("classic", "quorum", "stream"), "\"unsupported queue type '%s'\""),
    "x-queue-version": ((1, 2), "\"unsupported queue version '%s'\""),
}


def _integer(value: Any) -> Optional[str]:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    return '"expected integer, got %s"' % type_name(value)


def _not_negative(value: Any) -> Optional[str]:
    return _integer(value) or ("{value_negative,%d}" % value if value < 0 else None)


def _time(value: Any) -> Optional[str]:
    return _not_negative(value) or ("{value_too_large,%d}" % value if value > _LONGEST else None)


def _some_time(value: Any) -> Optional[str]:
    return _time(value) or ("{value_zero,0}" if value == 0 else None)


def _priorities(value: Any) -> Optional[str]:
    return _not_negative(value) or ("{max_value_exceeded,%d}" % value if value > _MOST_PRIORITIES else None)


def _of_type(*types: type) -> Callable[[Any], Optional[str]]:
    return lambda value: None if isinstance(value, types) else "{unacceptable_type,%s}" % type_name(value)


def _word(name: str) -> Callable[[Any], Optional[str]]:
    words, complaint = _WORDS[name]
    right_type = _of_type(type(words[0]))

    def check(value: Any) -> Optional[str]:
        wrong = right_type(value)
        if wrong or value in words:
            return wrong
        return complaint % value if "%" in complaint else complaint

    return check


#: argument -> what is wrong with its value, None for nothing; in the order in which they are looked at
_CHECKS: Dict[str, Callable[[Any], Optional[str]]] = {
    "x-dead-letter-exchange": _of_type(str),
    "x-queue-type": _word("x-queue-type"),
    "x-expires": _some_time,
    "x-message-ttl": _time,
    "x-dead-letter-routing-key": _of_type(str),
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _priorities,
    "x-overflow": _word("x-overflow"),
    "x-queue-mode": _word("x-queue-mode"),
    "x-queue-version": _word("x-queue-version"),
    "x-single-active-consumer": _of_type(bool),
}

#: The arguments of each type of queue, in the order in which two declarations are compared.
_ARGUMENTS = {
    "classic": (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    "quorum": (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
    "stream": ("x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"),
}
_OF_ANY_TYPE = tuple(dict.fromkeys(name for names in _ARGUMENTS.values() for name in names))


class QueueOptions:
    """What a queue's arguments say; None for what they do not. Times are in seconds."""

    __slots__ = (
        "dead_letter_exchange",
        "dead_letter_routing_key",
        "delivery_limit",
        "expires",
        "max_bytes",
        "max_length",
        "overflow",
        "priorities",
        "replicated",
        "single_active_consumer",
        "ttl",
    )

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        def seconds(name: str) -> Optional[float]:
            return arguments[name] / 1000 if name in arguments else None

        self.ttl = seconds("x-message-ttl")
        self.expires = seconds("x-expires")
        self.max_length: Optional[int] = arguments.get("x-max-length")
        self.max_bytes: Optional[int] = arguments.get("x-max-length-bytes")
        self.overflow: str = arguments.get("x-overflow", "drop-head")
        self.priorities: int = arguments.get("x-max-priority", 0)
        self.dead_letter_exchange: Optional[str] = arguments.get("x-dead-letter-exchange")
        self.dead_letter_routing_key: Optional[str] = arguments.get("x-dead-letter-routing-key")
        self.single_active_consumer: bool = arguments.get("x-single-active-consumer", False)
        #: A quorum queue: all of its messages outlive the broker.
        self.replicated = arguments.get("x-queue-type") == "quorum"
        limit = arguments.get("x-delivery-limit")
        self.delivery_limit = None if _not_negative(limit) else limit  # RabbitMQ takes any; -1 says that there is none


def check_queue_arguments(
    arguments: Mapping[str, Any], what: str, durable: bool, exclusive: bool, auto_delete: bool
) -> None:
    """Refuse arguments that cannot be. `what` is "queue 'name' in vhost '/'"."""
    for name, check in _CHECKS.items():
        wrong = check(arguments[name]) if name in arguments else None
        if wrong and name == "x-dead-letter-exchange":
            raise _invalid_type(arguments[name], name, what)
        if wrong:
            raise ChannelRefusal(406, "invalid arg '%s' for %s: %s" % (name, what, wrong))
    kind = arguments.get("x-queue-type", "classic")
    for name in _OF_ANY_TYPE if kind != "stream" else ():
        if name in arguments and name not in _ARGUMENTS[kind]:
            raise ChannelRefusal(406, "invalid arg '%s' for %s of queue type rabbit_%s_queue" % (name, what, kind))
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise ChannelRefusal(
            406, "invalid arg 'x-dead-letter-routing-key' for %s: routing_key_but_no_dlx_defined" % what
        )
    if kind == "stream":
        raise ChannelRefusal(406, "invalid arg 'x-queue-type' for %s: this broker has no streams" % what)
    if kind == "quorum":
        for name, wrong_here in (
            ("non-durable", not durable),
            ("exclusive-owner", exclusive),
            ("auto-delete", auto_delete),
        ):
            if wrong_here:
                raise ChannelRefusal(406, "invalid property '%s' for %s" % (name, what))


def check_exchange_arguments(arguments: Mapping[str, Any], what: str) -> None:
    """Refuse arguments that cannot be. `what` is "exchange 'name' in vhost '/'"."""
    alternate = arguments.get("alternate-exchange", "")
    if not isinstance(alternate, str):
        raise _invalid_type(alternate, "alternate-exchange", what)


def _invalid_type(value: Any, name: str, what: str) -> ChannelRefusal:
    return ChannelRefusal(406, "invalid type '%s' for arg '%s' in %s" % (type_name(value), name, what))


def check_binding_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse a binding to a headers exchange that says nothing."""
    how = arguments.get("x-match", "all")
    if not isinstance(how, str):
        raise ChannelRefusal(
            406, "Invalid x-match field type %s (value %s); expected longstr" % (type_name(how), _value(how))
        )
    if how not in ("all", "any", "all-with-x", "any-with-x"):
        raise ChannelRefusal(
            406, 'Invalid x-match field value <<"%s">>; expected all, any, all-with-x, or any-with-x' % how
        )


def consumer_priority(arguments: Mapping[str, Any], what: str) -> int:
    """x-priority of a consumer on `what`."""
    priority: int = arguments.get("x-priority", 0)
    wrong = _integer(priority)
    if wrong:
        raise ChannelRefusal(406, "invalid arg 'x-priority' for %s: %s" % (what, wrong))
    return priority


_INTEGER = re.compile(r"[+-]?[0-9]+")


def expiration(value: Optional[str]) -> Optional[float]:
    """A message's expiration in seconds: whole milliseconds as a string."""
    if value is None:
        return None
    number = _INTEGER.match(value)
    if number is None:
        wrong: Optional[str] = "no_integer"
    elif number.end() < len(value):
        wrong = '{leftover_string,"%s"}' % value[number.end() :]
    else:
        wrong = _time(int(value))
    if wrong:
        raise ChannelRefusal(406, "invalid expiration '%s': %s" % (value, wrong))
    return int(value) / 1000


def check_equivalent(what: str, current: Mapping[str, Any], received: Mapping[str, Any]) -> None:
    """Refuse to declare again what is there with other properties."""
    for name, value in received.items():
        if current[name] != value:
            raise ChannelRefusal(
                406,
                "inequivalent arg '%s' for %s: received %s but current is %s"
                % (name, what, _quoted(value), _quoted(current[name])),
            )


def check_equivalent_arguments(
    what: str, names: Iterable[str], current: Mapping[str, Any], received: Mapping[str, Any]
) -> None:
    """The same for the arguments of these names."""
    for name in names:
        default = "classic" if name == "x-queue-type" else None
        ours, theirs = current.get(name, default), received.get(name, default)
        if ours == theirs and type(ours) is type(theirs):  # 1, 1.0 and true are three values
            continue
        shown = _quoted if ours is not None and theirs is not None else _shown
        raise ChannelRefusal(
            406,
            "inequivalent arg '%s' for %s: received %s but current is %s" % (name, what, shown(theirs), shown(ours)),
        )


def equivalent_arguments(current: Mapping[str, Any]) -> Iterable[str]:
    """Those in which a second declaration of a queue must agree with its arguments."""
    return _ARGUMENTS[current.get("x-queue-type", "classic")]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(value: Any) -> str:
    return "'%s'" % _value(value)


def _shown(value: Any) -> str:
    return "none" if value is None else "the value '%s' of type '%s'" % (_value(value), type_name(value))


def type_name(value: Any) -> str:
    """RabbitMQ's name of a field's type."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "signedint" if -(1 << 31) <= value < 1 << 31 else "long"
    return next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "void")


_TYPES: Dict[type, str] = {
    bool: "bool",
    float: "double",
    str: "longstr",
    bytes: "binary",
    dict: "table",
    list: "array",
    datetime: "timestamp",
    Decimal: "decimal",
}
