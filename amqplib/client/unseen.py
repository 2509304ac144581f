"""Deliveries that the program was not given when their consumer ended, or when it settles several at once.

Such a message would stay unacknowledged and unseen, until an acknowledgement of several settled it: it would be lost.
So it goes back, and an acknowledgement of several reaches what was given only.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Callable, Container, Deque, Iterable, List, Optional, Tuple

from ..protocol.port import Item
from ..wire.spec import sig_of
from .logger import LOGGER

if TYPE_CHECKING:
    from .channel import Channel
    from .consumers import Consumer, Consumers
    from .line import Line

__all__ = [
    "expects",
    "give_back_at_once",
    "give_back_late",
    "give_back_unseen",
    "given_back",
    "settle_given",
    "take_again",
]

_CONSUME_OK = sig_of("basic.consume_ok")

#: What was withdrawn before the program was given it: its delivery tag, where it was, and what it was there.
_Unseen = Tuple[int, Deque[Any], Any]


def _give_back(line: Line, unseen: List[_Unseen]) -> None:
    """Reject what was withdrawn; where that cannot be sent it is put back to where it was, and nothing is lost."""
    given = 0
    try:
        for tag, _, _ in unseen:
            line.give_back(tag)
            given += 1
    finally:
        _put_back(line, unseen[given:])


def _put_back(line: Line, unseen: List[_Unseen]) -> None:
    with line.driver.lock:
        for _, place, item in reversed(unseen):
            place.appendleft(item)
        if line.port.inbox:
            line.driver.session.ready[line.port.number] = line.port


def _lost(line: Line, consumer: Consumer, count: int) -> Tuple[Any, ...]:
    """The warning that messages are lost."""
    text = "%s: %d messages are lost: they had come for consumer %r (no_ack) when it was cancelled"
    return text, line.where, count, consumer.tag


def _withdraw(
    line: Line, wanted: Callable[[Tuple[Any, ...]], bool], loops: Iterable[Consumer], up_to: int = 0
) -> List[_Unseen]:
    """With the lock held: take what was not given yet out of the inbox, and from loops; by rising tags."""
    port = line.port
    unseen: List[_Unseen] = [(item[1][1], port.inbox, item) for item in port.withdraw(wanted, up_to)]
    for consumer in loops:
        arrived = consumer.arrived
        while arrived:
            try:
                if up_to and arrived[0].delivery_info["delivery_tag"] > up_to:
                    break
                msg = arrived.popleft()
            except IndexError:
                break  # the loop has it
            unseen.append((msg.delivery_info["delivery_tag"], arrived, msg))
    return sorted(unseen, key=itemgetter(0))


def give_back_unseen(channel: Channel[Any], consumer: Consumer) -> None:
    """A consumer was cancelled: give back what has come for it and was not given to the program."""
    line, tag = channel._amqplib, consumer.tag
    with line.driver.lock:
        unseen = _withdraw(line, lambda args: bool(args[0] == tag), [consumer])
    if consumer.takes_back:
        _give_back(line, unseen)
    elif unseen and consumer.no_ack:
        LOGGER.warning(*_lost(line, consumer, len(unseen)))


def give_back_late(channel: Channel[Any], consumer: Consumer, delivery_tag: int) -> None:
    """A delivery that nobody is there for any more."""
    line = channel._amqplib
    if consumer.takes_back:
        line.give_back(delivery_tag)
    elif consumer.no_ack:
        LOGGER.warning(*_lost(line, consumer, 1))


def expects(line: Line, callbacks: Container[str], item: Item) -> bool:
    """With the lock held: see Port.expects."""
    call = line.port.call
    asks = call is not None and _CONSUME_OK in call.expected
    return item[1][0] in callbacks or asks or bool(line.consumers.own)


def give_back_at_once(line: Line, item: Item) -> bool:
    """With the lock held: see Port.give_back. It is late for a consumer that was cancelled."""
    (consumer_tag, delivery_tag, *_), session = item[1], line.driver.session
    consumer: Optional[Consumer] = line.consumers.ended(consumer_tag)
    if consumer is None:
        return False
    if consumer.takes_back:
        tag = session.of_peer(delivery_tag)
        frame = session.sender.method(line.port.number, session.dialect["basic.reject"], (tag, True))
        session.offer(frame)
        if line.driver.output.acks is not None:
            line.driver.output.acks.sent(line.port.number, frame)
    elif consumer.no_ack:
        line.driver.notices.warn(*_lost(line, consumer, 1))
    return True


def _all_are_known(line: Line, consumers: Consumers) -> bool:
    """Is there more than the program was given, and is it known what it was given?

    Not where it handles deliveries by itself, nor where acknowledgements can be taken back.
    """
    if consumers.own or consumers.transacted or line.driver.session.raw:
        return False
    return bool(line.port.left_out) or consumers.may_have_more()


def take_again(line: Line, ask: Callable[[], None]) -> None:
    """Ask the server to deliver again all that is not settled. What had come and was not given to the program is left
    out here: it comes again as well, under another tag, and this one would be refused."""
    consumers = line.consumers
    unseen: List[_Unseen] = []
    if not (consumers.own or line.driver.session.raw):
        with line.driver.lock:
            unseen = _withdraw(line, consumers.returnable, consumers.returnable_loops())
    try:
        ask()
    except BaseException:
        _put_back(line, unseen)
        raise
    consumers.given.clear()
    with line.driver.lock:
        line.port.left_out.clear()


def settle_given(line: Line, delivery_tag: int, settle: Callable[[int, bool], None]) -> None:
    """The program settles several at once, up to this one (0: all that it was given). Nothing else must be settled.

    settle: tells the server of one, or of all up to one. Mostly that is one call: deliveries are given in order, and
    what was not given has a higher tag. Where something was not, those behind it are settled one by one.
    """
    consumers = line.consumers
    known = _all_are_known(line, consumers)
    if not delivery_tag and known:  # to a server, 0 would be all that it has sent
        delivery_tag = max(list(consumers.given), default=0)
        if not delivery_tag:
            return

    with line.driver.lock:
        port = line.port
        returnable, loops = consumers.returnable, consumers.returnable_loops()
        if known:
            # what is not there any more is being given, to another thread
            unseen = [args[1] for args in port.deliveries() if args[1] <= delivery_tag and returnable(args)]
            unseen += [msg.delivery_info["delivery_tag"] for each in loops for msg in list(each.arrived)]
            first = min([*unseen, *port.left_out], default=delivery_tag + 1)
            withdrawn: List[_Unseen] = []
        else:
            first = delivery_tag + 1
            withdrawn = _withdraw(line, returnable, loops, delivery_tag) if port.inbox or loops else []
    _give_back(line, withdrawn)
    if first > delivery_tag or not delivery_tag:
        settle(delivery_tag, True)
        if delivery_tag:
            consumers.settled(delivery_tag)
        else:
            consumers.given.clear()
        return
    given = sorted(tag for tag in list(consumers.given) if tag <= delivery_tag)
    below = [tag for tag in given if tag < first]
    if below:
        settle(below[-1], True)
        consumers.settled(below[-1])
    for tag in [tag for tag in given if tag > first]:
        settle(tag, False)
        consumers.given.pop(tag, None)
    if delivery_tag not in given:  # settled before, which the server objects to; or it is what the program asks for
        settle(delivery_tag, False)
        port.left_out.discard(delivery_tag)


def given_back(line: Line, delivery_tag: int) -> None:
    """The program has given one message back."""
    line.consumers.given.pop(delivery_tag, None)
    if line.port.left_out:
        with line.driver.lock:
            line.port.left_out.discard(delivery_tag)
