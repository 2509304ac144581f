"""The consumers of one channel: what is known of each, and what the program was given of their messages.

Each is noted, and remembered for a while when it has ended: a server must not be given back what it has forgotten
already. What is done with that is in `consuming` (a consumer begins and ends), `unseen` (what had come for one and was
not given to the program) and `stopping`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Set, Tuple

if TYPE_CHECKING:
    from ..protocol.port import Port
    from .lapse import Lapse

__all__ = ["REMEMBERED", "Consumer", "Consumers"]

#: Ended consumers that are remembered, for what comes late: of those that were cancelled without waiting for an answer.
REMEMBERED = 128


#: For consumers with a callback. An own one would take more memory than all else of a consumer.
_NO_LOOP: Deque[Any] = deque(maxlen=0)


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
        self.arrived = _NO_LOOP if arrived is None else arrived


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

    def stop(self, deliver: Callable[..., Any]) -> None:
        """Have `deliver`, which ends them all, called in the place of what handles deliveries."""
        self.stopping = self.look = True
        self.deliver = deliver

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
