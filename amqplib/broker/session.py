"""A connection as the broker sees it, without I/O: bytes in, bytes out.

`receive` takes what the network gave; what is to be sent is in `outgoing`. A session is in one state at a time: the
name of a function that takes the next method of channel 0, or all of them once the connection is open. Methods of other
channels go to their Channel, by the method's name.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache, partial
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from .. import __version__
from ..wire.errors import PeerError
from ..wire.frames import HEARTBEAT, METHOD, encode_frame
from ..wire.protocol import Event
from ..wire.server import Properties, ServerReceiver, content_frames
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Method
from .channel import Channel
from .errors import REPLY_NAMES, ChannelRefusal, ConnectionRefusal, shortened
from .hub import Hub
from .login import MECHANISMS
from .message import Content
from .timers import Timer
from .vhost import VHost

__all__ = ["PRODUCT", "Session"]

PRODUCT = "amqplib broker"

#: Protocol headers and what they ask for. The old ones are those that RabbitMQ up to 3.13 takes for 0-8.
_HEADERS: Dict[bytes, Dialect] = {
    AMQP_0_9_1.header: AMQP_0_9_1,
    AMQP_0_8.header: AMQP_0_8,
    b"AMQP\x01\x01\x08\x00": AMQP_0_8,
}
_HEADER_SIZE = 8

_VERSIONS = {"0-8": (8, 0), "0-9-1": (0, 9)}

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

#: The smallest frame_max (0-9-1, section "constants", frame-min-size).
_FRAME_MIN = 4096

#: Octets on their way to a client from which on it gets no more deliveries, until they are gone.
_HIGH_WATER = 1 << 20

#: Seconds for a client to answer a close, and to close the socket once all is said.
_CLOSE_TIMEOUT = 10.0
_LINGER = 1.0

_HEARTBEAT_FRAME = encode_frame(HEARTBEAT, 0, b"")

_Handler = Callable[..., None]


class Session:
    """One connection, from its first byte to its last."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        #: Who it is, for the log.
        self.name = name
        self.dialect = AMQP_0_9_1
        #: Bytes to be sent, in order. Whoever sends them says so with sent().
        self.outgoing: List[bytes] = []
        #: Deliveries may be written: not too much is on its way already.
        self.writable = True
        #: Nothing is to be read: the broker is "blocked", and the client has published.
        self.blocked = False
        #: All has been said; what the client still says is dropped.
        self.finished = False
        #: The socket is to be closed once all of `outgoing` is gone.
        self.over = False
        #: Channels that have confirms to be sent.
        self.to_confirm: List[Channel] = []
        self.client_properties: Dict[str, Any] = {}
        #: The client has said that it wants to know of consumers that end without its doing.
        self.tells_of_cancelled_consumers = False
        self.user = ""
        #: Set once it is open.
        self.vhost: Optional[VHost] = None
        self.channels: Dict[int, Channel] = {}
        self._pending = 0  # octets written and not sent
        self._heard = hub.timers.clock()
        self._heartbeat = 0
        self._timers: List[Timer] = []
        self._header = b""
        self._receiver: Optional[ServerReceiver] = None
        self._frame_max = 0
        self._held: Deque[Event] = deque()  # while blocked
        self._state: _Handler = self._expect_start_ok
        self._handlers: Dict[str, _Handler] = {}
        hub.sessions.add(self)

    # --- in

    def receive(self, data: bytes) -> None:
        """Take what the client has sent."""
        self._heard = self.hub.timers.clock()
        if self._receiver is None:
            data = self._take_header(data)
        if self._receiver is None or self.finished or not data:
            return
        events = self._receiver.receive(data)
        if self.blocked:
            self._held.extend(events)
            return
        self._handle(events)

    def _handle(self, events: List[Event]) -> None:
        receiver = self._receiver
        assert receiver
        for place, event in enumerate(events):
            if self.finished:
                return
            try:
                self._event(event)
            except ConnectionRefusal as exc:
                self._close(exc.reply_code, exc.reply_text, *(_ids(event[1]) if exc.reply_code != 541 else (0, 0)))
            except Exception as exc:  # a fault of the broker's own: it costs this connection, and does not pass unseen
                self.hub.failures.append(exc)
                self._close(541, shortened("INTERNAL_ERROR - %s: %s" % (type(exc).__name__, exc)), *_ids(event[1]))
            if self.blocked:
                self._held.extend(events[place + 1 :])
                break
        if self.to_confirm:
            self._send_confirms()
        if receiver.error and not self.blocked:
            self._malformed(receiver.error)

    def _take_header(self, data: bytes) -> bytes:
        """The protocol header (0-9-1, section 4.2.2); what follows it."""
        data = self._header + data
        if len(data) < _HEADER_SIZE and b"AMQP".startswith(data[:4]):
            self._header = data
            return b""
        header, rest = data[:_HEADER_SIZE], data[_HEADER_SIZE:]
        dialect = _HEADERS.get(header)
        if dialect is None:
            self.write(AMQP_0_9_1.header)
            self._finish("not a protocol header that is known here: %r" % header)
            return b""
        self.dialect = dialect
        self._receiver = ServerReceiver(dialect, Content, self.hub.limits.max_body)
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

    def _event(self, event: Event) -> None:
        number, method, args, content = event
        if not number:
            if method.name == "connection.close":  # a client may give up at any time
                self._client_closes(*args)
            else:
                self._state(method, *args)
            return
        if self._state == self._expect_end:
            return
        if self.vhost is None:
            raise ConnectionRefusal(503, "%s on channel %d before the connection is open" % (method.name, number))
        channel = self.channels.get(number)
        name = method.name
        if name == "channel.open":
            self._open_channel(number, self.vhost)
        elif channel is None:
            pass  # its connection is closing
        elif name == "channel.close":
            self._close_channel(channel)
        elif channel.closing:
            if name == "channel.close_ok":
                del self.channels[number]
        else:
            self._on_channel(channel, method, args, content)

    def _on_channel(self, channel: Channel, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        handler = self._handlers.get(method.name)
        if handler is None:
            raise ConnectionRefusal(503, "a client does not send %s" % method.name)
        try:
            if content is None:
                handler(channel, *args)
            else:
                handler(channel, *args, content)
        except ChannelRefusal as exc:
            self._refuse(channel, exc, method)
        if content is not None and self.hub.orders.blocked is not None:
            self._block(self.hub.orders.blocked)

    # --- states of the connection, each named after what it expects

    def _expect_start_ok(
        self, method: Method, client_properties: Any = None, mechanism: Any = None, response: Any = None, *rest: Any
    ) -> None:
        self._due(method, "connection.start_ok")
        self.client_properties = client_properties
        self.tells_of_cancelled_consumers = self._client_can("consumer_cancel_notify")
        read = MECHANISMS.get(mechanism)
        if read is None:
            raise ConnectionRefusal(503, "unknown authentication mechanism '%s'" % mechanism)
        login = read(response.encode("utf-8", "surrogateescape"))
        orders = self.hub.orders
        if login is None or self.hub.users.get(login[0]) != login[1] or orders.login_refusal is not None:
            self._refuse_login(mechanism, orders.login_refusal)
            return
        self.user = login[0]
        if orders.challenge is not None:
            self.send(0, "connection.secure", orders.challenge)
            self._state = self._expect_secure_ok
        else:
            self._tune()

    def _refuse_login(self, mechanism: str, text: Optional[str]) -> None:
        text = text or (
            "Login was refused using authentication mechanism %s. For details see the broker logfile." % mechanism
        )
        self.hub.log("%s: login refused" % self.name)
        if self._client_can("authentication_failure_close"):
            raise ConnectionRefusal(403, text)
        self._finish("login refused")  # the specification has no words for it

    def _client_can(self, capability: str) -> bool:
        capabilities = self.client_properties.get("capabilities")
        return isinstance(capabilities, dict) and capabilities.get(capability) is True

    def _expect_secure_ok(self, method: Method, response: Any = None) -> None:
        self._due(method, "connection.secure_ok")
        self._tune()

    def _tune(self) -> None:
        limits = self.hub.limits
        self.send(0, "connection.tune", limits.channel_max, limits.frame_max, limits.heartbeat)
        self._state = self._expect_tune_ok

    def _expect_tune_ok(self, method: Method, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> None:
        self._due(method, "connection.tune_ok")
        limits = self.hub.limits
        for name, value, most in (
            ("channel_max", channel_max, limits.channel_max),
            ("frame_max", frame_max, limits.frame_max),
        ):
            if most and not 0 < value <= most:
                raise ConnectionRefusal(
                    530, "negotiated %s = %d is higher than the maximum allowed value (%d)" % (name, value, most)
                )
        if 0 < frame_max < _FRAME_MIN:
            raise ConnectionRefusal(
                530, "negotiated frame_max = %d is lower than the minimum allowed value (%d)" % (frame_max, _FRAME_MIN)
            )
        assert self._receiver
        self._frame_max = self._receiver.frame_max = frame_max
        self._receiver.channel_max = channel_max
        self._heartbeat = heartbeat
        if heartbeat:
            self._beat()
        self._state = self._expect_open

    def _expect_open(self, method: Method, virtual_host: str = "", *rest: Any) -> None:
        self._due(method, "connection.open")
        if self.hub.orders.redirect_to is not None and "connection.redirect" in self.dialect:
            self.send(0, "connection.redirect", self.hub.orders.redirect_to, "")
            self._state = self._expect_end
            return
        self.vhost = self.hub.vhosts.get(virtual_host)
        if self._state == self._expect_end:
            return
        if self.vhost is None:
            raise ConnectionRefusal(530, "vhost %s not found" % virtual_host)
        self.send(0, "connection.open_ok", "")
        self._state = self._open
        self._handlers = _handlers_of(self.dialect)
        self.hub.log(
            "%s: opened by %s, AMQP %s, virtual host %s" % (self.name, self.user, self.dialect.name, virtual_host)
        )

    def _open(self, method: Method, *args: Any) -> None:
        if method.name == "connection.update_secret":
            self.send(0, "connection.update_secret_ok")
        else:
            raise ConnectionRefusal(503, "a client does not send %s" % method.name)

    def _expect_end(self, method: Method, *args: Any) -> None:
        """The connection is closing: all but the end of it is passed over."""
        if method.name == "connection.close_ok":
            self._finish("closed")

    @staticmethod
    def _due(method: Method, name: str) -> None:
        if method.name != name:
            raise ConnectionRefusal(503, "%s where %s is due" % (method.name, name))

    def _client_closes(self, reply_code: int, reply_text: str, *rest: Any) -> None:
        self.send(0, "connection.close_ok")
        self._finish("closed by the client: %d %s" % (reply_code, reply_text), linger=True)

    # --- channels

    def _open_channel(self, number: int, vhost: VHost) -> None:
        if number in self.channels:
            raise ConnectionRefusal(504, "second 'channel.open' seen")
        self.channels[number] = Channel(self, number, vhost)
        self.send(number, "channel.open_ok", *("",) * len(self.dialect["channel.open_ok"].fields))

    def _close_channel(self, channel: Channel) -> None:
        self._send_confirms()
        channel.stop()
        del self.channels[channel.number]
        self.send(channel.number, "channel.close_ok")

    def _refuse(self, channel: Channel, exc: ChannelRefusal, method: Method) -> None:
        self._send_confirms()
        channel.stop()
        self.send(channel.number, "channel.close", exc.reply_code, exc.reply_text, *_ids(method))
        self.hub.log("%s: channel %d: %s" % (self.name, channel.number, exc.reply_text))

    def _send_confirms(self) -> None:
        channels, self.to_confirm = self.to_confirm, []
        for channel in channels:
            confirms = channel.take_confirms()
            if self.hub.orders.confirm_delay:
                later = partial(channel.confirm, confirms)
                self._timers.append(self.hub.timers.after(self.hub.orders.confirm_delay, later))
            else:
                channel.confirm(confirms)

    # --- what channels ask

    def check_properties(self, properties: Properties) -> None:
        """Refuse what RabbitMQ cannot read, and a user_id that is another's."""
        values = properties.values
        headers = values.get("application_headers")
        if headers and (properties.undecoded or _has_strange_floats(headers)):
            raise ConnectionRefusal(541)
        user = values.get("user_id")
        if user is not None and user != self.user:
            raise ChannelRefusal(
                406, "user_id property set to '%s' but authenticated user was '%s'" % (user, self.user)
            )

    def refuses_this_publish(self) -> bool:
        """Is it one of those that are to be nacked?"""
        orders = self.hub.orders
        if not orders.nack_every:
            return False
        orders.published += 1
        return orders.published % orders.nack_every == 0

    # --- out

    def send(self, channel: int, name: str, *args: object) -> None:
        """A method."""
        self.write(encode_frame(METHOD, channel, self.dialect[name].encode(*args)))

    def write_content(self, channel: int, payload: bytes, properties: bytes, body: bytes) -> None:
        """A method, given as its payload, and a content."""
        self.write(content_frames(channel, payload, properties, body, self._frame_max))

    def write(self, data: bytes) -> None:
        """Bytes that must not be parted by others."""
        if not self.outgoing:
            self.hub.dirty.append(self)
        self.outgoing.append(data)
        self._pending += len(data)
        if self._pending > _HIGH_WATER:
            self.writable = False

    def sent(self, octets: int) -> None:
        """So many of those written are with the system."""
        self._pending -= octets
        if not self.writable and self._pending < _HIGH_WATER // 2:
            self.writable = True
            for channel in list(self.channels.values()):
                channel.pump()

    # --- time, and orders

    def _beat(self) -> None:
        """Heartbeats both ways (0-9-1, section 4.2.7): ours, and what the client owes."""
        hub = self.hub
        if hub.timers.clock() - self._heard > 2 * self._heartbeat and not self.blocked and not hub.orders.stalled:
            self._finish("missed heartbeats from client, timeout: %ds" % self._heartbeat)
            return
        self.write(_HEARTBEAT_FRAME)
        self._timers.append(hub.timers.after(self._heartbeat / 2, self._beat))

    def _block(self, reason: str) -> None:
        """The broker has run short of something, and this client publishes: nothing more is read from it."""
        self.blocked = True
        if self._client_can("connection.blocked") and "connection.blocked" in self.dialect:
            self.send(0, "connection.blocked", shortened(reason))

    def unblock(self) -> None:
        """It may go on."""
        if self.blocked:
            self.blocked = False
            if self._client_can("connection.blocked") and "connection.unblocked" in self.dialect:
                self.send(0, "connection.unblocked")
            held = list(self._held)
            self._held.clear()
            self._handle(held)
            self.hub.dirty.append(self)  # to be read from again

    def thaw(self) -> None:
        """It could not be heard for a while."""
        self._heard = self.hub.timers.clock()

    def cancel_consumers(self, queue: Optional[str]) -> int:
        """Have consumers of this queue, or of any, end; how many."""
        return sum(channel.cancel_consumers(queue) for channel in self.channels.values())

    def flow(self, active: bool) -> None:
        """Ask the client to pause, or to go on, with publishing."""
        for number, channel in self.channels.items():
            if not channel.closing:
                self.send(number, "channel.flow", active)

    # --- the end

    def close(self, reply_code: int, text: str) -> None:
        """The broker closes the connection, for a reason that is not the client's."""
        self._close(reply_code, shortened("%s - %s" % (REPLY_NAMES[reply_code], text)), 0, 0)

    def _malformed(self, error: PeerError) -> None:
        sig = self.dialect.ids(error.sig)
        self._close(error.reply_code, shortened("%s - %s" % (REPLY_NAMES[error.reply_code], error)), *sig)

    def _close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        if self._state == self._expect_end or self.finished:
            return
        self._let_go()
        self.send(0, "connection.close", reply_code, reply_text, class_id, method_id)
        self.hub.log("%s: %s" % (self.name, reply_text))
        self._state = self._expect_end
        self._timers.append(self.hub.timers.after(_CLOSE_TIMEOUT, lambda: self._finish("no close-ok")))

    def _finish(self, why: str, linger: bool = False) -> None:
        """The end, after an answer that the client waits for: better that the client closes the socket."""
        self._let_go()
        self.finished = True
        self.hub.log("%s: %s" % (self.name, why))
        if linger:
            self._timers.append(self.hub.timers.after(_LINGER, self._hang_up))
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self.over = True
        self.hub.dirty.append(self)

    def lost(self) -> None:
        """The network connection is gone."""
        self._let_go()
        self.finished = True
        self.hub.sessions.discard(self)

    def _let_go(self) -> None:
        """Of everything: what channels hold goes back, and exclusive queues end."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._held.clear()
        self.blocked = False
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.stop()
        if self.vhost:
            for queue in [queue for queue in self.vhost.queues.values() if queue.owner is self]:
                self.vhost.delete_queue(queue)


def _ids(method: Method) -> Tuple[int, int]:
    return method.key >> 16, method.key & 0xFFFF


def _has_strange_floats(value: Any) -> bool:
    """Erlang has neither infinities nor NaN, and RabbitMQ fails over them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_has_strange_floats, value))
    return isinstance(value, float) and not math.isfinite(value)


@lru_cache(maxsize=None)
def _handlers_of(dialect: Dialect) -> Dict[str, _Handler]:
    """The methods that a client may send on an open channel, and what carries each of them out."""
    found = ((name, getattr(Channel, name.replace(".", "_"), None)) for name in dialect.by_name)
    return {name: handler for name, handler in found if handler}
