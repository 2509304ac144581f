"""What wakes a thread that waits for octets: another descriptor, which it waits for beside the socket."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Any, Tuple

__all__ = ["Waker"]


class Waker:
    """One for each connection that is waited on; a number that poll() takes, and a way to make it readable."""

    __slots__ = ("_ends", "_pair", "number")

    def __init__(self) -> None:
        self._pair: Tuple[Any, ...] = ()  # Windows waits for sockets only
        self._ends: Tuple[int, ...] = ()
        if sys.platform == "win32":
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self._ends = tuple(end.fileno() for end in self._pair)
        elif hasattr(os, "eventfd"):  # Linux, and Python 3.10
            self._ends = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),)
        else:  # not a pair of sockets: Ctrl-C while that is made leaves them open, and Python warns of it
            self._ends = os.pipe()
            for number in self._ends:
                os.set_blocking(number, False)
        self.number: int = self._ends[0]

    def wake(self) -> None:
        """Whoever waits goes on, and if there is nobody the next to wait."""
        with suppress(OSError, IndexError):  # as full as can be, so it wakes all the same; or closed meanwhile
            if self._pair:
                self._pair[1].send(b"x")
            else:  # eight octets, for an eventfd takes no fewer
                os.write(self._ends[-1], (1).to_bytes(8, sys.byteorder))

    def clear(self) -> None:
        """Somebody is awake, and looks what has changed after this."""
        with suppress(OSError):  # a signal handler was faster
            if self._pair:
                self._pair[0].recv(4096)
            else:
                os.read(self.number, 4096)

    def close(self) -> None:
        """Nobody waits any more."""
        ends, self._ends, self.number = self._ends, (), -1
        if self._pair:
            for end in self._pair:
                end.close()
        else:
            for number in ends:
                os.close(number)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # it was never made, or the interpreter is at its exit
            self.close()
