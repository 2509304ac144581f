"""A client whose system takes nothing more: writes of the client's cannot begin, until the peer reads again."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from typing import Any, Iterator

from tests.rest import await_rest

from .peer import PATIENCE, Peer

__all__ = ["await_full", "fill", "full"]

_FILLING = bytes(65536)


def _is_settled(sock: socket.socket) -> bool:
    """Has the peer's system acknowledged all that is on its way? An acknowledgement that is still to come makes room.

    tcpi_unacked of Linux's struct tcp_info: segments on their way.
    """
    if not hasattr(socket, "TCP_INFO"):
        return True
    unacknowledged: int = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0]
    return unacknowledged == 0


def fill(sock: socket.socket) -> int:
    """Write zeros until the system takes no more, and will not come to take more; how many."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    filled = refused = 0
    while refused < 4:
        settled = _is_settled(sock)
        try:
            filled += sock.send(_FILLING if not refused else b"\0", socket.MSG_DONTWAIT)
            refused = 0
        except BlockingIOError:
            refused = refused + 1 if settled else 1
            time.sleep(0.02)
    return filled


@contextlib.contextmanager
def full(peer: Peer, connection: Any) -> Iterator[None]:
    """In here nothing of what the client sends can go. Afterwards the peer reads, and passes over what filled it."""
    peer.wait()
    filled = fill(connection.transport.sock)
    try:
        yield
    finally:
        peer.expect_bytes(bytes(filled))


def await_full(connection: Any) -> None:
    """Wait until another thread, which sends more than fits, cannot go on."""
    sock, end = connection.transport.sock, time.monotonic() + PATIENCE
    while True:
        await_rest()
        if _is_settled(sock) and not select.select([], [sock], [], 0)[1]:
            break
        assert time.monotonic() < end, "the system takes all of it"
