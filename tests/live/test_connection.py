"""Connections: every way to say where and who, what they know, and their end."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List

import pytest

from amqplib.client.connection import Connection
from amqplib.client.exceptions import ConnectionLostError
from tests.conftest import Broker
from tests.live.conftest import Connect
from tests.live.helpers import over


@pytest.fixture
def default_port(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the broker's port the default one; its host name."""
    host, _, port = broker.host.rpartition(":")
    monkeypatch.setattr("amqplib.client.connect.url.DEFAULT_PORT", int(port))
    return host


@contextmanager
def user(ctl: Callable[..., str], name: str, password: str) -> Iterator[None]:
    """A user who may do everything."""
    ctl("add_user", name, password)
    try:
        ctl("set_permissions", name, ".*", ".*", ".*")
        yield
    finally:
        ctl("delete_user", name)


def works(conn: Connection) -> bool:
    return conn.channel().is_open


def test_all_defaults(amqp: ModuleType, broker: Broker, default_port: str) -> None:
    if default_port not in ("127.0.0.1", "localhost") or (broker.userid, broker.virtual_host) != ("guest", "/"):
        pytest.skip("the broker is not where the defaults look")
    with amqp.Connection() as conn:
        assert works(conn)


def test_address(connect: Connect, broker: Broker, default_port: str) -> None:
    assert works(connect(host=default_port))


def test_address_and_port(connect: Connect, broker: Broker) -> None:
    assert works(connect(host=broker.host))


def test_a_name_with_several_addresses(connect: Connect, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address is tried: nothing listens on the first one."""
    host, _, port = broker.host.rpartition(":")
    real = socket.getaddrinfo
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and not listening
        nobody = closed.getsockname()[1]

        def getaddrinfo(name: str, number: int, *rest: Any) -> Any:
            assert (name, number) == ("many.example", int(port))
            return real("127.0.0.1", nobody, *rest) + real(host, number, *rest)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert works(connect(host="many.example:" + port))


def test_userid_and_password(connect: Connect, ctl: Callable[..., str]) -> None:
    with user(ctl, "amqplib-test", "bar"), connect(userid="amqplib-test", password="bar") as conn:
        assert works(conn)


def test_non_ascii_password(connect: Connect, ctl: Callable[..., str]) -> None:
    with user(ctl, "grün", "pässwörd €"):
        for method in ("AMQPLAIN", "PLAIN"):
            with connect(userid="grün", password="pässwörd €", login_method=method) as conn:
                assert works(conn)


@pytest.mark.parametrize("method", ["AMQPLAIN", "PLAIN"])
def test_login_method(connect: Connect, method: str) -> None:
    conn = connect(login_method=method)
    assert works(conn)
    assert method in conn.mechanisms


def test_login_response_as_it_is(connect: Connect, broker: Broker) -> None:
    response = b"\0%s\0%s" % (broker.userid.encode(), broker.password.encode())
    assert works(connect(userid="nobody", password="x", login_method="PLAIN", login_response=response))


def test_login_response_of_amqplain(connect: Connect, broker: Broker) -> None:
    response = b""
    for name, value in ((b"LOGIN", broker.userid.encode()), (b"PASSWORD", broker.password.encode())):
        response += bytes([len(name)]) + name + b"S" + len(value).to_bytes(4, "big") + value
    assert works(connect(userid="nobody", password="x", login_method="AMQPLAIN", login_response=response))


def test_positions(connect: Connect, broker: Broker) -> None:
    conn = connect(
        broker.host,
        broker.userid,
        broker.password,
        "AMQPLAIN",
        None,
        broker.virtual_host,
        "en_US",
        {"product": "a test"},
        False,
        True,
        10,
    )
    assert works(conn)


def test_virtual_host(connect: Connect, ctl: Callable[..., str]) -> None:
    ctl("add_vhost", "amqplib-test")
    try:
        ctl("set_permissions", "-p", "amqplib-test", "guest", ".*", ".*", ".*")
        with connect(virtual_host="amqplib-test") as conn:
            assert works(conn)
    finally:
        ctl("delete_vhost", "amqplib-test")


def test_client_properties_reach_the_broker(connect: Connect, ctl: Callable[..., str]) -> None:
    connect(client_properties={"product": "a test of properties", "library_version": "mine"})
    shown = ctl("list_connections", "client_properties")
    assert '{"product","a test of properties"}' in shown
    assert '{"library","Python amqplib"}' in shown
    assert '{"library_version","mine"}' in shown


def test_what_a_connection_knows(conn: Connection, broker: Broker, amqp: ModuleType) -> None:
    assert conn.server_properties["product"] == broker.product
    assert conn.server_properties["version"] == broker.version
    assert isinstance(conn.server_properties["capabilities"], dict)
    assert {"PLAIN", "AMQPLAIN"} <= set(conn.mechanisms)
    assert conn.locales == ["en_US"]
    assert conn.known_hosts == ""
    assert conn.channel_id == 0
    assert conn.connection is conn
    assert conn.channels == {0: conn}
    assert conn.frame_max == 131072
    assert 0 < conn.channel_max <= 65535
    newer = amqp.__name__.endswith("0_9_1")
    assert conn.protocol == ("0-9-1" if newer or broker.version.startswith("4.") else "0-8")
    assert (conn.version_major, conn.version_minor) == ((8, 0) if conn.protocol == "0-8" else (0, 9))
    assert conn.heartbeat == (60 if newer else 0)  # what RabbitMQ proposes
    assert conn.transport
    assert conn.transport.sock.getpeername()[1] == int(broker.host.rpartition(":")[2])


def test_one_broker_many_connections(connect: Connect) -> None:
    connections = [connect() for _ in range(20)]
    assert all(works(conn) for conn in connections)


def test_close(conn: Connection) -> None:
    transport = conn.transport
    assert transport
    ch = conn.channel()
    conn.close()
    assert over(conn)
    assert over(ch)
    assert transport.sock.fileno() == -1
    conn.close()


def test_close_says_why(conn: Connection) -> None:
    conn.close(200, "done", (10, 11))
    assert over(conn)


def test_calls_after_close(conn: Connection) -> None:
    ch = conn.channel()
    conn.close()
    calls: List[Callable[[], Any]] = [conn.channel, conn.wait, ch.queue_declare, ch.wait, lambda: ch.basic_ack(1)]
    for call in calls:
        with pytest.raises(ConnectionLostError, match="closed by this program"):
            call()
    ch.close()


def test_with_statement(connect: Connect) -> None:
    with connect() as conn:
        with conn.channel() as ch:
            assert not over(ch)
        assert over(ch)
        assert not over(conn)
    assert over(conn)


def test_with_statement_and_an_error(connect: Connect) -> None:
    conn = connect()
    with pytest.raises(KeyError, match="from the block"), conn, conn.channel() as ch:
        raise KeyError("from the block")
    assert over(ch)
    assert over(conn)


def test_close_in_the_block(connect: Connect) -> None:
    with connect() as conn, conn.channel() as ch:
        ch.close()
        conn.close()


@pytest.mark.parametrize("arguments", [{"insist": True}, {"ssl": None}, {"connect_timeout": 5}, {"locale": "en_US"}])
def test_arguments(connect: Connect, arguments: Dict[str, Any]) -> None:
    assert works(connect(**arguments))


def test_connect_timeout_ends_with_the_connection(connect: Connect) -> None:
    conn = connect(connect_timeout=5)
    assert conn.transport
    assert conn.transport.sock.gettimeout() is None
