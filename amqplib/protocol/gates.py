"""Gates: why a publish is not simply sent.

A port without a gate is the fast path: its publishes go straight to the network. Otherwise Sending asks the gate.
Only `Port.regate` chooses one. There are four: SHUT and BLOCKED below, Batch, and the books of confirms.

Nobody asks of which class a gate is. One that stands before another has the `gathers` and `size` of that one, and has
it enter what it lets in. Only the books themselves have a short way past enter() (Confirms.count).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Set, Tuple, Union

from ..wire.frames import METHOD, PREFIX
from ..wire.spec import AMQP_0_9_1
from .endings import Over

__all__ = ["BLOCKED", "SHUT", "Batch", "Data", "Entered", "Gate"]

#: What is sent at one go: octets, or pieces of a long body, some of them views of it.
Data = Union[bytes, Sequence[Union[bytes, memoryview]]]

#: A delivery tag, None outside of confirm mode; and what to send now, None for nothing.
Entered = Tuple[Optional[int], Optional[Data]]


if TYPE_CHECKING:
    from typing import Protocol

    class Gate(Protocol):
        """What a publish has to pass."""

        @property
        def gathers(self) -> bool:
            """Do octets that are entered stay here? Then they need not wait for what is on its way."""

        @property
        def size(self) -> int:
            """How many have been gathered so: at Batch.LIMIT they are sent."""

        def enter(self, frames: Data, msg: Any, key: Any) -> Optional[Entered]:
            """Let a publish in; None when it has to wait. Raises Over when it can never be sent.

            key: how a mandatory message would look if it came back; None for others.
            """


class _Shut:
    """The channel or the connection is over, or about to be."""

    gathers, size = False, 0

    def enter(self, frames: Data, msg: Any, key: Any) -> Optional[Entered]:
        raise Over

    def __repr__(self) -> str:
        return "shut"


class _Blocked:
    """The broker takes no publishes for the time being (connection.blocked)."""

    gathers, size = False, 0

    def enter(self, frames: Data, msg: Any, key: Any) -> Optional[Entered]:
        return None

    def __repr__(self) -> str:
        return "blocked"


SHUT, BLOCKED = _Shut(), _Blocked()

_GATHERED: Entered = None, None

#: Class and method id of basic.publish, in any dialect, where a method frame has them.
_PUBLISH = AMQP_0_9_1["basic.publish"].key.to_bytes(4, "big")


class Batch:
    """Gathers the frames of one channel, to be sent together. In confirm mode they are counted as they are gathered.

    Frames leave in the order in which they came. Whatever else the channel sends takes along what is gathered.
    """

    __slots__ = ("books", "gathered", "going", "lost", "owner", "size")

    #: Octets that are gathered before they are sent.
    LIMIT = 65536

    gathers = True

    def __init__(self, books: Optional[Gate], owner: int) -> None:
        self.books = books
        #: The thread inside the with-statement.
        self.owner = owner
        self.gathered: List[bytes] = []
        #: Octets gathered.
        self.size = 0
        #: Threads that send what is gathered: until they are done it is not known whether that has gone.
        self.going: Set[int] = set()
        #: Were messages in it that no books have when its connection was lost?
        self.lost = False

    def enter(self, frames: Data, msg: Any, key: Any) -> Optional[Entered]:
        """Gather a publish. A long body goes at once, and waits until what was gathered before it has gone."""
        books = self.books
        entered: Optional[Entered] = _GATHERED
        if type(frames) is bytes:
            if books is not None:
                entered = books.enter(frames, msg, key)
                if entered is None:
                    return None
                entered = entered[0], None
            self.gathered.append(frames)
            self.size += len(frames)
            return entered
        if self.gathered:
            return None
        return (None, frames) if books is None else books.enter(frames, msg, key)

    def goes_by_others(self, thread: int) -> bool:
        """Is another thread sending what is gathered, as calls and waits do before they begin?"""
        return bool(self.going - {thread})

    def add(self, frame: bytes) -> None:
        """Gather the frame of a method, such as an acknowledgement."""
        self.gathered.append(frame)
        self.size += len(frame)

    def take(self) -> bytes:
        """All that is gathered; it is not here any more."""
        # another list first: a signal handler may add to it in between, and comes behind what is taken
        gathered, self.gathered, self.size = self.gathered, [], 0
        return b"".join(gathered)

    def lose(self, taken: bytes = b"") -> None:
        """The connection is lost, and with it what was gathered, and what was taken and could not be sent."""
        self.lost = self.lost or (self.books is None and _has_publish(taken + self.take()))

    def put_back(self, frames: bytes) -> None:
        """What was taken could not be sent."""
        self.gathered.insert(0, frames)
        self.size += len(frames)


def _has_publish(data: bytes) -> bool:
    offset = 0
    while offset < len(data):
        if data[offset + 7 : offset + 11] == _PUBLISH and data[offset] == METHOD:
            return True
        offset += PREFIX.size + PREFIX.unpack_from(data, offset)[2] + 1
    return False
