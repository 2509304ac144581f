"""stop_consuming(): every consumer of a channel ends, at whatever moment that is asked for.

It is basic_cancel() of each. Where a signal handler asks for it and no call can be served (in the middle of sending or
taking in, or of a call on the same channel), the channel is marked, and the loop that handles its deliveries does the
work before it handles another.

wait() pays nothing for that where a delivery is here: the mark takes the place of the function that handles deliveries
(`Consumers.deliver`). Whoever is waiting is woken and finds `Consumers.stopping`, which consume() looks at before each
message, too. drain_events(), which serves all channels and calls handlers by their table, looks at `Parting.stopping`.
tests/client/test_stop_consuming.py calls it at every moment of each loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Tuple

from ..protocol.port import DELIVER
from .exceptions import NestedCallError
from .unseen import give_back_late

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["stop", "stop_later"]


def stop(channel: Channel[Any]) -> None:
    """Cancel every consumer; NestedCallError, and they are still to be cancelled, where that cannot be done now."""
    line, me = channel._amqplib, threading.get_ident()
    call = line.port.call
    if call is not None and call.thread == me:  # perhaps it is what makes a consumer
        raise line.driver.nested("waiting for a reply on the same channel")
    line.consumers.stopped()
    try:
        for tag in list(channel.callbacks):
            channel.basic_cancel(tag)
    except NestedCallError:
        stop_later(channel)
        raise


def stop_later(channel: Channel[Any]) -> None:
    """Have the loop that handles deliveries call stop(), before it handles another."""
    line = channel._amqplib
    line.consumers.stop(_stop_and_give_back)
    line.driver.parting.stopping = True


def _stop_and_give_back(channel: Channel[Any], args: Tuple[Any, ...], msg: Any) -> None:
    """In the place of what handles deliveries: this one had come when stop_consuming() was called."""
    line = channel._amqplib
    try:
        stop(channel)
    except BaseException:
        line.port.inbox.appendleft((DELIVER, args, msg))
        raise
    consumer = line.consumers.find(args[0])
    if consumer is not None and not line.consumers.own:
        give_back_late(channel, consumer, args[1])
