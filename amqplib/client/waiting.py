"""wait() of a channel where nothing is here yet, and what it has to look at when a method has been handled.

The usual way, a delivery that is here, is in Channel.wait() itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Collection, Optional

from ..protocol.endings import Over
from ..protocol.port import DELIVER, RETURN, Item
from ..wire.spec import Sig
from .deadline import Deadline
from .lapse import is_known
from .stopping import stop

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["HERE", "NOTHING", "after_handling", "next_method"]

#: In the place of a method: what was waited for is there already.
NOTHING: Sig = (0, 0)
HERE: Item = NOTHING, (), None

#: In the place of a returned message that the program has taken already.
_NOTED: Item = (RETURN, (), None)


def next_method(
    channel: Channel[Any],
    allowed: Optional[Collection[Sig]],
    deadline: Deadline,
    here: Optional[Callable[[], bool]] = None,
) -> Item:
    """The next method that is allowed, waiting until there is one. HERE where a loop has nothing to wait for any more.

    here: with the lock held, whether what the caller waits for has been taken from the inbox by somebody else.
    """
    line, port = channel._amqplib, channel._amqplib.port
    if not channel.is_open:
        raise line.over()
    consumers, counts_returned = line.consumers, int(allowed is None or RETURN in allowed)
    counts_deliveries = allowed is None or DELIVER in allowed
    if port.noted and not channel.returned_messages.queue:  # empty() would wait for a put() that a signal interrupted
        port.noted = 0  # the program has had them already

    def take() -> Optional[Item]:
        port = line.port  # now: it may be another one after a loss
        if consumers.stopping or (here is not None and here()):
            return HERE
        if counts_returned and port.noted and port.next_noted():
            return _NOTED
        item = port.next(allowed)
        if item is None:
            # a connection that may come back is no end of a loop, but to be told of it may be
            if port.ending is not None and not line.is_lost():
                raise Over
            if consumers.lapse is not None and counts_deliveries and consumers.lapse.is_news(line.driver.sent):
                return HERE
            if port.ending is not None:
                raise Over
            if counts_returned and line.driver.tested.is_past(port, line.driver.session.control):
                return HERE
        return item

    line.count_waiting(counts_returned, counts_deliveries)
    try:
        item: Item = line.wait_for_method(take, deadline)
    finally:
        line.count_waiting(-counts_returned, -counts_deliveries)
    if consumers.stopping and item is HERE:
        stop(channel)
        is_known(line)
    return item


def after_handling(channel: Channel[Any]) -> None:
    """A method has been handled, and a loop of the program may test `callbacks` next, which may be empty."""
    line = channel._amqplib
    if line.consumers.stopping:
        stop(channel)
    is_known(line)
    if not channel.is_open and line.why_over() is not None:
        line.kept.clear()  # a callback has kept it to itself: that is no end to be content with
        raise line.why_over() or line.over()
