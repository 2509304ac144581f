"""Proves that nothing weakens TLS in silence: no option that reads as if it did something else, no variable that was
not set, no context of the program's, no TLS library that lacks something."""

from __future__ import annotations

import logging
import os
import ssl
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.net import tls, tls_options
from amqplib.client.net.tls_options import make_context

from .peer import Peer
from .test_hosts import unused_port
from .tls_peer import TLS_1_2, TLSPeer, connect, only, server_context

#: What a man in the middle offers, who has no certificate, or who wants everybody to read along.
ANONYMOUS = "AECDH-AES256-SHA:ADH-AES256-GCM-SHA384:@SECLEVEL=0"
NULL = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"

CIPHERS = [
    "HIGH:@SECLEVEL=0",
    "ALL:@SECLEVEL=0",
    "@SECLEVEL=0:ALL:COMPLEMENTOFALL",
    "ALL:eNULL @SECLEVEL=0,",
    "DEFAULT:ADH:AECDH:NULL:@SECLEVEL=0",
    "HIGH:aNULL:-aNULL:aNULL:eNULL@SECLEVEL=0",  # taken out only to be put back
    "COMPLEMENTOFDEFAULT:kEECDH,aNULL @SECLEVEL=0",
]


class Imposter(TLSPeer):
    """A peer whose TLS asks nothing of it, and which notes what it hears if a handshake comes about all the same."""

    def __init__(self, ciphers: str, certificates: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers == NULL:
            context = server_context(certificates)
        only(context, TLS_1_2)
        context.set_ciphers(ciphers)
        self.heard = b""
        super().__init__(context)

    def listen(self) -> None:
        self.do(self._listen)

    def _listen(self) -> None:
        super(TLSPeer, self)._accept()
        try:
            encrypted = self.context.wrap_socket(self._connected(), server_side=True)
            self._client = encrypted
            self.heard = encrypted.recv(100)
        except (ssl.SSLError, ConnectionError):
            pass
        self._close()


def assert_strong(context: ssl.SSLContext) -> None:
    suites = context.get_ciphers()
    assert suites
    for suite in suites:
        assert "Au=None" not in suite["description"]
        assert "Enc=None" not in suite["description"]


@pytest.fixture(params=[ANONYMOUS, NULL], ids=["anonymous", "null"])
def imposter(request: pytest.FixtureRequest, certificates: Path) -> Any:
    try:
        with Imposter(request.param, certificates) as peer:
            yield peer
    except ssl.SSLError as exc:
        pytest.skip("OpenSSL has no such suites here: %s" % exc)


@pytest.mark.parametrize("ciphers", CIPHERS)
@pytest.mark.parametrize("verify", [ssl.CERT_REQUIRED, ssl.CERT_NONE])
def test_ciphers(imposter: Imposter, trusting: Dict[str, Any], ciphers: str, verify: Any) -> None:
    """Without a certificate there is nothing to verify: so OpenSSL found no fault with it, and the password went."""
    imposter.listen()
    with pytest.raises(amqp.TLSError, match=r"no cipher in common|HANDSHAKE_FAILURE|NO_SHARED_CIPHER"):
        amqp.Connection(imposter.address, ssl={**trusting, "ciphers": ciphers, "cert_reqs": verify}, connect_timeout=20)
    imposter.wait()
    assert imposter.heard == b""
    assert_strong(make_context({"ciphers": ciphers})[0])


@pytest.mark.parametrize("ciphers", CIPHERS)
def test_a_context(imposter: Imposter, ciphers: str, certificates: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.set_ciphers(ciphers)
    anonymous = [suite["name"] for suite in context.get_ciphers() if "Au=None" in suite["description"].split()]
    imposter.listen()
    with pytest.raises(amqp.TLSError, match=r"no cipher in common|HANDSHAKE_FAILURE|NO_SHARED_CIPHER"):
        amqp.Connection(imposter.address, ssl=context, connect_timeout=20)
    imposter.wait()
    assert imposter.heard == b""
    assert_strong(context)
    # with "DEFAULT:" in front OpenSSL 3.0 puts none of them in
    said = "".join(record.getMessage() for record in caplog.records)
    assert [name for name in anonymous if name not in said] == []


def test_the_rest_of_a_context_is_as_it_was(tls_peer: TLSPeer, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    before = [suite["name"] for suite in context.get_ciphers() if "Au=None" not in suite["description"]]
    level = getattr(context, "security_level", None)
    make_context(context)
    assert [suite["name"] for suite in context.get_ciphers()] == before
    assert getattr(context, "security_level", None) == level
    connect(tls_peer, context)
    only(tls_peer.context, TLS_1_2)
    connect(tls_peer, context)


@pytest.mark.parametrize("ciphers", ["aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0", "ADH", "HIGH\0", "", b"HIGH", ["HIGH"]])
def test_ciphers_of_which_none_is_left(ciphers: Any) -> None:
    with pytest.raises(ValueError, match=r"^ssl: ciphers: .*none that wants a certificate and encrypts"):
        amqp.Connection("localhost:%d" % unused_port(), ssl={"ciphers": ciphers})


def test_a_context_of_which_none_is_left() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.set_ciphers(ANONYMOUS)
    except ssl.SSLError as exc:
        pytest.skip("OpenSSL has no such suites here: %s" % exc)
    with pytest.raises(ValueError, match=r"^ssl: context: its cipher suites want no certificate, or do not encrypt: "):
        amqp.Connection("localhost:%d" % unused_port(), ssl=context)


class Stubborn(ssl.SSLContext):
    """One that keeps what it was made with."""

    def set_ciphers(self, ciphers: str) -> None:
        pass


def test_a_context_that_keeps_its_suites() -> None:
    context = Stubborn(ssl.PROTOCOL_TLS_CLIENT)
    try:
        ssl.SSLContext.set_ciphers(context, "ALL:@SECLEVEL=0")
    except ssl.SSLError as exc:
        pytest.skip("OpenSSL has no such suites here: %s" % exc)
    if all("Au=None" not in suite["description"] for suite in context.get_ciphers()):
        pytest.skip("OpenSSL has no such suites here")
    with pytest.raises(ValueError, match=r"^ssl: context: its cipher suites want no certificate, or do not encrypt: "):
        amqp.Connection("localhost:%d" % unused_port(), ssl=context)


class Blind(ssl.SSLContext):
    """One that does not tell its suites, as those of other TLS libraries may not."""

    def get_ciphers(self) -> List[Any]:
        return []


@pytest.mark.parametrize("verify", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
def test_a_handshake_without_a_certificate(certificates: Path, verify: Any) -> None:
    """Nothing is said after it, though it has succeeded."""
    context = Blind(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = verify
    context.load_verify_locations(str(certificates / "ca.pem"))
    try:
        context.set_ciphers(ANONYMOUS)
        imposter = Imposter(ANONYMOUS, certificates)
    except ssl.SSLError as exc:
        pytest.skip("OpenSSL has no such suites here: %s" % exc)
    with imposter:
        imposter.listen()
        with pytest.raises(amqp.TLSError, match=r"without a certificate to be verified \(cipher A") as caught:
            amqp.Connection(imposter.address, ssl=context, connect_timeout=20)
        imposter.wait()
    assert imposter.heard == b""
    assert isinstance(caught.value, OSError)


# --- options ------------------------------------------------------------------------------------------------

EMPTY: Dict[str, Dict[str, Any]] = {
    "ca_certs": {"ca_certs": ""},
    "ca_certs bytes": {"ca_certs": b""},
    "certfile": {"certfile": ""},
    "keyfile": {"certfile": "x", "keyfile": ""},
    "server_hostname": {"server_hostname": ""},
    "ciphers": {"ciphers": ""},
    "ca_certs of spaces": {"ca_certs": " "},
    "ca_certs as an empty path": {"ca_certs": Path("")},
    "ca_certs in which nothing stands": {"ca_certs": os.devnull},
    "ciphers of spaces": {"ciphers": " "},
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_variable_that_was_not_set(name: str) -> None:
    """ca_certs='' trusted every authority of the system's instead of the company's own."""
    with pytest.raises(ValueError, match=r"^ssl: %s: " % name.split()[0]):
        amqp.Connection("localhost:%d" % unused_port(), ssl=EMPTY[name])


@pytest.mark.parametrize("value", ["", b"", [], (), 0.0])
@pytest.mark.parametrize("host", ["127.0.0.1:%d", "amqp://127.0.0.1:%d", "amqps://127.0.0.1:%d"])
def test_an_empty_ssl(host: str, value: Any) -> None:
    """os.environ.get('TLS', '') is no decision to do without."""
    with pytest.raises(ValueError, match=r"^ssl: it is True, a dict or an ssl\.SSLContext, not a thing of type"):
        amqp.Connection(host % unused_port(), ssl=value)


@pytest.mark.parametrize("value", [False, None, 0, {}])
def test_no_is_said_in_these_ways(peer: Peer, value: Any) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address, ssl=value)
    assert conn.transport is not None
    assert not conn.transport.encrypted
    peer.part()
    conn.close()


@pytest.mark.parametrize("value", [0.0, 2.0, "", "0", b"", False, True, [], {}, -1, 3, Decimal(0), "CERT_NONE", 0j])
def test_what_is_no_cert_reqs(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^ssl: cert_reqs: "):
        make_context({"cert_reqs": value})


@pytest.mark.parametrize("name", ["localhost\0.example.com", "a\nb", "a\x1b[2J", "\u202ehost"])
def test_control_characters_in_the_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"^ssl: server_hostname: ") as caught:
        make_context({"server_hostname": name})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("option", ["ca_certs", "certfile"])
def test_a_nul_in_a_files_name(certificates: Path, option: str) -> None:
    with pytest.raises(ValueError, match=r"^ssl: %s: " % option):
        make_context({option: str(certificates / "ca.pem") + "\0x"})


def test_a_common_name_does_not_count() -> None:
    """RFC 9525; see also `common` in test_tls_certificates."""
    assert make_context(True)[0].hostname_checks_common_name is False


# --- other TLS libraries ------------------------------------------------------------------------------------


def test_a_library_that_lacks_something(
    tls_peer: TLSPeer, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants that Python has not where its library has no such thing, as on PyPy."""

    class Lacking(ssl.SSLContext):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "hostname_checks_common_name":
                raise AttributeError(name)
            super().__setattr__(name, value)

        def __getattribute__(self, name: str) -> Any:
            if name == "get_ciphers":
                raise AttributeError(name)
            return super().__getattribute__(name)

    def create(cafile: Any = None) -> ssl.SSLContext:
        context = Lacking(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile)
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)
    monkeypatch.setattr(tls_options, "_NO_RENEGOTIATION", 0)
    monkeypatch.setattr(tls, "_STRICT", 0)
    connect(tls_peer, {**trusting, "ciphers": "HIGH"})


def test_their_constants_are_not_taken_for_granted() -> None:
    source = Path(tls.__file__).read_text() + Path(tls_options.__file__).read_text()
    for name in ("OP_NO_RENEGOTIATION", "VERIFY_X509_STRICT"):
        assert getattr(ssl, name, 0) in (tls_options._NO_RENEGOTIATION, tls._STRICT)
        assert "ssl.%s)" % name not in source
        assert "= ssl.%s" % name not in source
