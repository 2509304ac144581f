"""Content: the properties and the body that follow a method such as basic.publish (0-9-1, section 4.2.6).

`PropertyCodec` reads and writes property lists; `Assembly` collects the frames of one content. An Assembly has
one function for each state, named after the frame that it expects; a channel has at most one Assembly at a
time, and contents of different channels may interleave.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from . import codecs, frames, tables
from .errors import LocalError, PeerError, quote

__all__ = ["BASIC", "BASIC_CLASS_ID", "Assembly", "PropertyCodec"]

BASIC_CLASS_ID = 60

_WORD = struct.Struct(">H")
_HEADER = struct.Struct(">HHQ")  # class id, weight (always 0), body size

_FLAGS_PER_WORD = 15

#: Memory for a body of several frames is taken at once up to so many octets, and as it comes beyond.
_BELIEVED = 16 * 1024 * 1024


#: Bytes of the presence flags, and the names and encoders of the properties in wire order.
_Plan = Tuple[bytes, Tuple[Tuple[str, Callable[[Any], bytes]], ...]]

#: Plans kept by one codec before it begins again.
_MAX_PLANS = 512


class PropertyCodec:
    """Property lists of one class: 15 presence flags a word, bit 0 of a word saying that another follows."""

    __slots__ = ("_decoders", "_encoders", "_known", "_plans", "fields")

    def __init__(self, fields: Sequence[Tuple[str, str]]) -> None:
        #: (name, type) in wire order.
        self.fields = tuple(fields)
        self._decoders: List[Tuple[int, str, Callable[..., Tuple[Any, int]]]] = []
        self._encoders: List[Tuple[int, str, Callable[[Any], bytes]]] = []
        self._plans: Dict[Tuple[str, ...], _Plan] = {}
        self._known = 0
        for index, (name, kind) in enumerate(self.fields):
            # flag words are kept as one number, 16 bits a word, the first word lowest
            word, place = divmod(index, _FLAGS_PER_WORD)
            flag = 1 << 16 * word + 15 - place
            self._known |= flag
            one = codecs.FIELD_CODECS[kind]
            self._decoders.append((flag, name, one.decode))
            self._encoders.append((flag, name, one.encode))

    def encode(self, properties: Mapping[str, Any]) -> bytes:
        """Flags and values. Unknown names and None values are left out; LocalError names a value that does not fit."""
        names = tuple(properties)
        flags, fields = self._plans.get(names) or self._plan(names)
        values = [flags]
        for name, encode in fields:
            value = properties[name]
            if value is None:
                return self.encode({name: value for name, value in properties.items() if value is not None})
            try:
                values.append(encode(value))
            except codecs.MISFITS as exc:
                raise LocalError("%s: %s" % (name, exc)) from None
        return b"".join(values)

    def _plan(self, names: Tuple[str, ...]) -> _Plan:
        """How properties of these names are written. Programs use few combinations of them."""
        known = [(flag, name, encode) for flag, name, encode in self._encoders if name in names]
        flags = sum(flag for flag, _, _ in known)
        words = [flags & 0xFFFE]
        while flags > 0xFFFF:
            words[-1] |= 1
            flags >>= 16
            words.append(flags & 0xFFFE)
        plan = b"".join(map(_WORD.pack, words)), tuple((name, encode) for _, name, encode in known)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[names] = plan
        return plan

    def decode(self, buf: bytes, offset: int, end: int, reading: tables.Reading) -> Dict[str, Any]:
        """The properties present. PeerError 502 for a list that ends early or sets flags we know no name for."""
        start, flags, shift = offset, 0, 0
        properties: Dict[str, Any] = {}
        try:
            while True:
                (word,) = _WORD.unpack_from(buf, offset)
                offset += 2
                flags |= (word & 0xFFFE) << shift
                shift += 16
                if flags & ~self._known or offset > end:
                    raise IndexError
                if not word & 1:
                    break
            for flag, name, decode in self._decoders:
                if flags & flag:
                    properties[name], offset = decode(buf, offset, end, reading)
            if offset > end:
                raise IndexError
        except codecs.BROKEN:
            raise PeerError(502, "malformed properties: %s" % quote(buf[start:end])) from None
        return properties


#: The Basic class is the only one that RabbitMQ ever had contents for. `headers` has been called
#: application_headers here since the first version, after AMQP 0-10.
BASIC = PropertyCodec(
    (
        ("content_type", "shortstr"),
        ("content_encoding", "shortstr"),
        ("application_headers", "table"),
        ("delivery_mode", "octet"),
        ("priority", "octet"),
        ("correlation_id", "shortstr"),
        ("reply_to", "shortstr"),
        ("expiration", "shortstr"),
        ("message_id", "shortstr"),
        ("timestamp", "timestamp"),
        ("type", "shortstr"),
        ("user_id", "shortstr"),
        ("app_id", "shortstr"),
        ("cluster_id", "shortstr"),
    )
)


def encode_header(properties: bytes, body_size: int) -> bytes:
    """The payload of a content header frame of the Basic class."""
    return _HEADER.pack(BASIC_CLASS_ID, 0, body_size) + properties


class Assembly:
    """One content being received: its header frame, then body frames until they make up the announced size."""

    __slots__ = ("_body", "_pieces", "args", "expects", "method", "missing", "properties")

    def __init__(self, method: Any, args: Tuple[Any, ...]) -> None:
        self.method = method
        self.args = args
        #: The type of the frame that has to come next on this channel.
        self.expects = frames.HEADER
        #: What header() makes of the property list: a dict of what is present.
        self.properties: Any = {}
        #: Octets of the body that are still to come.
        self.missing = 0
        self._body = b""
        self._pieces: Optional[BytesIO] = None

    def header(self, buf: bytes, offset: int, end: int, body_max: int, reading: tables.Reading) -> bool:
        """Take a header frame's payload; True when no body follows."""
        if end - offset < _HEADER.size:
            raise PeerError(502, "malformed content header: %s" % quote(buf[offset:end]))
        class_id, _, self.missing = _HEADER.unpack_from(buf, offset)
        if class_id != BASIC_CLASS_ID:
            text = "a content header of class %d where class %d is due: %s"
            raise PeerError(501, text % (class_id, BASIC_CLASS_ID, quote(buf[offset:end])))
        if self.missing > body_max:
            text = "a body of %d octets is announced; the limit is %d (body_max): %s"
            raise PeerError(501, text % (self.missing, body_max, quote(buf[offset:end])))
        self.properties = BASIC.decode(buf, offset + _HEADER.size, end, reading)
        self.expects = frames.BODY
        return self.missing == 0

    def body(self, buf: bytes, offset: int, end: int) -> bool:
        """Take a body frame's payload; True when the body is whole."""
        size = end - offset
        if size > self.missing:
            text = "a body frame of %d octets where %d were due: %s"
            raise PeerError(501, text % (size, self.missing, quote(buf[offset:end])))
        if self._pieces is None and size == self.missing:
            self._body = buf[offset:end]
            self.missing = 0
        else:
            self.part(buf, offset, end)
        return self.missing == 0

    def part(self, buf: bytes, offset: int, end: int) -> None:
        """Take a part of a body frame's payload that is not longer than what is missing."""
        if self._pieces is None:
            # What is written to it is copied once: getvalue() hands its memory over. Growing is what costs; but what is
            # announced is not believed beyond a limit (benchmarks/experiments/large_bodies.py).
            self._pieces = BytesIO()
            if self.missing <= _BELIEVED:
                self._pieces.seek(self.missing - 1)
                self._pieces.write(b"\0")
                self._pieces.seek(0)
        self._pieces.write(memoryview(buf)[offset:end])
        self.missing -= end - offset

    def whole_body(self) -> bytes:
        """The body, once header() or body() has said that it is whole."""
        return self._body if self._pieces is None else self._pieces.getvalue()
