"""Batches: what a channel publishes and acknowledges, gathered and sent together."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import Deque, Iterator, List, Optional

from .channel_methods import ChannelMethods
from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ChannelClosedError, NestedCallError
from .link import Link
from .transport import Data

__all__ = ["Batching"]

#: Octets that batch() gathers before it sends them.
_BATCH = 65536


class Batching(ChannelMethods):
    """The part of Channel that gathers."""

    # see AbstractChannel
    __slots__ = ("_flush_begun", "_flushing", "_gathered", "_gathered_size")

    def __init__(self, link: Link, number: int) -> None:
        super().__init__(link, number)
        # frames gathered by batch(), None outside of it; and what keeps two threads from sending them in disorder
        self._gathered: Optional[Deque[bytes]] = None
        self._gathered_size = 0
        self._flushing = threading.RLock()
        self._flush_begun = False

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
        if self._gathered is not None:  # within another one: that sends
            yield
            return
        self._gathered, self._gathered_size = deque(), 0
        self._link.batches.append(self)
        try:
            yield
        finally:
            try:
                self._flush()
                if self._gathered:  # the channel is closed, which is why these have not left: say so
                    self._check_open()
                    if self._said_last:
                        self._too_late()
            except AMQPTimeoutError as exc:
                # they will never leave, and in confirm mode they have been counted
                self._abandon("%s came while a batch was being sent" % type(exc).__name__)
                raise
            finally:
                self._gathered = None
                self._link.batches.remove(self)

    def _emit(self, frame: bytes) -> None:
        if self._gathered is None:
            self._link.send_raw(frame, self)
        else:
            self._gather(self._gathered, frame)

    def _gather(self, gathered: Deque[bytes], frames: Data, deadline: Deadline = NEVER) -> None:
        """Inside batch()."""
        if type(frames) is not bytes:  # of a body that is longer than all that is gathered
            self._flush(deadline)
            self._link.send_raw(frames, self, deadline=deadline)
            return
        gathered.append(frames)
        self._gathered_size += len(frames)
        if self._gathered_size >= _BATCH:
            with suppress(AMQPTimeoutError):  # the program's own, on the socket: they stay gathered
                self._flush()

    def _flush(self, deadline: Deadline = NEVER) -> None:
        gathered = self._gathered
        if not gathered or not self.is_open:
            return
        with self._flushing:
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
