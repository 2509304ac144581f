"""Faults on order: what a broker, or the network before it, does wrong when a test asks for it.

This is how a test orders them; what is in force is in `orders`. An order holds, for connections that are open as well
as for new ones, until clear(), or until the opposite is ordered.
"""

from __future__ import annotations

from typing import Callable, Optional

from .errors import shortened
from .hub import Hub
from .orders import Cut
from .peer import Peer
from .server import Server

__all__ = ["Faults"]


class Faults:
    """`broker.faults`. Every method may be called from any thread, and has taken effect when it returns."""

    def __init__(self, hub: Hub, server: Server) -> None:
        self._hub = hub
        self._server = server

    def _set(self, **orders: object) -> None:
        def give() -> None:
            for name, value in orders.items():
                setattr(self._hub.orders, name, value)

        self._server.call(give)

    def clear(self) -> None:
        """No more faults: what was stalled goes on, and what was blocked is not any more."""

        def give() -> None:
            flow = self._hub.orders.flow
            self._hub.orders.clear()
            self._server.cut_anew()
            self._server.resume()
            self._hub.unblock()
            for session in list(self._hub.sessions):
                if not flow:
                    session.flow(True)

        self._server.call(give)

    # --- the network

    def drop(
        self,
        after_frames: Optional[int] = None,
        after_octets: Optional[int] = None,
        received: bool = False,
        reset: bool = False,
    ) -> None:
        """Each connection is lost once it has been sent so many frames or octets more.

        received=True counts what comes from the client; what came before the cut is still carried out, and not
        answered. reset=True has the client get ECONNRESET instead of the end of the stream. Without a number, all
        connections are lost at once, and new ones are not.
        """

        for name, value in (("after_frames", after_frames), ("after_octets", after_octets)):
            if value is not None and value < 0:
                raise ValueError("%s: %d is less than none" % (name, value))

        def give() -> None:
            if after_frames is None and after_octets is None:
                self._server.drop_all(reset)
            else:
                self._hub.orders.cut = lambda: Cut(after_frames, after_octets, received, reset)
                self._server.cut_anew()

        self._server.call(give)

    def stall(self) -> None:
        """Nothing is read and nothing sent, though the system takes new connections: a broker that hangs."""

        def give() -> None:
            self._hub.orders.stalled = True
            self._server.watch_anew()

        self._server.call(give)

    def resume(self) -> None:
        """The end of stall()."""

        def give() -> None:
            self._hub.orders.stalled = False
            self._server.resume()

        self._server.call(give)

    def split(self, octets: int, pause: float = 0.001) -> None:
        """Everything is sent in pieces of so many octets, with so many seconds between them."""
        if octets < 1:
            raise ValueError("octets: %d; a piece has one at least" % octets)
        self._set(split=(octets, pause))

    def coalesce(self, seconds: float) -> None:
        """What is sent within so many seconds is sent at once, at their end."""
        self._set(coalesce=seconds)

    def garbage(self, data: bytes = b"\xff" * 64) -> None:
        """Every connection is sent these bytes now."""
        octets = bytes(memoryview(data))  # a TypeError here, if it is one
        self._each(lambda session: session.write(octets))

    # --- the connection

    def refuse_logins(self, text: str = "") -> None:
        """Nobody is let in any more, as if every password were wrong. text: instead of RabbitMQ's words."""
        self._set(login_refusal=text)

    def redirect(self, host: str) -> None:
        """Clients that open a virtual host are sent to HOST:PORT. Only 0-8 has that; with 0-9-1 nothing happens."""
        self._set(redirect_to=host)

    def ask_secure(self, challenge: str = "who goes there?") -> None:
        """Clients are asked connection.secure when they log in; any answer will do."""
        self._set(challenge=challenge)

    def block(self, reason: str = "low on memory") -> None:
        """Connections that publish get connection.blocked, and nothing more is read from them."""
        self._set(blocked=reason)

    def unblock(self) -> None:
        """The end of block()."""

        def give() -> None:
            self._hub.orders.blocked = None
            self._hub.unblock()

        self._server.call(give)

    def close_connections(self, text: str = "a test says so") -> None:
        """The broker closes all connections, with 320 CONNECTION_FORCED."""
        self._each(lambda session: session.close(320, shortened(text)))

    # --- channels

    def nack_every(self, number: int) -> None:
        """Of all publishes that are to be confirmed, every so-many-th is dropped and nacked; 0: none."""
        if number < 0:
            raise ValueError("number: %d is less than none" % number)
        self._set(nack_every=number, published=0)

    def delay_confirms(self, seconds: float) -> None:
        """Confirms come that much later."""
        self._set(confirm_delay=seconds)

    def cancel_consumers(self, queue: Optional[str] = None) -> int:
        """End all consumers, or those of a queue, as if it were gone; how many."""

        def cancel() -> int:
            return sum(session.cancel_consumers(queue) for session in list(self._hub.sessions))

        return self._server.call(cancel)

    def flow(self, active: bool) -> None:
        """Every channel is sent channel.flow, new ones too: False asks publishers to pause."""

        def give() -> None:
            self._hub.orders.flow = active
            for session in list(self._hub.sessions):
                session.flow(active)

        self._server.call(give)

    def _each(self, order: Callable[[Peer], None]) -> None:
        def give() -> None:
            for session in list(self._hub.sessions):
                order(session)

        self._server.call(give)
