"""Proves that there is an exception for each reply code, a subclass of the one for what has ended."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Dict, Type

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.wire.spec import REPLIES

from .peer import PATIENCE, Peer
from .test_confirmed_publishing import expect_publish, select

BASES: Dict[str, Type[amqp.AMQPException]] = {
    "channel": amqp.AMQPChannelException,
    "connection": amqp.AMQPConnectionException,
}

#: Of basic.return, and of no close.
OF_RETURNS = ("NOT_DELIVERED", "NO_ROUTE", "NO_CONSUMERS")

#: Names that are not the specification's: those are Python's own already.
OTHERS = {"SYNTAX_ERROR": "FrameSyntaxError", "NOT_IMPLEMENTED": "NotImplementedByServer"}

CODES = sorted(code for code, reply in REPLIES.items() if reply.name not in OF_RETURNS)


def kind_of(code: int) -> Type[amqp.AMQPException]:
    """The class that is called as the specification calls the code."""
    name = REPLIES[code].name
    kind: Type[amqp.AMQPException] = getattr(amqp, OTHERS.get(name, name.title().replace("_", "")))
    return kind


def end_channel(peer: Peer, ch: amqp.Channel, code: int) -> amqp.AMQPException:
    """What a call raises when the server closes its channel with this code."""
    peer.expect("tx.select")
    peer.send("channel.close", code, "A_NAME - words", 90, 10)
    peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException) as caught:
        ch.tx_select()
    return caught.value


def end_connection(peer: Peer, ch: amqp.Channel, code: int) -> amqp.AMQPException:
    peer.expect("tx.select")
    peer.send("connection.close", code, "A_NAME - words", 90, 10, channel=0)
    peer.expect("connection.close_ok", channel=0)
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        ch.tx_select()
    return caught.value


ENDS: Dict[str, Callable[[Peer, amqp.Channel, int], amqp.AMQPException]] = {
    "channel": end_channel,
    "connection": end_connection,
}


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_its_class(newer_peer: Peer, newer: amqp.Channel, code: int) -> None:
    ends = REPLIES[code].ends
    exc = ENDS[ends](newer_peer, newer, code)
    assert type(exc) is kind_of(code)
    assert issubclass(kind_of(code), BASES[ends])
    assert exc.args[:3] == (code, "A_NAME - words", (90, 10))
    again = pickle.loads(pickle.dumps(exc))
    assert (type(again), again.args, str(again)) == (type(exc), exc.args, str(exc))


@pytest.mark.parametrize("code", [404, 406, 320, 541])
def test_a_code_that_ends_something_else(newer_peer: Peer, newer: amqp.Channel, code: int) -> None:
    """It is that end above all: whoever catches AMQPChannelException goes on with the connection."""
    (other,) = set(BASES) - {REPLIES[code].ends}
    assert type(ENDS[other](newer_peer, newer, code)) is BASES[other]


@pytest.mark.parametrize("code", [0, 200, 999])
@pytest.mark.parametrize("what", ENDS)
def test_a_code_that_there_is_not(newer_peer: Peer, newer: amqp.Channel, what: str, code: int) -> None:
    assert type(ENDS[what](newer_peer, newer, code)) is BASES[what]


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_messages_that_are_not_confirmed_at_such_an_end(newer_peer: Peer, newer: amqp.Channel, what: str) -> None:
    """`except NotFound` is met as well where a publish was the reason."""
    code, kind = {"channel": (404, amqp.NotFound), "connection": (320, amqp.ConnectionForced)}[what]
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    newer_peer.send("%s.close" % what, code, "words", 60, 40, channel=int(what == "channel"))
    newer_peer.expect("%s.close_ok" % what, channel=int(what == "channel"))
    with pytest.raises(kind) as caught:
        newer.basic_publish_confirm(amqp.Message(b"1"), routing_key="q")
    exc: Any = caught.value
    unconfirmed = {"channel": amqp.UnconfirmedChannelError, "connection": amqp.UnconfirmedConnectionError}[what]
    assert isinstance(exc, unconfirmed)
    assert type(exc).__name__ == unconfirmed.__name__
    assert [msg.body for msg in exc.messages] == [b"1"]
    assert type(exc.__cause__) is kind
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(exc, protocol))
        assert type(again) is type(exc)
        assert (again.args, str(again), again.messages) == (exc.args, str(exc), exc.messages)


def test_the_older_module_has_them_and_imports_none_by_a_star() -> None:
    names = {kind_of(code).__name__ for code in CODES}
    assert len(names) == 16
    for name in names:
        assert getattr(amqplib.client_0_8, name) is getattr(amqp, name)
    assert not names & set(amqplib.client_0_8.__all__)
    assert names <= set(amqp.__all__)


def test_with_a_broker() -> None:
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        with pytest.raises(amqp.NotFound):
            conn.channel().queue_declare("there.is.none", passive=True)
        conn.channel().queue_declare("q", durable=True, auto_delete=False)
        with pytest.raises(amqp.PreconditionFailed):
            conn.channel().queue_declare("q", durable=False, auto_delete=False)
        with pytest.raises(amqp.AccessRefused):
            conn.channel().queue_declare("amq.mine")
        with amqp.Connection(broker.address, heartbeat=0) as other, other.channel() as ch:
            ch.queue_declare("mine", exclusive=True)
            with pytest.raises(amqp.ResourceLocked):
                conn.channel().basic_get("mine")
        broker.faults.close_connections("bye")
        with pytest.raises(amqp.ConnectionForced):
            conn.channel()
    with pytest.raises(amqp.AuthenticationError) as caught, Broker() as broker:
        amqp.Connection(broker.address, password="wrong")
    assert not isinstance(caught.value, amqp.AccessRefused)
