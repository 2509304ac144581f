"""Connections: from a host name to an open virtual host, and the end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, ClassVar, Collection, Dict, List, Optional, Tuple, Type, Union

from .. import __version__
from ..wire.protocol import Receiver, Sender
from ..wire.spec import AMQP_0_8, Dialect, Method, Sig
from .abstract_channel import AbstractChannel, Item
from .address import DEFAULT_PORT, DEFAULT_TLS_PORT, Address, parse_host
from .channel import Channel
from .deadline import Deadline
from .exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
)
from .link import LOGGER, Failure, Link
from .login import login_response as make_login_response
from .message import Message
from .transport import Transport, open_transport

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection"]

LIBRARY_PROPERTIES = {"library": "Python amqplib", "library_version": __version__}

#: Capabilities that a client announces, by dialect. Without the first, RabbitMQ answers a wrong password with three
#: seconds of silence and a reset (https://www.rabbitmq.com/docs/auth-notification). connection.blocked must not be
#: announced in 0-8, which has no such method: RabbitMQ resets the connection at its first alarm.
_CAPABILITIES: Dict[str, Dict[str, Any]] = {"0-8": {"authentication_failure_close": True}}

_MAX_REDIRECTS = 5

#: What we propose; a server may lower it.
_CHANNEL_MAX, _FRAME_MAX = 65535, 131072


def _sigs(*names: str) -> Tuple[Sig, ...]:
    return tuple(AMQP_0_8[name].sig for name in names)


_START = _sigs("connection.start")
(_START_OK,) = _sigs("connection.start_ok")
_SECURE, _TUNE = _sigs("connection.secure", "connection.tune")
_OPEN_OK, _REDIRECT = _sigs("connection.open_ok", "connection.redirect")
_CLOSE, _CLOSE_OK = _sigs("connection.close", "connection.close_ok")


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

    _dialect: ClassVar[Dialect] = AMQP_0_8

    channels: Optional[Dict[int, AbstractChannel]]
    connection: Optional[Connection]
    transport: Optional[Transport]

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
    ) -> None:
        self.channel_id = 0
        self.auto_decode = False
        self.channel_max = _CHANNEL_MAX
        self.frame_max = _FRAME_MAX
        self.heartbeat = 0
        self.version_major = self.version_minor = 0
        self.server_properties: Dict[str, Any] = {}
        self.mechanisms: List[str] = []
        self.locales: List[str] = []
        self.known_hosts = ""
        self.channels = self.connection = self.transport = None
        self._userid = userid
        self._virtual_host = virtual_host
        self._ssl = ssl

        deadline = Deadline(connect_timeout)
        address = parse_host(host, DEFAULT_TLS_PORT if ssl else DEFAULT_PORT)
        if login_response is None:
            login_response = make_login_response(login_method, userid, password)
        properties: Dict[str, Any] = dict(LIBRARY_PROPERTIES)
        properties["capabilities"] = _CAPABILITIES.get(self._dialect.name, {})
        properties.update(client_properties or {})

        for _ in range(_MAX_REDIRECTS):
            self._connect(address, deadline)
            try:
                self._log_in(properties, login_method, login_response, locale, deadline)
                elsewhere = self._open(virtual_host, insist, deadline)
            except BaseException as exc:
                self._link.fail(Failure(ConnectionLostError, 0, "it was given up: %s" % type(exc).__name__))
                raise
            if elsewhere is None:
                return
            LOGGER.info("%s redirects to %s", self._link.where, elsewhere)
            self._link.fail(Failure(ConnectionLostError, 0, "the server redirected to %s" % elsewhere))
            try:
                address = parse_host(elsewhere, address.port)
            except ValueError as exc:
                text = "the server redirected to %r, which is not a host" % elsewhere
                raise ConnectionLostError(0, text, where=str(address)) from exc
        raise ConnectionLostError(0, "redirected %d times, at last to %s" % (_MAX_REDIRECTS, address))

    # --- connecting

    def _connect(self, address: Address, deadline: Deadline) -> None:
        """A fresh network connection, with nothing said on it."""
        where = "%s, vhost %r, user %r" % (address, self._virtual_host, self._userid)
        transport = self._open_transport(address, deadline)
        receiver = Receiver(self._dialect, self.message_class._received, self.message_class._to_time)
        receiver.frame_max = _FRAME_MAX
        link = Link(transport, receiver, Sender(self._dialect), where, self._handle_control, self._do_close)
        AbstractChannel.__init__(self, link, 0)
        link.add_route(0, 0, self)
        self.transport = transport
        self.connection = self
        self.channels = {0: self}

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return open_transport(address, self._ssl, deadline)

    def _protocol_header(self) -> bytes:
        return self._dialect.header

    def _log_in(
        self,
        properties: Dict[str, Any],
        mechanism: str,
        response: Union[bytes, str],
        locale: str,
        deadline: Deadline,
    ) -> None:
        """Protocol header -> start; start-ok (secure, secure-ok)* -> tune; tune-ok."""
        _, args, _ = self._await(_START, lambda: self._link.send_raw(self._protocol_header()), deadline)
        self.version_major, self.version_minor, self.server_properties, mechanisms, locales = args
        self.mechanisms, self.locales = mechanisms.split(" "), locales.split(" ")

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

        channel_max, frame_max, _ = item[1]
        # 0 is "no limit" from a server; of two limits the smaller one holds (section connection.tune)
        self.channel_max = min(channel_max or _CHANNEL_MAX, _CHANNEL_MAX)
        self.frame_max = min(frame_max or _FRAME_MAX, _FRAME_MAX)
        self._send("connection.tune_ok", self.channel_max, self.frame_max, self.heartbeat)
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
        return self._await(expected, lambda: self._send(name, *args), deadline)

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
        failure = Failure(AMQPConnectionException, reply_code, reply_text, (class_id, method_id))
        try:
            self._send("connection.close_ok")
        except (AMQPTimeoutError, ConnectionLostError) as exc:
            LOGGER.debug("%s: closed by the server, then %s", self._where(), exc)
        self._link.failure = failure  # the server's words, whatever became of the answer to them
        self._link.fail(failure)

    # --- the end

    def close(self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0)) -> None:
        """Close the connection and all its channels; a second time does nothing.

        Once this returns, everything that was sent has been received by the server. It raises when that is
        not certain: when the server reports an error first, or the connection is lost on the way.
        """
        if self.transport is None:
            return
        over = Failure(ConnectionLostError, 0, "the connection was closed by this program")
        try:
            self._call("connection.close", reply_code, reply_text, *method_sig)
            # a close of the server's own may have come just before the answer, in one read with it
            self._handle_control()
            self._link.check()
        except ValueError:
            raise  # nothing was sent
        except BaseException:
            self._link.fail(over)
            raise
        self._link.fail(over)

    def _abandon(self, why: str) -> None:
        self._link.fail(Failure(ConnectionLostError, 0, why))

    def _do_close(self) -> None:
        """Let go of the network and of the channels. Called once, when the connection is over."""
        transport, channels = self.transport, self.channels or {}
        self.transport = self.channels = self.connection = None
        if transport is not None:
            transport.close()
        for channel in list(channels.values()):
            if channel is not self and isinstance(channel, Channel):
                channel._do_close()
        LOGGER.debug("the connection to %s is over", self._where())

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {_CLOSE: _closed_by_server}
