"""Messages that were left out: their properties are longer than the program wants any. What it is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Tuple

from .exceptions import AMQPException

if TYPE_CHECKING:
    from ..wire.content import Oversize
    from .driver import Driver
    from .line import Line

__all__ = ["error", "warn"]


def warn(driver: Driver) -> None:
    """With the lock held: some were on their way to consumers."""
    left_out = driver.session.receiver.left_out
    for number, (consumer_tag, delivery_tag, redelivered, exchange, routing_key), why in left_out:
        text = "channel %d of %s: a message was left out, for it has %s: delivery tag %d%s, for consumer %r, from "
        text += "exchange %r with routing key %r. It is not acknowledged: unless the consumer has no_ack, it comes "
        text += "again when the channel is closed, and counts as one on its way until then. Connect with %s=%d or "
        text += "more to take it; basic_reject(%d, False) drops it, or dead-letters it"
        which = delivery_tag, ", redelivered" if redelivered else "", consumer_tag, exchange, routing_key
        driver.notices.warn(text, number, driver.where, why, *which, why.option, why.size, delivery_tag)
        port = driver.session.ports.get(number)
        if port is not None and port.wants_ack is not None and port.wants_ack(consumer_tag):
            port.left_out.add(delivery_tag)
    left_out.clear()


def error(line: Line, facts: Tuple[Any, ...], no_ack: bool, why: Oversize) -> AMQPException:
    """What to raise where one was the answer to basic.get."""
    delivery_tag, _, exchange, routing_key, _ = facts
    text = "a message was left out, for it has %s: delivery tag %d, from exchange %r with routing key %r. "
    if no_ack:
        text += "The broker has forgotten it, for no_ack was set"
    else:
        text += "It is not acknowledged, and comes again when the channel is closed; "
        text += "basic_reject(%d, False) drops it, or dead-letters it" % delivery_tag
        with line.driver.lock:
            line.port.left_out.add(delivery_tag)
    text += ". Connect with %s=%d or more to take it"
    what = why, delivery_tag, exchange, routing_key, why.option, why.size
    return AMQPException(0, text % what, line.method("basic.get").sig, line.where)
