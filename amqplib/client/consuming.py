"""Consumers begin and end: basic_consume(), basic_cancel(), and the loop of consume()."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Deque, Generator, List, Optional, Tuple

from ..protocol.port import DELIVER
from .consumers import Consumer
from .exceptions import AMQPException, AMQPTimeoutError
from .lapse import Lapse, is_known, lapses
from .logger import LOGGER
from .message import decode_body
from .stopping import stop
from .unseen import give_back_unseen
from .waiting import HERE, next_method

if TYPE_CHECKING:
    from .channel import Channel
    from .channel_methods import Arguments
    from .line import Line

__all__ = ["cancel", "consume", "end_consumer", "subscribe"]

#: What is known of a consumer that has ended, None where it is not known; and the callback it had.
Ended = Tuple[Optional[Consumer], Any]

#: Nobody means a message of such a number: seconds from now to what is taken for a time.
_NEAR = 5 * 365 * 86400


def _warn_of_offset(line: Line, arguments: Any) -> None:
    """Where a stream begins may be the number of a message or a time, and a number that was meant as a time is legal:
    the consumer waits for that message, and so for ever."""
    offset = arguments.get("x-stream-offset") if isinstance(arguments, dict) else None
    if type(offset) is not int:
        return
    for unit in (1, 1000):
        if abs(offset / unit - time.time()) < _NEAR:
            text = "%s: x-stream-offset: %d is the number of a message; for a time write datetime.fromtimestamp(%d)"
            LOGGER.warning(text, line.where, offset, offset // unit)


def subscribe(
    channel: Channel[Any],
    consumer: Consumer,
    callback: Optional[Callable[[Any], Any]],
    queue: str,
    no_local: bool,
    exclusive: bool,
    nowait: bool,
    ticket: int,
    arguments: Arguments,
) -> str:
    """Begin to consume; the tag of the consumer."""
    line, tag = channel._amqplib, consumer.tag
    if arguments:
        _warn_of_offset(line, arguments)
    args: Tuple[Any, ...] = ticket, queue, tag, no_local, consumer.no_ack, exclusive, nowait
    if len(line.method("basic.consume").fields) > len(args):
        args += (arguments,)
    elif arguments:
        raise line.not_in_dialect("arguments of basic.consume")

    def begin(reply: Tuple[Any, ...]) -> None:
        consumer.tag = reply[0]
        channel.callbacks[consumer.tag] = callback
        line.consumers.begin(consumer)
        if line.driver.parting.lapse is not None and line.driver.parting.lapse.port is line.port:
            line.driver.parting.lapse = None

    if not nowait:
        line.call("basic.consume", *args, answered=begin)
        return consumer.tag
    line.check()
    nobody: Any = object()
    before = channel.callbacks.get(tag, nobody)
    channel.callbacks[tag] = callback
    try:
        line.send("basic.consume", *args)
    except (ValueError, AMQPTimeoutError):  # nothing was sent
        channel.callbacks.pop(tag, None)
        if before is not nobody:
            channel.callbacks[tag] = before
        raise
    with line.driver.lock:
        begin((tag,))
    return tag


def end_consumer(channel: Channel[Any], consumer_tag: str, by: int) -> Ended:
    """With the lock held: a consumer has ended, by this thread. Who waits for the last one has to be told.

    What this returns has to be kept until the lock is let go: the callback may have a __del__.
    """
    line = channel._amqplib
    consumers, driver = line.consumers, line.driver
    was_there = consumer_tag in channel.callbacks
    ended: Ended = consumers.end(consumer_tag, channel.callbacks)
    if was_there and not channel.callbacks:
        # one for wait() and one for drain_events(): a thread is told by each
        consumers.lapse = Lapse(line.port, by, driver.sent)
        driver.parting.lapse = Lapse(line.port, by, driver.sent)
        consumers.look = True
        driver.notify()
    return ended


def cancel(channel: Channel[Any], consumer_tag: str, ask: Callable[[Callable[..., None]], None]) -> None:
    """End a consumer by `ask`, which calls what it is given when that has happened, with the lock held."""
    line, me = channel._amqplib, threading.get_ident()
    ended: List[Ended] = []

    def end(_: Any = None) -> None:
        ended.append(end_consumer(channel, consumer_tag, me))

    late: Optional[AMQPTimeoutError] = None
    try:
        ask(end)
    except AMQPTimeoutError as exc:
        if not ended:
            raise
        late = exc
    consumer, _callback = ended[0]
    if consumer is not None and not line.consumers.own:  # a program's own handler gets them
        give_back_unseen(channel, consumer)
        for lapse in lapses(line):
            lapse.is_all(line.driver.sent)
    if late is not None:
        raise late


# --- the loop of consume()


def consume(
    channel: Channel[Any],
    queue: str,
    no_ack: bool,
    exclusive: bool,
    arguments: Arguments,
    timeout: Optional[float],
) -> Generator[Any, None, None]:
    """None once the consumer is there, and then its messages."""
    line = channel._amqplib
    idle = line.driver.timeouts.deadline(timeout)  # ValueError, before there is a consumer
    arrived: Deque[Any] = deque()
    consumer = Consumer("", no_ack, arguments, arrived=arrived)
    waits = 0  # the thread that looks into `arrived` before it waits

    def arrive(msg: Any) -> None:
        arrived.append(msg)
        if waits != threading.get_ident():  # that thread may have looked already, and sit in poll()
            with line.driver.lock:
                line.driver.stir()
            if consumer.left:  # since this one was taken from the inbox
                give_back_unseen(channel, consumer)

    tag = subscribe(channel, consumer, arrive, queue, False, exclusive, False, channel.default_ticket, arguments)
    try:
        yield None
        idle, come = line.driver.timeouts.deadline(timeout), lambda: bool(arrived) or tag not in channel.callbacks
        while arrived or tag in channel.callbacks:
            if line.consumers.stopping:
                stop(channel)
                continue
            try:
                msg = arrived.popleft()
            except IndexError:  # asked for no permission: another thread may give some of it back
                msg = None
            if msg is not None:
                if not no_ack:
                    line.consumers.given[msg.delivery_tag] = None
                yield msg
                idle = line.driver.timeouts.deadline(timeout)
            elif idle.expired() and not _has_come_for(line, tag):
                break
            else:
                waits = threading.get_ident()
                try:  # another thread's wait() may take in what this one is for
                    item = line.port.next() or next_method(channel, None, idle, come)
                except AMQPTimeoutError:
                    if not idle.expired() or line.is_lost():
                        raise  # the program's own timeout, on the socket; or there is no connection
                else:
                    if item[0] is DELIVER:
                        if channel.auto_decode:
                            decode_body(item[2])
                        line.consumers.deliver(channel, *item[1:])
                    elif item is not HERE:
                        channel._amqplib_dispatch(*item)
        if not channel.is_open or (line.port.ending is not None and not line.is_lost()):
            raise line.over()  # a channel that is lost has no consumers either: that is no end to be content with
    except BaseException:
        # most likely the loop was left, perhaps by an exception, which matters more than what the channel says
        _leave(channel, consumer)
        raise
    _end_loop(channel, consumer, lambda: channel.basic_cancel(tag))


def _has_come_for(line: Line, tag: str) -> bool:
    """Has something come for a consumer that waits in the inbox?"""
    items = list(line.port.inbox)  # in one step: other threads may add to it
    return any(sig == DELIVER and args[0] == tag for sig, args, _ in items)


def _leave(channel: Channel[Any], consumer: Consumer) -> None:
    """The loop is left. What keeps its consumer from ending is logged."""
    line, tag = channel._amqplib, consumer.tag
    try:
        _end_loop(channel, consumer, lambda: cancel(channel, tag, partial(line.leave_consumer, tag)))
    except (AMQPException, OSError) as exc:
        if isinstance(exc, AMQPTimeoutError):
            line.unanswered()
        if channel.is_open and tag in channel.callbacks:  # dropped in the middle of another call, as by a collector
            LOGGER.warning("%s: consumer %r could not be cancelled and goes on: %s", line.where, tag, exc)
        elif channel.is_open and isinstance(exc, AMQPTimeoutError):
            LOGGER.warning("%s: the end of consumer %r is not waited for any more: %s", line.where, tag, exc)


def _end_loop(channel: Channel[Any], consumer: Consumer, end: Callable[[], None]) -> None:
    """End the consumer of a loop, and give back what has come for it and was not looked at."""
    if not channel.is_open:
        return
    late: Optional[AMQPTimeoutError] = None
    if consumer.tag in channel.callbacks:
        try:
            end()
        except AMQPTimeoutError as exc:
            if consumer.tag in channel.callbacks or not channel.is_open:
                raise
            late = exc
        is_known(channel._amqplib)
    consumer.left = True
    give_back_unseen(channel, consumer)
    if late is not None:
        raise late
