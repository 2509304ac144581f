"""Connections that cannot be made: each error says what was wrong."""

from __future__ import annotations

import errno
import socket

import pytest

from amqplib.client.exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
)
from tests.conftest import Broker
from tests.live.conftest import Connect
from tests.waits import waits


@pytest.mark.parametrize("method", ["AMQPLAIN", "PLAIN"])
def test_wrong_password(connect: Connect, method: str) -> None:
    # its words; a broker that is not asked to say so is silent for three seconds, and then gone
    with pytest.raises(AuthenticationError, match="ACCESS_REFUSED") as caught:
        connect(password="wrong", login_method=method)
    assert caught.value.amqp_reply_code == 403
    assert caught.value.amqp_method_sig == (0, 0)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, AMQPConnectionException)
    assert "wrong" not in str(caught.value)


def test_unknown_user(connect: Connect) -> None:
    with pytest.raises(AuthenticationError, match="'amqplib-test-nobody'"):
        connect(userid="amqplib-test-nobody")


@pytest.mark.thorough  # the broker is silent for three seconds
def test_a_response_that_is_none(connect: Connect) -> None:
    with pytest.raises(AMQPConnectionException):
        connect(login_response=b"\xff")


def test_missing_virtual_host(connect: Connect) -> None:
    with pytest.raises(AMQPConnectionException, match="'amqplib-test-nowhere'") as caught:
        connect(virtual_host="amqplib-test-nowhere")
    assert caught.value.amqp_reply_code == 530
    assert caught.value.amqp_method_sig == (10, 40)
    assert caught.value.args[3] == "Connection.open"


def test_virtual_host_too_long(connect: Connect) -> None:
    with pytest.raises(ValueError, match="virtual_host"):
        connect(virtual_host="v" * 256)


def test_refused_port(connect: Connect) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ConnectionLostError, match=str(port)) as caught:
            connect(host="127.0.0.1:%d" % port)
    assert caught.value.errno == errno.ECONNREFUSED


def test_unknown_host(connect: Connect) -> None:
    with pytest.raises(ConnectionLostError, match=r"nowhere\.invalid"):
        connect(host="nowhere.invalid")


@pytest.mark.parametrize("host", ["", ":5672", "localhost:", "localhost:amqp", "localhost:65536", "[::1", 5672])
def test_no_host_at_all(connect: Connect, host: object) -> None:
    with pytest.raises(ValueError, match="host"):
        connect(host=host)


def test_unknown_login_method(connect: Connect) -> None:
    with pytest.raises(ValueError, match="'MAGIC'"):
        connect(login_method="MAGIC")


def test_client_properties_that_cannot_be_sent(connect: Connect) -> None:
    with pytest.raises(ValueError, match="thing"):
        connect(client_properties={"thing": object()})


def test_a_peer_that_does_not_speak_amqp(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        import threading

        def answer() -> None:
            peer = server.accept()[0]
            with peer:
                peer.recv(8)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ConnectionLostError, match="not an AMQP frame: 48 54 54 50"):
            connect(host="127.0.0.1:%d" % server.getsockname()[1], connect_timeout=10)
        thread.join(10)


def test_a_peer_that_says_nothing(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, waits(0.25, 0.31), pytest.raises(AMQPTimeoutError):
        connect(host="127.0.0.1:%d" % server.getsockname()[1], connect_timeout=0.3)


def test_the_broker_is_not_the_worse_for_it(connect: Connect, broker: Broker) -> None:
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            connect(password="wrong")
    assert connect().channel().is_open
