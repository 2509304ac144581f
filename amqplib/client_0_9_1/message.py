"""Message with typed properties, which are attributes to be read and set; its timestamps are aware."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Dict, Optional, Union

from ..client import message
from ..client.computed import computed
from ..client.message import text_of
from ..wire.tables import RawTimestamp, utc_time

if TYPE_CHECKING:
    from .connection import Channel

__all__ = ["Message"]

#: What other libraries, and the protocol, call properties -> what to write.
_OTHERS = {
    "headers": "application_headers",
    "persistent": "delivery_mode=2",
    "mode": "delivery_mode",
    "encoding": "content_encoding",
    "mimetype": "content_type",
    "id": "message_id",
    "ttl": "expiration",
}


class _Property:
    """An attribute that is a property, wherever a program's class has nothing else under its name; None when absent."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else instance.properties.get(self._name)

    def __set__(self, instance: Any, value: Any) -> None:
        if value is None:
            instance.properties.pop(self._name, None)
        else:
            instance.properties[self._name] = value

    def __delete__(self, instance: Any) -> None:
        try:
            del instance.properties[self._name]
        except KeyError:
            raise AttributeError("%s has no property %r set" % (type(instance).__name__, self._name)) from None


if TYPE_CHECKING:
    _Base = message.BaseMessage  # no attribute but those below
else:
    _Base = message.Message


class Message(_Base):
    """A message: a body, properties and, once received, the facts of its delivery.

    body: str or bytes. A str is encoded as it is sent, by content_encoding, which is set to 'UTF-8' where there is
        none; bytes go as they are. Received, it is a str where there is a content_encoding that fits, and bytes
        otherwise, and always with the channel's auto_decode=False; `msg.text` is a str either way.

    The properties are keywords, and attributes to be read and set; None is one that is absent, and is not sent:

        application_headers: a dict of your own; `msg.headers` is the same
        delivery_mode: 2 for a message that a durable queue keeps over a restart of the broker; 1
        content_type, content_encoding, correlation_id, reply_to, message_id, type, user_id, app_id, cluster_id: str
            of at most 255 bytes
        expiration: milliseconds, as a str
        priority: 0 to 255
        timestamp: datetime, with one-second resolution; a naive one is local time. Received, an aware one in UTC, or
            an int for seconds that datetime has no year for

    A keyword that is no property is a TypeError that says what to write. msg.properties is the dict of those that are
    given; msg.delivery_info, empty until the message was received, has the facts of its delivery, which are attributes
    as well. Two messages are equal when body and properties are.
    """

    if TYPE_CHECKING:
        # what _give_attributes() and __getattr__ do, for type checkers
        body: Union[str, bytes]
        content_type: Optional[str]
        content_encoding: Optional[str]
        application_headers: Optional[Dict[str, Any]]
        headers: Optional[Dict[str, Any]]
        delivery_mode: Optional[int]
        priority: Optional[int]
        correlation_id: Optional[str]
        reply_to: Optional[str]
        expiration: Optional[str]
        message_id: Optional[str]
        timestamp: Union[datetime, int, None]
        type: Optional[str]
        user_id: Optional[str]
        app_id: Optional[str]
        cluster_id: Optional[str]

        channel: Channel
        consumer_tag: str
        redelivered: bool
        exchange: str
        routing_key: str
        message_count: int

        def __init__(
            self,
            body: Union[str, bytes, bytearray, memoryview] = "",
            *,
            content_type: Optional[str] = None,
            content_encoding: Optional[str] = None,
            application_headers: Optional[Dict[str, Any]] = None,
            delivery_mode: Optional[int] = None,
            priority: Optional[int] = None,
            correlation_id: Optional[str] = None,
            reply_to: Optional[str] = None,
            expiration: Optional[str] = None,
            message_id: Optional[str] = None,
            timestamp: Union[datetime, int, None] = None,
            type: Optional[str] = None,
            user_id: Optional[str] = None,
            app_id: Optional[str] = None,
            cluster_id: Optional[str] = None,
        ) -> None: ...

    else:
        headers = _Property("application_headers")

    @computed
    def text(self) -> str:
        """The body as a str, whatever the channel's auto_decode: by its content_encoding, or as UTF-8 where there is
        none. ValueError where it is no text."""
        return text_of(self)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _give_attributes(cls)

    @staticmethod
    def _amqplib_to_time(seconds: int) -> Union[datetime, RawTimestamp]:
        return utc_time(seconds)

    def _amqplib_known(self, props: Dict[str, Any]) -> Dict[str, Any]:
        from ..client.names import meant  # not before something is wrong

        for name in props:
            if name not in self._amqplib_names:
                right = meant(name, self._amqplib_names, _OTHERS)
                text = "%s has no property %.100r" % (type(self).__name__, name)
                raise TypeError("%s: write %s" % (text, right) if right else text)
        return props


def _give_attributes(cls: Any) -> None:
    for name, _ in cls.PROPERTIES:
        if not hasattr(cls, name):
            setattr(cls, name, _Property(name))


_give_attributes(Message)
