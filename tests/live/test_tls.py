"""TLS with a broker whose certificate is for localhost, by an authority of the tests."""

from __future__ import annotations

import os
import ssl
from typing import Iterator

import pytest

import amqplib.client_0_8 as amqp
from tests.brokers import Node, Nodes, installed


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    install = installed("bookworm")
    if install is None:
        if os.environ.get("AMQPLIB_REQUIRE_BROKER"):
            pytest.fail("no RabbitMQ of bookworm here: run tests/install_rabbitmq.sh bookworm")
        pytest.skip("no RabbitMQ of bookworm here")
    with Nodes() as nodes:
        yield nodes.start(install, tls=True)


@pytest.fixture
def host(node: Node) -> str:
    return "localhost:%d" % (node.tls_port or 0)


@pytest.fixture
def authority(node: Node) -> str:
    assert node.certificates
    return str(node.certificates / "ca.pem")


def test_verified(host: str, authority: str) -> None:
    """Also with options of the former ssl.wrap_socket() that are None, or say nothing about a client."""
    options = {"ca_certs": authority, "keyfile": None, "certfile": None, "server_side": False}
    with amqp.Connection(host, ssl=options, connect_timeout=20) as conn, conn.channel() as ch:
        queue = ch.queue_declare(exclusive=True)[0]
        for size in (0, 1, 200_000, 3_000_000):
            ch.basic_publish(amqp.Message(b"x" * size), routing_key=queue)
            ch.basic_qos(0, 1, False)
            msg = ch.basic_get(queue, no_ack=True)
            assert msg is not None
            assert len(msg.body) == size
        with pytest.raises(amqp.AMQPTimeoutError):
            conn.drain_events(timeout=0.05)


def test_client_certificate(host: str, authority: str, node: Node) -> None:
    assert node.certificates
    options = {"ca_certs": authority, "ciphers": "ECDHE+AESGCM"}
    options["certfile"] = str(node.certificates / "client.pem")
    options["keyfile"] = str(node.certificates / "client.key")
    amqp.Connection(host, ssl=options, connect_timeout=20).close()


def test_context_of_the_programs_own(host: str, authority: str) -> None:
    amqp.Connection(host, ssl=ssl.create_default_context(cafile=authority), connect_timeout=20).close()


def test_an_unknown_authority(host: str) -> None:
    with pytest.raises(amqp.ConnectionLostError, match="authority that is not trusted"):
        amqp.Connection(host, ssl=True, connect_timeout=20)


def test_another_host(host: str, authority: str) -> None:
    with pytest.raises(amqp.ConnectionLostError, match=r"not valid for 'other\.example'"):
        amqp.Connection(host, ssl={"ca_certs": authority, "server_hostname": "other.example"}, connect_timeout=20)


def test_unverified_only_in_so_many_words(host: str) -> None:
    amqp.Connection(host, ssl={"cert_reqs": ssl.CERT_NONE}, connect_timeout=20).close()


def test_options_that_make_no_sense(host: str) -> None:
    with pytest.raises(ValueError, match="unknown option bogus"):
        amqp.Connection(host, ssl={"bogus": 1})
    with pytest.raises(ValueError, match="it is True, a dict or"):
        amqp.Connection(host, ssl="yes")  # type: ignore[arg-type]


def test_the_wrong_port(node: Node, host: str) -> None:
    # RabbitMQ answers with its protocol header and resets at once, which may be faster
    with pytest.raises(amqp.ConnectionLostError, match=r"AMQP without TLS on that port"):
        amqp.Connection("localhost:%d" % node.port, ssl=True, connect_timeout=20)
    with pytest.raises(amqp.ConnectionLostError, match="not an AMQP frame"):
        amqp.Connection(host, connect_timeout=20)


def test_the_connection_is_lost(node: Node, host: str, authority: str) -> None:
    conn = amqp.Connection(host, ssl={"ca_certs": authority}, connect_timeout=20)
    node.ctl("close_all_connections", "a test says so")
    with pytest.raises(amqp.AMQPConnectionException, match="a test says so"):
        conn.drain_events(timeout=20)
