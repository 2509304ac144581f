"""Verdict: datetimes become seconds without a datetime in between. The minute is not remembered.

Ways to write a timestamp of now, and to read one. On Python 3.11, microseconds, the best of many (November 2026):

                                    UTC     naive
    replace(microsecond=0)          1.04    0.98
    encode_timestamp                0.24    0.41
    ... the minute remembered       1.23    0.92

    fromtimestamp                   0.28
    utc_time, local_time            0.27    0.23
    epoch + timedelta               0.34

Without replace() the last microsecond must not become the next second: of an aware datetime days and seconds since the
epoch are whole numbers; of a naive one the float that timestamp() gives is exact enough up to the year 2242, and later
ones go the long way. To remember the minute needs
replace() to find it, which is what costs.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List

from amqplib.wire.tables import encode_timestamp, local_time, utc_time
from benchmarks.experiments.harness import best_in_turn

COUNT = 200
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
pack = struct.Struct(">Q").pack

_minutes: Dict[datetime, int] = {}


def replaced(value: datetime) -> bytes:
    return pack(int(value.replace(microsecond=0).timestamp()))


def minute_remembered(value: datetime) -> bytes:
    minute = value.replace(second=0, microsecond=0)
    since = _minutes.get(minute)
    if since is None:
        _minutes.clear()
        since = _minutes[minute] = int(minute.timestamp())
    return pack(since + value.second)


def from_epoch(seconds: int) -> datetime:
    return EPOCH + timedelta(0, seconds)


def main() -> None:
    now = datetime.now(timezone.utc)
    aware = [now + timedelta(microseconds=1017 * number) for number in range(COUNT)]
    naive = [value.astimezone().replace(tzinfo=None) for value in aware]

    def each(function: Callable[[Any], object], values: List[Any]) -> Callable[[], object]:
        return lambda: [function(value) for value in values]

    ways: Dict[str, Callable[[Any], bytes]] = {
        "replace(microsecond=0)": replaced,
        "encode_timestamp": encode_timestamp,
        "... the minute remembered": minute_remembered,
    }
    for what, values in (("UTC", aware), ("naive", naive)):
        print("written, " + what)
        for way in ways.values():
            assert [way(value) for value in values] == [replaced(value) for value in values]
        best_in_turn({name: each(way, values) for name, way in ways.items()}, per=COUNT)
    seconds = [int(value.timestamp()) for value in aware]
    assert [from_epoch(value) for value in seconds] == [utc_time(value) for value in seconds]
    print("read")
    best_in_turn(
        {
            "fromtimestamp, UTC": each(lambda value: datetime.fromtimestamp(value, timezone.utc), seconds),
            "utc_time": each(utc_time, seconds),
            "epoch + timedelta": each(from_epoch, seconds),
            "local_time": each(local_time, seconds),
        },
        per=COUNT,
    )


if __name__ == "__main__":
    main()
