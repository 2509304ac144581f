"""How a connection and its channels end, as far as more than one of them is concerned: what the driver keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .deadline import Deadline

if TYPE_CHECKING:
    from ..protocol.port import Port
    from .lapse import Lapse

__all__ = ["Left", "Parting"]


class Left(NamedTuple):
    """A close of a channel or of the connection: another one that comes next belongs to it."""

    thread: int
    #: What had been sent when it was over: see Driver.sent.
    sent: int
    deadline: Deadline
    answered: bool


class Parting:
    """What is known of ends of one connection, and of those who were told."""

    __slots__ = ("kept", "lapse", "leaving", "left", "on_over", "stopping", "told_last")

    def __init__(self, control: Port) -> None:
        #: Called once, without the lock, when the program is told that the connection is over.
        self.on_over: Optional[Callable[[], None]] = None
        #: The thread that is leaving a with-statement, and whether an exception is.
        self.leaving: Tuple[int, bool] = 0, False
        #: The latest close.
        self.left: Optional[Left] = None
        #: The latest lapse of any channel.
        self.lapse: Optional[Lapse] = None
        #: Is there a channel whose consumers the loop of drain_events() has to end?
        self.stopping = False
        #: The thread that was last told of a channel's end, and the channel.
        self.told_last: Tuple[int, Port] = 0, control
        #: `callbacks` of channels whose programs have yet to be told that the connection is over: tags only.
        self.kept: List[Dict[str, Any]] = []
