"""Connections: from a host name to an open virtual host, and the end of it."""

from __future__ import annotations

from functools import partial
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

from ..wire.protocol import DEFAULT_BODY_MAX
from ..wire.spec import Method, Sig, sig_of
from .abstract_channel import AbstractChannel
from .channel import Channel
from .computed import computed
from .deadline import Deadline
from .exceptions import AMQPConnectionException, AMQPTimeoutError, ConnectionLostError, NestedCallError, printable
from .handshake import Handshake
from .link import AT_ONCE, Link
from .logger import LOGGER
from .login import Credentials, Login, Responder
from .patience import Patience
from .routes import Failure
from .secret import hide, hide_in
from .stats import Stats
from .url import parse_target

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection"]

_BLOCKED, _UNBLOCKED = sig_of("connection.blocked"), sig_of("connection.unblocked")
_CLOSE, _CLOSE_OK = sig_of("connection.close"), sig_of("connection.close_ok")

#: The end that close() makes.
_PARTED = Failure(ConnectionLostError, 0, "the connection was closed by this program")


class Connection(Handshake):
    """A connection to a broker; the constructor connects, logs in and opens the virtual host.

    host: 'name', 'name:port', '1.2.3.4:5672', '[::1]'; port 5672 (with TLS 5671) unless named. Every address of
        the name is tried. Several, with commas between them, are tried in turn. Or a URL (see docs/overview.txt),
        'amqp://user:password@host:port/vhost?heartbeat=30' or 'amqps://...' for TLS; where it says something, that
        holds, and not the argument.
    userid, password: the login.
    login_method: SASL mechanism: 'AMQPLAIN', 'PLAIN', 'EXTERNAL', 'ANONYMOUS'; with a login_response any other. Or a
        list of them: the first that the server offers is used.
    login_response: bytes, sent as they are; or a function, called with None for the first response and with the
        bytes of each challenge (connection.secure), that returns bytes.
    virtual_host: RabbitMQ's first one is '/'.
    locale: the language of the server's texts, one of its `locales`; RabbitMQ has en_US only.
    client_properties: a dict shown in the broker's list of connections; merged over our own.
    ssl: True for TLS, verified against the system's trust store; or an ssl.SSLContext, or a dict with ca_certs,
        certfile, keyfile, password, cert_reqs, ssl_version, ciphers, server_hostname, context (see
        tls_options.make_context). Only cert_reqs=ssl.CERT_NONE turns verification off.
    insist: ask the server not to redirect to another host.
    connect_timeout: seconds for everything up to the open virtual host; None waits as long as the system does.
    credentials: a function without arguments that returns (userid, password), asked before each login; then those
        given, and those in a URL, are not used. The time it takes is part of connect_timeout.
    protocol: '0-8' or '0-9-1' to speak only that; otherwise what the broker understands.
    heartbeat: seconds between heartbeats, at most what the server proposes; 0 for none. None is 0, and in client_0_9_1
        what the server proposes.
    frame_max: octets of the largest frame to agree to; None for at most 131072. At least 4096, and 8192 with
        RabbitMQ 4.1 and later. A server may propose less, and then that holds.
    body_max: octets of the longest body to take, 128 MB unless given; a longer one ends the connection before memory is
        taken for it.
    channel_max: most channels to agree to; None for 65535. A server may propose less.
    reply_timeout: seconds that a call waits for its reply; None waits for ever.
    write_timeout: seconds that the system may take no data, because the peer reads none; None waits for ever.
    blocked_timeout: seconds that publishing waits while the broker takes none (connection.blocked); 0 raises
        ConnectionBlockedError at once, None waits for ever.
    on_blocked, on_unblocked: called with the server's reason when it takes no publishes for the time being (0-9-1), and
        without arguments when it does again.

    Raises ConnectionLostError (an OSError, with errno) when there is no connection, TLSError when TLS is the reason,
    AuthenticationError (403) when the login is refused, AMQPConnectionException when the server refuses anything
    else, AMQPTimeoutError when the time is up, ValueError for arguments that make no sense.

    Attributes: `channels` (number -> Channel; 0 is the connection itself), `transport` (its `sock` is the socket), both
    None once closed; `channel_max`, `frame_max` and `heartbeat` as negotiated; `server_properties`, `mechanisms`,
    `locales`, `version_major`, `version_minor`, `known_hosts` as the server gave them.
    """

    __slots__ = ("_made",)  # see AbstractChannel

    #: What channel() makes.
    channel_class: ClassVar[Type[Channel]] = Channel

    def __init__(  # nosec B107
        self,
        host: str = "localhost",
        userid: str = "guest",
        password: str = "guest",
        login_method: Union[str, Sequence[str]] = "AMQPLAIN",
        login_response: Union[bytes, str, Responder, None] = None,
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: Optional[Dict[str, Any]] = None,
        ssl: Union[bool, Dict[str, Any], SSLContext, None] = False,
        insist: bool = False,
        connect_timeout: Optional[float] = None,
        *,
        credentials: Optional[Credentials] = None,
        protocol: Optional[str] = None,
        heartbeat: Optional[int] = None,
        frame_max: Optional[int] = None,
        body_max: int = DEFAULT_BODY_MAX,
        channel_max: Optional[int] = None,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
        on_blocked: Optional[Callable[[str], Any]] = None,
        on_unblocked: Optional[Callable[[], Any]] = None,
        **unknown: Any,
    ) -> None:
        # before anything can go wrong: a traceback may show what stands here
        host, password, login_response, ssl = hide(host), hide(password), hide(login_response), hide_in(ssl)
        credentials = hide(credentials)
        names = sorted(unknown)
        unknown.clear()
        if names:
            self._unknown_arguments(names)
        self._made = False
        self.channel_id = 0
        self.auto_decode = False
        target = parse_target(host, bool(ssl))
        said: Dict[str, Any] = {"userid": userid, "password": password, "login_method": login_method}
        said.update(virtual_host=virtual_host, connect_timeout=connect_timeout)
        said.update(heartbeat=heartbeat, frame_max=frame_max, channel_max=channel_max)
        said.update(target.arguments)
        login = Login(said["login_method"], login_response, said["userid"], said["password"], credentials)
        self._limit(said["heartbeat"], said["frame_max"], said["channel_max"], body_max)
        self._prepare(protocol, login, said["virtual_host"], target.ssl(ssl))
        self._patience = Patience(reply_timeout, write_timeout, blocked_timeout)
        #: Called with the reason, and without arguments, when that changes; see on_blocked above.
        self.on_blocked, self.on_unblocked = on_blocked, on_unblocked

        deadline = Deadline(said["connect_timeout"])
        self._make(target.addresses, client_properties, locale, insist, said["heartbeat"], deadline)
        self._made = True
        if (on_blocked or on_unblocked) and "connection.blocked" not in self._link.dialect:
            text = "%s: on_blocked will not be called: AMQP %s, which is spoken here, has no connection.blocked"
            LOGGER.warning(text + "; connect with protocol='0-9-1'", self._where(), self._link.dialect.name)

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
        return super().pending() + sum(channel.pending() for channel in self._open_channels())

    def _open_channels(self) -> List[Channel]:
        every = list((self.channels or {}).values())  # in one step: other threads may open and close some meanwhile
        return [channel for channel in every if isinstance(channel, Channel)]

    def stats(self) -> Stats:
        """What has gone over this connection so far."""
        link = self._link
        return Stats(
            frames_in=link.receiver.frames,
            # a message is counted as one frame when it is sent, and has three
            frames_out=link.frames_out + 2 * link.messages_out,
            bytes_in=link.bytes_in,
            bytes_out=link.bytes_out,
            messages_in=link.receiver.contents,
            messages_out=link.messages_out,
            in_flight=sum(len(ch._confirms.unconfirmed) for ch in self._open_channels() if ch._confirms),
            pending=self.pending(),
            last_seen=link.silence(),
        )

    # --- methods for the connection itself

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        if method.sig == _BLOCKED:
            self._patience.block(args[0])
        elif method.sig == _UNBLOCKED:
            self._patience.unblock()
        elif self._link.last_words is None:
            if method.sig == _CLOSE:
                self._link.last_words = self._told(args)
            elif method.sig == _CLOSE_OK and _CLOSE_OK in self._expected:
                self._link.last_words = _PARTED
        super()._arrived(method, args, content)
        if self.method_queue:
            self._link.control = True

    def _handle_control(self) -> None:
        while self.method_queue:
            try:
                item = self.method_queue.popleft()
            except IndexError:
                break  # another thread has handled it
            self.dispatch_method(*item)
        if self._link.receiver.error and not self._link.failure:
            self._link.give_up(self._link.receiver.error)

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None, timeout: Optional[float] = None) -> Any:
        """Handle one method that the server has sent for the connection itself, waiting until there is one.

        There is rarely a reason to call this: such methods are also handled in the course of every other call.
        AMQPTimeoutError after `timeout` seconds of none.
        """
        item = self._link.wait_for(lambda: self._take_next(allowed_methods), Deadline(timeout), free=True)
        result = self.dispatch_method(*item)
        self._link.check()  # the method may have been the server's close
        self._link.tell()
        return result

    def _closed_by_server(self, args: Tuple[int, str, int, int]) -> None:
        """The server closes the connection: agree, and let everybody know why."""
        failure = self._told(args)
        try:
            self._link.send(0, self._method("connection.close_ok"), (), Deadline(AT_ONCE))
        except (AMQPTimeoutError, ConnectionLostError, NestedCallError) as exc:
            LOGGER.debug("%s: closed by the server, then %s", self._where(), exc)
        self._link.failure = failure  # the server's words, whatever became of the answer to them
        self._link.fail(failure)

    def _told(self, args: Tuple[Any, ...]) -> Failure:
        """What the server's close says."""
        reply_code, reply_text, class_id, method_id = args
        return Failure(AMQPConnectionException, reply_code, reply_text, self._link.dialect.sig(class_id, method_id))

    @computed
    def blocked(self) -> Optional[str]:
        """Why the server takes no publishes for the time being (RabbitMQ's connection.blocked); None when it does."""
        return self._patience.blocked

    def _blocked(self, args: Tuple[str]) -> None:
        self._link.remarks.append(("%s: the server takes no publishes: %s", self._where(), printable(args[0])))
        if self.on_blocked:
            self._link.notices.append(partial(self.on_blocked, args[0]))

    def _unblocked(self, args: Tuple[()]) -> None:
        self._link.remarks.append(("%s: the server takes publishes again", self._where()))
        if self.on_unblocked:
            self._link.notices.append(self.on_unblocked)

    def update_secret(self, new_secret: Union[str, bytes, None] = None, reason: str = "") -> None:
        """Give the server a new password or token (str or bytes) for this connection, before the old one expires.

        Without one, the `credentials` of the connection are asked for it; ValueError where there are none. reason: for
        the server's log. DialectError in 0-8, AMQPConnectionException when the server refuses it.
        """
        new_secret = hide(new_secret)
        if new_secret is None:
            self._link.check()
            new_secret = self._login.secret()
        self._call("connection.update_secret", new_secret, reason)

    def drain_events(self, timeout: Optional[float] = None) -> Any:
        """Handle one method on any channel, as its wait() would; AMQPTimeoutError after `timeout` seconds of none.

        A delivery calls its consumer's callback. What the handler returns.
        """
        channels, link = self._channels(), self._link
        link.draining.append(None)
        try:
            number, route, item = link.wait_for(link.take_ready, Deadline(timeout), free=True)
        finally:
            link.draining.pop()
        channel = channels.get(number)
        # another thread may have closed the channel since, and opened another one of this number
        return channel.dispatch_method(*item) if channel is not None and channel is route else None

    # --- the end

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """Close the connection and all its channels; a second time does nothing.

        Once this returns, everything that was sent has been received by the server. It raises when that is
        not certain: when the server reports an error first, or the connection is lost on the way, or the answer does
        not come within `timeout` seconds, or the connection's reply_timeout. The connection is over all the same.
        """
        if self.transport is None:
            self._end("it was never made")
            return
        try:
            self._call("connection.close", reply_code, reply_text, *method_sig, timeout=timeout)
            # a close of the server's own may have come just before the answer, in one read with it
            self._handle_control()
            if self._link.failure is not _PARTED:  # another thread may have met the end behind the answer
                self._link.check()
        except ValueError:
            raise  # nothing was sent
        except BaseException as exc:
            # another thread, or a signal handler, may have closed it meanwhile, in good order
            if not (isinstance(exc, ConnectionLostError) and self._link.failure is _PARTED):
                self._end(_PARTED.reply_text)
                raise
        self._link.fail(_PARTED)
        self._link.close()

    def _too_late(self) -> NoReturn:
        raise ConnectionLostError(0, "another thread is closing the connection", where=self._where())

    def _do_close(self) -> None:
        """Let go of the network and of the channels, when the connection is over. Can be done again."""
        channels = self.channels or {}
        self.transport = self.channels = self.connection = None
        for channel in list(channels.values()):
            if channel is not self and isinstance(channel, Channel):
                channel._do_close()
        if self._made:
            # what these belong to most likely has the connection
            self.on_blocked = self.on_unblocked = None
            self._login.forget()
        LOGGER.debug("the connection to %s is over", self._where())

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {
        _CLOSE: _closed_by_server,
        _BLOCKED: _blocked,
        _UNBLOCKED: _unblocked,
    }
