"""Messages: a body, properties and, once received, the facts of their delivery."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Dict, FrozenSet, Optional, Sequence, Set, Tuple, Type, TypedDict, Union

from ..wire import content
from ..wire.errors import UnknownPropertyError
from ..wire.tables import RawTimestamp, Reading, local_time
from .codec_names import CodecNames
from .functions import name_after
from .logger import LOGGER

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # which type checkers know without installing it

    from .channel import Channel

    MessageT = TypeVar("MessageT", bound="BaseMessage", default=Any)
else:
    from typing import TypeVar

    MessageT = TypeVar("MessageT")

__all__ = [
    "BaseMessage",
    "DeliveryInfo",
    "GenericContent",
    "Message",
    "MessageT",
    "decode_body",
    "encode_body",
    "no_message",
    "text_of",
]

Properties = Sequence[Tuple[str, str]]

_ENCODERS, _DECODERS = CodecNames(), CodecNames()


#: Names of properties that there are not, each of which one warning is for.
_warned_of: Set[str] = set()

_MOST_WARNINGS = 100


@lru_cache(maxsize=None)
def _codec(fields: Tuple[Tuple[str, str], ...]) -> content.PropertyCodec:
    return content.PropertyCodec(fields)


class GenericContent:
    """What all contents share: `properties`, a plain dict, of the names and types in PROPERTIES."""

    PROPERTIES: ClassVar[Properties] = [("dummy", "shortstr")]

    _amqplib_names: ClassVar[FrozenSet[str]] = frozenset(("dummy",))

    properties: Dict[str, Any]

    #: str or bytes, of contents that have one.
    body: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._amqplib_names = frozenset(name for name, _ in cls.PROPERTIES)

    @staticmethod
    def _amqplib_to_time(seconds: int) -> Union[datetime, RawTimestamp]:
        """How a timestamp is read when properties are loaded."""
        return local_time(seconds)

    def __init__(self, **props: Any) -> None:
        self.properties = props if self._amqplib_names.issuperset(props) else self._amqplib_known(props)

    def _amqplib_known(self, props: Dict[str, Any]) -> Dict[str, Any]:
        """Without those that the class does not have."""
        for name in props:
            if name not in self._amqplib_names and name not in _warned_of and len(_warned_of) < _MOST_WARNINGS:
                _warned_of.add(name)
                LOGGER.warning("%s has no property %.100r: dropped", type(self).__name__, name)
        return {name: value for name, value in props.items() if name in self._amqplib_names}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenericContent) and self.properties == other.properties

    __hash__ = None  # type: ignore[assignment]  # contents are mutable

    if not TYPE_CHECKING:  # to which the client modules' messages have the attributes that they say they have

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
        codec = _codec(tuple(self.PROPERTIES))
        try:
            return codec.encode(self.properties)
        except UnknownPropertyError:
            return codec.encode(self._amqplib_to_send(codec))

    def _amqplib_to_send(self, codec: content.PropertyCodec = content.BASIC) -> Dict[str, Any]:
        """The properties without those that there are not; what is done about these is as for the constructor."""
        return {name: value for name, value in self._amqplib_known(self.properties).items() if name in codec.names}

    def _load_properties(self, raw_bytes: bytes) -> None:
        """The reverse of _serialize_properties()."""
        reading = Reading(self._amqplib_to_time)
        self.properties = _codec(tuple(self.PROPERTIES)).decode(raw_bytes, 0, len(raw_bytes), reading)


class _Facts(TypedDict):
    delivery_tag: int
    #: Was it delivered before, to whomever?
    redelivered: bool
    exchange: str
    routing_key: str


class DeliveryInfo(_Facts, total=False):
    """The facts of a delivery: `msg.delivery_info`, which is empty until the message was received.

    Each is an attribute of the message as well.
    """

    #: Of what basic_consume() and consume() have delivered.
    channel: Channel[Any]
    consumer_tag: str
    #: Of what basic_get() has fetched: how many messages are left in the queue.
    message_count: int


class BaseMessage(GenericContent):
    """What the messages of both client modules share."""

    PROPERTIES: ClassVar[Properties] = list(content.BASIC.fields)

    delivery_info: DeliveryInfo

    def __init__(self, body: Union[str, bytes] = "", children: Any = None, **properties: Any) -> None:
        self.properties = properties
        if properties and not self._amqplib_names.issuperset(properties):
            self.properties = self._amqplib_known(properties)
        self.body = body
        self.delivery_info = {}  # type: ignore[typeddict-item]  # there are none yet

    @classmethod
    def _amqplib_received(cls: Type[MessageT], properties: Dict[str, Any], body: bytes) -> MessageT:
        """A message off the wire; a subclass's __init__ may want arguments that only its owner has."""
        self = cls.__new__(cls)
        self.properties = properties
        self.body = body
        self.delivery_info = {}  # type: ignore[typeddict-item]  # there are none yet
        return self

    @property
    def delivery_tag(self) -> int:
        """What acknowledges this message, by its channel's basic_ack(). AttributeError unless it was received."""
        # like the other facts of a delivery, which __getattr__ finds; but every message is asked for this one
        try:
            return self.delivery_info["delivery_tag"]
        except KeyError:
            raise AttributeError("not received") from None

    @delivery_tag.setter
    def delivery_tag(self, tag: int) -> None:
        self.delivery_info["delivery_tag"] = tag

    def _amqplib_channel(self) -> Any:
        channel = self.delivery_info.get("channel") or self.__dict__.get("_amqplib_got_on")
        if channel is None:
            raise ValueError("this message was not received on a channel, so it cannot be acknowledged")
        return channel

    def ack(self, multiple: bool = False) -> None:
        """Tell the server that this message is done with; see Channel.basic_ack()."""
        self._amqplib_channel().basic_ack(self.delivery_info["delivery_tag"], multiple)

    def nack(self, multiple: bool = False, requeue: bool = True) -> None:
        """Give this message back; see Channel.basic_nack()."""
        self._amqplib_channel().basic_nack(self.delivery_info["delivery_tag"], multiple, requeue)

    def reject(self, requeue: bool = False) -> None:
        """Give this message back; see Channel.basic_reject()."""
        self._amqplib_channel().basic_reject(self.delivery_info["delivery_tag"], requeue)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseMessage) and super().__eq__(other) and self.body == other.body

    __hash__ = None

    def __copy__(self: MessageT) -> MessageT:
        again = type(self).__new__(type(self))
        again.__dict__.update(self.__dict__)
        return again

    def __getstate__(self) -> Dict[str, Any]:
        """For pickling: everything but the channel, which cannot leave the process."""
        state = self.__dict__.copy()
        state.pop("_amqplib_got_on", None)
        state["delivery_info"] = {k: v for k, v in self.delivery_info.items() if k != "channel"}
        return state

    def __repr__(self) -> str:
        body = repr(self.body)
        return "<Message %s %r>" % (body if len(body) <= 40 else body[:37] + "...", self.properties)


name_after("Message", BaseMessage)


class Message(BaseMessage):
    """A message of the Basic class.

    `body` is a str or bytes. A str is encoded as it is sent, by the content_encoding property, which is set to
    'UTF-8' where there is none; bytes go as they are. `children` is accepted for the sake of old programs and not
    used. Every other keyword is a property; those that Basic does not know are dropped with a warning by client_0_8,
    and are a TypeError of client_0_9_1's:

        content_type, content_encoding, correlation_id, reply_to, expiration (milliseconds, as a string), message_id,
        type, user_id, app_id, cluster_id: str of at most 255 bytes
        application_headers: dict
        delivery_mode: 1, or 2 for a message that a durable queue keeps over a restart of the broker
        priority: 0 to 255 (0-8 and RabbitMQ's documentation speak of 0 to 9)
        timestamp: datetime, with one-second resolution; a naive one is local time

    `delivery_info` is empty until the message was received. Two messages are equal when body and properties are.
    """

    if TYPE_CHECKING:  # old programs have attributes of their own on messages, beside properties that are set

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


def no_message(value: object) -> ValueError:
    """The error for what was to be published, and is not a Message."""
    return ValueError(
        "msg: %r is not a Message: write basic_publish(Message(body), exchange, routing_key)" % type(value).__name__
    )


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
            codec = _ENCODERS.find(encoding)
            if codec is not None:
                return body.encode(codec)
        except (LookupError, TypeError):  # 'hex' and other codecs that are none of text; what cannot be a name
            pass
        raise ValueError("content_encoding: %r is not an encoding known to Python" % (encoding,))
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    raise ValueError("body: %r is neither str nor bytes; json.dumps() makes a str of it" % type(body).__name__)


_USUAL = ("UTF-8", "utf-8")

#: Those that Python decodes in a time that grows with the square of the length. Hours for a message; of host names.
_SLOW = ("idna", "punycode")


def decode_body(msg: GenericContent) -> None:
    """Make the body of a received message a str by its content_encoding; bytes where there is none or it fails."""
    encoding = msg.properties.get("content_encoding")
    if encoding is not None and isinstance(msg.body, bytes):
        # 'deflate', 'binary', a wrong claim: then the program gets what was sent. Codecs warn, too, and the program
        # may have warnings made errors.
        with suppress(LookupError, ValueError, Warning):
            codec = _codec_of(encoding)
            if codec is not None:
                msg.body = msg.body.decode(codec)


def _codec_of(encoding: Any) -> Optional[str]:
    """The codec to decode a body with; None where there is none."""
    codec = "utf-8" if encoding in _USUAL else _DECODERS.find(encoding)
    return None if codec in _SLOW else codec


def text_of(msg: GenericContent) -> str:
    """The body as a str, by its content_encoding, or as UTF-8 where there is none; ValueError where it is no text."""
    body, encoding = msg.body, msg.properties.get("content_encoding")
    if isinstance(body, str):
        return body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise ValueError("body: %r is neither str nor bytes" % type(body).__name__)
    try:
        codec = _codec_of("utf-8" if encoding is None else encoding)
        if codec is not None:
            return bytes(body).decode(codec)
    except LookupError:  # 'hex' and other codecs that are none of text
        pass
    except (ValueError, Warning) as exc:
        raise ValueError(
            "body: it is no text in %.40r: %s; msg.body has the bytes" % (encoding or "utf-8", exc)
        ) from exc
    raise ValueError("content_encoding: %.40r: the body is no text that Python knows" % (encoding,))
