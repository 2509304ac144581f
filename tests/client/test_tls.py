"""Proves what TLS accepts and refuses, and that each refusal says which check failed, on a peer made for it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import socket
import ssl
import sys
import threading
import weakref
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.connect.address import Address
from amqplib.client.deadline import Deadline
from amqplib.client.net.opening import open_transport
from amqplib.client.net.transport import Transport

from .peer import Peer
from .test_hosts import offer
from .tls_peer import TLS_1_1, TLS_1_2, TLS_1_3, TLSPeer, connect, only, refused, server_context

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


def test_the_zone_of_an_address_is_not_verified(certificates: Path, trusting: Dict[str, Any]) -> None:
    with TLSPeer(server_context(certificates, "wronghost")) as peer:
        connect(peer, {**trusting, "server_hostname": "::1%lo"})


def test_the_system_is_trusted_and_no_more(
    tls_peer: TLSPeer, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ssl=True: the certificates that OpenSSL is told of by the environment are the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    connect(tls_peer, True)
    monkeypatch.delenv("SSL_CERT_FILE")
    tls_peer.refuse()
    refused(tls_peer, True)


@pytest.mark.parametrize("name", ["selfsigned", "expired", "wronghost", "nameless", "common"])
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
    """The time is for all of it: of the second, what the look-up and TCP have left."""
    peer.accept()
    peer.trickle(b"\x16\x03\x03\x40\x00" + b"\0" * 1000, 0.01)
    peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"no TLS with .*: its handshake was not over within (1|0\.\d+) s"):
        amqp.Connection(peer.address, ssl=True, connect_timeout=1)


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


def test_the_end_meets_the_first_write(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """All that is left to read then is what TLS has to say to itself: session tickets."""
    tls_peer.accept()
    tls_peer.reset()
    transport = open_transport(Address("localhost", tls_peer.port), trusting, Deadline(20))
    tls_peer.wait()
    with pytest.raises(amqp.ConnectionLostError, match="it may want a client certificate"):
        transport.send(b"x")
    transport.close()


def test_a_reason_that_came_before_something_was_written(
    tls_peer: TLSPeer, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert that tells why, not the broken pipe."""
    tls_peer.accept()
    tls_peer.send_raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)  # as good as an alert
    transport = open_transport(Address("localhost", tls_peer.port), trusting, Deadline(20))
    assert transport.readable(20)
    tls_peer.wait()

    def broken(self: Transport, data: Any) -> int:
        raise amqp.ConnectionLostError(0, "broken pipe", errno=errno.EPIPE)

    monkeypatch.setattr(Transport, "send", broken)
    with pytest.raises(amqp.TLSError, match="no TLS with localhost"):
        transport.send(b"x")
    transport.close()
    tls_peer.drain()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="nothing dies by reference count here")
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


def test_a_renegotiation(tls_peer: TLSPeer, trusting: Dict[str, Any]) -> None:
    """With a context that permits it. Python's own servers cannot begin one, so this is what OpenSSL says then."""

    begun: List[int] = []

    class Renegotiating(ssl.SSLObject):
        def write(self, data: Any) -> int:
            if begun:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the operation did not complete (read)")
            return super().write(data)

    context = ssl.create_default_context(cafile=trusting["ca_certs"])
    context.sslobject_class = Renegotiating
    conn = encrypted(tls_peer, {"context": context})
    begun.append(1)
    with pytest.raises(amqp.TLSError, match="began a TLS renegotiation"):
        conn.channel()
    with pytest.raises(amqp.ConnectionLostError, match="began a TLS renegotiation"):
        conn.channel()
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

        sent = 0
        while sent < size:
            taken = 0
            data = memoryview(piece)[: size - sent]
            while taken < len(data):
                # what is left of the same data, and none of what comes behind it before all of it has gone
                more = transport.send(data[taken:])
                taken += more
                assert more or any(transport.ready(30, writing=True)), "the echo is stuck"
            sent += taken
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
