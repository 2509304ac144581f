"""The link: who reads, who writes, who waits; one per connection.

There is no reader thread. A thread that waits for something reads for everybody (the leader); threads that wait
meanwhile (followers) are woken when something has come, and one of them takes over when the leader has what
it wanted. With one thread this is a plain blocking read.

The rules, which everything in amqplib.client keeps, and most of which are asserted where they could be broken:

1. `_state` guards the routes, the leader and the failure, and is held for dictionary and queue operations only:
   never across a read, a write or code of the program.
2. `_writing` is held across a write, so that frames never mix. When the system takes no more, whoever writes reads
   meanwhile, so that two full buffers do not wait for each other.
3. Only the leader reads from the transport and touches the receiver's buffer.
4. Code of the program runs only where no lock is held: callbacks in wait() and drain_events(), and what the connection
   has to tell (on_blocked) where those, basic_publish() or a call have nothing locked any more (`Routes.tell`). Nor is
   anything else logged there than for debugging: the handlers of logging may be the program's.
5. Locks are taken in the order: a channel's own (_calling, _publishing, _flushing), `_writing`, `_state`.
6. After `fail()` nothing is read or written any more, and everybody who waits or comes later is told why.
7. Whoever waits has a deadline, and holds to it whatever else goes on. None is for ever, and the caller's choice.
8. An exception may come out of nowhere at any point (Ctrl-C), and a signal handler may call anything here while its
   thread is in the middle of something else. So a lock is taken by `with`, or by `take_lock`; what a thread is in the
   middle of is noted (`_leader`, `_taking_in`, `_mid_write`), and such a call gets an error where it cannot be served.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Callable, List, Optional, Tuple, Type

from ..wire.errors import PeerError, ProtocolHeaderReceived
from ..wire.spec import Method
from .deadline import NEVER, Deadline, take_lock
from .exceptions import (
    AMQPTimeoutError,
    ConnectionBlockedError,
    ConnectionLostError,
    NestedCallError,
    ProtocolVersionError,
)
from .heartbeat import HEARTBEAT_FRAME, Heartbeats
from .reading import LOOK_EVERY, Reading
from .routes import Failure, Route
from .transport import Data, Wait

__all__ = ["AT_ONCE", "Link"]

#: Seconds for the system to take what nobody has the time to wait for.
AT_ONCE = 0.1

_NOW = Deadline(0)


class Link(Reading):
    """The whole of it: what Routes and Reading are, and writing."""

    def send(self, channel: int, method: Method, args: Tuple[Any, ...], deadline: Deadline = NEVER) -> None:
        """Send a method; every byte is with the system when this returns."""
        self.send_raw(self.sender.method(channel, method, args), deadline=deadline)

    def send_last(self, data: bytes, route: Route) -> None:
        """Send the last frame of a route, if the system takes it at once; else it goes before the next write."""
        try:
            self.send_raw(data, route, True, Deadline(AT_ONCE))
        except (AMQPTimeoutError, NestedCallError):
            self._owed.append((data, route))

    def send_heartbeat(self) -> None:
        """Send a heartbeat, unless something else is being sent, or nothing can be."""
        if self.heartbeat and self._stall is None and self.transport.await_room(_NOW, reading=False)[1]:
            self.send_raw(HEARTBEAT_FRAME, look=False)

    def make_heartbeats(self, interval: int) -> None:
        """Get ready to send heartbeats; RuntimeError when there can be no thread for it."""
        self._beats = Heartbeats(self, interval / 2)

    def start_heartbeats(self, interval: int) -> None:
        """Send heartbeats from now on, and expect them, unless the interval is 0."""
        self._heard = self._attended = monotonic()
        self.heartbeat = interval

    def send_raw(
        self,
        data: Data,
        route: Optional[Route] = None,
        last: bool = False,
        deadline: Deadline = NEVER,
        look: bool = True,
    ) -> None:
        """Send frames that were made before. Of a `route`, nothing goes after its `last`, nor after that of the
        connection itself. `look`: hear now and then what the server says, too."""
        try:
            if look:
                if monotonic() >= self._look_at:
                    self._look_around()
                if self.control:
                    self._handle_control()
            held: List[bool] = []
            try:
                if deadline is not NEVER:  # without one: whoever is sending has a write_timeout, too
                    self._take_turn(deadline, held)
                with self._writing:
                    if self._mid_write:
                        raise self._nested("sending")
                    if self.failure:
                        self.check()
                    if route is not None and (route._said_last or self._control_route._said_last):
                        route._too_late()
                    self._mid_write = True
                    try:
                        wait = self._stalled if deadline is NEVER else partial(self._stalled, deadline)
                        if self._owed:
                            self._send_owed(wait)
                        self.bytes_out += self.transport.write(data, wait)
                        self.frames_out += 1
                        if last and route is not None:
                            route._no_more()
                    except AMQPTimeoutError:
                        raise  # nothing went
                    except BaseException as exc:
                        self._note(exc)  # Ctrl-C as well: half a frame may be out, and nothing may follow it
                        raise
                    finally:
                        self._mid_write = False
                        self._stall = None
            finally:
                if held:
                    self._writing.release()
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

    def _take_turn(self, deadline: Deadline, held: List[bool]) -> None:
        """Take `_writing`, with a deadline that comes even if another thread writes, and cannot go on."""
        until = deadline
        while not take_lock(self._writing, until, held):
            self.check()
            until = self.patience.put_off(deadline)
            if until.expired():
                raise self._taken_nothing(deadline)

    def _send_owed(self, wait: Wait) -> None:
        """The last frames of routes, which could not be sent at once."""
        while self._owed:
            data, route = self._owed[0]
            self.bytes_out += self.transport.write(data, wait)
            self.frames_out += 1
            route._no_more()
            self._owed.popleft()

    def _stalled(self, deadline: Deadline = NEVER) -> None:
        """The system takes no more for now: wait until it does, and read what comes meanwhile."""
        stall = self._stall
        if stall is None or stall.began <= self.transport.took_at:  # however long all of a large body takes
            stall = self._stall = self.patience.writing()
        own = self.transport.sock.gettimeout()
        while True:
            self.check()  # another thread may have closed it
            if self.receiver.error:
                raise ConnectionLostError(0, "the peer broke the protocol: %s" % self.receiver.error)
            until = self.patience.put_off(deadline).sooner(self.patience.put_off(stall))
            readable, writable = self.transport.await_room(until.sooner(Deadline(LOOK_EVERY)), self._leader is None)
            self._attended = monotonic()
            if readable:
                self._look()
            elif self._leader is None:
                self._check_silence()
            if writable:
                return
            if until.expired() or (own is not None and monotonic() - stall.began >= own):
                raise self._taken_nothing(stall)

    def _taken_nothing(self, since: Deadline) -> AMQPTimeoutError:
        seconds = monotonic() - since.began
        text = "%s has taken no data for %.3g s" % (self.transport.address, seconds)
        return AMQPTimeoutError(text + self.patience.excuse())

    def await_unblocked(self, over: Callable[[], bool], deadline: Deadline = NEVER) -> None:
        """Wait until the broker takes publishes again, or the channel is `over`; ConnectionBlockedError after the
        blocked_timeout."""
        self.tell()
        until = self.patience.unblocking().sooner(deadline)
        try:
            self.wait_for(lambda: True if self.patience.blocked is None or over() else None, until, free=True)
        except AMQPTimeoutError as exc:
            if self.patience.blocked is None:
                raise
            text = "%s: nothing was published%s" % (self.where, self.patience.excuse())
            raise ConnectionBlockedError(text) from exc

    def _hear_last_words(self) -> None:
        """A server says why before it goes, and a program that only sends may not have read that yet."""
        with suppress(ConnectionLostError):  # there is no more
            while self._look(over=True):
                pass
        self._handle_control()

    def give_up(self, error: PeerError) -> None:
        """The peer broke the protocol: tell it so, with the code that AMQP has for it, and end."""
        if not isinstance(error, ProtocolHeaderReceived):
            close = self.dialect["connection.close"]
            class_id, method_id = self.dialect.ids(error.sig)
            # it is over either way, and for this reason
            with suppress(AMQPTimeoutError, ConnectionLostError, NestedCallError):
                self.send(0, close, (error.reply_code, str(error)[:120], class_id, method_id), Deadline(AT_ONCE))
            kind: Type[ConnectionLostError] = ConnectionLostError
            number = None
            text = "the peer broke the protocol: %s" % error
        else:
            kind, number = ProtocolVersionError, errno.EPROTONOSUPPORT
            text = "AMQP %s was refused: %s" % (self.dialect.name, error)
        self.failure = None
        self.fail(Failure(kind, error.reply_code, text, error.sig, number))
