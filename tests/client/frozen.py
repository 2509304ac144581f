"""The protocol, once more, for the peers of the tests: what they say and read does not come from the library, so that a
fault that is the same in both directions there shows here.

Written down from the specifications of 0-8 and 0-9-1, and not to be changed with the library. It writes and reads what
the tests need, in the plainest way; it checks nothing that it writes.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Tuple

from tests.octets import frame

__all__ = ["AMQP_0_8", "AMQP_0_9_1", "Frozen", "read_properties", "write_properties"]

# class.method, both ids, and the type of each field:
#   b bit   B octet   H short   L long   Q longlong   s shortstr   S longstr   F table
_SHARED = """
connection.start             10 10  BBFSS
connection.start_ok          10 11  FsSs
connection.secure            10 20  S
connection.secure_ok         10 21  S
connection.tune              10 30  HLH
connection.tune_ok           10 31  HLH
connection.open              10 40  ssb
connection.open_ok           10 41  s
channel.open                 20 10  s
channel.flow                 20 20  b
channel.flow_ok              20 21  b
channel.close                20 40  HsHH
channel.close_ok             20 41
access.request               30 10  sbbbbb
access.request_ok            30 11  H
exchange.declare             40 10  HssbbbbbF
exchange.declare_ok          40 11
exchange.delete              40 20  Hsbb
exchange.delete_ok           40 21
queue.declare                50 10  HsbbbbbF
queue.declare_ok             50 11  sLL
queue.bind                   50 20  HsssbF
queue.bind_ok                50 21
queue.purge                  50 30  Hsb
queue.purge_ok               50 31  L
queue.delete                 50 40  Hsbbb
queue.delete_ok              50 41  L
queue.unbind                 50 50  HsssF
queue.unbind_ok              50 51
basic.qos                    60 10  LHb
basic.qos_ok                 60 11
basic.consume_ok             60 21  s
basic.cancel                 60 30  sb
basic.cancel_ok              60 31  s
basic.publish                60 40  Hssbb
basic.return                 60 50  Hsss
basic.deliver                60 60  sQbss
basic.get                    60 70  Hsb
basic.get_ok                 60 71  QbssL
basic.get_empty              60 72  s
basic.ack                    60 80  Qb
basic.reject                 60 90  Qb
basic.recover_async          60 100 b
basic.recover                60 110 b
basic.recover_ok             60 111
tx.select                    90 10
tx.select_ok                 90 11
tx.commit                    90 20
tx.commit_ok                 90 21
tx.rollback                  90 30
tx.rollback_ok               90 31
"""

_ONLY_0_8 = """
connection.redirect          10 50  ss
connection.close             10 60  HsHH
connection.close_ok          10 61
channel.open_ok              20 11
channel.alert                20 30  HsF
basic.consume                60 20  Hssbbbb
"""

_ONLY_0_9_1 = """
connection.close             10 50  HsHH
connection.close_ok          10 51
connection.blocked           10 60  s
connection.unblocked         10 61
connection.update_secret     10 70  Ss
connection.update_secret_ok  10 71
channel.open_ok              20 11  S
exchange.bind                40 30  HsssbF
exchange.bind_ok             40 31
exchange.unbind              40 40  HsssbF
exchange.unbind_ok           40 51
basic.consume                60 20  HssbbbbF
basic.nack                   60 120 Qbb
confirm.select               85 10  b
confirm.select_ok            85 11
"""

#: The flag of each property of a message, and its type; in the order in which they are written.
_PROPERTIES = {
    "content_type": (0x8000, "s"),
    "content_encoding": (0x4000, "s"),
    "application_headers": (0x2000, "F"),
    "delivery_mode": (0x1000, "B"),
    "priority": (0x0800, "B"),
    "correlation_id": (0x0400, "s"),
    "reply_to": (0x0200, "s"),
    "expiration": (0x0100, "s"),
    "message_id": (0x0080, "s"),
    "timestamp": (0x0040, "T"),
    "type": (0x0020, "s"),
    "user_id": (0x0010, "s"),
    "app_id": (0x0008, "s"),
    "cluster_id": (0x0004, "s"),
}

#: Octets of a body in one frame: 131072 less those around it.
_PIECE = 131064

_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Frozen:
    """One dialect."""

    def __init__(self, name: str, header: bytes, rows: str) -> None:
        self.name = name
        #: What a client opens with.
        self.header = header
        self._ids: Dict[str, bytes] = {}
        self._names: Dict[bytes, str] = {}
        self._fields: Dict[str, str] = {}
        for row in filter(None, rows.split("\n")):
            method, class_id, method_id, *fields = row.split()
            self._ids[method] = struct.pack(">HH", int(class_id), int(method_id))
            self._names[self._ids[method]] = method
            self._fields[method] = "".join(fields)

    def fields(self, name: str) -> str:
        """The types of a method's fields, one letter each."""
        return self._fields[name]

    def answer_to(self, name: str) -> str:
        """The method that answers another one, when all is well; "" for none."""
        return name + "_ok" if name + "_ok" in self._fields else ""

    def method(self, channel: int, name: str, args: Tuple[Any, ...]) -> bytes:
        """The frame of a method."""
        return frame(1, channel, self._ids[name] + _write_fields(name, self._fields[name], args))

    def content(
        self, channel: int, name: str, args: Tuple[Any, ...], properties: Mapping[str, Any], body: bytes
    ) -> bytes:
        """The frames of a method and its content."""
        header = struct.pack(">HHQ", 60, 0, len(body)) + write_properties(properties)
        bodies = [frame(3, channel, body[i : i + _PIECE]) for i in range(0, len(body), _PIECE)]
        return self.method(channel, name, args) + frame(2, channel, header) + b"".join(bodies)

    def read_method(self, payload: bytes) -> Tuple[str, Tuple[Any, ...]]:
        """The name and the arguments of a method frame's payload, of which nothing may be left."""
        name = self._names.get(payload[:4])
        assert name is not None, "an unknown method: %r" % payload[:200]
        reader = _Reader(payload, 4)
        args = reader.fields(self._fields[name])
        assert reader.offset == len(payload), "%s: behind its arguments: %r" % (name, payload[reader.offset :])
        return name, args


# --- writing


def _write_fields(name: str, fields: str, args: Tuple[Any, ...]) -> bytes:
    assert len(args) == len(fields), "%s%r: it has %d fields" % (name, args, len(fields))
    out, bits = b"", 0  # bits that follow each other share an octet, the first is the lowest
    for place, (kind, value) in enumerate(zip(fields, args)):
        if kind != "b":
            out += _write(kind, value)
            bits = 0
        elif fields[place - 1 : place] == "b" and bits % 8:
            out = out[:-1] + bytes([out[-1] | bool(value) << bits % 8])
            bits += 1
        else:
            out += bytes([bool(value)])
            bits = 1
    return out


def _write(kind: str, value: Any) -> bytes:
    if kind in "BHLQ":
        return struct.pack(">" + kind, value)
    if kind == "T":
        return struct.pack(">Q", value if isinstance(value, int) else (value - _1970) // timedelta(seconds=1))
    if kind == "F":
        return _sized(b"".join(_write("s", key) + _write_value(each) for key, each in value.items()))
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    return bytes([len(data)]) + data if kind == "s" else _sized(data)


def _sized(data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + data


def _write_value(value: Any) -> bytes:
    """A value in a table, with the letter of its type."""
    if value is None:
        return b"V"
    if isinstance(value, bool):
        return b"t" + bytes([value])
    if isinstance(value, int):
        return struct.pack(">cl", b"I", value) if -(1 << 31) <= value < 1 << 31 else struct.pack(">cq", b"l", value)
    if isinstance(value, float):
        return struct.pack(">cd", b"d", value)
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        number = int("".join(map(str, digits))) * (-1 if sign else 1)
        return struct.pack(">cBl", b"D", -exponent, number)
    if isinstance(value, datetime):
        return b"T" + _write("T", value)
    if isinstance(value, dict):
        return b"F" + _write("F", value)
    if isinstance(value, (list, tuple)):
        return b"A" + _sized(b"".join(map(_write_value, value)))
    return (b"S" if isinstance(value, str) else b"x") + _write("S", value)


def write_properties(properties: Mapping[str, Any]) -> bytes:
    """Flags and values."""
    flags, values = 0, b""
    for name, (flag, kind) in _PROPERTIES.items():
        if name in properties:
            flags |= flag
            values += _write(kind, properties[name])
    assert bin(flags).count("1") == len(properties), "no such property: %r" % properties
    return struct.pack(">H", flags) + values


# --- reading


class _Reader:
    """Takes values from bytes, one after the other."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self.offset = offset

    def take(self, size: int) -> bytes:
        data = self._data[self.offset : self.offset + size]
        assert len(data) == size, "%d octets, where there are %r" % (size, data)
        self.offset += size
        return data

    def number(self, code: str) -> Any:
        (value,) = struct.unpack(">" + code, self.take(struct.calcsize(">" + code)))
        return value

    def fields(self, fields: str) -> Tuple[Any, ...]:
        values: List[Any] = []
        bits = octet = 0
        for kind in fields:
            if kind != "b":
                bits = 0
                values.append(self.field(kind))
                continue
            if not bits % 8:
                octet = self.number("B")
            values.append(bool(octet >> bits % 8 & 1))
            bits += 1
        return tuple(values)

    def field(self, kind: str) -> Any:
        if kind in "BHLQ":
            return self.number(kind)
        if kind == "T":
            seconds = self.number("Q")
            return _1970 + timedelta(seconds=seconds) if seconds < 253402300800 else seconds
        if kind == "F":
            return self.table()
        return self.take(self.number("B" if kind == "s" else "L")).decode("utf-8", "surrogateescape")

    def table(self) -> Dict[str, Any]:
        end = self.number("L") + self.offset
        found: Dict[str, Any] = {}
        while self.offset < end:
            key = self.field("s")
            found[key] = self.value()
        assert self.offset == end, "a table ends in the middle of a field"
        return found

    def value(self) -> Any:
        letter = self.take(1).decode("latin-1")
        assert letter in "tIldDSxTFAV", "a field of type %r" % letter
        if letter == "V":
            return None
        if letter == "t":
            return self.number("B") != 0
        if letter in "Ild":
            return self.number({"I": "l", "l": "q", "d": "d"}[letter])
        if letter == "D":
            scale, number = self.number("B"), self.number("l")
            return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
        if letter in "TF":
            return self.field(letter)
        if letter == "A":
            end = self.number("L") + self.offset
            found = []
            while self.offset < end:
                found.append(self.value())
            assert self.offset == end, "an array ends in the middle of a field"
            return found
        data = self.take(self.number("L"))
        if letter == "x":
            return data
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data


def read_properties(payload: bytes, offset: int = 12) -> Dict[str, Any]:
    """The properties in the payload of a content header, of which nothing may be left."""
    reader = _Reader(payload, offset)
    flags = reader.number("H")
    found = {name: reader.field(kind) for name, (flag, kind) in _PROPERTIES.items() if flags & flag}
    assert flags & 3 == 0, "unknown flags: %#06x" % flags
    assert reader.offset == len(payload), "behind the properties: %r" % payload[reader.offset :]
    return found


AMQP_0_8 = Frozen("0-8", b"AMQP\x01\x01\x09\x01", _SHARED + _ONLY_0_8)
AMQP_0_9_1 = Frozen("0-9-1", b"AMQP\x00\x00\x09\x01", _SHARED + _ONLY_0_9_1)
