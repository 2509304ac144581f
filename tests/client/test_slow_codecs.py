"""A codec of the program's that takes its time holds up its own thread only."""

from __future__ import annotations

import codecs
import threading
import time
from typing import Any, Iterator, List, Optional, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.client import message
from amqplib.client.codec_names import CodecNames

from .peer import PATIENCE, Peer
from .threads import Threads

#: The names of threads that are inside the codec `sleepy`, or have been. One list, for Python before 3.10 never forgets
#: a codec.
SEEN: List[str] = []


#: Until this is set the codec takes its time.
GO_ON = threading.Event()


def decode(data: Any, errors: str = "strict") -> Tuple[str, int]:
    SEEN.append(threading.current_thread().name)
    assert GO_ON.wait(PATIENCE), "another thread is held up"
    return bytes(data).decode("ascii"), len(data)


def find(name: str) -> Optional[codecs.CodecInfo]:
    return codecs.CodecInfo(codecs.ascii_encode, decode, name="sleepy") if name == "sleepy" else None


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[str]]:
    # strangers may have used up the names that it asks Python about
    monkeypatch.setattr(message, "_DECODERS", CodecNames())
    SEEN.clear()
    GO_ON.clear()
    codecs.register(find)
    yield SEEN
    if hasattr(codecs, "unregister"):
        codecs.unregister(find)


@pytest.mark.parametrize("what", ["basic.return", "basic.deliver"])
def test_a_wait_on_another_channel_keeps_its_time(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, threads: Threads, decoding: List[str], what: str
) -> None:
    newer_peer.open_channel(2)
    other = newer_conn.channel()
    content = ({"content_encoding": "sleepy"}, b"zzz")
    if what == "basic.return":
        newer_peer.send_content("basic.return", 312, "NO_ROUTE", "", "q", message=content)
    else:
        newer_peer.answer("basic.consume", "basic.consume_ok", "tag")
        newer.basic_consume("q", consumer_tag="tag", callback=lambda msg: None)
        newer_peer.send_content("basic.deliver", "tag", 1, False, "", "q", message=content)
        threads.start(newer.wait)
        end = time.monotonic() + PATIENCE
        while not decoding:
            assert time.monotonic() < end
            time.sleep(0.01)
    with pytest.raises(amqp.AMQPTimeoutError):
        other.wait(timeout=0.2)
    GO_ON.set()
    if what == "basic.return":
        assert decoding == []
        assert newer.returned_messages.get_nowait()[4].body == "zzz"
    assert len(decoding) == 1
    assert threads.outcomes() in ([], [None])
