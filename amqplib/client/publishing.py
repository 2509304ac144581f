"""Publishing on a channel, and what comes of it: confirms, and messages that come back.

What the server says of a publish is entered in the books as it arrives, by whichever thread reads. Functions of the
program are called for it later, inside wait().
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import Any, Callable, ClassVar, Deque, Dict, Iterator, List, Optional, Tuple

from ..wire.spec import Sig, sig_of
from .batching import Batching, Counted
from .computed import computed
from .confirms import Confirms, Sent, Settled, Unsafe
from .deadline import NEVER, Deadline, take_lock
from .exceptions import (
    AMQPException,
    AMQPTimeoutError,
    ChannelClosedError,
    ConfirmTimeoutError,
    NestedCallError,
    UnconfirmedError,
)
from .link import Link
from .logger import LOGGER
from .message import GenericContent, Message, decode_body, encode_body
from .routes import Item
from .transport import Data

__all__ = ["RETURN", "SETTLING", "Publishing"]

_ACK, _NACK = sig_of("basic.ack"), sig_of("basic.nack")
RETURN = sig_of("basic.return")

#: What the server says of publishes in confirm mode.
SETTLING = (_ACK, _NACK)


class Publishing(Batching):
    """The part of Channel that publishes."""

    # see AbstractChannel
    __slots__ = ("_counting", "_noted", "_publishing")

    _close_answered: bool

    def __init__(self, link: Link, number: int) -> None:
        super().__init__(link, number)
        self.returned_messages: queue.Queue[Tuple[int, str, str, str, Message]] = queue.Queue()
        self.on_return: Optional[Callable[[int, str, str, str, Message], Any]] = None
        # threads inside wait(): one entry each (appending and popping need no lock)
        self._waiting: Deque[None] = deque()
        # returned messages that wait() has yet to count, each as the one method that it handles
        self._noted = 0
        self._on_ack: Optional[Callable[[int, GenericContent], Any]] = None
        self._on_nack: Optional[Callable[[int, GenericContent], Any]] = None
        # functions to call for what was settled, and the item in the queue of methods that stands for them
        self._to_tell: Deque[Tuple[Callable[[int, GenericContent], Any], Deque[Settled]]] = deque()
        self._reminder: Optional[Item] = None
        # in confirm mode, so that tags are counted in the order of sending; and is one between the two?
        self._publishing = threading.RLock()
        self._counting = False

    def _forked(self) -> None:
        super()._forked()
        self._publishing = threading.RLock()
        self._counting = False
        if self._confirms:
            self._confirms.forked()
        returned, self.returned_messages = self.returned_messages, queue.Queue()
        self.returned_messages.queue.extend(returned.queue)  # past the old one's lock, which may be held for ever

    # --- in

    def _notify(self, item: Item) -> None:
        """A confirm, entered in the books as it arrived: if there is nothing else, it is the one method of a wait()."""
        link = self._link
        if (self._waiting or link.draining or link.raw_arguments) and not self.method_queue:
            self._enqueue(item)

    def _settled(self, sig: Sig, args: Tuple[Any, ...]) -> None:
        settled = self._confirmed().settle(args[0], args[1], sig == _ACK)
        callback = self._on_ack if sig == _ACK else self._on_nack
        if callback and settled:
            self._to_tell.append((callback, deque(settled)))
            self._remind((sig, args, None))
        else:
            self._notify((sig, args, None))

    def _remind(self, item: Item) -> None:
        """Have wait() call a function of the program: there is one reminder in its queue, however much is to tell."""
        if self._reminder is None:
            self._reminder = item
            self._enqueue(item)

    def _returned(self, args: Tuple[Any, ...], msg: Message) -> None:
        reply_code, reply_text, exchange, routing_key = args
        if self._confirms:
            self._confirms.came_back(self._sent(exchange, routing_key, msg.body, msg.properties))
        if self.auto_decode:
            decode_body(msg)
        own_handler = self._METHOD_MAP.get(RETURN) is not Publishing._METHOD_MAP[RETURN]
        if not own_handler:
            self.returned_messages.put((reply_code, reply_text, exchange, routing_key, msg))
        if self._link.raw_arguments:
            self._enqueue((RETURN, self._link.raw_arguments(args), msg))
        elif self.on_return or own_handler or self._link.draining:
            self._enqueue((RETURN, args, msg))
        elif self._waiting or (self._link.in_passing and not self._expected and not self._confirms):
            self._noted += 1  # a call that meets it does not leave it to wait()

    def _take_noted(self) -> Optional[Item]:
        if not self._noted:
            return None
        self._noted -= 1
        return RETURN, (), None

    # --- out

    def basic_publish(
        self,
        msg: GenericContent,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
    ) -> Optional[int]:
        """Send a message to an exchange; '' is the default one, which routes to the queue named routing_key.

        The message is with the operating system when this returns. Whether the broker has it, confirm_select() makes
        it say: then this returns the publish's delivery tag, and waits first while the window is full. While the broker
        takes no publishes (connection.blocked) this waits, for the connection's blocked_timeout. mandatory: a message
        that no queue takes comes back into `returned_messages`. immediate: likewise when no consumer takes it at once;
        RabbitMQ >= 3 refuses it with 540, which ends the connection.
        """
        if not isinstance(msg, GenericContent):
            raise ValueError("msg: %r is not a Message" % type(msg).__name__)
        if not self.is_open or self._close_item:
            self._check_open()
        link = self._link
        if link.patience.blocked is not None:
            link.await_unblocked(self._over)
            self._check_open()
        body = msg.body
        if type(body) is not bytes:
            body = encode_body(msg)
        args = self.default_ticket if ticket is None else ticket, exchange, routing_key, mandatory, immediate
        tag = None
        gathered = self._gathered  # before the next line: confirm_select() puts another in its place
        if self._confirms is None:
            frames = link.sender.publish(self._number, args, msg.properties, body)
            try:
                if gathered is None:
                    link.send_raw(frames, self._uncounted)
                else:
                    self._gather(gathered, frames, NEVER, True)
            except Counted:
                if self._said_last or link._control_route._said_last:
                    self._too_late()
                return self.basic_publish(msg, exchange, routing_key, mandatory, immediate, ticket)
            if type(frames) is not bytes or not body:
                self._count_frames(frames)
        else:
            tag = self._publish_counted(self._confirms, msg, body, args, NEVER)
        link.messages_out += 1
        if link.notices:
            link.tell()
        return tag

    def _count_frames(self, frames: Data) -> None:
        """Of a message that has not one frame with a body, as is thought when messages are counted."""
        self._link.frames_out += -1 if isinstance(frames, bytes) else (len(frames) - 1) // 3 - 1

    # --- publisher confirms (class confirm, 0-9-1; https://www.rabbitmq.com/docs/confirms)

    @computed
    def unconfirmed(self) -> Dict[int, GenericContent]:
        """Publishes that the server has not confirmed yet: delivery tag -> message, in the order of publishing.

        Still there after the channel was lost: these are the ones to publish again.
        """
        return {} if self._confirms is None else self._confirms.unconfirmed

    def confirm_select(
        self,
        nowait: bool = False,
        window: Optional[int] = None,
        on_ack: Optional[Callable[[int, GenericContent], Any]] = None,
        on_nack: Optional[Callable[[int, GenericContent], Any]] = None,
    ) -> None:
        """From now on the server confirms every publish on this channel. Cannot be undone, nor be combined with tx.

        window: with so many publishes unconfirmed, basic_publish() waits. on_ack, on_nack: called with the delivery tag
        and the message for each publish that was confirmed or refused, inside wait() and wait_for_confirms(). Of a
        mandatory message that came back, which the broker confirms too, `on_return` tells instead.
        """
        if window is not None and not (isinstance(window, int) and window > 0):
            raise ValueError("window: %r: a number of publishes, 1 or more, or None for no limit" % (window,))
        with self._counting_begins():
            self._request("confirm.select", nowait, nowait)
        self._on_ack, self._on_nack = on_ack, on_nack
        self._confirmed().window = window

    @contextmanager
    def _counting_begins(self) -> Iterator[None]:
        """While confirm.select is on its way: no publish may come between that and the books, or be counted by one side
        only."""
        held: List[bool] = []
        try:
            deadline = self._link.patience.answering()
            self._take_call(self._method("confirm.select"), deadline, held)
            if self._confirms is not None:
                yield
                return
            with self._publishing:
                self._counting = True
                self._confirms = Confirms()  # before the next line: who is refused by that looks here again
                self._uncounted._said_last = True
                try:
                    self._send_uncounted(deadline)
                    yield
                except BaseException:
                    if self.is_open:  # nothing was sent
                        self._uncounted._said_last = False
                        self._confirms = None
                    raise
                finally:
                    self._counting = False
        finally:
            if held:
                self._calling.release()

    def _sent(self, exchange: str, routing_key: str, body: bytes, properties: Dict[str, Any]) -> Sent:
        headers = properties.get("application_headers")
        if headers:  # RabbitMQ 4 sorts them
            properties = {**properties, "application_headers": dict(sorted(headers.items()))}
        return Sent(exchange, routing_key, body, self._link.sender.properties(properties))

    def _publish_counted(
        self,
        confirms: Confirms,
        msg: GenericContent,
        body: bytes,
        args: Tuple[int, str, str, bool, bool],
        deadline: Deadline,
    ) -> int:
        frames = self._link.sender.publish(self._number, args, msg.properties, body)
        if type(frames) is not bytes or not body:
            self._count_frames(frames)
        _, exchange, routing_key, mandatory, _ = args
        sent = self._sent(exchange, routing_key, body, msg.properties) if mandatory else None
        held: List[bool] = []
        try:
            if deadline is not NEVER:  # without one: whoever is publishing has a write_timeout, too
                self._take_turn(deadline, held)
            with self._publishing:
                if self._counting:
                    raise self._link._nested("publishing")
                self._check_books(confirms)
                if confirms.window is not None:
                    self._await_room(confirms, deadline)
                if not self.is_open or self._close_item:
                    self._check_open()
                self._counting = True
                tag = 0
                try:
                    tag = confirms.sent(msg, sent)
                    gathered = self._gathered
                    if gathered is None:
                        self._link.send_raw(frames, self, deadline=deadline)
                    else:
                        self._gather(gathered, frames, deadline)
                except (AMQPTimeoutError, NestedCallError, ChannelClosedError):
                    confirms.take_back(tag)  # nothing went
                    raise
                except BaseException as exc:  # Ctrl-C: did it go? Then the server has counted it, and otherwise not
                    self._abandon("%s came while a message was being published" % type(exc).__name__)
                    raise
                finally:
                    self._counting = False
                return tag
        finally:
            if held:
                self._publishing.release()

    def _take_turn(self, deadline: Deadline, held: List[bool]) -> None:
        if not take_lock(self._publishing, deadline, held):
            text = "%s: another thread's publish did not end within %.3g s"
            raise AMQPTimeoutError(text % (self._where(), deadline.seconds or 0))

    def _check_books(self, confirms: Confirms) -> None:
        """Raise if this is a signal handler's call that would have to enter something in the middle of an entry."""
        if confirms.busy():
            raise self._link._nested("keeping the books of confirms")

    def _await_room(self, confirms: Confirms, deadline: Deadline) -> None:
        """Wait until the window is not full any more."""
        while confirms.full():
            room = self._link.patience.answering() if deadline is NEVER else deadline
            self._wait_until(lambda: not confirms.full(), room)

    def _wait_until(self, done: Callable[[], bool], deadline: Deadline, free: bool = False) -> None:
        """Let methods arrive until `done`, or the channel is closed, by the server or another thread, which raises."""
        self._check_open()
        self._link.wait_for_answer(lambda: True if done() or self._over() else None, deadline, free)
        if not done():
            self._check_open()
            self._too_late()

    def _over(self) -> bool:
        """Has the channel been closed, or is it about to be?"""
        return self._close_item is not None or self._close_answered or not self.is_open

    def wait_for_confirms(self, timeout: Optional[float] = None) -> None:
        """Wait until the server has confirmed everything that was published on this channel.

        UnconfirmedError, which holds the messages, when it refused some, some came back, or the channel or connection
        has ended before; ConfirmTimeoutError, which is also an AMQPTimeoutError, when some are not confirmed after
        `timeout` seconds, or without one after the connection's reply_timeout, not counting the time in which the
        broker takes no publishes. Refused and returned messages are reported once, to all threads that wait for them;
        unconfirmed ones stay outstanding.
        Callbacks of confirm_select() are called in here; what they publish is waited for, too.
        """
        confirms = self._confirmed()
        self._check_books(confirms)
        deadline = self._link.patience.answering() if timeout is None else Deadline(timeout)
        told = confirms.begin_to_wait()
        try:
            self._await_confirms(
                lambda: not confirms.unconfirmed, self._call_back, lambda: confirms.collect(told), deadline
            )
        finally:
            confirms.wait_no_more(told)

    def _await_confirms(
        self,
        done: Callable[[], bool],
        call_back: Callable[[], None],
        collect: Callable[[], Unsafe],
        deadline: Deadline,
    ) -> None:
        """Wait until `done`, also with what `call_back` has published; raise what `collect` then says is not safe."""
        cause: Optional[AMQPException] = None
        late, excuse = False, ""
        while True:
            try:
                self._wait_until(done, deadline, free=True)
            except AMQPTimeoutError:
                late, excuse = True, self._link.patience.excuse()
            except AMQPException as exc:
                cause = exc
            call_back()
            if late or cause or done():
                break
        nacked, returned, unconfirmed = collect()
        if not late and not cause:
            unconfirmed = {}  # another thread has published it since: nobody has waited for it
        if nacked or returned or unconfirmed:
            kind = ConfirmTimeoutError if late and unconfirmed else UnconfirmedError
            raise kind(nacked, returned, unconfirmed, self._where(), str(cause or ""), excuse) from cause
        if cause:
            raise cause

    def _call_back(self) -> None:
        """Call the program's functions for what has been settled."""
        while self._to_tell:
            self._tell_next()
        with self._link.keeping():
            if self._reminder and not self._to_tell:
                with suppress(ValueError):  # another thread is at it
                    self.method_queue.remove(self._reminder)
                self._reminder = None

    def _tell_next(self) -> None:
        """Call the program's function for all that one acknowledgement has settled."""
        with self._link.keeping():
            if not self._to_tell:
                return  # another thread was faster
            callback, settled = self._to_tell.popleft()
        while settled:
            try:
                callback(*settled.popleft())
            except BaseException:
                if settled:
                    with self._link.keeping():
                        self._to_tell.appendleft((callback, settled))
                        self._remind((_ACK, (0, False), None))
                raise

    def basic_publish_confirm(
        self,
        msg: GenericContent,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> int:
        """Publish one message and wait until the server has confirmed it; its delivery tag.

        Raises as wait_for_confirms() does, for this message only. `timeout`, in seconds, is for all of it; without one
        it waits for the connection's reply_timeout, and for blocked_timeout before that. Selects confirm mode first if
        need be.
        """
        if not isinstance(msg, GenericContent):
            raise ValueError("msg: %r is not a Message" % type(msg).__name__)
        deadline = self._link.patience.answering() if timeout is None else Deadline(timeout)
        if self._confirms is None:
            self.confirm_select()
        confirms = self._confirmed()
        self._check_open()
        if self._link.patience.blocked is not None:
            self._link.await_unblocked(self._over, NEVER if timeout is None else deadline)
            self._check_open()
        args = self._ticket(ticket), exchange, routing_key, mandatory, immediate
        body = encode_body(msg)
        self._check_books(confirms)
        told = confirms.begin_to_wait()
        try:
            tag = self._publish_counted(confirms, msg, body, args, deadline)
            self._link.messages_out += 1
            self._await_confirms(
                lambda: tag not in confirms.unconfirmed, lambda: None, lambda: confirms.collect_one(tag, told), deadline
            )
        finally:
            confirms.wait_no_more(told)
        return tag

    def _confirmed(self) -> Confirms:
        if self._confirms is None:
            self._method("confirm.select")  # which there has to be
            raise ValueError("confirm_select() has not been called on %s" % self._where())
        return self._confirms

    def _basic_ack(self, args: Tuple[Any, ...]) -> None:
        if self._confirms is None:
            LOGGER.warning("%s: basic_ack is not for a client, ignored", self._where())
            return
        with self._link.keeping():
            reminder, self._reminder = self._reminder, None
            if reminder and len(self._to_tell) > 1:
                self._remind(reminder)
        self._tell_next()

    def _basic_return(self, args: Tuple[int, str, str, str], msg: Optional[Message] = None) -> None:
        if self.on_return and msg:
            self.on_return(*args, msg)

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {
        _ACK: _basic_ack,
        _NACK: _basic_ack,
        RETURN: _basic_return,
    }
