"""Field tables: the typed dictionaries in headers, arguments and properties (0-9-1, section 4.2.5.5).

Which byte means which type has differed between specifications and brokers. We read them as RabbitMQ does
(https://www.rabbitmq.com/docs/amqp-0-9-1-errata, section 3, and its parser), and write the subset that every
broker reads alike:

    bool t   int I (32 bits) or l (64)   float d   Decimal D   str S   bytes x   datetime T
    dict F   list, tuple A               None V

Reading never fails for the sake of one field: what cannot be understood becomes an `UndecodedField`, which
holds the raw bytes and is written back as it came.
"""

from __future__ import annotations

import struct
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union

from .errors import LocalError

__all__ = [
    "MAX_DEPTH",
    "OCTETS",
    "RawTimestamp",
    "Reading",
    "TimeReader",
    "Undecoded",
    "UndecodedField",
    "decode_table",
    "encode_shortstr",
    "encode_table",
    "encode_timestamp",
    "local_time",
    "shown",
    "utc_time",
]

#: Tables and arrays nested deeper than this are neither written nor decoded.
MAX_DEPTH = 64

_MAX_SHORTSTR = 255

#: Each number that an octet can be, as that octet.
OCTETS = tuple(bytes((number,)) for number in range(256))


class UndecodedField(bytes):
    """A field that could not be read: its type octet and all bytes up to the end of its table or array."""

    def __repr__(self) -> str:
        return "UndecodedField(%s)" % bytes.__repr__(self)


class RawTimestamp(int):
    """Seconds since the epoch, received as a timestamp but outside of what datetime can hold."""


#: Seconds since the epoch -> what programs see: a datetime, or a RawTimestamp.
TimeReader = Callable[[int], Union[datetime, RawTimestamp]]


class Undecoded(NamedTuple):
    """The fields of one table, and of all in it, that could not be read: the first of them, and how many there are."""

    name: str
    raw: UndecodedField
    number: int


class Reading:
    """How values are read, and what could not be: handed to every decoder of one connection."""

    __slots__ = ("_first", "to_time", "undecoded", "unread")

    def __init__(self, to_time: TimeReader) -> None:
        self.to_time = to_time
        #: One for each table, as for each message, in which a field could not be read. Whoever decodes empties it.
        self.undecoded: List[Undecoded] = []
        self._first: Tuple[str, UndecodedField] = "", UndecodedField()
        #: How many there are so far in the table that is being read, and is in no other one.
        self.unread = 0

    def note(self, name: str, raw: UndecodedField) -> None:
        """A field cannot be read."""
        if not self.unread:
            self._first = name, raw
        self.unread += 1

    def end(self) -> None:
        """A table has been read that has some."""
        self.undecoded.append(Undecoded(*self._first, self.unread))
        self.unread = 0


def local_time(seconds: int) -> Union[datetime, RawTimestamp]:
    """Naive local time, as amqplib has always given it."""
    try:
        return datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):
        return RawTimestamp(seconds)


_UTC = timezone.utc
_EPOCH = datetime(1970, 1, 1, tzinfo=_UTC)

#: Below this a float tells the last microsecond of a second from the next second.
_EXACT = 1 << 33


def utc_time(seconds: int) -> Union[datetime, RawTimestamp]:
    """Aware UTC time."""
    try:
        return datetime.fromtimestamp(seconds, _UTC)
    except (OverflowError, ValueError, OSError):
        return RawTimestamp(seconds)


# --- writing ---------------------------------------------------------------------------------------------

_pack_long = struct.Struct(">L").pack
_pack_longlong = struct.Struct(">Q").pack
_pack_I = struct.Struct(">ci").pack
_pack_l = struct.Struct(">cq").pack
_pack_d = struct.Struct(">cd").pack
_pack_D = struct.Struct(">cBi").pack
_pack_sized = struct.Struct(">cL").pack


def encode_shortstr(value: Union[str, bytes]) -> bytes:
    """A length octet and the string, UTF-8 when it is a str."""
    try:
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(memoryview(value))
    except UnicodeEncodeError:
        raise LocalError("%s cannot be encoded as UTF-8" % shown(value)) from None
    except TypeError:
        raise LocalError("%s is not a string" % shown(value)) from None
    if len(data) > _MAX_SHORTSTR:
        raise LocalError("%s takes %d bytes; at most 255 fit" % (shown(value), len(data)))
    return OCTETS[len(data)] + data


def encode_timestamp(value: Union[datetime, int]) -> bytes:
    """64-bit seconds since the epoch. A naive datetime is local time; an int is taken as it is."""
    if isinstance(value, datetime):
        # floored, like time.mktime of its fields: microseconds never round up into the next second
        try:
            if value.tzinfo is _UTC:  # what most aware ones have, by a shorter way
                since = value - _EPOCH
                value = since.days * 86400 + since.seconds
            else:
                seconds = value.timestamp()
                value = int(seconds if 0 <= seconds < _EXACT else value.replace(microsecond=0).timestamp())
        except (OverflowError, ValueError, OSError):  # the first and last days of the calendar, in some time zones
            raise LocalError("%s does not fit an AMQP timestamp" % shown(value)) from None
    elif not isinstance(value, int):
        raise LocalError("%s is not a datetime (or a number of whole seconds)" % shown(value))
    if not 0 <= value < 1 << 64:
        raise LocalError("%s does not fit an AMQP timestamp (64-bit seconds since 1970)" % shown(value))
    return _pack_longlong(value)


def encode_table(table: Dict[str, Any], depth: int = 1) -> bytes:
    """A 4-byte length, then the fields: name, type octet, value. LocalError names the field that does not fit."""
    if depth > MAX_DEPTH:
        raise LocalError("nested more than %d deep (or inside itself)" % MAX_DEPTH)
    out: List[bytes] = []
    last = b""  # an UndecodedField runs up to the end of its table, so that is where it goes
    for key, value in table.items():
        try:
            name = _keys.get(key) or _encode_key(key)
            kind = type(value)
            # what most fields are goes without a call
            if kind is str:
                data = value.encode()
                size = len(data)
                out += name, _STR[size] if size < 256 else _pack_sized(b"S", size), data
            elif kind is int and -0x80000000 <= value <= 0x7FFFFFFF:
                out += name, _pack_I(b"I", value)
            elif value is None:
                out += name, b"V"
            elif kind is UndecodedField:
                last += name + value
            else:
                out += name, (_WRITERS.get(kind) or _writer_of_subclass(value))(value, depth)
        except UnicodeEncodeError:
            raise LocalError("[%r]: %s cannot be encoded as UTF-8" % (key, shown(value))) from None
        except LocalError as exc:
            raise LocalError("[%r]: %s" % (key, exc)) from None
    fields = b"".join(out) + last
    return _pack_long(len(fields)) + fields


#: The type octet and the length of a str of so many octets.
_STR = tuple(b"S\0\0\0" + octet for octet in OCTETS)

#: Keys as they are written: programs use few. Emptied when it is full.
_keys: Dict[Any, bytes] = {}
_MAX_KEYS = 512


def _encode_key(key: Any) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise LocalError("the key %s is not a string" % shown(key))
    data = encode_shortstr(key)
    if len(_keys) >= _MAX_KEYS:
        _keys.clear()
    _keys[key] = data
    return data


def _writer_of_subclass(value: Any) -> Callable[[Any, int], bytes]:
    for cls, writer in _WRITERS.items():
        if isinstance(value, cls):
            return writer
    raise LocalError(
        "%s cannot be put in a field table: it takes None, bool, int, float, str, bytes, Decimal, datetime, dict, "
        "list and tuple" % shown(value)
    )


def _write_int(value: int, depth: int) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _pack_I(b"I", value)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _pack_l(b"l", value)
    raise LocalError("%s does not fit 64 bits" % shown(value))


def _write_float(value: float, depth: int) -> bytes:
    if value - value != 0:  # of inf and nan it is nan. RabbitMQ has no such floats, and ends the connection over one
        raise LocalError("%s is not a finite number" % shown(value))
    return _pack_d(b"d", value)


def _write_str(value: str, depth: int) -> bytes:
    try:
        data = value.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalError("%s cannot be encoded as UTF-8" % shown(value)) from None
    return _pack_sized(b"S", len(data)) + data


def _write_bytes(value: Union[bytes, bytearray, memoryview], depth: int) -> bytes:
    data = bytes(value)
    return _pack_sized(b"x", len(data)) + data


def _write_decimal(value: Decimal, depth: int) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise LocalError("%s is not a finite number" % shown(value))
    # more digits than this cannot fit 32 bits anyway; do not build a number with a billion zeros to find out
    number = int("".join(map(str, digits[:20])) or "0") * 10 ** min(max(exponent, 0), 20)
    scale = max(-exponent, 0)
    if number > 0x7FFFFFFF + sign or scale > 255:
        raise LocalError("%s does not fit an AMQP decimal (a 32-bit number and a scale up to 255)" % shown(value))
    return _pack_D(b"D", scale, -number if sign else number)


def _write_array(value: Union[List[Any], Tuple[Any, ...]], depth: int) -> bytes:
    if depth >= MAX_DEPTH:
        raise LocalError("nested more than %d deep (or inside itself)" % MAX_DEPTH)
    out = [b""]
    for index, item in enumerate(value):
        try:
            out.append((_WRITERS.get(type(item)) or _writer_of_subclass(item))(item, depth + 1))
        except LocalError as exc:
            raise LocalError("[%d]: %s" % (index, exc)) from None
    return b"A" + _with_length(out)


def _with_length(out: List[bytes]) -> bytes:
    out[0] = _pack_long(sum(map(len, out)))
    return b"".join(out)


# Ordered for _writer_of_subclass: a class stands before those that it derives from.
_WRITERS: Dict[type, Callable[[Any, int], bytes]] = {
    str: _write_str,
    bool: lambda value, depth: b"t\x01" if value else b"t\x00",
    RawTimestamp: lambda value, depth: b"T" + encode_timestamp(value),
    int: _write_int,
    float: _write_float,
    UndecodedField: lambda value, depth: bytes(value),
    bytes: _write_bytes,
    bytearray: _write_bytes,
    memoryview: _write_bytes,
    Decimal: _write_decimal,
    datetime: lambda value, depth: b"T" + encode_timestamp(value),
    dict: lambda value, depth: b"F" + encode_table(value, depth + 1),
    list: _write_array,
    tuple: _write_array,
    type(None): lambda value, depth: b"V",
}


def shown(value: object) -> str:
    """The value as it stands in error messages."""
    try:
        text = repr(value)
    except Exception:  # a broken __repr__ must not hide what is wrong
        text = "<%s>" % type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


# --- reading ---------------------------------------------------------------------------------------------
#
# A reader takes (buffer, offset, end, reading, depth) and gives (value, new offset). It may read past `end`:
# the caller compares the new offset with it, once per field.

_Read = Tuple[Any, int]
_Reader = Callable[[bytes, int, int, Reading, int], _Read]

_unpack_long = struct.Struct(">L").unpack_from
_unpack_longlong = struct.Struct(">Q").unpack_from
_unpack_int = struct.Struct(">i").unpack_from
_unpack_decimal = struct.Struct(">Bi").unpack_from


class _Unreadable(Exception):
    """A value of an unknown type or of a length that cannot be."""


#: All that a reader raises over bytes that make no sense.
_BROKEN = (_Unreadable, struct.error, IndexError, KeyError)


def decode_table(buf: bytes, offset: int, end: int, reading: Reading, depth: int = 1) -> Tuple[Dict[str, Any], int]:
    """The table at `offset`, and the offset behind it.

    struct.error or an offset beyond `end` when its length is not there; trouble within the table ends up in
    UndecodedField values.
    """
    stop = offset + 4 + _unpack_long(buf, offset)[0]
    offset += 4
    table: Dict[str, Any] = {}
    if stop > end:
        return table, stop
    value: Any = None
    while offset < stop:
        start = offset + 1
        name_end = start + buf[offset]
        key = buf[start:name_end].decode("utf-8", "surrogateescape")
        try:
            kind = buf[name_end]
            # what most fields are goes without a call
            if kind == _S:
                start = name_end + 5
                offset = start + _unpack_long(buf, name_end + 1)[0]
                value = buf[start:offset].decode()
            elif kind == _I:
                offset = name_end + 5
                (value,) = _unpack_int(buf, name_end + 1)
            elif kind == _V:
                offset = name_end + 1
                value = None
            else:
                value, offset = _READERS[kind](buf, name_end + 1, stop, reading, depth)
        except UnicodeDecodeError:  # RabbitMQ does not look into long strings, so anything may come
            value = buf[start:offset]
        except _BROKEN:
            offset = stop + 1
        if offset > stop:
            key = key if name_end <= stop else buf[start:stop].decode("utf-8", "surrogateescape")
            table[key] = _unreadable(key, buf, name_end, stop, reading)
            break
        table[key] = value
    if depth == 1 and reading.unread:
        reading.end()
    return table, stop


_S, _I, _V = b"SIV"


def _unreadable(name: str, buf: bytes, offset: int, stop: int, reading: Reading) -> UndecodedField:
    """Where a field ends that cannot be read is not known, so it takes the rest of its table or array."""
    field = UndecodedField(buf[offset:stop])
    reading.note(name, field)
    return field


def _read_item(name: str, buf: bytes, offset: int, stop: int, reading: Reading, depth: int) -> _Read:
    try:
        value, after = _READERS[buf[offset]](buf, offset + 1, stop, reading, depth)
        if after <= stop:
            return value, after
    except _BROKEN:
        pass
    return _unreadable(name, buf, offset, stop, reading), stop


def _fixed(code: str) -> _Reader:
    fixed = struct.Struct(">" + code)
    unpack_from, size = fixed.unpack_from, fixed.size

    def read(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
        return unpack_from(buf, offset)[0], offset + size

    return read


def _read_bytes(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    stop = offset + 4 + _unpack_long(buf, offset)[0]
    return buf[offset + 4 : min(stop, end)], stop


def _read_str(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    data, stop = _read_bytes(buf, offset, end, reading, depth)
    try:
        return data.decode("utf-8"), stop
    except UnicodeDecodeError:  # RabbitMQ does not look into long strings, so anything may come
        return data, stop


def _read_decimal(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    scale, number = _unpack_decimal(buf, offset)
    # built from its digits: arithmetic would round to the precision that the program has set
    digits = tuple(map(int, str(abs(number))))
    return Decimal((int(number < 0), digits, -scale)), offset + 5


def _read_timestamp(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    return reading.to_time(_unpack_longlong(buf, offset)[0]), offset + 8


def _read_table(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    if depth >= MAX_DEPTH:
        raise _Unreadable
    return decode_table(buf, offset, end, reading, depth + 1)


def _read_array(buf: bytes, offset: int, end: int, reading: Reading, depth: int) -> _Read:
    stop = offset + 4 + _unpack_long(buf, offset)[0]
    if stop > end or depth >= MAX_DEPTH:
        raise _Unreadable
    offset += 4
    items: List[Any] = []
    while offset < stop:
        item, offset = _read_item("[%d]" % len(items), buf, offset, stop, reading, depth + 1)
        items.append(item)
    return items, stop


_READERS: Dict[int, _Reader] = {
    ord("t"): lambda buf, offset, end, reading, depth: (buf[offset] != 0, offset + 1),
    ord("b"): _fixed("b"),
    ord("B"): _fixed("B"),
    ord("s"): _fixed("h"),
    ord("U"): _fixed("h"),
    ord("u"): _fixed("H"),
    ord("I"): _fixed("i"),
    ord("i"): _fixed("I"),
    ord("l"): _fixed("q"),
    ord("L"): _fixed("q"),
    ord("f"): _fixed("f"),
    ord("d"): _fixed("d"),
    ord("D"): _read_decimal,
    ord("S"): _read_str,
    ord("x"): _read_bytes,
    ord("A"): _read_array,
    ord("T"): _read_timestamp,
    ord("F"): _read_table,
    ord("V"): lambda buf, offset, end, reading, depth: (None, offset),
}
