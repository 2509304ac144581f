"""A TCP proxy that misbehaves on command, on 127.0.0.1.

    with Proxy(("127.0.0.1", 5672)) as proxy:
        door = proxy.door(down=Fault("cut", 100))     # connect to door.port: gets 100 bytes, then the end
        door = proxy.door()                           # well-behaved until ...
        door.strike(up=Fault("reset", 50))            # ... all its connections break, 50 bytes from now

A fault happens in one direction, `up` (client to server) or `down`, when `after` bytes have gone that way:

    cut         both sockets are closed, in good order
    reset       both are reset: the ends get ECONNRESET
    half_close  this direction ends, the other one goes on
    stall       nothing more is passed on, though everything is taken
    shut        nothing more is taken either, so that the sender's window fills up
    swallow     from here on it is taken and forgotten; what was held back before still goes
    drip        from here on one byte at a time, `seconds` apart
    delay       from here on everything is `seconds` late
    corrupt     the next byte has its bits `mask` turned over; all else is as it was

stall and shut can be healed; then what was held back goes on its way. One thread does all of it, for any number of
doors, so that many connections with many faults cost little.
"""

from __future__ import annotations

import collections
import errno
import math
import selectors
import socket
import struct
import threading
import time
from collections import deque
from types import TracebackType
from typing import Callable, Counter, Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Type, Union

__all__ = ["FAULTS", "Door", "Fault", "Proxy"]

FAULTS = ("cut", "reset", "half_close", "stall", "shut", "swallow", "drip", "delay", "corrupt")

#: Octets that are held for a receiver that is slow, before no more are taken.
_HOLD = 1 << 18
_CHUNK = 1 << 16

#: Where the connections lead: an address, or what gives a connected socket.
Target = Union[Tuple[str, int], Callable[[], socket.socket]]


class Fault(NamedTuple):
    kind: str
    #: Octets that pass unharmed before.
    after: int = 0
    #: For drip and delay.
    seconds: float = 0.01
    #: For corrupt.
    mask: int = 0xFF


def reset(sock: socket.socket) -> None:
    """Close a socket so that the other end gets ECONNRESET."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # that of a pair, or gone already
    sock.close()


class Pipe:
    """One direction of one connection."""

    def __init__(
        self, source: socket.socket, target: socket.socket, fault: Optional[Fault], suffered: Counter[str]
    ) -> None:
        self.source = source
        self.target = target
        self._suffered = suffered
        self.taken = 0
        self._fault = fault
        self._fault_at = fault.after if fault else 0
        #: The fault that is in force.
        self.suffers: Optional[Fault] = None
        #: (when it may go, on the monotonic clock; what).
        self.held: Deque[Tuple[float, bytes]] = deque()
        self._kept: List[bytes] = []  # what is held back by stall and shut
        self.ended = False  # the source has said all
        self._end_told = False

    def strike(self, fault: Optional[Fault]) -> None:
        """Have a fault `after` bytes from now; None heals.

        What swallows goes on with that: octets are missing, and no network passes on what comes behind a gap. Where
        that was the end of a frame, neither side could tell.
        """
        if self._suffers("swallow"):
            return
        self._fault = fault
        self._fault_at = self.taken + fault.after if fault else 0
        self.suffers = None
        kept, self._kept = self._kept, []
        self.held.extend((0.0, piece) for piece in kept)

    def _suffers(self, *kinds: str) -> bool:
        return self.suffers is not None and self.suffers.kind in kinds

    def wants_to_read(self) -> bool:
        return not (self.ended or self._suffers("shut") or sum(len(piece) for _, piece in self.held) >= _HOLD)

    def due(self) -> Optional[float]:
        """When something may be written; None for never, as far as is known."""
        return self.held[0][0] if self.held else None

    def read(self) -> None:
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.ended = True
        if self._fault is not None:
            clean = self._fault_at - self.taken
            self._hold(data[:clean])
            data = data[clean:]
            if self._fault.kind != "corrupt":
                self._begin()
            elif data:
                self._hold(bytes([data[0] ^ self._fault.mask]))
                data = data[1:]
                self._fault = None
                self._suffered["corrupt"] += 1
        self._hold(data)

    def _begin(self) -> None:
        """Suffer the fault, if it is time."""
        if self._fault is not None and self._fault.kind != "corrupt" and self.taken >= self._fault_at:
            self.suffers, self._fault = self._fault, None
            self._suffered[self.suffers.kind] += 1

    def _hold(self, data: bytes) -> None:
        self.taken += len(data)
        if not data or self._suffers("swallow", "cut", "reset", "half_close"):
            return
        now = time.monotonic()
        if self._suffers("stall", "shut"):
            self._kept.append(data)
        elif self.suffers and self.suffers.kind == "drip":
            start = max([now, *(due for due, _ in list(self.held)[-1:])])
            for number in range(len(data)):
                self.held.append((start + (number + 1) * self.suffers.seconds, data[number : number + 1]))
        elif self.suffers and self.suffers.kind == "delay":
            self.held.append((now + self.suffers.seconds, data))
        else:
            self.held.append((now, data))

    def write(self) -> None:
        now = time.monotonic()
        while self.held and self.held[0][0] <= now:
            due, piece = self.held[0]
            try:
                sent = self.target.send(piece)
            except BlockingIOError:
                return
            if sent < len(piece):
                self.held[0] = due, piece[sent:]
                return
            self.held.popleft()

    def settle(self) -> Optional[str]:
        """What has to happen to the whole connection now: "cut", "reset", or nothing."""
        self._begin()
        if self.held:
            return None
        if self.suffers and self.suffers.kind in ("cut", "reset"):
            return self.suffers.kind
        if (self.ended or self._suffers("half_close")) and not self._suffers("stall", "shut") and not self._end_told:
            self._end_told = True
            self.target.shutdown(socket.SHUT_WR)
        return None

    def done(self) -> bool:
        return self.ended and (self._end_told or self._suffers("stall", "shut"))


class Pair:
    """One connection: what comes from the client, and what comes from the server."""

    def __init__(self, door: Door, client: socket.socket, server: socket.socket) -> None:
        self.door = door
        self.client = client
        self.server = server
        self.up = Pipe(client, server, door._next(door.up_faults), door.suffered)
        self.down = Pipe(server, client, door._next(door.down_faults), door.suffered)
        self.pipes = (self.up, self.down)
        #: When something is due by itself, on the monotonic clock.
        self.due = math.inf
        #: What the selector waits for.
        self.registered: Dict[socket.socket, int] = {}

    def close(self, how: str) -> None:
        for sock in (self.client, self.server):
            if how == "reset":
                reset(sock)
            else:
                sock.close()


class Door:
    """A port to connect to. Its attributes may be changed at any time, from any thread."""

    def __init__(self, proxy: Proxy, up: Optional[Fault], down: Optional[Fault], target: Target) -> None:
        self._proxy = proxy
        self.target = target
        #: What every connection suffers.
        self.up = up
        self.down = down
        #: What the next connections suffer, one each, before that.
        self.up_faults: Deque[Fault] = deque()
        self.down_faults: Deque[Fault] = deque()
        #: So many connections are reset as soon as they are made.
        self.refusals = 0
        self.accepted = 0
        #: How many times each kind of fault has begun.
        self.suffered: Counter[str] = collections.Counter()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.host = "127.0.0.1:%d" % self.port

    def _next(self, faults: Deque[Fault]) -> Optional[Fault]:
        if faults:
            return faults.popleft()
        return self.up if faults is self.up_faults else self.down

    def strike(self, up: Optional[Fault] = None, down: Optional[Fault] = None) -> int:
        """Have the connections that are open now suffer this; how many these are. Neither: heal them."""
        return self._proxy._ask(lambda: self._strike(up, down))

    def _strike(self, up: Optional[Fault], down: Optional[Fault]) -> int:
        pairs = [pair for pair in self._proxy._pairs if pair.door is self]
        for pair in pairs:
            if up or not down:
                pair.up.strike(up)
            if down or not up:
                pair.down.strike(down)
        return len(pairs)

    def close(self) -> None:
        """Connections that are made from now on are refused; those that are open are closed."""
        self._proxy._ask(lambda: self._proxy._close_door(self))


class Proxy:
    """Doors to one target, and the thread that serves them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._doors: List[Door] = []
        self._pairs: Set[Pair] = set()
        self._timed: Set[Pair] = set()  # in which something is due by itself
        self._orders: Deque[Tuple[Callable[[], int], Deque[int], threading.Event]] = deque()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="fault proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over = True
        self._ring.send(b"x")
        self._thread.join()
        self._selector.close()
        self._bell.close()
        self._ring.close()

    def door(self, up: Optional[Fault] = None, down: Optional[Fault] = None, target: Optional[Target] = None) -> Door:
        """A new port, whose connections all suffer these; to a target of its own, if need be."""
        for fault in (up, down):
            if fault and fault.kind not in FAULTS:
                raise ValueError("there is no fault %r" % fault.kind)
        door = Door(self, up, down, target or self._target)
        self._ask(lambda: self._open_door(door))
        return door

    # --- in the proxy's thread

    def _ask(self, order: Callable[[], int]) -> int:
        """Have the proxy's thread do something, and wait for it."""
        answer: Deque[int] = deque()
        done = threading.Event()
        self._orders.append((order, answer, done))
        self._ring.send(b"x")
        while not done.wait(1):
            if not self._thread.is_alive():
                raise RuntimeError("the proxy's thread has ended")
        return answer[0]

    def _open_door(self, door: Door) -> int:
        self._doors.append(door)
        self._selector.register(door.listener, selectors.EVENT_READ, door)
        return 0

    def _close_door(self, door: Door) -> int:
        if door in self._doors:
            self._doors.remove(door)
            self._selector.unregister(door.listener)
            door.listener.close()
        for pair in [pair for pair in self._pairs if pair.door is door]:
            self._end(pair, "cut")
        return 0

    def _serve(self) -> None:
        while not self._over:
            now = time.monotonic()
            soonest = min((pair.due for pair in self._timed), default=None)
            touched: Set[Pair] = set()
            for key, _ in self._selector.select(None if soonest is None else max(0, soonest - now)):
                if isinstance(key.data, Door):
                    self._accept(key.data)
                elif isinstance(key.data, Pair):
                    touched.add(key.data)
                else:
                    self._bell.recv(1000)
            while self._orders:
                order, answer, done = self._orders.popleft()
                answer.append(order())
                done.set()
                touched.update(self._pairs)
            now = time.monotonic()
            touched.update(pair for pair in self._timed if pair.due <= now)
            for pair in touched:
                self._move(pair)
        for door in list(self._doors):
            self._close_door(door)

    def _accept(self, door: Door) -> None:
        try:
            client, _ = door.listener.accept()
        except OSError:
            return  # it has gone again
        door.accepted += 1
        if door.refusals > 0:
            door.refusals -= 1
            reset(client)
            return
        try:
            if isinstance(door.target, tuple):
                server = socket.create_connection(door.target, 2)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                server = door.target()
        except OSError:
            reset(client)
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        server.setblocking(False)
        pair = Pair(door, client, server)
        self._pairs.add(pair)
        self._move(pair)

    def _move(self, pair: Pair) -> None:
        if pair not in self._pairs:
            return
        try:
            ends = [self._move_one(pipe) for pipe in pair.pipes]
        except OSError as exc:
            # the fate of one end is that of the other
            self._end(pair, "reset" if exc.errno in (errno.ECONNRESET, errno.EPIPE) else "cut")
            return
        how = next(filter(None, ends), None)
        if how or all(pipe.done() for pipe in pair.pipes):
            self._end(pair, how or "cut")
        else:
            self._adjust(pair)

    @staticmethod
    def _move_one(pipe: Pipe) -> Optional[str]:
        if pipe.wants_to_read():
            pipe.read()
        if pipe.due() is not None:
            pipe.write()
        return pipe.settle()

    def _adjust(self, pair: Pair) -> None:
        """Have the selector wait for what can be done next, and no more."""
        now = time.monotonic()
        pair.due = math.inf
        wanted = {pair.client: 0, pair.server: 0}
        for pipe in pair.pipes:
            if pipe.wants_to_read():
                wanted[pipe.source] |= selectors.EVENT_READ
            due = pipe.due()
            if due is not None and due <= now:
                wanted[pipe.target] |= selectors.EVENT_WRITE
            elif due is not None:
                pair.due = min(due, pair.due)
        if pair.due < math.inf:
            self._timed.add(pair)
        else:
            self._timed.discard(pair)
        for sock, mask in wanted.items():
            before = pair.registered.get(sock, 0)
            if mask == before:
                continue
            if not before:
                self._selector.register(sock, mask, pair)
            elif not mask:
                self._selector.unregister(sock)
            else:
                self._selector.modify(sock, mask, pair)
            pair.registered[sock] = mask

    def _end(self, pair: Pair, how: str) -> None:
        self._pairs.discard(pair)
        self._timed.discard(pair)
        for sock, mask in pair.registered.items():
            if mask:
                self._selector.unregister(sock)
        pair.close(how)
