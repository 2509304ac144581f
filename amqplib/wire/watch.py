"""What goes by in one direction of a connection, found in its octets by somebody who only looks on.

A `Watcher` is fed octets in pieces of any size, those that a client sends or those that it receives. It gives what they
make: a protocol header, heartbeats, methods with their contents. It takes no part, so nothing is an error: where the
octets are no AMQP it says so once, and finds nothing more. Of a method or a header it keeps 64 KB, of a body only the
first octets. `read` makes a method's name, arguments and properties of what was found, without what is secret.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple, Union

from . import codecs, content, frames
from .errors import PeerError
from .spec import Dialect, Method
from .tables import Reading, utc_time

__all__ = ["HEARTBEAT", "HIDDEN", "NO_AMQP", "PROTOCOL_HEADER", "Passage", "Watcher", "read"]

#: In the place of a method's name.
PROTOCOL_HEADER, HEARTBEAT, NO_AMQP = "protocol header", "heartbeat", "no AMQP"

#: In the place of an argument that is secret.
HIDDEN = "<secret>"

#: Logins, tokens, and what a server asks of them.
_SECRET = {
    "connection.start_ok": "response",
    "connection.secure": "challenge",
    "connection.secure_ok": "response",
    "connection.update_secret": "new_secret",  # nosec B105: the name of an argument
}

#: Octets that are kept of a method's arguments, or of a property list.
_LONGEST = 65536

_MAGIC = b"AMQP"
_HEADER_OCTETS = 8


class _Hidden(bytes):
    """Octets that are not shown where a traceback shows what stands in our frames, or a part of it."""

    def __repr__(self) -> str:
        return HIDDEN

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found if isinstance(found, int) else _Hidden(found)


class Passage(NamedTuple):
    """Something that has gone by."""

    #: The name of what is no method, '' where it is one.
    what: str
    channel: int
    #: The payloads of its method frame and of its header frame, as far as they are kept.
    method: bytes
    header: bytes = b""
    #: Octets of its body, and the first of these; None where it has none.
    size: Union[int, None] = None
    body: bytes = b""
    #: Octets of the body that did not come before something else did.
    missing: int = 0


class _Content:
    """A method that a content belongs to, and as much of that as there is."""

    __slots__ = ("body", "header", "method", "missing", "size")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.header = b""
        self.size = self.missing = 0
        self.body = b""

    def passage(self, channel: int) -> Passage:
        return Passage("", channel, self.method, self.header, self.size, self.body, max(self.missing, 0))


class Watcher:
    """One direction of a connection in a dialect. shown: octets to be kept of a body."""

    __slots__ = (
        "_channel",
        "_contents",
        "_due",
        "_head",
        "_kept",
        "_length",
        "_room",
        "_secret",
        "_shown",
        "_started",
        "_type",
        "_wanted",
        "_with_content",
        "lost",
    )

    def __init__(self, dialect: Dialect, shown: int) -> None:
        self._secret = {dialect[name].key for name in _SECRET if name in dialect}
        self._with_content = {method.key for method in dialect.by_key.values() if method.has_content}
        self._shown = shown
        #: Were there octets that are no AMQP? What came behind them is not looked at.
        self.lost = False
        self._started = False  # is the first octet known?
        # the head of a frame, as long as it is not whole, and its length
        self._head, self._wanted = b"", frames.PREFIX.size
        # the frame: its payload's length, octets to come with the end octet, those kept, and how many more are to be
        self._type = self._channel = self._length = self._due = self._room = 0
        self._kept = b""
        self._contents: Dict[int, _Content] = {}

    def feed(self, octets: Union[bytes, memoryview]) -> List[Passage]:
        """What these octets complete."""
        found: List[Passage] = []
        offset, size = 0, len(octets)
        while offset < size and not self.lost:
            if not self._due:
                offset = self._begin(octets, offset, found)
                continue
            taken = min(self._due, size - offset)
            self._due -= taken
            end = offset + taken - (not self._due)  # without the end octet
            keep = min(end - offset, self._room)
            if keep > 0:
                self._kept += bytes(octets[offset : offset + keep])
                self._room -= keep
            offset += taken
            if not self._due:
                if octets[offset - 1] != frames.END:
                    self._lose(self._kept[: self._shown], found)
                else:
                    self._frame(found)
        return found

    def _begin(self, octets: Union[bytes, memoryview], offset: int, found: List[Passage]) -> int:
        """The head of a frame, or the protocol header; the offset behind it."""
        if not self._started:
            self._started = True
            if octets[offset] == _MAGIC[0]:
                self._wanted = _HEADER_OCTETS
        end = offset + self._wanted - len(self._head)
        self._head += bytes(octets[offset:end])
        if len(self._head) < self._wanted:
            return len(octets)
        head, self._head, self._wanted = self._head, b"", frames.PREFIX.size
        if head.startswith(_MAGIC):
            found.append(Passage(PROTOCOL_HEADER, 0, head))
            return end
        kind, self._channel, self._length = frames.PREFIX.unpack_from(head)
        if kind not in frames.TYPES:
            self._lose((head + bytes(octets[end : end + self._shown]))[: self._shown], found)
            return len(octets)
        self._type, self._due, self._kept = kind, self._length + 1, b""
        self._room = _LONGEST
        if kind == frames.BODY:
            known = self._contents.get(self._channel)
            self._room = self._shown - len(known.body if known else b"")
        return end

    def _lose(self, octets: bytes, found: List[Passage]) -> None:
        self.lost = True
        self._contents.clear()
        found.append(Passage(NO_AMQP, 0, octets))

    def _frame(self, found: List[Passage]) -> None:
        kind, channel = self._type, self._channel
        kept: bytes = _Hidden(self._kept)
        self._kept = b""
        if kind != frames.METHOD or int.from_bytes(kept[:4], "big") not in self._secret:
            kept = bytes(kept)
        if kind == frames.HEARTBEAT:
            found.append(Passage(HEARTBEAT, channel, b""))
        elif kind == frames.METHOD:
            before = self._contents.pop(channel, None)
            if before is not None:  # a close came in between
                found.append(before.passage(channel))
            if int.from_bytes(kept[:4], "big") in self._with_content:
                self._contents[channel] = _Content(kept)
            else:
                found.append(Passage("", channel, kept))
        else:
            known = self._contents.get(channel)
            if known is None:
                found.append(Passage(frames.TYPES[kind], channel, kept[: self._shown]))
                return
            if kind == frames.HEADER:
                known.header = kept
                known.size = known.missing = int.from_bytes(kept[4 : frames.HEADER_SIZE], "big")
            else:
                known.body += kept
                known.missing -= self._length
            if known.missing <= 0:
                found.append(self._contents.pop(channel).passage(channel))


def read(dialect: Dialect, passage: Passage) -> Tuple[str, Dict[str, Any], Dict[str, Any]]:
    """The name of the method, its arguments in the table's order, and the properties of its content.

    Where they cannot be read, the first octets stand for them, under 'unreadable'. What is secret is HIDDEN, and what
    comes behind it in the same method is left out.
    """
    if passage.what:
        return passage.what, {"octets": passage.method} if passage.method else {}, {}
    raw, reading = passage.method, Reading(utc_time)
    method = dialect.by_key.get(int.from_bytes(raw[:4], "big"))
    if method is None or len(raw) < 4:
        return "unknown method", {"octets": raw[:16]}, {}
    arguments: Dict[str, Any]
    if method.name in _SECRET:
        arguments = _before_secret(method, raw, reading)
    else:
        try:
            arguments = dict(zip((name for name, _ in method.fields), method.decode(raw, 4, len(raw), reading)))
        except PeerError:
            arguments = {"unreadable": raw[4:68]}
    properties: Dict[str, Any] = {}
    header = passage.header
    if header:
        try:
            properties = content.BASIC.decode(header, frames.HEADER_SIZE, len(header), reading)
        except PeerError:
            properties = {"unreadable": header[frames.HEADER_SIZE : frames.HEADER_SIZE + 64]}
    return method.name, arguments, properties


def _before_secret(method: Method, raw: bytes, reading: Reading) -> Dict[str, Any]:
    """The arguments up to the one that is secret, which is not even decoded."""
    arguments: Dict[str, Any] = {}
    offset, hidden = 4, _SECRET[method.name]
    try:
        for name, kind in method.fields[: [name for name, _ in method.fields].index(hidden)]:
            arguments[name], offset = codecs.FIELD_CODECS[kind].decode(raw, offset, len(raw), reading)
    except codecs.BROKEN:
        pass  # it was cut short: what has been read is shown
    arguments[hidden] = HIDDEN
    return arguments
