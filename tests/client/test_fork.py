"""Proves that a fork leaves its parent's connections alone: the child is told, and nothing that it does reaches them.

Children report through a pipe, and end by os._exit() unless how they end is what matters.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import subprocess
import sys
import threading
import traceback
from typing import Any, Callable, List

import pytest

import amqplib.client_0_8 as amqp

from .peer import PATIENCE, Peer, content
from .threads import Threads, waiting

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    # what Python 3.12 and later say of a fork beside threads: the peer's is one
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def in_child(function: Callable[[], None]) -> str:
    """Call a function in a child process: what it raised, as text, or ''."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        said = ""
        faulthandler.dump_traceback_later(PATIENCE, exit=True)  # it says where it hangs, and does not hang for ever
        try:
            function()
        except BaseException:
            said = traceback.format_exc()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "the child did not come to its end"
    return said


def still_works(peer: Peer, ch: amqp.Channel) -> None:
    peer.answer("queue.purge", "queue.purge_ok", 7)
    assert ch.queue_purge("q") == 7


CALLS = {
    "publishing": lambda conn, ch: ch.basic_publish(amqp.Message("x")),
    "a call": lambda conn, ch: ch.queue_purge("q"),
    "wait": lambda conn, ch: ch.wait(),
    "drain_events": lambda conn, ch: conn.drain_events(timeout=PATIENCE),
    "channel": lambda conn, ch: conn.channel(),
    "ack": lambda conn, ch: ch.basic_ack(1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_child_is_told(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    # something that could be handled without the network
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.expect("queue.purge")
    peer.send("queue.purge_ok", 1)
    ch.queue_purge("q")
    assert ch.pending()
    said = in_child(lambda: CALLS[name](conn, ch))
    assert "ConnectionLostError: it belongs to process %d, of which this one is a fork" % os.getpid() in said
    still_works(peer, ch)


def test_closing_in_a_child(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Does nothing, as closing what is closed does."""

    def close() -> None:
        ch.close()
        conn.close()
        with conn:
            pass

    assert in_child(close) == ""
    still_works(peer, ch)


def test_collecting_in_a_child(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    def collect() -> None:
        conn.__dict__.clear()
        ch.__dict__.clear()
        gc.collect()

    assert in_child(collect) == ""
    still_works(peer, ch)


def test_the_childs_descriptor_is_closed(conn: amqp.Connection) -> None:
    """So that the parent's close is one, although the child goes on."""
    assert conn.transport is not None
    number = conn.transport.sock.fileno()

    def look() -> None:
        with contextlib.suppress(OSError):
            os.fstat(number)
            raise AssertionError("descriptor %d is open" % number)

    assert in_child(look) == ""


def test_whatever_other_threads_are_in_the_middle_of(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    """Their locks are held for ever in the child."""
    sending, receiving, taking, done = (threading.Event() for _ in range(4))
    transport = conn.transport
    assert transport is not None
    send, receive = transport.send, transport.receive

    def send_late(data: Any) -> int:
        sending.set()
        done.wait(PATIENCE)
        return send(data)

    def receive_late() -> bytes:
        receiving.set()
        done.wait(PATIENCE)
        return receive()

    def hold() -> None:
        with ch.returned_messages.mutex, ch.alerts.mutex:
            taking.set()
            done.wait(PATIENCE)

    transport.receive = receive_late  # type: ignore[method-assign]
    threads.start(ch.wait)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    assert receiving.wait(PATIENCE)
    transport.send = send_late  # type: ignore[method-assign]
    threads.start(ch.basic_publish, amqp.Message(b"y"))
    assert sending.wait(PATIENCE)
    threads.start(hold)
    assert taking.wait(PATIENCE)

    def use() -> None:
        assert ch.returned_messages.empty()
        for call in CALLS.values():
            with contextlib.suppress(amqp.ConnectionLostError):
                call(conn, ch)  # type: ignore[no-untyped-call]
                raise AssertionError("it worked")

    try:
        assert in_child(use) == ""
    finally:
        done.set()
    assert threads.results() == [None] * 3
    peer.expect_content("basic.publish", message=({}, b"y"))
    still_works(peer, ch)


def test_while_another_thread_waits(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    threads = Threads()
    with waiting(threads, ch.wait):
        assert in_child(conn.close) == ""
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    threads.results()
    assert len(got) == 1


def test_a_fork_inside_of_a_callback(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """As servers do that fork for each job."""
    said: List[str] = []
    ch.callbacks["tag"] = lambda msg: said.append(in_child(lambda: msg.channel.basic_ack(msg.delivery_tag)))
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", ""))
    ch.wait()
    assert "is a fork" in said[0]
    still_works(peer, ch)


EXITING = """
import os, sys
import amqplib.client_0_8 as amqp

conn = amqp.Connection(sys.argv[1], heartbeat=600)
ch = conn.channel()
child = os.fork()
if not child:
    sys.exit()  # all that an interpreter does at its end
os.waitpid(child, 0)
print(ch.queue_purge("q"))
conn.close()
"""


def test_the_exit_of_a_child(peer: Peer) -> None:
    peer.welcome(heartbeat=0)
    peer.open_channel()
    peer.answer("queue.purge", "queue.purge_ok", 7)
    peer.part()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXITING, peer.address],
        capture_output=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"7\n", b"")


def test_a_connection_of_the_childs_own(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    with Peer() as other:
        other.welcome()
        other.part()

        def connect() -> None:
            amqp.Connection(other.address).close()

        assert in_child(connect) == ""
        other.wait()
    still_works(peer, ch)


FORKING_LATER = """
import os, sys
import amqplib.client_0_8 as amqp

amqp.Connection(sys.argv[1], heartbeat=60).close()
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_fork_after_the_last_connection(peer: Peer) -> None:
    """No thread of ours is left: Python 3.12 and later warn of a fork beside one."""
    peer.welcome(heartbeat=60)
    peer.part()
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", FORKING_LATER, peer.address],
        capture_output=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
