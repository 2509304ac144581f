"""A recorded session, with a fault at every single byte of it, in both directions and both dialects.

However it is broken, every call ends within its deadline and SLACK, in an error that is documented; and when all is
over, nothing is left open.
"""

from __future__ import annotations

import gc
import importlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from tests.waits import Asked

from .harness import LONG, Calls, documented, open_files, side_by_side
from .proxy import Fault, Proxy
from .recording import Recording, Replayer, Session, record

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

CLIENTS = ("amqplib.client_0_8", "amqplib.client_0_9_1")

#: Seconds that a call of a session may take: those that wait for something that never comes take as long.
DEADLINE = 0.3

#: Seconds.
HEARTBEAT = 1


class Case(NamedTuple):
    way: str
    fault: Fault

    def __str__(self) -> str:
        return "%s %s after byte %d" % (self.way, self.fault.kind, self.fault.after)


class Stage:
    """A client, its recording, and a proxy before the server that plays it."""

    def __init__(self, client: str, proxy: Proxy, recording: Recording, asked: Asked) -> None:
        self.amqp = importlib.import_module(client)
        self.proxy = proxy
        self.recording = recording
        self.asked = asked

    def everywhere(self, kind: str, way: str, step: int = 1, **options: Any) -> List[Case]:
        octets = self.recording.up if way == "up" else self.recording.down
        return [Case(way, Fault(kind, after, **options)) for after in range(0, octets, step)]

    def play(self, case: Case, within: float, may_end_well: bool = False, **options: Any) -> Optional[str]:
        """Run the session with this fault; what is wrong with how it went. No call may take longer than `within`."""
        door = self.proxy.door(
            up=case.fault if case.way == "up" else None, down=case.fault if case.way == "down" else None
        )
        calls = Calls(self.asked, within)
        options = {"protocol": self.protocol, "heartbeat": 0, **options}
        session = Session(self.amqp, door.host, calls, **options)
        end: Optional[Exception] = None
        try:
            session.run(wait_timeout=options.get("reply_timeout"))
        except Exception as exc:
            end = exc
        finally:
            door.close()
        if calls.late:
            return "; ".join(calls.late)
        if end is None:
            return None if may_end_well else "it ended well"
        return None if documented(end) else "%s raised %r" % (calls.name, end)

    @property
    def protocol(self) -> str:
        return "0-8" if self.amqp.__name__.endswith("client_0_8") else "0-9-1"


def timeouts(seconds: Optional[float]) -> Dict[str, Any]:
    return dict.fromkeys(("connect_timeout", "reply_timeout", "write_timeout"), seconds)


@pytest.fixture(params=CLIENTS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    client = importlib.import_module(request.param)
    recording = record(client, heartbeat=0)
    gc.collect()
    before = open_files()
    with Replayer() as replayer, Proxy(lambda: replayer.connect(recording.turns)) as proxy, Asked() as asked:
        yield Stage(request.param, proxy, recording, asked)
    gc.collect()
    assert open_files() <= before  # what tests before this one have left may have gone


def assert_none(wrong: List[str]) -> None:
    assert not wrong, "%d are wrong; the first are\n  %s" % (len(wrong), "\n  ".join(wrong[:20]))


both_ways = pytest.mark.parametrize("way", ["up", "down"])


def test_no_fault(stage: Stage) -> None:
    """Beyond the last byte nothing happens: the session is whole, and the faults below are why it is not."""
    for way, octets in (("up", stage.recording.up), ("down", stage.recording.down)):
        for kind in ("stall", "corrupt"):
            assert stage.play(Case(way, Fault(kind, octets)), 10, **timeouts(10)) == "it ended well"


@both_ways
@pytest.mark.parametrize("kind", ["cut", "reset", "half_close"])
def test_an_end(stage: Stage, kind: str, way: str) -> None:
    """It is noticed: no call waits for its deadline, or for half of it."""
    cases = stage.everywhere(kind, way)
    assert_none(side_by_side(cases, lambda case: stage.play(case, 30, **timeouts(60)), threads=8))


@both_ways
@pytest.mark.parametrize("kind", ["stall", "shut", "swallow"])
def test_silence(stage: Stage, kind: str, way: str) -> None:
    """Every call ends in time, and the session in an error."""
    cases = stage.everywhere(kind, way)
    assert_none(side_by_side(cases, lambda case: stage.play(case, DEADLINE, **timeouts(DEADLINE)), threads=150))


@both_ways
def test_bytes_that_come_one_by_one(stage: Stage, way: str) -> None:
    """That something comes does not put a deadline off."""
    cases = stage.everywhere("drip", way, seconds=0.02)

    def judge(case: Case) -> Optional[str]:
        return stage.play(case, DEADLINE, may_end_well=True, **timeouts(DEADLINE))

    assert_none(side_by_side(cases, judge, threads=150))


@both_ways
@pytest.mark.parametrize("kind", ["drip", "delay"])
def test_slow(stage: Stage, kind: str, way: str) -> None:
    """With enough time it makes no difference how the bytes come."""
    case = Case(way, Fault(kind, 0, seconds=0.001 if kind == "drip" else 0.05))
    assert stage.play(case, 10, **timeouts(10)) == "it ended well"


@both_ways
@pytest.mark.parametrize("mask", [0xFF, 0x01, *([0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] if LONG else [])])
def test_a_wrong_byte(stage: Stage, mask: int, way: str) -> None:
    """AMQP has no checksums, so it may go unnoticed; but there is no other end than one that is documented."""
    cases = stage.everywhere("corrupt", way, mask=mask)

    def judge(case: Case) -> Optional[str]:
        return stage.play(case, DEADLINE, may_end_well=True, **timeouts(DEADLINE))

    assert_none(side_by_side(cases, judge, threads=60))


@both_ways
def test_a_peer_that_is_dead(stage: Stage, way: str) -> None:
    """Without any other deadline, two heartbeat intervals of silence are the end, wherever the silence begins."""
    first = stage.recording.turns[2][0] if way == "up" else sum(len(said) for _, said in stage.recording.turns[:2])
    cases = [case for case in stage.everywhere("stall", way, step=1 if LONG else 7) if case.fault.after >= first]

    def judge(case: Case) -> Optional[str]:
        return stage.play(case, 2 * HEARTBEAT, heartbeat=HEARTBEAT)

    assert_none(side_by_side(cases, judge, threads=150))


@pytest.mark.parametrize("after", [0, 1, 7, 8, 100, 70000, 131072, 1 << 20, 3 << 20])
def test_a_window_that_shuts(stage: Stage, after: int) -> None:
    """The peer takes no more in the middle of a large message: publishing ends in time, and so does the connection,
    since nothing can follow half a frame."""
    door = stage.proxy.door()
    options = timeouts(DEADLINE)
    with stage.amqp.Connection(door.host, protocol=stage.protocol, heartbeat=0, **options) as conn:
        ch = conn.channel()
        calls = Calls(stage.asked, DEADLINE)
        door.strike(up=Fault("shut", after))

        def publish() -> None:
            for _ in range(100):  # the buffers of the system take some megabytes
                message = stage.amqp.Message(bytes(4 << 20))
                calls("basic_publish()", lambda: ch.basic_publish(message, routing_key="q"))  # noqa: B023

        with pytest.raises((OSError, stage.amqp.AMQPException)) as caught:
            publish()
        assert documented(caught.value)
        assert not calls.late
        assert conn.transport is None
    door.close()
