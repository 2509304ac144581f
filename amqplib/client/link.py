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

import time
from contextlib import suppress
from functools import partial
from typing import Any, Optional, Sequence, Tuple, Type, Union

from ..wire.errors import PeerError, ProtocolHeaderReceived
from ..wire.spec import Method
from .deadline import NEVER, Deadline
from .exceptions import (
    AMQPTimeoutError,
    ConnectionBlockedError,
    ConnectionLostError,
    ProtocolVersionError,
)
from .heartbeat import HEARTBEAT_FRAME, Heartbeats
from .reading import Reading
from .routes import Failure, Route
from .transport import Piece

__all__ = ["Failure", "Link"]

#: Seconds after which a program that only sends looks whether the server has something to say.
_LOOK_EVERY = 0.05


class Link(Reading):
    """Transport, receiver and sender of one connection, and the locks around them."""

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

    def start_heartbeats(self, interval: int) -> None:
        """Send heartbeats from now on, and expect them."""
        self._heard = self._attended = time.monotonic()
        self.heartbeat = interval
        self._beats = Heartbeats(self, interval / 2)

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
