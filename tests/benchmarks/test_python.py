"""The measuring of the Python part: its arithmetic, the socket that is in memory, and that it measures what it says."""

from __future__ import annotations

import select
import shutil
import socket
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from benchmarks import python
from benchmarks.clients import in_memory
from benchmarks.clients.python_part import BY_NAME, LOOP, PARTS
from benchmarks.drivers import DriverError
from benchmarks.environment import ROOT
from benchmarks.python import Figure


def test_the_median_of_the_pairs_and_that_of_the_rounds() -> None:
    """In the first pair all took twice as long, and in the last one slice was disturbed."""
    assert python.sum_up([(4.0, 8.0), (2.0, 4.0), (2.2, 4.0), (2.0, 9.0)]) == Figure(2.0, 4.0, 0.5)
    assert python.ratio([Figure(2.0, 4.0, 0.5), Figure(30.0, 10.0, 3.0), Figure(4.0, 4.0, 1.0)]) == 1.0


def test_the_best_of_all_rounds() -> None:
    assert python.ratio_of_best([Figure(2.0, 8.0, 9.9), Figure(3.0, 4.0, 9.9)]) == 0.5


def test_text() -> None:
    figures = {"publish": [Figure(3.0, 4.0, 0.5), Figure(3.0, 4.0, 0.75), Figure(4.0, 5.0, 1.0)]}
    lines = python.text(figures, beside=True).splitlines()
    assert lines[0].split() == ["ours", "theirs", "ratio", "of", "the", "rounds"]
    assert lines[1].split()[-9:] == ["once", "3.00", "us", "4.00", "us", "0.75", "0.50", "to", "1.00"]
    lines = python.text(figures, beside=False).splitlines()
    assert lines[0].split() == ["ours", "plain", "loop", "ratio"]
    assert lines[1].split()[-6:] == ["once", "3.00", "us", "4.00", "us", "0.75"]


# --- the socket


@pytest.fixture
def pair() -> Iterator[Tuple[in_memory.Socket, socket.socket]]:
    """A socket that may leave the system, connected, and the other end."""
    ours, theirs = socket.socketpair()
    sock = in_memory.Socket(ours.family, ours.type, ours.proto, fileno=ours.detach())
    yield sock, theirs
    sock.close()
    theirs.close()


def test_until_it_leaves_the_system_it_is_a_socket(pair: Tuple[in_memory.Socket, socket.socket]) -> None:
    sock, other = pair
    assert sock.send(b"one ") == 4
    sock.sendall(b"two ")
    assert sock.sendmsg([b"th", b"ree"], [], 0) == 5
    assert other.recv(100) == b"one two three"
    other.send(b"answer")
    assert sock.recv(100, socket.MSG_PEEK) == b"answer"
    assert sock.recv(100) == b"answer"
    assert (sock.went, sock.came) == ([b"one ", b"two ", b"three"], [b"answer"])


def test_in_memory(pair: Tuple[in_memory.Socket, socket.socket]) -> None:
    """Also what was bound before stays right."""
    sock, other = pair
    number, send, recv = sock.fileno(), sock.send, sock.recv
    sock.leave_system()
    assert sock.fileno() == number
    assert send(b"one", socket.MSG_DONTWAIT) == 3
    assert sock.sendmsg([b"tw", b"o"], [], 0) == 3
    assert other.recv(100) == b""  # nobody is there any more, and nothing came
    with pytest.raises(BlockingIOError):
        recv(100)
    sock.feed(b"a" * in_memory.READ + b"rest")
    assert recv(10) == b"a" * 10
    assert recv(in_memory.READ) == b"a" * (in_memory.READ - 10)
    assert recv(100, socket.MSG_PEEK) == b"rest"
    room = bytearray(100)
    assert sock.recv_into(room) == 4
    assert room[:4] == b"rest"
    assert sock.unread() == 0
    assert select.select([sock], [sock], [], 0)[:2] == ([sock], [sock])


def test_answers_come_when_something_was_sent(pair: Tuple[in_memory.Socket, socket.socket]) -> None:
    sock, _ = pair
    sock.leave_system()
    sock.answer([b"first", b"second"])
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    sock.note(True)
    for answer in (b"first", b"second"):
        sock.send(b"?")
        assert sock.recv(100) == answer
    sock.send(b"!")
    assert sock.unread() == 0
    assert sock.went == [b"?", b"?", b"!"]


def test_poll_tells_what_is_there(
    pair: Tuple[in_memory.Socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, other = pair
    monkeypatch.setattr(select, "poll", select.poll)  # puts it back
    in_memory.replace_poll()
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    assert poller.poll(0) == []
    other.send(b".")
    assert poller.poll(0) == [(sock.fileno(), select.POLLIN)]
    sock.leave_system()
    assert poller.poll(0) == []
    with pytest.raises(AssertionError, match="does not come"):
        poller.poll(1000)
    poller.modify(sock.fileno(), select.POLLIN | select.POLLOUT)
    assert poller.poll(1000) == [(sock.fileno(), select.POLLOUT)]
    sock.feed(b".")
    assert poller.poll(1000) == [(sock.fileno(), select.POLLIN | select.POLLOUT)]
    poller.unregister(sock)
    assert poller.poll(0) == []


# --- the rows


def test_every_row_is_measured() -> None:
    """The program itself sees to it that each does what it says: see Client.check()."""
    with python.Process(ROOT) as process:
        for part in [*PARTS, LOOP]:
            assert process.measure(part) > 0


def checkout(path: Path, more: str) -> Path:
    """A checkout whose amqplib is ours and some lines more."""
    shutil.copytree(str(ROOT / "amqplib"), str(path / "amqplib"), ignore=shutil.ignore_patterns("__pycache__"))
    with (path / "amqplib" / "client_0_9_1" / "__init__.py").open("a") as file:
        file.write(more)
    return path


_SLOW = """
def _slow(self, *args, _publish=Channel.basic_publish, **kwargs):
    for _ in range(5000):
        pass
    return _publish(self, *args, **kwargs)

Channel.basic_publish = _slow
"""

_LAZY = """
def _lazy(self, *args, _publish=Channel.basic_publish, **kwargs):
    self.published = getattr(self, "published", 0) + 1
    return _publish(self, *args, **kwargs) if self.published < 2000 else None

Channel.basic_publish = _lazy
"""


def test_a_slower_checkout_is_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By tens of microseconds to two, in the row that it is about."""
    monkeypatch.setattr(python, "SLICES", 4)
    figures = python.measure([BY_NAME["publish"], BY_NAME["receiver"]], 1, checkout(tmp_path, _SLOW))
    assert python.ratio(figures["publish"]) < 0.5
    assert python.ratio(figures["receiver"]) > 0.5


def test_what_does_less_than_it_should_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"out: \d+ octets were sent, not \d+$"):
        python.measure([BY_NAME["publish"]], 1, checkout(tmp_path, _LAZY))


def test_a_directory_without_amqplib_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert python.main(["--beside", str(tmp_path), "--rounds", "1"]) == 1
    assert "this is not the amqplib of %s" % tmp_path.resolve() in capsys.readouterr().out


def test_what_is_counted_is_the_same_each_time() -> None:
    """To two per mille, which is what a slow machine does more often."""
    parts = [BY_NAME["receiver"], BY_NAME["routing"]]
    first, second = python.count(parts), python.count(parts)
    for name, counts in first.items():
        assert counts == pytest.approx(second[name], rel=0.002)
        assert counts["C calls"] > 1
        assert counts["instructions"] > 20


def test_connections_that_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside others; a call notes what it declares, which shows on any machine."""
    ours, others = (python.Process(ROOT, recover) for recover in (True, False))
    with ours, others:
        assert ours.count(BY_NAME["call"])["instructions"] > others.count(BY_NAME["call"])["instructions"]
    assert python.main(["--recover", "--rounds", "1", "--rows", "publish"]) == 0
    assert "theirs" in capsys.readouterr().out
