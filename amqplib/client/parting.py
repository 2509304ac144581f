"""How a connection and its channels end, as far as more than one of them is concerned: what the driver keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from .leaving import Leaving

if TYPE_CHECKING:
    from ..protocol.port import Port
    from .lapse import Lapse

__all__ = ["Parting"]


class Parting:
    """What is known of ends of one connection, and of those who were told."""

    __slots__ = ("kept", "lapse", "leaving", "on_over", "stopping", "told_last")

    def __init__(self, control: Port) -> None:
        #: Called once, without the lock, when the program is told that the connection is over.
        self.on_over: Optional[Callable[[], None]] = None
        #: With-statements that are left, and the closes at their ends.
        self.leaving = Leaving()
        #: The latest lapse of any channel.
        self.lapse: Optional[Lapse] = None
        #: Is there a channel whose consumers the loop of drain_events() has to end?
        self.stopping = False
        #: The thread that was last told of a channel's end, and the channel.
        self.told_last: Tuple[int, Port] = 0, control
        #: `callbacks` of channels whose programs have yet to be told that the connection is over: tags only.
        self.kept: List[Dict[str, Any]] = []
