"""Method arguments: the rows of the method table compiled into straight-line functions.

A row's fields become one encoder and one decoder, made when the method is first used: fixed-size fields that
follow each other share one struct call, bits share octets (0-9-1, section 4.2.5.2), and nothing is looked up
while a frame is being read or written. Property lists are compiled likewise, one function for each combination of
properties (`content`). benchmarks/experiments/property_lists.py has what that is worth.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from . import tables
from .errors import LocalError, PeerError, quote

__all__ = [
    "BROKEN",
    "FIELD_CODECS",
    "MISFITS",
    "Decoder",
    "Encoder",
    "compile_decoder",
    "compile_encoder",
    "compile_properties_decoder",
    "compile_properties_encoder",
    "explain",
    "malformed",
]

Fields = Sequence[Tuple[str, str]]
Encoder = Callable[..., bytes]
Decoder = Callable[[bytes, int, int, tables.Reading], Tuple[Any, ...]]
PropertiesEncoder = Callable[[Mapping[str, Any]], bytes]
PropertiesDecoder = Callable[[bytes, int, int, tables.Reading], Dict[str, Any]]


#: What encoders raise over values that do not fit. ValueError is LocalError's base, what PyPy's struct raises over a
#: negative number where there is no sign, and a UnicodeEncodeError.
MISFITS = (ValueError, struct.error, TypeError, AttributeError, OverflowError, LookupError)

#: What decoders raise over bytes that make no sense.
BROKEN = (struct.error, IndexError)

#: struct codes of the unsigned numbers.
_FIXED = {"octet": "B", "short": "H", "long": "L", "longlong": "Q"}

_long, _longlong = struct.Struct(">L"), struct.Struct(">Q")


# --- one field at a time: properties, and the old reader and writer classes ------------------------------


class FieldCodec(NamedTuple):
    """One field type: encode(value) -> bytes; decode(buffer, offset, end, reading) -> (value, offset behind it).

    A decoder may give an offset beyond `end`, or raise one of BROKEN, when the value is cut short.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, int, int, tables.Reading], Tuple[Any, int]]


def encode_longstr(value: Union[str, bytes]) -> bytes:
    """A 4-byte length and the string, UTF-8 when it is a str."""
    if isinstance(value, str):
        try:
            data = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise LocalError("%s cannot be encoded as UTF-8" % tables.shown(value)) from None
    elif isinstance(value, (bytes, bytearray, memoryview)):
        # bytes as they are: they may be a secret, whose copy would not be
        data = value if isinstance(value, bytes) else bytes(value)
    else:
        raise LocalError("%s is not a string" % tables.shown(value))
    return _long.pack(len(data)) + data


def encode_arguments_table(value: Any) -> bytes:
    """A field table; None stands for an empty one."""
    if value is None:
        return b"\x00\x00\x00\x00"
    if not isinstance(value, dict):
        raise LocalError("%s is not a dict" % tables.shown(value))
    return tables.encode_table(value)


#: Where a consumer of a stream begins. RabbitMQ ends the connection over a value of another type, or words that it
#: cannot read, and says no more than that.
_OFFSET = "x-stream-offset"
_OFFSETS = ("first", "last", "next")
_UNITS = "YMDhms"  # of time: '7D' is seven days ago


def _encode_arguments(value: Any) -> bytes:
    """The arguments of a method."""
    data = encode_arguments_table(value)
    if value and _OFFSET in value and not _is_offset(value[_OFFSET]):
        raise LocalError(
            "[%r]: %s is not an offset: it is 'first', 'last', 'next', an int, a datetime, or a time such as '7D', of"
            " one of the units %s" % (_OFFSET, tables.shown(value[_OFFSET]), ", ".join(_UNITS))
        )
    return data


def _is_offset(value: Any) -> bool:
    if isinstance(value, str):
        return value in _OFFSETS or (value.isascii() and value[:-1].isdigit() and value[-1] in _UNITS)
    if isinstance(value, (bytes, bytearray)) and not isinstance(value, tables.UndecodedField):
        return value.decode("latin-1") in _OFFSETS  # of a time RabbitMQ wants a str
    return isinstance(value, (int, datetime, tables.UndecodedField)) and not isinstance(value, bool)


def _encoder(name: str, kind: str) -> Callable[[Any], bytes]:
    """What encodes a method's field of this name and type."""
    return _encode_arguments if (name, kind) == ("arguments", "table") else FIELD_CODECS[kind].encode


def _decode_shortstr(buf: bytes, offset: int, end: int, reading: tables.Reading) -> Tuple[str, int]:
    stop = offset + 1 + buf[offset]
    return buf[offset + 1 : stop].decode("utf-8", "surrogateescape"), stop


def _decode_longstr(buf: bytes, offset: int, end: int, reading: tables.Reading) -> Tuple[str, int]:
    stop = offset + 4 + _long.unpack_from(buf, offset)[0]
    return buf[offset + 4 : min(stop, end)].decode("utf-8", "surrogateescape"), stop


def _decode_timestamp(buf: bytes, offset: int, end: int, reading: tables.Reading) -> Tuple[Any, int]:
    seconds, stop = FIELD_CODECS["longlong"].decode(buf, offset, end, reading)
    return reading.to_time(seconds), stop


def _number(code: str) -> FieldCodec:
    fixed = struct.Struct(">" + code)
    largest = (1 << 8 * fixed.size) - 1

    def encode(value: int) -> bytes:
        if not isinstance(value, int) or not 0 <= value <= largest:
            raise LocalError("%s is not a number from 0 to %d" % (tables.shown(value), largest))
        return fixed.pack(value)

    def decode(buf: bytes, offset: int, end: int, reading: tables.Reading) -> Tuple[int, int]:
        return fixed.unpack_from(buf, offset)[0], offset + fixed.size

    return FieldCodec(encode, decode)


FIELD_CODECS: Dict[str, FieldCodec] = {
    "shortstr": FieldCodec(tables.encode_shortstr, _decode_shortstr),
    "longstr": FieldCodec(encode_longstr, _decode_longstr),
    "table": FieldCodec(encode_arguments_table, tables.decode_table),
    "timestamp": FieldCodec(tables.encode_timestamp, _decode_timestamp),
}
FIELD_CODECS.update((name, _number(code)) for name, code in _FIXED.items())


# --- whole methods ---------------------------------------------------------------------------------------


def _runs(fields: Fields) -> List[Tuple[str, List[str]]]:
    """(type, names) in the order of the fields: up to 8 bits that follow each other are one, as they share an octet;
    any other field is one of its own."""
    runs: List[Tuple[str, List[str]]] = []
    for name, kind in fields:
        last, names = runs[-1] if runs else ("", [])
        if kind == "bit" and last == "bit" and len(names) < 8:
            names.append(name)
        else:
            runs.append((kind, [name]))
    return runs


def compile_encoder(key: int, fields: Fields) -> Encoder:
    """encode(*values) -> payload of the method frame, `key` being the ids as one 32-bit number."""
    parts: List[str] = []
    codes, values = "L", [str(key)]
    env: Dict[str, Any] = {}

    def flush() -> None:
        if codes:
            pack = "pack%d" % len(parts)
            env[pack] = struct.Struct(">" + codes).pack
            parts.append("%s(%s)" % (pack, ", ".join(values)))

    for kind, names in _runs(fields):
        if kind == "bit":
            codes += "B"
            values.append(" | ".join("bool(%s) << %d" % (name, shift) for shift, name in enumerate(names)))
        elif kind in _FIXED:
            codes += _FIXED[kind]
            values.append(names[0])
        else:
            flush()
            codes, values = "", []
            encode_field = "encode_%s_%s" % (kind, names[0])
            env[encode_field] = _encoder(names[0], kind)
            parts.append("%s(%s)" % (encode_field, names[0]))
    flush()
    code = "def encode(%s):\n    return %s\n" % (", ".join(name for name, _ in fields), " + ".join(parts))
    exec(code, env)  # nosec B102
    encode: Encoder = env["encode"]
    return encode


def explain(method: str, fields: Fields, values: Sequence[Any], exc: Exception) -> LocalError:
    """The LocalError for a call of an encoder that failed: it names the argument."""
    if len(values) != len(fields):
        return LocalError("%s takes %d arguments, %d given" % (method, len(fields), len(values)))
    for (name, kind), value in zip(fields, values):
        if kind != "bit":
            try:
                _encoder(name, kind)(value)
            except MISFITS as misfit:
                return LocalError("%s: %s: %s" % (method, name, misfit))
    return LocalError("%s: %s" % (method, exc))


def compile_decoder(fields: Fields) -> Decoder:
    """decode(buffer, offset, end, reading) -> values in the row's order; PeerError 502 when they are cut short.

    Bytes behind the last argument are passed over: some brokers add fields of a later version.
    """
    lines, env = _reading(fields)
    code = (
        "def decode(buf, offset, end, reading):\n    start = offset\n    try:\n%s"
        "        return (%s)\n    except broken:\n        raise malformed(buf[start:end]) from None\n"
    ) % ("".join("        %s\n" % line for line in lines), "".join(name + ", " for name, _ in fields))
    env.update(broken=BROKEN, malformed=malformed)
    exec(code, env)  # nosec B102
    decode: Decoder = env["decode"]
    return decode


def _reading(fields: Fields) -> Tuple[List[str], Dict[str, Any]]:
    """Statements that read the fields at `offset` in `buf`, each into a variable of its name, and what they need. They
    raise one of BROKEN where the fields go beyond `end`."""
    lines: List[str] = []
    codes: List[str] = []
    targets: List[str] = []
    env: Dict[str, Any] = {
        "decode_table": tables.decode_table,
        "unpack_long": _long.unpack_from,
        "unpack_longlong": _longlong.unpack_from,
    }

    def flush() -> None:
        if codes:
            fixed = struct.Struct(">" + "".join(codes))
            unpack = "unpack%d" % len(lines)
            env[unpack] = fixed.unpack_from
            lines.append("%s, = %s(buf, offset); offset += %d" % (", ".join(targets), unpack, fixed.size))
            del codes[:], targets[:]

    bits: List[str] = []
    for kind, names in _runs(fields):
        if kind == "bit":
            octet = "octet%d" % len(bits)
            codes.append("B")
            targets.append(octet)
            bits += ["%s = %s & %d != 0" % (name, octet, 1 << shift) for shift, name in enumerate(names)]
        elif kind in _FIXED:
            codes.append(_FIXED[kind])
            targets.append(names[0])
        else:
            flush()
            lines += [line.replace("NAME", names[0]) for line in _DECODE[kind]]
    flush()
    return [*lines, "if offset > end: raise IndexError", *bits], env


_DECODE = {
    "shortstr": (
        "stop = offset + 1 + buf[offset]",
        "NAME = buf[offset + 1:stop].decode('utf-8', 'surrogateescape'); offset = stop",
    ),
    "longstr": (
        "stop = offset + 4 + unpack_long(buf, offset)[0]",
        "NAME = buf[offset + 4:min(stop, end)].decode('utf-8', 'surrogateescape'); offset = stop",
    ),
    "table": ("NAME, offset = decode_table(buf, offset, end, reading)",),
    "timestamp": ("NAME = reading.to_time(unpack_longlong(buf, offset)[0]); offset += 8",),
}


def malformed(arguments: bytes) -> PeerError:
    """The error for arguments that end before the row does."""
    return PeerError(502, "malformed arguments: %s" % (quote(arguments) or "none"))


# --- property lists --------------------------------------------------------------------------------------


def compile_properties_encoder(flags: bytes, fields: Fields) -> PropertiesEncoder:
    """encode(properties) -> the flags and the values of exactly these fields, as FIELD_CODECS has them.

    One of MISFITS for what does not fit, for None, and for some values that do fit but are not exactly an int or a str:
    those are left to whoever writes one field at a time.
    """
    env: Dict[str, Any] = {
        "encode_str": str.encode,
        "encode_table": tables.encode_table,
        "join": b"".join,
        "misfit": _misfit,
        "octet": {number: tables.OCTETS[number] for number in range(256)},
        "octets": tables.OCTETS,
    }
    parts = [repr(flags)]
    for name, kind in fields:
        encode = "encode_" + kind
        env.setdefault(encode, FIELD_CODECS[kind].encode)
        parts.append(_ENCODE.get(kind, "ENCODE(properties['NAME'])").replace("NAME", name).replace("ENCODE", encode))
    exec("def encode(properties):\n    return join((%s,))\n" % ", ".join(parts), env)  # nosec B102
    made: PropertiesEncoder = env["encode"]
    return made


def _misfit(value: Any) -> bytes:
    raise TypeError


_ENCODE = {
    "shortstr": "octets[len(value := encode_str(properties['NAME']))], value",
    "octet": "octet[value] if type(value := properties['NAME']) is int else misfit(value)",
    "table": "encode_table(value) if isinstance(value := properties['NAME'], dict) else misfit(value)",
}


def compile_properties_decoder(fields: Fields) -> PropertiesDecoder:
    """decode(buffer, offset, end, reading) -> a dict of exactly these fields, whose values are at `offset`; one of
    BROKEN when they are cut short."""
    lines, env = _reading(fields)
    items = ", ".join("%r: %s" % (name, name) for name, _ in fields)
    body = "".join("    %s\n" % line for line in lines)
    exec("def decode(buf, offset, end, reading):\n%s    return {%s}\n" % (body, items), env)  # nosec B102
    made: PropertiesDecoder = env["decode"]
    return made
