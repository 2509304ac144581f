"""What a channel does with each method that arrives: one function for each, called by wait() and drain_events().

No lock is held here, so that functions of the program may be called, and may do what they want.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple

from ..protocol.port import ACK, CLOSE, DELIVER, NACK, RETURN
from ..wire.spec import Sig, sig_of
from .confirming import report_one
from .consuming import end_consumer
from .logger import LOGGER
from .message import Message
from .unseen import give_back_late

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["METHOD_MAP"]


def _deliver(channel: Channel[Any], args: Tuple[Any, ...], msg: Message) -> None:
    consumer_tag, delivery_tag, redelivered, exchange, routing_key = args
    msg.delivery_info = {
        "channel": channel,
        "consumer_tag": consumer_tag,
        "delivery_tag": delivery_tag,
        "redelivered": redelivered,
        "exchange": exchange,
        "routing_key": routing_key,
    }
    consumers = channel._amqplib.consumers
    callback = channel.callbacks.get(consumer_tag)
    if callback is not None:
        if consumer_tag in consumers.acking:
            consumers.given[delivery_tag] = None
        callback(msg)
    elif consumer_tag in channel.callbacks:  # the program has given None
        if consumer_tag in consumers.acking:
            consumers.given[delivery_tag] = None
    else:
        consumer = consumers.ended(consumer_tag)
        if consumer is not None:
            give_back_late(channel, consumer, delivery_tag)


def _cancel(channel: Channel[Any], args: Tuple[str, bool]) -> None:
    """The server ended a consumer, as when its queue was deleted."""
    consumer_tag, nowait = args
    line = channel._amqplib
    why = "its queue is gone or has moved, or (RabbitMQ 4.3) a message was unacknowledged for consumer_timeout"
    known = consumer_tag in channel.callbacks or consumer_tag in line.consumers.running
    if known or line.port.is_first(_CANCEL):
        LOGGER.warning("%s: the server cancelled consumer %r: most likely %s", line.where, consumer_tag, why)
    me = threading.get_ident()
    with line.driver.lock:
        consumer, _callback = end_consumer(channel, consumer_tag, me)
        line.driver.stir()
    if not nowait:
        line.send("basic.cancel_ok", consumer_tag)
    if consumer is not None and consumer.on_cancel:
        consumer.on_cancel(consumer_tag)


def _confirmed(channel: Channel[Any], args: Tuple[Any, ...]) -> None:
    line = channel._amqplib
    if line.port.books is not None:
        report_one(line)
    elif line.port.is_first(ACK):
        LOGGER.warning("%s: basic_ack is not for a client, ignored", line.where)


def _return(channel: Channel[Any], args: Tuple[int, str, str, str], msg: Optional[Message] = None) -> None:
    if msg is None:
        return  # it is in the queue, and counts as the one method of a wait()
    if channel.on_return:
        channel.on_return(*args, msg)
    elif channel._amqplib.driver.session.raw is None:  # there was a function when it came
        channel.returned_messages.put((*args, msg))


def _flow(channel: Channel[Any], args: Tuple[bool]) -> None:
    """The server asks for no messages, or for messages again; old ones did."""
    channel.active = args[0]
    channel._amqplib.send("channel.flow_ok", channel.active)


def _alert(channel: Channel[Any], args: Tuple[int, str, Dict[str, Any]]) -> None:
    channel.alerts.put(args)


def _close(channel: Channel[Any], args: Tuple[Any, ...]) -> None:
    """It is over already. For programs that read methods by themselves, this is where they are told."""
    raise channel._amqplib.over()


_CANCEL = sig_of("basic.cancel")

METHOD_MAP: Dict[Sig, Callable[..., Any]] = {
    ACK: _confirmed,
    NACK: _confirmed,
    RETURN: _return,
    DELIVER: _deliver,
    CLOSE: _close,
    _CANCEL: _cancel,
    sig_of("channel.flow"): _flow,
    sig_of("channel.alert"): _alert,
}
