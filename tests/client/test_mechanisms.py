"""Proves how mechanisms are chosen, challenges answered and credentials asked for, and what a refusal says."""

from __future__ import annotations

import logging
import socket
import uuid
from typing import Any, List, Optional, Tuple

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.octets import frame, octets

from .frozen import AMQP_0_9_1
from .peer import Peer
from .test_hosts import offer, unused_port


def begin(peer: Peer, mechanisms: str, chosen: str, response: bytes) -> None:
    """Up to start-ok, with this login in it."""
    peer.greet(mechanisms=mechanisms)
    peer.expect("connection.start_ok", channel=0)
    login = bytes([len(chosen)]) + chosen.encode() + len(response).to_bytes(4, "big") + response + b"\x05en_US"

    def check() -> None:
        assert peer.received.endswith(login + b"\xce"), "another login: %r" % peer.received

    peer.do(check)


def let_in(peer: Peer) -> None:
    peer.send("connection.tune", 0, 0, 0, channel=0)
    peer.expect("connection.tune_ok", channel=0)
    peer.open_host()


def close(peer: Peer, conn: Any) -> None:
    peer.part()
    conn.close()


GUEST = b"\0guest\0guest"
AMQPLAIN = octets("05 'LOGIN' 53 00000005 'guest' 08 'PASSWORD' 53 00000005 'guest'")

CHOICES = [
    ("AMQPLAIN", "PLAIN AMQPLAIN", "AMQPLAIN", AMQPLAIN),
    ("PLAIN", "PLAIN AMQPLAIN", "PLAIN", GUEST),
    ("plain", "PLAIN AMQPLAIN", "PLAIN", GUEST),
    ("EXTERNAL", "PLAIN EXTERNAL", "EXTERNAL", b""),
    ("ANONYMOUS", "ANONYMOUS PLAIN", "ANONYMOUS", b""),
    (["EXTERNAL", "PLAIN"], "AMQPLAIN PLAIN EXTERNAL", "EXTERNAL", b""),
    (["EXTERNAL", "PLAIN"], "AMQPLAIN PLAIN", "PLAIN", GUEST),
    (("PLAIN",), " PLAIN  AMQPLAIN ", "PLAIN", GUEST),
]


@pytest.mark.parametrize(("wanted", "offered", "chosen", "response"), CHOICES)
def test_choice(peer: Peer, wanted: Any, offered: str, chosen: str, response: bytes) -> None:
    begin(peer, offered, chosen, response)
    let_in(peer)
    close(peer, amqp.Connection(peer.address, login_method=wanted))


@pytest.mark.parametrize("offered", ["PLAIN AMQPLAIN", "PLAIN", ""])
@pytest.mark.parametrize("wanted", ["EXTERNAL", ["EXTERNAL", "ANONYMOUS"]])
def test_none_of_those_that_are_offered(peer: Peer, wanted: Any, offered: str) -> None:
    """The error lists them; nothing is said to the server."""
    peer.greet(mechanisms=offered)
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError) as caught:
        amqp.Connection(peer.address, login_method=wanted)
    assert "it offers %s" % (", ".join(offered.split()) or "none at all") in str(caught.value)
    assert "EXTERNAL" in str(caught.value)
    assert "127.0.0.1:%d" % peer.port in str(caught.value)
    assert "guest" not in str(caught.value)  # EXTERNAL has no user
    assert caught.value.amqp_reply_code == 403


def test_the_default_is_checked_too(peer: Peer) -> None:
    peer.greet(mechanisms="PLAIN")
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError, match="offers no login by AMQPLAIN; it offers PLAIN"):
        amqp.Connection(peer.address)


@pytest.mark.parametrize("method", [[], [""], "", None, [None], 5])
def test_no_mechanism(method: Any) -> None:
    with pytest.raises(ValueError, match="login_method"):
        amqp.Connection("localhost:%d" % unused_port(), login_method=method)


@pytest.mark.parametrize("part", ["userid", "password"])
def test_nul_separates_the_parts(part: str) -> None:
    """So it may not be in one: it would make another login of it."""
    with pytest.raises(ValueError, match=part):
        amqp.Connection("localhost:%d" % unused_port(), login_method="PLAIN", **{part: "a\0b"})  # type: ignore[arg-type]


# --- challenges --------------------------------------------------------------------------------------------


def test_a_function_answers_challenges(peer: Peer) -> None:
    asked: List[Optional[bytes]] = []

    def respond(challenge: Optional[bytes]) -> bytes:
        asked.append(challenge)
        return b"I am bob" if challenge is None else b"re: " + challenge

    begin(peer, "CRAM PLAIN", "CRAM", b"I am bob")
    for challenge in (b"who?", b"", b"\0\xff\xfe"):
        peer.send_bytes(frame(1, 0, octets("000A 0014") + len(challenge).to_bytes(4, "big") + challenge))
        answer = b"re: " + challenge
        peer.expect_bytes(frame(1, 0, octets("000A 0015") + len(answer).to_bytes(4, "big") + answer))
    let_in(peer)
    close(peer, amqp.Connection(peer.address, login_method="CRAM", login_response=respond))
    assert asked == [None, b"who?", b"", b"\0\xff\xfe"]


def test_a_function_may_return_str(peer: Peer) -> None:
    begin(peer, "X", "X", b"p\xc3\xa4")
    let_in(peer)
    close(peer, amqp.Connection(peer.address, login_method="X", login_response=lambda challenge: "p\u00e4"))


@pytest.mark.parametrize("returned", [None, 5, "\ud800", object()])
def test_a_function_that_returns_no_bytes(peer: Peer, returned: Any) -> None:
    peer.greet()
    peer.expect_end()
    with pytest.raises(ValueError, match="login_response: bytes"):
        amqp.Connection(peer.address, login_response=lambda challenge: returned)


def test_a_function_that_fails(peer: Peer) -> None:
    """Its exception is the program's, and comes through; nothing stays open."""

    def respond(challenge: Optional[bytes]) -> bytes:
        if challenge is not None:
            raise LookupError("no key")
        return b"x"

    begin(peer, "X", "X", b"x")
    peer.send("connection.secure", "who?", channel=0)
    peer.expect_end()
    with pytest.raises(LookupError, match="no key"):
        amqp.Connection(peer.address, login_method="X", login_response=respond)


def test_a_server_that_asks_for_ever(peer: Peer) -> None:
    begin(peer, "PLAIN", "PLAIN", GUEST)
    peer.send("connection.secure", "again", channel=0)
    for _ in range(20):
        peer.answer("connection.secure_ok", "connection.secure", "again", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError, match="asked 20 times") as caught:
        amqp.Connection(peer.address, login_method="PLAIN")
    assert "127.0.0.1:%d" % peer.port in str(caught.value)


# --- credentials -------------------------------------------------------------------------------------------


class Tokens:
    """A new one each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Tuple[str, str]:
        self.asked += 1
        return "bob", "token%d" % self.asked


def test_credentials_are_asked_for_each_login(peer: Peer) -> None:
    """Also when the server redirects: the second token is another."""
    tokens = Tokens()
    begin(peer, "PLAIN", "PLAIN", b"\0bob\0token1")
    peer.send("connection.tune", 0, 0, 0, channel=0)
    peer.expect("connection.tune_ok", channel=0)
    peer.expect("connection.open", channel=0)
    peer.send("connection.redirect", peer.address, "", channel=0)
    peer.expect_end()
    begin(peer, "PLAIN", "PLAIN", b"\0bob\0token2")
    let_in(peer)
    conn = amqp.Connection(peer.address, "alice", "pw", "PLAIN", credentials=tokens)
    close(peer, conn)
    begin(peer, "PLAIN", "PLAIN", b"\0bob\0token3")
    let_in(peer)
    close(peer, amqp.Connection(peer.address, login_method="PLAIN", credentials=tokens))


def test_credentials_are_not_asked_in_vain() -> None:
    tokens = Tokens()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection("127.0.0.1:%d" % unused_port(), credentials=tokens)
    assert tokens.asked == 0
    assert "guest" not in str(caught.value)


def test_a_refusal_names_who_they_were_for(peer: Peer) -> None:
    begin(peer, "PLAIN", "PLAIN", b"\0bob\0token1")
    peer.send("connection.close", 403, "ACCESS_REFUSED - no", 10, 11, channel=0)
    peer.expect("connection.close_ok", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AuthenticationError, match=r"ACCESS_REFUSED - no.*vhost '/x', user 'bob'"):
        amqp.Connection(peer.address, login_method="PLAIN", credentials=Tokens(), virtual_host="/x")


@pytest.mark.parametrize("returned", [None, "xy1", ("a",), ("a", "b", "c"), ("a", None), (1, "b"), ("a", "\0")])
def test_credentials_that_are_none(peer: Peer, returned: Any) -> None:
    peer.greet()
    peer.expect_end()
    with pytest.raises(ValueError, match="credentials: it has to return userid and password"):
        amqp.Connection(peer.address, credentials=lambda: returned)


@pytest.mark.parametrize("given", [("bob", "pw"), "pw", 1])
def test_credentials_that_cannot_be_asked(given: Any) -> None:
    with pytest.raises(ValueError, match="credentials: a function"):
        amqp.Connection("127.0.0.1:%d" % unused_port(), credentials=given)


@pytest.mark.parametrize("response", [b"x", lambda challenge: b"x"])
def test_credentials_that_nobody_would_ask_for(response: Any) -> None:
    with pytest.raises(ValueError, match="credentials: nobody would ask for them"):
        amqp.Connection("127.0.0.1:%d" % unused_port(), login_response=response, credentials=Tokens())


def test_update_secret() -> None:
    tokens = Tokens()
    with Peer(dialect=AMQP_0_9_1) as peer:
        begin(peer, "PLAIN", "PLAIN", b"\0bob\0token1")
        let_in(peer)
        conn = amqp91.Connection(peer.address, credentials=tokens, heartbeat=0)
        peer.expect("connection.update_secret", "token2", "renewed", channel=0)
        peer.send("connection.update_secret_ok", channel=0)
        conn.update_secret(reason="renewed")
        peer.expect("connection.update_secret", "mine", "", channel=0)
        peer.send("connection.update_secret_ok", channel=0)
        conn.update_secret("mine")
        close(peer, conn)


def test_update_secret_with_nobody_to_ask(newer_conn: amqp91.Connection) -> None:
    with pytest.raises(ValueError, match="update_secret: without `credentials`"):
        newer_conn.update_secret()


# --- passwords over the network ----------------------------------------------------------------------------


def seem(monkeypatch: pytest.MonkeyPatch, peer: Peer, own: Any, other: Any) -> None:
    """Have the system say that the peer is there, at a host of which nothing has been said yet."""

    def getpeername(sock: socket.socket) -> Any:
        if isinstance(other, Exception):
            raise other
        return other

    offer(monkeypatch, ("127.0.0.1", peer.port))
    peer.address = "%s.example:%d" % (uuid.uuid4().hex, peer.port)
    monkeypatch.setattr(socket.socket, "getsockname", lambda sock: own)
    monkeypatch.setattr(socket.socket, "getpeername", getpeername)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    """As if the peer were on another machine."""
    seem(monkeypatch, peer, ("10.0.0.7", 1), ("10.0.0.8", 2))


def warnings_of(records: List[logging.LogRecord]) -> List[str]:
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def connect(peer: Peer, method: str) -> None:
    peer.greet(mechanisms="PLAIN AMQPLAIN EXTERNAL ANONYMOUS")
    peer.let_in()
    peer.open_host()
    close(peer, amqp.Connection(peer.address, "bob", "hunter2", method))


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_a_password_in_clear_text_is_warned_of_once(
    peer: Peer, elsewhere: None, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    for _ in range(3):
        connect(peer, method)
    (text,) = warnings_of(caplog.records)
    assert peer.address in text
    assert "unencrypted (%s without TLS)" % method in text
    assert "hunter2" not in text


@pytest.mark.parametrize("method", ["EXTERNAL", "ANONYMOUS"])
def test_no_password_no_warning(peer: Peer, elsewhere: None, caplog: pytest.LogCaptureFixture, method: str) -> None:
    connect(peer, method)
    assert warnings_of(caplog.records) == []


def test_no_warning_on_one_machine(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    connect(peer, "PLAIN")
    assert warnings_of(caplog.records) == []


@pytest.mark.parametrize(
    ("own", "other", "here"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 2), True),
        (("127.0.0.1", 1), ("127.8.9.1", 2), True),
        (("::1", 1, 0, 0), ("::1", 2, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), ("::ffff:127.0.0.1", 2, 0, 0), True),
        (("10.0.0.7", 1), ("10.0.0.7", 2), True),
        ("", "/run/broker", True),
        (("10.0.0.7", 1), OSError("gone"), True),
        (("10.0.0.7", 1), ("10.0.0.8", 2), False),
        (("10.0.0.7", 1), ("1.127.0.1", 2), False),
        (("fe80::1", 1, 0, 0), ("fe80::2", 2, 0, 0), False),
        (("::ffff:10.0.0.7", 1, 0, 0), ("::ffff:10.0.0.8", 2, 0, 0), False),
    ],
)
def test_what_is_another_machine(
    monkeypatch: pytest.MonkeyPatch, peer: Peer, caplog: pytest.LogCaptureFixture, own: Any, other: Any, here: bool
) -> None:
    seem(monkeypatch, peer, own, other)
    connect(peer, "PLAIN")
    assert (warnings_of(caplog.records) == []) is here


# --- the virtual host --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost_while_the_vhost_is_opened(peer: Peer, ending: str) -> None:
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError, match="the vhost '/x' most likely not: it is missing") as caught:
        amqp.Connection(peer.address, virtual_host="/x")
    assert not isinstance(caught.value, amqp.AuthenticationError)
    assert caught.value.amqp_method_sig == (10, 40)
