"""Proves that looking a name up has an end: a deadline, whatever looks like an address, and a bound of threads."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.connect.address import Address
from amqplib.client.deadline import Deadline
from amqplib.client.net.looking_up import MOST, look_up

from .peer import PATIENCE

SECONDS = 0.1


def lookups() -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "amqplib-lookup"]


class Slow:
    """In the place of socket.getaddrinfo(): it answers when it is told to."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: List[str] = []

    def __call__(self, host: str, port: int, *args: Any) -> List[Any]:
        self.asked.append(host)
        assert self.over.wait(2 * PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    def await_asked(self, count: int) -> None:
        """A thread that has been started need not have come that far."""
        end = time.monotonic() + PATIENCE
        while len(self.asked) < count:
            assert time.monotonic() < end
            time.sleep(0.001)

    def end(self) -> None:
        self.over.set()
        for thread in lookups():
            thread.join(PATIENCE)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.end()


@pytest.mark.parametrize(
    "host",
    [
        "1.2.3.4.5.6",
        "1.2.3.400",
        "1..2",
        "\uff11.2.3.4",
        "\u0661.2.3.4",
        "1.2.3.4.",
        "0x7f.0.0.1.5",
        "rabbit.example.org",
        "0x7f000001",
        "1e3",
        "+1.2.3.4",
        "1_0.0.0.1",
        "1.2.3.4 5",
        "fe80::1%eth0",
        "[::1%no.such.zone]:5672",
    ],
)
def test_what_only_looks_like_an_address(slow: Slow, host: str) -> None:
    """It is a name, and the system asks others for it, and waits for them; it may do so for the zone of an address."""
    begin = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"was not looked up within 0\.\d+ s"):
        amqp.Connection(host, connect_timeout=SECONDS)
    assert time.monotonic() - begin < PATIENCE / 2


@pytest.mark.parametrize("host", ["10.0.0.7", "127.1", "::1", "::ffff:10.0.0.7"])
def test_an_address_takes_no_thread(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    threads: List[str] = []

    def getaddrinfo(*args: Any) -> List[Any]:
        threads.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert look_up(Address(host, 5672), Deadline(PATIENCE)) == []
    assert threads == [threading.current_thread().name]


@pytest.mark.parametrize("timeout", [None, PATIENCE])
@pytest.mark.parametrize("problem", [RuntimeError, MemoryError, TypeError, UnicodeError])
def test_whatever_goes_wrong_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], problem: Any, timeout: Any
) -> None:
    """Not by a traceback of the thread, while its caller waits for ever."""

    def getaddrinfo(*args: Any) -> List[Any]:
        raise problem("out of order")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    begin = time.monotonic()
    with pytest.raises(amqp.ConnectionLostError, match=r"'rabbit.example.org' could not be resolved: out of order"):
        amqp.Connection("rabbit.example.org", connect_timeout=timeout)
    assert time.monotonic() - begin < PATIENCE / 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_an_exit_is_one(monkeypatch: pytest.MonkeyPatch, timeout: Any) -> None:
    """What is no Exception is not made one: Ctrl-C in the look-up, an exit of another library's."""

    def getaddrinfo(*args: Any) -> List[Any]:
        raise SystemExit(3)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(SystemExit):
        amqp.Connection("rabbit.example.org", connect_timeout=timeout)


def test_one_thread_a_name(slow: Slow) -> None:
    """However often a program tries again while its name server is silent."""
    for _ in range(5):
        with pytest.raises(amqp.AMQPTimeoutError):
            amqp.Connection("rabbit.example.org", connect_timeout=SECONDS / 5)
    slow.await_asked(1)
    assert slow.asked == ["rabbit.example.org"]
    assert len(lookups()) == 1


def test_a_bound_of_threads(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MOST + 5):
        with pytest.raises(amqp.AMQPTimeoutError, match="was not looked up"):
            amqp.Connection("rabbit%d.example.org" % number, connect_timeout=SECONDS / 5)
    slow.await_asked(MOST)
    assert len(slow.asked) == len(lookups()) == MOST
    # who waits for a place is served once there is one
    waiting: List[Any] = []
    thread = threading.Thread(
        target=lambda: waiting.append(look_up(Address("other.example.org", 1), Deadline(PATIENCE)))
    )
    thread.start()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: ["found"])
    slow.end()
    thread.join(PATIENCE)
    assert waiting == [["found"]]
    assert lookups() == []


def test_one_answer_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    over, asked = threading.Event(), []

    def getaddrinfo(*args: Any) -> List[Any]:
        asked.append(args)
        assert over.wait(PATIENCE)
        return ["found"]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    got: List[Any] = []
    address = Address("rabbit.example.org", 5672)
    threads = [threading.Thread(target=lambda: got.append(look_up(address, Deadline(PATIENCE)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert got == [["found"]] * 4
    assert 1 <= len(asked) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_has_places_of_its_own(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its parent's look-ups, and their lock, it has nothing but the memory."""
    for number in range(MOST):
        with pytest.raises(amqp.AMQPTimeoutError):
            look_up(Address("rabbit%d.example.org" % number, 5672), Deadline(SECONDS / 5))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: ["found"])
    child = os.fork()
    if not child:
        try:
            found = look_up(Address("rabbit0.example.org", 5672), Deadline(PATIENCE))
            os._exit(0 if found == ["found"] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
