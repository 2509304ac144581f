"""What the tests of the wire share: literal bytes, recorded events, generated values.

Nothing here may call the library's encoders: bytes that tests compare with are written out by hand.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from amqplib.wire.protocol import Receiver
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Method
from amqplib.wire.tables import Reading, TimeReader, Undecoded, decode_table, utc_time
from tests.octets import frame as frame
from tests.octets import octets as octets

Test = TypeVar("Test", bound=Callable[..., None])

DIALECTS: Dict[str, Dialect] = {"0-8": AMQP_0_8, "0-9-1": AMQP_0_9_1}

#: Every method of both dialects, and how pytest shows it.
METHODS = [(name, method) for name, dialect in DIALECTS.items() for method in dialect.by_name.values()]
METHOD_IDS = ["%s %s" % (name, method.name) for name, method in METHODS]


def scaled(count: int) -> int:
    """So many examples, or AMQPLIB_TEST_EXAMPLES per cent of them, but two at least."""
    return max(2, count * int(os.environ.get("AMQPLIB_TEST_EXAMPLES") or 100) // 100)


def examples(count: int) -> Callable[[Test], Test]:
    """Run a property with at most `count` examples, or with AMQPLIB_TEST_EXAMPLES per cent of them."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=scaled(count), deadline=None, database=None, suppress_health_check=health)


def utc_reading() -> Reading:
    return Reading(utc_time)


# --- what a receiver gives --------------------------------------------------------------------------------


class Content(NamedTuple):
    """A content as it was received."""

    properties: Dict[str, Any]
    body: bytes


#: channel, method's name, arguments, content
Seen = Tuple[int, str, Tuple[Any, ...], Optional[Content]]


def receiver(dialect: Dialect = AMQP_0_9_1, channels: Iterable[int] = (1, 2, 3), **options: Any) -> Receiver:
    made = Receiver(dialect, Content, utc_time, **options)
    made.channels.update(channels)
    return made


def feed(to: Receiver, pieces: Iterable[bytes]) -> List[Seen]:
    """All events of the pieces, received one after the other."""
    return [
        (channel, method.name, args, content)
        for piece in pieces
        for channel, method, args, content in to.receive(piece)
    ]


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def blame(one: Receiver) -> int:
    """The error's code, or 0."""
    return one.error.reply_code if one.error else 0


def outcome(one: Receiver, pieces: List[bytes]) -> Tuple[str, int]:
    """The events, as text (a NaN equals itself there), and what is wrong behind them."""
    return repr(feed(one, pieces)), blame(one)


@st.composite
def cut_up(draw: st.DrawFn, data: bytes) -> List[bytes]:
    """The data in pieces of any size."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12))
    places = [0, *sorted(cuts), len(data)]
    return [data[start:stop] for start, stop in zip(places, places[1:])]


class RawFrame(NamedTuple):
    type: int
    channel: int
    payload: bytes


def split_frames(data: bytes) -> List[RawFrame]:
    """The frames in `data`, which must be whole."""
    found = []
    while data:
        end = 7 + int.from_bytes(data[3:7], "big")
        assert data[end] == 0xCE
        found.append(RawFrame(data[0], int.from_bytes(data[1:3], "big"), data[7:end]))
        data = data[end + 1 :]
    return found


# --- field tables -----------------------------------------------------------------------------------------


def with_length(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def decode_leniently(data: bytes, to_time: TimeReader = utc_time) -> Tuple[Dict[str, Any], List[Undecoded]]:
    """The table in `data`, and what could not be read; what stands around the table must not matter."""
    found = []
    for behind in (b"", b"\x01aI\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"):
        reading = Reading(to_time)
        table, offset = decode_table(b"\xff" + data + behind, 1, len(data) + 1, reading)
        assert offset == len(data) + 1
        found.append((table, reading.undecoded))
    assert repr(found[0]) == repr(found[1])
    return found[0]


# --- frames that many tests are about ----------------------------------------------------------------------

HEARTBEAT = "08 0000 00000000 CE"

DELIVER = "01 0001 00000011 003C 003C 01't' 0000000000000007 00 00 00 CE"
DELIVER_ARGS = ("t", 7, False, "", "")
GET_EMPTY = "01 0001 00000005 003C 0048 00 CE"
EMPTY_SEEN: Seen = (1, "basic.get_empty", ("",), None)
HEADER_OF_3 = "02 0001 0000000E 003C 0000 0000000000000003 0000 CE"


def delivery(channel: int, body: bytes, **properties: Any) -> Seen:
    return channel, "basic.deliver", DELIVER_ARGS, Content(properties, body)


# --- generated values -------------------------------------------------------------------------------------

shortstrs = st.text(max_size=80).filter(lambda text: len(text.encode("utf-8")) <= 255)

#: Whole seconds from 1970 on. At the calendar's very end Python cannot convert local times in every time zone.
seconds = st.integers(0, 253402300799 - 2 * 86400)

utc_times = seconds.map(lambda s: datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=s))

decimals = st.builds(
    lambda number, scale: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale)),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, 255),
)

#: Table values that come back equal, and of the same type.
table_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | decimals
    | utc_times,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(shortstrs, values, max_size=4),
    max_leaves=12,
)

tables = st.dictionaries(shortstrs, table_values, max_size=5)

FIELD_VALUES: Dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": st.integers(0, 0xFF),
    "short": st.integers(0, 0xFFFF),
    "long": st.integers(0, 0xFFFFFFFF),
    "longlong": st.integers(0, 0xFFFFFFFFFFFFFFFF),
    "shortstr": shortstrs,
    "longstr": st.text(max_size=300),
    "table": tables,
    "timestamp": utc_times,
}


def arguments(method: Method) -> st.SearchStrategy[Tuple[Any, ...]]:
    """Arguments that fit the method."""
    return st.tuples(*(FIELD_VALUES[kind] for _, kind in method.fields))


#: What each type of field must refuse.
MISFITS: Dict[str, List[Any]] = {
    "octet": [-1, 0x100, 1.5, "1", None, 10**5000],
    "short": [-1, 0x10000, 1.5, "1", None, 10**5000],
    "long": [-1, 0x100000000, 1.5, "1", None, 10**5000],
    "longlong": [-1, 1 << 64, 1.5, "1", None, 10**5000],
    "shortstr": [256 * "x", 128 * "\xe4", 256 * b"x", 5, None, "\ud800"],
    "longstr": [5, None, ["x"], "\ud800"],
    "table": ["x", 5, [("a", 1)], {"a": object()}, {1: 2}, {256 * "k": 1}, {"a": {"b": 1 << 63}}],
    "timestamp": [-1, 1 << 64, 1.5, "now", datetime(1969, 12, 31, tzinfo=timezone.utc)],
}

#: One value of each type that fits.
FITS: Dict[str, Any] = {
    "bit": False,
    "octet": 1,
    "short": 1,
    "long": 1,
    "longlong": 1,
    "shortstr": "x",
    "longstr": "x",
    "table": {},
}
