"""Proves what exceptions are to programs: their classes, args, texts and pickles."""

from __future__ import annotations

import errno
import pickle
import socket
from typing import Any, Dict, List, Tuple, Type

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client_0_8 import exceptions

HIERARCHY: List[Tuple[Type[BaseException], Tuple[type, ...]]] = [
    (amqp.AMQPException, (Exception,)),
    (amqp.AMQPConnectionException, (amqp.AMQPException,)),
    (amqp.AMQPChannelException, (amqp.AMQPException,)),
    (amqp.ConnectionLostError, (amqp.AMQPConnectionException, OSError, IOError, socket.error, ConnectionError)),
    (amqp.AuthenticationError, (amqp.AMQPConnectionException, OSError)),
    (amqp.ChannelClosedError, (amqp.AMQPChannelException, AttributeError)),
    (amqp.AMQPTimeoutError, (socket.timeout, TimeoutError, OSError)),
]


@pytest.mark.parametrize(("kind", "bases"), HIERARCHY)
def test_hierarchy(kind: Type[BaseException], bases: Tuple[type, ...]) -> None:
    for base in bases:
        assert issubclass(kind, base)


def test_what_is_not_mixed_up() -> None:
    assert not issubclass(amqp.AMQPConnectionException, OSError)
    assert not issubclass(amqp.AMQPConnectionException, amqp.AMQPChannelException)
    assert not issubclass(amqp.AMQPChannelException, amqp.AMQPConnectionException)
    assert not issubclass(amqp.ChannelClosedError, OSError)
    assert not issubclass(amqp.AMQPTimeoutError, amqp.AMQPException)


@pytest.mark.parametrize("kind", [amqp.AMQPException, amqp.AMQPConnectionException, amqp.AMQPChannelException])
def test_args(kind: Type[amqp.AMQPException]) -> None:
    exc = kind(404, "no queue", (50, 10))
    assert (exc.amqp_reply_code, exc.amqp_reply_text, exc.amqp_method_sig) == (404, "no queue", (50, 10))
    assert exc.args == (404, "no queue", (50, 10), "Channel.queue_declare")
    assert str(exc) == "404 no queue (after Channel.queue_declare)"
    assert kind(320, "bye", (0, 0)).args == (320, "bye", (0, 0), "")
    assert str(kind(320, "bye", (0, 0))) == "320 bye"


def test_unpacking() -> None:
    """As programs do with e.args."""
    code, text, sig, name = amqp.AMQPChannelException(404, "no queue", (50, 10)).args
    assert (code, text, sig, name) == (404, "no queue", (50, 10), "Channel.queue_declare")


def test_a_lost_connection_has_an_errno() -> None:
    exc = amqp.ConnectionLostError(0, "refused", errno=errno.ECONNREFUSED)
    assert (exc.errno, exc.strerror) == (errno.ECONNREFUSED, "refused")
    assert exc.args == (errno.ECONNREFUSED, "refused", (0, 0), "")
    assert str(exc) == "refused"
    assert amqp.ConnectionLostError(0, "closed").errno is None


MADE = [
    amqp.AMQPException(1, "text", (10, 40)),
    amqp.AMQPConnectionException(320, "text", (0, 0), "here"),
    amqp.AMQPChannelException(404, "text", (50, 10), "channel 1 of here"),
    amqp.ConnectionLostError(0, "text", (0, 0), "here", errno.EPIPE),
    amqp.AuthenticationError(403, "text", (10, 11), "here", errno.ECONNRESET),
    amqp.ChannelClosedError(0, "text", (0, 0), "here"),
    amqp.AMQPTimeoutError("text"),
    amqp.UnconfirmedError({}, {1: amqp.Message("x")}, {}, "here", "the end"),
    amqp.UnconfirmedChannelError({}, {}, {}, "here", "404 text", end=exceptions.End(404, "text", (60, 40))),
    amqp.UnconfirmedClosedError({}, {}, {}, "here", "text", end=exceptions.End(0, "text")),
    amqp.UnconfirmedConnectionError({}, {}, {}, "here", "320 text", end=exceptions.End(320, "text")),
    amqp.UnconfirmedLostError({}, {}, {}, "here", "text", end=exceptions.End(0, "text", (0, 0), errno.EPIPE)),
    amqp.UnconfirmedTLSError(
        {}, {}, {1: amqp.Message("x")}, "here", "t", end=exceptions.End(0, "t", (0, 0), errno.EPROTO)
    ),
    amqp.ConfirmTimeoutError({}, {}, {1: amqp.Message("x")}, "here", "", "; for this reason"),
]


@pytest.mark.parametrize("exc", MADE, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(exc: Any, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(exc, protocol))
    assert type(again) is type(exc)
    assert (again.args, str(again), repr(again)) == (exc.args, str(exc), repr(exc))
    for name in ("amqp_reply_code", "amqp_reply_text", "amqp_method_sig", "errno"):
        assert getattr(again, name, None) == getattr(exc, name, None)


# the names that programs print and compare
NAMES: Dict[Tuple[int, int], str] = {
    (10, 10): "Connection.start",
    (10, 11): "Connection.start_ok",
    (10, 20): "Connection.secure",
    (10, 21): "Connection.secure_ok",
    (10, 30): "Connection.tune",
    (10, 31): "Connection.tune_ok",
    (10, 40): "Connection.open",
    (10, 41): "Connection.open_ok",
    (10, 50): "Connection.redirect",
    (10, 60): "Connection.close",
    (10, 61): "Connection.close_ok",
    (20, 10): "Channel.open",
    (20, 11): "Channel.open_ok",
    (20, 20): "Channel.flow",
    (20, 21): "Channel.flow_ok",
    (20, 30): "Channel.alert",
    (20, 40): "Channel.close",
    (20, 41): "Channel.close_ok",
    (30, 10): "Channel.access_request",
    (30, 11): "Channel.access_request_ok",
    (40, 10): "Channel.exchange_declare",
    (40, 11): "Channel.exchange_declare_ok",
    (40, 20): "Channel.exchange_delete",
    (40, 21): "Channel.exchange_delete_ok",
    (50, 10): "Channel.queue_declare",
    (50, 11): "Channel.queue_declare_ok",
    (50, 20): "Channel.queue_bind",
    (50, 21): "Channel.queue_bind_ok",
    (50, 30): "Channel.queue_purge",
    (50, 31): "Channel.queue_purge_ok",
    (50, 40): "Channel.queue_delete",
    (50, 41): "Channel.queue_delete_ok",
    (50, 50): "Channel.queue_unbind",
    (50, 51): "Channel.queue_unbind_ok",
    (60, 10): "Channel.basic_qos",
    (60, 11): "Channel.basic_qos_ok",
    (60, 20): "Channel.basic_consume",
    (60, 21): "Channel.basic_consume_ok",
    (60, 30): "Channel.basic_cancel",
    (60, 31): "Channel.basic_cancel_ok",
    (60, 40): "Channel.basic_publish",
    (60, 50): "Channel.basic_return",
    (60, 60): "Channel.basic_deliver",
    (60, 70): "Channel.basic_get",
    (60, 71): "Channel.basic_get_ok",
    (60, 72): "Channel.basic_get_empty",
    (60, 80): "Channel.basic_ack",
    (60, 90): "Channel.basic_reject",
    (60, 100): "Channel.basic_recover",
    (90, 10): "Channel.tx_select",
    (90, 11): "Channel.tx_select_ok",
    (90, 20): "Channel.tx_commit",
    (90, 21): "Channel.tx_commit_ok",
    (90, 30): "Channel.tx_rollback",
    (90, 31): "Channel.tx_rollback_ok",
}


def test_method_names() -> None:
    assert {sig: exceptions.METHOD_NAME_MAP.get(sig) for sig in NAMES} == NAMES


@pytest.mark.parametrize("code", [0, 320])
def test_a_server_that_gives_no_reason(code: int) -> None:
    text = str(amqp.AMQPConnectionException(code, "", (0, 0), "somewhere"))
    assert text.endswith("no reason was given [somewhere]")


def test_a_reason_that_is_not_utf_8_can_be_printed() -> None:
    reason = b"gr\xfc\xdfe".decode("utf-8", "surrogateescape")
    exc = amqp.AMQPChannelException(404, reason, (0, 0))
    assert str(exc).encode("utf-8") == b"404 gr\\udcfc\\udcdfe"
    assert exc.amqp_reply_text == reason
