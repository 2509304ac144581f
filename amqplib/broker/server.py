"""The broker's sockets: one thread, which reads, has sessions do their work, and writes.

Only this thread touches sessions and what is behind them, so that nothing there needs a lock. Other threads have work
done with call().
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Callable, Deque, Dict, List, Optional, TypeVar

from .hub import Hub
from .orders import Cut
from .peer import Peer
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

#: Seconds of work that are done for one connection before it is the others' turn.
_TURN = 0.002


class _Link:
    """A client's socket and its session."""

    __slots__ = ("cut", "cut_off", "interest", "offset", "queued", "rest", "session", "sock", "timer")

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
        #: It waits for its turn to go on with its backlog.
        self.queued = False
        #: Where the connection is to be lost.
        self.cut = cut
        #: It is to be lost as soon as `rest` has gone.
        self.cut_off = False


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the port, and does not listen yet: who connects to it is refused."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # elsewhere this would let two programs have one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class Server:
    """Listens from the beginning; serves from start() to stop()."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self._hub = hub
        self._host = host
        self._listener = _bound(host, port)
        self.port: int = self._listener.getsockname()[1]
        try:
            self._listener.listen(_BACKLOG)
        except OSError:
            self._listener.close()
            raise
        self._accepting = False  # the selector watches the listener
        #: It is there for clients: see go_down().
        self.up = True
        self._pause: Optional[Timer] = None  # until the system may give more sockets
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._links: Dict[Peer, _Link] = {}
        self._backlog: Deque[_Link] = deque()  # those that wait for their turn
        #: Set when there are no connections.
        self.deserted = threading.Event()
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
                at_work = self._backlog and not hub.orders.stalled
                for key, events in selector.select(0 if at_work else hub.timers.next()):
                    if isinstance(key.data, _Link):
                        if events & selectors.EVENT_READ:
                            self._attempt(self._read, key.data)
                        if events & selectors.EVENT_WRITE:
                            self._attempt(self._write, key.data)
                    else:
                        key.data()
                if self._backlog and not hub.orders.stalled:
                    self._attempt(self._work, self._backlog.popleft())
                hub.timers.run()
                hub.look_at_memory()
                self._flush()
                if not self._accepting:
                    self._listen()
        except Exception as exc:
            hub.failures.append(exc)
        finally:
            self._close()

    def _attempt(self, step: Callable[[_Link], None], link: _Link) -> None:
        """Do something for a connection. A fault of the broker's own costs that connection, and is not passed over."""
        try:
            step(link)
        except Exception as exc:
            self._hub.failures.append(exc)
            with suppress(Exception):  # it is in no good order
                self._drop(link)

    def _work(self, link: _Link) -> None:
        """The connection has its turn."""
        link.queued = False
        if link.session in self._links:
            link.session.work(self._hub.timers.clock() + _TURN)
            self._watch(link)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _end(self) -> None:
        self.running = False

    def _listen(self) -> None:
        """Have connections accepted, if that is possible now."""
        if self.up and not self._pause and len(self._hub.handshakes) < self._hub.limits.handshakes_max:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
            self._accepting = True

    def _listen_no_more(self) -> None:
        if self._accepting:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _end_pause(self) -> None:
        self._pause = None

    def _accept(self) -> None:
        hub = self._hub
        while True:
            if len(hub.handshakes) >= hub.limits.handshakes_max:
                hub.log("no more connections for now: %d have not logged in" % len(hub.handshakes))
                self._listen_no_more()
                return
            try:
                sock, peer = self._listener.accept()
            except OSError as exc:  # nobody more, or gone again
                if exc.errno in (errno.EMFILE, errno.ENFILE):  # it may work later
                    hub.log("no more connections for now: %s" % exc.strerror)
                    self._listen_no_more()
                    self._pause = hub.timers.after(_PAUSE, self._end_pause)
                return
            sock.setblocking(False)
            with suppress(OSError):  # where the client is gone already, which is found out by reading
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(sock, Session(hub, "%s:%d" % peer[:2]), hub.orders.cut())
            self._links[link.session] = link
            self.deserted.clear()
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
        link.session.receive(data, self._hub.timers.clock() + _TURN)
        if over and link.cut:
            link.session.work()
            self._drop(link, link.cut.reset)
        else:
            self._watch(link)

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
                    self._attempt(self._write, link)

    def _send_late(self, link: _Link) -> None:
        link.timer = None
        if link.session in self._links:
            self._attempt(self._write, link)

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
            self._drop(link, session.reset)
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
        if link.session not in self._links:
            return
        interest = 0
        if link.session.backlog and not link.queued:
            link.queued = True
            self._backlog.append(link)
        if not self._hub.orders.stalled:
            if link.session.listens:
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
        link.sock.close()
        if not self._links:
            self.deserted.set()
        link.session.lost()

    # --- going down and coming back

    def go_down(self) -> None:
        """Be there for nobody; the port stays taken. Connections stay as they are."""
        if self.up:
            self.up = False
            self._listen_no_more()
            self._listener.close()
            self._listener = _bound(self._host, self.port)
        if not self._links:
            self.deserted.set()

    def come_up(self) -> None:
        """Be there again."""
        if not self.up:
            self._listener.listen(_BACKLOG)
            self.up = True

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
            self._attempt(self._write, link)

    def _close(self) -> None:
        self.running = False
        self.drop_all(False)
        self._selector.close()
        for sock in (self._listener, self._woken, self._waker):
            sock.close()
