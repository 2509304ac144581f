"""The beginning of a connection: from the protocol header to connection.open-ok (0-9-1, section 2.2.4)."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from .. import __version__
from ..wire import frames
from ..wire.server import ServerReceiver
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from .errors import ConnectionRefusal
from .hub import Hub
from .login import MECHANISMS
from .message import Content
from .peer import Peer

__all__ = ["BEFORE_TUNING", "HANDLERS", "PRODUCT", "Handshake"]

PRODUCT = "amqplib broker"

#: Protocol headers and what they ask for. The old ones are those that RabbitMQ up to 3.13 takes for 0-8.
_HEADERS: Dict[bytes, Dialect] = {
    AMQP_0_9_1.header: AMQP_0_9_1,
    AMQP_0_8.header: AMQP_0_8,
    b"AMQP\x01\x01\x08\x00": AMQP_0_8,
}
_HEADER_SIZE = 8

_VERSIONS = {"0-8": (8, 0), "0-9-1": (0, 9)}

#: What is due up to connection.tune.
BEFORE_TUNING = ("connection.start_ok", "connection.secure_ok")

_CAPABILITIES = (
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "consumer_priorities",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
)


class Handshake(Peer):
    """The part of a session that makes the connection. `due` says where it is."""

    def __init__(self, hub: Hub, name: str) -> None:
        super().__init__(name, hub.orders, hub.memory, hub.dirty)
        self.hub = hub
        #: The method of channel 0 that has to come next; "" where none may.
        self.due = "connection.start_ok"
        self._header = b""
        self._channel_max = 0  # as many channels may be open; 0 for any number
        self._receiver: Optional[ServerReceiver] = None
        hub.handshakes.add(self)
        self._patience = hub.timers.after(hub.limits.handshake_timeout, self._out_of_patience)

    def _out_of_patience(self) -> None:
        limits = self.hub.limits
        if self.orders.stalled:  # it is not the client's fault
            self._patience = self.hub.timers.after(limits.handshake_timeout, self._out_of_patience)
        else:
            self.finish("no handshake within %g s" % limits.handshake_timeout)

    def end_handshake(self) -> None:
        """The connection is open, or will never be."""
        self._patience.cancel()
        self.hub.handshakes.discard(self)

    def finish(self, why: str, linger: bool = False) -> None:
        """The end."""
        raise NotImplementedError

    def begin_heartbeats(self, seconds: int) -> None:
        """An interval for heartbeats is agreed on, or 0."""
        raise NotImplementedError

    def take_header(self, data: bytes) -> bytes:
        """The protocol header (0-9-1, section 4.2.2); what follows it."""
        data = self._header + data
        if len(data) < _HEADER_SIZE and b"AMQP".startswith(data[:4]):
            self._header = data
            return b""
        header, rest = data[:_HEADER_SIZE], data[_HEADER_SIZE:]
        dialect = _HEADERS.get(header)
        if dialect is None:
            self.write(AMQP_0_9_1.header)
            self.finish("not a protocol header that is known here: %r" % header)
            return b""
        self.dialect = dialect
        self._receiver = ServerReceiver(dialect, Content, self.hub.limits.body_max)
        self._receiver.frame_max = frames.MIN_SIZE  # until something is agreed on
        version = _VERSIONS[dialect.name]
        capabilities = dict.fromkeys(_CAPABILITIES, True) if dialect is AMQP_0_9_1 else {}
        properties = {
            "product": PRODUCT,
            "version": __version__,
            "platform": "Python",
            "information": "in memory, for demos and tests",
            "capabilities": capabilities,
        }
        self.send(0, "connection.start", *version, properties, " ".join(MECHANISMS), "en_US")
        return rest

    def _start_ok(self, client_properties: Dict[str, Any], mechanism: str, response: str, locale: str) -> None:
        self.client_properties = client_properties
        self.tells_of_cancelled_consumers = self.client_can("consumer_cancel_notify")
        read = MECHANISMS.get(mechanism)
        if read is None:
            raise ConnectionRefusal(503, "unknown authentication mechanism '%s'" % mechanism)
        login = read(response.encode("utf-8", "surrogateescape"))
        orders = self.orders
        if login is None or self.hub.users.get(login[0]) != login[1] or orders.login_refusal is not None:
            self._refuse_login(mechanism, orders.login_refusal)
            return
        self.user = login[0]
        if orders.challenge is not None:
            self.send(0, "connection.secure", orders.challenge)
            self.due = "connection.secure_ok"
        else:
            self._tune()

    def _refuse_login(self, mechanism: str, text: Optional[str]) -> None:
        text = text or (
            "Login was refused using authentication mechanism %s. For details see the broker logfile." % mechanism
        )
        self.hub.log("%s: login refused" % self.name)
        if self.client_can("authentication_failure_close"):
            raise ConnectionRefusal(403, text)
        self.finish("login refused")  # the specification has no words for it

    def client_can(self, capability: str) -> bool:
        """Has the client announced this?"""
        capabilities = self.client_properties.get("capabilities")
        return isinstance(capabilities, dict) and capabilities.get(capability) is True

    def _secure_ok(self, response: str) -> None:
        self._tune()

    def _tune(self) -> None:
        limits = self.hub.limits
        self.send(0, "connection.tune", limits.channel_max, limits.frame_max, limits.heartbeat)
        self.due = "connection.tune_ok"

    def _tune_ok(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        limits = self.hub.limits
        for name, value, most in (
            ("channel_max", channel_max, limits.channel_max),
            ("frame_max", frame_max, limits.frame_max),
        ):
            if most and not 0 < value <= most:
                raise ConnectionRefusal(
                    530, "negotiated %s = %d is higher than the maximum allowed value (%d)" % (name, value, most)
                )
        if 0 < frame_max < frames.MIN_SIZE:
            raise ConnectionRefusal(
                530,
                "negotiated frame_max = %d is lower than the minimum allowed value (%d)" % (frame_max, frames.MIN_SIZE),
            )
        assert self._receiver
        self._frame_max = self._receiver.frame_max = frame_max
        self._channel_max = channel_max
        self.begin_heartbeats(heartbeat)
        self.due = "connection.open"

    def _open(self, virtual_host: str, capabilities: str, insist: bool) -> None:
        if self.orders.redirect_to is not None and "connection.redirect" in self.dialect:
            self.send(0, "connection.redirect", self.orders.redirect_to, "")
            self.due = ""
            return
        self.vhost = self.hub.vhosts.get(virtual_host)
        if self.vhost is None:
            raise ConnectionRefusal(530, "vhost %s not found" % virtual_host)
        self.send(0, "connection.open_ok", "")
        self.due = "connection.update_secret"
        self.end_handshake()
        self.hub.log(
            "%s: opened by %s, AMQP %s, virtual host %s" % (self.name, self.user, self.dialect.name, virtual_host)
        )

    def _update_secret(self, new_secret: str, reason: str) -> None:
        self.send(0, "connection.update_secret_ok")


#: What is to be done about each method of channel 0 when it is due.
HANDLERS: Dict[str, Callable[..., None]] = {
    "connection.start_ok": Handshake._start_ok,
    "connection.secure_ok": Handshake._secure_ok,
    "connection.tune_ok": Handshake._tune_ok,
    "connection.open": Handshake._open,
    "connection.update_secret": Handshake._update_secret,
}
