"""The consumers of a channel, and what had come for one and was not given to the program when it ended.

Such a message would stay unacknowledged and unseen, until an acknowledgement of several settled it: it would be lost.
So it goes back, and an acknowledgement of several reaches what was given only. Each consumer is noted here, because a
server must not be given back what it has forgotten already.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Callable, Container, Deque, Dict, Iterable, List, Optional, Set, Tuple

from ..protocol.port import DELIVER, Item
from ..wire.spec import sig_of
from .lapse import Lapse
from .line import Line
from .logger import LOGGER

if TYPE_CHECKING:
    from ..protocol.port import Port
    from .channel import Channel

__all__ = [
    "Consumer",
    "Consumers",
    "expects",
    "give_back_at_once",
    "give_back_late",
    "give_back_unseen",
    "settle_given",
    "take_again",
    "warn_of_offset",
]

_CONSUME_OK = sig_of("basic.consume_ok")

#: Ended consumers that are remembered, for what comes late: of those that were cancelled without waiting for an answer.
REMEMBERED = 128


#: For consumers with a callback. An own one would take more memory than all else of a consumer.
_NOTHING: Deque[Any] = deque(maxlen=0)


class Consumer:
    """What has to be known of a consumer when it ends."""

    __slots__ = ("arrived", "left", "loops", "no_ack", "on_cancel", "tag", "takes_back")

    def __init__(
        self,
        tag: str,
        no_ack: bool,
        arguments: Optional[Dict[str, Any]] = None,
        on_cancel: Optional[Callable[[str], Any]] = None,
        arrived: Optional[Deque[Any]] = None,
    ) -> None:
        self.tag = tag
        self.no_ack = no_ack
        #: A stream takes nothing back, and needs nothing.
        self.takes_back = not no_ack and "x-stream-offset" not in (arguments or {})
        #: The program's function for the end of the consumer by the server.
        self.on_cancel = on_cancel
        self.loops = arrived is not None
        #: Of consume(): has the loop ended? Then nobody looks into `arrived` any more.
        self.left = False
        #: Of consume(): what has been taken from the inbox for the loop, which has not seen it yet.
        self.arrived = _NOTHING if arrived is None else arrived


class Consumers:
    """The consumers of one channel, by tag."""

    __slots__ = (
        "_deliver",
        "_ended",
        "acking",
        "deliver",
        "given",
        "lapse",
        "look",
        "own",
        "running",
        "stopping",
        "transacted",
    )

    def __init__(self, deliver: Callable[..., Any], own: bool) -> None:
        #: What handles deliveries, and whether that is the program's own: its subclass may have one.
        self.deliver = self._deliver = deliver
        self.own = own
        #: Has stop_consuming() been called where it could not do its work? Then the loop does it.
        self.stopping = False
        #: Has wait() something to look at after each method that it has handled: a lapse, or the channel's end?
        self.look = False
        #: Noted when the last of them has ended.
        self.lapse: Optional[Lapse] = None
        self.running: Dict[str, Consumer] = {}
        #: Tags of those with a callback whose messages have to be acknowledged.
        self.acking: Set[str] = set()
        #: Delivery tags that the program was given and has not settled.
        self.given: Dict[int, None] = {}
        #: May acknowledgements be taken back (tx_rollback)?
        self.transacted = False
        self._ended: OrderedDict[str, Consumer] = OrderedDict()

    def stop(self) -> None:
        """Have the loop that handles deliveries end them all, before it handles another."""
        self.stopping = self.look = True
        self.deliver = _stop_and_give_back

    def stopped(self) -> None:
        """It is about to do so."""
        self.stopping = False
        self.deliver = self._deliver

    def begin(self, consumer: Consumer) -> None:
        """With the lock held: there is one more."""
        self.lapse = None
        self._ended.pop(consumer.tag, None)
        self.running[consumer.tag] = consumer
        self.acking.discard(consumer.tag)
        if not (consumer.no_ack or consumer.loops):
            self.acking.add(consumer.tag)

    def end(self, tag: str, callbacks: Dict[str, Any]) -> Tuple[Optional[Consumer], Any]:
        """With the lock held: it is over, and what comes late will be given back. With it, the callback it had.

        A delivery is handled without the lock. That looks for the callback, then among the ended ones, so these change
        in the other order. Who has found the callback looks into `acking`, so that stays as it is for a while.
        """
        consumer = self.running.get(tag)
        if consumer is not None:
            self._ended[tag] = consumer
            if len(self._ended) > REMEMBERED:
                self.acking.discard(self._ended.popitem(last=False)[0])
        callback = callbacks.pop(tag, None)
        self.running.pop(tag, None)
        return consumer, callback

    def ended(self, tag: str) -> Optional[Consumer]:
        """One that is over."""
        return self._ended.get(tag)

    def find(self, tag: str) -> Optional[Consumer]:
        """One that is running, or over."""
        return self.running.get(tag) or self._ended.get(tag)

    def wants_ack(self, tag: str) -> bool:
        """Have messages for a consumer to be acknowledged, as far as is known?"""
        consumer = self.find(tag)
        return consumer is None or not consumer.no_ack

    def may_have_more(self) -> bool:
        """May something be on its way that would have to be acknowledged?"""
        return bool(self._ended) or not all(each.no_ack for each in list(self.running.values()))

    def returnable(self, args: Tuple[Any, ...]) -> bool:
        """Can a delivery with these arguments go back to its queue?"""
        consumer = self.find(args[0])
        return consumer is not None and consumer.takes_back

    def returnable_loops(self) -> List[Consumer]:
        """Those of consume() that have what can go back and was not looked at."""
        return [each for each in list(self.running.values()) if each.arrived and each.takes_back]

    def settled(self, delivery_tag: int) -> None:
        """The program has settled all that it was given up to this one."""
        for tag in list(self.given):
            if tag <= delivery_tag:
                self.given.pop(tag, None)

    def lost(self, port: Port, before: Port) -> None:
        """With the lock held: the channel goes on with another port; what was delivered before is delivered anew."""
        self.given.clear()
        for consumer in self.running.values():
            if not consumer.no_ack:
                consumer.arrived.clear()
        if self.lapse is not None and self.lapse.port is before:
            self.lapse.port = port

    def clear(self) -> None:
        """The channel is over."""
        self.look, self.lapse = True, None
        self.running.clear()  # the port has it, too
        self.acking.clear()
        self.given.clear()
        self._ended.clear()


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


def _stop_and_give_back(channel: Channel[Any], args: Tuple[Any, ...], msg: Any) -> None:
    """In the place of what handles deliveries: this one had come when stop_consuming() was called."""
    line = channel._amqplib
    try:
        channel._amqplib_stop()
    except BaseException:
        line.port.inbox.appendleft((DELIVER, args, msg))
        raise
    consumer = line.consumers.find(args[0])
    if consumer is not None and not line.consumers.own:
        give_back_late(channel, consumer, args[1])


def _all_are_known(line: Line, consumers: Consumers) -> bool:
    """Is there more than the program was given, and is it known what it was given?

    Not where it handles deliveries by itself, nor where acknowledgements can be taken back.
    """
    if consumers.own or consumers.transacted or line.driver.session.raw:
        return False
    return bool(line.port.left_out) or consumers.may_have_more()


#: Nobody means a message of such a number: seconds from now to what is taken for a time.
_NEAR = 5 * 365 * 86400


def warn_of_offset(line: Line, arguments: Any) -> None:
    """Where a stream begins may be the number of a message or a time, and a number that was meant as a time is legal:
    the consumer waits for that message, and so for ever."""
    offset = arguments.get("x-stream-offset") if isinstance(arguments, dict) else None
    if type(offset) is not int:
        return
    for unit in (1, 1000):
        if abs(offset / unit - time.time()) < _NEAR:
            text = "%s: x-stream-offset: %d is the number of a message; for a time write datetime.fromtimestamp(%d)"
            LOGGER.warning(text, line.where, offset, offset // unit)


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
