"""Fuzzing of amqplib.wire, guided by coverage: whatever bytes come, what is promised in wire/protocol.py holds.

    python3 -m fuzz.wire -max_total_time=60          # any option of libFuzzer; a corpus directory may follow
    python3 -m fuzz.wire crash-4f7c...               # an input that was found, again

Needs atheris (see tests/requirements.txt). What is checked of each input is in check(), which tests/faults/test_fuzz.py
runs on hypothesis's inputs as well:

    - receive() raises nothing; what is wrong with the bytes is a PeerError with one of AMQP's codes and a text
    - all at once, byte by byte and in any other pieces give the same events and the same error
    - no more is held than the limits allow: one frame that is not whole, and one body a channel
    - what was read can be written, and then reads the same
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

try:
    import atheris
except ImportError:  # check() does without
    atheris = None

if atheris is not None and __name__ == "__main__":
    with atheris.instrument_imports(include=["amqplib"]):
        importlib.import_module("amqplib.wire.protocol")

from amqplib.wire import frames
from amqplib.wire.errors import LocalError, PeerError
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from amqplib.wire.tables import utc_time

__all__ = ["CHANNELS", "CODES", "Content", "Input", "Result", "check", "receive", "seeds"]

#: What a PeerError may say.
CODES = (501, 502, 503, 504, 505)

CHANNELS = (1, 2, 3)
TYPES = (frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT)
DIALECTS = (AMQP_0_8, AMQP_0_9_1)
METHODS = {dialect.name: sorted(dialect.by_key) for dialect in DIALECTS}

#: Octets; small, so that inputs reach them.
MAX_BODY = 600
HEADER_MAX = 500
FRAME_MAX = 400


class Content(NamedTuple):
    properties: Dict[str, Any]
    body: bytes


class Input(NamedTuple):
    """What the bytes of the fuzzer mean."""

    dialect: Dialect
    limited: bool
    wire: bytes
    #: Where the wire is cut up.
    cuts: Sequence[int]

    @classmethod
    def of(cls, data: bytes) -> Input:
        """Two octets of settings. Then the wire as it is, or frames made of [type and channel, size, payload], in
        which the first octet of a method is a number for its ids: so the decoders are reached sooner."""
        settings, step, rest = data[0], data[1], data[2:]
        dialect = DIALECTS[settings & 1]
        wire = b"".join(cls._frames(dialect, rest)) if settings & 2 else rest
        cuts = range(step % 64 + 1, len(wire), step % 64 + 1)
        return cls(dialect, bool(settings & 4), wire, cuts)

    @staticmethod
    def _frames(dialect: Dialect, data: bytes) -> Iterator[bytes]:
        while len(data) >= 2:
            kind, size, payload = data[0], data[1], data[2 : 2 + data[1]]
            data = data[2 + size :]
            frame_type = TYPES[kind & 3]
            if frame_type == frames.METHOD and payload:
                keys = METHODS[dialect.name]
                payload = keys[payload[0] % len(keys)].to_bytes(4, "big") + payload[1:]
            elif frame_type == frames.HEADER and kind & 0x80 and len(payload) >= 2:
                payload = b"\0\x3c\0\0" + bytes(6) + payload
            yield frames.encode_frame(frame_type, kind >> 2 & 3, payload)


class Result(NamedTuple):
    """What a receiver made of it; of values only what they look like, since not every float equals itself."""

    events: List[str]
    code: Optional[int]
    sig: Tuple[int, int]
    undecoded: List[Tuple[str, bytes, int]]


def shape(value: Any) -> Any:
    """The value with its tables in order: one that has a field twice need not be written in the order it came in."""
    if isinstance(value, dict):
        return [(key, shape(value[key])) for key in sorted(value)]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *map(shape, value)]
    return value


def receiver(dialect: Dialect, limited: bool) -> Receiver:
    made = Receiver(dialect, Content, utc_time, *((MAX_BODY, HEADER_MAX) if limited else (1 << 20, 1 << 20)))
    made.channels.update(CHANNELS)
    made.frame_max = FRAME_MAX if limited else 1 << 16
    return made


def receive(given: Input, pieces: Sequence[bytes], raw: Optional[List[Any]] = None) -> Result:
    """Feed a receiver; the events go to `raw`, too."""
    to = receiver(given.dialect, given.limited)
    events: List[Any] = []
    for piece in pieces:
        events += to.receive(piece)
        assert_bounded(to)
    error = to.error
    if error is not None:
        assert isinstance(error, PeerError)
        assert error.reply_code in CODES
        assert str(error)
        assert error.__traceback__ is None
        assert error.__context__ is None
        assert to.receive(b"\x01\x00\x01") == []
    if raw is not None:
        raw += events
    return Result(
        [repr(shape((channel, method.name, args, content))) for channel, method, args, content in events],
        error.reply_code if error else None,
        error.sig if error else (0, 0),
        # once there is an error, that tells; the same field may have been met twice then
        [] if error else list(to.reading.undecoded),
    )


def assert_bounded(to: Receiver) -> None:
    """It holds no more than one frame that is not whole, and one body a channel."""
    if to.error:  # it takes nothing more
        return
    assert sum(map(len, to._pieces)) == to._held
    limit = max(to.frame_max, to._header_max)  # the second is that of methods and headers
    assert to._held <= limit + 8, (to._held, limit)
    assert len(to._assemblies) <= len(to.channels)
    for assembly in to._assemblies.values():
        held = assembly._pieces.tell() if assembly._pieces is not None else len(assembly._body)
        if assembly.oversize is not None:  # it is left out: what comes is counted only, however much is announced
            assert held == 0
        else:
            assert held + assembly.missing <= to._body_max


def check(data: bytes) -> Optional[Result]:
    """AssertionError when a promise is broken; what came of it, for whoever wants to know more."""
    if len(data) < 2:
        return None
    given = Input.of(data)
    wire = given.wire
    raw: List[Any] = []
    whole = receive(given, [wire], raw)
    places = [0, *given.cuts, len(wire)]
    pieces = receive(given, [wire[start:stop] for start, stop in zip(places, places[1:])])
    assert pieces == whole, (pieces, whole)
    if len(wire) <= 200:
        single = receive(given, [wire[i : i + 1] for i in range(len(wire))])
        assert single == whole, (single, whole)
    sender = Sender(given.dialect)
    for channel, method, args, content in raw:
        assert_reads_the_same(given, sender, (channel, method, args, content))
    return whole


def assert_reads_the_same(given: Input, sender: Sender, event: Any) -> None:
    """What was read can be written again, unless a LocalError says why not, and then it reads the same."""
    channel, method, args, content = event
    try:
        if content is None:
            data = sender.method(channel, method, args)
        else:
            data = sender.content(channel, method, args, content.properties, content.body)
    except LocalError:
        return
    again = receive(Input(given.dialect, False, data, ()), [data])
    assert again.code is None, (event, data, again)
    assert again.events == [repr(shape((channel, method.name, args, content)))], (event, data, again)


def seeds() -> List[bytes]:
    """Inputs to begin with: all methods of both dialects, and contents."""
    found = [b"\0\0AMQP\x00\x00\x09\x01", b"\x02\x01"]
    samples: Dict[str, Any] = {
        "bit": True,
        "octet": 5,
        "short": 6,
        "long": 7,
        "longlong": 8,
        "shortstr": "abc",
        "longstr": b"defg",
        "table": {"a": 1, "b": [True, None, 2.5, {"c": "d"}], "e": b"f"},
        "timestamp": 1600000000,
    }
    for number, dialect in enumerate(DIALECTS):
        sender = Sender(dialect)
        for method in dialect.by_name.values():
            args = tuple(samples[kind] for _, kind in method.fields)
            if method.has_content:
                properties = {"content_type": "t", "application_headers": samples["table"], "priority": 1}
                wire = sender.content(1, method, args, properties, b"the body")
            else:
                wire = sender.method(0 if method.name.startswith("connection.") else 1, method, args)
            for settings in (number, number | 4):
                found.append(bytes((settings, 7)) + wire)
    return found


def fuzz(data: bytes) -> None:
    check(data)


def main() -> None:
    if atheris is None:
        sys.exit("fuzz.wire: there is no atheris here (see tests/requirements.txt)")
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
