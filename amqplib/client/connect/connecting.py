"""From an address to an open virtual host: hosts and redirects, which AMQP is spoken, and what a failure means.

The conversation itself is protocol/handshake.py. Here it is had with one host after another, in one dialect after the
other, within a deadline.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, Callable, Dict, Generator, List, Optional, Sequence, Set, Tuple, Type

from ... import __version__
from ...protocol.acks import Acks
from ...protocol.endings import BY_PROGRAM, Ending
from ...protocol.handshake import Agreement, BadLimit, Step, VersionRefused, Wishes, handshake
from ...protocol.port import Item
from ...protocol.session import Session
from ...wire import frames
from ...wire.protocol import Receiver, Sender
from ...wire.spec import AMQP_0_8, Dialect, sig_of
from ...wire.text import printable
from .. import fork, heartbeat
from ..deadline import Deadline
from ..driver import Driver
from ..exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
    ProtocolVersionError,
    TLSError,
    reworded,
)
from ..line import Line
from ..logger import LOGGER
from ..message import BaseMessage
from ..threads import threading
from ..timeouts import Timeouts
from . import hints
from .address import Address, parse_host
from .login import SENDS_PASSWORD, Login
from .profile import Profile

if TYPE_CHECKING:
    from ..trace import Tracer

__all__ = ["SPOKEN", "Limits", "Plan", "connect"]

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
SPOKEN: Dict[Address, Dialect] = {}

#: Hosts for which it has been said that the password goes there in clear text.
_warned: Set[Address] = set()

#: How a network connection ends when a broker does not want to hear more.
_REFUSALS = (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)

_MAX_REDIRECTS = 5

#: What we propose; a server may lower it.
_CHANNEL_MAX, _FRAME_MAX = 65535, 131072
_LONGEST_HEARTBEAT = 65535

_ACCESS_REFUSED, _SYNTAX_ERROR = 403, 502

#: CONNECTION_FORCED, by a broker that is being shut down; INTERNAL_ERROR, by one whose vhost is down.
_OUT_OF_SERVICE = (320, 541)

_START_OK, _OPEN = sig_of("connection.start_ok"), sig_of("connection.open")
_TUNE = sig_of("connection.tune")


class Limits:
    """What to agree to at most, and what to take."""

    __slots__ = ("body_max", "channel_max", "frame_max", "header_max", "heartbeat")

    def __init__(
        self, heartbeat: Optional[int], frame_max: int, channel_max: int, body_max: int, header_max: int
    ) -> None:
        self.heartbeat = heartbeat
        self.frame_max = frame_max
        self.channel_max = channel_max
        self.body_max = body_max
        self.header_max = header_max

    @classmethod
    def checked(
        cls,
        heartbeat: Optional[int],
        frame_max: Optional[int],
        channel_max: Optional[int],
        body_max: int,
        header_max: int,
    ) -> Limits:
        """Limits as the program gave them, None for our own; ValueError for those that AMQP does not have."""
        _check("heartbeat", heartbeat, 0, _LONGEST_HEARTBEAT, "seconds")
        _check("frame_max", frame_max, frames.MIN_SIZE, (1 << 32) - 1, "octets")
        _check("channel_max", channel_max, 1, _CHANNEL_MAX, "channels")
        if not isinstance(body_max, int) or body_max < 0:
            raise ValueError("body_max: %r: it is a number of octets" % (body_max,))
        if not isinstance(header_max, int) or header_max < frames.MIN_SIZE:
            raise ValueError("header_max: %r: it is a number of octets, %d or more" % (header_max, frames.MIN_SIZE))
        agree_to = _FRAME_MAX if frame_max is None else frame_max
        return cls(heartbeat, agree_to, channel_max or _CHANNEL_MAX, body_max, header_max)


def _check(name: str, value: Optional[int], least: int, most: int, unit: str) -> None:
    if value is not None and not (isinstance(value, int) and least <= value <= most):
        raise ValueError("%s: %r: AMQP has from %d to %d %s" % (name, value, least, most, unit))


class Plan:
    """All that is known before there is a network connection."""

    __slots__ = (
        "client_properties",
        "gather_acks",
        "insist",
        "limits",
        "locale",
        "lock",
        "login",
        "make_session",
        "message_class",
        "news",
        "offered",
        "profile",
        "ssl",
        "timeouts",
        "tracer",
        "virtual_host",
    )

    def __init__(
        self,
        profile: Profile,
        offered: Sequence[Dialect],
        login: Login,
        ssl: Any,
        virtual_host: str,
        locale: str,
        client_properties: Dict[str, Any],
        insist: bool,
        limits: Limits,
        timeouts: Timeouts,
        message_class: Type[BaseMessage],
        gather_acks: bool,
        tracer: Optional[Tracer],
    ) -> None:
        self.profile = profile
        #: The dialects to try.
        self.offered = offered
        self.login = login
        self.ssl = ssl
        self.virtual_host = virtual_host
        self.locale = locale
        self.client_properties = client_properties
        self.insist = insist
        self.limits = limits
        self.timeouts = timeouts
        self.message_class = message_class
        self.gather_acks = gather_acks
        #: Is told of all that goes over the wire.
        self.tracer = tracer
        #: What makes a session; and the lock and its condition, where several connections are to share one.
        self.make_session: Callable[[Receiver, Sender], Session] = Session
        self.lock: Any = None if tracer is None else tracer.lock
        self.news: Callable[[Any], Any] = threading.Condition

    def known_as(self, address: Address) -> str:
        """What to call a connection there in error messages."""
        return "%s, vhost %r, %s" % (address, self.virtual_host, self.login.who)


class _Attempt:
    """One network connection, and the conversation on it."""

    def __init__(self, plan: Plan, address: Address, dialect: Dialect, deadline: Deadline) -> None:
        self._plan = plan
        self.address = address
        self.dialect = dialect
        self.agreed = Agreement()
        limits, kind = plan.limits, plan.message_class
        transport = plan.profile.open_transport(address, plan.ssl, deadline)
        receiver = Receiver(dialect, kind._amqplib_received, kind._amqplib_to_time, limits.body_max, limits.header_max)
        receiver.frame_max = max(limits.frame_max, _FRAME_MAX)
        session = plan.make_session(receiver, Sender(dialect))
        where, clock = plan.known_as(address), plan.profile.clock
        make = Driver if plan.tracer is None else plan.tracer.driver
        self.driver = make(session, transport, plan.timeouts, where, plan.lock, clock, plan.news)
        if plan.gather_acks:
            self.driver.output.acks = Acks()
        fork.watch(self.driver)
        self._line = Line(self.driver, session.control, lambda: None)
        self._warned = False
        properties = {**LIBRARY_PROPERTIES, "capabilities": _CAPABILITIES[dialect.name], **plan.client_properties}
        self._properties = properties
        wishes = Wishes(
            plan.profile.header(dialect),
            plan.login,
            properties,
            plan.locale,
            plan.virtual_host,
            plan.insist,
            limits.channel_max,
            limits.frame_max,
            plan.profile.heartbeat if limits.heartbeat is None else limits.heartbeat,
        )
        self._conversation: Generator[Step, Item, None] = handshake(
            dialect, wishes, self.agreed, self._consent, self._line.frame, lambda: plan.known_as(address)
        )
        self._step: Optional[Step] = next(self._conversation)

    def start(self, deadline: Deadline) -> None:
        """Protocol header -> connection.start."""
        self._say(deadline)

    def go_on(self, deadline: Deadline) -> None:
        """The rest of the conversation."""
        while self._step is not None:
            stage = self._step.stage
            if stage == "login" and not self._warned:
                self._warned = True
                self._warn_of_exposure()
            try:
                self._say(deadline)
            except AMQPTimeoutError:
                raise
            except AMQPConnectionException as exc:
                if self._says_enough(stage, exc):
                    raise
                raise self._explained(stage, exc) from exc
        LOGGER.debug("connected to %s", self.driver.where)

    def _say(self, deadline: Deadline) -> None:
        """One step: send, and have the conversation say what comes after the answer."""
        step, driver = self._step, self.driver
        assert step is not None
        if step.expects:
            item = self._line.converse(step.expects, step.sends, deadline, "connection.%s" % step.stage)
        else:
            item = ((0, 0), (), None)
        if step.stage == "start":
            driver.output.frames = 0  # the protocol header was none
        elif step.stage == "open":
            driver.output.frames += 1  # tune-ok went with it
        try:
            self._step = self._conversation.send(item)
        except StopIteration:
            self._step = None
        except VersionRefused as exc:
            raise ProtocolVersionError(0, str(exc), errno=errno.EPROTONOSUPPORT) from None
        except BadLimit as exc:
            raise ConnectionLostError(_SYNTAX_ERROR, str(exc), _TUNE, driver.where) from None
        finally:
            if step.stage == "started":  # the login may have said who we are
                driver.where = self._plan.known_as(self.address)

    def _consent(self, agreed: Agreement) -> None:
        """Before tune-ok: keep to the limits from now on, unless there is anything against them."""
        # by what the program asks for: what a server proposes by itself it does not refuse
        hint = hints.on_frame_max(agreed.server_properties, self._plan.limits.frame_max)
        if hint:
            raise ValueError("%s: %s" % (self.driver.where, hint))
        if agreed.heartbeat:
            try:
                heartbeat.watch(self.driver, agreed.heartbeat)
            except RuntimeError as exc:  # there are too many threads; or Python 3.12 is about to exit
                text = "%s: no heartbeats, for there is no thread to send them: %s"
                LOGGER.warning(text, self.driver.where, exc)
                agreed.heartbeat = 0
        self.driver.liveness.begin(agreed.heartbeat)
        session = self.driver.session
        session.receiver.frame_max = session.sender.frame_max = agreed.frame_max

    @staticmethod
    def _says_enough(stage: str, exc: AMQPConnectionException) -> bool:
        if not isinstance(exc, ConnectionLostError):
            return stage != "login" or exc.amqp_reply_code != _ACCESS_REFUSED
        # a peer that broke the protocol has said nothing about the login
        return bool(exc.amqp_reply_code) or isinstance(exc, (TLSError, AuthenticationError))

    def _explained(self, stage: str, exc: AMQPConnectionException) -> AMQPConnectionException:
        """What it means that the connection ended at this stage: some brokers just go instead of refusing."""
        where, text = self.driver.where, exc.amqp_reply_text
        if not isinstance(exc, ConnectionLostError):
            return AuthenticationError(_ACCESS_REFUSED, text, exc.amqp_method_sig, where)
        if stage == "login":
            if _can_tell(self.agreed.server_properties) and _can_tell(self._properties):
                return ConnectionLostError(0, "in the middle of the login: %s" % text, _START_OK, where, exc.errno)
            text = "the login was most likely refused (%s)" % text
            return AuthenticationError(_ACCESS_REFUSED, text, _START_OK, where, exc.errno)
        words = "the login was accepted, the vhost %r most likely not: it is missing, or not for this user (%s)"
        return ConnectionLostError(0, words % (self._plan.virtual_host, text), _OPEN, where, exc.errno)

    def _warn_of_exposure(self) -> None:
        """Log a warning if the password is about to go to another machine unencrypted."""
        transport, mechanism = self.driver.transport, self._plan.login.mechanism
        if mechanism.upper() not in SENDS_PASSWORD or transport.encrypted or self.address in _warned:
            return
        if not _is_here(transport.sock):
            _warned.add(self.address)
            text = "%s: the password goes over the network unencrypted (%s without TLS): ssl=True encrypts it"
            LOGGER.warning(text, self.driver.where, mechanism)

    def give_up(self, why: str) -> None:
        """End the network connection."""
        self.driver.fail(Ending(BY_PROGRAM, 0, why), "parted")
        self.driver.shut()
        self._conversation.close()


def connect(plan: Plan, addresses: Sequence[Address], deadline: Deadline) -> Tuple[Driver, Agreement]:
    """Connect to the first of the hosts that can be had; each gets an equal share of the time that is left."""
    failures: List[Exception] = []
    for position, address in enumerate(addresses):
        share = deadline.share(len(addresses) - position)
        try:
            return _connect_to(plan, address, share)
        except (AMQPConnectionException, AMQPTimeoutError) as exc:
            if len(addresses) == 1 or not _is_of_one_host(exc):
                raise
            failures.append(exc.with_traceback(None))  # which knows this frame, and this list
            LOGGER.info("no connection to %s, one of %d hosts: %s", address, len(addresses), exc)
    reasons = "; ".join("%s: %s" % (address, exc) for address, exc in zip(addresses, failures))
    text = "no connection to any of %d hosts: %s" % (len(addresses), reasons)
    last = failures[-1]
    if isinstance(last, AMQPTimeoutError):
        raise AMQPTimeoutError(text) from last
    raise ConnectionLostError(0, text, errno=getattr(last, "errno", None)) from last


def _connect_to(plan: Plan, address: Address, deadline: Deadline) -> Tuple[Driver, Agreement]:
    """Connect, log in and open the virtual host; elsewhere, if the server says so."""
    for _ in range(_MAX_REDIRECTS):
        attempt = _start(plan, address, deadline)
        try:
            attempt.go_on(deadline)
        except BaseException as exc:
            attempt.give_up("it was given up: %s" % type(exc).__name__)
            raise
        elsewhere = attempt.agreed.redirect
        if elsewhere is None:
            return attempt.driver, attempt.agreed
        LOGGER.info("%s redirects to %s", attempt.driver.where, printable(elsewhere))
        attempt.give_up("the server redirected to %s" % elsewhere)
        try:
            address = parse_host(elsewhere, address.port)
        except ValueError as exc:
            text = "the server redirected to %r, which is not a host" % elsewhere
            raise ConnectionLostError(0, text, where=str(address)) from exc
    raise ConnectionLostError(0, "redirected %d times, at last to %s" % (_MAX_REDIRECTS, str(address)))


def _start(plan: Plan, address: Address, deadline: Deadline) -> _Attempt:
    """Connect and get connection.start, in a dialect that the broker speaks.

    One that refuses a dialect sends a protocol header, closes or resets, and what it sends may be lost with the
    reset: each of these before connection.start means the same.
    """
    first = SPOKEN.get(address)
    refusals: List[str] = []
    kind: Optional[Type[ConnectionLostError]] = None
    number: Optional[int] = None
    hint = ""
    for dialect in sorted(plan.offered, key=lambda known: known is not first):
        attempt: Optional[_Attempt] = None
        try:
            attempt = _Attempt(plan, address, dialect, deadline)
            attempt.start(deadline)
            if refusals:
                SPOKEN[address] = dialect
            return attempt
        except BaseException as exc:
            timed_out = isinstance(exc, AMQPTimeoutError)
            if attempt is not None:
                if not isinstance(exc, TLSError):
                    hint = hints.what_answered(attempt.driver.liveness.opening, bool(plan.ssl), timed_out)
                attempt.give_up("the handshake failed")
            if refusals and timed_out:
                text = "%s; before that, AMQP %s" % (hints.add(hint, str(exc)), refusals[0])
                raise AMQPTimeoutError(text) from exc.__cause__
            if refusals and isinstance(exc, TLSError):  # it has said nothing of AMQP this time
                text = "%s; before that, AMQP %s" % (exc.amqp_reply_text, refusals[0])
                raise reworded(exc, text) from exc.__cause__
            final = len(plan.offered) == 1
            if final and dialect is AMQP_0_8 and isinstance(exc, ProtocolVersionError):
                hint += "; RabbitMQ 4 and later have no AMQP 0-8: connect without protocol='0-8'"
            refused = attempt is not None and _is_refusal(exc)
            if not isinstance(exc, AMQPConnectionException) or final or not (refused or refusals):
                raise _with_hint(exc, hint) from exc.__cause__
            refusals.append("%s: %s" % (dialect.name, exc.amqp_reply_text))
            LOGGER.debug("%s: AMQP %s", address, printable(refusals[-1]))
            if isinstance(exc, ConnectionLostError) and kind is not ProtocolVersionError:
                kind, number = type(exc), exc.errno  # the last one's, but what the server has said goes first
            if not refused:
                break
    text = "%s speaks no AMQP that is known here (%s)" % (str(address), "; ".join(refusals))
    text = hints.add(hint, text)
    if kind is None:
        kind, number = ProtocolVersionError, errno.EPROTONOSUPPORT
    raise kind(0, text, errno=number)


def _with_hint(exc: BaseException, hint: str) -> BaseException:
    """The same exception, with the hint."""
    if isinstance(exc, AMQPTimeoutError):
        return AMQPTimeoutError(hints.add(hint, str(exc)))
    if isinstance(exc, ConnectionLostError):
        return reworded(exc, hints.add(hint, exc.amqp_reply_text))
    return exc


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


def _is_here(sock: socket.socket) -> bool:
    """Is the peer on this machine?"""
    try:
        own, peer = sock.getsockname(), sock.getpeername()
    except OSError:
        return True  # it is lost: nothing will be sent
    if not isinstance(peer, tuple):  # a path of this machine's
        return True
    host: str = peer[0]
    return host == "::1" or host.startswith(("127.", "::ffff:127.")) or host == own[0]
