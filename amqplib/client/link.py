"""The link: who reads, who writes, who waits; one per connection.

There is no reader thread. A thread that waits for something reads for everybody (the leader); threads that wait
meanwhile (followers) are woken when something has come, and one of them takes over when the leader has what
it wanted. With one thread this is a plain blocking read.

The rules, which everything in amqplib.client keeps:

1. `_state` guards the routes, the leader's flag and the failure, and is held for dictionary and queue operations
   only: never across a read, a write or code of the program.
2. `_writing` is held across a write, so that frames never mix. When the system takes no more, whoever writes reads
   meanwhile, so that two full buffers do not wait for each other; no code of the program runs in there.
3. Only the leader reads from the transport and touches the receiver's buffer.
4. After `fail()` nothing is read or written any more, and everybody who waits or comes later is told why.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    List,
    NamedTuple,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from ..wire.errors import PeerError, ProtocolHeaderReceived, quote
from ..wire.protocol import Event, Receiver, Sender
from ..wire.spec import Method, Sig
from .deadline import NEVER, Deadline
from .exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    ConnectionBlockedError,
    ConnectionLostError,
    ProtocolVersionError,
)
from .heartbeat import HEARTBEAT_FRAME, Heartbeats
from .patience import Patience
from .transport import Piece, Transport

__all__ = ["Failure", "Link", "Route"]

LOGGER = logging.getLogger("amqplib")

#: Seconds after which a program that only sends looks whether the server has something to say.
_LOOK_EVERY = 0.05

T = TypeVar("T")

#: A method as it is kept: its 0-8 (class id, method id), its arguments, its content or None.
Item = Tuple[Sig, Tuple[Any, ...], Any]


class Route:
    """Where the methods of one channel go."""

    #: Methods that have arrived and wait to be handled: (method signature, args, content).
    method_queue: Deque[Item]

    #: Set, with the link's write lock held, once the last thing was sent: nothing may follow a close or close-ok.
    _said_last = False

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        """Keep a method that has arrived. Called by the leader, in order, with `_state` held."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Send what batch() has gathered."""

    def _too_late(self) -> NoReturn:
        """Raise why nothing more can be sent."""
        raise NotImplementedError

    def _forked(self) -> None:
        """This is a child process now: locks that threads of the parent's held are free again."""


class _Retired(Route):
    """A channel that this side has closed without waiting for the answer."""

    def __init__(self, link: Link, number: int) -> None:
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


class Link:
    """Transport, receiver and sender of one connection, and the locks around them."""

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
        #: Called once, without locks, when the link is over.
        self._on_failure: Optional[Callable[[], None]] = on_failure
        #: What connection.start said of the server.
        self.server_properties: Dict[str, Any] = {}
        self.failure: Optional[Failure] = None
        self.patience = Patience()
        #: Seconds between heartbeats, 0 for none.
        self.heartbeat = 0
        self._look_at = 0.0  # when a sender looks next, on the monotonic clock
        self._heard = 0.0  # when something last came, on the monotonic clock
        self._attended = 0.0  # when this program last waited or looked for it
        self._beats: Optional[Heartbeats] = None
        #: Set by the connection when a method that it has to deal with has arrived.
        self.control = False
        self._state = threading.Condition(threading.Lock())
        self._writing = threading.Lock()
        self._stall: Optional[Deadline] = None  # of the write that the system takes no more of for now
        self.bytes_in = self.bytes_out = 0
        self._leading = False
        self._followers = 0
        self._closing = False
        #: Programs inside MethodReader.read_method(): they want all methods, even those that need no handling.
        self.raw_readers: Deque[None] = deque()
        #: Channels that are inside batch().
        self.batches: List[Route] = []
        self._routes: Dict[int, Route] = {}
        self._control_route = Route()  # that of channel 0
        #: Channels that have got methods since they were last looked at; some may be handled already.
        self.ready: Dict[int, Route] = {}

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
                self._routes[number] = _Retired(self, number)

    def _forget(self, number: int) -> None:
        self._routes.pop(number, None)
        self.ready.pop(number, None)
        self.receiver.forget(number)

    # --- writing

    def send(self, channel: int, method: Method, args: Tuple[Any, ...], deadline: Deadline = NEVER) -> None:
        """Send a method; every byte is with the system when this returns."""
        self._write(self.sender.method(channel, method, args), deadline=deadline)

    def send_raw(
        self,
        data: Union[bytes, Sequence[Piece]],
        route: Optional[Route] = None,
        last: bool = False,
        deadline: Deadline = NEVER,
    ) -> None:
        """Send frames that were made before, as bytes or in pieces. Of a `route`, nothing goes after its `last`, nor
        after that of the connection itself."""
        self._write(data, route, last, deadline)

    def send_heartbeat(self) -> None:
        """Send a heartbeat, and do nothing else: not even hear what has come."""
        self._write(HEARTBEAT_FRAME, look=False)

    def flush(self) -> None:
        """Send what channels have gathered: something is about to wait."""
        for route in list(self.batches):
            route._flush()

    def _write(
        self,
        data: Union[bytes, Sequence[Piece]],
        route: Optional[Route] = None,
        last: bool = False,
        deadline: Deadline = NEVER,
        look: bool = True,
    ) -> None:
        try:
            if look:
                now = time.monotonic()
                if now >= self._look_at:
                    self._look_at = now + _LOOK_EVERY
                    self._look_around()
                if self.control:
                    self._handle_control()
            with self._writing:
                self.check()
                late = route is not None and (route._said_last or self._control_route._said_last)
                if not late:
                    self._write_all(data, deadline)
                    self.bytes_out += len(data) if isinstance(data, bytes) else sum(map(len, data))
                    if last and route is not None:
                        route._said_last = True
            if late and route is not None:
                route._too_late()
        except ConnectionLostError as exc:
            self._note(exc)
            if self._on_failure:
                self._hear_last_words()
                self._tear_down()
            self.check()
        except BaseException:
            if self.failure:
                self._tear_down()
            raise

    def await_unblocked(self) -> None:
        """Wait until the broker takes publishes again; ConnectionBlockedError after the blocked_timeout."""
        try:
            self.wait_for(lambda: True if self.patience.blocked is None else None, self.patience.unblocking())
        except AMQPTimeoutError as exc:
            if self.patience.blocked is None:
                raise
            text = "%s: nothing was published%s" % (self.where, self.patience.excuse())
            raise ConnectionBlockedError(text) from exc

    def _write_all(self, data: Union[bytes, Sequence[Piece]], deadline: Deadline) -> None:
        wait = self._stalled if deadline is NEVER else partial(self._stalled, deadline)
        try:
            if isinstance(data, bytes):
                self.transport.write(data, wait)
            else:
                self.transport.write_pieces(data, wait)
        except AMQPTimeoutError:
            raise  # nothing went
        except BaseException as exc:
            # Ctrl-C as well: half a frame may be out, and nothing may follow it, so the lock is kept
            self._note(exc)
            raise
        finally:
            self._stall = None

    def _stalled(self, deadline: Deadline = NEVER) -> None:
        """The system takes no more for now: wait until it does, and read what comes meanwhile."""
        if self._stall is None:
            self._stall = deadline.sooner(Deadline(self.patience.write_timeout))
        while True:
            self.check()  # another thread may have closed it
            if self.receiver.error:
                raise ConnectionLostError(0, "the peer broke the protocol: %s" % self.receiver.error)
            with self._state:
                nobody_reads = not self._leading
            until = self.patience.put_off(self._stall)
            readable, writable = self.transport.await_room(until.sooner(Deadline(_LOOK_EVERY)), nobody_reads)
            if readable:
                self._look()
            if writable:
                return
            if until.expired():
                seconds = time.monotonic() - until.began
                text = "%s has taken no data for %.3g s" % (self.transport.address, seconds)
                raise AMQPTimeoutError(text + self.patience.excuse())

    def _hear_last_words(self) -> None:
        """A server says why before it goes, and a program that only sends may not have read that yet."""
        with suppress(ConnectionLostError):  # there is no more
            while self._look(over=True):
                pass
        self._handle_control()

    def _look(self, over: bool = False) -> bool:
        """Read what has come, without waiting: False when there is nothing, or another thread reads anyway."""
        with self._state:
            if self._leading or self.receiver.error or (self.failure and not over):
                return False
            self._leading = True
        try:
            return self._take_in()
        finally:
            self._lead_no_more()

    def _look_around(self) -> None:
        """A program that only sends hears what the server says, and that it says nothing."""
        if not self._look() and self.heartbeat and not self._leading:
            silence = self._silence()
            if silence.expired():
                raise self._silent()
        self._attended = time.monotonic()

    # --- reading

    def wait_for(self, take: Callable[[], Optional[T]], deadline: Deadline = NEVER) -> T:
        """Read, or let another thread read, until `take()` (called with `_state` held) gives something."""
        if self.batches:
            self.flush()
        state = self._state
        with state:
            while True:
                found = take()
                if found is not None:
                    return found
                if not self._leading:
                    break
                self._follow(deadline)
            self._leading = True
        try:
            return self._lead(take, deadline)
        finally:
            self._lead_no_more()

    def wait_for_answer(self, take: Callable[[], Optional[T]], deadline: Deadline) -> T:
        """The same for something that the broker owes; time in which it has blocked the connection does not count."""
        until = deadline
        while True:
            try:
                return self.wait_for(take, until)
            except AMQPTimeoutError as exc:
                later = self.patience.put_off(deadline)
                if later.expired() or not until.expired():  # or it was the program's own timeout, on the socket
                    raise AMQPTimeoutError(str(exc) + self.patience.excuse()) from None
                until = later

    def _lead_no_more(self) -> None:
        with self._state:
            self._leading = False
            if self._followers:
                self._state.notify_all()
        if self._closing:
            self.transport.close()

    def take_ready(self) -> Optional[Tuple[int, Item]]:
        """For wait_for(): a method of any channel, with the channel's number. Channels take turns."""
        while self.ready:
            number = next(iter(self.ready))
            route = self.ready.pop(number)
            if route.method_queue:
                item = route.method_queue.popleft()
                if route.method_queue:
                    self.ready[number] = route
                return number, item
        return None

    def _follow(self, deadline: Deadline) -> None:
        self._followers += 1
        try:
            if not self._state.wait(deadline.remaining()) and deadline.expired():
                raise AMQPTimeoutError("nothing came from %s within %.3g s" % (self.where, deadline.seconds or 0))
        finally:
            self._followers -= 1

    def _lead(self, take: Callable[[], Optional[T]], deadline: Deadline) -> T:
        while True:
            # What the connection itself has to hear waits until here, so that what came before it is handled first.
            if self.control:
                self._handle_control()
            elif self.receiver.error:
                self.give_up(self.receiver.error)
            self.check()
            self._read(deadline)
            with self._state:
                found = take()
            if found is not None:
                return found

    def _read(self, deadline: Deadline) -> None:
        try:
            if self.heartbeat:
                self._await_bytes_or_notice_silence(deadline)
            else:
                self.transport.await_bytes(deadline)
            self._take_in()
        except ConnectionLostError as exc:
            self._note(exc)
            self._tear_down()
            if exc._where:
                raise
            self.check()  # another thread closed it, and says why
        except BaseException:
            if self.failure:
                self._tear_down()
            raise

    def _await_bytes_or_notice_silence(self, deadline: Deadline) -> None:
        """A peer that has been silent for two heartbeat intervals is lost (0-9-1, section 4.2.7)."""
        silence = self._silence()
        try:
            self.transport.await_bytes(deadline.sooner(silence))
        except AMQPTimeoutError:
            if not silence.expired():
                raise
            raise self._silent() from None
        finally:
            self._attended = time.monotonic()

    def _silence(self) -> Deadline:
        return Deadline.at(self._heard + 2 * self.heartbeat)

    def _silent(self) -> ConnectionLostError:
        now = time.monotonic()
        text = "the peer has been silent for %.1f s, with a heartbeat of %d s agreed on" % (
            (now - self._heard, self.heartbeat)
        )
        away = now - self._attended
        if away > self.heartbeat:
            text += "; this program was busy elsewhere for the last %.1f s" % away
        return ConnectionLostError(0, text, errno=errno.ETIMEDOUT)

    def start_heartbeats(self, interval: int) -> None:
        """Send heartbeats from now on, and expect them."""
        self._heard = self._attended = time.monotonic()
        self.heartbeat = interval
        self._beats = Heartbeats(self, interval / 2)

    def _take_in(self) -> bool:
        """Read what has come, and pass it on; False when nothing has."""
        try:
            data = self.transport.receive()
            if not data:
                return False
            self.bytes_in += len(data)
            if self.heartbeat:
                self._heard = time.monotonic()
            self._route(self.receiver.receive(data))
            return True
        except BaseException as exc:  # Ctrl-C between the socket and the queues: bytes would be missing
            self._note(exc)
            raise

    def _route(self, events: List[Event]) -> None:
        routes = self._routes
        with self._state:
            for channel, method, args, content in events:
                route = routes.get(channel)
                if route is not None:
                    route._arrived(method, args, content)
            if self._followers:
                self._state.notify_all()
        undecoded = self.receiver.reading.undecoded
        if undecoded:
            for name, raw in undecoded:
                LOGGER.warning(
                    "%s: the field %r could not be read and is left as it came: %s", self.where, name, quote(raw)
                )
            undecoded.clear()

    def _handle_control(self) -> None:
        self.control = False
        if self._on_control:
            self._on_control()

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

    def close(self) -> None:
        """Let go of the socket once it is over; a thread that is still reading from it does so on its way out."""
        self._closing = True
        with self._state:
            leading = self._leading
        if not leading:
            self.transport.close()

    def give_up(self, error: PeerError) -> None:
        """The peer broke the protocol: tell it so, with the code that AMQP has for it, and end."""
        if not isinstance(error, ProtocolHeaderReceived):
            close = self.dialect["connection.close"]
            class_id, method_id = error.sig
            with suppress(AMQPTimeoutError, ConnectionLostError):  # it is over either way, and for this reason
                self.send(0, close, (error.reply_code, str(error)[:120], class_id, method_id))
            kind: Type[ConnectionLostError] = ConnectionLostError
            text = "the peer broke the protocol: %s" % error
        else:
            kind = ProtocolVersionError
            text = "AMQP %s was refused: %s" % (self.dialect.name, error)
        self.failure = None
        self.fail(Failure(kind, error.reply_code, text, error.sig))

    def _note(self, exc: BaseException) -> None:
        """Keep why the link is over, unless a reason is known already."""
        if self.failure is None:
            if isinstance(exc, ConnectionLostError):
                exc._where = self.where
                self.failure = Failure(type(exc), exc.amqp_reply_code, exc.amqp_reply_text, errno=exc.errno)
            else:
                text = "given up: %s came while data was being passed on" % type(exc).__name__
                self.failure = Failure(ConnectionLostError, 0, text)

    def _tear_down(self) -> None:
        with self._state:
            on_failure, self._on_failure, self._on_control = self._on_failure, None, None
            self._routes, self.ready, self._control_route = {}, {}, Route()
            self._state.notify_all()
        if self._beats:
            self._beats.stop()
        self.transport.shut()
        if on_failure:
            on_failure()
