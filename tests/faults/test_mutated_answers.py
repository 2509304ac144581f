"""The whole client on answers that are nearly right: bytes and frames of a recorded session, changed by chance.

10,000 in the short form, 1,000,000 in the long one. Each has its number; a number that went wrong is run again with

    AMQPLIB_TEST_MUTANT=NUMBER python3 -m pytest -m soak tests/faults/test_mutated_answers.py
"""

from __future__ import annotations

import collections
import importlib
import os
import random
from functools import partial
from typing import Callable, Counter, List, Optional, Sequence, Tuple

import pytest

from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from tests.waits import Asked

from .harness import LONG, Calls, documented, side_by_side
from .proxy import Proxy
from .recording import Recording, Replayer, Session, record

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600 if LONG else 600)]

DEADLINE = 0.15
COUNT = 500000 if LONG else 5000

CLIENTS = {"amqplib.client_0_8": AMQP_0_8, "amqplib.client_0_9_1": AMQP_0_9_1}

Frames = List[bytes]


def frames_of(data: bytes) -> Frames:
    found = []
    while data:
        end = 8 + int.from_bytes(data[3:7], "big")
        found.append(data[:end])
        data = data[end:]
    return found


class Mutator:
    """Changes answers. All is decided by the number of the mutant."""

    def __init__(self, recording: Recording, dialect: Dialect, number: int) -> None:
        self.pick = random.Random(number)
        self.recording = recording
        self.ids = [key.to_bytes(4, "big") for key in sorted(dialect.by_key)]
        self.whole = frames_of(recording.answers())

    def turns(self) -> Sequence[Tuple[int, bytes]]:
        """The session with one to three changes. Their places: anywhere, but as likely in a late turn as in an early
        one, and later turns are only reached if the earlier ones are good."""
        turns = [(count, frames_of(answer)) for count, answer in self.recording.turns]
        for _ in range(self.pick.choice((1, 1, 1, 2, 3))):
            answer = self.pick.choice(turns)[1]
            change: Callable[[Frames], None] = self.pick.choice(self.CHANGES).__get__(self)
            if answer:
                change(answer)
                answer[:] = filter(None, answer)  # what was cut away altogether cannot be changed again
        return [(count, b"".join(answer)) for count, answer in turns]

    def _any(self, frames: Frames) -> int:
        return self.pick.randrange(len(frames))

    def _bytes(self, frames: Frames) -> None:
        at = self._any(frames)
        data = bytearray(frames[at])
        for _ in range(self.pick.choice((1, 1, 2, 5))):
            data[self.pick.randrange(len(data))] = self.pick.choice((0, 1, 0x7F, 0x80, 0xFF, self.pick.randrange(256)))
        frames[at] = bytes(data)

    def _cut(self, frames: Frames) -> None:
        at = self._any(frames)
        start = self.pick.randrange(len(frames[at]))
        frames[at] = frames[at][:start] + frames[at][start + self.pick.randrange(1, 10) :]

    def _insert(self, frames: Frames) -> None:
        at = self._any(frames)
        start = self.pick.randrange(len(frames[at]) + 1)
        more = bytes(self.pick.randrange(256) for _ in range(self.pick.randrange(1, 10)))
        frames[at] = frames[at][:start] + more + frames[at][start:]

    def _drop(self, frames: Frames) -> None:
        del frames[self._any(frames)]

    def _double(self, frames: Frames) -> None:
        at = self._any(frames)
        frames.insert(at, frames[at])

    def _swap(self, frames: Frames) -> None:
        one, other = self._any(frames), self._any(frames)
        frames[one], frames[other] = frames[other], frames[one]

    def _from_elsewhere(self, frames: Frames) -> None:
        frames.insert(self._any(frames), self.pick.choice(self.whole))

    def _channel(self, frames: Frames) -> None:
        at = self._any(frames)
        frames[at] = frames[at][:1] + self.pick.choice((0, 1, 2, 65535)).to_bytes(2, "big") + frames[at][3:]

    def _type(self, frames: Frames) -> None:
        at = self._any(frames)
        frames[at] = bytes([self.pick.choice((0, 1, 2, 3, 4, 8, 255))]) + frames[at][1:]

    def _method(self, frames: Frames) -> None:
        at = self._any(frames)
        if frames[at][0] == 1:
            frames[at] = frames[at][:7] + self.pick.choice(self.ids) + frames[at][11:]

    def _shorter(self, frames: Frames) -> None:
        """A frame that is whole, with a payload that is not."""
        at = self._any(frames)
        kind, payload = frames[at][:3], frames[at][7:-1]
        payload = payload[: self.pick.randrange(len(payload) + 1)]
        frames[at] = kind + len(payload).to_bytes(4, "big") + payload + b"\xce"

    def _size(self, frames: Frames) -> None:
        at = self._any(frames)
        size = self.pick.choice((0, 1, 2**16, 2**17, 2**31, 2**32 - 1, self.pick.randrange(200)))
        frames[at] = frames[at][:3] + size.to_bytes(4, "big") + frames[at][7:]

    CHANGES = (
        _bytes,
        _bytes,
        _cut,
        _insert,
        _drop,
        _double,
        _swap,
        _from_elsewhere,
        _channel,
        _type,
        _method,
        _shorter,
        _size,
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_mutated_answers(client: str) -> None:
    amqp = importlib.import_module(client)
    dialect = CLIENTS[client]
    recording = record(amqp, heartbeat=0)
    options = dict.fromkeys(("connect_timeout", "reply_timeout", "write_timeout"), DEADLINE)
    ends: Counter[str] = collections.Counter()

    def judge(number: int, replayer: Replayer, proxy: Proxy, asked: Asked) -> Optional[str]:
        turns = Mutator(recording, dialect, number).turns()
        door = proxy.door(target=lambda: replayer.connect(turns))
        calls = Calls(asked, DEADLINE)
        session = Session(amqp, door.host, calls, protocol=dialect.name, heartbeat=0, **options)
        end: Optional[Exception] = None
        try:
            session.run(wait_timeout=DEADLINE)
        except Exception as exc:
            end = exc
        finally:
            door.close()
        ends[type(end).__name__] += 1
        if calls.late:
            return "; ".join(calls.late)
        return None if end is None or documented(end) else "%s raised %r" % (calls.name, end)

    given = os.environ.get("AMQPLIB_TEST_MUTANT")
    numbers = [int(given)] if given else range(COUNT)
    with Replayer() as replayer, Proxy(lambda: replayer.connect(())) as proxy, Asked() as asked:
        wrong = side_by_side(numbers, partial(judge, replayer=replayer, proxy=proxy, asked=asked), threads=60)
    print("%s: %s" % (client, dict(ends.most_common())))
    assert not wrong, "%d of %d are wrong; the first are\n  %s" % (len(wrong), len(numbers), "\n  ".join(wrong[:20]))
    # most of them do break something, and not all of it at once
    assert given or (ends["NoneType"] < COUNT / 2 and len(ends) >= 4), ends
