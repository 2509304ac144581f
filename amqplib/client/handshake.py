"""From an address to an open virtual host: which AMQP is spoken, the login, the limits agreed on."""

from __future__ import annotations

import errno
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Collection,
    Dict,
    List,
    Optional,
    Sequence,
    Type,
    Union,
)

from .. import __version__
from ..wire import frames
from ..wire.protocol import Receiver, Sender
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Sig, sig_of
from .abstract_channel import AbstractChannel
from .address import Address, parse_host
from .advice import on_frame_max
from .answers import explained, what_answered
from .computed import computed
from .deadline import Deadline
from .exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
    ProtocolVersionError,
    TLSError,
)
from .exposure import warn_of_exposure
from .link import Link
from .logger import LOGGER
from .login import Login
from .message import Message
from .patience import Patience
from .routes import Failure, Item
from .secret import hide_made_of
from .transport import Transport, open_transport

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Handshake"]

LIBRARY_PROPERTIES = {"library": "Python amqplib", "library_version": __version__}

#: Capabilities that a client announces, by dialect. Without the first, RabbitMQ answers a wrong password with three
#: seconds of silence and a reset (https://www.rabbitmq.com/docs/auth-notification). connection.blocked must not be
#: announced in 0-8, which has no such method: RabbitMQ resets the connection at its first alarm.
_CAPABILITIES: Dict[str, Dict[str, Any]] = {
    "0-8": {"authentication_failure_close": True, "consumer_cancel_notify": True},
    "0-9-1": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "publisher_confirms": True,
    },
}

#: What was learned: the dialect that a broker speaks that refused another. The next connection starts with it.
_SPOKEN: Dict[Address, Dialect] = {}

#: How a network connection ends when a broker does not want to hear more.
_REFUSALS = (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)

_MAX_REDIRECTS = 5

#: What we propose; a server may lower it.
_CHANNEL_MAX, _FRAME_MAX = 65535, 131072
_LONGEST_HEARTBEAT = 65535

_ACCESS_REFUSED, _SYNTAX_ERROR = 403, 502

#: CONNECTION_FORCED, by a broker that is being shut down; INTERNAL_ERROR, by one whose vhost is down.
_OUT_OF_SERVICE = (320, 541)

_VERSION_0_9 = (0, 9)  # what connection.start says in 0-9-1


def _check(name: str, value: Optional[int], least: int, most: int, unit: str) -> None:
    if value is not None and not (isinstance(value, int) and least <= value <= most):
        raise ValueError("%s: %r: AMQP has from %d to %d %s" % (name, value, least, most, unit))


def _is_refusal(exc: BaseException) -> bool:
    """Is this how a broker refuses a dialect: its own protocol header, a close, a reset?"""
    if isinstance(exc, ConnectionLostError) and not isinstance(exc, ProtocolVersionError):
        return exc.errno in _REFUSALS and not isinstance(exc, TLSError)
    return True


def _can_tell(properties: Dict[str, Any]) -> bool:
    """Does this side tell, or want to be told, that a login is refused, instead of falling silent?"""
    capabilities = properties.get("capabilities")
    return isinstance(capabilities, dict) and capabilities.get("authentication_failure_close") is True


def _is_of_one_host(exc: Exception) -> bool:
    """May another host of the same brokers do better? Not at refusing a login: that could lock the user out there."""
    if isinstance(exc, AMQPConnectionException) and not isinstance(exc, ConnectionLostError):
        return exc.amqp_reply_code in _OUT_OF_SERVICE
    return not isinstance(exc, AuthenticationError)


_START, _START_OK = sig_of("connection.start"), sig_of("connection.start_ok")
_SECURE, _TUNE = sig_of("connection.secure"), sig_of("connection.tune")
_OPEN, _OPEN_OK = sig_of("connection.open"), sig_of("connection.open_ok")
_REDIRECT = sig_of("connection.redirect")


class Handshake(AbstractChannel):
    """The part of Connection that makes the connection."""

    #: What deliveries are.
    message_class: ClassVar[Type[Message]] = Message

    #: The dialects to offer, in this order, to a broker that nothing is known of.
    _dialects: ClassVar[Sequence[Dialect]] = (AMQP_0_8, AMQP_0_9_1)
    #: What `heartbeat` is unless it is given; None leaves it to the server.
    _default_heartbeat: ClassVar[Optional[int]] = 0

    # on the class, so that a subclass that fails before it calls __init__ can still be closed
    channels: Optional[Dict[int, AbstractChannel]] = None
    connection: Any = None
    transport: Optional[Transport] = None

    _patience: Patience

    def _handle_control(self) -> None:
        """Deal with the methods that have arrived for the connection itself."""
        raise NotImplementedError

    def _do_close(self) -> None:
        """Let go of the network and of the channels."""
        raise NotImplementedError

    def _end(self, why: str) -> None:
        if hasattr(self, "_link"):
            self._link.fail(Failure(ConnectionLostError, 0, why))
            self._link.close()

    def _abandon(self, why: str) -> None:
        self._end("the connection was closed by this program: " + why)

    def _limit(
        self, heartbeat: Optional[int], frame_max: Optional[int], channel_max: Optional[int], body_max: int
    ) -> None:
        """What to agree to, and what to take."""
        _check("heartbeat", heartbeat, 0, _LONGEST_HEARTBEAT, "seconds")
        _check("frame_max", frame_max, frames.MIN_SIZE, (1 << 32) - 1, "octets")
        _check("channel_max", channel_max, 1, _CHANNEL_MAX, "channels")
        if not isinstance(body_max, int) or body_max < 0:
            raise ValueError("body_max: %r: it is a number of octets" % (body_max,))
        self.frame_max = self._frame_max = _FRAME_MAX if frame_max is None else frame_max
        self.channel_max = self._channel_max = channel_max or _CHANNEL_MAX
        self._body_max = body_max

    def _prepare(
        self,
        protocol: Optional[str],
        login: Login,
        virtual_host: str,
        ssl: Union[bool, Dict[str, Any], SSLContext, None],
    ) -> None:
        """What is known before there is a network connection."""
        self._offered = self._pinned(protocol)
        self.heartbeat = 0
        self.version_major = self.version_minor = 0
        self.server_properties: Dict[str, Any] = {}
        self.mechanisms: List[str] = []
        self.locales: List[str] = []
        self.known_hosts = ""
        self._login = login
        self._virtual_host = virtual_host
        self._ssl = ssl

    def _make(
        self,
        addresses: Sequence[Address],
        client_properties: Optional[Dict[str, Any]],
        locale: str,
        insist: bool,
        heartbeat: Optional[int],
        deadline: Deadline,
    ) -> None:
        """Connect to the first of the hosts that can be had; each gets an equal share of the time that is left."""
        failures: List[Exception] = []
        for position, address in enumerate(addresses):
            share = deadline.share(len(addresses) - position)
            try:
                return self._make_with(address, client_properties, locale, insist, heartbeat, share)
            except (AMQPConnectionException, AMQPTimeoutError) as exc:
                if len(addresses) == 1 or not _is_of_one_host(exc):
                    raise
                failures.append(exc)
                LOGGER.info("no connection to %s, one of %d hosts: %s", address, len(addresses), exc)
        reasons = "; ".join("%s: %s" % (address, exc) for address, exc in zip(addresses, failures))
        text = "no connection to any of %d hosts: %s" % (len(addresses), reasons)
        last = failures[-1]
        if isinstance(last, AMQPTimeoutError):
            raise AMQPTimeoutError(text) from last
        raise ConnectionLostError(0, text, errno=getattr(last, "errno", None)) from last

    def _make_with(
        self,
        address: Address,
        client_properties: Optional[Dict[str, Any]],
        locale: str,
        insist: bool,
        heartbeat: Optional[int],
        deadline: Deadline,
    ) -> None:
        """Connect, log in and open the virtual host; elsewhere, if the server says so."""
        for _ in range(_MAX_REDIRECTS):
            self._start(address, deadline)
            try:
                properties: Dict[str, Any] = dict(LIBRARY_PROPERTIES)
                properties["capabilities"] = _CAPABILITIES[self._link.dialect.name]
                properties.update(client_properties or {})
                self._log_in(properties, locale, deadline)
                self._tune(heartbeat)
                elsewhere = self._open(insist, deadline)
            except BaseException as exc:
                self._end("it was given up: %s" % type(exc).__name__)
                raise
            if elsewhere is None:
                return
            LOGGER.info("%s redirects to %s", self._link.where, elsewhere)
            self._end("the server redirected to %s" % elsewhere)
            try:
                address = parse_host(elsewhere, address.port)
            except ValueError as exc:
                text = "the server redirected to %r, which is not a host" % elsewhere
                raise ConnectionLostError(0, text, where=str(address)) from exc
        raise ConnectionLostError(0, "redirected %d times, at last to %s" % (_MAX_REDIRECTS, str(address)))

    @computed
    def protocol(self) -> str:
        """The AMQP version that is spoken: '0-8' or '0-9-1'."""
        return self._link.dialect.name

    def _unknown_arguments(self, names: List[str]) -> None:
        raise TypeError("Connection has no argument %s" % ", ".join(names))

    @classmethod
    def _pinned(cls, protocol: Optional[str]) -> Sequence[Dialect]:
        chosen = [dialect for dialect in cls._dialects if protocol in (None, dialect.name)]
        if not chosen:
            names = " or ".join(repr(dialect.name) for dialect in cls._dialects)
            raise ValueError("protocol: %r: it is %s" % (protocol, names))
        return chosen

    def _start(self, address: Address, deadline: Deadline) -> None:
        """Connect and get connection.start, in a dialect that the broker speaks.

        One that refuses a dialect sends a protocol header, closes or resets, and what it sends may be lost with the
        reset: each of these before connection.start means the same.
        """
        first = _SPOKEN.get(address)
        refusals: List[str] = []
        kind: Optional[Type[ConnectionLostError]] = None
        number: Optional[int] = None
        hint = ""
        for dialect in sorted(self._offered, key=lambda known: known is not first):
            connected = False
            try:
                self._connect(address, dialect, deadline)
                connected = True
                self._receive_start(deadline)
                if refusals:
                    _SPOKEN[address] = dialect
                return
            except BaseException as exc:
                if connected and not isinstance(exc, TLSError):
                    hint = what_answered(self._link.opening, bool(self._ssl), exc)
                self._end("the handshake failed")
                if refusals and isinstance(exc, AMQPTimeoutError):
                    raise AMQPTimeoutError("%s%s; before that, AMQP %s" % (exc, hint, refusals[0])) from exc.__cause__
                final = len(self._offered) == 1
                if final and dialect is AMQP_0_8 and isinstance(exc, ProtocolVersionError):
                    hint += "; RabbitMQ 4 and later have no AMQP 0-8: connect without protocol='0-8'"
                refused = connected and _is_refusal(exc)
                if not isinstance(exc, AMQPConnectionException) or final or not (refused or refusals):
                    raise explained(exc, hint) from exc.__cause__
                refusals.append("%s: %s" % (dialect.name, exc.amqp_reply_text))
                LOGGER.debug("%s: AMQP %s", address, refusals[-1])
                if isinstance(exc, ConnectionLostError) and kind is not ProtocolVersionError:
                    kind, number = type(exc), exc.errno  # the last one's, but what the server has said goes first
                if not refused:
                    break
        text = "%s speaks no AMQP that is known here (%s)%s" % (str(address), "; ".join(refusals), hint)
        if kind is None:
            kind, number = ProtocolVersionError, errno.EPROTONOSUPPORT
        raise kind(0, text, errno=number)

    def _connect(self, address: Address, dialect: Dialect, deadline: Deadline) -> None:
        """A fresh network connection, with nothing said on it."""
        where = self._known_as(address)
        transport = self._open_transport(address, deadline)
        receiver = Receiver(dialect, self.message_class._received, self.message_class._to_time, self._body_max)
        receiver.frame_max = max(self._frame_max, _FRAME_MAX)
        link = Link(transport, receiver, Sender(dialect), where, self._handle_control, self._do_close)
        link.patience = self._patience
        AbstractChannel.__init__(self, link, 0)
        link.add_route(0, 0, self)
        self.transport = transport
        self.connection = self
        self.channels = {0: self}

    def _known_as(self, address: Address) -> str:
        return "%s, vhost %r, %s" % (address, self._virtual_host, self._login.who)

    def _receive_start(self, deadline: Deadline) -> None:
        """Protocol header -> start."""
        _, args, _ = self._await((_START,), self._protocol_header(), deadline)
        self._link.frames_out = 0  # that was none
        self.version_major, self.version_minor, self.server_properties, mechanisms, locales = args
        self._link.server_properties = self.server_properties
        self.mechanisms, self.locales = mechanisms.split(), locales.split()
        version = self.version_major, self.version_minor
        if self._link.dialect is AMQP_0_8 and version == _VERSION_0_9:
            raise ProtocolVersionError(0, "AMQP 0-8 was answered with 0-9", errno=errno.EPROTONOSUPPORT)

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return open_transport(address, self._ssl, deadline)

    def _protocol_header(self) -> bytes:
        return self._link.dialect.header

    def _log_in(self, properties: Dict[str, Any], locale: str, deadline: Deadline) -> None:
        """start-ok (secure, secure-ok)* -> tune; tune-ok is left to _tune()."""
        login, address = self._login, self._link.transport.address
        response = login.begin(self.mechanisms, self._where())
        self._link.where = self._known_as(address)  # now that it is certain who we are
        warn_of_exposure(self._link.transport, login.mechanism, self._where())
        try:
            item = self._next_of(
                (_SECURE, _TUNE), deadline, "connection.start_ok", properties, login.mechanism, response, locale
            )
            while item[0] == _SECURE:
                response = login.answer(item[1][0], self._where())
                item = self._next_of((_SECURE, _TUNE), deadline, "connection.secure_ok", response)
        except AMQPTimeoutError:
            raise
        except ConnectionLostError as exc:
            if exc.amqp_reply_code or isinstance(exc, TLSError):
                raise  # the peer broke the protocol: that says nothing about the login
            if _can_tell(self.server_properties) and _can_tell(properties):
                text = "in the middle of the login: %s" % exc.amqp_reply_text
                raise ConnectionLostError(0, text, _START_OK, self._where(), exc.errno) from exc
            text = "the login was most likely refused (%s)" % exc.amqp_reply_text
            raise AuthenticationError(_ACCESS_REFUSED, text, _START_OK, self._where(), exc.errno) from exc
        except AMQPConnectionException as exc:
            if exc.amqp_reply_code != _ACCESS_REFUSED:
                raise
            raise AuthenticationError(_ACCESS_REFUSED, exc.amqp_reply_text, exc.amqp_method_sig, self._where()) from exc

        channel_max, frame_max, self.heartbeat = item[1]
        # 0 is "no limit" from a server; of two limits the smaller one holds (section connection.tune)
        self.channel_max = min(channel_max or self._channel_max, self._channel_max)
        self.frame_max = min(frame_max or self._frame_max, self._frame_max)
        advice = on_frame_max(self.server_properties, self.frame_max)
        if advice:
            raise ValueError("%s: %s" % (self._where(), advice))
        if self.frame_max < frames.MIN_SIZE:
            text = "a frame_max of %d was proposed; AMQP allows no less than %d" % (self.frame_max, frames.MIN_SIZE)
            raise ConnectionLostError(_SYNTAX_ERROR, text, item[0], self._where())

    def _tune(self, heartbeat: Optional[int]) -> None:
        """Answer tune. What is asked for here holds; 0 turns heartbeats off, None takes what the server proposed."""
        if heartbeat is None:
            heartbeat = self._default_heartbeat
        if heartbeat is not None:
            self.heartbeat = min(heartbeat, self.heartbeat or heartbeat)
        if self.heartbeat:
            try:
                self._link.make_heartbeats(self.heartbeat)
            except RuntimeError as exc:  # there are too many threads; or Python 3.12 is about to exit
                LOGGER.warning("%s: no heartbeats, for there is no thread to send them: %s", self._where(), exc)
                self.heartbeat = 0
        self._send("connection.tune_ok", self.channel_max, self.frame_max, self.heartbeat)
        self._link.start_heartbeats(self.heartbeat)
        self._link.receiver.frame_max = self._link.sender.frame_max = self.frame_max

    def _open(self, insist: bool, deadline: Deadline) -> Optional[str]:
        """Open the virtual host; the host that the server redirects to instead, if it does."""
        opening = (_OPEN_OK, _REDIRECT), deadline, "connection.open", self._virtual_host, "", insist
        try:
            sig, args, _ = self._next_of(*opening)
        except ConnectionLostError as exc:
            if exc.amqp_reply_code or isinstance(exc, TLSError):
                raise
            text = "the login was accepted, the vhost %r most likely not: it is missing, or not for this user (%s)"
            text %= self._virtual_host, exc.amqp_reply_text
            raise ConnectionLostError(0, text, _OPEN, self._where(), exc.errno) from exc
        if sig == _REDIRECT:
            host: str = args[0]
            return host
        self.known_hosts = args[0]
        LOGGER.debug("connected to %s", self._link.where)
        return None

    def _next_of(self, expected: Collection[Sig], deadline: Deadline, name: str, *args: Any) -> Item:
        frame = hide_made_of(args, self._link.sender.method(0, self._method(name), args))
        return self._await(expected, frame, deadline)
