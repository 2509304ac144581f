"""Messages, and what dead-lettering writes into their headers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Optional

from ..wire.server import Properties
from ..wire.tables import encode_shortstr
from .arguments import expiration, type_name
from .errors import ChannelRefusal

__all__ = ["Content", "Message", "carbon_copies", "dead_letter", "in_a_circle", "route_bytes"]


class Content:
    """What a client sent with a basic.publish."""

    __slots__ = ("body", "properties")

    def __init__(self, properties: Properties, body: bytes) -> None:
        self.properties = properties
        self.body = body

    def check(self) -> None:
        """Refuse what the properties say of the message's way, if it makes no sense."""
        values = self.properties.values
        expiration(values.get("expiration"))
        headers = values.get("application_headers", {})
        carbon_copies(headers)
        carbon_copies(headers, "BCC")


class Message:
    """A message as queues hold it. Queues share it; nobody changes it."""

    __slots__ = ("body", "exchange", "properties", "route", "routing_key")

    def __init__(
        self, exchange: str, routing_key: str, properties: Properties, body: bytes, route: Optional[bytes] = None
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        #: Exchange and routing key as a delivery carries them.
        self.route = route_bytes(exchange, routing_key) if route is None else route

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
    message loses its expiration, so that it does not expire there, too.
    """
    values = dict(message.properties.values)
    headers = dict(message.headers)
    earlier = headers.get("x-death")
    deaths: List[Dict[str, Any]] = (
        [one for one in earlier if isinstance(one, dict)] if isinstance(earlier, list) else []
    )
    death: Dict[str, Any] = {}
    for other in deaths:
        if (other.get("queue"), other.get("reason")) == (queue, reason):
            death = other
            deaths = [one for one in deaths if one is not other]
            break
    count = death.get("count")
    keys = [message.routing_key, *carbon_copies(headers)]
    death = {
        "count": count + 1 if isinstance(count, int) else 1,
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
    return Message(exchange, routing_key, Properties.of(values), message.body)


def in_a_circle(message: Message, queue: str) -> bool:
    """Has it been in this queue before, and come back without being rejected on the way?"""
    deaths = message.headers["x-death"]
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
