"""A socket that is a real one until it is told not to be: then sending and receiving are done in memory, and what a
client takes is the work of Python alone.

    with connecting():
        connection = Connection(broker.address)
    sock = connection.transport.sock        # a Socket: it works, and keeps what passes
    sock.leave_system()
    sock.feed(data)                         # what recv() gives from now on

The client keeps its socket object and its descriptor, so it does not matter what it has bound or registered before.
The descriptor leads to the end of a pair of sockets at which an octet always waits: select() finds it readable and
writable. select.poll() is replaced as well, and so must be before the client is imported: it tells whether something
is there to be received, and raises where the client would wait for ever.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from contextlib import contextmanager
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple, Union

__all__ = ["READ", "Socket", "connecting", "replace_poll"]

#: Octets that recv() gives at most, as a busy network would.
READ = 65536

_PEEK = int(socket.MSG_PEEK)  # as they are, flags are objects that take ten times as long

_system_poll: Any = getattr(select, "poll", None)


class Socket(socket.socket):
    """Passes everything on to the system, and notes it in `came` and `went`; after leave_system(), see above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Does nothing hang on what is sent? First, for it is asked each time.
        self._quiet = False
        self._real = True
        self._other_end: Optional[socket.socket] = None
        self._incoming: Deque[bytes] = deque()
        self._answers: Deque[bytes] = deque()
        #: What was received, and sent, while it is noted.
        self.came: Optional[List[bytes]] = []
        self.went: Optional[List[bytes]] = []

    # --- for whoever measures

    def leave_system(self) -> None:
        """From now on all is in memory."""
        ours, theirs = socket.socketpair()
        theirs.send(b".")
        os.dup2(ours.fileno(), self.fileno())
        ours.close()
        self._other_end = theirs
        self._real = False
        _IN_MEMORY[self.fileno()] = self
        self.note(False)

    def note(self, yes: bool) -> None:
        """Begin to note what comes and goes, or do not. The clock should not run while it is noted."""
        self.came, self.went = ([], []) if yes else (None, None)
        self._quiet = not yes and not self._real and not self._answers

    def feed(self, data: bytes) -> None:
        """This can be received now."""
        if len(data) <= READ:
            self._incoming.append(data)
        else:
            self._incoming.extend(data[start : start + READ] for start in range(0, len(data), READ))

    def answer(self, answers: List[bytes]) -> None:
        """Each of these can be received once something more has been sent."""
        self._answers.extend(answers)
        self._quiet = False

    def unread(self) -> int:
        """Octets that the client has not received, answers included."""
        return sum(map(len, self._incoming)) + sum(map(len, self._answers))

    # --- for the client

    def send(self, data: Any, flags: int = 0) -> int:
        if self._quiet:
            return len(data)
        return self._sent(data, super().send(data, flags) if self._real else len(data))

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._real:
            super().sendall(data, flags)
        self._sent(data, len(data))

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        data = b"".join(buffers)
        return self._sent(data, super().sendmsg([data], *args) if self._real else len(data))

    def _sent(self, data: Any, octets: int) -> int:
        if self.went is not None:
            self.went.append(bytes(data[:octets]))
        if self._answers:
            self._incoming.append(self._answers.popleft())
            self._quiet = self.went is None and not self._answers
        return octets

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._real:
            data = super().recv(size, flags)
            if self.came is not None and not flags & socket.MSG_PEEK:
                self.came.append(data)
            return data
        if not self._incoming:
            raise BlockingIOError
        if int(flags) & _PEEK:
            return self._incoming[0][:size]
        data = self._incoming.popleft()
        if len(data) > size:
            self._incoming.appendleft(data[size:])
            data = data[:size]
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        data = self.recv(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        if self._real:
            super().shutdown(how)

    def close(self) -> None:
        _IN_MEMORY.pop(self.fileno(), None)
        super().close()
        if self._other_end:
            self._other_end.close()


#: Those that have left the system, by their descriptors.
_IN_MEMORY: Dict[int, Socket] = {}


class _Poll:
    """What select.poll() makes."""

    def __init__(self) -> None:
        self._poll = _system_poll()
        self._masks: Dict[int, int] = {}

    def register(self, which: Union[int, socket.socket], mask: int = 0) -> None:
        self._poll.register(which, mask)
        self._masks[which if isinstance(which, int) else which.fileno()] = mask

    modify = register

    def unregister(self, which: Union[int, socket.socket]) -> None:
        self._poll.unregister(which)
        del self._masks[which if isinstance(which, int) else which.fileno()]

    def poll(self, timeout: Optional[float] = None) -> List[Tuple[int, int]]:
        left = False
        for number, mask in self._masks.items():
            sock = _IN_MEMORY.get(number)
            if sock is not None:
                left = True
                if not sock._incoming:
                    mask &= ~select.POLLIN
                if mask:
                    return [(number, mask)]  # what else there is would be for other threads to wake this one
        if left and timeout != 0:
            raise AssertionError("the client waits for what does not come")
        return [] if left else list(self._poll.poll(timeout))


def replace_poll() -> None:
    """Once in a process, before the client is imported."""
    if _system_poll:
        setattr(select, "poll", _Poll)  # noqa: B010 (mypy does not let it be assigned)


@contextmanager
def connecting() -> Iterator[None]:
    """Sockets that are made meanwhile are of this kind."""
    kind = socket.socket
    setattr(socket, "socket", Socket)  # noqa: B010
    try:
        yield
    finally:
        setattr(socket, "socket", kind)  # noqa: B010
