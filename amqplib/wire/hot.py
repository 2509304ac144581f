"""The hot paths: publishing a message, receiving a delivery, and what goes with them: acknowledging, asking for one.

They give exactly what the plain codecs (`spec`, `content`, `frames`) give; the tests compare them by hypothesis. They
are fast by remembering: programs publish to few routes and with few combinations of properties, and consume from few,
so the bytes of those are made, or read, once. The memories are bounded, and hold nothing that a program can change.
What is another with each message (an id, the headers, the time) is not even looked for, and of routes that are, few are
remembered: benchmarks/experiments/unique_messages.py.

What is remembered:
    publishing   channel and arguments         -> the whole method frame; and, for a message like the one before it, all
                                                  up to the body
    receiving    frame up to the consumer tag  -> channel, payload size, consumer tag, and its middles:
                 all from the delivery tag to
                 the body (the middle)         -> (redelivered, exchange, routing key, properties, size of the body)
                 redelivered and route         -> (redelivered, exchange, routing key)
                 properties                    -> dict, copied for each message; not with ids, time or headers
Middles are remembered for consumers whose messages are alike, in size as well; a consumer whose are not goes without.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Container, Dict, Generic, List, Optional, Tuple, TypeVar, Union

from . import content, frames
from .codecs import BROKEN, MISFITS
from .errors import PeerError
from .frames import END_AND_HEADER, END_AND_PREFIX, END_OCTET, HEADER_SIZE, METHOD_FRAME
from .spec import Dialect, Method
from .tables import OCTETS, Reading

__all__ = ["AckWriter", "DeliveryReader", "GetReader", "GetWriter", "Pieces", "PublishWriter", "find_content"]

#: Entries of a memory before it is emptied and begun again.
_BOUND = 4096

#: So many new keys are remembered as they come, and then one of so many: keys that come again are known soon all the
#: same, and keys that never do cost next to nothing.
_AT_ONCE, _ONE_OF = 256, 32

#: Property bytes longer than this are not worth remembering.
_LONG = 256

#: What values of properties are of that nobody can change. Equal datetimes can be two moments (fold).
_CONSTANT = frozenset((int, str, type(None)))

#: Middles of deliveries that were not known before a consumer is judged: most of them have to be known. Deliveries
#: after which one that has failed is given another chance.
_ENOUGH, _PAUSE = 100, 10000

# the header frame up to its properties: type, channel, payload size; class id, weight, body size
_HEADER_FRAME = struct.Struct(">BHLHHQ")
#: With the flags of no properties.
_EMPTY_HEADER_SIZE = HEADER_SIZE + 2
# a header frame without properties in two parts, and the beginning of the body frame: up to the size of the body (type,
# channel, payload size; class id, weight), and from there (body size, no flags, end; type, channel, payload size)
_HEADER_START, _SIZES = struct.Struct(">BHLHH"), struct.Struct(">QHBBHL")
_LONG_NUMBER, _LONGLONG = struct.Struct(">L"), struct.Struct(">Q")
# a method frame up to its first argument, a delivery tag: type, channel, payload size; ids; the tag
_TAGGED = struct.Struct(">BHLLQ")
# basic.publish up to the exchange: type, channel, payload size; ids, ticket
_PUBLISH_START = struct.Struct(">BHLLH")
# all of basic.ack: type, channel, payload size; ids, delivery tag, bits; end
_ACK_FRAME = struct.Struct(">BHLLQBB")

_encode_properties, _decode_properties = content.BASIC.encode, content.BASIC.decode

#: Of a message whose body takes several frames: some are views of it.
Pieces = List[Union[bytes, memoryview]]

T = TypeVar("T")


class _Memory(Generic[T]):
    """What was made of keys."""

    __slots__ = ("_offered", "known")

    def __init__(self) -> None:
        self._offered = 0
        #: A dict, and no subclass: those are slower.
        self.known: Dict[Any, T] = {}

    def offer(self, key: Any, value: T) -> T:
        """Remember it, perhaps."""
        self._offered += 1
        if self._offered <= _AT_ONCE or not self._offered % _ONE_OF:
            if len(self.known) >= _BOUND:
                self.known.clear()
            self.known[key] = value
        return value


class _Route:
    """What is remembered of publishes with the same arguments."""

    __slots__ = ("alike", "bare", "latest", "latest_size", "method")

    def __init__(self, method: bytes) -> None:
        #: The method frame; and, once it is needed, with a header frame without properties, up to the size of the body.
        self.method, self.bare = method, b""
        #: Size and properties of messages that are alike, and all of them up to the body.
        self.alike: Tuple[int, Dict[str, Any], bytes] = -1, {}, b""
        #: Properties, as they are sent, and size of the latest message that was another.
        self.latest = b""
        self.latest_size = -1


class PublishWriter:
    """Frames of messages whose body, and whose method and properties, fit one frame each."""

    __slots__ = ("_key", "_known_routes", "_long", "_method", "_room", "_routes", "_small")

    def __init__(self, dialect: Dialect, long: Callable[..., Pieces]) -> None:
        self._method = dialect["basic.publish"]
        self._key = self._method.key
        #: Makes the others.
        self._long = long
        self._routes: _Memory[_Route] = _Memory()
        self._known_routes = self._routes.known
        # octets of the largest body, and of the largest properties or method frame, that are taken here
        self._room = self._small = 0

    def limit(self, room: int, small: int) -> None:
        """Take bodies of up to `room` octets, and properties and method frames of up to `small`."""
        self._room, self._small = room, small
        self._routes.known.clear()  # they are remembered because they are small

    def message(self, args: Tuple[Any, ...], properties: Dict[str, Any], body: bytes) -> Union[bytes, Pieces]:
        """The frames of basic.publish; for a body of several frames as a list of pieces, among them views of it.

        args: the channel's number and the method's arguments, as one key to what is remembered.
        """
        try:
            route = self._known_routes[args]
        except TypeError:  # an argument that can be changed, such as a bytearray
            return self._long(args[0], self._method, args[1:], properties, body)
        except KeyError:
            method = self._frame(*args)
            if len(method) > self._small:
                return self._long(args[0], self._method, args[1:], properties, body)
            route = self._routes.offer(args, _Route(method))
        size = len(body)
        same_size, same_properties, prefix = route.alike
        if size == same_size and properties == same_properties:
            return b"".join((prefix, body, END_OCTET))
        if size > self._room:
            return self._long(args[0], self._method, args[1:], properties, body)
        channel = args[0]
        if size and not properties:
            data, start = b"", _SIZES.pack(size, 0, frames.END, frames.BODY, channel, size)
            if not route.bare:
                header = _HEADER_START.pack(frames.HEADER, channel, _EMPTY_HEADER_SIZE, content.BASIC_CLASS_ID, 0)
                route.bare = route.method + header
            if size != route.latest_size or route.latest:
                route.latest_size, route.latest = size, data
                return b"".join((route.bare, start, body, END_OCTET))
            prefix = route.bare + start
        else:
            data = _encode_properties(properties)
            if len(data) > self._small:
                return self._long(args[0], self._method, args[1:], properties, body)
            length = HEADER_SIZE + len(data)
            header = _HEADER_FRAME.pack(frames.HEADER, channel, length, content.BASIC_CLASS_ID, 0, size)
            if not size:
                return b"".join((route.method, header, data, END_OCTET))
            start = END_AND_PREFIX.pack(frames.END, frames.BODY, channel, size)
            same = size == route.latest_size and data == route.latest
            if not same or not _CONSTANT.issuperset(map(type, properties.values())):
                route.latest_size, route.latest = size, data
                return b"".join((route.method, header, data, start, body, END_OCTET))
            prefix = b"".join((route.method, header, data, start))
        # The second one that is alike: there may be many kinds. Nobody can change the values of its properties. Other
        # threads may be in here: what belongs together is one object.
        route.alike = size, dict(properties), prefix
        return b"".join((prefix, body, END_OCTET))

    def _frame(
        self, channel: int, ticket: int, exchange: str, routing_key: str, mandatory: object, immediate: object
    ) -> bytes:
        """The method frame."""
        try:
            name, key = str.encode(exchange), str.encode(routing_key)
            start = _PUBLISH_START.pack(1, channel, 9 + len(name) + len(key), self._key, ticket)
            bits = OCTETS[bool(mandatory) | bool(immediate) << 1]
            return b"".join((start, OCTETS[len(name)], name, OCTETS[len(key)], key, bits, END_OCTET))
        except MISFITS:
            args = ticket, exchange, routing_key, mandatory, immediate
            return frames.encode_frame(frames.METHOD, channel, self._method.encode(*args))


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
        except MISFITS:
            return frames.encode_frame(frames.METHOD, channel, self._method.encode(delivery_tag, multiple))


class GetWriter:
    """Frames of basic.get, which a program that polls repeats."""

    __slots__ = ("_frames", "_make", "_method")

    def __init__(self, dialect: Dialect, make: Callable[[int, Method, Tuple[Any, ...]], bytes]) -> None:
        self._method = dialect["basic.get"]
        self._make = make
        self._frames: _Memory[bytes] = _Memory()

    def frame(self, channel: int, args: Tuple[Any, ...]) -> bytes:
        """The frame of the method."""
        try:
            return self._frames.known[channel, args]
        except KeyError:
            return self._frames.offer((channel, args), self._make(channel, self._method, args))
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


#: What is between the delivery tag and the body: redelivered, exchange, routing key, properties, size of the body.
_Middle = Tuple[bool, str, str, Dict[str, Any], int]


class _Head:
    """What deliveries begin with: those to one consumer, with routes of one length."""

    __slots__ = ("channel", "consumer_tag", "gap", "length", "middles", "missed", "since")

    def __init__(self, channel: int, length: int, consumer_tag: str) -> None:
        self.channel, self.length, self.consumer_tag = channel, length, consumer_tag
        self.middles: Dict[bytes, _Middle] = {}
        #: Octets of the latest middle; 0 for none, or while it does not pay to look.
        self.gap = 0
        #: Middles that were not known, of the deliveries from this tag on.
        self.missed = 0
        self.since = 0


class DeliveryReader:
    """Runs of whole deliveries, each in three frames (two, without a body), as RabbitMQ sends small messages.

    Whatever is not exactly that is left to the plain way, which also finds out what is wrong with it.
    """

    __slots__ = (
        "_heads",
        "_key",
        "_largest",
        "_make_content",
        "_method",
        "_middles",
        "_properties",
        "_reading",
        "_routes",
        "empty",
    )

    def __init__(
        self, dialect: Dialect, make_content: Callable[[Dict[str, Any], bytes], Any], reading: Reading
    ) -> None:
        self._method = dialect["basic.deliver"]
        self._key = self._method.key
        self._make_content = make_content
        self._reading = reading
        self._heads: Dict[bytes, _Head] = {}  # there is hardly one that does not come again
        self._middles = 0  # all that the heads remember
        self._largest = 0  # what they remember has been held to this
        self._routes: _Memory[Tuple[bool, str, str]] = _Memory()
        self._properties: _Memory[Dict[str, Any]] = _Memory()
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
        unpack_tag, unpack_header, unpack_prefix = (
            _LONGLONG.unpack_from,
            END_AND_HEADER.unpack_from,
            END_AND_PREFIX.unpack_from,
        )
        if largest != self._largest:
            self._forget()
            self._largest = largest
        heads, routes, known = self._heads, self._routes.known, self._properties.known
        # the numbers of `frames` and `content` are written out below: names would be looked up for every delivery
        method, make_content, append = self._method, self._make_content, events.append
        done, latest = offset, b""
        try:
            while True:
                # the method frame: its head up to the consumer tag, the delivery tag, and the rest
                tag_end = offset + 12 + buf[offset + 11]
                raw = buf[offset:tag_end]
                if raw != latest:
                    head, latest = heads.get(raw) or self._read_head(raw), raw
                    channel, consumer_tag, gap, middles = head.channel, head.consumer_tag, head.gap, head.middles
                    if head.length > largest or channel in busy or channel not in channels:
                        return done
                (delivery_tag,) = unpack_tag(buf, tag_end)
                middle = tag_end + 8
                if gap:
                    # all of it from there to the body, if it is known
                    start = middle + gap
                    alike = middles.get(buf[middle:start])
                    if alike is not None:
                        redelivered, exchange, routing_key, its_properties, size = alike
                        end = start + size
                        if buf[end] != 206:
                            return done
                        args = (consumer_tag, delivery_tag, redelivered, exchange, routing_key)
                        append((channel, method, args, make_content(its_properties.copy(), buf[start:end])))
                        done = offset = end + 1
                        continue
                end = offset + 7 + head.length
                raw = buf[middle:end]
                redelivered, exchange, routing_key = routes.get(raw) or self._read_route(raw)
                # its end, and the header frame
                end_octet, frame_type, its_channel, length, class_id, _, size = unpack_header(buf, end)
                if end_octet != 206 or frame_type != 2 or its_channel != channel or class_id != 60:
                    return done
                if length > largest or size > largest:
                    return done
                first = start = end + 20
                end += 8 + length
                # Long ones are not looked for, nor those with headers, which could be changed, or with correlation_id,
                # message_id or timestamp, which are another each time. b"" is never known.
                own = length >= 256 or buf[start] & 0x24 or buf[start + 1] & 0xC0
                raw = b"" if own else buf[start:end]
                stop = end
                properties = known.get(raw)
                learn = properties is not None and size  # new properties may be unlike all others
                if properties is not None:
                    properties = properties.copy()
                # its end, and the body frame
                if size:
                    end_octet, frame_type, its_channel, length = unpack_prefix(buf, end)
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
                    properties = self._read_properties(buf, first, stop, raw)
                args = (consumer_tag, delivery_tag, redelivered, exchange, routing_key)
                if learn and delivery_tag >= head.since:
                    what = redelivered, exchange, routing_key, properties.copy(), size
                    gap = self._learn(head, delivery_tag, buf[middle:start], what)
                append((channel, method, args, make_content(properties, body)))
                if not size:
                    self.empty += 1
                done = offset = end + 1
        except (*BROKEN, PeerError):
            return done  # cut short, or wrong

    def _learn(self, head: _Head, tag: int, raw: bytes, middle: _Middle) -> int:
        """Remember a middle, and what of it is to be looked at; 0 if it does not pay."""
        if not head.missed:
            head.since = tag
        head.missed += 1
        if head.missed > _ENOUGH:
            alike = tag - head.since > 3 * head.missed
            head.missed = 0
            if not alike:
                self._middles -= len(head.middles)
                head.middles.clear()
                head.gap, head.since = 0, tag + _PAUSE
                return 0
        if self._middles >= _BOUND:
            self._forget()
        self._middles += 1
        head.middles[raw] = middle
        head.gap = len(raw)
        return head.gap

    def _forget(self) -> None:
        for head in self._heads.values():
            head.middles.clear()
        self._middles = 0

    def _read_head(self, raw: bytes) -> _Head:
        frame_type, channel, length, key = METHOD_FRAME.unpack_from(raw)
        if frame_type != frames.METHOD or key != self._key or not channel:
            raise IndexError
        if len(self._heads) >= _BOUND:
            self._forget()
            self._heads.clear()
        head = self._heads[raw] = _Head(channel, length, raw[12:].decode("utf-8", "surrogateescape"))
        return head

    def _read_route(self, raw: bytes) -> Tuple[bool, str, str]:
        """Of redelivered, exchange and routing key; what is behind them is passed over."""
        start = 3 + raw[1]
        end = start + raw[start - 1]
        if end > len(raw):
            raise IndexError
        exchange = raw[2 : start - 1].decode("utf-8", "surrogateescape")
        routing_key = raw[start:end].decode("utf-8", "surrogateescape")
        return self._routes.offer(raw, (raw[0] & 1 != 0, exchange, routing_key))

    def _read_properties(self, buf: bytes, start: int, end: int, raw: bytes) -> Dict[str, Any]:
        """raw: them once more, if they may be remembered."""
        properties = _decode_properties(buf, start, end, self._reading)
        return self._properties.offer(raw, properties).copy() if raw else properties


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
            _, channel, length, _, delivery_tag = _TAGGED.unpack_from(buf, offset)
            end = offset + 7 + length
            if length > largest or channel in busy or channel not in channels or not channel:
                return offset
            found = find_content(buf, end, channel, largest)
            if found is None:
                return offset
            # what is behind the delivery tag, but for the message count
            raw = buf[offset + 19 : end - 4]
            redelivered, exchange, routing_key = self._routes.known.get(raw) or self._read_route(raw)
            (message_count,) = _LONG_NUMBER.unpack_from(buf, end - 4)
            start, end, first, stop = found
            own = end - start >= _LONG or buf[start] & 0x24 or buf[start + 1] & 0xC0
            raw = b"" if own else buf[start:end]
            properties = self._properties.known.get(raw)
            properties = self._read_properties(buf, start, end, raw) if properties is None else properties.copy()
        except (*BROKEN, PeerError):
            return offset  # cut short, or wrong
        args = (delivery_tag, redelivered, exchange, routing_key, message_count)
        events.append((channel, self._method, args, self._make_content(properties, buf[first:stop])))
        if first == stop:
            self.empty += 1
        return stop + 1

    def _read_route(self, raw: bytes) -> Tuple[bool, str, str]:
        if len(raw) != 3 + raw[1] + raw[2 + raw[1]]:
            raise IndexError  # the message count is not at the end of the frame
        return super()._read_route(raw)
