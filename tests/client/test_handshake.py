"""Proves how a connection is opened: the bytes of every step, what is negotiated, and what the attributes say."""

from __future__ import annotations

import inspect
from typing import Any, Dict, Optional, Tuple

import pytest

import amqplib
import amqplib.client_0_8 as amqp
from tests.octets import frame, octets

from .peer import HEADER, Peer

START = (
    "000A 000A 08 00 0000001B 07 'product' 53 0000000E 'Scripted broke'"
    " 0000000E 'PLAIN AMQPLAIN' 0000000B 'en_US de_DE'"
)

VERSION = amqplib.__version__.encode()
#: What the library says of itself.
LIBRARY = (
    octets("07 'library' 53 0000000E 'Python amqplib' 0F 'library_version' 53")
    + len(VERSION).to_bytes(4, "big")
    + VERSION
    + octets("0C 'capabilities' 46 00000038 1C 'authentication_failure_close' 74 01 16 'consumer_cancel_notify' 74 01")
)

#: LOGIN and PASSWORD of guest, a field table without its length.
GUEST = "05 'LOGIN' 53 00000005 'guest' 08 'PASSWORD' 53 00000005 'guest'"


def start_ok(mechanism: str, response: str, locale: str = "en_US", table: bytes = LIBRARY) -> bytes:
    data = octets("000A 000B") + len(table).to_bytes(4, "big") + table
    data += bytes([len(mechanism)]) + mechanism.encode()
    data += len(octets(response)).to_bytes(4, "big") + octets(response)
    return frame(1, 0, data + bytes([len(locale)]) + locale.encode())


def play_login(peer: Peer, login: bytes) -> None:
    """A handshake whose start-ok has these bytes."""
    peer.greet(mechanisms="PLAIN AMQPLAIN EXTERNAL")
    peer.expect_bytes(login)
    peer.send("connection.tune", 2047, 131072, 0, channel=0)
    peer.expect("connection.tune_ok", 2047, 131072, 0, channel=0)
    peer.open_host()


def close(peer: Peer, conn: amqp.Connection) -> None:
    peer.part()
    conn.close()


def test_every_byte_of_a_handshake(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(b"AMQP\x01\x01\x09\x01")
    peer.send_bytes(frame(1, 0, octets(START)))
    peer.expect_bytes(start_ok("AMQPLAIN", GUEST))
    peer.send_bytes(frame(1, 0, octets("000A 001E 0000 00020000 0000")))
    peer.expect_bytes(frame(1, 0, octets("000A 001F FFFF 00020000 0000")))
    peer.expect_bytes(frame(1, 0, octets("000A 0028 01 '/' 00 00")))
    peer.send_bytes(frame(1, 0, octets("000A 0029 05 'known'")))
    conn = amqp.Connection(peer.address)
    assert (conn.version_major, conn.version_minor) == (8, 0)
    assert conn.server_properties == {"product": "Scripted broke"}
    assert conn.mechanisms == ["PLAIN", "AMQPLAIN"]
    assert conn.locales == ["en_US", "de_DE"]
    assert conn.known_hosts == "known"
    peer.expect_bytes(frame(1, 0, octets("000A 003C 0000 00 0000 0000")))
    peer.send_bytes(frame(1, 0, octets("000A 003D")))
    peer.expect_end()
    conn.close()


def test_the_handshake_a_byte_at_a_time(peer: Peer) -> None:
    peer.accept()
    peer.expect_bytes(HEADER)
    for byte in frame(1, 0, octets(START)):
        peer.send_bytes(bytes([byte]))
    peer.expect_bytes(start_ok("AMQPLAIN", GUEST))
    for byte in frame(1, 0, octets("000A 001E 0000 00020000 0000")):
        peer.send_bytes(bytes([byte]))
    peer.expect("connection.tune_ok", channel=0)
    peer.open_host()
    close(peer, amqp.Connection(peer.address))


# --- logins ------------------------------------------------------------------------------------------------

LOGINS: Dict[str, Tuple[Dict[str, Any], bytes]] = {
    "AMQPLAIN": (
        {"userid": "bob", "password": "pä"},
        start_ok("AMQPLAIN", "05 'LOGIN' 53 00000003 'bob' 08 'PASSWORD' 53 00000003 70 C3 A4"),
    ),
    "PLAIN": ({"userid": "bob", "password": "pä", "login_method": "PLAIN"}, start_ok("PLAIN", "00 'bob' 00 70 C3 A4")),
    "no password": ({"password": "", "login_method": "PLAIN"}, start_ok("PLAIN", "00 'guest' 00")),
    "a response as it is": ({"login_response": b"\x00\xff\x01"}, start_ok("AMQPLAIN", "00 FF 01")),
    "an empty response": (
        {"login_method": "EXTERNAL", "login_response": b""},
        start_ok("EXTERNAL", ""),
    ),
    "a locale": ({"locale": "de_DE"}, start_ok("AMQPLAIN", GUEST, "de_DE")),
    "more properties": (
        {"client_properties": {"app": "x", "n": 1}},
        start_ok("AMQPLAIN", GUEST, table=LIBRARY + octets("03 'app' 53 00000001 'x' 01 'n' 49 00000001")),
    ),
    "other properties": (
        {"client_properties": {"library": "y"}},
        start_ok("AMQPLAIN", GUEST, table=LIBRARY.replace(b"\0\0\0\x0ePython amqplib", b"\0\0\0\x01y")),
    ),
    "no properties": ({"client_properties": {}}, start_ok("AMQPLAIN", GUEST)),
}


@pytest.mark.parametrize("name", LOGINS)
def test_login(peer: Peer, name: str) -> None:
    keywords, login = LOGINS[name]
    play_login(peer, login)
    close(peer, amqp.Connection(peer.address, **keywords))


def test_all_arguments_by_position(peer: Peer) -> None:
    peer.greet(mechanisms="X")
    peer.expect_bytes(start_ok("X", "'secret'", "fr_FR", LIBRARY + octets("01 'a' 53 00000001 'b'")))
    peer.send("connection.tune", 1, 4096, 0, channel=0)
    peer.expect("connection.tune_ok", 1, 4096, 0, channel=0)
    peer.expect_bytes(frame(1, 0, octets("000A 0028 05 '/prod' 00 01")))
    peer.send("connection.open_ok", "", channel=0)
    conn = amqp.Connection(peer.address, "bob", "pw", "X", b"secret", "/prod", "fr_FR", {"a": "b"}, False, True, 10.0)
    close(peer, conn)


def test_positions_names_and_defaults() -> None:
    parameters = inspect.signature(amqp.Connection).parameters.values()
    assert ", ".join(str(p.replace(annotation=p.empty)) for p in parameters) == (
        "host='localhost', userid='guest', password='guest', login_method='AMQPLAIN', login_response=None, "
        "virtual_host='/', locale='en_US', client_properties=None, ssl=False, insist=False, connect_timeout=None, "
        "credentials=None, protocol=None, heartbeat=None, frame_max=None, body_max=134217728, header_max=1048576, "
        "channel_max=None, "
        "reply_timeout=None, write_timeout=None, blocked_timeout=None, close_timeout=None, on_blocked=None, "
        "on_unblocked=None, recover=None, gather_acks=False, trace=None, **unknown"
    )


def test_client_properties_are_left_alone(peer: Peer) -> None:
    given = {"app": "x"}
    peer.welcome()
    conn = amqp.Connection(peer.address, client_properties=given)
    assert given == {"app": "x"}
    close(peer, conn)


def test_an_unknown_mechanism_needs_a_response(peer: Peer) -> None:
    """Nothing is sent; nobody even connects."""
    with pytest.raises(ValueError, match=r"'ODD'.*AMQPLAIN, ANONYMOUS, EXTERNAL, PLAIN"):
        amqp.Connection(peer.address, login_method="ODD")


# the names of old programs, and of their misunderstandings
@pytest.mark.parametrize("name", ["connection_timeout", "port", "use_threading", "keepalive", "hostname"])
def test_unknown_arguments_are_warned_of(peer: Peer, name: str, caplog: pytest.LogCaptureFixture) -> None:
    unknown: Dict[str, Any] = {name: 1}
    peer.welcome()
    conn = amqp.Connection(peer.address, **unknown)
    assert [(r.name, r.levelname) for r in caplog.records] == [("amqplib", "WARNING")]
    assert name in caplog.records[0].getMessage()
    close(peer, conn)


@pytest.mark.parametrize("ssl", [False, None])
def test_no_tls(peer: Peer, ssl: Optional[bool]) -> None:
    peer.welcome()
    close(peer, amqp.Connection(peer.address, ssl=ssl))


@pytest.mark.parametrize("timeout", [None, 5, 7.5])
def test_a_connect_timeout_is_over_once_connected(peer: Peer, timeout: Optional[float]) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address, connect_timeout=timeout)
    assert conn.transport is not None
    assert conn.transport.sock.gettimeout() is None
    close(peer, conn)


# --- secure ------------------------------------------------------------------------------------------------


def test_challenges_are_answered_with_the_response(peer: Peer) -> None:
    peer.greet(mechanisms="ODD")
    peer.expect("connection.start_ok", channel=0)
    for challenge in ("who?", ""):
        peer.send("connection.secure", challenge, channel=0)
        peer.expect_bytes(frame(1, 0, octets("000A 0015 00000003 00 FF 01")))
    peer.send("connection.tune", 0, 0, 0, channel=0)
    peer.expect("connection.tune_ok", channel=0)
    peer.open_host()
    close(peer, amqp.Connection(peer.address, login_method="ODD", login_response=b"\x00\xff\x01"))


# --- tune --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ((0, 0, 0), (65535, 131072, 0)),
        ((2047, 131072, 60), (2047, 131072, 0)),
        ((65535, 4294967295, 65535), (65535, 131072, 0)),
        ((1, 4096, 1), (1, 4096, 0)),
        ((0, 8192, 580), (65535, 8192, 0)),
        ((10, 0, 0), (10, 131072, 0)),
    ],
)
def test_tune(peer: Peer, offered: Tuple[int, int, int], agreed: Tuple[int, int, int]) -> None:
    """The smaller limit holds, 0 is none; the heartbeat is off."""
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.tune", *offered, channel=0)
    peer.expect("connection.tune_ok", *agreed, channel=0)
    peer.open_host()
    conn = amqp.Connection(peer.address)
    assert (conn.channel_max, conn.frame_max, conn.heartbeat) == agreed
    close(peer, conn)


# --- attributes --------------------------------------------------------------------------------------------


def test_attributes(peer: Peer) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address)
    assert conn.channel_id == 0
    assert conn.connection is conn
    assert conn.channels == {0: conn}
    assert conn.transport is not None
    assert conn.transport.sock.getpeername() == ("127.0.0.1", peer.port)
    assert hasattr(conn.method_reader, "read_method")
    assert hasattr(conn.method_writer, "write_method")
    peer.open_channel()
    ch = conn.channel()
    assert (ch.is_open, ch.channel_id, ch.connection, ch.active, ch.auto_decode) == (True, 1, conn, True, True)
    assert (ch.default_ticket, ch.callbacks) == (0, {})
    assert ch.returned_messages.empty()
    assert ch.alerts.empty()
    assert not ch.method_queue
    assert conn.channels == {0: conn, 1: ch}

    close(peer, conn)
    for name in ("transport", "connection", "channels"):
        assert getattr(conn, name) is None
    assert (conn.channel_max, conn.frame_max, conn.heartbeat) == (2047, 131072, 0)
    assert conn.server_properties == {"product": "Scripted", "version": "1.0"}
    assert (conn.version_major, conn.version_minor) == (8, 0)
    assert (ch.is_open, ch.connection, ch.callbacks) == (False, None, {})
    assert ch.returned_messages.empty()


def test_heartbeats_are_taken(peer: Peer, ch: amqp.Channel) -> None:
    """None were asked for, and yet some may come."""
    beat = b"\x08\0\0\0\0\0\0\xce"
    peer.expect("tx.select")
    peer.send_bytes(beat)
    peer.send_bytes(beat + frame(1, 1, octets("005A 000B")) + beat)
    ch.tx_select()


# --- insist and redirect -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("insist", "bit"), [(False, "00"), (True, "01"), (None, "00"), (1, "01")])
def test_insist(peer: Peer, insist: Any, bit: str) -> None:
    peer.greet()
    peer.let_in()
    peer.expect_bytes(frame(1, 0, octets("000A 0028 06 '/vhost' 00 " + bit)))
    peer.send("connection.open_ok", "", channel=0)
    close(peer, amqp.Connection(peer.address, virtual_host="/vhost", insist=insist))


def redirect(peer: Peer, host: str) -> None:
    """A handshake that ends in a redirect."""
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    peer.send("connection.redirect", host, "known", channel=0)
    peer.expect_end()


def test_redirect(peer: Peer) -> None:
    with Peer() as other:
        redirect(peer, other.address)
        other.greet()
        other.expect_bytes(start_ok("AMQPLAIN", "05 'LOGIN' 53 00000003 'bob' 08 'PASSWORD' 53 00000002 'pw'"))
        other.send("connection.tune", 0, 0, 0, channel=0)
        other.expect("connection.tune_ok", channel=0)
        other.expect("connection.open", "/vhost", "", False, channel=0)
        other.send("connection.open_ok", "", channel=0)
        conn = amqp.Connection(peer.address, "bob", "pw", virtual_host="/vhost")
        assert conn.transport is not None
        assert conn.transport.sock.getpeername() == ("127.0.0.1", other.port)
        close(other, conn)


def test_redirect_without_a_port_keeps_the_port(peer: Peer) -> None:
    redirect(peer, "127.0.0.1")
    peer.welcome()
    close(peer, amqp.Connection(peer.address))


def test_several_redirects_each_negotiated_afresh(peer: Peer) -> None:
    for frame_max in (4096, 8192, 16384):
        peer.greet()
        peer.let_in(channel_max=10, frame_max=frame_max)
        peer.expect("connection.open", channel=0)
        peer.send("connection.redirect", peer.address, "", channel=0)
        peer.expect_end()
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.tune", 100, 131072, 0, channel=0)
    peer.expect("connection.tune_ok", 100, 131072, 0, channel=0)
    peer.open_host()
    conn = amqp.Connection(peer.address)
    assert (conn.channel_max, conn.frame_max) == (100, 131072)
    close(peer, conn)


def test_too_many_redirects(peer: Peer) -> None:
    for _ in range(5):
        redirect(peer, peer.address)
    with pytest.raises(amqp.ConnectionLostError, match=r"redirected 5 times.*%d" % peer.port):
        amqp.Connection(peer.address)


@pytest.mark.parametrize("host", ["", "host:port", "[::1"])
def test_a_redirect_to_nowhere_is_the_servers_fault(peer: Peer, host: str) -> None:
    redirect(peer, host)
    with pytest.raises(amqp.AMQPConnectionException):
        amqp.Connection(peer.address)


@pytest.mark.parametrize(
    ("asked", "proposed", "agreed"), [(4096, 131072, 4096), (200000, 131072, 131072), (200000, 0, 200000)]
)
def test_frame_max(peer: Peer, asked: int, proposed: int, agreed: int) -> None:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.tune", 10, proposed, 0, channel=0)
    peer.expect("connection.tune_ok", 10, agreed, 0, channel=0)
    peer.expect("connection.open", channel=0)
    peer.send("connection.open_ok", "", channel=0)
    conn = amqp.Connection(peer.address, frame_max=asked)
    assert conn.frame_max == agreed
    close(peer, conn)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("frame_max", 4095, "4095: AMQP has from 4096"),
        ("frame_max", "8192", "'8192'"),
        ("channel_max", 0, "0: AMQP has from 1 to 65535 channels"),
        ("heartbeat", -1, "-1: AMQP has from 0 to 65535 seconds"),
        ("heartbeat", "30", "'30'"),
        ("heartbeat", 1.5, "1.5"),
        ("body_max", None, "None: it is a number of octets"),
        ("header_max", 4095, "4095: it is a number of octets, 4096 or more"),
        ("header_max", None, "None: it is a number of octets"),
    ],
)
def test_what_cannot_be_agreed_on_is_said_before_connecting(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match="^%s: %s" % (name, words)):
        amqp.Connection("127.0.0.1:1", **{name: value})


@pytest.mark.parametrize(("version", "good"), [("4.0.9", True), ("4.1.0", False), ("5.0", False)])
def test_frame_max_below_rabbitmqs(peer: Peer, version: str, good: bool) -> None:
    """RabbitMQ from 4.1 on answers with silence and a reset, so it is said before."""
    peer.greet(properties={"product": "RabbitMQ", "version": version})
    if good:
        peer.let_in()
        peer.open_host()
        close(peer, amqp.Connection(peer.address, frame_max=8191))
        return
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.tune", 10, 131072, 0, channel=0)
    with pytest.raises(ValueError, match="%s.*8192.*8191.*8192" % version):
        amqp.Connection(peer.address, frame_max=8191)
