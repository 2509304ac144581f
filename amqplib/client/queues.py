"""The queues that a channel keeps for the program: messages that came back, and alerts."""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Optional, Tuple

from ..protocol.confirms import Back
from ..protocol.unasked import weight
from . import fork
from .message import Message, decode_body

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Alerts", "ForkedQueue", "Returned", "ReturnedMessages"]

#: Reply code and text, exchange, routing key, message.
Returned = Tuple[int, str, str, str, Message]


class ForkedQueue(queue.Queue):  # type: ignore[type-arg]  # not before Python 3.9
    """A queue that can be read in a child process, though a thread of the parent's was in the middle of it."""

    def __init__(self) -> None:
        super().__init__()
        self._make_locks()
        fork.watch(self)

    def _make_locks(self) -> None:
        # over a lock that its thread can take again: a signal handler may read from the network, and so put one in
        self.mutex = threading.Condition()  # type: ignore[assignment]
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)

    def leave_to_parent(self, parent: int) -> None:
        """This is a child process now: whoever held the lock is not here."""
        self._make_locks()


class ReturnedMessages(ForkedQueue):
    """A queue whose bodies are decoded as they are taken out, by whoever takes them.

    Whoever reads from the network puts them in, and must not wait for a codec of the program's.
    """

    def __init__(self, channel: Channel[Any]) -> None:
        super().__init__()
        self._channel = weakref.ref(channel)

    def qsize(self) -> int:
        """How many there are."""
        size = super().qsize()
        self._tested(size == 0)
        return size

    def empty(self) -> bool:
        """Is there none?"""
        empty = super().empty()
        self._tested(empty)
        return empty

    def _tested(self, empty: bool) -> None:
        channel = self._channel()
        if channel is not None:
            line, waiting = channel._amqplib, self.queue
            line.driver.tested.note(line.port, "returned_messages", empty, lambda: not waiting)

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """The oldest; queue.Empty when there is none."""
        try:
            back = super().get(block, timeout)
        except queue.Empty:
            self._tested(True)
            raise
        channel = self._channel()
        if channel is not None and isinstance(back, Back):
            line = channel._amqplib
            with line.driver.lock:
                if line.port.books is not None:
                    line.port.books.tell(back)
        returned = tuple(back)
        if channel is None or channel.auto_decode:
            decode_body(returned[4])
        return returned

    def drop(self, back: Back) -> None:
        """The program has been told of it in another way. No lock is taken: this may interrupt a put() or get()."""
        try:
            self.queue.remove(back)
        except (ValueError, IndexError, RuntimeError):
            pass  # it has just been taken


class Alerts(ForkedQueue):
    """Those that nobody takes out are forgotten, the oldest first."""

    #: So many are kept, and so many octets of them.
    KEPT, OCTETS = 1000, 32768

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._octets: Deque[int] = deque()  # of each

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._octets.append(weight((None, item, None)))
        while len(self.queue) > self.KEPT or (len(self.queue) > 1 and sum(self._octets) > self.OCTETS):
            self._get()

    def _get(self) -> Any:
        if self._octets:
            self._octets.popleft()
        return super()._get()
