"""`Broker`: what a program or a test holds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Type, TypeVar

from ..wire.protocol import DEFAULT_BODY_MAX
from .faults import Faults
from .hub import Hub, Limits
from .memory import DEFAULT_MEMORY_MAX
from .server import Server

__all__ = ["Broker", "ConnectionState", "ExchangeState", "QueueState"]

#: Seconds that clients have to answer when the broker goes down.
_FAREWELL = 0.2

BrokerT = TypeVar("BrokerT", bound="Broker")


class QueueState(NamedTuple):
    """A queue as it is now."""

    messages: int
    unacknowledged: int
    consumers: int
    durable: bool
    auto_delete: bool
    exclusive: bool


class ExchangeState(NamedTuple):
    """An exchange as it is now."""

    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    bindings: int


class ConnectionState(NamedTuple):
    """A connection as it is now."""

    #: The client's HOST:PORT.
    name: str
    user: str
    #: "0-8" or "0-9-1".
    protocol: str
    client_properties: Dict[str, Any]
    channels: int


class Broker:
    """An AMQP broker in memory, for demos and tests.

    It serves AMQP 0-8 and 0-9-1 in a thread of its own, and ends with its with-block:

        with Broker() as broker:
            connection = amqp.Connection(broker.address)

    host, port: where it listens; port 0 stands for a free one. users: names and passwords. vhosts: virtual hosts, which
    every user may use. heartbeat (seconds), frame_max (octets) and channel_max are what it proposes to clients, and
    body_max (octets) is the longest message that it takes. When messages take more than memory_max (octets, 0 for no
    limit), publishers are blocked. A connection has handshake_timeout seconds to log in, and as long as handshakes_max
    have not, no more are accepted. log is called with a line about each connection, in the broker's thread: what asks
    the broker there is a RuntimeError.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Optional[Mapping[str, str]] = None,
        vhosts: Sequence[str] = ("/",),
        heartbeat: int = 60,
        frame_max: int = 131072,
        channel_max: int = 2047,
        body_max: int = DEFAULT_BODY_MAX,
        memory_max: int = DEFAULT_MEMORY_MAX,
        handshake_timeout: float = 10.0,
        handshakes_max: int = 256,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        if isinstance(vhosts, str):
            raise TypeError("vhosts: a list of names, not the one %r" % vhosts)
        self._hub = Hub(
            time.monotonic,
            {"guest": "guest"} if users is None else users,
            vhosts,
            Limits(heartbeat, frame_max, channel_max, body_max, memory_max, handshake_timeout, handshakes_max),
            log=log,
        )
        self._server = Server(self._hub, host, port)
        self.host = host
        self.port = self._server.port
        #: What goes wrong on order.
        self.faults = Faults(self._hub, self._server)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return "%s:%d" % ("[%s]" % self.host if ":" in self.host else self.host, self.port)

    @property
    def running(self) -> bool:
        """It serves."""
        return self._server.running

    # --- what is there now

    def queues(self, vhost: str = "/") -> Dict[str, QueueState]:
        """The queues of a virtual host, by name."""

        def look() -> Dict[str, QueueState]:
            return {
                name: QueueState(
                    queue.message_count,
                    queue.unacknowledged,
                    len(queue.consumers),
                    queue.durable,
                    queue.auto_delete,
                    queue.owner is not None,
                )
                for name, queue in self._hub.vhosts[vhost].queues.items()
            }

        return self._server.call(look)

    def exchanges(self, vhost: str = "/") -> Dict[str, ExchangeState]:
        """The exchanges of a virtual host, by name."""

        def look() -> Dict[str, ExchangeState]:
            return {
                name: ExchangeState(
                    exchange.type, exchange.durable, exchange.auto_delete, exchange.internal, len(exchange.bindings)
                )
                for name, exchange in self._hub.vhosts[vhost].exchanges.items()
            }

        return self._server.call(look)

    def connections(self) -> List[ConnectionState]:
        """The connections that are logged in."""

        def look() -> List[ConnectionState]:
            return [
                ConnectionState(
                    session.name, session.user, session.dialect.name, session.client_properties, session.channel_count
                )
                for session in self._hub.sessions
                if session.user
            ]

        return self._server.call(look)

    def memory(self) -> int:
        """Octets that messages take now."""
        return self._server.call(lambda: self._hub.memory.octets)

    # --- who may use it

    def add_user(self, name: str, password: str) -> None:
        """One more user, or another password."""
        self._server.call(lambda: self._hub.users.update({name: password}))

    def delete_user(self, name: str) -> None:
        """The user cannot log in any more."""
        self._server.call(lambda: self._hub.users.pop(name))

    def add_vhost(self, name: str) -> None:
        """One more virtual host; one that is there stays as it is."""
        self._server.call(lambda: self._hub.add_vhost(name))

    def delete_vhost(self, name: str) -> None:
        """The virtual host is gone, with all that was in it; connections to it are closed."""
        self._server.call(lambda: self._hub.delete_vhost(name))

    # --- going away and coming back

    @property
    def is_up(self) -> bool:
        """It runs, and is there for clients: not between down() and up()."""
        return self._server.running and self._server.up

    def down(self, durable: bool = True, crash: bool = False) -> None:
        """Go away, until up(): all connections end, and new ones are refused.

        What is durable is kept, as RabbitMQ does: durable exchanges and queues, with the bindings between them and
        their persistent messages. durable=False keeps nothing. Users and virtual hosts stay in any case, and so do
        faults on order. Clients are told, by connection.close with 320, and have a moment to answer; with crash=True
        they are not, and their connections are reset.
        """
        self._server.call(self._server.go_down)
        if not crash:
            self._server.call(self._say_farewell)
            self._server.deserted.wait(_FAREWELL)

        def forget() -> None:
            self._server.drop_all(reset=crash)
            for vhost in self._hub.vhosts.values():
                vhost.restart(durable)

        self._server.call(forget)

    def _say_farewell(self) -> None:
        for session in list(self._hub.sessions):
            session.close(320, "broker forced connection closure with reason 'shutdown'")

    def up(self) -> None:
        """Be there again, on the same port."""
        self._server.call(self._server.come_up)

    def restart(self, durable: bool = True, crash: bool = False) -> None:
        """down() and up()."""
        self.down(durable, crash)
        self.up()

    # --- beginning and end

    def start(self) -> None:
        """Serve, in a thread of its own. A broker serves once: another one can have its port."""
        self._server.start()

    def serve(self) -> None:
        """Serve in this thread until end(), or until something is raised in it, such as KeyboardInterrupt."""
        self._server.run()
        self._raise_failures()

    def end(self) -> None:
        """Have serve() end all connections and return, soon. From any thread, and from a signal handler."""
        self._server.end()

    def stop(self) -> None:
        """End all connections and the thread. RuntimeError if something went wrong in the broker itself meanwhile."""
        self._server.stop()
        self._raise_failures()

    def _raise_failures(self) -> None:
        if self._hub.failures:
            raise RuntimeError("the broker has failed: this is a fault of its own") from self._hub.failures[0]

    def __enter__(self: BrokerT) -> BrokerT:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()
