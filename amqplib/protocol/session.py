"""Everything that is agreed and outstanding on one network connection: its ports, and what is owed to the peer."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Callable, ClassVar, Deque, Dict, List, Optional, Tuple, Type

from ..wire.protocol import Event, Receiver, Sender
from ..wire.spec import Dialect, Sig, sig_of
from .confirms import Confirms, Sent
from .endings import BY_PEER, CONNECTION_PARTED, Ending
from .gates import SHUT
from .port import DELIVER, Item, Port
from .states import CLOSED, CLOSING, CONNECTION, ENDED, OPEN, State, Table

__all__ = ["Session"]

#: Objections that are kept: a program that never asks for them must not take more and more memory.
_OBJECTIONS = 100

#: Frames that are owed, beyond which those are left out that a peer can give cause to without end.
_OWED = 10000

_EVENTS = {sig_of("connection.close"): "close", sig_of("connection.close_ok"): "close-ok"}
_BLOCKED, _UNBLOCKED = sig_of("connection.blocked"), sig_of("connection.unblocked")


class Control(Port):
    """Channel 0, which carries the methods of the connection itself. Its state is the connection's."""

    __slots__ = ()

    table: Table = CONNECTION

    def arrived(self, session: Session, item: Item) -> None:
        """A method from the peer."""
        call = self.call
        expected = call is not None and call.reply is None and item[0] in call.expected
        event = _EVENTS.get(item[0])
        if event is not None:
            self.happen(event, session, item)
        if call is not None and expected and self.state is not ENDED:
            call.reply = item
            self.call = None
        elif event is None:
            self.happen("method", session, item)

    def keep(self, session: Session, item: Optional[Item]) -> None:
        """A method for the connection itself, which is acted on at once, whoever reads."""
        assert item is not None
        if item[0] == _BLOCKED:
            session.block(item[1][0])
        elif item[0] == _UNBLOCKED:
            session.unblock()
        if self.waiting or session.raw is not None:  # it has been acted on, so it may be dropped
            super().keep(session, item)

    def agree(self, session: Session, item: Optional[Item]) -> None:
        """The peer closes the connection: answer, and everything is over."""
        assert item is not None
        reply_code, reply_text, class_id, method_id = item[1]
        self.ending = Ending(BY_PEER, reply_code, reply_text, session.dialect.sig(class_id, method_id))
        session.owe(session.sender.method(0, session.dialect["connection.close_ok"], ()))
        self.end_channels(session, item)

    def part(self, session: Session, item: Optional[Item]) -> None:
        """The peer agrees with our close."""
        if self.ending is None:
            self.ending = CONNECTION_PARTED
        self.end_channels(session, item)

    def close_channels(self, session: Session, item: Optional[Item]) -> None:
        """Our close is on its way, and nothing may follow it."""
        for port in session.channels():
            port.happen("closing", session)

    def end_channels(self, session: Session, item: Optional[Item]) -> None:
        """The connection is over, and all channels with it."""
        assert self.ending is not None
        self.gate = SHUT
        event = "parted" if self.state is CLOSED else "lost"
        for port in session.channels():
            if port.ending is None:
                port.ending = self.ending
            port.happen(event, session)


class Session:
    """One network connection, from its protocol header to its end."""

    __slots__ = (
        "blocked",
        "control",
        "dialect",
        "draining",
        "dropped",
        "in_passing",
        "news",
        "objections",
        "owed",
        "ports",
        "raw",
        "ready",
        "receiver",
        "sender",
        "server_properties",
        "spent",
    )

    #: The books of channels that go into confirm mode.
    books_class: ClassVar[Type[Confirms]] = Confirms

    def __init__(self, receiver: Receiver, sender: Sender) -> None:
        self.receiver = receiver
        self.sender = sender
        self.dialect: Dialect = sender.dialect
        self.control = Control(0)
        #: What the peer has said of itself.
        self.server_properties: Dict[str, Any] = {}
        #: Channel number -> its port, channel 0 included.
        self.ports: Dict[int, Port] = {0: self.control}
        #: Ports that have got methods since they were last looked at; some may have been handled since.
        #: Ordered, because the first of many leaves a plain dict only after a search.
        self.ready: OrderedDict[int, Port] = OrderedDict()
        #: Frames that the peer is to get as soon as there is room: answers to closes, closes of abandoned channels.
        self.owed: Deque[bytes] = deque()
        #: What the client has yet to hear: the broker's reason to take no publishes, None when it takes them again.
        self.news: Deque[Optional[str]] = deque()
        #: Numbers of channels that the peer has closed, in order, and why, until the program is told. The number may be
        #: another channel's by then, and nobody may hold the first one any more.
        self.objections: List[Tuple[int, Ending]] = []
        #: What the client has yet to hear of, too: methods that nobody had asked for, and the channels they came on.
        self.dropped: Deque[Tuple[int, Sig]] = deque()
        #: Messages that the books have let go, to be dropped where no lock is held: they may have a __del__.
        self.spent: List[Any] = []
        #: Why the broker takes no publishes for the time being; None when it does.
        self.blocked: Optional[str] = None
        #: Threads inside drain_events(), for which a method that needs no handling is one, too.
        self.draining = 0
        #: Is what arrives read by somebody who does not wait for any of it?
        self.in_passing = False
        #: Set once the program reads methods by itself, and so wants those that need no handling, too: what it takes
        #: their arguments with.
        self.raw: Optional[Callable[[Tuple[Any, ...]], Tuple[Any, ...]]] = None

    @property
    def state(self) -> State:
        """The connection's."""
        return self.control.state

    @property
    def ending(self) -> Optional[Ending]:
        """Why the connection is over, once it is."""
        return self.control.ending

    def channels(self) -> List[Port]:
        """All ports but that of the connection itself."""
        return [port for port in self.ports.values() if port.number]

    def new_books(self, number: int) -> Confirms:
        """The books of a channel that goes into confirm mode."""
        return self.books_class()

    # --- channel numbers

    def allot(self, number: Optional[int], highest: int) -> Optional[Port]:
        """A new port under `number`, or under the lowest free one; None where that, or all, are taken."""
        if number is None:
            number = next((n for n in range(1, highest + 1) if n not in self.ports), None)
        if number is None or number in self.ports:
            return None
        port = self.ports[number] = Port(number)
        self.receiver.channels.add(number)
        port.regate(self)
        if self.control.state is CLOSING:
            port.happen("closing", self)  # nothing follows the connection's close
        return port

    def free(self, port: Port) -> None:
        """The number may be used again: both sides are done with it."""
        if self.ports.get(port.number) is port:
            del self.ports[port.number]
            self.ready.pop(port.number, None)
            self.receiver.forget(port.number)

    # --- objections

    def object(self, number: int, ending: Ending) -> None:
        """The peer has closed a channel, and the program has to be told why."""
        if len(self.objections) < _OBJECTIONS:
            self.objections.append((number, ending))

    def told(self, ending: Optional[Ending]) -> None:
        """It has been."""
        self.objections[:] = [each for each in self.objections if each[1] is not ending]

    # --- in

    def take(self, events: List[Event]) -> None:
        """What has arrived, in order."""
        ports, ready = self.ports, self.ready
        for number, method, args, content in events:
            port = ports.get(number)
            if port is None:
                continue  # it has been closed by what came before
            sig = method.sig
            if sig is DELIVER and port.state is OPEN and args[0] in port.consumers:  # the most frequent by far
                inbox = port.inbox
                if not inbox:
                    ready[number] = port
                inbox.append((sig, args, content))
            else:
                port.arrived(self, (sig, args, content))

    def next_ready(self) -> Optional[Tuple[Port, Item]]:
        """A method of any port. Ports take turns."""
        while self.ready:
            number, port = self.ready.popitem(last=False)
            if not port.inbox:
                continue  # all handled already
            item = port.inbox.popleft()
            if port.inbox:
                self.ready[number] = port
            return port, item
        return None

    def look_of(self, exchange: str, routing_key: str, body: bytes, properties: Dict[str, Any]) -> Sent:
        """How a mandatory message looks if it comes back."""
        headers = properties.get("application_headers")
        if headers:  # RabbitMQ 4 sorts them
            properties = {**properties, "application_headers": dict(sorted(headers.items()))}
        return Sent(exchange, routing_key, body, self.sender.properties(properties))

    def of_peer(self, tag: int) -> int:
        """The peer's delivery tag for one of the program's."""
        return tag

    # --- out

    def owe(self, frame: bytes) -> None:
        """Have a frame sent as soon as there is room."""
        self.owed.append(frame)

    def offer(self, frame: bytes) -> None:
        """The same for an answer to what a peer may say without end, unless it does not read what it is owed."""
        if len(self.owed) < _OWED:
            self.owed.append(frame)

    # --- the broker takes no publishes

    def block(self, reason: str) -> None:
        """connection.blocked."""
        self.blocked = reason
        self.news.append(reason)
        self._regate()

    def unblock(self) -> None:
        """connection.unblocked."""
        self.blocked = None
        self.news.append(None)
        self._regate()

    def _regate(self) -> None:
        for port in self.channels():
            port.regate(self)

    # --- the end

    def end(self, ending: Ending, event: str = "lost") -> None:
        """It is over. The first reason given stands."""
        control = self.control
        if control.ending is None:
            control.ending = ending
        control.happen(event, self)
