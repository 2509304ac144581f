"""Connections: from a host name to an open virtual host, and the end of it."""

from __future__ import annotations

import threading
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

from ..protocol.endings import CONNECTION_PARTED, Ending
from ..protocol.port import Item, Port
from ..wire.protocol import DEFAULT_BODY_MAX, DEFAULT_HEADER_MAX
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Sig
from .abstract_channel import AbstractChannel
from .channel import Channel
from .computed import computed
from .connect.profile import Profile
from .connect.secret import hide, hide_in
from .exceptions import ConnectionLostError
from .functions import check_functions
from .lapse import is_known
from .line import Line
from .logger import LOGGER
from .message import BaseMessage, Message
from .stats import Stats
from .stopping import stop
from .timeouts import Timeouts
from .waiting import HERE

if TYPE_CHECKING:
    from ssl import SSLContext

    from .connect.address import Address
    from .connect.login import Credentials, Responder
    from .deadline import Deadline
    from .net.transport import TLS, Transport
    from .recovery.policy import Recovery
    from .trace import Trace

__all__ = ["Connection", "profile"]


def _unknown_arguments(names: List[str]) -> None:
    from .names import suggested  # not before something is wrong

    code = Connection.__init__.__code__
    has = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    raise TypeError("Connection has no argument %s" % "; nor ".join(suggested(name, has) for name in names))


def _header(dialect: Dialect) -> bytes:
    return dialect.header


def _open_transport(address: Address, ssl: Any, deadline: Deadline) -> Transport:
    from .net.opening import open_transport  # not before it is needed

    return open_transport(address, ssl, deadline)


def profile(dialects: Sequence[Dialect], heartbeat: Optional[int]) -> Profile:
    """A profile in which all else is usual."""
    return Profile(dialects, heartbeat, _open_transport, _header, _unknown_arguments)


class Connection(AbstractChannel):
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
        docs/howto/tls.rst). Only cert_reqs=ssl.CERT_NONE turns verification off.
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
    header_max: octets of the longest properties of a message to take, 1 MB unless given; RabbitMQ does not hold those
        to frame_max, and dead-lettering makes them longer each time. A message with longer ones is left out, with a
        warning in the log, and not acknowledged; see docs/overview.txt, Limits. At least 4096.
    channel_max: most channels to agree to; None for 65535. A server may propose less.
    reply_timeout: seconds that a call waits for its reply; None waits for ever.
    write_timeout: seconds that the system may take no data, because the peer reads none; None waits for ever.
    blocked_timeout: seconds that publishing waits while the broker takes none (connection.blocked); 0 raises
        ConnectionBlockedError at once, None waits for ever.
    close_timeout: seconds for all that is closed at the end of with-statements which an exception leaves, blocked or
        not; None for as long as close() waits otherwise.
    on_blocked, on_unblocked: called with the server's reason when it takes no publishes for the time being (0-9-1), and
        without arguments when it does again.
    recover: True, or a Recovery: the connection, its channels and what was declared on them come back after a loss, and
        what was not confirmed is published again; see docs/recovery.txt. None and False: a lost connection is over.
    gather_acks: hold acknowledgements of single messages back until something else is sent or waited for, a millisecond
        has passed or the program ends, and send them together: a fraction of the work for both sides. A program that
        dies meanwhile gets those messages once more, as it does those that it had not acknowledged. In transactions
        each is sent at once.
    trace: True logs each method that goes over the wire, at DEBUG to the logger 'amqplib.trace'; a function is called
        with a TraceRecord for each; see docs/trace.rst. None and False: nothing is traced, and it costs nothing.

    Raises ConnectionLostError (an OSError, with errno) when there is no connection, TLSError when TLS is the reason,
    AuthenticationError (403) when the login is refused, AMQPConnectionException when the server refuses anything
    else, AMQPTimeoutError when the time is up, ValueError for arguments that make no sense.

    Attributes: `channels` (number -> Channel; 0 is the connection itself), `transport` (its `sock` is the socket), both
    None once closed; `channel_max`, `frame_max` and `heartbeat` as negotiated; `server_properties`, `mechanisms`,
    `locales`, `version_major`, `version_minor`, `known_hosts` as the server gave them.
    """

    #: What channel() makes, and what deliveries are.
    channel_class: ClassVar[Type[Channel[Any]]] = Channel
    message_class: ClassVar[Type[BaseMessage]] = Message

    _amqplib_profile: ClassVar[Profile] = profile((AMQP_0_8, AMQP_0_9_1), 0)

    # on the class, so that a subclass that fails before it calls __init__ can still be closed
    channels: Optional[Dict[int, AbstractChannel]] = None
    connection: Any = None
    transport: Optional[Transport] = None

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
        header_max: int = DEFAULT_HEADER_MAX,
        channel_max: Optional[int] = None,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
        close_timeout: Optional[float] = None,
        on_blocked: Optional[Callable[[str], Any]] = None,
        on_unblocked: Optional[Callable[[], Any]] = None,
        recover: Union[bool, Recovery, None] = None,
        gather_acks: bool = False,
        trace: Union[bool, Trace, None] = None,
        **unknown: Any,
    ) -> None:
        # before anything can go wrong: a traceback may show what stands here
        host, password, login_response, ssl = hide(host), hide(password), hide(login_response), hide_in(ssl)
        credentials = hide(credentials)
        # not before they are needed: importing amqplib stays cheap
        from .connect.connecting import Limits, Plan, connect
        from .connect.login import Login
        from .connect.url import parse_target

        names = sorted(unknown)
        unknown.clear()
        own = self._amqplib_profile
        check_functions(on_blocked=on_blocked, on_unblocked=on_unblocked)
        if names:
            own.unknown_arguments(names)
        self.channel_id = 0
        self.auto_decode = False
        target = parse_target(host, bool(ssl))
        said: Dict[str, Any] = {"userid": userid, "password": password, "login_method": login_method}
        said.update(virtual_host=virtual_host, connect_timeout=connect_timeout)
        said.update(heartbeat=heartbeat, frame_max=frame_max, channel_max=channel_max)
        said.update(reply_timeout=reply_timeout, write_timeout=write_timeout)
        said.update(blocked_timeout=blocked_timeout, close_timeout=close_timeout)
        said.update(target.arguments)
        recovery, reviver, tracer = None, None, None
        if recover not in (None, False) or target.recover is not None:
            from .recovery.policy import checked  # not before it is needed

            recovery = checked(recover, target.recover, target.recovery)
        if trace not in (None, False):
            from . import trace as tracing  # not before it is needed

            tracer = tracing.tracer(trace)
        login = Login(said["login_method"], login_response, said["userid"], said["password"], credentials)
        plan = Plan(
            profile=own,
            offered=own.offered(protocol),
            login=login,
            ssl=target.ssl(ssl),
            virtual_host=said["virtual_host"],
            locale=locale,
            client_properties=client_properties or {},
            insist=insist,
            limits=Limits.checked(said["heartbeat"], said["frame_max"], said["channel_max"], body_max, header_max),
            timeouts=Timeouts(
                said["reply_timeout"],
                said["write_timeout"],
                said["blocked_timeout"],
                said["close_timeout"],
                own.clock,
            ),
            message_class=self.message_class,
            gather_acks=gather_acks,
            tracer=tracer,
        )
        #: Called with the reason, and without arguments, when that changes; see on_blocked above.
        self.on_blocked, self.on_unblocked = on_blocked, on_unblocked

        try:
            deadline = plan.timeouts.deadline(said["connect_timeout"])
        except ValueError as exc:
            raise ValueError("connect_timeout: %s" % exc) from None
        if recovery is None:
            driver, agreed = connect(plan, target.addresses, deadline)
        else:
            from .recovery.reviver import Reviver  # not before it is needed

            reviver = Reviver(recovery, plan, target, said["connect_timeout"])
            driver, agreed = reviver.connect(deadline)
        self.version_major, self.version_minor = agreed.version
        self.server_properties: Dict[str, Any] = agreed.server_properties
        self.mechanisms, self.locales, self.known_hosts = agreed.mechanisms, agreed.locales, agreed.known_hosts
        self.channel_max, self.frame_max, self.heartbeat = agreed.channel_max, agreed.frame_max, agreed.heartbeat
        control, on_over = driver.session.control, self._do_close
        line = self._amqplib = reviver.take_on(self, driver) if reviver else Line(driver, control, on_over)
        line.login = login
        driver.session.server_properties = agreed.server_properties
        driver.notices.listen(self)
        self.transport = driver.transport
        self.connection = self
        self.channels = {0: self}
        driver.parting.on_over = self._amqplib_let_go
        with driver.lock:
            driver.session.control.happen("opened", driver.session)
        dialect = driver.session.dialect
        if (on_blocked or on_unblocked) and "connection.blocked" not in dialect:
            text = "%s: on_blocked will not be called: AMQP %s, which is spoken here, has no connection.blocked"
            LOGGER.warning(text + "; connect with protocol='0-9-1'", line.where, dialect.name)

    @computed
    def protocol(self) -> str:
        """The AMQP version that is spoken: '0-8' or '0-9-1'."""
        return self._amqplib.driver.session.dialect.name

    @computed
    def is_open(self) -> bool:
        """Is it neither closed by the program, nor has the program been told that it is over?"""
        return not self._amqplib.is_over

    @computed
    def tls(self) -> Optional[TLS]:
        """The version and cipher of TLS, and the peer's certificate; None without TLS, and once it is closed."""
        return None if self._amqplib.is_over else self._amqplib.driver.transport.tls()

    def fileno(self) -> int:
        """The number of the socket, for select() and event loops: see pending(). Raises why it is over, if it is."""
        self._amqplib.check()
        return self._amqplib.driver.transport.sock.fileno()

    @computed
    def blocked(self) -> Optional[str]:
        """Why the server takes no publishes for the time being (RabbitMQ's connection.blocked); None when it does."""
        line = self._amqplib
        blocked = line.driver.session.blocked
        # the line's session as it is then: it may be another one after a loss
        still = lambda: line.driver.session.blocked is not None  # noqa: E731
        line.driver.tested.note(line.port, "blocked", blocked is not None, still)
        return blocked

    # --- channels

    def channel(self, channel_id: Optional[int] = None) -> Channel[Any]:
        """Open a channel: the lowest free number, or `channel_id` (1 to channel_max).

        The channel that is open under the number already is returned as it is.
        """
        self._amqplib.check()
        channel = (self.channels or {}).get(channel_id) if channel_id else None
        if isinstance(channel, Channel):
            return channel
        return self.channel_class(self, channel_id)

    def _amqplib_channels(self) -> List[Channel[Any]]:
        every = list((self.channels or {}).values())  # in one step: other threads may open and close some meanwhile
        return [channel for channel in every if isinstance(channel, Channel)]

    def pending(self) -> int:
        """How many methods have arrived, on all channels, and can be handled without reading from the network."""
        return super().pending() + sum(channel.pending() for channel in self._amqplib_channels())

    def stats(self) -> Stats:
        """What has gone over this connection so far."""
        line = self._amqplib
        driver = line.driver
        receiver, output = driver.session.receiver, driver.output
        books = [channel._amqplib.port.books for channel in self._amqplib_channels()]
        stats = Stats(
            frames_in=receiver.frames,
            frames_out=output.frames + 3 * output.messages,
            bytes_in=driver.liveness.octets,
            bytes_out=output.octets,
            messages_in=receiver.contents,
            messages_out=output.messages,
            in_flight=sum(len(each.unconfirmed) for each in books if each is not None),
            pending=self.pending(),
            last_seen=driver.liveness.silence(),
        )
        return line.counted(stats)

    # --- methods for the connection itself

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None, timeout: Optional[float] = None) -> Any:
        """Handle one method that the server has sent for the connection itself, waiting until there is one.

        There is rarely a reason to call this: such methods are also handled in the course of every other call.
        AMQPTimeoutError after `timeout` seconds of none.
        """
        line = self._amqplib

        def take() -> Optional[Item]:
            port = line.port  # now: it may be another one after a loss
            return port.next(allowed_methods) or (HERE if line.driver.tested.is_past(port) else None)

        line.count_waiting(1)
        try:
            item: Item = line.wait_for_method(take, line.driver.timeouts.deadline(timeout))
        finally:
            line.count_waiting(-1)
        result = self._amqplib_dispatch(*item) if item[0] in self._METHOD_MAP else None
        line.driver.tell()
        return result

    def update_secret(self, new_secret: Union[str, bytes, None] = None, reason: str = "") -> None:
        """Give the server a new password or token (str or bytes) for this connection, before the old one expires.

        Without one, the `credentials` of the connection are asked for it; ValueError where there are none. reason: for
        the server's log. DialectError in 0-8, AMQPConnectionException when the server refuses it.
        """
        new_secret = hide(new_secret)
        line = self._amqplib
        if new_secret is None:
            line.check()
            new_secret = line.login.secret()
        line.call("connection.update_secret", new_secret, reason)

    def drain_events(self, timeout: Optional[float] = None) -> Any:
        """Handle one method on any channel, as its wait() would; AMQPTimeoutError after `timeout` seconds of none.

        A delivery calls its consumer's callback. What the handler returns. None as well, as from a channel's wait(),
        when the last consumer of a channel has ended by something else than what this thread has handled, and when
        another thread has read what a loop of this one has tested.
        """
        line, channels = self._amqplib, self.channels or {}

        def take() -> Optional[Tuple[Optional[Port], Any]]:
            driver = line.driver  # now: it may be another one after a loss
            if driver.parting.stopping:
                return None, None
            found = driver.session.next_ready()
            if found is None and driver.parting.lapse is not None and driver.parting.lapse.is_news(driver.sent):
                return None, None
            if found is None and driver.tested.is_past():
                return None, None
            return found

        line.check()
        line.count_draining(1)
        try:
            port, item = line.wait_for_method(take, line.driver.timeouts.deadline(timeout))
        finally:
            line.count_draining(-1)
        if line.driver.parting.stopping:
            self._amqplib_stop_consumers()
        if port is None:
            return None
        channel = channels.get(port.number)
        # another thread may have closed the channel since, and opened another one of this number
        if channel is None or channel._amqplib.port is not port:
            return None
        parting = line.driver.parting
        before = parting.told_last
        result = channel._amqplib_dispatch(*item)
        if isinstance(channel, Channel) and channel._amqplib.consumers.look:
            self._amqplib_stop_consumers()
            is_known(channel._amqplib)
        by, ended = after = parting.told_last
        mine = after is not before and by == threading.get_ident()
        if (self.transport is None or mine) and line.why_over(ended if mine else None) is not None:
            line.tell_kept()  # a callback has kept it to itself: see wait() of a channel
            raise line.why_over(ended if mine else None) or line.over()
        return result

    def _amqplib_stop_consumers(self) -> None:
        """Do what stop_consuming() has left to this loop."""
        parting = self._amqplib.driver.parting
        if parting.stopping:
            parting.stopping = False
            for channel in self._amqplib_channels():
                if channel._amqplib.consumers.stopping:
                    stop(channel)
                    is_known(channel._amqplib)

    # --- the end

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """Close the connection and all its channels; a second time does nothing.

        Once this returns, everything that was sent has been received by the server, which objected to none of it. It
        raises when that is not certain: when the server reports an error first, or the connection is lost on the way,
        or the answer does not come within `timeout` seconds, or the connection's reply_timeout. AMQPChannelException
        is why the server has closed a channel, if the program was not told yet; of several the first is raised, and
        the others are logged. The connection is over all the same.
        """
        if self.transport is None:
            if "_amqplib" in self.__dict__:  # else it was never made
                self._amqplib.tell_kept()
            return
        line = self._amqplib
        try:
            line.close("connection.close", (reply_code, reply_text, *method_sig), timeout)
        except ValueError:
            raise  # nothing was sent
        except BaseException as exc:
            # another thread, or a signal handler, may have closed it meanwhile, in good order
            parted = line.driver.session.ending is CONNECTION_PARTED
            if not (isinstance(exc, ConnectionLostError) and parted):
                self._amqplib_end(CONNECTION_PARTED)
                for untold in line.objections():
                    LOGGER.warning("%s", untold)  # what is raised matters more
                raise
        self._amqplib_end(CONNECTION_PARTED)
        self._amqplib_object()

    def _amqplib_object(self) -> None:
        objections = self._amqplib.objections()
        for untold in objections[1:]:
            LOGGER.warning("%s", untold)
        try:
            if objections:
                raise objections[0]
        finally:
            del objections  # else the exception would keep this frame alive, and itself

    def _amqplib_end(self, ending: Ending) -> None:
        line = self._amqplib
        line.driver.fail(ending, "parted")
        line.parted()
        line.driver.shut()

    def _amqplib_let_go(self) -> None:
        """Let go of everything, when the program is told that the connection is over."""
        channels = self._amqplib_channels()
        self._amqplib.parted()
        for channel in channels:
            channel._amqplib.parted()

    def _do_close(self) -> None:
        """Let go of the network, when the connection is over."""
        self.transport = self.channels = self.connection = None
        # what these belong to most likely has the connection
        self.on_blocked = self.on_unblocked = None
        line = self._amqplib
        line.login.forget()
        line.driver.notices.clear()
        LOGGER.debug("the connection to %s is over", line.where)
