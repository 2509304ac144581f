"""Logins with RabbitMQ by more than userid and password: mechanisms, challenges, tokens that end; and virtual hosts."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, List, Optional, Tuple

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.live.secure import Secured

both = pytest.mark.parametrize("module", [amqp, amqp91], ids=lambda module: module.__name__[8:])

pytestmark = pytest.mark.timeout(120)


def usable(conn: Any) -> None:
    with conn, conn.channel() as ch:
        ch.queue_declare(exclusive=True)


@both
def test_a_mechanism_that_is_not_offered(secured: Secured, module: ModuleType) -> None:
    with pytest.raises(amqp.AuthenticationError) as caught:
        module.Connection(secured.node.host, login_method="EXTERNAL")  # not without TLS
    assert "offers no login by EXTERNAL; it offers " in str(caught.value)
    assert all(name in str(caught.value) for name in ("PLAIN", "AMQPLAIN", "RABBIT-CR-DEMO"))
    with pytest.raises(amqp.AuthenticationError, match="RABBIT-CR-DEMO"):
        module.Connection(secured.node.host, login_method="GSSAPI", login_response=b"ticket")


@both
def test_the_first_that_is_offered(secured: Secured, module: ModuleType) -> None:
    usable(module.Connection(secured.node.host, login_method=["EXTERNAL", "plain", "AMQPLAIN"]))


@both
def test_anonymous(secured: Secured, module: ModuleType) -> None:
    """RabbitMQ has it from 4.0 on."""
    if secured.node.version.startswith("3."):
        with pytest.raises(amqp.AuthenticationError, match="offers no login by ANONYMOUS; it offers "):
            module.Connection(secured.node.host, login_method="ANONYMOUS")
    else:
        usable(module.Connection(secured.node.host, login_method="ANONYMOUS"))


@both
def test_a_challenge(secured: Secured, module: ModuleType) -> None:
    asked: List[Optional[bytes]] = []

    def respond(challenge: Optional[bytes]) -> bytes:
        asked.append(challenge)
        return b"guest" if challenge is None else b"My password is guest"

    usable(module.Connection(secured.node.host, login_method="RABBIT-CR-DEMO", login_response=respond))
    assert asked == [None, b"Please tell me your password"]


@both
def test_a_challenge_with_a_wrong_answer(secured: Secured, module: ModuleType) -> None:
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        module.Connection(
            secured.node.host,
            login_method="RABBIT-CR-DEMO",
            login_response=lambda challenge: b"guest" if challenge is None else b"My password is wrong",
        )
    assert caught.value.amqp_reply_code == 403
    assert isinstance(caught.value, amqp.AuthenticationError)


def test_tokens_are_asked_for_and_renewed(secured: Secured) -> None:
    """A connection outlives its first token by means of a second one, and does not outlive that."""
    tokens: List[str] = []

    def credentials() -> Tuple[str, str]:
        tokens.append(secured.token(4))
        return "bob", tokens[-1]

    with amqp91.Connection(secured.node.host, credentials=credentials) as conn:
        assert len(tokens) == 1
        ends = time.time() + 5.5
        time.sleep(1)
        conn.update_secret(secured.token(60), "a token of the program's own")
        time.sleep(max(0, ends - time.time()))
        with conn.channel() as ch:
            ch.queue_declare(exclusive=True)
        conn.update_secret(reason="asked for again")
        assert len(tokens) == 2
        ends = time.time() + 5.5
        time.sleep(max(0, ends - time.time()))
        with pytest.raises(amqp.AMQPChannelException, match="token has expired"), conn.channel() as ch:
            ch.queue_declare(exclusive=True)


def test_a_token_that_has_ended(secured: Secured) -> None:
    with pytest.raises(amqp.AuthenticationError) as caught:
        amqp91.Connection(secured.node.host, credentials=lambda: ("bob", secured.token(-60)))
    assert "user 'bob'" in str(caught.value)


@both
def test_virtual_hosts(secured: Secured, module: ModuleType) -> None:
    """One that is missing, the empty one that a URL may name by mistake, and one that the user may not use."""
    url = "amqp://guest:guest@%s/" % secured.node.host
    for name, words in (("no%2fwhere", "'no/where'.*add_vhost"), ("", "vhost  not found.*write %2f")):
        with pytest.raises(amqp.AMQPConnectionException, match=words) as caught:
            module.Connection(url + name)
        assert caught.value.amqp_reply_code == 530
    if "forbidden" not in secured.node.ctl("list_vhosts").split():
        secured.node.ctl("add_vhost", "forbidden")
    with pytest.raises(amqp.AMQPConnectionException, match=r"'forbidden'.*'guest'.*set_permissions") as caught:
        module.Connection(url + "forbidden")
    assert not isinstance(caught.value, amqp.AuthenticationError)


@both
def test_a_refused_login(secured: Secured, module: ModuleType) -> None:
    with pytest.raises(amqp.AuthenticationError, match=r"^403 ACCESS_REFUSED") as caught:
        module.Connection("amqp://bob:hunter2@%s/%%2f" % secured.node.host)
    assert "vhost '/', user 'bob'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
