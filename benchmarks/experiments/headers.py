"""Verdict: str, int and None are written where they are met, in pieces for one join, the length of a short str looked
up. Functions compiled for the shape of a table, and remembering fields, are rejected.

Ways to write application_headers: three fields, two str and an int; and the 19 of a Celery task. On Python 3.11,
microseconds a table, the best of many (November 2026):

                         the same    all change    Celery
    a_call_each          1.62        1.63          7.17
    encode_table         0.85        0.87          4.62
    compiled_by_shape    0.85        0.87          3.58
    fields_remembered    0.47        1.58

Remembering the bytes of fields is faster while the same ones come again, and twice as slow when they do not. Headers
are where programs put what is another each time, such as an id of a trace, and what had better not be kept, such as
tokens. Besides, equal values (1, True, 1.0) would have to be told apart before anything is looked up.

A function for each shape (the keys, and the types of the values) needs a look at all keys and types to be found. It
gains nothing for a short table and a fifth of a long one, which is a tenth of what publishing the task takes in Python;
and the shape changes with every None that becomes a value, so that there would be many.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

from amqplib.wire import tables
from amqplib.wire.errors import LocalError
from benchmarks.clients.messages import make_samples
from benchmarks.experiments.harness import best_in_turn

COUNT = 200

_keys: Dict[str, bytes] = {}
_fields: Dict[Tuple[str, Any], bytes] = {}
_shapes: Dict[Tuple[Any, ...], Callable[[Dict[str, Any]], bytes]] = {}


def _key(key: str) -> bytes:
    if key not in _keys:
        _keys[key] = tables.encode_shortstr(key)
    return _keys[key]


def _value(value: Any, depth: int) -> bytes:
    return tables._WRITERS[type(value)](value, depth)


def a_call_each(table: Dict[str, Any]) -> bytes:
    out = [b""]
    items: Iterable[Tuple[str, Any]] = table.items()
    if tables.UndecodedField in map(type, table.values()):
        items = sorted(items, key=lambda item: isinstance(item[1], tables.UndecodedField))
    for key, value in items:
        try:
            out.append(_key(key))
            out.append(_value(value, 1))
        except LocalError as exc:
            raise LocalError("[%r]: %s" % (key, exc)) from None
    out[0] = tables._pack_long(sum(map(len, out)))
    return b"".join(out)


def fields_remembered(table: Dict[str, Any]) -> bytes:
    out: List[bytes] = []
    for item in table.items():
        field = _fields.get(item)
        if field is None:
            if len(_fields) >= 4096:
                _fields.clear()
            field = _fields[item] = _key(item[0]) + _value(item[1], 1)
        out.append(field)
    data = b"".join(out)
    return tables._pack_long(len(data)) + data


def compiled_by_shape(table: Dict[str, Any]) -> bytes:
    shape = (*table, *map(type, table.values()))
    encode = _shapes.get(shape)
    if encode is None:
        encode = _shapes[shape] = _compile(tuple(table), tuple(map(type, table.values())))
    return encode(table)


def _compile(keys: Sequence[str], kinds: Sequence[type]) -> Callable[[Dict[str, Any]], bytes]:
    env: Dict[str, Any] = {
        "encode": str.encode,
        "join": b"".join,
        "octets": tables.OCTETS,
        "pack_int": struct.Struct(">i").pack,
        "pack_long": tables._pack_long,
    }
    parts = []
    for number, (key, kind) in enumerate(zip(keys, kinds)):
        name = _key(key)
        if kind is str:
            parts.append("%r, octets[len(data := encode(v%d))], data" % (name + b"S\0\0\0", number))
        elif kind is int:
            parts.append("%r, pack_int(v%d)" % (name + b"I", number))
        elif kind is type(None):
            parts.append("%r" % (name + b"V"))
        else:
            env["write%d" % number] = tables._WRITERS[kind]
            parts.append("%r, write%d(v%d, 1)" % (name, number, number))
    values = ", ".join("v%d" % number for number in range(len(keys)))
    code = (
        "def write(table):\n    %s, = table.values()\n    data = join((%s,))\n    return pack_long(len(data)) + data\n"
    )
    exec(code % (values, ", ".join(parts)), env)
    write: Callable[[Dict[str, Any]], bytes] = env["write"]
    return write


def headers(kind: str) -> List[Dict[str, Any]]:
    return [sample.properties["application_headers"] for sample in make_samples(kind, COUNT, 0, "")]


def main() -> None:
    changing = [dict(table, tenant="t%d" % n, trace="%032x" % n) for n, table in enumerate(headers("changing"))]
    ways: List[Callable[[Dict[str, Any]], bytes]] = [a_call_each, tables.encode_table, compiled_by_shape]
    for what, several, more in (
        ("the same", headers("headers"), [fields_remembered]),
        ("all change", changing, [fields_remembered]),
        ("Celery", headers("celery"), []),
    ):
        variants: Dict[str, Callable[[], object]] = {}
        for encode in [*ways, *more]:
            assert [encode(table) for table in several] == [tables.encode_table(table) for table in several]

            def variant(encode: Callable[..., bytes] = encode, several: Any = several) -> object:
                if encode is fields_remembered and several is changing:
                    _fields.clear()  # as if each were a new one
                return [encode(table) for table in several]

            variants["%s, %s" % (encode.__name__, what)] = variant
        best_in_turn(variants, per=COUNT)


if __name__ == "__main__":
    main()
