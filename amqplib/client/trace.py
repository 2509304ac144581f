"""The wire trace: Connection(trace=...). Imported only when that is asked for.

It looks on where octets go to the system and come from it. For that a transport is given another class: nothing else
knows of the trace, and nothing is tested anywhere while it is off.

What goes by is noted there, which is with the driver's lock held, or in the middle of taking in. The program's function
is called when a thread lets go of that lock, and when it has taken in what came: a traced connection has a TellingLock
and a TellingDriver. These are places where a signal handler may come, too: no lock is held, and whatever comes out of
it, such as Ctrl-C, does no harm. It may be the reader that comes there, and then those who follow wait for the function
as well. One thread at a time calls it, in the order in which things went by; others leave their notes to it. The thread
of the heartbeats calls nothing. What goes by because of the function itself is not noted, or there would be no end.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, NamedTuple, Optional, Set, Tuple, Type, Union

from ..protocol.session import Session
from ..wire.spec import Dialect
from ..wire.text import printable
from ..wire.watch import Passage, Watcher, read
from . import heartbeat
from .driver import Driver, new_lock
from .functions import check_functions
from .logger import LOGGER
from .net.transport import Data, Transport
from .threads import threading

__all__ = ["Trace", "TraceRecord", "Tracer", "tracer"]

#: What Connection(trace=...) takes beside True and False.
Trace = Callable[["TraceRecord"], Any]

#: Octets of a body that a record has, and characters of one value in its line.
_SHOWN, _LONG = 64, 200

#: Records that are kept while the program's function is busy with earlier ones.
_MOST = 10_000

_LOGGER = logging.getLogger("amqplib.trace")

#: Numbers the network connections of this process that are traced.
_numbers = itertools.count(1)


class TraceRecord(NamedTuple):
    """Something that has gone over the wire: a method with its content, a heartbeat, a protocol header. str() of it is
    a line."""

    #: Seconds since the epoch: when the last octet of it had been handed to the system, or had come.
    time: float
    #: Which network connection: 'rabbit.example.org:5672#1'; the number is another after each reconnect.
    connection: str
    #: '->' to the broker, '<-' from it.
    direction: str
    channel: int
    #: 'basic.publish'; or 'heartbeat', 'protocol header', 'no AMQP'.
    method: str
    #: By name, in the order of the protocol. What is secret is '<secret>'.
    arguments: Dict[str, Any]
    #: The message's properties.
    properties: Dict[str, Any]
    #: Octets of the message's body, and the first of them; None and b'' where there is no message.
    size: Optional[int]
    body: bytes
    #: Octets of the body that never came: the channel or connection was closed in the middle of it.
    missing: int = 0

    def __str__(self) -> str:
        whole = time.strftime("%H:%M:%S", time.localtime(self.time))
        line = ["%s.%06d" % (whole, self.time % 1 * 1e6), self.connection, self.direction, str(self.channel)]
        line.append(self.method)
        line += ["%s=%s" % (name, _shown(value)) for name, value in self.arguments.items() if _says(name, value)]
        if self.properties:
            line.append("{%s}" % ", ".join("%s=%s" % (name, _shown(each)) for name, each in self.properties.items()))
        if self.size is not None:
            line.append("%d octets" % self.size)
            if self.missing:
                line.append("(cut, %d missing)" % self.missing)
            if self.body:
                line.append("%r%s" % (self.body, "..." if len(self.body) < self.size else ""))
        return " ".join(line)


def _says(name: str, value: Any) -> bool:
    """Is it worth its place in a line? Bits that are not set, empty tables and tickets of 0 are not."""
    return value is not False and value != {} and (name, value) != ("ticket", 0)


def _shown(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= _LONG else text[:_LONG] + "..."


def _log(record: TraceRecord) -> None:
    _LOGGER.debug("%s", record)


class _Wire:
    """One network connection that is watched."""

    __slots__ = ("_dialect", "_received", "_sent", "_tracer", "name")

    def __init__(self, tracer: Tracer, name: str, dialect: Dialect) -> None:
        self._tracer = tracer
        self.name = name
        self._dialect = dialect
        self._sent, self._received = Watcher(dialect, _SHOWN), Watcher(dialect, _SHOWN)

    def sent(self, data: Data, count: int) -> None:
        """The system has taken so many octets of this."""
        now = time.time()
        for piece in (data,) if isinstance(data, (bytes, memoryview)) else data:
            for passage in self._sent.feed(memoryview(piece)[: max(count, 0)]):
                self._tracer.note(now, self, "->", passage)
            count -= len(piece)

    def received(self, data: bytes) -> None:
        """This has come."""
        now = time.time()
        for passage in self._received.feed(data):
            self._tracer.note(now, self, "<-", passage)

    def record(self, now: float, direction: str, passage: Passage) -> TraceRecord:
        """What to tell of it."""
        method, arguments, properties = read(self._dialect, passage)
        fixed = now, self.name, direction, passage.channel
        return TraceRecord(*fixed, method, arguments, properties, passage.size, passage.body, passage.missing)


class _Watched(Transport):
    """In the place of a transport's class, before that in its mro."""

    _amqplib_wire: _Wire

    def send(self, data: Data) -> int:
        """As it does, and note it."""
        sent = super().send(data)
        self._amqplib_wire.sent(data, sent)
        return sent

    def receive(self) -> bytes:
        """As it does, and note it."""
        data = super().receive()
        if data:
            self._amqplib_wire.received(data)
        return data


#: Made so far, by the class that they take the place of.
_classes: Dict[Type[Transport], Type[Transport]] = {}


def _watched(kind: Type[Transport]) -> Type[Transport]:
    if kind not in _classes:
        _classes[kind] = type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__})
    return _classes[kind]


class Tracer:
    """What calls the program's function for all that goes over one Connection, whatever network connections it has."""

    __slots__ = ("_failed", "_function", "_left_out", "_notes", "_teller", "lock", "taking_in")

    def __init__(self, function: Trace) -> None:
        self._function = function
        self._notes: Deque[Tuple[float, _Wire, str, Passage]] = deque()
        self._left_out = 0
        #: The lock of the drivers whose transports are watched.
        self.lock = TellingLock(self)
        self._teller: Optional[int] = None  # the thread that calls the function; another one with the lock held
        #: Threads that are in the middle of taking in.
        self.taking_in: Set[int] = set()
        self._failed = False

    def driver(self, session: Session, transport: Transport, *rest: Any) -> Driver:
        """A driver; what goes over its transport is noted from now on."""
        transport.__class__ = _watched(type(transport))
        assert isinstance(transport, _Watched)
        transport._amqplib_wire = _Wire(self, "%s#%d" % (transport.address, next(_numbers)), session.dialect)
        return TellingDriver(self, session, transport, *rest)

    def note(self, now: float, wire: _Wire, direction: str, passage: Passage) -> None:
        """Something has gone by; it is told later."""
        if self._teller == threading.get_ident():
            return
        if len(self._notes) < _MOST:
            self._notes.append((now, wire, direction, passage))
        else:
            self._left_out += 1

    def tell(self) -> None:
        """No lock is held: call the function for what was noted, unless somebody is at it."""
        # heartbeats are sent for all connections, and the function may take its time
        if not self._notes or threading.get_ident() in self.taking_in or heartbeat.is_beating():
            return
        me, mine = threading.get_ident(), False
        while self._notes:
            try:
                with self.lock.quietly():
                    if self._teller is None:
                        self._teller, mine = me, True
                if not mine:
                    return  # whoever is at it tells these as well
                self._tell()
            finally:
                if mine:
                    self._teller, mine = None, False

    def _tell(self) -> None:
        while self._notes:
            now, wire, direction, passage = self._notes.popleft()
            self._call(wire.record(now, direction, passage))
            if self._left_out and not self._notes:
                count, self._left_out = self._left_out, 0
                self._call(TraceRecord(now, wire.name, direction, 0, "left out", {"records": count}, {}, None, b""))

    def _call(self, record: TraceRecord) -> None:
        try:
            self._function(record)
        except Exception:
            if not self._failed:
                self._failed = True
                LOGGER.exception("%r, the function for the trace, raised, which is not said again", self._function)


class TellingDriver(Driver):
    """A driver that tells what has come once it is taken in."""

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer, *args: Any) -> None:
        super().__init__(*args)
        self._tracer = tracer

    def _receive(self) -> bool:
        tracer, me = self._tracer, threading.get_ident()
        tracer.taking_in.add(me)
        try:
            return super()._receive()
        finally:
            tracer.taking_in.discard(me)
            tracer.tell()


class TellingLock:
    """A lock that can be taken again by the thread that has it; who lets go of it tells what was noted meanwhile."""

    __slots__ = ("_acquire_restore", "_is_owned", "_lock", "_release_save", "_tracer", "acquire")

    def __init__(self, tracer: Optional[Tracer] = None) -> None:
        lock = self._lock = new_lock()
        self._tracer = tracer
        self.acquire = lock.acquire
        # what a condition needs: waiting for one lets go of it, and tells nothing
        self._is_owned, self._release_save = lock._is_owned, lock._release_save
        self._acquire_restore = lock._acquire_restore

    def __enter__(self) -> bool:
        return bool(self._lock.acquire())

    def __exit__(self, *exc: object) -> None:
        self.release()

    def quietly(self) -> Any:
        """What to hold it by in a with-statement, for a moment, to tell nothing afterwards."""
        return self._lock

    def release(self) -> None:
        """Let go of it, once."""
        self._lock.release()
        if self._tracer is not None and not self._is_owned():
            self._tracer.tell()


def tracer(trace: Union[bool, Trace, None]) -> Optional[Tracer]:
    """What traces as the program wants it, if it does; NotCallable for what cannot be called."""
    if trace is None or isinstance(trace, bool):
        return Tracer(_log) if trace else None
    check_functions(trace=trace)
    return Tracer(trace)
