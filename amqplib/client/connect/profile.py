"""What a client module does in its own way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence

if TYPE_CHECKING:
    from ...wire.spec import Dialect
    from ..deadline import Deadline
    from ..net.transport import Transport
    from .address import Address

__all__ = ["Profile"]


class Profile:
    """What a client module does in its own way.

    dialects: to be offered, in this order, to a broker that nothing is known of.
    heartbeat: what it is unless it is given; None leaves it to the server.
    open_transport: connects to an address, with TLS where `ssl` asks for it.
    header: the octets to open with in a dialect.
    unknown_arguments: what becomes of arguments of Connection that it does not have.
    clock: gives the seconds that all its deadlines go by.
    """

    __slots__ = ("clock", "dialects", "header", "heartbeat", "open_transport", "unknown_arguments")

    def __init__(
        self,
        dialects: Sequence[Dialect],
        heartbeat: Optional[int],
        open_transport: Callable[[Address, Any, Deadline], Transport],
        header: Callable[[Dialect], bytes],
        unknown_arguments: Callable[[List[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.dialects = dialects
        self.heartbeat = heartbeat
        self.open_transport = open_transport
        self.header = header
        self.unknown_arguments = unknown_arguments

    def offered(self, protocol: Optional[str]) -> Sequence[Dialect]:
        """The dialects to offer when the program has pinned one; ValueError for one that there is not."""
        chosen = [dialect for dialect in self.dialects if protocol in (None, dialect.name)]
        if not chosen:
            names = " or ".join(repr(dialect.name) for dialect in self.dialects)
            raise ValueError("protocol: %r: it is %s" % (protocol, names))
        return chosen
