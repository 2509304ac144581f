"""Messages, and what dead-lettering writes into their headers."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Dict, List, Optional, Tuple

from ..wire.server import Properties
from ..wire.tables import encode_shortstr
from .arguments import expiration, type_name
from .errors import ChannelRefusal, ConnectionRefusal

__all__ = ["MESSAGE_OVERHEAD", "Content", "Message", "carbon_copies", "dead_letter", "in_a_circle", "route_bytes"]


#: The delivery_mode of messages that outlive the broker.
_PERSISTENT = 2

#: Octets of a message beside its body, and of a property that has been read.
MESSAGE_OVERHEAD = 200
_PROPERTY = 150

#: Octets of a table in x-death.
_DEATH = 600

#: The highest number in a field table: RabbitMQ's counts go on from the lowest.
_MOST = (1 << 63) - 1


class Content:
    """What a client sent with a basic.publish."""

    __slots__ = ("body", "properties")

    def __init__(self, properties: Properties, body: bytes) -> None:
        self.properties = properties
        self.body = body

    def with_properties(self, **values: Any) -> Content:
        """The content with other values of some properties."""
        return Content(Properties.of({**self.properties.values, **values}), self.body)

    def check_properties(self, user: str) -> None:
        """Refuse what RabbitMQ cannot read, and a user_id that is another's than the user's who publishes."""
        values = self.properties.values
        headers = values.get("application_headers")
        if headers and (self.properties.undecoded or _has_strange_floats(headers)):
            raise ConnectionRefusal(541)
        named = values.get("user_id")
        if named is not None and named != user:
            raise ChannelRefusal(406, "user_id property set to '%s' but authenticated user was '%s'" % (named, user))

    def check(self) -> None:
        """Refuse what the properties say of the message's way, if it makes no sense."""
        values = self.properties.values
        expiration(values.get("expiration"))
        headers = values.get("application_headers", {})
        carbon_copies(headers)
        carbon_copies(headers, "BCC")


def _has_strange_floats(value: Any) -> bool:
    """Erlang has neither infinities nor NaN, and RabbitMQ fails over them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_has_strange_floats, value))
    return isinstance(value, float) and not math.isfinite(value)


class Message:
    """A message as queues hold it. Queues share it; nobody changes it, but for `places`."""

    __slots__ = ("body", "died_in", "exchange", "places", "properties", "route", "routing_key", "size")

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        properties: Properties,
        body: bytes,
        route: Optional[bytes] = None,
        size: int = 0,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        #: Exchange and routing key as a delivery carries them.
        self.route = route_bytes(exchange, routing_key) if route is None else route
        #: In how many queues it is, be it ready or out: `memory` counts that.
        self.places = 0
        #: Of a dead letter the queues in x-death, the latest first. That may have hundreds of tables, and is looked
        #: through whenever the message dies.
        self.died_in: Tuple[Any, ...] = ()
        #: Octets that it takes, or so; if they are not given, its properties are encoded to find out.
        self.size = size or MESSAGE_OVERHEAD + len(body) + len(properties.raw) + _PROPERTY * len(properties.values)

    @property
    def persistent(self) -> bool:
        """It is to outlive the broker."""
        return bool(self.properties.values.get("delivery_mode") == _PERSISTENT)

    @property
    def headers(self) -> Dict[str, Any]:
        """The headers; {} where it has none."""
        headers: Dict[str, Any] = self.properties.values.get("application_headers", {})
        return headers

    def without(self, header: str) -> Message:
        """The message without this header."""
        headers = {name: value for name, value in self.headers.items() if name != header}
        properties = Properties.of({**self.properties.values, "application_headers": headers})
        return Message(self.exchange, self.routing_key, properties, self.body, self.route)


def route_bytes(exchange: str, routing_key: str) -> bytes:
    """Exchange and routing key as short strings."""
    return encode_shortstr(exchange) + encode_shortstr(routing_key)


def dead_letter(
    message: Message, queue: str, reason: str, moment: datetime, exchange: str, routing_key: Optional[str]
) -> Message:
    """The message as it goes to a dead-letter exchange.

    x-death has a table for each queue and reason, the latest first (https://www.rabbitmq.com/docs/dlx#effects). The
    message loses its expiration, so that it does not expire there, too. Nothing is encoded here: it may die again
    before anybody is sent it.
    """
    values = dict(message.properties.values)
    headers = dict(message.headers)
    deaths, died_in = _history(message)
    death: Dict[str, Any] = {}
    if queue in died_in:
        for place, other in enumerate(deaths):
            if other.get("queue") == queue and other.get("reason") == reason:
                death = other
                del deaths[place], died_in[place]
                break
    size = message.size + (0 if death else _DEATH)
    count = death.get("count")
    keys = [message.routing_key, *carbon_copies(headers)]
    death = {
        "count": 1 if not isinstance(count, int) else count + 1 if count < _MOST else -_MOST - 1,
        "reason": reason,
        "queue": queue,
        "time": moment,
        "exchange": message.exchange,
        "routing-keys": keys,
        **{name: death[name] for name in ("original-expiration",) if name in death},
    }
    if "expiration" in values:
        death["original-expiration"] = values.pop("expiration")
    headers["x-death"] = [death, *deaths]
    for name, value in (("queue", queue), ("reason", reason), ("exchange", message.exchange)):
        headers.setdefault("x-first-death-" + name, value)
    if routing_key is None:
        routing_key = message.routing_key
    else:
        headers.pop("CC", None)
    values["application_headers"] = headers
    dead = Message(exchange, routing_key, Properties.of(values), message.body, size=size)
    dead.died_in = (queue, *died_in)
    return dead


def _history(message: Message) -> Tuple[List[Dict[str, Any]], List[Any]]:
    """What x-death has, as far as it makes sense, and of each the queue. They are the caller's."""
    deaths = message.headers.get("x-death")
    if message.died_in:  # the tables are ours
        return list(deaths or ()), list(message.died_in)
    known = [death for death in deaths if isinstance(death, dict)] if isinstance(deaths, list) else []
    return known, [death.get("queue") for death in known]


def in_a_circle(message: Message, queue: str) -> bool:
    """Has it been in this queue before, and come back without being rejected on the way?"""
    deaths = message.headers["x-death"]
    if queue not in message.died_in:
        return False
    for death in deaths:
        if death.get("reason") == "rejected":
            return False
        if death.get("queue") == queue:
            return True
    return False


def carbon_copies(headers: Dict[str, Any], name: str = "CC") -> List[str]:
    """More routing keys, in the header CC or BCC (https://www.rabbitmq.com/docs/sender-selected)."""
    copies = headers.get(name, [])
    if not isinstance(copies, list):
        kind = type_name(copies)
        raise ChannelRefusal(406, 'invalid message: {unacceptable_type_in_header,"%s",%s}' % (name, kind))
    return [key for key in copies if isinstance(key, str)]
