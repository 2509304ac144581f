"""The hot paths: publishing a message, receiving a delivery, and what goes with them: acknowledging, asking for one.

They give exactly what the plain codecs (`spec`, `content`, `frames`) give; the tests compare them by hypothesis. They
are fast by remembering: programs publish to few routes and with few combinations of properties, and consume from few,
so the bytes of those are made, or read, once. The memories are bounded, and hold nothing that a program can change.

What is remembered:
    publishing   (channel, arguments)          -> the whole method frame
                 items of the properties       -> their bytes; not where a value, such as headers, can be changed
    receiving    frame up to the consumer tag  -> (channel, payload size, consumer tag)
                 redelivered and route         -> (redelivered, exchange, routing key)
                 properties                    -> dict, copied for each message; not with headers, which are nested
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Container, Dict, List, Mapping, Optional, Tuple, TypeVar, Union

from . import content, frames
from .codecs import BROKEN
from .errors import PeerError
from .frames import END_AND_HEADER, END_AND_PREFIX, END_OCTET, HEADER_SIZE, METHOD_FRAME
from .spec import Dialect, Method
from .tables import Reading

__all__ = ["AckWriter", "DeliveryReader", "GetReader", "GetWriter", "Pieces", "PublishWriter", "find_content"]

#: Entries of a memory before it is emptied and begun again.
_BOUND = 4096

#: Property bytes longer than this are not worth remembering.
_LONG = 256

# the header frame up to its properties: type, channel, payload size; class id, weight, body size
_HEADER_FRAME = struct.Struct(">BHLHHQ")
#: With the flags of no properties.
_EMPTY_HEADER_SIZE = HEADER_SIZE + 2
# all of a header frame without properties, and the beginning of the body frame
_HEADER_AND_BODY = struct.Struct(">BHLHHQHBBHL")
_LONGLONG = struct.Struct(">Q")
# all of basic.ack: type, channel, payload size; ids, delivery tag, bits; end
_ACK_FRAME = struct.Struct(">BHLLQBB")

#: Of a message whose body takes several frames: some are views of it.
Pieces = List[Union[bytes, memoryview]]

T = TypeVar("T")


class PublishWriter:
    """Frames of messages whose body, and whose method and properties, fit one frame each."""

    __slots__ = ("_long", "_method", "_methods", "_properties", "room", "small")

    def __init__(self, dialect: Dialect, long: Callable[..., Pieces]) -> None:
        self._method = dialect["basic.publish"]
        #: Makes the others.
        self._long = long
        self._methods: Dict[Any, bytes] = {}
        self._properties: Dict[Any, bytes] = {}
        #: Octets of the largest body, and of the largest properties or method frame, that are taken here.
        self.room = self.small = 0

    def message(
        self, channel: int, args: Tuple[Any, ...], properties: Mapping[str, Any], body: bytes
    ) -> Union[bytes, Pieces]:
        """The frames of basic.publish; for a body of several frames as a list of pieces, among them views of it."""
        try:
            method = self._methods[channel, args]
        except KeyError:
            method = _remember(self._methods, (channel, args), self._method_frame(channel, args))
        except TypeError:  # an argument that can be changed, such as a bytearray
            method = self._method_frame(channel, args)
        size = len(body)
        if size > self.room or len(method) > self.small:
            return self._long(channel, self._method, args, properties, body)
        if not properties and size:
            middle = _HEADER_AND_BODY.pack(
                frames.HEADER,
                channel,
                _EMPTY_HEADER_SIZE,
                content.BASIC_CLASS_ID,
                0,
                size,
                0,
                frames.END,
                frames.BODY,
                channel,
                size,
            )
            return b"".join((method, middle, body, END_OCTET))
        data = self.properties(properties)
        if len(data) > self.small:
            return self._long(channel, self._method, args, properties, body)
        header = _HEADER_FRAME.pack(frames.HEADER, channel, HEADER_SIZE + len(data), content.BASIC_CLASS_ID, 0, size)
        if not size:
            return b"".join((method, header, data, END_OCTET))
        return b"".join(
            (method, header, data, END_AND_PREFIX.pack(frames.END, frames.BODY, channel, size), body, END_OCTET)
        )

    def _method_frame(self, channel: int, args: Tuple[Any, ...]) -> bytes:
        return frames.encode_frame(frames.METHOD, channel, self._method.encode(*args))

    def properties(self, properties: Mapping[str, Any]) -> bytes:
        """The bytes of the properties."""
        # Headers can be changed. Equal datetimes can be two moments (fold), and they rarely come twice.
        if "application_headers" in properties or "timestamp" in properties:
            return content.BASIC.encode(properties)
        key = tuple(properties.items())
        try:
            return self._properties[key]
        except KeyError:
            data = content.BASIC.encode(properties)
            return _remember(self._properties, key, data) if len(data) < _LONG else data
        except TypeError:  # another value that can be changed
            return content.BASIC.encode(properties)


class AckWriter:
    """Frames of basic.ack."""

    __slots__ = ("_key", "_method")

    def __init__(self, dialect: Dialect) -> None:
        self._method = dialect["basic.ack"]
        self._key = self._method.key

    def frame(self, channel: int, delivery_tag: int, multiple: bool) -> bytes:
        """The frame of the method."""
        try:
            return _ACK_FRAME.pack(1, channel, 13, self._key, delivery_tag, 1 if multiple else 0, 206)
        except struct.error:
            return frames.encode_frame(frames.METHOD, channel, self._method.encode(delivery_tag, multiple))


class GetWriter:
    """Frames of basic.get, which a program that polls repeats."""

    __slots__ = ("_frames", "_make", "_method")

    def __init__(self, dialect: Dialect, make: Callable[[int, Method, Tuple[Any, ...]], bytes]) -> None:
        self._method = dialect["basic.get"]
        self._make = make
        self._frames: Dict[Any, bytes] = {}

    def frame(self, channel: int, args: Tuple[Any, ...]) -> bytes:
        """The frame of the method."""
        try:
            return self._frames[channel, args]
        except KeyError:
            return _remember(self._frames, (channel, args), self._make(channel, self._method, args))
        except TypeError:  # an argument that can be changed
            return self._make(channel, self._method, args)


def find_content(buf: bytes, end: int, channel: int, largest: int) -> Optional[Tuple[int, int, int, int]]:
    """Where the properties and the body are of the content that follows the method frame whose end octet is at `end`,
    in two frames, or one without a body: beginning and end of each. None for anything else, one of BROKEN for what is
    cut short."""
    end_octet, frame_type, its_channel, length, class_id, _, size = END_AND_HEADER.unpack_from(buf, end)
    if end_octet != frames.END or frame_type != frames.HEADER or its_channel != channel:
        return None
    if class_id != content.BASIC_CLASS_ID or length > largest or size > largest:
        return None
    start, end = end + 20, end + 8 + length
    first = stop = end
    if size:
        end_octet, frame_type, its_channel, length = END_AND_PREFIX.unpack_from(buf, end)
        if end_octet != frames.END or frame_type != frames.BODY or its_channel != channel or length != size:
            return None
        first = end + 8
        stop = first + size
    return (start, end, first, stop) if buf[stop] == frames.END else None


class DeliveryReader:
    """Runs of whole deliveries, each in three frames (two, without a body), as RabbitMQ sends small messages.

    Whatever is not exactly that is left to the plain way, which also finds out what is wrong with it.
    """

    __slots__ = ("_heads", "_key", "_make_content", "_method", "_properties", "_reading", "_routes", "empty")

    def __init__(
        self, dialect: Dialect, make_content: Callable[[Dict[str, Any], bytes], Any], reading: Reading
    ) -> None:
        self._method = dialect["basic.deliver"]
        self._key = self._method.key
        self._make_content = make_content
        self._reading = reading
        self._heads: Dict[bytes, Tuple[int, int, str]] = {}
        self._routes: Dict[bytes, Tuple[bool, str, str]] = {}
        self._properties: Dict[bytes, Dict[str, Any]] = {}
        self.empty = 0

    def walk(
        self,
        buf: bytes,
        offset: int,
        largest: int,
        channels: Container[int],
        busy: Container[int],
        events: List[Tuple[int, Method, Tuple[Any, ...], Any]],
    ) -> int:
        """Append the events of the deliveries that `buf` has at `offset`; the offset behind the last one.

        largest: the longest payload that a frame may have. busy: channels that are in the middle of a content.
        """
        unpack_tag, unpack_header, unpack_middle = (
            _LONGLONG.unpack_from,
            END_AND_HEADER.unpack_from,
            END_AND_PREFIX.unpack_from,
        )
        heads, routes, known = self._heads, self._routes, self._properties
        # the numbers of `frames` and `content` are written out below: names would be looked up for every delivery
        method, make_content, append = self._method, self._make_content, events.append
        done = offset
        try:
            while True:
                # the method frame: its head up to the consumer tag, the delivery tag, and the rest
                tag_end = offset + 12 + buf[offset + 11]
                raw = buf[offset:tag_end]
                channel, length, consumer_tag = heads.get(raw) or self._read_head(raw)
                if length > largest or channel in busy or channel not in channels:
                    return done
                (delivery_tag,) = unpack_tag(buf, tag_end)
                end = offset + 7 + length
                raw = buf[tag_end + 8 : end]
                redelivered, exchange, routing_key = routes.get(raw) or self._read_route(raw)
                # its end, and the header frame
                end_octet, frame_type, its_channel, length, class_id, _, size = unpack_header(buf, end)
                if end_octet != 206 or frame_type != 2 or its_channel != channel or class_id != 60:
                    return done
                if length > largest or size > largest:
                    return done
                start = end + 20
                end += 8 + length
                raw = buf[start:end]
                properties = known.get(raw)
                if properties is not None:
                    properties = properties.copy()
                # its end, and the body frame
                if size:
                    end_octet, frame_type, its_channel, length = unpack_middle(buf, end)
                    if end_octet != 206 or frame_type != 3 or its_channel != channel or length != size:
                        return done
                    start = end + 8
                    end = start + size
                    body = buf[start:end]
                else:
                    body = b""
                if buf[end] != 206:
                    return done
                if properties is None:  # not before all of it is here, for it may leave a note of what is unreadable
                    properties = self._read_properties(raw)
                args = (consumer_tag, delivery_tag, redelivered, exchange, routing_key)
                append((channel, method, args, make_content(properties, body)))
                if not size:
                    self.empty += 1
                done = offset = end + 1
        except (*BROKEN, PeerError):
            return done  # cut short, or wrong

    def _read_head(self, raw: bytes) -> Tuple[int, int, str]:
        frame_type, channel, length, key = METHOD_FRAME.unpack_from(raw)
        if frame_type != frames.METHOD or key != self._key or not channel:
            raise IndexError
        return _remember(self._heads, raw, (channel, length, raw[12:].decode("utf-8", "surrogateescape")))

    def _read_route(self, raw: bytes) -> Tuple[bool, str, str]:
        # by the method's own decoder, behind an empty consumer tag and a delivery tag of 0
        _, _, redelivered, exchange, routing_key = self._method.decode(bytes(9) + raw, 0, 9 + len(raw), self._reading)
        return _remember(self._routes, raw, (redelivered, exchange, routing_key))

    def _read_properties(self, raw: bytes) -> Dict[str, Any]:
        properties = content.BASIC.decode(raw, 0, len(raw), self._reading)
        if "application_headers" in properties:  # nested, so a copy would share what is in them
            return properties
        return _remember(self._properties, raw, properties).copy() if len(raw) < _LONG else properties


class GetReader(DeliveryReader):
    """The answer to basic.get that is a message: a whole one, in frames like a delivery's."""

    __slots__ = ()

    def __init__(
        self, dialect: Dialect, make_content: Callable[[Dict[str, Any], bytes], Any], reading: Reading
    ) -> None:
        super().__init__(dialect, make_content, reading)
        self._method = dialect["basic.get_ok"]

    def walk(
        self,
        buf: bytes,
        offset: int,
        largest: int,
        channels: Container[int],
        busy: Container[int],
        events: List[Tuple[int, Method, Tuple[Any, ...], Any]],
    ) -> int:
        """Append the event of the message that `buf` has at `offset`; the offset behind it."""
        try:
            _, channel, length, _ = METHOD_FRAME.unpack_from(buf, offset)
            if length > largest or channel in busy or channel not in channels or not channel:
                return offset
            found = find_content(buf, offset + 7 + length, channel, largest)
            if found is None:
                return offset
            args = self._method.decode(buf, offset + 11, offset + 7 + length, self._reading)
            start, end, first, stop = found
            raw = buf[start:end]
            properties = self._properties.get(raw)
            properties = self._read_properties(raw) if properties is None else properties.copy()
        except (*BROKEN, PeerError):
            return offset  # cut short, or wrong
        events.append((channel, self._method, args, self._make_content(properties, buf[first:stop])))
        if first == stop:
            self.empty += 1
        return stop + 1


def _remember(memory: Dict[Any, T], key: Any, value: T) -> T:
    if len(memory) >= _BOUND:
        memory.clear()
    memory[key] = value
    return value
