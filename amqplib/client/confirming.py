"""Waiting for publisher confirms, and calling the program's functions for them.

What the peer says of publishes is entered in the books as it arrives, by whichever thread reads. Functions of the
program are called for it later, inside wait() or wait_for_confirms().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

from ..protocol.confirms import Back, Confirms, Unsafe
from ..protocol.endings import Over
from ..protocol.port import ACK, RETURN
from .deadline import Deadline
from .exceptions import (
    AMQPException,
    AMQPTimeoutError,
    ConfirmTimeoutError,
    UnconfirmedError,
    unconfirmed_at_the_end,
)
from .line import Line
from .queues import ReturnedMessages

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["publish_confirm", "report_one", "wait_for_confirms"]


def _report(line: Line) -> None:
    """Call the program's function for all that one acknowledgement or refusal has settled."""
    books, port = line.port.books, line.port
    if books is None:
        return
    try:
        callback, settled = books.reports.popleft()
    except IndexError:
        return  # another thread was faster
    while settled:
        try:
            tag, msg = settled.popleft()
            with line.driver.lock:
                books.refused(tag)
            callback(tag, msg)
        except BaseException:
            if settled:  # one that raises keeps no other from being called
                with line.driver.lock:
                    books.reports.appendleft((callback, settled))
                    port.remind(line.driver.session, (ACK, (0, False), None))
            raise


def report_one(line: Line) -> None:
    """The same for wait(), whose inbox had a reminder of it: another one stands for what is left."""
    books, port = line.port.books, line.port
    with line.driver.lock:
        reminder, port.reminder = port.reminder, None
        if reminder is not None and books is not None and len(books.reports) > 1:
            port.remind(line.driver.session, reminder)
    _report(line)


def _report_all(line: Line) -> None:
    """Call the program's functions for all that has been settled."""
    books, port = line.port.books, line.port
    while books is not None and books.reports:
        _report(line)
    with line.driver.lock:
        if port.reminder is not None and not (books and books.reports):
            try:
                port.inbox.remove(port.reminder)
            except ValueError:
                pass  # another thread is at it
            port.reminder = None


def wait_for_confirms(channel: Channel[Any], books: Confirms, timeout: Optional[float]) -> None:
    """Wait until the server has confirmed everything that was published."""
    line = channel._amqplib
    timeouts = line.driver.timeouts
    line.driver.refuse_nested("keeping the books of confirms")
    deadline = timeouts.answering() if timeout is None else timeouts.deadline(timeout)
    with line.driver.lock:
        told = books.begin_to_wait()
    try:
        _await(channel, books, lambda: not books.unconfirmed, lambda: books.collect(told), deadline)
    finally:
        with line.driver.lock:
            books.wait_no_more(told)


def publish_confirm(channel: Channel[Any], args: Tuple[Any, ...], timeout: Optional[float]) -> int:
    """Publish one message, in confirm mode, and wait until the server has confirmed it; its delivery tag.

    args: those of basic_publish().
    """
    line = channel._amqplib
    timeouts = line.driver.timeouts
    line.driver.refuse_nested("keeping the books of confirms")
    timeouts.deadline(timeout)  # ValueError, before anything is sent
    if line.port.books is None:
        channel.confirm_select()
    line.check()
    deadline = timeouts.answering() if timeout is None else timeouts.deadline(timeout)
    books = channel._amqplib_books()
    with line.driver.lock:
        told = books.begin_to_wait()
    try:
        with line.sending.publishing_until(deadline):
            tag = channel.basic_publish(*args)
        if tag is None:
            text = "%s.basic_publish() returns None: it has to return what Channel.basic_publish() does"
            raise TypeError(text % type(channel).__name__)
        _await(channel, books, lambda: tag not in books.unconfirmed, lambda: books.collect_one(tag, told), deadline)
    finally:
        with line.driver.lock:
            books.wait_no_more(told)
    return tag


def _await(
    channel: Channel[Any],
    books: Confirms,
    done: Callable[[], bool],
    collect: Callable[[], Unsafe],
    deadline: Deadline,
) -> None:
    """Wait until `done`, also with what callbacks have published; raise what `collect` then says is not safe."""
    line = channel._amqplib
    cause: Optional[AMQPException] = None
    late, excuse = False, ""
    while True:
        try:
            _wait_until(line, done, deadline)
        except AMQPTimeoutError:
            late, excuse = True, line.driver.timeouts.excuse()
        except AMQPException as exc:
            cause = exc
        _call_back(channel)
        if late or cause or done():
            break
    with line.driver.lock:
        nacked, returned, unconfirmed = collect()
        backs = _take_from_queue(channel, books)
    if not late and not cause:
        unconfirmed = {}  # another thread has published it since: nobody has waited for it
    if nacked or returned or unconfirmed:
        if cause:
            raise unconfirmed_at_the_end(cause, nacked, returned, unconfirmed, line.where) from cause
        kind = ConfirmTimeoutError if late and unconfirmed else UnconfirmedError
        raise kind(nacked, returned, unconfirmed, line.where, excuse=excuse, advice=_advice(backs))
    if cause:
        raise cause


def _wait_until(line: Line, done: Callable[[], bool], deadline: Deadline) -> None:
    """Let methods arrive until `done`, or the channel is over, which raises."""
    line.check()

    def take() -> Optional[bool]:
        if done():
            return True
        if line.port.ending is not None:
            raise Over
        return None

    line.wait_for(take, deadline)


def _call_back(channel: Channel[Any]) -> None:
    """Call the program's functions for messages that came back, and for all that has been settled."""
    line = channel._amqplib
    while channel.on_return is not None and line.driver.session.raw is None:
        with line.driver.lock:
            item = line.port.next((RETURN,))
        if item is None:
            break
        channel._amqplib_dispatch(*item)
    books = line.port.books
    if line.port.reminder is not None or (books is not None and books.reports):
        _report_all(line)


def _take_from_queue(channel: Channel[Any], books: Confirms) -> List[Back]:
    """With the lock held: what the books tell of messages that came back, `returned_messages` does not tell."""
    returned = channel.returned_messages
    backs, books.reported = books.reported, []
    for back in backs:
        if isinstance(returned, ReturnedMessages):  # a program may have set another one
            returned.drop(back)
    return backs


def _advice(backs: List[Back]) -> str:
    """Where the first of the messages that came back was to go; '' where none did."""
    if not backs:
        return ""
    from .connect import hints  # not before something goes wrong

    reply_code, _, exchange, routing_key, _ = min(backs, key=lambda back: back.tag)
    advice = hints.on_returned(reply_code, exchange, routing_key)
    return "of the first that came back: %s" % advice if advice and len(backs) > 1 else advice
