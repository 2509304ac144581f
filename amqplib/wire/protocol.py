"""The protocol without I/O: bytes in -> complete methods out, and the other way round.

`Receiver` is fed whatever the network gave, in pieces of any size, and returns events in the order of their
arrival: (channel, method, arguments, content). A method with content is returned once its body is whole; until
then at most the announced, limited size is held. `Sender` makes the bytes of methods and contents.

Invariants: the events do not depend on how the bytes were cut up. Sizes are checked against the limits
before memory is taken for them. After an error the Receiver is finished: it takes no more bytes.
No I/O, no clock and no locks here: the caller owns them.
"""

from __future__ import annotations

from typing import Any, Callable, Container, Dict, List, Mapping, Optional, Protocol, Set, Tuple

from . import content, frames
from .errors import LocalError, PeerError, ProtocolHeaderReceived, quote
from .hot import AckWriter, DeliveryReader, GetReader, GetWriter, Pieces, PublishWriter
from .spec import Dialect, Method
from .tables import Reading, TimeReader

__all__ = ["DEFAULT_BODY_MAX", "DEFAULT_HEADER_MAX", "Event", "Receiver", "Sender"]

#: channel, method, arguments in the table's order, content (None where the method has none)
Event = Tuple[int, Method, Tuple[Any, ...], Any]

#: Octets; a longer body ends the connection before memory is taken for it.
DEFAULT_BODY_MAX = 128 * 1024 * 1024

#: Octets of the longest method or header frame. Neither can be split, and RabbitMQ does not hold what it sends of them
#: to frame_max: x-death makes a header of any length.
DEFAULT_HEADER_MAX = 1024 * 1024

_PROTOCOL_HEADER_SIZE = 8

#: Methods and properties up to this size take the short way out, and bodies while nothing is known of frame_max.
_SMALL = 4000

#: Octets of a body frame that have to be there for it to be taken in parts.
_PART = 32


class RunReader(Protocol):
    """Reads whole contents of one method the short way, as many as follow each other: hot.DeliveryReader and others."""

    #: How many of the contents have had no body frame. Whoever counts frames puts it back.
    empty: int

    def walk(
        self,
        buf: bytes,
        offset: int,
        largest: int,
        channels: Container[int],
        busy: Container[int],
        events: List[Event],
    ) -> int:
        """Append the events of the whole contents at `offset`; the offset behind the last one."""


class _Part:
    """A body frame, or a header frame that is left out, that has not come as a whole yet."""

    __slots__ = ("assembly", "channel", "due", "frame_type", "head")

    def __init__(self, frame_type: int, channel: int, assembly: content.Assembly, head: bytes, due: int) -> None:
        self.frame_type = frame_type
        self.channel = channel
        self.assembly = assembly
        #: Its first octets, for error messages.
        self.head = head
        #: Octets of its payload that are still to come; its end octet follows.
        self.due = due


class Receiver:
    """Bytes to events, for one connection."""

    _assembly = content.Assembly

    def __init__(
        self,
        dialect: Dialect,
        make_content: Callable[[Any, bytes], Any],
        to_time: TimeReader,
        body_max: int = DEFAULT_BODY_MAX,
        header_max: int = DEFAULT_HEADER_MAX,
    ) -> None:
        self._methods = dialect.by_key
        # channel 0 is for the methods of this class, and they are for channel 0 (0-9-1, section 4.2.3)
        self._connection_class = dialect["connection.start"].key >> 16
        self._make_content = make_content
        self._body_max = body_max
        # 0: frame_max is for these frames, too, as a broker has it for what clients send
        self._header_max = header_max
        # contents that can be left out: a message that is not acknowledged is still the broker's
        self._dispensable = dialect["basic.deliver"], dialect["basic.get_ok"]
        self.frame_max = 0
        #: Deliveries that were left out: channel, arguments, why. The answer to a basic.get is an event all the same,
        #: with the Oversize as its content: somebody waits for it.
        self.left_out: List[Tuple[int, Tuple[Any, ...], content.Oversize]] = []
        #: How values are read, and the fields that could not be.
        self.reading = Reading(to_time)
        #: Numbers of the open channels: a frame for any other is an error. Channel 0 is the connection.
        self.channels: Set[int] = {0}
        self._assemblies: Dict[int, content.Assembly] = {}
        #: What reads contents the short way, by the ids of their methods on the wire.
        self._runs: Dict[bytes, RunReader] = {
            dialect["basic.deliver"].key.to_bytes(4, "big"): DeliveryReader(dialect, make_content, self.reading),
            dialect["basic.get_ok"].key.to_bytes(4, "big"): GetReader(dialect, make_content, self.reading),
        }
        self._pieces: List[bytes] = []
        self._held = 0  # octets in _pieces
        self._wanted = 1  # octets to hold before it is worth looking at them
        self._started = False
        self._part: Optional[_Part] = None
        #: Whole frames and whole contents received so far.
        self.frames = self.contents = 0
        #: Contents that were left out.
        self.oversize = 0
        #: What the peer did wrong, once it has: to be looked at after the events of the same call.
        self.error: Optional[PeerError] = None

    @property
    def frame_max(self) -> int:
        """Largest body frame to accept, in octets; 0 for no limit. Set once it is negotiated.

        The payload alone is held to it, as RabbitMQ has it: there are programs that do not count the overhead.
        """
        return self._own_frame_max

    @frame_max.setter
    def frame_max(self, octets: int) -> None:
        self._own_frame_max = octets
        # payloads up to this size are within any limit; 0 where there is none
        self._longest = min(filter(None, (octets, self._header_max)), default=0)
        self._largest = min(self._body_max, self._longest or self._body_max)  # what the short way takes

    def receive(self, data: bytes) -> List[Event]:
        """Take what was read; return what is complete.

        Bytes that break the protocol end up in `error`; the events before them are returned all the same.
        """
        if self.error:
            return []
        if self._pieces or len(data) < self._wanted:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return []
            data = b"".join(self._pieces)
        buf = data
        events: List[Event] = []
        offset = 0
        try:
            if self._started or self._start(buf):
                if self._part:
                    offset = self._more(self._part, buf, events)
                if not self._part:
                    offset = self._walk(buf, offset, events)
        except PeerError as exc:
            exc.__context__ = None  # like the traceback, it would keep this buffer
            self.error = exc.with_traceback(None)
            return events
        rest = buf[offset:]
        if rest or self._pieces:
            self._pieces = [rest] if rest else []
            self._held = len(rest)
        return events

    def _start(self, buf: bytes) -> bool:
        """Is this the beginning of a frame? A peer that refuses our version sends a protocol header instead."""
        magic = b"AMQP"
        if buf[:4] != magic[: len(buf)]:
            self._started = True
            return True
        if len(buf) >= _PROTOCOL_HEADER_SIZE:
            raise ProtocolHeaderReceived(buf[:_PROTOCOL_HEADER_SIZE])
        self._wanted = _PROTOCOL_HEADER_SIZE if len(buf) >= len(magic) else len(buf) + 1
        return False

    def _walk(self, buf: bytes, offset: int, events: List[Event]) -> int:
        """Append the events of all complete frames from `offset` on; the offset of what is to be kept."""
        size = len(buf)
        unpack, runs = frames.PREFIX.unpack_from, self._runs
        while True:
            if size - offset < frames.OVERHEAD:
                if size > offset and buf[offset] not in frames.TYPES:
                    raise PeerError(501, "not an AMQP frame: %s" % quote(buf[offset:]))
                self._wanted = frames.OVERHEAD if size > offset else 1
                return offset
            # by the short way first, which takes nothing that is not whole and as it should be
            reader = runs.get(buf[offset + 7 : offset + 11]) if buf[offset] == frames.METHOD else None
            if reader is not None:
                after = self._walk_run(reader, buf, offset, events)
                if after > offset:
                    offset = after
                    continue
            frame_type, channel, length = unpack(buf, offset)
            if frame_type not in frames.TYPES:
                raise PeerError(501, "not an AMQP frame: %s" % quote(buf[offset:]))
            payload = offset + 7
            end = payload + length
            if self._longest and length > self._longest:
                why = self._excess(frame_type, channel, length, quote(buf[offset:payload]))
                if why is not None:
                    if size < min(offset + _PART, end + 1):  # all that has to be looked at
                        self._wanted = min(_PART, end + 1 - offset)
                        return offset
                    self._leave_out(why, channel, buf, payload, end)
                    if frame_type == frames.HEADER and end >= size:
                        self._begin(frame_type, channel, buf, offset, end)
                        return size
            if end >= size:
                if frame_type == frames.BODY and size - offset >= _PART and self._begin_body(channel, buf, offset, end):
                    return size
                self._wanted = end + 1 - offset
                return offset
            if buf[end] != frames.END:
                raise PeerError(501, "the frame's end octet is %#04x: %s" % (buf[end], quote(buf[offset : end + 1])))
            self._frame(frame_type, channel, buf, payload, end, events)
            self.frames += 1
            offset = end + 1

    def _walk_run(self, reader: RunReader, buf: bytes, offset: int, events: List[Event]) -> int:
        before = len(events)
        after = reader.walk(buf, offset, self._largest, self.channels, self._assemblies, events)
        count = len(events) - before
        self.contents += count
        self.frames += 3 * count - reader.empty
        reader.empty = 0
        return after

    def _frame(self, frame_type: int, channel: int, buf: bytes, offset: int, end: int, events: List[Event]) -> None:
        if channel not in self.channels:
            text = "a %s frame for channel %d, which is not open: %s"
            raise PeerError(504, text % (frames.TYPES[frame_type], channel, quote(buf[offset - 7 : end + 1])))
        assembly = self._assemblies.get(channel)
        if frame_type == frames.HEARTBEAT:
            if channel or end > offset:
                text = "a heartbeat on channel %d with %d octets: %s"
                raise PeerError(501, text % (channel, end - offset, quote(buf[offset - 7 : end + 1])))
        elif assembly is None:
            if frame_type != frames.METHOD:
                text = "a %s frame on channel %d without a method: %s"
                raise PeerError(505, text % (frames.TYPES[frame_type], channel, quote(buf[offset - 7 : end + 1])))
            self._method(channel, buf, offset, end, events)
        elif frame_type != assembly.expects:
            raise PeerError(
                505,
                "a %s frame on channel %d where a %s frame was due: %s"
                % (
                    frames.TYPES[frame_type],
                    channel,
                    frames.TYPES[assembly.expects],
                    quote(buf[offset - 7 : end + 1]),
                ),
                assembly.method.sig,
            )
        elif frame_type == frames.HEADER and assembly.oversize is not None:
            self._header_left_out(channel, assembly, events)
        elif (
            assembly.header(buf, offset, end, self._body_max, self.reading)
            if frame_type == frames.HEADER
            else assembly.body(buf, offset, end)
        ):
            self._complete(channel, assembly, events)

    def _complete(self, channel: int, assembly: content.Assembly, events: List[Event]) -> None:
        del self._assemblies[channel]
        if assembly.oversize is not None:
            self.oversize += 1
            if assembly.method is self._dispensable[0]:
                self.left_out.append((channel, assembly.args, assembly.oversize))
            else:
                events.append((channel, assembly.method, assembly.args, assembly.oversize))
            return
        self.contents += 1
        whole = self._make_content(assembly.properties, assembly.whole_body())
        events.append((channel, assembly.method, assembly.args, whole))

    # What is too long costs its message, where that is still the broker's: it will come again, and would again cost a
    # connection, and keep all that is behind it in its queue.

    def _excess(self, frame_type: int, channel: int, length: int, shown: str) -> Optional[content.Oversize]:
        """Why the content that this frame is of is to be left out; None where the frame is within its limit.

        PeerError where there is none that could be: then it costs the connection, before anything is kept of it.
        """
        is_long_head = frame_type in (frames.METHOD, frames.HEADER) and self._header_max
        option, limit = ("header_max", self._header_max) if is_long_head else ("frame_max", self.frame_max)
        if not limit or length <= limit:
            return None
        assembly = self._assemblies.get(channel)
        if (
            assembly is not None
            and assembly.expects == frame_type
            and assembly.method in self._dispensable
            and self._header_max
            and (length >= frames.HEADER_SIZE if frame_type == frames.HEADER else length <= assembly.missing)
        ):
            return content.Oversize(frames.TYPES[frame_type], length, option, limit)
        if not is_long_head:
            text = "a frame of %d octets; %d were agreed on: %s"
            raise PeerError(501, text % (length + frames.OVERHEAD, limit, shown))
        what = frames.TYPES[frame_type]
        if assembly is not None:
            what += " of " + assembly.method.name
        text = "a frame of %d octets, a %s; the limit is %d (header_max, which Connection() takes): %s"
        raise PeerError(501, text % (length + frames.OVERHEAD, what, limit, shown))

    def _leave_out(self, why: content.Oversize, channel: int, buf: bytes, payload: int, end: int) -> None:
        """Keep nothing of the content whose frame begins here."""
        assembly = self._assemblies[channel]
        if assembly.expects == frames.HEADER:
            assembly.announced(buf, payload, end)
        assembly.leave_out(why)

    def _header_left_out(self, channel: int, assembly: content.Assembly, events: List[Event]) -> None:
        assembly.expects = frames.BODY
        if not assembly.missing:
            self._complete(channel, assembly, events)

    # Of a body frame that is not whole yet, what is there is handed to its assembly at once: it would have to be kept,
    # and joined with the rest, and copied once more from there.

    def _begin_body(self, channel: int, buf: bytes, offset: int, end: int) -> bool:
        assembly = self._assemblies.get(channel)
        payload = offset + 7
        if assembly is None or assembly.expects != frames.BODY or end - payload > assembly.missing:
            return False  # that is wrong, which will be said once the frame is whole
        assembly.part(buf, payload, len(buf))
        self._begin(frames.BODY, channel, buf, offset, end)
        return True

    def _begin(self, frame_type: int, channel: int, buf: bytes, offset: int, end: int) -> None:
        head, due = buf[offset : offset + _PART], end - len(buf)
        self._part = _Part(frame_type, channel, self._assemblies[channel], head, due)
        self._wanted = 1

    def _more(self, part: _Part, buf: bytes, events: List[Event]) -> int:
        end = min(part.due, len(buf))
        if part.frame_type == frames.BODY:
            part.assembly.part(buf, 0, end)
        part.due -= end
        if end == len(buf):
            return end
        self._part = None
        if buf[end] != frames.END:
            raise PeerError(501, "the frame's end octet is %#04x: %s" % (buf[end], quote(part.head)))
        if self._assemblies.get(part.channel) is not part.assembly:  # the channel was closed meanwhile
            self._frame(part.frame_type, part.channel, part.head, 7, len(part.head), events)
        self.frames += 1
        if part.frame_type == frames.HEADER:
            self._header_left_out(part.channel, part.assembly, events)
        elif not part.assembly.missing:
            self._complete(part.channel, part.assembly, events)
        return end + 1

    def _method(self, channel: int, buf: bytes, offset: int, end: int, events: List[Event]) -> None:
        method = self._methods.get(int.from_bytes(buf[offset : min(offset + 4, end)], "big"))
        if method is None or end - offset < 4:
            raise PeerError(503, "an unknown method on channel %d: %s" % (channel, quote(buf[offset:end])))
        if (channel == 0) != (method.key >> 16 == self._connection_class):
            text = "%s on channel %d: %s"
            raise PeerError(503, text % (method.name, channel, quote(buf[offset:end])), method.sig)
        try:
            args = method.decode(buf, offset + 4, end, self.reading)
        except PeerError as exc:
            raise PeerError(exc.reply_code, "%s: %s" % (method.name, exc), method.sig) from None
        if method.has_content:
            self._assemblies[channel] = self._assembly(method, args)
        else:
            events.append((channel, method, args, None))

    def forget(self, channel: int) -> None:
        """The channel is closed: drop it and any content that was on its way."""
        self.channels.discard(channel)
        self._assemblies.pop(channel, None)


class Sender:
    """Methods and contents to bytes, for one connection. Raises LocalError before a byte is made."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        # No part of this knows the whole: what is closed goes by its reference count.
        self._plain = plain = _Plain()
        self._publish = PublishWriter(dialect, plain.content_pieces)
        #: The frame of a method without content.
        self.method = plain.method
        #: The frames of a method with one.
        self.content = plain.content
        self.content_pieces = plain.content_pieces
        #: The frames of basic.publish.
        self.publish = self._publish.message
        #: The bytes of a dictionary of properties.
        self.properties = content.BASIC.encode
        #: basic.ack by the short way.
        self.ack = AckWriter(dialect).frame
        #: basic.get likewise.
        self.get = GetWriter(dialect, plain.method).frame
        self.frame_max = 0

    @property
    def frame_max(self) -> int:
        """Largest frame to send, in octets with its overhead; 0 for no limit. Set once it is negotiated."""
        return self._plain.frame_max

    @frame_max.setter
    def frame_max(self, octets: int) -> None:
        self._plain.frame_max = octets
        room = octets - frames.OVERHEAD if octets else _SMALL
        self._publish.limit(room, min(_SMALL, room - 12))


class _Plain:
    """Frames the plain way, which remembers nothing."""

    #: As Sender has it.
    frame_max = 0

    def method(self, channel: int, method: Method, args: Tuple[Any, ...]) -> bytes:
        """The frame of a method without content."""
        return self._frame(frames.METHOD, channel, method.name, method.encode(*args))

    def content(
        self, channel: int, method: Method, args: Tuple[Any, ...], properties: Mapping[str, Any], body: bytes
    ) -> bytes:
        """The frames of a method, its content header and its body, as one piece: they must not be parted."""
        return b"".join(self.content_pieces(channel, method, args, properties, body))

    def content_pieces(
        self, channel: int, method: Method, args: Tuple[Any, ...], properties: Mapping[str, Any], body: bytes
    ) -> Pieces:
        """The same as a list of pieces, among them views of the body."""
        head = self._frame(frames.METHOD, channel, method.name, method.encode(*args))
        header = content.encode_header(content.BASIC.encode(properties), len(body))
        head += self._frame(frames.HEADER, channel, "the properties", header)
        return [head, *frames.encode_body(channel, body, self.frame_max)]

    def _frame(self, frame_type: int, channel: int, what: str, payload: bytes) -> bytes:
        if self.frame_max and len(payload) > self.frame_max - frames.OVERHEAD:
            size, payload = len(payload), b""  # it may be a secret, which a traceback does not show then
            raise LocalError(
                "%s: %d octets, and a frame holds at most %d (frame_max %d): only bodies are split"
                % (what, size, self.frame_max - frames.OVERHEAD, self.frame_max)
            )
        return frames.encode_frame(frame_type, channel, payload)
