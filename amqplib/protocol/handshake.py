"""From the protocol header to the open virtual host, as one conversation (0-9-1, section 2.2.4).

`handshake` is a generator that reads from top to bottom: it yields what to send and what it waits for, and is sent the
method that came. Whoever runs it does the waiting, and knows by `Step.stage` what a failure in it means.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Collection,
    Dict,
    Generator,
    List,
    Optional,
    Sequence,
    Tuple,
)

from ..wire import frames
from ..wire.spec import AMQP_0_8, Dialect, Sig, sig_of
from .port import Item

__all__ = ["Agreement", "BadLimit", "Step", "VersionRefused", "Wishes", "handshake"]

START, SECURE, TUNE = sig_of("connection.start"), sig_of("connection.secure"), sig_of("connection.tune")
OPEN_OK, REDIRECT = sig_of("connection.open_ok"), sig_of("connection.redirect")

#: What connection.start says in 0-9-1.
_VERSION_0_9 = (0, 9)


class VersionRefused(Exception):
    """The peer answered with another version of AMQP than was offered."""


class BadLimit(Exception):
    """The peer proposed a limit that AMQP does not allow."""


if TYPE_CHECKING:
    from typing import Protocol

    class Login(Protocol):
        """What knows how to log in."""

        mechanism: str

        def begin(self, offered: Sequence[str], where: str) -> bytes:
            """The first response, by one of the mechanisms offered."""

        def answer(self, challenge: str, where: str) -> bytes:
            """The response to a challenge."""


class Wishes:
    """What this side wants."""

    __slots__ = (
        "channel_max",
        "client_properties",
        "frame_max",
        "header",
        "heartbeat",
        "insist",
        "locale",
        "login",
        "virtual_host",
    )

    def __init__(
        self,
        header: bytes,
        login: Login,
        client_properties: Dict[str, Any],
        locale: str,
        virtual_host: str,
        insist: bool,
        channel_max: int,
        frame_max: int,
        heartbeat: Optional[int],
    ) -> None:
        self.header = header
        self.login = login
        self.client_properties = client_properties
        self.locale = locale
        self.virtual_host = virtual_host
        self.insist = insist
        #: Limits to agree to at most.
        self.channel_max = channel_max
        self.frame_max = frame_max
        #: Seconds between heartbeats, at most what the peer proposes; None for just that.
        self.heartbeat = heartbeat


class Agreement:
    """What has been said so far; whole once the conversation is over."""

    __slots__ = (
        "channel_max",
        "frame_max",
        "heartbeat",
        "known_hosts",
        "locales",
        "mechanisms",
        "redirect",
        "server_properties",
        "version",
    )

    def __init__(self) -> None:
        self.version: Tuple[int, int] = (0, 0)
        self.server_properties: Dict[str, Any] = {}
        self.mechanisms: List[str] = []
        self.locales: List[str] = []
        self.channel_max = self.frame_max = self.heartbeat = 0
        self.known_hosts = ""
        #: The host to go to instead.
        self.redirect: Optional[str] = None


class Step:
    """Something to send, and the methods of which one has to come; neither where there is only a new stage."""

    __slots__ = ("expects", "sends", "stage")

    def __init__(self, stage: str, sends: bytes, expects: Collection[Sig]) -> None:
        #: "start", "started", "login" or "open".
        self.stage = stage
        self.sends = sends
        self.expects = expects


def handshake(
    dialect: Dialect,
    wishes: Wishes,
    agreed: Agreement,
    consent: Callable[[Agreement], None],
    say: Callable[..., bytes],
    where: Callable[[], str],
) -> Generator[Step, Item, None]:
    """The conversation of a client.

    consent(agreed): called once limits and heartbeat are known, before they are confirmed; it may lower the heartbeat.
    say(name, *arguments): the frame of a method. where(): what to call this connection in an error message.
    VersionRefused, BadLimit, and whatever the login and consent() raise.
    """
    _, args, _ = yield Step("start", wishes.header, (START,))
    major, minor, agreed.server_properties, mechanisms, locales = args
    agreed.version = major, minor
    agreed.mechanisms, agreed.locales = mechanisms.split(), locales.split()
    if dialect is AMQP_0_8 and agreed.version == _VERSION_0_9:
        raise VersionRefused("AMQP 0-8 was answered with 0-9")

    yield Step("started", b"", ())  # the dialect is accepted; up to here, another one can be tried

    login = wishes.login
    response = login.begin(agreed.mechanisms, where())
    frame = say("connection.start_ok", wishes.client_properties, login.mechanism, response, wishes.locale)
    sig, args, _ = yield Step("login", frame, (SECURE, TUNE))
    while sig == SECURE:
        frame = say("connection.secure_ok", login.answer(args[0], where()))
        sig, args, _ = yield Step("login", frame, (SECURE, TUNE))

    channel_max, frame_max, heartbeat = args
    # 0 is "no limit" from a peer; of two limits the smaller one holds (section connection.tune)
    agreed.channel_max = min(channel_max or wishes.channel_max, wishes.channel_max)
    agreed.frame_max = min(frame_max or wishes.frame_max, wishes.frame_max)
    if agreed.frame_max < frames.MIN_SIZE:
        text = "a frame_max of %d was proposed; AMQP allows no less than %d"
        raise BadLimit(text % (agreed.frame_max, frames.MIN_SIZE))
    # 0 turns heartbeats off; None takes what the peer proposed
    wish = wishes.heartbeat
    agreed.heartbeat = heartbeat if wish is None else min(wish, heartbeat or wish)
    consent(agreed)
    frame = say("connection.tune_ok", agreed.channel_max, agreed.frame_max, agreed.heartbeat)
    # nothing answers it: what comes next goes with it
    frame += say("connection.open", wishes.virtual_host, "", wishes.insist)
    sig, args, _ = yield Step("open", frame, (OPEN_OK, REDIRECT))
    if sig == REDIRECT:
        agreed.redirect = args[0]
    else:
        agreed.known_hosts = args[0]
