"""A connection as the broker sees it, without I/O: bytes in, bytes out.

`receive` takes what the network gave; what is to be sent is in `outgoing`. Methods of channel 0 are dealt with when
they are `due`; those of other channels go to their Channel, by the method's name.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache, partial
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from ..wire.errors import PeerError
from ..wire.frames import HEARTBEAT, METHOD, encode_frame
from ..wire.protocol import Event
from ..wire.spec import REPLIES, Dialect, Method
from .channel import Channel
from .errors import ChannelRefusal, ConnectionRefusal, shortened
from .handshake import BEFORE_TUNING, HANDLERS, Handshake
from .hub import Hub
from .timers import Timer
from .vhost import VHost

__all__ = ["Session"]

#: Seconds for a client to answer a close, and to close the socket once all is said.
_CLOSE_TIMEOUT = 10.0
_LINGER = 1.0

_HEARTBEAT_FRAME = encode_frame(HEARTBEAT, 0, b"")

_Handler = Callable[..., None]


class Session(Handshake):
    """One connection, from its first byte to its last."""

    def __init__(self, hub: Hub, name: str) -> None:
        super().__init__(hub, name)
        #: Nothing is to be read: the broker is "blocked", and the client has published.
        self.blocked = False
        #: All has been said; what the client still says is dropped.
        self.finished = False
        #: The socket is to be closed once all of `outgoing` is gone.
        self.over = False
        #: It is to be reset, not closed, then.
        self.reset = False
        self.channels: Dict[int, Channel] = {}
        self._to_confirm: List[Channel] = []
        self._closing = False  # the client has been told, and has not answered yet
        self._heard = hub.timers.clock()
        self._heartbeat = 0
        self._timers: List[Timer] = []
        self._waiting: Deque[Event] = deque()  # while blocked, or while it is others' turn
        hub.sessions.add(self)

    # --- in

    @property
    def backlog(self) -> bool:
        """Is there something that can be dealt with, before more is read?"""
        return bool(self._waiting) and not self.blocked and not self.clogged

    @property
    def listens(self) -> bool:
        """May more be read?"""
        return not (self._waiting or self.blocked or self.clogged)

    def receive(self, data: bytes, until: float = math.inf) -> None:
        """Take what the client has sent, and deal with it until a moment; the rest is the backlog."""
        self._heard = self.hub.timers.clock()
        if self._receiver is None:
            data = self.take_header(data)
        if self._receiver is None or self.finished or not data:
            return
        if (
            self._receiver.error and not self._waiting
        ):  # where frames begin is not known any more; but the answer to our close is
            if encode_frame(METHOD, 0, self.dialect["connection.close_ok"].encode()) in data:
                self.finish("closed")
            return
        events = self._receiver.receive(data)
        if self.blocked or self._waiting:
            self._waiting.extend(events)
        else:
            self._handle(events, until)

    def work(self, until: float = math.inf) -> None:
        """Go on with the backlog."""
        self._heard = self.hub.timers.clock()  # for what it has sent since has not been read
        events = list(self._waiting)
        self._waiting.clear()
        self._handle(events, until)

    def _handle(self, events: List[Event], until: float) -> None:
        receiver, clock = self._receiver, self.hub.timers.clock
        assert receiver
        for place, event in enumerate(events):
            if self.finished:
                return
            try:
                self._event(event)
            except ConnectionRefusal as exc:
                self._close(exc.reply_code, exc.reply_text, *(_ids(event[1]) if exc.names_method else (0, 0)))
            except Exception as exc:  # a fault of the broker's own: it costs this connection, and does not pass unseen
                self.hub.failures.append(exc)
                self._close(541, shortened("INTERNAL_ERROR - %s: %s" % (type(exc).__name__, exc)), *_ids(event[1]))
            if self.blocked or clock() >= until or self.clogged:
                self._waiting.extend(events[place + 1 :])
                break
        if self._to_confirm:
            self._send_confirms()
        if receiver.error and not self.blocked and not self._waiting:
            self._malformed(receiver.error)

    def _event(self, event: Event) -> None:
        number, method, args, content = event
        if not number:
            self._on_connection(method, args)
            return
        if self._closing:
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

    def _on_connection(self, method: Method, args: Tuple[Any, ...]) -> None:
        if method.name == "connection.close":  # a client may give up at any time
            self.send(0, "connection.close_ok")
            self.finish("closed by the client: %d %s" % args[:2], linger=True)
        elif self._closing:
            if method.name == "connection.close_ok":
                self.finish("closed")
        elif method.name == self.due:
            HANDLERS[method.name](self, *args)
        else:
            raise ConnectionRefusal(503, "%s where %s is due" % (method.name, self.due or "connection.close"))

    def _on_channel(self, channel: Channel, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        handler = _handlers_of(self.dialect).get(method.name)
        if handler is None:
            raise ConnectionRefusal(503, "a client does not send %s" % method.name)
        try:
            if content is None:
                handler(channel, *args)
            else:
                handler(channel, *args, content)
        except ChannelRefusal as exc:
            self._refuse(channel, exc, method)
        if content is not None and (self.memory.alarm or self.orders.blocked is not None):
            reason = self.hub.why_blocked()
            if reason is not None and not self._closing:
                self._block(reason)

    # --- channels

    def _open_channel(self, number: int, vhost: VHost) -> None:
        if number in self.channels:
            raise ConnectionRefusal(504, "second 'channel.open' seen")
        most = self._channel_max
        if 0 < most <= len(self.channels):
            text = "number of channels opened (%d) has reached the negotiated channel_max (%d)"
            raise ConnectionRefusal(530, text % (len(self.channels), most), names_method=False)
        self.channels[number] = Channel(self, number, vhost, self._to_confirm.append)
        self.send(number, "channel.open_ok", *("",) * len(self.dialect["channel.open_ok"].fields))
        if not self.orders.flow:
            self.send(number, "channel.flow", False)

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
        channels = list(self._to_confirm)
        self._to_confirm.clear()
        for channel in channels:
            confirms = channel.take_confirms()
            if self.orders.confirm_delay:
                later = partial(channel.confirm, confirms)
                self._later(self.orders.confirm_delay, later)
            else:
                channel.confirm(confirms)

    # --- time, and orders

    def begin_heartbeats(self, seconds: int) -> None:
        """The client has agreed to this interval; 0 for none."""
        self._heartbeat = seconds
        if seconds:  # not at once: there are clients that take nothing else for an answer to connection.open
            self._later(seconds / 2, self._beat)

    def _beat(self) -> None:
        """Heartbeats both ways (0-9-1, section 4.2.7): ours, and what the client owes."""
        hub = self.hub
        if hub.timers.clock() - self._heard > 2 * self._heartbeat and not (
            self.blocked or self._waiting or self.orders.stalled
        ):
            self.finish("missed heartbeats from client, timeout: %ds" % self._heartbeat)
            return
        self.write(_HEARTBEAT_FRAME)
        self._later(self._heartbeat / 2, self._beat)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done, unless the connection is over by then."""
        self._timers = [timer for timer in self._timers if timer.action]
        self._timers.append(self.hub.timers.after(seconds, action))

    def _block(self, reason: str) -> None:
        """The broker has run short of something, and this client publishes: nothing more is read from it."""
        self.blocked = True
        if self.client_can("connection.blocked") and "connection.blocked" in self.dialect:
            self.send(0, "connection.blocked", shortened(reason))

    def unblock(self) -> None:
        """It may go on."""
        if self.blocked:
            self.blocked = False
            if self.client_can("connection.blocked") and "connection.unblocked" in self.dialect:
                self.send(0, "connection.unblocked")
            self.hub.dirty.append(self)  # its backlog is to be seen to, and it is to be read from again

    @property
    def channel_count(self) -> int:
        """How many channels are open."""
        return len(self.channels)

    def pump(self) -> None:
        """Deliveries may be written again."""
        for channel in list(self.channels.values()):
            channel.pump()

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
        self._close(reply_code, shortened("%s - %s" % (REPLIES[reply_code].name, text)), 0, 0)

    def _malformed(self, error: PeerError) -> None:
        if self.due in BEFORE_TUNING:  # nobody knows who it is, nor how much it would take
            self.reset = True
            self.finish(str(error))
            return
        sig = self.dialect.ids(error.sig)
        self._close(error.reply_code, shortened("%s - %s" % (REPLIES[error.reply_code].name, error)), *sig)

    def _close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        if self._closing or self.finished:
            return
        self._let_go()
        self.send(0, "connection.close", reply_code, reply_text, class_id, method_id)
        self.hub.log("%s: %s" % (self.name, reply_text))
        self._closing = True
        self._later(_CLOSE_TIMEOUT, lambda: self.finish("no close-ok"))

    def finish(self, why: str, linger: bool = False) -> None:
        """The end, after an answer that the client waits for: better that the client closes the socket."""
        self._let_go()
        self.finished = True
        self.hub.log("%s: %s" % (self.name, why))
        if linger:
            self._later(_LINGER, self._hang_up)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self.over = True
        self.hub.dirty.append(self)

    def lost(self) -> None:
        """The network connection is gone."""
        self._let_go()
        self.finished = True
        self.forget_outgoing()
        self.hub.sessions.discard(self)

    def _let_go(self) -> None:
        """Of everything: what channels hold goes back, and exclusive queues end."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()
        self.end_handshake()
        self.blocked = False
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.stop()
        if self.vhost:
            for queue in [queue for queue in self.vhost.queues.values() if queue.owner is self]:
                self.vhost.delete_queue(queue)


def _ids(method: Method) -> Tuple[int, int]:
    return method.key >> 16, method.key & 0xFFFF


@lru_cache(maxsize=None)
def _handlers_of(dialect: Dialect) -> Dict[str, _Handler]:
    """The methods that a client may send on an open channel, and what carries each of them out."""
    found = ((name, getattr(Channel, name.replace(".", "_"), None)) for name in dialect.by_name)
    return {name: handler for name, handler in found if handler}
