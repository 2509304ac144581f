"""Proves what connections, channels and messages say of themselves: their state, their socket, TLS, names, texts."""

from __future__ import annotations

import inspect
import select
import ssl
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE, Peer
from .tls_peer import TLS_1_2, TLSPeer, only

MODULES = pytest.mark.parametrize("module", [amqplib.client_0_8, amqp], ids=lambda module: module.__name__[8:])


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.add_user("bob", "s3cr3t")
        broker.add_vhost("orders")
        yield broker


# --- a connection


@MODULES
def test_is_open(broker: Broker, module: Any) -> None:
    conn = module.Connection(broker.address)
    assert conn.is_open is True
    conn.close()
    assert conn.is_open is False


@MODULES
def test_is_open_until_the_program_has_been_told(broker: Broker, module: Any) -> None:
    """As with a channel: a loop that tests it does not end as if all were done."""
    conn = module.Connection(broker.address, heartbeat=0)
    broker.faults.close_connections("bye")
    assert conn.is_open is True
    with pytest.raises(module.ConnectionForced):
        conn.channel()
    assert conn.is_open is False


def test_a_program_may_have_its_own_attribute_of_that_name(broker: Broker) -> None:
    class Own(amqp.Connection):
        is_open = "mine"  # type: ignore[assignment]

    with Own(broker.address) as conn:
        assert conn.is_open == "mine"
        own: Any = conn
        own.tls = "mine"
        assert own.tls == "mine"


@MODULES
def test_fileno(broker: Broker, module: Any) -> None:
    """For select(), which takes the connection as it is."""
    conn = module.Connection(broker.address, heartbeat=0)
    assert conn.fileno() == conn.transport.sock.fileno()
    ch = conn.channel()
    ch.queue_declare("q")
    got: List[Any] = []
    ch.basic_consume("q", callback=got.append, no_ack=True)
    assert select.select([conn], [], [], 0)[0] == []
    ch.basic_publish(module.Message("x"), routing_key="q")
    assert select.select([conn], [], [], PATIENCE)[0] == [conn]
    conn.drain_events(timeout=0)
    assert [msg.body for msg in got] == ["x"]
    conn.close()
    with pytest.raises(module.ConnectionLostError, match="closed by this program"):
        conn.fileno()


def test_without_tls(broker: Broker) -> None:
    with amqp.Connection(broker.address) as conn:
        assert conn.tls is None


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls(tls_peer: TLSPeer, trusting: Dict[str, Any], certificates: Path, version: str) -> None:
    if version == "TLSv1.2":
        only(tls_peer.context, TLS_1_2)
    tls_peer.welcome()
    conn = amqplib.client_0_8.Connection(tls_peer.address, ssl=trusting)
    facts = conn.tls
    assert facts is not None
    assert facts.version == version
    assert facts.cipher in {each["name"] for each in tls_peer.context.get_ciphers()}
    assert ("DNS", "localhost") in facts.certificate["subjectAltName"]
    pem = (certificates / "server.pem").read_text()
    assert facts.certificate_der == ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERT") :])
    tls_peer.part()
    conn.close()
    assert conn.tls is None


def test_tls_that_verifies_nothing(tls_peer: TLSPeer) -> None:
    tls_peer.welcome()
    conn = amqplib.client_0_8.Connection(tls_peer.address, ssl={"cert_reqs": ssl.CERT_NONE})
    facts = conn.tls
    assert facts is not None
    assert facts.certificate == {}
    assert facts.certificate_der
    tls_peer.part()
    conn.close()


# --- repr()


@MODULES
def test_repr(broker: Broker, module: Any) -> None:
    conn = module.Connection("amqp://bob:s3cr3t@%s/orders" % broker.address, heartbeat=0)
    where = "%s, vhost 'orders', user 'bob'" % broker.address
    ch = conn.channel(7)
    assert repr(conn) == "<Connection to %s: open>" % where
    assert repr(ch) == "<Channel 7 of %s: open>" % where
    other = conn.channel()
    other.close()
    assert repr(other) == "<Channel 1 of %s: closed>" % where
    broker.faults.close_connections("bye")
    with pytest.raises(module.ConnectionForced):
        ch.queue_declare("q")
    assert repr(conn) == "<Connection to %s: closed>" % where
    assert repr(ch) == "<Channel 7 of %s: closed>" % where


def test_repr_of_what_never_came_to_be() -> None:
    class Half(amqp.Connection):
        def __init__(self) -> None:
            self.host = "x"

    assert repr(Half()) == "<Half, not opened yet>"


def test_repr_of_a_token(broker: Broker) -> None:
    """No secret is in it, however the login is made."""
    conn = amqp.Connection(broker.address, credentials=lambda: ("bob", "s3cr3t"), heartbeat=0)
    assert "user 'bob'" in repr(conn)
    assert "s3cr3t" not in repr(conn) + repr(conn.channel())
    conn.close()


# --- names


def test_dir_shows_what_a_program_may_use(broker: Broker) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        for shown in dir(ch), dir(conn):
            assert [name for name in shown if name.startswith("_") and not name.startswith("__")] == []
        assert {"basic_publish", "consume", "stop_consuming", "callbacks", "on_return", "is_open"} <= set(dir(ch))
        assert {"channel", "close", "is_open", "fileno", "tls", "server_properties"} <= set(dir(conn))
        of_old_programs = {"dispatch_method", "method_queue", "method_reader", "method_writer"}
        assert not of_old_programs & {*dir(ch), *dir(conn)}
        assert not hasattr(ch, "dispatch_method")


def test_old_programs_have_what_they_had(peer: Peer, ch: amqplib.client_0_8.Channel) -> None:
    assert ch.connection
    for name in "dispatch_method", "method_queue":
        assert hasattr(ch, name)
        assert hasattr(ch.connection, name)
    assert isinstance(ch, amqplib.client_0_8.channel.AbstractChannel)
    assert isinstance(ch.connection, amqplib.client_0_8.channel.AbstractChannel)


def test_a_dispatcher_of_an_old_program(broker: Broker) -> None:
    """Whoever handles a method, it goes through the program's own dispatch_method()."""
    seen: List[Any] = []

    class Own(amqplib.client_0_8.Channel):
        def dispatch_method(self, method_sig: Any, args: Any, content: Any) -> Any:
            seen.append(method_sig)
            return super().dispatch_method(method_sig, args, content)

    class Connection(amqplib.client_0_8.Connection):
        channel_class = Own

    with Connection(broker.address) as conn, conn.channel() as ch:
        ch.queue_declare("q")
        got: List[Any] = []
        ch.basic_consume("q", callback=got.append, no_ack=True)
        ch.basic_publish(amqplib.client_0_8.Message("x"), routing_key="q")
        conn.drain_events(timeout=PATIENCE)
        assert seen == [(60, 60)]
        assert len(got) == 1


WRONG: Dict[str, Callable[[Any, Any, Any], Any]] = {
    "Channel.queue_declare": lambda conn, ch, msg: ch.queue_declare("q", durably=True),
    "Channel.basic_ack": lambda conn, ch, msg: ch.basic_ack(),
    "Channel.basic_publish": lambda conn, ch, msg: ch.basic_publish(msg, key="q"),
    "Channel.wait": lambda conn, ch, msg: ch.wait(0, 0, 0),
    "Channel.pending": lambda conn, ch, msg: ch.pending(1),
    "Connection.channel": lambda conn, ch, msg: conn.channel(number=1),
    "Connection.drain_events": lambda conn, ch, msg: conn.drain_events(seconds=1),
    "Message.reject": lambda conn, ch, msg: msg.reject(again=True),
}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="older Pythons name the function only")
@MODULES
@pytest.mark.parametrize("name", WRONG)
def test_pythons_own_errors_name_the_classes_that_programs_know(broker: Broker, module: Any, name: str) -> None:
    conn = module.Connection(broker.address)
    ch = conn.channel()
    with pytest.raises(TypeError, match=r"^%s\(\) " % name):
        WRONG[name](conn, ch, module.Message("x"))
    conn.close()


@MODULES
def test_so_do_their_methods(module: Any) -> None:
    for kind in module.Channel, module.Message:
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name != "dispatch_method":  # which Connection has as well
                assert function.__qualname__.startswith(kind.__name__ + "."), function


# --- messages


def test_a_property_that_is_absent() -> None:
    msg = amqp.Message("x", priority=3)
    assert (msg.reply_to, msg.headers, msg.application_headers, msg.timestamp) == (None, None, None, None)
    assert amqp.Message("x", reply_to=None).reply_to is None
    msg.priority = None
    msg.priority = None
    assert msg.properties == {}
    with pytest.raises(AttributeError, match="no attribute or property 'delivery_info_'"):
        msg.delivery_info_  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        msg.exchange  # noqa: B018  # no property: it was not received


def test_headers() -> None:
    msg = amqp.Message("x", application_headers={"a": 1})
    assert msg.headers == {"a": 1}
    msg.headers = {"b": 2}
    assert msg.application_headers == msg.properties["application_headers"] == {"b": 2}
    msg.headers = None
    assert msg.properties == {}


def test_a_class_of_a_program_with_headers_and_text_of_its_own() -> None:
    class Own(amqp.Message):
        headers = "mine"  # type: ignore[assignment]

    msg = Own("x", application_headers={"a": 1})
    assert (msg.headers, msg.application_headers) == ("mine", {"a": 1})
    own: Any = amqp.Message("x")
    own.text = "mine"
    assert own.text == "mine"


TEXTS = [
    ("Grüße", None, "Grüße"),
    ("Grüße".encode(), None, "Grüße"),
    ("Grüße".encode(), "UTF-8", "Grüße"),
    ("Grüße".encode("latin-1"), "iso-8859-1", "Grüße"),
    (bytearray(b"x"), None, "x"),
    (memoryview(b"x"), "ascii", "x"),
    (b"", None, ""),
]


@pytest.mark.parametrize(("body", "encoding", "text"), TEXTS)
def test_text(body: Any, encoding: Optional[str], text: str) -> None:
    assert amqp.Message(body, content_encoding=encoding).text == text


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"\xff", None, "body: it is no text in 'utf-8': .*; msg.body has the bytes"),
        (b"\xff", "ascii", "body: it is no text in 'ascii'"),
        (b"x", "deflate", "content_encoding: 'deflate': the body is no text that Python knows"),
        (b"x", "hex", "content_encoding: 'hex'"),
        (b"x", "idna", "content_encoding: 'idna'"),
        (5, None, "body: 'int' is neither str nor bytes"),
    ],
)
def test_a_body_that_is_no_text(body: Any, encoding: Optional[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        amqp.Message(body, content_encoding=encoding).text  # noqa: B018


@pytest.mark.parametrize("auto_decode", [True, False])
def test_the_text_of_a_delivery(broker: Broker, auto_decode: bool) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        ch.auto_decode = auto_decode
        ch.queue_declare("q")
        ch.basic_publish(amqp.Message("Grüße", application_headers={"a": 1}), routing_key="q")
        ch.basic_publish(amqp.Message("Grüße".encode()), routing_key="q")
        first, second = (msg for msg in (ch.basic_get("q", no_ack=True) for _ in "12") if msg)
        assert (first.text, second.text) == ("Grüße", "Grüße")
        assert type(first.body) is (str if auto_decode else bytes)
        assert type(second.body) is bytes
        assert (first.headers, second.headers) == ({"a": 1}, None)


# --- publishing


def test_every_publish_goes_through_basic_publish(broker: Broker) -> None:
    seen: List[Any] = []

    class Counted(amqp.Channel):
        def basic_publish(self, *args: Any, **kwargs: Any) -> Optional[int]:
            seen.append((args, kwargs))
            return super().basic_publish(*args, **kwargs)

    class Connection(amqp.Connection):
        channel_class = Counted

    with Connection(broker.address) as conn, conn.channel() as ch:
        ch.queue_declare("q")
        msg = amqp.Message("x")
        assert ch.basic_publish_confirm(msg, routing_key="q", mandatory=True) == 1
        assert [args[0] for args, _ in seen] == [msg]


def test_one_that_keeps_the_tag_to_itself(broker: Broker) -> None:
    class Wrong(amqp.Channel):
        def basic_publish(self, *args: Any, **kwargs: Any) -> None:
            super().basic_publish(*args, **kwargs)

    class Connection(amqp.Connection):
        channel_class = Wrong

    with Connection(broker.address) as conn, conn.channel() as ch:
        with pytest.raises(TypeError, match=r"^Wrong.basic_publish\(\) returns None"):
            ch.basic_publish_confirm(amqp.Message("x"), routing_key="q")
        ch.wait_for_confirms(timeout=PATIENCE)
