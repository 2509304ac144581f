"""Reading for everybody who waits: leader and followers. The rules are in `link`."""

from __future__ import annotations

import errno
import time
from typing import Callable, Optional, TypeVar

from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ConnectionLostError
from .routes import Routes

__all__ = ["Reading"]

T = TypeVar("T")


class Reading(Routes):
    """The part of Link that reads."""

    def flush(self) -> None:
        """Send what channels have gathered: something is about to wait."""
        for route in list(self.batches):
            route._flush()

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
            if self.receiver.error:
                self.control = True
            return True
        except BaseException as exc:  # Ctrl-C between the socket and the queues: bytes would be missing
            self._note(exc)
            raise

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

    def _handle_control(self) -> None:
        self.control = False
        if self._on_control:
            self._on_control()
