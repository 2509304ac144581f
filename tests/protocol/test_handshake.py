"""The conversation from the protocol header to the open virtual host, without a network."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import pytest

from amqplib.protocol.handshake import Agreement, BadLimit, VersionRefused, Wishes, handshake
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from tests.octets import frame, octets

HEADER = b"AMQP\x00\x00\x09\x01"

START, SECURE, TUNE, OPEN_OK, REDIRECT = (10, 10), (10, 20), (10, 30), (10, 41), (10, 50)

# names and ids in the table of 0-8, which programs know
STARTS = START, (0, 9, {"product": "test"}, "PLAIN AMQPLAIN", "en_US de_DE"), None


def method(text: str) -> bytes:
    return frame(1, 0, octets(text))


class Step(NamedTuple):
    """A step, as the tests compare it."""

    stage: str
    sends: bytes
    expects: Tuple[Tuple[int, int], ...]


class Login:
    """Logs in by PLAIN, and answers challenges with themselves, twice."""

    mechanism = "PLAIN"

    def __init__(self) -> None:
        self.heard: List[Tuple[Any, str]] = []

    def begin(self, offered: Sequence[str], where: str) -> bytes:
        self.heard.append((list(offered), where))
        return b"user"

    def answer(self, challenge: str, where: str) -> bytes:
        self.heard.append((challenge, where))
        return challenge.encode() * 2


class Conversation:
    """A conversation, step by step."""

    def __init__(self, dialect: Dialect = AMQP_0_9_1, **wishes: Any) -> None:
        self.login = Login()
        self.agreed = Agreement()
        self.consented: List[Tuple[int, int, int]] = []
        sender = Sender(dialect)
        values: Dict[str, Any] = {"channel_max": 100, "frame_max": 10000, "heartbeat": 20, **wishes}
        self._steps = handshake(
            dialect,
            Wishes(HEADER, self.login, {}, "en_US", "/v", False, **values),
            self.agreed,
            self.consent,
            lambda name, *args: sender.method(0, dialect[name], args),
            lambda: "here",
        )
        self.lower: Optional[int] = None
        first = next(self._steps)
        self.step: Optional[Step] = Step(first.stage, first.sends, tuple(first.expects))

    def consent(self, agreed: Agreement) -> None:
        assert agreed is self.agreed
        self.consented.append((agreed.channel_max, agreed.frame_max, agreed.heartbeat))
        if self.lower is not None:
            agreed.heartbeat = self.lower

    def hear(self, *item: Any) -> Optional[Step]:
        """The next step after this answer; None when it is over."""
        try:
            step = self._steps.send(tuple(item) if item else ((0, 0), (), None))
            self.step = Step(step.stage, step.sends, tuple(step.expects))
        except StopIteration:
            self.step = None
        return self.step

    def up_to_login(self) -> Optional[Step]:
        self.hear(*STARTS)
        return self.hear()


def test_from_beginning_to_end() -> None:
    talk = Conversation()
    assert talk.step == Step("start", HEADER, (START,))
    assert talk.hear(*STARTS) == Step("started", b"", ())
    assert talk.agreed.version == (0, 9)
    assert talk.agreed.server_properties == {"product": "test"}
    assert talk.agreed.mechanisms == ["PLAIN", "AMQPLAIN"]
    assert talk.agreed.locales == ["en_US", "de_DE"]

    start_ok = method("000A 000B 00000000 05 'PLAIN' 00000004 'user' 05 'en_US'")
    assert talk.hear() == Step("login", start_ok, (SECURE, TUNE))
    assert talk.login.heard == [(["PLAIN", "AMQPLAIN"], "here")]

    tune_ok, connection_open = method("000A 001F 0064 00002000 000A"), method("000A 0028 02 '/v' 00 00")
    assert talk.hear(TUNE, (2047, 8192, 10), None) == Step("open", tune_ok + connection_open, (OPEN_OK, REDIRECT))
    assert talk.consented == [(100, 8192, 10)]
    assert talk.hear(OPEN_OK, ("hosts",), None) is None
    assert talk.agreed.known_hosts == "hosts"
    assert talk.agreed.redirect is None


def test_the_server_redirects() -> None:
    talk = Conversation(AMQP_0_8)
    talk.hear(START, (8, 0, {}, "PLAIN", "en_US"), None)
    talk.hear()
    talk.hear(TUNE, (0, 0, 0), None)
    assert talk.hear(REDIRECT, ("elsewhere:5673", ""), None) is None
    assert talk.agreed.redirect == "elsewhere:5673"
    assert talk.agreed.known_hosts == ""


def test_challenges_are_answered_until_there_are_no_more() -> None:
    talk = Conversation()
    talk.up_to_login()
    for challenge in ("ab", "c"):
        secure_ok = method("000A 0015 0000000%d '%s'" % (2 * len(challenge), challenge * 2))
        assert talk.hear(SECURE, (challenge,), None) == Step("login", secure_ok, (SECURE, TUNE))
    step = talk.hear(TUNE, (0, 0, 0), None)
    assert step is not None
    assert step.stage == "open"
    assert talk.login.heard[1:] == [("ab", "here"), ("c", "here")]


def test_0_8_is_not_answered_with_0_9() -> None:
    talk = Conversation(AMQP_0_8)
    with pytest.raises(VersionRefused, match="0-8 was answered with 0-9"):
        talk.hear(*STARTS)


@pytest.mark.parametrize("version", [(8, 0), (0, 8)])
def test_other_versions_say_nothing(version: Tuple[int, int]) -> None:
    talk = Conversation(AMQP_0_8)
    assert talk.hear(START, (*version, {}, "", ""), None) == Step("started", b"", ())
    assert talk.agreed.version == version


@pytest.mark.parametrize(
    ("wished", "proposed", "agreed"),
    [
        # 0 is no limit, from a server; heartbeats of 0 are none, and None takes what is proposed
        ((100, 10000, 20), (0, 0, 0), (100, 10000, 20)),
        ((100, 10000, 20), (50, 4096, 60), (50, 4096, 20)),
        ((100, 10000, 20), (200, 131072, 10), (100, 10000, 10)),
        ((100, 10000, 0), (0, 0, 60), (100, 10000, 0)),
        ((100, 10000, None), (0, 0, 60), (100, 10000, 60)),
        ((100, 10000, None), (0, 0, 0), (100, 10000, 0)),
    ],
)
def test_limits(wished: Tuple[Any, ...], proposed: Tuple[int, ...], agreed: Tuple[int, ...]) -> None:
    talk = Conversation(channel_max=wished[0], frame_max=wished[1], heartbeat=wished[2])
    talk.up_to_login()
    talk.hear(TUNE, proposed, None)
    assert talk.consented == [agreed]


@pytest.mark.parametrize("frame_max", [1, 4095])
def test_frames_that_are_too_small(frame_max: int) -> None:
    talk = Conversation()
    talk.up_to_login()
    with pytest.raises(BadLimit, match="a frame_max of %d was proposed; AMQP allows no less than 4096" % frame_max):
        talk.hear(TUNE, (0, frame_max, 0), None)
    assert not talk.consented


def test_what_consent_lowers_is_what_is_said() -> None:
    talk = Conversation()
    talk.lower = 0
    talk.up_to_login()
    step = talk.hear(TUNE, (0, 0, 30), None)
    assert step is not None
    assert step.sends.startswith(method("000A 001F 0064 00002710 0000"))
    assert talk.agreed.heartbeat == 0


def test_what_the_login_raises_comes_out() -> None:
    class Refuses(Login):
        def begin(self, offered: Sequence[str], where: str) -> bytes:
            raise ValueError("no mechanism")

    talk = Conversation()
    talk.login.begin = Refuses().begin  # type: ignore[method-assign]
    talk.hear(*STARTS)
    with pytest.raises(ValueError, match="no mechanism"):
        talk.hear()
