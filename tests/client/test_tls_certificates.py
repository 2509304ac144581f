"""Proves which certificates are accepted, on either side, and what is said of those that are not."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amqplib.client_0_8 as amqp
from amqplib.client.deadline import Deadline
from amqplib.client.net import tls_errors
from amqplib.client.net.tls import TLSTransport

from .peer import Peer
from .test_hosts import offer
from .tls_peer import TLS_1_2, TLS_1_3, TLSPeer, connect, own, refused, server_context

CERTIFICATES = {
    "expired": "its certificate has expired, or that of an authority above it (certificate has expired)",
    "selfsigned": "its certificate is self-signed",
    "wronghost": "its certificate is not valid for 'localhost', but for 'other.example', '::1'",
    "nameless": "its certificate is not valid for 'localhost', but for 'CN=other' (server_hostname); a common name",
    "common": "its certificate is not valid for 'localhost', but for 'CN=localhost' (server_hostname); a common name",
}


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_certificates(certificates: Path, trusting: Dict[str, Any], name: str, version: ssl.TLSVersion) -> None:
    with TLSPeer(server_context(certificates, name, version)) as peer:
        peer.refuse()
        if name in ("wronghost", "nameless", "common"):
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
        (b"\x06\x03\x55\x04\x03\x0c\x05other", ["CN=other"]),
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
