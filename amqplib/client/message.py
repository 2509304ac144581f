"""Messages: a body, properties and, once received, the facts of their delivery."""

from __future__ import annotations

import codecs
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Dict, FrozenSet, Sequence, Tuple, Union

from ..wire import content
from ..wire.tables import RawTimestamp, Reading, local_time

__all__ = ["GenericContent", "Message", "decode_body", "encode_body"]

Properties = Sequence[Tuple[str, str]]


@lru_cache(maxsize=None)
def _codec(fields: Tuple[Tuple[str, str], ...]) -> content.PropertyCodec:
    return content.PropertyCodec(fields)


class GenericContent:
    """What all contents share: `properties`, a plain dict, of the names and types in PROPERTIES."""

    PROPERTIES: ClassVar[Properties] = [("dummy", "shortstr")]

    _names: ClassVar[FrozenSet[str]] = frozenset(("dummy",))

    properties: Dict[str, Any]

    #: str or bytes, of contents that have one.
    body: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._names = frozenset(name for name, _ in cls.PROPERTIES)

    @staticmethod
    def _to_time(seconds: int) -> Union[datetime, RawTimestamp]:
        """How a timestamp is read when properties are loaded."""
        return local_time(seconds)

    def __init__(self, **props: Any) -> None:
        self.properties = props if self._names.issuperset(props) else self._known(props)

    def _known(self, props: Dict[str, Any]) -> Dict[str, Any]:
        """Without those that the class does not have."""
        return {name: value for name, value in props.items() if name in self._names}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenericContent) and self.properties == other.properties

    __hash__ = None  # type: ignore[assignment]  # contents are mutable

    def __getattr__(self, name: str) -> Any:
        """Properties, then what is known of the delivery, are attributes as well."""
        if name[:2] != "__":
            own = self.__dict__
            values = own.get("properties")
            if values and name in values:
                return values[name]
            values = own.get("delivery_info")
            if values and name in values:
                return values[name]
        raise AttributeError("%s has no attribute or property %r" % (type(self).__name__, name))

    def _serialize_properties(self) -> bytes:
        """Presence flags and values, as in a content header frame."""
        return _codec(tuple(self.PROPERTIES)).encode(self.properties)

    def _load_properties(self, raw_bytes: bytes) -> None:
        """The reverse of _serialize_properties()."""
        reading = Reading(self._to_time)
        self.properties = _codec(tuple(self.PROPERTIES)).decode(raw_bytes, 0, len(raw_bytes), reading)


class Message(GenericContent):
    """A message of the Basic class.

    `body` is a str or bytes. A str is encoded as it is sent, by the content_encoding property, which is set to
    'UTF-8' where there is none; bytes go as they are. `children` is accepted for the sake of old programs and not
    used. Every other keyword is a property; those that Basic does not know are dropped:

        content_type, content_encoding, correlation_id, reply_to, expiration (milliseconds, as a string), message_id,
        type, user_id, app_id, cluster_id: str of at most 255 bytes
        application_headers: dict
        delivery_mode: 1, or 2 for a message that a durable queue keeps over a restart of the broker
        priority: 0 to 255 (0-8 and RabbitMQ's documentation speak of 0 to 9)
        timestamp: datetime, with one-second resolution; a naive one is local time

    `delivery_info` is empty until the message was received. Two messages are equal when body and properties are.
    """

    PROPERTIES: ClassVar[Properties] = list(content.BASIC.fields)

    delivery_info: Dict[str, Any]

    def __init__(self, body: Union[str, bytes] = "", children: Any = None, **properties: Any) -> None:
        self.properties = properties
        if properties and not self._names.issuperset(properties):
            self.properties = self._known(properties)
        self.body = body
        self.delivery_info = {}

    @classmethod
    def _received(cls, properties: Dict[str, Any], body: bytes) -> Message:
        """A message off the wire; a subclass's __init__ may want arguments that only its owner has."""
        self = cls.__new__(cls)
        self.properties = properties
        self.body = body
        self.delivery_info = {}
        return self

    @property
    def delivery_tag(self) -> int:
        """What acknowledges this message, by its channel's basic_ack(). AttributeError unless it was received."""
        # like the other facts of a delivery, which __getattr__ finds; but every message is asked for this one
        try:
            tag: int = self.delivery_info["delivery_tag"]
            return tag
        except KeyError:
            raise AttributeError("not received") from None

    @delivery_tag.setter
    def delivery_tag(self, tag: int) -> None:
        self.delivery_info["delivery_tag"] = tag

    def _channel(self) -> Any:
        channel = self.delivery_info.get("channel") or self.__dict__.get("_got_on")
        if channel is None:
            raise ValueError("this message was not received on a channel, so it cannot be acknowledged")
        return channel

    def ack(self, multiple: bool = False) -> None:
        """Tell the server that this message is done with; see Channel.basic_ack()."""
        self._channel().basic_ack(self.delivery_info["delivery_tag"], multiple)

    def nack(self, multiple: bool = False, requeue: bool = True) -> None:
        """Give this message back; see Channel.basic_nack()."""
        self._channel().basic_nack(self.delivery_info["delivery_tag"], multiple, requeue)

    def reject(self, requeue: bool = False) -> None:
        """Give this message back; see Channel.basic_reject()."""
        self._channel().basic_reject(self.delivery_info["delivery_tag"], requeue)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and super().__eq__(other) and self.body == other.body

    __hash__ = None

    def __copy__(self) -> Message:
        again = type(self).__new__(type(self))
        again.__dict__.update(self.__dict__)
        return again

    def __getstate__(self) -> Dict[str, Any]:
        """For pickling: everything but the channel, which cannot leave the process."""
        state = self.__dict__.copy()
        state.pop("_got_on", None)
        state["delivery_info"] = {k: v for k, v in self.delivery_info.items() if k != "channel"}
        return state

    def __repr__(self) -> str:
        body = repr(self.body)
        return "<Message %s %r>" % (body if len(body) <= 40 else body[:37] + "...", self.properties)


def encode_body(msg: GenericContent) -> bytes:
    """The bytes to send for `msg.body`. ValueError when there are none."""
    body = msg.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        encoding = msg.properties.get("content_encoding")
        if encoding is None:
            body = body.encode("utf-8")
            msg.properties["content_encoding"] = "UTF-8"
            return body
        try:
            return body.encode(encoding)
        except (LookupError, TypeError):
            raise ValueError("content_encoding: %r is not an encoding known to Python" % (encoding,)) from None
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    raise ValueError("body: %r is neither str nor bytes" % type(body).__name__)


@lru_cache(maxsize=32)
def _is_slow(encoding: str) -> bool:
    """Does Python decode it in a time that grows with the square of the length? Hours for a message; of host names."""
    return codecs.lookup(encoding).name in ("idna", "punycode")


def decode_body(msg: Message) -> None:
    """Make the body of a received message a str by its content_encoding; bytes where there is none or it fails."""
    encoding = msg.properties.get("content_encoding")
    if encoding is not None and isinstance(msg.body, bytes):
        # 'deflate', 'binary', a wrong claim: then the program gets what was sent. Codecs warn, too, and the program
        # may have warnings made errors.
        with suppress(LookupError, ValueError, Warning):
            if encoding == "UTF-8" or not _is_slow(encoding):
                msg.body = msg.body.decode(encoding)
