"""Content: the properties and the body that follow a method such as basic.publish (0-9-1, section 4.2.6).

`PropertyCodec` reads and writes property lists; `Assembly` collects the frames of one content. An Assembly has
one function for each state, named after the frame that it expects; a channel has at most one Assembly at a
time, and contents of different channels may interleave.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from . import codecs, frames, tables
from .errors import LocalError, PeerError, UnknownPropertyError, quote

__all__ = ["BASIC", "BASIC_CLASS_ID", "Assembly", "Oversize", "PropertyCodec"]

BASIC_CLASS_ID = 60

_WORD = struct.Struct(">H")
_HEADER = struct.Struct(">HHQ")  # class id, weight (always 0), body size

_FLAGS_PER_WORD = 15

#: Memory for all of a body of several frames is taken once this part of it has come: one in so many octets.
_AHEAD = 16


#: Encoders, and decoders, that one codec compiles. There are 16,384 combinations of the properties of Basic, and a
#: peer could send all; programs use few.
_MAX_COMPILED = 64

#: Combinations of names, in any order, of which a codec knows the encoder, before it begins again.
_MAX_NAMES = 512


class PropertyCodec:
    """Property lists of one class: 15 presence flags a word, bit 0 of a word saying that another follows.

    The combinations of properties that occur are compiled, those whose flags fit one word; the first ones, up to a
    limit. The others, and values that need a closer look, are written and read one field at a time.
    """

    __slots__ = ("_by_flags", "_by_names", "_decoders", "_known", "_most", "_plain", "fields", "names")

    def __init__(self, fields: Sequence[Tuple[str, str]], most_compiled: int = _MAX_COMPILED) -> None:
        #: (name, type) in wire order.
        self.fields = tuple(fields)
        self.names = frozenset(name for name, _ in self.fields)
        self._most = most_compiled
        self._plain: List[Tuple[int, str, codecs.FieldCodec]] = []
        self._by_flags: Dict[int, codecs.PropertiesEncoder] = {}
        self._by_names: Dict[Tuple[str, ...], codecs.PropertiesEncoder] = {}
        self._decoders: Dict[bytes, codecs.PropertiesDecoder] = {}
        self._known = 0
        for index, (name, kind) in enumerate(self.fields):
            # flag words are kept as one number, 16 bits a word, the first word lowest
            word, place = divmod(index, _FLAGS_PER_WORD)
            flag = 1 << 16 * word + 15 - place
            self._known |= flag
            self._plain.append((flag, name, codecs.FIELD_CODECS[kind]))

    def encode(self, properties: Mapping[str, Any]) -> bytes:
        """Flags and values. None values are left out; LocalError names a value that does not fit, UnknownPropertyError
        names that there are not."""
        names = tuple(properties)
        encode = self._by_names.get(names) or self._encoder(names)
        try:
            return encode(properties)
        except codecs.MISFITS:
            present = {name: value for name, value in properties.items() if value is not None}
            return self.encode(present) if len(present) < len(names) else self._encode_plainly(properties)

    def _encode_plainly(self, properties: Mapping[str, Any]) -> bytes:
        """The same, one field at a time."""
        flags, values = 0, []
        for flag, name, codec in self._plain:
            value = properties.get(name)
            if value is not None:
                flags |= flag
                try:
                    values.append(codec.encode(value))
                except codecs.MISFITS as exc:
                    raise LocalError("%s: %s" % (name, exc)) from None
        return _flag_words(flags) + b"".join(values)

    def _encoder(self, names: Tuple[str, ...]) -> codecs.PropertiesEncoder:
        """For properties of these names."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise UnknownPropertyError("no properties: %s" % ", ".join("%.100r" % (name,) for name in unknown))
        flags = sum(flag for flag, name, _ in self._plain if name in names)
        encode = self._by_flags.get(flags)
        if encode is None:
            if flags > 0xFFFF or len(self._by_flags) >= self._most:
                return self._encode_plainly
            encode = codecs.compile_properties_encoder(_flag_words(flags), self._fields_of(flags))
            self._by_flags[flags] = encode
        if len(self._by_names) >= _MAX_NAMES:
            self._by_names.clear()
        self._by_names[names] = encode
        return encode

    def _fields_of(self, flags: int) -> List[Tuple[str, str]]:
        return [field for field, (flag, _, _) in zip(self.fields, self._plain) if flags & flag]

    def decode(self, buf: bytes, offset: int, end: int, reading: tables.Reading) -> Dict[str, Any]:
        """The properties present. PeerError 502 for a list that ends early or sets flags we know no name for."""
        try:
            decode = self._decoders.get(buf[offset : offset + 2]) or self._compiled_decoder(buf[offset : offset + 2])
            if decode is not None:
                return decode(buf, offset + 2, end, reading)
            return self._decode_plainly(buf, offset, end, reading)
        except codecs.BROKEN:
            raise PeerError(502, "malformed properties: %s" % quote(buf[offset:end])) from None

    def _compiled_decoder(self, raw: bytes) -> Optional[codecs.PropertiesDecoder]:
        """For lists that begin with these flags; None where there is none."""
        flags = int.from_bytes(raw, "big")
        if len(raw) < 2 or flags & ~self._known or len(self._decoders) >= self._most:
            return None
        decode = self._decoders[raw] = codecs.compile_properties_decoder(self._fields_of(flags))
        return decode

    def _decode_plainly(self, buf: bytes, offset: int, end: int, reading: tables.Reading) -> Dict[str, Any]:
        """The same, one field at a time; one of BROKEN instead of the error."""
        flags, shift = 0, 0
        while True:
            (word,) = _WORD.unpack_from(buf, offset)
            offset += 2
            flags |= (word & 0xFFFE) << shift
            shift += 16
            if flags & ~self._known or offset > end:
                raise IndexError
            if not word & 1:
                break
        properties: Dict[str, Any] = {}
        for flag, name, codec in self._plain:
            if flags & flag:
                properties[name], offset = codec.decode(buf, offset, end, reading)
        if offset > end:
            raise IndexError
        return properties


def _flag_words(flags: int) -> bytes:
    words = [flags & 0xFFFE]
    while flags > 0xFFFF:
        words[-1] |= 1
        flags >>= 16
        words.append(flags & 0xFFFE)
    return b"".join(map(_WORD.pack, words))


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


class Oversize:
    """In the place of a content that was left out, since one of its frames is longer than this side takes."""

    __slots__ = ("frame", "limit", "option", "size")

    def __init__(self, frame: str, size: int, option: str, limit: int) -> None:
        #: What kind of frame it was, and its octets.
        self.frame = frame
        self.size = size
        #: The limit, and its name.
        self.option = option
        self.limit = limit

    def __str__(self) -> str:
        return "a %s frame of %d octets; the limit is %d (%s)" % (self.frame, self.size, self.limit, self.option)


class Assembly:
    """One content being received: its header frame, then body frames until they make up the announced size."""

    __slots__ = ("_body", "_full", "_pieces", "args", "expects", "method", "missing", "oversize", "properties")

    def __init__(self, method: Any, args: Tuple[Any, ...]) -> None:
        self.method = method
        self.args = args
        #: The type of the frame that has to come next on this channel.
        self.expects = frames.HEADER
        #: What header() makes of the property list: a dict of what is present.
        self.properties: Any = {}
        #: Octets of the body that are still to come.
        self.missing = 0
        #: Why nothing of it is kept; None where it is.
        self.oversize: Optional[Oversize] = None
        self._body = b""
        self._pieces: Optional[BytesIO] = None
        self._full = False  # does that have memory for all of the body?

    def header(self, buf: bytes, offset: int, end: int, body_max: int, reading: tables.Reading) -> bool:
        """Take a header frame's payload; True when no body follows."""
        self.announced(buf, offset, end)
        if self.missing > body_max:
            text = "a body of %d octets is announced; the limit is %d (body_max): %s"
            raise PeerError(501, text % (self.missing, body_max, quote(buf[offset:end])))
        self.properties = BASIC.decode(buf, offset + _HEADER.size, end, reading)
        self.expects = frames.BODY
        return self.missing == 0

    def announced(self, buf: bytes, offset: int, end: int) -> None:
        """Take the size of the body from the beginning of a header frame's payload."""
        if end - offset < _HEADER.size:
            raise PeerError(502, "malformed content header: %s" % quote(buf[offset:end]))
        class_id, _, self.missing = _HEADER.unpack_from(buf, offset)
        if class_id != BASIC_CLASS_ID:
            text = "a content header of class %d where class %d is due: %s"
            raise PeerError(501, text % (class_id, BASIC_CLASS_ID, quote(buf[offset:end])))

    def leave_out(self, why: Oversize) -> None:
        """Keep nothing of this content: what came of its body goes, and what comes is counted only."""
        if self.oversize is None:
            self.oversize = why
        self._pieces, self._body = None, b""

    def body(self, buf: bytes, offset: int, end: int) -> bool:
        """Take a body frame's payload; True when the body is whole."""
        size = end - offset
        if size > self.missing:
            text = "a body frame of %d octets where %d were due: %s"
            raise PeerError(501, text % (size, self.missing, quote(buf[offset:end])))
        if self._pieces is None and size == self.missing and self.oversize is None:
            self._body = buf[offset:end]
            self.missing = 0
        else:
            self.part(buf, offset, end)
        return self.missing == 0

    def part(self, buf: bytes, offset: int, end: int) -> None:
        """Take a part of a body frame's payload that is not longer than what is missing."""
        # What is written to a BytesIO is copied once: getvalue() hands its memory over. Growing is what costs, so it
        # gets its full size; but not before some of that has come: to announce it takes a few octets, on each channel
        # (benchmarks/experiments/large_bodies.py).
        if self.oversize is not None:
            self.missing -= end - offset
            return
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = BytesIO()
        if not self._full:
            come = pieces.tell()
            whole = come + self.missing
            if (come + end - offset) * _AHEAD >= whole:
                pieces.seek(whole - 1)
                pieces.write(b"\0")
                pieces.seek(come)
                self._full = True
        pieces.write(memoryview(buf)[offset:end])
        self.missing -= end - offset

    def whole_body(self) -> bytes:
        """The body, once header() or body() has said that it is whole."""
        return self._body if self._pieces is None else self._pieces.getvalue()
