"""Proves what each option of `ssl` makes of a context, and that what cannot be used is said, with the option's name."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.net.tls_options import make_context

from .test_hosts import unused_port

TLS_1_2 = ssl.TLSVersion.TLSv1_2


def assert_verifying(context: ssl.SSLContext) -> None:
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= TLS_1_2


@pytest.mark.parametrize(
    "option",
    [
        True,
        1,
        {},
        {"ca_certs": None, "certfile": None, "keyfile": None, "cert_reqs": None, "ssl_version": None, "ciphers": None},
        {"server_side": False, "do_handshake_on_connect": False, "suppress_ragged_eofs": True, "password": None},
        {"cert_reqs": ssl.CERT_REQUIRED},
        {"cert_reqs": ssl.CERT_OPTIONAL},
        {"cert_reqs": 2},
        {"ssl_version": ssl.PROTOCOL_TLS_CLIENT},
        {"ssl_version": ssl.PROTOCOL_TLS},
        {"ciphers": "HIGH"},
    ],
)
def test_it_verifies(option: Any) -> None:
    context, server_hostname = make_context(option)
    assert_verifying(context)
    assert context.maximum_version == ssl.create_default_context().maximum_version
    no_renegotiation = getattr(ssl, "OP_NO_RENEGOTIATION", 0)  # PyPy lacks it
    assert context.options & no_renegotiation == no_renegotiation
    assert server_hostname is None


@pytest.mark.parametrize("value", [ssl.CERT_NONE, 0])
def test_it_does_not_only_when_told_so(value: Any) -> None:
    context = make_context({"cert_reqs": value})[0]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context.minimum_version >= TLS_1_2


def test_a_version_alone() -> None:
    context = make_context({"ssl_version": ssl.PROTOCOL_TLSv1_2})[0]
    assert_verifying(context)
    assert context.maximum_version == TLS_1_2


@pytest.mark.parametrize("version", [ssl.PROTOCOL_TLSv1, ssl.PROTOCOL_TLSv1_1])
def test_versions_that_are_not_spoken_any_more(version: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asked for one in its day asked for the best there was: it gets that."""
    context = make_context({"ssl_version": version})[0]
    assert_verifying(context)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("amqplib", logging.WARNING)
    assert "TLS 1.2 or later" in record.getMessage()


def test_authorities_instead_of_the_systems(certificates: Path) -> None:
    for name in (str(certificates / "ca.pem"), certificates / "ca.pem"):
        context = make_context({"ca_certs": name})[0]
        assert_verifying(context)
        assert [cert["subject"] for cert in context.get_ca_certs()] == [((("commonName", "amqplib test CA"),),)]


def test_the_host_to_verify() -> None:
    assert make_context({"server_hostname": "x"})[1] == "x"


def test_the_system_may_ask_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of the machine's that permits nothing before TLS 1.3 is not loosened."""
    original = ssl.create_default_context

    def stricter(**arguments: Any) -> ssl.SSLContext:
        context = original(**arguments)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    monkeypatch.setattr(ssl, "create_default_context", stricter)
    assert make_context(True)[0].minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_context_as_it_is() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert make_context(context) == (context, None)
    assert make_context({"context": context, "server_hostname": "x", "ca_certs": None}) == (context, "x")


def test_options_are_left_alone() -> None:
    given: Dict[str, Any] = {"ca_certs": None, "cert_reqs": ssl.CERT_NONE, "server_hostname": "x"}
    copy = dict(given)
    make_context(given)
    assert given == copy


MISTAKES: Dict[str, Tuple[Any, str]] = {
    "no dict": ("yes", "it is True, a dict or an ssl.SSLContext, not a thing of type str"),
    "a list": ([1], "it is True, a dict or"),
    "unknown": ({"bogus": 1, "verify": False}, "unknown option bogus, verify; there are ca_certs, certfile, "),
    "unknown and no str": ({1: 1}, "unknown option 1"),
    "a server": ({"server_side": True}, "server_side: this is a client"),
    "another context": ({"context": True}, "context: is not an ssl.SSLContext for a client"),
    "a server's context": (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "context: is not an ssl.SSLContext for a client"),
    "a context and more": (
        {"context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "cert_reqs": ssl.CERT_NONE},
        "context: is taken as it is: cert_reqs cannot be changed",
    ),
    "cert_reqs False": ({"cert_reqs": False}, "cert_reqs: False"),
    "cert_reqs str": ({"cert_reqs": "CERT_NONE"}, "cert_reqs: 'CERT_NONE'"),
    "cert_reqs 3": ({"cert_reqs": 3}, "cert_reqs: 3"),
    "ssl_version": ({"ssl_version": 99}, "ssl_version: 99"),
    "a server's version": ({"ssl_version": ssl.PROTOCOL_TLS_SERVER}, "ssl_version: "),
    "ciphers": ({"ciphers": "NONSENSE"}, "ciphers: 'NONSENSE'"),
    "ciphers no str": ({"ciphers": 5}, "ciphers: 5"),
    "server_hostname": ({"server_hostname": ""}, "server_hostname: is not the name of a host"),
    "server_hostname no str": ({"server_hostname": b"x"}, "server_hostname: is not the name of a host"),
    "ca_certs missing": ({"ca_certs": "/nowhere/ca.pem"}, "ca_certs: '/nowhere/ca.pem': No such file"),
    "ca_certs wrong": ({"ca_certs": __file__}, "ca_certs: .*: no certificates in PEM"),
    "ca_certs a directory": ({"ca_certs": "/"}, "ca_certs: '/': "),
    "ca_certs a number": ({"ca_certs": 5}, "ca_certs: 5: "),
    "certfile missing": ({"certfile": "/nowhere/me.pem"}, "certfile: '/nowhere/me.pem': No such file"),
    "certfile wrong": ({"certfile": __file__}, "certfile: .*: no certificate and key in PEM; .* is keyfile="),
    "certfile and keyfile wrong": (
        {"certfile": __file__, "keyfile": __file__},
        "certfile: .*, keyfile: .*: no certificate and key in PEM$",
    ),
    "certfile a number": ({"certfile": 5}, "certfile: 5: "),
    "keyfile alone": ({"keyfile": "x"}, "keyfile, password: there is no certfile"),
    "password alone": ({"password": "hunter2"}, "keyfile, password: there is no certfile"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    """They are found before anybody is connected to."""
    option, words = MISTAKES[name]
    with pytest.raises(ValueError, match="^ssl: " + words) as caught:
        amqp.Connection("localhost:%d" % unused_port(), ssl=option)
    assert "hunter2" not in str(caught.value)


def key_mistakes(certificates: Path) -> Dict[str, Any]:
    client = str(certificates / "client.pem")
    return {
        "the key does not belong": {"certfile": client, "keyfile": str(certificates / "server.key")},
        "keyfile: the key is encrypted": {"certfile": client, "keyfile": str(certificates / "client.secret")},
        "or not with this password": {
            "certfile": client,
            "keyfile": str(certificates / "client.secret"),
            "password": "hunter2",
        },
        "keyfile: '/nowhere': No such file": {"certfile": client, "keyfile": "/nowhere"},
    }


@pytest.mark.parametrize("words", list(key_mistakes(Path())))
def test_mistakes_with_keys(certificates: Path, words: str) -> None:
    """The one with the passphrase would otherwise wait for somebody at the terminal."""
    with pytest.raises(ValueError, match=words) as caught:
        amqp.Connection("localhost:%d" % unused_port(), ssl=key_mistakes(certificates)[words])
    assert str(caught.value).startswith("ssl: ")
    assert "hunter2" not in str(caught.value)


def test_a_key_that_openssl_refuses(monkeypatch: pytest.MonkeyPatch, certificates: Path) -> None:
    def load(*arguments: Any) -> None:
        exc = ssl.SSLError(1, "[SSL: EE_KEY_TOO_SMALL] ee key too small")
        exc.reason = "EE_KEY_TOO_SMALL"
        raise exc

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    with pytest.raises(ValueError, match=r"^ssl: certfile: 'me.pem': OpenSSL refuses it \(EE_KEY_TOO_SMALL\)$"):
        make_context({"certfile": "me.pem"})
