"""Connections: from a host name to an open virtual host, and the end of it."""

from __future__ import annotations

import errno
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Dict,
    List,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

from .. import __version__
from ..wire.protocol import Receiver, Sender
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Method, Sig, sig_of
from .abstract_channel import AbstractChannel, Item
from .address import DEFAULT_PORT, DEFAULT_TLS_PORT, Address, parse_host
from .advice import on_frame_max
from .channel import Channel
from .deadline import Deadline
from .exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
    ProtocolVersionError,
)
from .link import LOGGER, Failure, Link
from .login import login_response as make_login_response
from .message import Message
from .patience import Patience
from .transport import Transport, open_transport

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection"]

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

_SYNTAX_ERROR = 502

#: Smallest frame_max that the specification allows (frame-min-size, 0-9-1; RabbitMQ asks for 8192 from 4.1 on).
_FRAME_MIN = 4096


_VERSION_0_9 = (0, 9)  # what connection.start says in 0-9-1


def _is_refusal(exc: AMQPConnectionException) -> bool:
    """Is this how a broker refuses a dialect: its own protocol header, a close, a reset?"""
    if isinstance(exc, ConnectionLostError) and not isinstance(exc, ProtocolVersionError):
        return exc.errno in _REFUSALS
    return True


_START, _START_OK = sig_of("connection.start"), sig_of("connection.start_ok")
_SECURE, _TUNE = sig_of("connection.secure"), sig_of("connection.tune")
_BLOCKED, _UNBLOCKED = sig_of("connection.blocked"), sig_of("connection.unblocked")
_OPEN_OK, _REDIRECT = sig_of("connection.open_ok"), sig_of("connection.redirect")


class Connection(AbstractChannel):
    """A connection to a broker; the constructor connects, logs in and opens the virtual host.

    host: 'name', 'name:port', '1.2.3.4:5672', '[::1]'; port 5672 (with TLS 5671) unless named. Every address of
        the name is tried.
    userid, password: the login.
    login_method: SASL mechanism, 'AMQPLAIN' or 'PLAIN'; with a login_response (bytes, sent as they are) any other.
    virtual_host: RabbitMQ's first one is '/'.
    client_properties: a dict shown in the broker's list of connections; merged over our own.
    ssl: True for TLS, verified against the system's trust store; or a dict with keyfile, certfile, ca_certs, cert_reqs,
        ciphers, server_hostname, or an ssl.SSLContext. Only cert_reqs=ssl.CERT_NONE turns verification off.
    insist: ask the server not to redirect to another host.
    connect_timeout: seconds for everything up to the open virtual host; None waits as long as the system does.
    protocol: '0-8' or '0-9-1' to speak only that; otherwise what the broker understands.
    heartbeat: seconds between heartbeats, at most what the server proposes; 0 for none.
    frame_max: octets of the largest frame to agree to; None for at most 131072. At least 4096, and 8192 with
        RabbitMQ 4.1 and later. A server may propose less, and then that holds.
    reply_timeout: seconds that a call waits for its reply; None waits for ever.
    write_timeout: seconds that the system may take no data, because the peer reads none; None waits for ever.
    blocked_timeout: seconds that publishing waits while the broker takes none (connection.blocked); 0 raises
        ConnectionBlockedError at once, None waits for ever.
    on_blocked, on_unblocked: called with the server's reason when it takes no publishes for the time being (0-9-1), and
        without arguments when it does again.

    Raises ConnectionLostError (an OSError, with errno) when there is no connection, AuthenticationError (403) when
    the login is refused, AMQPConnectionException when the server refuses anything else, AMQPTimeoutError when
    the time is up, ValueError for arguments that make no sense.

    Attributes: `channels` (number -> Channel; 0 is the connection itself), `transport` (its `sock` is the socket), both
    None once closed; `channel_max`, `frame_max` and `heartbeat` as negotiated; `server_properties`, `mechanisms`,
    `locales`, `version_major`, `version_minor`, `known_hosts` as the server gave them.
    """

    #: What channel() makes, and what deliveries are.
    channel_class: ClassVar[Type[Channel]] = Channel
    message_class: ClassVar[Type[Message]] = Message

    #: The dialects to offer, in this order, to a broker that nothing is known of.
    _dialects: ClassVar[Sequence[Dialect]] = (AMQP_0_8, AMQP_0_9_1)
    #: What `heartbeat` is unless it is given; None leaves it to the server.
    _default_heartbeat: ClassVar[Optional[int]] = 0

    # on the class, so that a subclass that fails before it calls __init__ can still be closed
    channels: Optional[Dict[int, AbstractChannel]] = None
    connection: Optional[Connection] = None
    transport: Optional[Transport] = None

    def __init__(
        self,
        host: str = "localhost",
        userid: str = "guest",
        password: str = "guest",
        login_method: str = "AMQPLAIN",
        login_response: Optional[Union[bytes, str]] = None,
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: Optional[Dict[str, Any]] = None,
        ssl: Union[bool, Dict[str, Any], SSLContext, None] = False,
        insist: bool = False,
        connect_timeout: Optional[float] = None,
        *,
        protocol: Optional[str] = None,
        heartbeat: Optional[int] = None,
        frame_max: Optional[int] = None,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
        on_blocked: Optional[Callable[[str], Any]] = None,
        on_unblocked: Optional[Callable[[], Any]] = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            self._unknown_arguments(sorted(unknown))
        self.channel_id = 0
        self.auto_decode = False
        self.channel_max = _CHANNEL_MAX
        if frame_max is not None and frame_max < _FRAME_MIN:
            raise ValueError("frame_max: %r: AMQP allows no less than %d octets" % (frame_max, _FRAME_MIN))
        self.frame_max = self._frame_max = _FRAME_MAX if frame_max is None else frame_max
        self.heartbeat = 0
        self.version_major = self.version_minor = 0
        self.server_properties: Dict[str, Any] = {}
        self.mechanisms: List[str] = []
        self.locales: List[str] = []
        self.known_hosts = ""
        self._userid = userid
        self._virtual_host = virtual_host
        self._ssl = ssl

        self._offered = self._pinned(protocol)
        self._patience = Patience(reply_timeout, write_timeout, blocked_timeout)
        #: Called with the reason, and without arguments, when that changes; see on_blocked above.
        self.on_blocked, self.on_unblocked = on_blocked, on_unblocked

        deadline = Deadline(connect_timeout)
        address = parse_host(host, DEFAULT_TLS_PORT if ssl else DEFAULT_PORT)
        if login_response is None:
            login_response = make_login_response(login_method, userid, password)

        for _ in range(_MAX_REDIRECTS):
            self._start(address, deadline)
            try:
                properties: Dict[str, Any] = dict(LIBRARY_PROPERTIES)
                properties["capabilities"] = _CAPABILITIES[self.protocol]
                properties.update(client_properties or {})
                self._log_in(properties, login_method, login_response, locale, deadline)
                self._tune(heartbeat)
                elsewhere = self._open(virtual_host, insist, deadline)
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

    @property
    def protocol(self) -> str:
        """The AMQP version that is spoken: '0-8' or '0-9-1'."""
        return self._link.dialect.name

    def _unknown_arguments(self, names: List[str]) -> None:
        raise TypeError("Connection has no argument %s" % ", ".join(names))

    # --- connecting

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
        for dialect in sorted(self._offered, key=lambda known: known is not first):
            try:
                self._connect(address, dialect, deadline)
                self._receive_start(deadline)
                if refusals:
                    _SPOKEN[address] = dialect
                return
            except BaseException as exc:
                self._end("the handshake failed")
                if not isinstance(exc, AMQPConnectionException) or len(self._offered) == 1:
                    raise
                if not _is_refusal(exc) and not refusals:
                    raise
                refusals.append("%s: %s" % (dialect.name, exc.amqp_reply_text))
                LOGGER.debug("%s: AMQP %s", address, refusals[-1])
                if not _is_refusal(exc):
                    break
        text = "%s speaks no AMQP that is known here (%s)" % (str(address), "; ".join(refusals))
        raise ProtocolVersionError(0, text, errno=errno.EPROTONOSUPPORT)

    def _connect(self, address: Address, dialect: Dialect, deadline: Deadline) -> None:
        """A fresh network connection, with nothing said on it."""
        where = "%s, vhost %r, user %r" % (address, self._virtual_host, self._userid)
        transport = self._open_transport(address, deadline)
        receiver = Receiver(dialect, self.message_class._received, self.message_class._to_time)
        receiver.frame_max = max(self._frame_max, _FRAME_MAX)
        link = Link(transport, receiver, Sender(dialect), where, self._handle_control, self._do_close)
        link.patience = self._patience
        AbstractChannel.__init__(self, link, 0)
        link.add_route(0, 0, self)
        self.transport = transport
        self.connection = self
        self.channels = {0: self}

    def _receive_start(self, deadline: Deadline) -> None:
        """Protocol header -> start."""
        _, args, _ = self._await((_START,), self._protocol_header(), deadline)
        self.version_major, self.version_minor, self.server_properties, mechanisms, locales = args
        self._link.server_properties = self.server_properties
        self.mechanisms, self.locales = mechanisms.split(" "), locales.split(" ")
        version = self.version_major, self.version_minor
        if self._link.dialect is AMQP_0_8 and version == _VERSION_0_9:
            raise ProtocolVersionError(0, "AMQP 0-8 was answered with 0-9", errno=errno.EPROTONOSUPPORT)

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return open_transport(address, self._ssl, deadline)

    def _protocol_header(self) -> bytes:
        return self._link.dialect.header

    def _log_in(
        self,
        properties: Dict[str, Any],
        mechanism: str,
        response: Union[bytes, str],
        locale: str,
        deadline: Deadline,
    ) -> None:
        """start-ok (secure, secure-ok)* -> tune; tune-ok is left to _tune()."""
        try:
            item = self._next_of(
                (_SECURE, _TUNE), deadline, "connection.start_ok", properties, mechanism, response, locale
            )
            while item[0] == _SECURE:
                # neither PLAIN nor AMQPLAIN is challenged; whoever gave a response meant it for this
                item = self._next_of((_SECURE, _TUNE), deadline, "connection.secure_ok", response)
        except AMQPTimeoutError:
            raise
        except ConnectionLostError as exc:
            if exc.amqp_reply_code:
                raise  # the peer broke the protocol: that says nothing about the login
            text = "the login of user %r was most likely refused (%s)" % (self._userid, exc.amqp_reply_text)
            raise AuthenticationError(403, text, _START_OK, self._where(), exc.errno) from exc
        except AMQPConnectionException as exc:
            if exc.amqp_reply_code != 403:
                raise
            raise AuthenticationError(403, exc.amqp_reply_text, exc.amqp_method_sig, self._where()) from exc

        channel_max, frame_max, self.heartbeat = item[1]
        # 0 is "no limit" from a server; of two limits the smaller one holds (section connection.tune)
        self.channel_max = min(channel_max or _CHANNEL_MAX, _CHANNEL_MAX)
        self.frame_max = min(frame_max or self._frame_max, self._frame_max)
        advice = on_frame_max(self.server_properties, self.frame_max)
        if advice:
            raise ValueError("%s: %s" % (self._where(), advice))
        if self.frame_max < _FRAME_MIN:
            text = "a frame_max of %d was proposed; AMQP allows no less than %d" % (self.frame_max, _FRAME_MIN)
            raise ConnectionLostError(_SYNTAX_ERROR, text, item[0], self._where())

    def _tune(self, heartbeat: Optional[int]) -> None:
        """Answer tune. What is asked for here holds; 0 turns heartbeats off, None takes what the server proposed."""
        if heartbeat is None:
            heartbeat = self._default_heartbeat
        if heartbeat is not None:
            self.heartbeat = min(heartbeat, self.heartbeat or heartbeat)
        self._send("connection.tune_ok", self.channel_max, self.frame_max, self.heartbeat)
        if self.heartbeat:
            self._link.start_heartbeats(self.heartbeat)
        self._link.receiver.frame_max = self._link.sender.frame_max = self.frame_max

    def _open(self, virtual_host: str, insist: bool, deadline: Deadline) -> Optional[str]:
        """Open the virtual host; the host that the server redirects to instead, if it does."""
        sig, args, _ = self._next_of((_OPEN_OK, _REDIRECT), deadline, "connection.open", virtual_host, "", insist)
        if sig == _REDIRECT:
            host: str = args[0]
            return host
        self.known_hosts = args[0]
        LOGGER.debug("connected to %s", self._link.where)
        return None

    def _next_of(self, expected: Collection[Sig], deadline: Deadline, name: str, *args: Any) -> Item:
        return self._await(expected, self._link.sender.method(0, self._method(name), args), deadline)

    # --- channels

    def channel(self, channel_id: Optional[int] = None) -> Channel:
        """Open a channel: the lowest free number, or `channel_id` (1 to channel_max).

        The channel that is open under the number already is returned as it is.
        """
        channel = self._channels().get(channel_id) if channel_id else None
        if isinstance(channel, Channel):
            return channel
        return self.channel_class(self, channel_id)

    def _channels(self) -> Dict[int, AbstractChannel]:
        self._link.check()
        assert self.channels is not None
        return self.channels

    def _open_link(self) -> Link:
        self._link.check()
        return self._link

    def pending(self) -> int:
        """How many methods have arrived, on all channels, and can be handled without reading from the network."""
        channels = [ch for ch in (self.channels or {}).values() if ch is not self]
        return super().pending() + sum(channel.pending() for channel in channels)

    # --- methods for the connection itself

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        if method.sig == _BLOCKED:
            self._patience.block(args[0])
        elif method.sig == _UNBLOCKED:
            self._patience.unblock()
        super()._arrived(method, args, content)
        if self.method_queue:
            self._link.control = True

    def _handle_control(self) -> None:
        while self.method_queue:
            try:
                item = self.method_queue.popleft()
            except IndexError:
                return  # another thread has handled it
            self.dispatch_method(*item)

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None) -> Any:
        """Handle one method that the server has sent for the connection itself, waiting until there is one.

        There is rarely a reason to call this: such methods are also handled in the course of every other call.
        """
        result = self.dispatch_method(*self._link.wait_for(lambda: self._take_next(allowed_methods)))
        self._link.check()  # the method may have been the server's close
        return result

    def _closed_by_server(self, args: Tuple[int, str, int, int]) -> None:
        """The server closes the connection: agree, and let everybody know why."""
        reply_code, reply_text, class_id, method_id = args
        method_sig = self._link.dialect.sig(class_id, method_id)
        failure = Failure(AMQPConnectionException, reply_code, reply_text, method_sig)
        try:
            self._link.send(0, self._method("connection.close_ok"), ())
        except (AMQPTimeoutError, ConnectionLostError) as exc:
            LOGGER.debug("%s: closed by the server, then %s", self._where(), exc)
        self._link.failure = failure  # the server's words, whatever became of the answer to them
        self._link.fail(failure)

    @property
    def blocked(self) -> Optional[str]:
        """Why the server takes no publishes for the time being (RabbitMQ's connection.blocked); None when it does."""
        return self._patience.blocked

    def _blocked(self, args: Tuple[str]) -> None:
        LOGGER.warning("%s: the server takes no publishes: %s", self._where(), args[0])
        if self.on_blocked:
            self.on_blocked(args[0])

    def _unblocked(self, args: Tuple[()]) -> None:
        LOGGER.warning("%s: the server takes publishes again", self._where())
        if self.on_unblocked:
            self.on_unblocked()

    def update_secret(self, new_secret: Union[str, bytes], reason: str = "") -> None:
        """Give the server a new password or token for this connection, before the old one expires. Only in 0-9-1."""
        self._call("connection.update_secret", new_secret, reason)

    def drain_events(self, timeout: Optional[float] = None) -> Any:
        """Handle one method on any channel, as its wait() would; AMQPTimeoutError after `timeout` seconds of none.

        A delivery calls its consumer's callback. What the handler returns.
        """
        channels = self._channels()
        number, item = self._link.wait_for(self._link.take_ready, Deadline(timeout))
        channel = channels.get(number)
        return channel.dispatch_method(*item) if channel else None

    # --- the end

    def close(self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0)) -> None:
        """Close the connection and all its channels; a second time does nothing.

        Once this returns, everything that was sent has been received by the server. It raises when that is
        not certain: when the server reports an error first, or the connection is lost on the way.
        """
        if self.transport is None:
            self._end("it was never made")
            return
        over = "the connection was closed by this program"
        try:
            self._call("connection.close", reply_code, reply_text, *method_sig)
            # a close of the server's own may have come just before the answer, in one read with it
            self._handle_control()
            self._link.check()
        except ValueError:
            raise  # nothing was sent
        except BaseException:
            self._end(over)
            raise
        self._end(over)

    def _too_late(self) -> NoReturn:
        raise ConnectionLostError(0, "another thread is closing the connection", where=self._where())

    def _end(self, why: str) -> None:
        if "_link" in self.__dict__:
            self._link.fail(Failure(ConnectionLostError, 0, why))
            self._link.close()

    def _abandon(self, why: str) -> None:
        self._end(why)

    def _do_close(self) -> None:
        """Let go of the network and of the channels. Called once, when the connection is over."""
        channels = self.channels or {}
        self.transport = self.channels = self.connection = None
        for channel in list(channels.values()):
            if channel is not self and isinstance(channel, Channel):
                channel._do_close()
        LOGGER.debug("the connection to %s is over", self._where())

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {
        sig_of("connection.close"): _closed_by_server,
        _BLOCKED: _blocked,
        _UNBLOCKED: _unblocked,
    }
