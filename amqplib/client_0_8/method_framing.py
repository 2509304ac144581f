"""Whole methods of any channel, for programs that have a loop of their own over a connection:

    channel_number, method_sig, args, content = conn.method_reader.read_method()
    conn.channels[channel_number].dispatch_method(method_sig, args, content)

Other programs have Connection.drain_events(), which does both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Tuple

from ..client.deadline import NEVER
from ..client.message import Message, encode_body
from ..client.net.transport import Transport
from ..wire.spec import Sig

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["MethodReader", "MethodWriter"]


class Arguments(Tuple[Any, ...]):
    """The arguments of a method, which can also be taken one by one with read_short(), read_shortstr() and so on."""

    _taken = 0

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if not name.startswith("read_"):
            raise AttributeError(name)
        return self._next

    def _next(self) -> Any:
        self._taken += 1
        return self[self._taken - 1]


class MethodReader:
    """Reads the next method of any channel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def source(self) -> Optional[Transport]:
        """What is read from; its `sock` is the socket."""
        return self._connection.transport

    def read_method(self) -> Tuple[int, Sig, Arguments, Any]:
        """(channel number, method signature, arguments, content or None), waiting until there is one."""
        line = self._connection._amqplib
        line.check()
        session = line.driver.session
        session.raw = Arguments
        port, (sig, args, content) = line.wait_for(session.next_ready, NEVER)
        return port.number, sig, Arguments(args), content


class MethodWriter:
    """Writes a method of any channel, past all that channels keep track of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write_method(
        self, channel: int, method_sig: Sig, args: Sequence[Any], content: Optional[Message] = None
    ) -> None:
        """`args` in the order of the protocol's fields."""
        driver = self._connection._amqplib.driver
        sender = driver.session.sender
        method = next((m for m in sender.dialect.by_key.values() if m.sig == method_sig), None)
        if method is None:
            raise ValueError("write_method: no method has the signature %r" % (method_sig,))
        if content is None:
            frames = sender.method(channel, method, tuple(args))
        else:
            frames = sender.content(channel, method, tuple(args), content.properties, encode_body(content))
            with driver.lock:
                driver.output.messages += 1
                if channel in driver.session.ports:
                    driver.session.ports[channel].returnable += 1  # if it is mandatory
        self._connection._amqplib.emit(frames)
