"""The broker's sockets: one thread, which reads, has sessions do their work, and writes.

Only this thread touches sessions and what is behind them, so that nothing there needs a lock. Other threads have work
done with call().
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Callable, Deque, Dict, List, Optional, TypeVar

from .faults import Cut
from .hub import Hub
from .output import Output
from .session import Session
from .timers import Timer

__all__ = ["Server"]

T = TypeVar("T")

#: Octets of one read.
_READ = 1 << 18

#: Connections that the system may keep until they are accepted.
_BACKLOG = 1024

#: Seconds before more connections are accepted, where the system gives no more sockets.
_PAUSE = 0.1


class _Link:
    """A client's socket and its session."""

    __slots__ = ("cut", "cut_off", "interest", "offset", "rest", "session", "sock", "timer")

    def __init__(self, sock: socket.socket, session: Session, cut: Optional[Cut]) -> None:
        self.sock = sock
        self.session = session
        #: Bytes that the system did not take yet: those of `rest` from `offset` on.
        self.rest = b""
        self.offset = 0
        #: What the selector watches the socket for.
        self.interest = selectors.EVENT_READ
        #: Sends what is there, later: faults want it so.
        self.timer: Optional[Timer] = None
        #: Where the connection is to be lost.
        self.cut = cut
        #: It is to be lost as soon as `rest` has gone.
        self.cut_off = False


class Server:
    """Listens from the beginning; serves from start() to stop()."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self._hub = hub
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._links: Dict[Output, _Link] = {}
        self._calls: Deque[Callable[[], None]] = deque()
        #: It serves.
        self.running = False
        self._thread: Optional[threading.Thread] = None
        self._serving: Optional[int] = None  # the thread that does, by threading.get_ident()
        self._number = 0

    # --- from other threads

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._begin()
        self._thread = threading.Thread(target=self._serve, name="amqplib broker on port %d" % self.port, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and all connections."""
        if self._thread:
            self.end()
            self._thread.join()
        else:
            self._close()

    def end(self) -> None:
        """Have the thread that serves do so no more, and end all connections."""
        self._post(self._end)

    def call(self, work: Callable[[], T]) -> T:
        """Have the server's thread do something; what it returns or raises."""
        if not self.running:
            raise RuntimeError("the broker does not run")
        if threading.get_ident() == self._serving:
            raise RuntimeError("the broker's own thread, which calls its log, would wait for itself here")
        done = threading.Event()
        results: List[T] = []
        errors: List[BaseException] = []

        def carry_out() -> None:
            try:
                results.append(work())
            except BaseException as exc:
                errors.append(exc)
            done.set()

        self._post(carry_out)
        while not done.wait(1):
            if not self.running:
                raise RuntimeError("the broker has ended")
        if errors:
            raise errors[0]
        return results[0]

    def _post(self, work: Callable[[], None]) -> None:
        self._calls.append(work)
        with suppress(OSError):  # it has ended meanwhile
            self._waker.send(b"\0")

    # --- in the server's thread

    def run(self) -> None:
        """Serve until end()."""
        self._begin()
        self._serve()

    def _begin(self) -> None:
        if self.running or self._listener.fileno() < 0:
            raise RuntimeError("the broker runs already" if self.running else "the broker has ended: make another one")
        self.running = True

    def _serve(self) -> None:
        hub, selector = self._hub, self._selector
        self._serving = threading.get_ident()
        self._listen()
        selector.register(self._woken, selectors.EVENT_READ, self._wake)
        try:
            while self.running:
                for key, events in selector.select(hub.timers.next()):
                    if isinstance(key.data, _Link):
                        if events & selectors.EVENT_READ:
                            self._read(key.data)
                        if events & selectors.EVENT_WRITE:
                            self._write(key.data)
                    else:
                        key.data()
                hub.timers.run()
                self._flush()
        except Exception as exc:
            hub.failures.append(exc)
        finally:
            self._close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _end(self) -> None:
        self.running = False

    def _listen(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError as exc:  # nobody more, or gone again
                if exc.errno in (errno.EMFILE, errno.ENFILE):  # it may work later
                    self._selector.unregister(self._listener)
                    self._hub.log("no more connections for now: %s" % exc.strerror)
                    self._hub.timers.after(_PAUSE, self._listen)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(sock, Session(self._hub, "%s:%d" % peer[:2]), self._hub.orders.cut())
            self._links[link.session] = link
            self._selector.register(sock, link.interest, link)
            self._watch(link)

    def _read(self, link: _Link) -> None:
        try:
            data = link.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(link)
            return
        over = False
        if link.cut and link.cut.received:
            data, over = link.cut.take(data)
        link.session.receive(data)
        if over and link.cut:
            self._drop(link, link.cut.reset)

    # --- sending

    def _flush(self) -> None:
        """Send what sessions have written; that may have others write."""
        dirty = self._hub.dirty
        while dirty:
            sources, dirty[:] = dirty[:], []
            for source in sources:
                link = self._links.get(source)
                if link is None or link.timer:
                    continue
                seconds = self._hub.orders.coalesce
                if seconds and source.outgoing:
                    link.timer = self._hub.timers.after(seconds, partial(self._send_late, link))
                else:
                    self._write(link)

    def _send_late(self, link: _Link) -> None:
        link.timer = None
        if link.session in self._links:
            self._write(link)

    def _write(self, link: _Link) -> None:
        session, orders = link.session, self._hub.orders
        if session.outgoing and not link.cut_off:
            data = b"".join(session.outgoing)
            session.outgoing.clear()
            if link.cut and not link.cut.received:
                data, link.cut_off = link.cut.take(data)
            link.rest = link.rest[link.offset :] + data if link.rest else data
            link.offset = 0
        if link.rest and not orders.stalled and not self._send(link):
            return
        if link.cut and link.cut_off and not link.rest:
            self._drop(link, link.cut.reset)
        elif session.over and not link.rest and not session.outgoing:
            self._drop(link)
        else:
            self._watch(link)

    def _send(self, link: _Link) -> bool:
        """Give the system what it takes; False if the connection is gone."""
        split = self._hub.orders.split
        end = link.offset + split[0] if split else len(link.rest)
        try:
            sent = link.sock.send(memoryview(link.rest)[link.offset : end])
        except BlockingIOError:
            return True
        except OSError:
            self._drop(link)
            return False
        link.offset += sent
        if link.offset == len(link.rest):
            link.rest, link.offset = b"", 0
        elif split:
            link.timer = self._hub.timers.after(split[1], partial(self._send_late, link))
        link.session.sent(sent)
        return True

    def _watch(self, link: _Link) -> None:
        """Have the selector watch the socket for what is wanted now."""
        interest = 0
        if not self._hub.orders.stalled:
            if not link.session.blocked:
                interest = selectors.EVENT_READ
            if link.rest and not link.timer:
                interest |= selectors.EVENT_WRITE
        if interest == link.interest:
            return
        if not link.interest:
            self._selector.register(link.sock, interest, link)
        elif not interest:
            self._selector.unregister(link.sock)
        else:
            self._selector.modify(link.sock, interest, link)
        link.interest = interest

    def _drop(self, link: _Link, reset: bool = False) -> None:
        """The end of a connection."""
        if self._links.pop(link.session, None) is None:
            return
        if link.interest:
            self._selector.unregister(link.sock)
        if reset:
            link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.session.lost()
        link.sock.close()

    # --- faults

    def cut_anew(self) -> None:
        """The order has changed where connections are lost."""
        for link in self._links.values():
            link.cut = self._hub.orders.cut()

    def drop_all(self, reset: bool) -> None:
        """Lose all connections."""
        for link in list(self._links.values()):
            self._drop(link, reset)

    def watch_anew(self) -> None:
        """It has changed what sockets are watched for."""
        for link in self._links.values():
            self._watch(link)

    def resume(self) -> None:
        """The server was stalled."""
        for link in list(self._links.values()):
            link.session.thaw()
            self._write(link)

    def _close(self) -> None:
        self.running = False
        self.drop_all(False)
        self._selector.close()
        for sock in (self._listener, self._woken, self._waker):
            sock.close()
