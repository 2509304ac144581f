"""The wire core, and the whole client, on bytes that nobody foresaw: by hypothesis always, by coverage in `-m soak`."""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire import frames
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.tables import utc_time
from fuzz import client
from fuzz.wire import CHANNELS, CODES, DIALECTS, Content, check, seeds
from tests.conftest import give_up
from tests.faults.harness import LONG
from tests.wire.helpers import cut_up, examples

ROOT = Path(__file__).resolve().parents[2]

#: Seconds of fuzzing.
SECONDS = 3600 if LONG else 60


@examples(300)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    check(data)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good input with some of its bytes changed, left out or doubled."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 6))
        data[at : at + size] = draw(st.binary(max_size=6) | st.just(bytes(data[at : at + 2 * size])))
    return bytes(data)


@examples(500)
@given(spoiled())
def test_spoiled_bytes(data: bytes) -> None:
    check(data)


def test_seeds() -> None:
    """They are good as they are, and all methods are among them; so the tests above do not only test refusals."""
    results = [check(seed) for seed in seeds()]
    events = "".join(event for result in results if result for event in result.events)
    methods = {method.name for dialect in DIALECTS for method in dialect.by_name.values()}
    assert not [name for name in methods if repr(name) not in events]


bodies = st.lists(st.tuples(st.sampled_from(CHANNELS), st.binary(max_size=300)), min_size=1, max_size=12)


@examples(200)
@given(data=st.data(), sent=bodies, number=st.integers(0, 1), frame_max=st.integers(120, 200))
def test_interleaved_channels_get_their_own_bodies(
    data: st.DataObject, sent: List[Tuple[int, bytes]], number: int, frame_max: int
) -> None:
    """Frames of a channel stay in order; those of several may come in any order between each other."""
    dialect = DIALECTS[number]
    sender = Sender(dialect)
    sender.frame_max = frame_max
    queues: Dict[int, List[bytes]] = {channel: [] for channel in CHANNELS}
    for tag, (channel, body) in enumerate(sent):
        args = ("tag-%d" % channel, tag, False, "", "")
        properties = {"message_id": str(tag)} if tag % 2 else {}
        queues[channel] += split(sender.content(channel, dialect["basic.deliver"], args, properties, body))
    wire = b""
    while any(queues.values()):
        channel = data.draw(st.sampled_from([channel for channel in CHANNELS if queues[channel]]))
        run = data.draw(st.integers(1, len(queues[channel])))
        wire += b"".join(queues[channel][:run])
        del queues[channel][:run]
    to = Receiver(dialect, Content, utc_time)
    to.channels.update(CHANNELS)
    to.frame_max = frame_max
    got = [event for piece in data.draw(cut_up(wire)) for event in to.receive(piece)]
    assert to.error is None
    assert sorted(event[2][1] for event in got) == list(range(len(sent)))
    for channel, _, args, content in got:
        tag = args[1]
        assert (channel, content.body) == sent[tag]
        assert args[0] == "tag-%d" % channel
        assert content.properties == ({"message_id": str(tag)} if tag % 2 else {})
    for each in CHANNELS:
        tags = [args[1] for channel, _, args, _ in got if channel == each]
        assert tags == sorted(tags)


def split(data: bytes) -> List[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[3:7], "big") + frames.OVERHEAD
        found.append(data[:size])
        data = data[size:]
    return found


#: What claims to be large: (frames, what the receiver may hold of it in octets).
HOSTILE: Dict[str, bytes] = {
    "a frame of 4 GB": b"\x01\x00\x01\xff\xff\xff\xff\0",
    "a frame of 1 GB, after some of it": b"\x03\x00\x01\x40\x00\x00\x00" + bytes(60000),
    "a body of 2**64 - 1": frames.encode_frame(2, 1, b"\0\x3c\0\0" + b"\xff" * 8 + b"\0\0"),
    "a body of the limit and one": frames.encode_frame(2, 1, b"\0\x3c\0\0" + (2**20 + 1).to_bytes(8, "big") + b"\0\0"),
    "a table nested 1000 deep": frames.encode_frame(
        2, 1, b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + b"\0\0\x10\0\1aF" * 1000
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("number", [0, 1])
def test_memory_is_not_taken_for_claims(number: int, what: str) -> None:
    dialect = DIALECTS[number]
    to = Receiver(dialect, Content, utc_time, body_max=2**20)
    to.channels.add(1)
    to.frame_max = 131072
    deliver = Sender(dialect).method(1, dialect["basic.deliver"], ("tag", 1, False, "", ""))
    to.receive(deliver if HOSTILE[what][0] != 1 else b"")
    tracemalloc.start()
    try:
        to.receive(HOSTILE[what])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert to.error is None or to.error.reply_code in CODES
    assert to.error is not None or what == "a table nested 1000 deep"  # which costs that field only
    assert peak < 2**20, "%d octets were taken" % peak


# --- the whole client


#: Seeds that tell a part of it each; all of them are run by the soak test.
SAMPLE = client.seeds()[::37]


@examples(50)
@given(st.binary(max_size=60))
def test_any_server(data: bytes) -> None:
    client.check(data)


@st.composite
def spoiled_program(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLE)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data)


@examples(50)
@given(spoiled_program())
def test_a_server_that_plays_along_for_a_while(data: bytes) -> None:
    client.check(data)


@pytest.mark.parametrize("which", range(4))
def test_good_servers(which: int) -> None:
    """All calls are made, and succeed, unless the dialects do not fit: so the tests above do not only test refusals."""
    for name in client.NAMES:
        seen = client.check(client.program(which, "confirm", name))
        errors = [type(exc).__name__ for exc in seen.errors]
        assert seen.calls[:1] == ["Connection()"]
        if which == 1:  # client_0_9_1 with a server of 0-8
            assert errors == ["ProtocolVersionError"]
        else:
            assert seen.calls == ["Connection()", "channel()", "confirm", name, "close()"]
            expected = {"wait": ["AMQPTimeoutError"], "drain": ["AMQPTimeoutError"]}
            if which == 0:  # client_0_8 with a server of 0-8, which has no confirms
                expected["publish_confirm"] = ["DialectError"]
            assert errors == expected.get(name, []), name


def rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqplib.protocol.unasked.Room.takes", lambda *args: True)
    # the flood is to be read to its end, by a slow processor, too
    monkeypatch.setattr(client.Clock, "__call__", lambda clock: clock.waited)


def raw_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_frame_max(properties: Dict[str, Any], frame_max: int) -> str:
        return str(int(properties["version"].partition(".")[0]) > 1000)[:0]

    monkeypatch.setattr("amqplib.client.connect.hints.on_frame_max", on_frame_max)


def lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqplib.client.deadline.Deadline.expired", lambda self: self._clock() > self._end + 0.6)


#: What is undone, an input that tells, and what is said of it.
UNDONE: Dict[str, Tuple[Any, bytes, str]] = {
    "room for what nobody asked for": (
        rooms,
        client.program(3, "declare", acts=b"\0" * 4 + client.saying("channel.flow", 0, 1) + client.FLOODS),
        "octets are held of a flood",
    ),
    "errors that are documented": (
        raw_errors,
        client.program(3, "declare", acts=client.saying("connection.start", 0, 0, 3, 2, 26, 0)),
        "invalid literal|Exceeds the limit",
    ),
    "deadlines": (lateness, client.program(3, "wait", acts=b"\0" * 4 + client.SILENCE * 3), "wait took 1[.]"),
}


@pytest.mark.parametrize("name", UNDONE)
def test_what_is_undone_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    undo, data, said = UNDONE[name]
    client.check(data)
    undo(monkeypatch)
    with pytest.raises((AssertionError, ValueError), match=said):
        client.check(data)


# --- guided by coverage

#: What is fuzzed; inputs a second, and points of the code, that it has to come to at least.
FUZZED = {"fuzz.wire": (seeds, 10, 250), "fuzz.client": (client.seeds, 2, 1000)}


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("module", FUZZED)
def test_guided_by_coverage(tmp_path: Path, module: str) -> None:
    """For SECONDS seconds, beginning with the seeds."""
    good, rate, points = FUZZED[module]
    if importlib.util.find_spec("atheris") is None:
        if not (3, 11) <= sys.version_info[:2] <= (3, 13) or platform.machine() != "x86_64" or sys.platform != "linux":
            pytest.skip("there is no atheris for this Python on this machine")
        give_up("there is no atheris here")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(good()):
        (corpus / str(number)).write_bytes(seed)
    options = [
        "-max_total_time=%d" % SECONDS,
        "-timeout=300",
        "-max_len=4000",
        "-print_final_stats=1",
        "-seed=%d" % random.getrandbits(31),
    ]
    command = [sys.executable, "-m", module, *options, str(corpus)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=str(tmp_path), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:]
    runs = int(done.stdout.rpartition("stat::number_of_executed_units:")[2].split()[0])
    covered = int(done.stdout.rpartition(" cov: ")[2].split()[0])
    print("%d inputs, %d points of the code covered" % (runs, covered))
    assert runs > rate * SECONDS, done.stdout[-3000:]
    assert covered > points, "it was not guided\n" + done.stdout[-3000:]
