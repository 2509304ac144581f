"""The server's end of a connection: what a broker receives, and contents as it passes them on.

`ServerReceiver` differs from a client's Receiver in two ways. Channels open and close by what the client says, in the
order in which it says so. And a content's properties are kept as the bytes that came, to be passed on as they are,
beside what they mean.
"""

from __future__ import annotations

from typing import Any, Callable, Container, Dict, List, Optional, Tuple, TypeVar

from . import content, frames
from .codecs import BROKEN
from .errors import PeerError
from .frames import END_AND_HEADER, END_AND_PREFIX, END_OCTET, HEADER_SIZE, METHOD_FRAME
from .hot import find_content
from .protocol import DEFAULT_BODY_MAX, Event, Receiver
from .spec import Dialect
from .tables import Reading, Undecoded, utc_time

__all__ = ["Properties", "ServerReceiver", "content_frames"]

#: Entries of a memory before it is emptied and begun again, and the longest bytes that are worth an entry.
_BOUND = 512
_LONG = 256

T = TypeVar("T")


class Properties:
    """A property list: its bytes, and what they mean. It may be shared by many messages; nobody changes it."""

    __slots__ = ("_raw", "undecoded", "values")

    def __init__(self, raw: Optional[bytes], values: Dict[str, Any], undecoded: Tuple[Undecoded, ...]) -> None:
        self._raw = raw
        #: The properties present, by name.
        self.values = values
        #: The fields in the headers that could not be read.
        self.undecoded = undecoded

    @classmethod
    def of(cls, values: Dict[str, Any]) -> Properties:
        """The list of these. Its bytes are made when they are asked for: what is made anew again and again before it
        goes anywhere costs no encoding."""
        return cls(None, values, ())

    @property
    def raw(self) -> bytes:
        """Flags and values as they came, or as they go out. ValueError: what `of` was given cannot be encoded."""
        raw = self._raw
        if raw is None:
            raw = self._raw = content.BASIC.encode(self.values)
        return raw


def _properties(raw: bytes, values: Dict[str, Any], reading: Reading) -> Properties:
    """The list that was just read: what could not be is still noted."""
    undecoded = tuple(reading.undecoded)
    reading.undecoded.clear()
    return Properties(raw, values, undecoded)


class _Assembly(content.Assembly):
    """A content whose properties are `Properties`."""

    __slots__ = ()

    def header(self, buf: bytes, offset: int, end: int, body_max: int, reading: Reading) -> bool:
        whole = super().header(buf, offset, end, body_max, reading)
        self.properties = _properties(buf[offset + HEADER_SIZE : end], self.properties, reading)
        return whole


class ServerReceiver(Receiver):
    """Bytes of a client, from behind its protocol header on, to events."""

    _assembly = _Assembly

    def __init__(
        self, dialect: Dialect, make_content: Callable[[Properties, bytes], Any], body_max: int = DEFAULT_BODY_MAX
    ) -> None:
        super().__init__(dialect, make_content, utc_time, body_max, header_max=0)
        self._open_key = dialect["channel.open"].key
        self._close_key = dialect["channel.close"].key
        self._close_ok_key = dialect["channel.close_ok"].key
        self._runs = {
            dialect["basic.publish"].key.to_bytes(4, "big"): PublishReader(dialect, make_content, self.reading)
        }

    def _frame(self, frame_type: int, channel: int, buf: bytes, offset: int, end: int, events: List[Event]) -> None:
        key = int.from_bytes(buf[offset : offset + 4], "big") if frame_type == frames.METHOD else 0
        if channel not in self.channels:
            if key == self._close_ok_key:
                return  # both have closed it at once, and this answers the server's close
            if key == self._open_key:
                self.channels.add(channel)
        super()._frame(frame_type, channel, buf, offset, end, events)
        if channel and key in (self._close_key, self._close_ok_key):
            self.forget(channel)


class PublishReader:
    """Runs of whole publishes of small messages; anything else is left to the plain way. See hot.DeliveryReader."""

    __slots__ = ("_args", "_key", "_make_content", "_method", "_properties", "_reading", "empty")

    def __init__(self, dialect: Dialect, make_content: Callable[[Properties, bytes], Any], reading: Reading) -> None:
        self._method = dialect["basic.publish"]
        self._key = self._method.key
        self._make_content = make_content
        self._reading = reading
        self._args: Dict[bytes, Tuple[Any, ...]] = {}
        self._properties: Dict[bytes, Properties] = {}
        self.empty = 0

    def walk(
        self,
        buf: bytes,
        offset: int,
        largest: int,
        channels: Container[int],
        busy: Container[int],
        events: List[Event],
    ) -> int:
        """Append the events of the publishes that `buf` has at `offset`; the offset behind the last one."""
        unpack_method = METHOD_FRAME.unpack_from
        known_args, known_properties, reading = self._args, self._properties, self._reading
        method, key, make_content, append = self._method, self._key, self._make_content, events.append
        done = offset
        try:
            while True:
                frame_type, channel, length, its_key = unpack_method(buf, offset)
                if its_key != key or frame_type != frames.METHOD or not channel:
                    return done
                if length > largest or channel in busy or channel not in channels:
                    return done
                end = offset + 7 + length
                found = find_content(buf, end, channel, largest)
                if found is None:
                    return done
                raw = buf[offset + 11 : end]
                args = known_args.get(raw)
                if args is None:
                    args = _remember(known_args, raw, method.decode(raw, 0, len(raw), reading))
                start, end, first, stop = found
                raw = buf[start:end]
                properties = known_properties.get(raw)
                if properties is None:
                    values = content.BASIC.decode(raw, 0, len(raw), reading)
                    properties = _remember(known_properties, raw, _properties(raw, values, reading))
                append((channel, method, args, make_content(properties, buf[first:stop])))
                if first == stop:
                    self.empty += 1
                done = offset = stop + 1
        except (*BROKEN, PeerError):
            return done  # cut short, or wrong


def _remember(memory: Dict[bytes, T], raw: bytes, value: T) -> T:
    if len(memory) >= _BOUND:
        memory.clear()
    if len(raw) < _LONG:
        memory[raw] = value
    return value


def content_frames(channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """The frames of a method, given as its payload, and of a content, given as property list and body."""
    size = len(body)
    head = (
        frames.PREFIX.pack(frames.METHOD, channel, len(method)),
        method,
        END_AND_HEADER.pack(
            frames.END, frames.HEADER, channel, HEADER_SIZE + len(properties), content.BASIC_CLASS_ID, 0, size
        ),
        properties,
    )
    if not size:
        return b"".join((*head, END_OCTET))
    if frame_max and size > frame_max - frames.OVERHEAD:
        return b"".join((*head, END_OCTET, *frames.encode_body(channel, body, frame_max)))
    return b"".join((*head, END_AND_PREFIX.pack(frames.END, frames.BODY, channel, size), body, END_OCTET))
