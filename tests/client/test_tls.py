"""Proves what TLS accepts and refuses, and that each refusal says which check failed, on a peer made for it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amqplib.client_0_8 as amqp
from amqplib.client import tls_errors
from amqplib.client.address import Address
from amqplib.client.deadline import Deadline
from amqplib.client.tls import TLSTransport
from amqplib.client.transport import Transport, open_transport

from .peer import Peer
from .test_hosts import offer
from .tls_peer import TLSPeer, only, server_context

TLS_1_1, TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture
def tls_peer(certificates: Path) -> Iterator[TLSPeer]:
    """A peer with a certificate for localhost; its context may be changed before somebody connects."""
    with TLSPeer(server_context(certificates)) as peer:
        yield peer


@pytest.fixture
def trusting(certificates: Path) -> Dict[str, Any]:
    """Options that trust the authority of the tests."""
    return {"ca_certs": str(certificates / "ca.pem")}


def own(certificates: Path, name: str) -> Dict[str, Any]:
    return {"certfile": str(certificates / (name + ".pem")), "keyfile": str(certificates / (name + ".key"))}


def connect(peer: Peer, options: Any, **more: Any) -> None:
    """All of a connection's life, in which something is said both ways."""
    peer.welcome()
    conn = amqp.Connection(peer.address, ssl=options, connect_timeout=20, **more)
    assert isinstance(conn.transport, TLSTransport)
    peer.open_channel()
    conn.channel()
    peer.part()
    conn.close()


def refused(peer: Peer, options: Any) -> amqp.TLSError:
    with pytest.raises(amqp.TLSError) as caught:
        amqp.Connection(peer.address, ssl=options, connect_timeout=20)
    assert "no TLS with localhost:%d: " % peer.port in str(caught.value)
    assert isinstance(caught.value, (amqp.ConnectionLostError, OSError))
    return caught.value


# --- what is accepted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_versions(tls_peer: TLSPeer, trusting: Dict[str, Any], version: ssl.TLSVersion) -> None:
    only(tls_peer.context, version)
    connect(tls_peer, trusting)


def test_a_url(tls_peer: TLSPeer, certificates: Path) -> None:
    tls_peer.welcome()
    url = "amqps://bob:pw@%s?cacertfile=%s&server_name_indication=localhost"
    conn = amqp.Connection(url % (tls_peer.address.replace("localhost", "127.0.0.1"), certificates / "ca.pem"))
    assert conn.transport is not None
    assert conn.transport.encrypted
    tls_peer.part()
    conn.close()


def test_an_ip_address_is_verified_too(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    tls_peer.address = "127.0.0.1:%d" % tls_peer.port
    connect(tls_peer, trusting)


def test_the_system_is_trusted_and_no_more(
    tls_peer: TLSPeer, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ssl=True: the certificates that OpenSSL is told of by the environment are the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    connect(tls_peer, True)
    monkeypatch.delenv("SSL_CERT_FILE")
    tls_peer.refuse()
    refused(tls_peer, True)


@pytest.mark.parametrize("name", ["selfsigned", "expired", "wronghost", "nameless"])
def test_unverified_only_in_so_many_words(certificates: Path, name: str) -> None:
    with TLSPeer(server_context(certificates, name)) as peer:
        connect(peer, {"cert_reqs": ssl.CERT_NONE})
        for options in (True, {"cert_reqs": None}, {"cert_reqs": ssl.CERT_OPTIONAL}, {"ca_certs": None}):
            peer.refuse()
            refused(peer, options)


def test_the_peer_is_told_the_name(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """SNI: that of the host, or the server_hostname."""
    told: List[Any] = []
    tls_peer.context.sni_callback = lambda sock, name, context: told.append(name)
    connect(tls_peer, trusting)
    tls_peer.address = "127.0.0.1:%d" % tls_peer.port
    connect(tls_peer, trusting)
    connect(tls_peer, {**trusting, "server_hostname": "localhost"})
    assert told == ["localhost", None, "localhost"]


def test_a_context_is_taken_as_it_is(tls_peer: TLSPeer, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    connect(tls_peer, context)
    connect(tls_peer, {"context": context})
    tls_peer.address = "127.0.0.1:%d" % tls_peer.port
    connect(tls_peer, {"context": context, "server_hostname": "localhost"})
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    connect(tls_peer, careless)


def test_the_default_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[Tuple[str, int]] = []

    def getaddrinfo(host: str, port: int, *args: Any) -> List[Any]:
        asked.append((host, port))
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for host, option in (("a", True), ("amqps://b", False), ("c:1", True), ("amqp://d", {}), ("amqp://e", True)):
        with pytest.raises(amqp.ConnectionLostError):
            amqp.Connection(host, ssl=option)
    assert asked == [("a", 5671), ("b", 5671), ("c", 1), ("d", 5672), ("e", 5671)]


# --- certificates of the server ----------------------------------------------------------------------------

CERTIFICATES = {
    "expired": "its certificate has expired, or that of an authority above it (certificate has expired)",
    "selfsigned": "its certificate is self-signed",
    "wronghost": "its certificate is not valid for 'localhost', but for 'other.example', '::1'",
    "nameless": "its certificate is not valid for 'localhost', but for 'other'",
}


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_certificates(certificates: Path, trusting: Dict[str, Any], name: str, version: ssl.TLSVersion) -> None:
    with TLSPeer(server_context(certificates, name, version)) as peer:
        peer.refuse()
        if name in ("wronghost", "nameless"):
            peer.accept()  # who asks for the names
            peer.expect_end()
        exc = refused(peer, trusting)
    assert CERTIFICATES[name] in str(exc)
    assert exc.errno == errno.EPROTO
    assert isinstance(exc.__cause__, ssl.SSLError)


@pytest.mark.parametrize("options", [True, {"ca_certs": None}, {"cert_reqs": ssl.CERT_REQUIRED}])
def test_an_unknown_authority(tls_peer: TLSPeer, options: Any) -> None:
    tls_peer.refuse()
    assert "from an authority that is not trusted here" in str(refused(tls_peer, options))


def test_a_name_that_was_asked_for(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    tls_peer.refuse()
    tls_peer.accept()
    tls_peer.expect_end()
    exc = refused(tls_peer, {**trusting, "server_hostname": "broker.example"})
    assert "not valid for 'broker.example', but for 'localhost', '127.0.0.1' (server_hostname)" in str(exc)


def test_a_certificate_that_only_strictness_minds(certificates: Path) -> None:
    """Python 3.13 and later are strict by default; any can be."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with TLSPeer(server_context(certificates, "careless")) as peer:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        peer.refuse()
        text = str(refused(peer, context))
        assert (
            "was not accepted for 'localhost' (Missing Authority Key Identifier); it is checked by the letter" in text
        )
        assert "VERIFY_X509_STRICT" in text
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connect(peer, context)
    with TLSPeer(server_context(certificates, "expired")) as peer:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        peer.refuse()
        assert "VERIFY_X509_STRICT" not in str(refused(peer, context))


def test_an_absolute_name(monkeypatch: pytest.MonkeyPatch, tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """With a dot at its end, which is not a part of it in certificates, and not allowed in SNI."""
    asked: List[Any] = []
    tls_peer.context.sni_callback = lambda _, name, __: asked.append(name)
    offer(monkeypatch, ("127.0.0.1", tls_peer.port))
    for host, options in (("localhost.", trusting), ("broker", {**trusting, "server_hostname": "localhost."})):
        tls_peer.welcome()
        conn = amqp.Connection("%s:%d" % (host, tls_peer.port), ssl=options)
        tls_peer.part()
        conn.close()
    assert asked == ["localhost", "localhost"]


def test_names_that_cannot_be_had(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """The peer accepts no second connection: that hides nothing."""
    tls_peer.refuse()
    tls_peer.accept_plain()
    tls_peer.close()
    exc = refused(tls_peer, {**trusting, "server_hostname": "broker.example"})
    assert "not valid for 'broker.example', and no names in it could be read" in str(exc)


def test_names_from_a_peer_that_resets(
    monkeypatch: pytest.MonkeyPatch, tls_peer: TLSPeer, trusting: Dict[str, Any]
) -> None:
    """Upon our alert it does; the system then no longer knows whose connection it was."""
    original = TLSTransport._send_records

    def send_and_wait(self: TLSTransport, deadline: Deadline) -> None:
        original(self, deadline)
        if isinstance(sys.exc_info()[1], ssl.SSLCertVerificationError):
            for _ in range(1000):
                if tls_errors.peer_of(self.sock) is None:
                    return
                time.sleep(0.01)
            raise AssertionError("the peer has not reset the connection")

    def refuse_and_reset() -> None:
        Peer._accept(tls_peer)
        plain = tls_peer._connected()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with pytest.raises(ssl.SSLError):
            tls_peer.context.wrap_socket(plain, server_side=True)
        tls_peer._client = None

    monkeypatch.setattr(TLSTransport, "_send_records", send_and_wait)
    tls_peer.do(refuse_and_reset)
    tls_peer.accept()
    tls_peer.expect_end()
    exc = refused(tls_peer, {**trusting, "server_hostname": "broker.example"})
    assert "not valid for 'broker.example', but for 'localhost', '127.0.0.1' (server_hostname)" in str(exc)


def test_names_from_nowhere() -> None:
    assert tls_errors.offered_names(None, "broker.example", Deadline(1)) == []


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        (b"\x06\x03\x55\x1d\x11\x04\x0c\x30\x0a\x82\x0810.0.0.7", ["DNS:10.0.0.7"]),
        (b"\x06\x03\x55\x1d\x11\x04\x08\x30\x06\x87\x04\x0a\0\0\x07", ["10.0.0.7"]),
        (b"\x06\x03\x55\x04\x03\x0c\x0810.0.0.7", ["CN=10.0.0.7"]),
        (b"\x06\x03\x55\x04\x03\x0c\x05other", ["other"]),
    ],
)
def test_an_address_where_names_are(certificate: bytes, names: List[str]) -> None:
    """Otherwise the error would say 'not valid for 10.0.0.7, but for 10.0.0.7'."""
    assert list(tls_errors._names(certificate)) == names


@pytest.mark.parametrize("junk", [b"", b"\0", b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x11\x01\x01\xff\x04\x82"])
def test_certificates_without_names(junk: bytes) -> None:
    with pytest.raises((IndexError, ValueError)):
        list(tls_errors._names(junk))


@given(data=st.data())
@settings(deadline=None)
def test_certificates_of_any_bytes(certificates: Path, data: st.DataObject) -> None:
    """A stranger's certificate may be anything. Its names are found, or it has none."""
    pem = (certificates / data.draw(st.sampled_from(["server.pem", "nameless.pem"]))).read_text()
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem))
    for _ in range(data.draw(st.integers(0, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    del der[data.draw(st.integers(len(der) // 2, len(der))) :]
    try:
        names = list(tls_errors._names(bytes(der)))
    except (IndexError, ValueError):
        names = []
    assert all(isinstance(name, str) for name in names)


# --- certificates of the client ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_client_certificate(certificates: Path, trusting: Dict[str, Any], version: ssl.TLSVersion) -> None:
    with TLSPeer(server_context(certificates, "server", version, ssl.CERT_REQUIRED)) as peer:
        connect(peer, {**trusting, **own(certificates, "client")})
        encrypted = {**trusting, **own(certificates, "client"), "keyfile": str(certificates / "client.secret")}
        connect(peer, {**encrypted, "password": "open sesame"})
        connect(peer, {**encrypted, "password": lambda: b"open sesame"})


def of_the_other_side(peer: TLSPeer, options: Any) -> str:
    """A refusal that may be overtaken by the end of the connection, and is one of the AMQP version then."""
    peer.refuse()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection(peer.address, ssl=options, connect_timeout=20, protocol="0-8")
    return str(caught.value)


@pytest.mark.parametrize(
    ("version", "words"), [(TLS_1_2, "wants a client certificate"), (TLS_1_3, r"wan. a client certificate")]
)
def test_a_client_certificate_is_wanted(
    certificates: Path, trusting: Dict[str, Any], version: ssl.TLSVersion, words: str
) -> None:
    """In TLS 1.3 this comes when the handshake is over, instead of the first answer."""
    with TLSPeer(server_context(certificates, "server", version, ssl.CERT_REQUIRED)) as peer:
        text = of_the_other_side(peer, trusting)
        assert "a client certificate" in text
        assert "localhost:%d" % peer.port in text


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_client_certificate_that_nobody_knows(
    certificates: Path, trusting: Dict[str, Any], version: ssl.TLSVersion
) -> None:
    with TLSPeer(server_context(certificates, "server", version, ssl.CERT_REQUIRED)) as peer:
        text = of_the_other_side(peer, {**trusting, **own(certificates, "stranger")})
        assert "client certificate" in text


# --- versions and ciphers ----------------------------------------------------------------------------------


def test_an_old_server(certificates: Path, trusting: Dict[str, Any]) -> None:
    with TLSPeer(server_context(certificates, version=TLS_1_1)) as peer:
        peer.refuse()
        assert "no TLS version in common" in str(refused(peer, trusting))


def test_an_old_server_and_a_context_that_bears_it(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    only(context, TLS_1_1)
    with TLSPeer(server_context(certificates, version=TLS_1_1)) as peer:
        connect(peer, context)


def test_an_old_client(tls_peer: TLSPeer, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    only(context, TLS_1_1)
    only(tls_peer.context, TLS_1_2)
    tls_peer.refuse()
    assert "no TLS version in common" in str(refused(tls_peer, context))


def test_no_cipher_in_common(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    only(tls_peer.context, TLS_1_2)
    tls_peer.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    tls_peer.refuse()
    assert "no cipher in common" in str(refused(tls_peer, {**trusting, "ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"}))


# --- not TLS -----------------------------------------------------------------------------------------------

OTHERS = {
    "AMQP": (b"AMQP\x00\x00\x09\x01", "it speaks AMQP without TLS on that port; brokers have TLS on another"),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer in TLS but with 48 54 54 50"),
    "a frame": (b"\x01\0\0\0\0\0\x04\0\x0a\0\x0a\xce", "does not answer in TLS but with 01 00 00"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("ending", ["close", "drain"])
def test_something_else_answers(peer: Peer, name: str, ending: str) -> None:
    """It is not mistaken for a broker that refuses the AMQP version."""
    data, words = OTHERS[name]
    peer.address = "localhost:%d" % peer.port
    peer.accept()
    peer.send_bytes(data)
    getattr(peer, ending)()
    assert words in str(refused(peer, True))


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost_without_a_word(peer: Peer, ending: str) -> None:
    peer.address = "localhost:%d" % peer.port
    peer.accept()
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection(peer.address, ssl=True, connect_timeout=20)
    if "no connection to" not in str(caught.value):  # a reset may be so fast that there was none
        assert isinstance(caught.value, amqp.TLSError)
        assert "a broker that speaks AMQP without TLS on that port does that" in str(caught.value)
    assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00"])
def test_lost_in_the_middle_of_the_handshake(peer: Peer, said: bytes) -> None:
    peer.address = "localhost:%d" % peer.port
    peer.accept()
    peer.expect_bytes(b"\x16\x03\x01")  # a ClientHello begins
    peer.send_bytes(said)
    peer.reset()
    exc = refused(peer, True)
    assert "the connection was lost in the TLS handshake" in str(exc)
    assert ("AMQP without TLS" in str(exc)) == (said == b"")
    assert exc.errno == errno.ECONNRESET


@pytest.mark.parametrize("name", [".x", "a" * 64 + ".x", "a." * 128 + "x", "localhost\0.x"])
def test_a_host_name_that_no_certificate_can_have(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
        with pytest.raises(ValueError, match="^ssl: server_hostname: " + re.escape(repr(name))):
            amqp.Connection(address, ssl={"server_hostname": name})


def test_silence_in_the_handshake(peer: Peer) -> None:
    peer.accept()
    peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"no TLS with 127.*within "):
        amqp.Connection(peer.address, ssl=True, connect_timeout=2)


def test_a_handshake_that_trickles_in(peer: Peer) -> None:
    """The time is for all of it."""
    peer.accept()
    peer.trickle(b"\x16\x03\x03\x40\x00" + b"\0" * 1000, 0.01)
    peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"no TLS with .*: its handshake was not over within 0\.3 s"):
        amqp.Connection(peer.address, ssl=True, connect_timeout=0.3)


# --- the end of a session ----------------------------------------------------------------------------------


def encrypted(peer: TLSPeer, options: Any) -> amqp.Connection:
    peer.welcome()
    conn = amqp.Connection(peer.address, ssl=options, connect_timeout=20)
    peer.wait()
    return conn


def test_a_broken_record(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    conn = encrypted(tls_peer, trusting)
    tls_peer.send_raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    with pytest.raises(amqp.TLSError, match="the TLS session broke with localhost"):
        conn.drain_events(timeout=20)
    tls_peer.drain()


def test_a_broken_record_behind_a_message(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """The message is handled; then the error comes, though the peer stays connected and sends no more."""
    conn = encrypted(tls_peer, trusting)
    tls_peer.open_channel()
    ch = conn.channel()
    got: List[Any] = []
    tls_peer.answer("basic.consume", "basic.consume_ok", "t")
    ch.basic_consume("q", consumer_tag="t", callback=lambda msg: got.append(msg.body), no_ack=True)
    tls_peer.send_content("basic.deliver", "t", 1, False, "", "", message=({}, b"x"))
    tls_peer.send_raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    tls_peer.wait()
    conn.drain_events(timeout=20)
    assert got == [b"x"]
    with pytest.raises(amqp.TLSError, match="the TLS session broke with localhost"):
        conn.drain_events(timeout=20)
    tls_peer.drain()


@pytest.mark.parametrize("how", ["close", "reset", "unwrap"])
def test_the_end_before_a_word(tls_peer: TLSPeer, trusting: Dict[str, Any], how: str) -> None:
    """It may have refused the AMQP version, which is tried twice, or a client certificate: the error says so."""
    for _ in range(2):
        tls_peer.accept()
        if how == "unwrap":
            tls_peer.do(lambda: unwrap(tls_peer))
            tls_peer.close()
        else:
            getattr(tls_peer, how)()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection(tls_peer.address, ssl=trusting, connect_timeout=20)
    assert str(caught.value).count("it may want a client certificate") == 2


def test_a_reason_that_came_before_something_was_written(
    tls_peer: TLSPeer, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert that tells why, not the broken pipe."""
    tls_peer.accept()
    tls_peer.send_raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)  # as good as an alert
    transport = open_transport(Address("localhost", tls_peer.port), trusting, Deadline(20))
    assert transport.readable(20)
    tls_peer.wait()

    def broken(self: Transport, data: Any, wait: Any) -> int:
        raise amqp.ConnectionLostError(0, "broken pipe", errno=errno.EPIPE)

    monkeypatch.setattr(Transport, "write", broken)
    with pytest.raises(amqp.TLSError, match="no TLS with localhost"):
        transport.write(b"x", lambda: None)
    transport.close()
    tls_peer.drain()


def test_it_dies_by_reference_count(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """Also when it was TLS that ended it."""
    conn = encrypted(tls_peer, trusting)
    gone = weakref.ref(conn.transport)
    tls_peer.send_raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    gc.disable()
    try:
        with pytest.raises(amqp.TLSError):
            conn.drain_events(timeout=20)
        del conn
        assert gone() is None
    finally:
        gc.enable()
    tls_peer.drain()


def unwrap(peer: TLSPeer) -> None:
    """Say that the session is over, and no more."""
    session = peer._connected()
    assert isinstance(session, ssl.SSLSocket)
    session.setblocking(False)
    with pytest.raises(ssl.SSLError):  # the other side has not said so, and may have said something else
        session.unwrap()
    session.setblocking(True)
    with contextlib.suppress(ConnectionResetError):
        while os.read(session.fileno(), 65536):
            pass


def test_the_end_of_the_session(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    conn = encrypted(tls_peer, trusting)
    tls_peer.do(lambda: unwrap(tls_peer))
    with pytest.raises(amqp.ConnectionLostError, match="ended the TLS session"):
        conn.drain_events(timeout=20)
    tls_peer.close()


def test_reading_and_writing_at_once(certificates: Path, trusting: Dict[str, Any]) -> None:
    """Two threads on one session, and not a byte is lost: an echo of much more than fits the system's buffers."""
    size, piece = 30_000_000, bytes(range(256)) * 1000
    server = server_context(certificates)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo() -> None:
            with server.wrap_socket(listener.accept()[0], server_side=True) as session:
                while True:
                    data = session.recv(65536)
                    if not data:
                        return
                    session.sendall(data)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        address = Address("localhost", listener.getsockname()[1])
        transport = open_transport(address, trusting, Deadline(20))
        received: List[bytes] = []

        def read() -> None:
            left = size
            while left > 0:
                transport.await_bytes(Deadline(30))
                received.append(transport.receive())
                left -= len(received[-1])

        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def wait() -> None:
            transport.await_room(Deadline(30), reading=False)

        sent = 0
        while sent < size:
            data = piece[: size - sent]
            transport.write(data, wait)
            sent += len(data)
        reader.join(60)
        transport.close()
        thread.join(20)
        whole = b"".join(received)
        assert len(whole) == size
        assert whole == (piece * (size // len(piece) + 1))[:size]


def test_several_addresses_of_the_name(
    tls_peer: TLSPeer, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, ("127.0.0.1", 1), ("127.0.0.1", tls_peer.port))
    connect(tls_peer, trusting)
