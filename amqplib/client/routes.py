"""What a link consists of: where methods go, the locks, and how it ends. The rules are in `link`."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, NoReturn, Optional, Tuple, Type

from ..wire.errors import quote
from ..wire.protocol import Event, Receiver, Sender
from ..wire.spec import Method, Sig
from . import fork
from .deadline import NEVER, Deadline
from .exceptions import AMQPConnectionException, ConnectionLostError
from .heartbeat import Heartbeats
from .logger import LOGGER
from .patience import Patience
from .transport import Transport

__all__ = ["Failure", "Item", "Route", "Routes"]

#: A method as it is kept: its 0-8 (class id, method id), its arguments, its content or None.
Item = Tuple[Sig, Tuple[Any, ...], Any]


class Route:
    """Where the methods of one channel go."""

    __slots__ = ("_said_last", "method_queue")

    def __init__(self) -> None:
        #: Methods that have arrived and wait to be handled: (method signature, args, content).
        self.method_queue: Deque[Item] = deque()
        #: Set, with the link's write lock held, once the last thing was sent: nothing may follow a close or close-ok.
        self._said_last = False

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        """Keep a method that has arrived. Called by the leader, in order, with `_state` held."""
        raise NotImplementedError

    def _flush(self, deadline: Deadline = NEVER) -> None:
        """Send what batch() has gathered."""

    def _no_more(self) -> None:
        """The last thing has been sent."""
        self._said_last = True

    def _too_late(self) -> NoReturn:
        """Raise why nothing more can be sent."""
        raise NotImplementedError

    def _forked(self) -> None:
        """This is a child process now: locks that threads of the parent's held are free again."""


class Retired(Route):
    """A channel that this side has closed without waiting for the answer."""

    def __init__(self, link: Routes, number: int) -> None:
        super().__init__()
        self._link = link
        self._number = number

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        if method.name == "channel.close_ok":
            self._link._forget(self._number)


class Failure(NamedTuple):
    """Why a connection is over. A fresh exception is made for every call: a shared one would keep frames alive."""

    kind: Type[AMQPConnectionException]
    reply_code: int
    reply_text: str
    method_sig: Tuple[int, int] = (0, 0)
    errno: Optional[int] = None

    def exception(self, where: str) -> AMQPConnectionException:
        """The exception to raise."""
        exc = self.kind(self.reply_code, self.reply_text, self.method_sig, where)
        if isinstance(exc, ConnectionLostError):
            exc._set_errno(self.errno)
        return exc


class Routes:
    """The part of Link that is not reading or writing: transport, receiver and sender of one connection, and the locks
    around them."""

    # what sending needs, for the reason that AbstractChannel has
    __slots__ = (
        "__dict__",
        "_control_route",
        "_look_at",
        "_mid_write",
        "_owed",
        "_stall",
        "_writing",
        "bytes_out",
        "control",
        "draining",
        "failure",
        "frames_out",
        "remarks",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        receiver: Receiver,
        sender: Sender,
        where: str,
        on_control: Callable[[], None],
        on_failure: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.receiver = receiver
        self.sender = sender
        self.dialect = sender.dialect
        #: Host, vhost and user, for error messages.
        self.where = where
        #: Called without locks before anything is read or written: the connection deals with its own methods.
        self._on_control: Optional[Callable[[], None]] = on_control
        #: Called without locks when the link is over; once, but for Ctrl-C and threads that meet the end together.
        self._on_failure: Optional[Callable[[], None]] = on_failure
        #: What connection.start said of the server.
        self.server_properties: Dict[str, Any] = {}
        self.failure: Optional[Failure] = None
        #: What a close or close-ok that has arrived says. The end of the network that follows says nothing new, though
        #: another thread may meet it before the method is dealt with.
        self.last_words: Optional[Failure] = None
        self.patience = Patience()
        #: Seconds between heartbeats, 0 for none.
        self.heartbeat = 0
        self._look_at = 0.0  # when a sender looks next, on the monotonic clock
        self._heard = self._attended = time.monotonic()  # when something last came; when this program last waited
        self._beats: Optional[Heartbeats] = None
        #: Set when there is something that the connection has to deal with: a method, or a breach of the protocol.
        self.control = False
        #: Functions of the program to be called, with their arguments, where no lock is held.
        self.notices: Deque[Callable[[], Any]] = deque()
        #: Warnings to be logged there: handlers of the program's may take their time, and publish.
        self.remarks: Deque[Tuple[Any, ...]] = deque()
        self._leader: Optional[int] = None  # the thread that reads, by threading.get_ident()
        self._taking_in = False  # is it between the socket and the queues?
        self._followers = 0
        self._mid_write = False
        self._stall: Optional[Deadline] = None  # of the write that the system takes no more of for now
        self._owed: Deque[Tuple[bytes, Route]] = deque()  # each the last of its route, to go before the next write
        # what stats() shows; one frame for each message, which stats() knows
        self.bytes_in = self.bytes_out = self.frames_out = self.messages_out = 0
        #: The first bytes that came, to tell what sent them.
        self.opening = b""
        self._make_locks()
        fork.watch(self)
        self._closing = False
        #: Set once the program reads methods by itself, and so wants those that need no handling, too: what it takes
        #: their arguments with.
        self.raw_arguments: Optional[Callable[[Tuple[Any, ...]], Tuple[Any, ...]]] = None
        #: Threads inside drain_events(), one entry each, for which a method that needs no handling is one, too.
        self.draining: Deque[None] = deque()
        #: Are bytes being taken in by somebody who does not wait for any?
        self.in_passing = False
        #: Channels that are inside batch().
        self.batches: List[Route] = []
        self._routes: Dict[int, Route] = {}
        self._control_route = Route()  # that of channel 0
        #: Channels that have got methods since they were last looked at; some may be handled already.
        #: Ordered, because the first of many leaves a plain dict only after a search.
        self.ready: OrderedDict[int, Route] = OrderedDict()

    def _make_locks(self) -> None:
        # They can be taken again by a thread that has them: a signal handler of the program's that comes at the wrong
        # moment gets an error (see `interrupted`), instead of waiting for what it has interrupted.
        self._state = threading.RLock()
        self._changed = threading.Condition(self._state)
        self._writing = threading.RLock()

    # --- routes

    def add_route(self, number: Optional[int], highest: int, route: Route) -> int:
        """Register a channel under `number`, or under the lowest free one; the number. ValueError if there is none."""
        with self._state:
            if number is None:
                number = next((n for n in range(1, highest + 1) if n not in self._routes), None)
                if number is None:
                    raise ValueError("all %d channels of %s are in use" % (highest, self.where))
            elif number in self._routes:
                raise ValueError("channel %d of %s is in use" % (number, self.where))
            self._routes[number] = route
            if not number:
                self._control_route = route
            self.receiver.channels.add(number)
        return number

    def drop_route(self, number: int) -> None:
        """The channel is closed on both sides: its number is free again."""
        with self._state:
            self._forget(number)

    def retire_route(self, number: int) -> None:
        """This side is done with the channel: drop what still arrives, and free the number with the close-ok."""
        with self._state:
            if number in self._routes:
                self._routes[number] = Retired(self, number)

    def _forget(self, number: int) -> None:
        self._routes.pop(number, None)
        self.ready.pop(number, None)
        self.receiver.forget(number)

    def keeping(self) -> threading.RLock:
        """For what is kept of arriving methods: inside this with-statement none is added. Nothing may wait in it."""
        return self._state

    def _route(self, events: List[Event]) -> None:
        assert self._taking_in  # rule 3
        routes = self._routes
        with self._state:
            for channel, method, args, content in events:
                route = routes.get(channel)
                if route is not None:
                    route._arrived(method, args, content)
            if self._followers:
                self._changed.notify_all()
        undecoded = self.receiver.reading.undecoded
        if undecoded:
            text = "%s: the field %r could not be read and is left as it came: %s"
            self.remarks.extend((text, self.where, name, quote(raw)) for name, raw in undecoded)
            undecoded.clear()

    def take_ready(self) -> Optional[Tuple[int, Route, Item]]:
        """For wait_for(): a method of any channel, with the channel and its number. Channels take turns."""
        while self.ready:
            number, route = self.ready.popitem(last=False)
            try:
                item = route.method_queue.popleft()
            except IndexError:
                continue  # all handled already
            if route.method_queue:
                self.ready[number] = route
            return number, route, item
        return None

    def tell(self) -> None:
        """Call the program's functions that are due. Nothing may be locked: they may do what they want."""
        self.log_remarks()
        while self.notices:
            try:
                notice = self.notices.popleft()
            except IndexError:
                return  # another thread calls it
            notice()

    def log_remarks(self) -> None:
        """Likewise log what there is to say."""
        while self.remarks:
            try:
                remark = self.remarks.popleft()
            except IndexError:
                return
            LOGGER.warning(*remark)

    # --- the end

    def check(self) -> None:
        """Raise why the link is over, if it is."""
        if self.failure:
            raise self.failure.exception(self.where)

    def fail(self, failure: Failure) -> None:
        """It is over. The first reason given stands; everybody who waits or comes later is told."""
        if self.failure is None:
            self.failure = failure
        self._tear_down()

    def leave_to_parent(self, parent: int) -> None:
        """This is a child process now, with one thread, and the connection is its parent's."""
        routes = list(self._routes.values())
        self._make_locks()
        self._leader, self._followers, self._beats = None, 0, None
        self._taking_in = self._mid_write = False
        self.notices.clear()
        self.remarks.clear()
        self._owed.clear()
        for route in routes:
            route._forked()
        text = "it belongs to process %d, of which this one is a fork: a child process has to make its own connection"
        self.failure = Failure(ConnectionLostError, 0, text % parent)
        self.transport.leave()
        self._tear_down()

    def close(self) -> None:
        """Let go of the socket once it is over; a thread that is still reading from it does so on its way out."""
        self._closing = True
        if self._leader is None:
            self.transport.close()

    def _away(self, seconds: float) -> str:
        """What to say of a program that has had no eye on the connection: it may be the reason."""
        if not self.heartbeat or seconds <= self.heartbeat:
            return ""
        return "; this program had been busy elsewhere for %.1f s, with a heartbeat of %d s" % (seconds, self.heartbeat)

    def _note(self, exc: BaseException, hint: Optional[str] = None) -> None:
        """Keep why the link is over, unless a reason is known already."""
        if self.failure is None:
            if isinstance(exc, ConnectionLostError) and self.last_words:
                self.failure = self.last_words
            elif isinstance(exc, ConnectionLostError):
                if hint is None:
                    hint = self._away(time.monotonic() - self._attended) if self._leader is None else ""
                self.failure = Failure(type(exc), exc.amqp_reply_code, exc.amqp_reply_text + hint, errno=exc.errno)
            else:
                text = "given up: %s came while data was being passed on" % type(exc).__name__
                self.failure = Failure(ConnectionLostError, 0, text)

    def _tear_down(self) -> None:
        with self._state:
            self._on_control = None
            self._routes, self.ready, self._control_route = {}, OrderedDict(), Route()
            beats, self._beats = self._beats, None  # stopped once: an Event cannot be set in the middle of being set
            self._changed.notify_all()
        if beats:
            beats.stop()
        self.transport.shut()
        on_failure = self._on_failure
        if on_failure:  # until it has been called to its end: Ctrl-C may come before
            on_failure()
            self._on_failure = None
