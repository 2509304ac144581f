"""Verdict: property lists are compiled, a function for each combination of properties, as rows of methods are.

The properties of messages as programs send them, one field at a time or by a function that is straight-line code. On
Python 3.11, microseconds a list, the best of many (November 2026; both with the field tables of today):

                       a shop's    Celery's    a log's
    written, plainly   6.09        9.14        2.09
    compiled           2.55        5.61        0.27
    ... in one text    2.63
    read, plainly      5.56        10.27       1.33
    compiled           3.64        8.40        0.29

To compile one costs 110 us, or 170 for reading, once for a combination; so there is a limit to them, and what goes
beyond it is written and read plainly. Most of what is left of the longer lists is headers.

"In one text": short strings that follow each other joined as one str, with their lengths as characters, and encoded
together. It needs a look at whether all is ASCII, and gains nothing.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from amqplib.wire import tables
from amqplib.wire.codecs import compile_properties_decoder, compile_properties_encoder
from amqplib.wire.content import BASIC, PropertyCodec
from amqplib.wire.tables import Reading, utc_time
from benchmarks.clients.messages import make_samples
from benchmarks.experiments.harness import best_in_turn

COUNT = 100
PLAIN = PropertyCodec(BASIC.fields, most_compiled=0)
READING = Reading(utc_time)


def in_one_text(properties: Dict[str, Any]) -> bytes:
    """For those of the shop."""
    get = properties.__getitem__
    kind, own, message = get("content_type"), get("correlation_id"), get("message_id")
    what, app, mode = get("type"), get("app_id"), get("delivery_mode")
    first = "".join((chr(len(kind)), kind))
    middle = "".join((chr(mode), chr(len(own)), own, chr(len(message)), message))
    last = "".join((chr(len(what)), what, chr(len(app)), app))
    if not (type(mode) is int and first.isascii() and middle.isascii() and last.isascii()):
        return PLAIN.encode(properties)
    headers, time = tables.encode_table(get("application_headers")), tables.encode_timestamp(get("timestamp"))
    return b"".join((b"\xb4\xe8", first.encode(), headers, middle.encode(), time, last.encode()))


def main() -> None:
    for kind in ("shop", "celery", "log"):
        lists: List[Dict[str, Any]] = [sample.properties for sample in make_samples(kind, COUNT, 0, "")]
        wires = [BASIC.encode(properties) for properties in lists]

        def written(encode: Callable[[Any], bytes], lists: Any = lists) -> Callable[[], object]:
            assert [encode(properties) for properties in lists] == [PLAIN.encode(properties) for properties in lists]
            return lambda: [encode(properties) for properties in lists]

        def read(codec: PropertyCodec, wires: Any = wires, lists: Any = lists) -> Callable[[], object]:
            decode = codec.decode
            assert [decode(wire, 0, len(wire), READING) for wire in wires] == lists
            return lambda: [decode(wire, 0, len(wire), READING) for wire in wires]

        ways = {"written, plainly": written(PLAIN.encode), "compiled": written(BASIC.encode)}
        if kind == "shop":
            ways["... in one text"] = written(in_one_text)
        print(kind)
        best_in_turn(ways, per=COUNT)
        best_in_turn({"read, plainly": read(PLAIN), "compiled": read(BASIC)}, per=COUNT)
    fields = [field for field in BASIC.fields if field[0] in make_samples("shop", 1, 0, "")[0].properties]
    best_in_turn(
        {
            "compiling an encoder": lambda: compile_properties_encoder(b"\xb4\xe8", fields),
            "... a decoder": lambda: compile_properties_decoder(fields),
        },
        rounds=50,
    )


if __name__ == "__main__":
    main()
