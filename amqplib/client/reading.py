"""Reading for everybody who waits: leader and followers. The rules are in `link`."""

from __future__ import annotations

import errno
import threading
import time
from contextlib import suppress
from typing import Callable, Optional, TypeVar

from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ChannelClosedError, ConnectionLostError, NestedCallError
from .routes import Routes

__all__ = ["LOOK_EVERY", "Reading"]

#: Seconds after which a program that only sends looks whether the server has something to say.
LOOK_EVERY = 0.05

#: Seconds after which whoever waits looks again. Nothing depends on it, unless an exception from outside (Ctrl-C) has
#: kept a leader from telling that it goes, or a signal handler has read what the wait that it interrupted is for.
_LOOK_AGAIN = 1.0

T = TypeVar("T")


class Reading(Routes):
    """The part of Link that reads."""

    def flush(self, deadline: Deadline = NEVER) -> None:
        """Send what channels have gathered: something is about to wait."""
        for route in list(self.batches):
            with suppress(ChannelClosedError):  # another thread closes it; the end of the batch says so
                route._flush(deadline)

    def wait_for(self, take: Callable[[], Optional[T]], deadline: Deadline = NEVER, free: bool = False) -> T:
        """Read, or let another thread read, until `take()` (called with `_state` held) gives something.

        free: the caller holds no locks, so functions of the program that are due are called meanwhile.
        """
        if self.batches:
            self.flush(deadline)
        while True:
            found = self._wait(take, deadline)
            if found is not None:
                if free and self.remarks:
                    self.log_remarks()
                return found
            # What the connection itself has to hear waits until here, so that what came before it is handled first.
            if self.control:
                self._handle_control()
            self.check()
            if free:
                self.tell()

    def wait_for_answer(self, take: Callable[[], Optional[T]], deadline: Deadline, free: bool = False) -> T:
        """The same for something that the broker owes: a patient deadline is put off while the broker blocks."""
        until = deadline
        while True:
            try:
                return self.wait_for(take, until, free)
            except AMQPTimeoutError:
                later = self.patience.put_off(deadline)
                if later.expired() or not until.expired():  # or it was the program's own timeout, on the socket
                    raise
                until = later

    def _wait(self, take: Callable[[], Optional[T]], deadline: Deadline) -> Optional[T]:
        """What `take()` gives; None when there is something for the connection to hear first, or it is over."""
        led = False
        try:
            with self._state:
                while True:
                    found = take()
                    if found is not None or self.control or self.failure:
                        return found
                    me = threading.get_ident()
                    if self._leader is None:
                        led = True
                        self._leader = me
                        break
                    if self._leader == me:  # this is a signal handler's call, in the middle of a wait
                        if self._taking_in:
                            raise self._nested("receiving")
                        break
                    if deadline.expired():
                        raise self._nothing_came(deadline.seconds)
                    self._follow(deadline)
            return self._lead(take, deadline)
        finally:
            if led:
                self._leader = None
                self._lead_no_more()

    def _lead_no_more(self) -> None:
        # Who is about to follow looks once more for a leader when it has been counted; who is counted is woken.
        if self._followers:
            with self._state:
                self._changed.notify_all()
        if self._closing:
            self.transport.close()

    def _follow(self, deadline: Deadline) -> None:
        self._followers += 1
        try:
            if self._leader is not None:
                self._changed.wait(deadline.within(_LOOK_AGAIN))
        finally:
            self._followers -= 1

    def _lead(self, take: Callable[[], Optional[T]], deadline: Deadline) -> Optional[T]:
        since = time.monotonic()
        away = since - self._attended
        while True:
            if self._read(deadline, since, away):
                since = time.monotonic()
            away = 0.0
            with self._state:
                found = take()
            if found is not None or self.control or self.failure:
                return found
            if deadline.expired():  # whatever else comes all the time
                raise self._nothing_came(deadline.seconds)

    def _read(self, deadline: Deadline, since: float, away: float) -> bool:
        """Wait for bytes, for a while, and take them in; True when there were some.

        since: when this wait began, or last had something. away: how long the program had not looked before that.
        """
        try:
            seconds = deadline.within(_LOOK_AGAIN)
            if self.heartbeat:
                seconds = max(0.0, min(seconds, self._heard + 2 * self.heartbeat - time.monotonic()))
            came = self.transport.readable(seconds) and self._take_in()
            self._attended = now = time.monotonic()
            if not came:
                own = self.transport.sock.gettimeout()
                if own is not None and now - since >= own:
                    raise self._nothing_came(own)
                if deadline.expired():
                    raise self._nothing_came(deadline.seconds)
                self._check_silence()
            return came
        except ConnectionLostError as exc:
            self._note(exc, self._away(away))
            self._tear_down()
            self.check()
            raise
        except BaseException:
            if self.failure:
                self._tear_down()
            raise

    def _nothing_came(self, seconds: Optional[float]) -> AMQPTimeoutError:
        return AMQPTimeoutError("nothing came from %s within %.3g s" % (self.where, seconds or 0))

    def _nested(self, doing: str) -> NestedCallError:
        text = "a call in the middle of %s in the same thread: from a signal handler or a __del__ that came just then"
        return NestedCallError(0, text % doing, (0, 0), self.where)

    def silence(self) -> float:
        """Seconds since something last came."""
        return time.monotonic() - self._heard

    def _check_silence(self) -> None:
        """A peer that has been silent for two heartbeat intervals is lost (0-9-1, section 4.2.7)."""
        silent = time.monotonic() - self._heard
        if self.heartbeat and silent >= 2 * self.heartbeat:
            text = "the peer has been silent for %.1f s, with a heartbeat of %d s agreed on" % (silent, self.heartbeat)
            raise ConnectionLostError(0, text, errno=errno.ETIMEDOUT)

    def _take_in(self) -> bool:
        """Read what has come, and pass it on; False when nothing has."""
        assert self._leader is not None  # rule 3
        self._taking_in = True
        try:
            data = self.transport.receive()
            if not data:
                return False
            if not self.bytes_in:
                self.opening = data[:64]
            self.bytes_in += len(data)
            self._heard = time.monotonic()
            self._route(self.receiver.receive(data))
            if self.receiver.error:
                self.control = True
            return True
        except ConnectionLostError:
            raise  # there was nothing
        except BaseException as exc:  # Ctrl-C between the socket and the queues: bytes would be missing
            self._note(exc)
            raise
        finally:
            self._taking_in = False

    def _look(self, over: bool = False) -> bool:
        """Read what has come, without waiting: False when there is nothing, or another thread reads anyway."""
        led = False
        try:
            with self._state:
                if self._leader is not None or self.receiver.error or (self.failure and not over):
                    return False
                led = True
                self._leader = threading.get_ident()
            self.in_passing = True
            return self._take_in()
        finally:
            if led:
                self.in_passing = False
                self._leader = None
                self._lead_no_more()

    def _look_around(self) -> None:
        """A program that only sends hears what the server says, and that it says nothing."""
        now = time.monotonic()
        self._look_at = now + LOOK_EVERY
        if not self._look() and self._leader is None:
            self._check_silence()
        self._attended = now

    def _handle_control(self) -> None:
        self.control = False
        if self._on_control:
            self._on_control()
