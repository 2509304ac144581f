"""Batches: what a channel publishes and acknowledges, gathered and sent together."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import Deque, Iterator, List, NoReturn, Optional

from .channel_methods import ChannelMethods
from .confirms import Confirms
from .deadline import NEVER, Deadline, take_lock
from .exceptions import AMQPTimeoutError, ChannelClosedError, NestedCallError
from .link import Link
from .routes import Route
from .transport import Data

__all__ = ["Batching", "Counted"]

#: Octets that batch() gathers before it sends them.
_BATCH = 65536

#: In the place of what batch() has gathered, while the last of it is sent.
_ENDING: Deque[bytes] = deque()


class Counted(Exception):
    """Publishes are counted from now on: confirm_select() was faster."""


class _Uncounted(Route):
    """What is published before confirm_select(), after which nothing of this kind may follow."""

    def _too_late(self) -> NoReturn:
        raise Counted


class Batching(ChannelMethods):
    """The part of Channel that gathers."""

    # see AbstractChannel
    __slots__ = ("_batching", "_confirms", "_flush_begun", "_flushing", "_gathered", "_gathered_size", "_uncounted")

    def __init__(self, link: Link, number: int) -> None:
        super().__init__(link, number)
        # frames gathered by batch(), None outside of it; and what keeps two threads from sending them in disorder
        self._gathered: Optional[Deque[bytes]] = None
        self._gathered_size = 0
        self._batching = 0  # the thread that is inside of it
        self._flushing = threading.RLock()
        self._flush_begun = False
        self._uncounted = _Uncounted()
        self._confirms: Optional[Confirms] = None

    def _no_more(self) -> None:
        super()._no_more()
        self._uncounted._no_more()

    def _forked(self) -> None:
        super()._forked()
        self._flushing = threading.RLock()
        self._flush_begun = False

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Inside this with-statement, publishes and acknowledgements of this channel are gathered.

        They leave in pieces of about 64 KB, before anything on this connection waits or this channel sends something
        else, and at the end of the block. That takes a fraction of the time of sending them one by one. Outside of it
        everything has left when the call returns; inside, what has not left yet is lost if the program dies.
        """
        with self._flushing:
            within = self._gathered is not None
            if not within:
                self._gathered, self._gathered_size, self._batching = deque(), 0, threading.get_ident()
                self._link.batches.append(self)
        if within:  # another one: that sends, unless it is another thread's, which may go on for long
            try:
                yield
            finally:
                if self._batching != threading.get_ident():
                    self._flush()
                    if self._gathered:
                        self._check_leaving()
            return
        try:
            yield
        finally:
            with self._flushing:  # whatever other threads send meanwhile comes behind it
                gathered, self._gathered = self._gathered, _ENDING
                assert gathered is not None  # though it may be empty until another thread adds to it just now
                try:
                    while gathered:
                        self._check_leaving()
                        self._send_gathered(gathered)
                except BaseException:
                    if gathered and not self._said_last:
                        # they will never leave, and in confirm mode they have been counted
                        self._abandon("a batch could not be sent")
                    raise
                finally:
                    self._gathered = None
                    self._link.batches.remove(self)

    def _check_leaving(self) -> None:
        """Raise why what is gathered cannot leave."""
        self._check_open()
        if self._said_last:
            self._too_late()

    def _emit(self, frame: bytes) -> None:
        gathered = self._gathered
        if gathered is None:
            self._link.send_raw(frame, self)
        else:
            self._gather(gathered, frame)

    def _gather(
        self, gathered: Deque[bytes], frames: Data, deadline: Deadline = NEVER, uncounted: bool = False
    ) -> None:
        """Inside batch(). No lock is taken for what is added, for it would take a quarter more time: whoever puts
        another deque in the place of this one, with `_flushing` held, sends what he finds in it, and what comes later
        is found here."""
        if type(frames) is bytes and gathered is not _ENDING:
            gathered.append(frames)
            self._gathered_size += len(frames)
            if self._gathered is gathered:
                if self._gathered_size >= _BATCH:
                    with suppress(AMQPTimeoutError, NestedCallError):  # they stay gathered
                        self._flush(deadline)
                return
        with self._flushing:
            if type(frames) is bytes and gathered is not _ENDING:
                try:
                    gathered.remove(frames)
                except ValueError:
                    return  # the other thread has found them
            if uncounted and self._confirms is not None:
                raise Counted
            if self._gathered is _ENDING:  # what is sent just now goes before it
                raise self._link._nested("sending a batch")
            if type(frames) is bytes and self._gathered is not None:
                self._gathered.append(frames)
            else:  # the batch is over; or it is a body that is longer than all that is gathered
                self._flush(deadline)
                self._link.send_raw(frames, self, deadline=deadline)

    def _flush(self, deadline: Deadline = NEVER) -> None:
        if not self._gathered or not self.is_open:
            return
        held: List[bool] = []
        try:
            if deadline is not NEVER and not take_lock(self._flushing, deadline, held):
                text = "%s: another thread could not send a batch within %.3g s"
                raise AMQPTimeoutError(text % (self._where(), deadline.seconds or 0))
            with self._flushing:
                if self._gathered:
                    self._send_gathered(self._gathered, deadline)
        finally:
            if held:
                self._flushing.release()

    def _send_gathered(self, gathered: Deque[bytes], deadline: Deadline = NEVER) -> None:
        """With `_flushing` held."""
        if self._flush_begun:
            raise self._link._nested("sending a batch")
        self._flush_begun = True
        pieces: List[bytes] = []
        try:
            self._gathered_size = 0
            with suppress(IndexError):  # until it is empty; other threads may append meanwhile
                pieces.extend(iter(gathered.popleft, None))
            self._link.send_raw(b"".join(pieces), self, deadline=deadline)
            self._link.frames_out += len(pieces) - 1
        except (AMQPTimeoutError, NestedCallError, ChannelClosedError):
            gathered.extendleft(reversed(pieces))  # nothing went
            raise
        except BaseException as exc:  # Ctrl-C: did they go?
            self._abandon("%s came while a batch was being sent" % type(exc).__name__)
            raise
        finally:
            self._flush_begun = False

    def _send_uncounted(self, deadline: Deadline) -> None:
        """Send what batch() has gathered; nothing is added to that any more."""
        with self._flushing:  # another thread may be in the middle of sending a part of it
            gathered = self._gathered
            if gathered is _ENDING:
                raise self._link._nested("sending a batch")
            if gathered is not None:
                self._gathered = deque()
                try:
                    while gathered:
                        self._check_leaving()
                        self._send_gathered(gathered, deadline)
                except BaseException:
                    while gathered:  # one that is added to it just now moves as well, or is found there
                        self._gathered.appendleft(gathered.pop())
                    raise
