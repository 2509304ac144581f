"""What connections and channels share: methods come in on a number, and calls wait for their replies.

Methods that arrive are kept in two places. Replies that a call is waiting for go to `_replies`; everything
else goes to `method_queue`, in order, until wait() takes it. So a call never has to search among deliveries,
however many there are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Callable, ClassVar, Collection, Deque, Dict, List, Optional, Tuple, Type, TypeVar

from ..wire.spec import Method, Sig
from .deadline import NEVER, Deadline, take_lock
from .exceptions import AMQPException, AMQPTimeoutError, DialectError, NestedCallError, method_name
from .link import Link
from .logger import LOGGER
from .message import decode_body
from .routes import Item, Route
from .secret import hide_made_of

__all__ = ["AbstractChannel"]

#: Nothing may follow these.
_LAST = ("channel.close", "connection.close")

SelfT = TypeVar("SelfT", bound="AbstractChannel")


class AbstractChannel(Route):
    """Base of Connection (which is channel 0) and Channel."""

    # Not in its dict, for Python is slower with more than 29 attributes there (benchmarks/experiments/attributes.py).
    __slots__ = ("_calling", "_close_item", "_expected", "_link", "_new_consumer", "_number", "_replies")

    #: 0-8 (class id, method id) -> function(channel, args[, content]) for each method that may arrive.
    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {}

    #: Is a body with a content_encoding decoded to str? May be set at any time.
    auto_decode: bool

    def __init__(self, link: Link, number: int) -> None:
        super().__init__()
        self._link = link
        self._number = number
        self._replies: Deque[Item] = deque()
        #: Signatures of the replies that a call is waiting for.
        self._expected: Collection[Sig] = ()
        self._new_consumer: Any = None
        #: The server's close, from its arrival until it is dealt with.
        self._close_item: Optional[Item] = None
        #: Held for a whole call: a reply answers the call before it.
        self._calling = threading.RLock()

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except (AMQPException, OSError) as exc:
            # what the with-block raised matters more, and most likely is the reason for this
            LOGGER.debug("closing after %s: %s", kind.__name__, exc)

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """End this."""
        raise NotImplementedError

    def _forked(self) -> None:
        self._calling = threading.RLock()
        self._expected, self._new_consumer = (), None

    # --- in

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        item = (method.sig, args, content)
        if method.sig in self._expected:
            self._replies.append(item)
        else:
            self._enqueue(item)

    def _enqueue(self, item: Item) -> None:
        self.method_queue.append(item)

    def pending(self) -> int:
        """How many methods have arrived and can be handled by wait() without reading from the network.

        A program that select()s on conn.transport.sock has to do so only while this is 0: what has been read from the
        socket, by any call, does not make it readable again.
        """
        return len(self.method_queue)

    def dispatch_method(self, method_sig: Sig, args: Tuple[Any, ...], content: Any) -> Any:
        """Pass a method to its handler; what the handler returns."""
        handler = self._METHOD_MAP.get(method_sig)
        if handler is None:
            LOGGER.warning("%s: %s is not for a client, ignored", self._where(), method_name(method_sig) or method_sig)
            return None
        if content is None:
            return handler(self, args)
        if self.auto_decode:
            decode_body(content)
        return handler(self, args, content)

    # --- calls

    def _send(self, name: str, *args: Any) -> None:
        """Send a method that nothing answers."""
        self._flush()
        self._link.send_raw(self._link.sender.method(self._number, self._method(name), args), self)

    def _call(self, name: str, *args: Any, timeout: Optional[float] = None, consumer: Any = None) -> Item:
        """Send a method and wait for what answers it, for `timeout` or else the connection's reply_timeout.

        consumer: the callback and the on_cancel of the one that the call makes.
        """
        self._check_callable()
        method = self._method(name)
        frame = hide_made_of(args, self._link.sender.method(self._number, method, args))
        return self._ask(method, frame, timeout, consumer)

    def _ask(self, method: Method, frame: bytes, timeout: Optional[float] = None, consumer: Any = None) -> Item:
        """Send the frame of a method and wait for what answers it."""
        deadline = self._link.patience.answering() if timeout is None else Deadline(timeout)
        held: List[bool] = []
        try:
            self._take_call(method, deadline, held)
            self._check_callable()  # a call that this one had to wait for may have been the last
            if self._link.batches:
                self._link.flush(deadline)
            return self._await(method.replies, frame, deadline, method.name in _LAST, consumer)
        finally:
            if held:
                self._calling.release()

    def _take_call(self, method: Method, deadline: Deadline, held: List[bool]) -> None:
        """Wait until no other thread's call is waiting for its answer."""
        if not take_lock(self._calling, deadline, held):
            text = "%s: %s: another thread's call had no answer within %.3g s"
            raise AMQPTimeoutError(text % (self._where(), method.name, deadline.seconds or 0))

    def _check_callable(self) -> None:
        """Raise if there is no calling any more."""

    def _await(
        self,
        expected: Collection[Sig],
        request: bytes,
        deadline: Deadline = NEVER,
        last: bool = False,
        consumer: Any = None,
    ) -> Item:
        """Send, and wait for one of the replies expected; nothing is sent after the `last`."""
        if self._expected:
            raise self._link._nested("waiting for %s" % self._names(self._expected))
        self._replies.clear()
        self._expected, self._new_consumer = expected, consumer
        sent = True  # for all we know: an exception from outside may come at any point
        try:
            try:
                self._link.send_raw(request, self, last, deadline)
            except (AMQPTimeoutError, NestedCallError):
                sent = False  # nothing went
                raise
            return self._link.wait_for_answer(self._take_reply, deadline)
        except BaseException as exc:
            if sent and not self._link.failure:
                # the reply may still come, and must not answer the next call
                self._abandon("%s came while %s was awaited" % (type(exc).__name__, self._names(expected)))
            if sent and isinstance(exc, AMQPTimeoutError):
                seconds = time.monotonic() - deadline.began
                text = "%s: no %s within %.3g s" % (self._where(), self._names(expected), seconds)
                raise AMQPTimeoutError(text + self._link.patience.excuse()) from None
            raise
        finally:
            self._expected, self._new_consumer = (), None

    def _abandon(self, why: str) -> None:
        """Give up what a reply may still arrive for."""
        raise NotImplementedError

    @staticmethod
    def _names(sigs: Collection[Sig]) -> str:
        return " or ".join(method_name(sig) for sig in sigs)

    def _take_reply(self) -> Optional[Item]:
        return self._replies.popleft() if self._replies else None

    def _take_next(self, allowed: Optional[Collection[Sig]]) -> Optional[Item]:
        """The oldest method for wait(), among those allowed."""
        if not self.method_queue:
            return None
        if allowed is None:
            try:
                return self.method_queue.popleft()
            except IndexError:
                return None  # another thread was faster
        while True:
            try:
                for item in self.method_queue:
                    if item[0] in allowed:
                        self.method_queue.remove(item)
                        return item
                return None
            except (RuntimeError, ValueError):
                pass  # another thread took one meanwhile: begin anew

    def _method(self, name: str) -> Method:
        try:
            return self._link.dialect[name]
        except KeyError:
            raise self._not_in_dialect(name) from None

    def _not_in_dialect(self, what: str) -> DialectError:
        text = "AMQP %s, which is spoken here, has no %s; connect with protocol='0-9-1', or import amqplib.client_0_9_1"
        return DialectError(0, text % (self._link.dialect.name, what), (0, 0), self._where())

    def _where(self) -> str:
        return self._link.where
