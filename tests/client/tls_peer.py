"""A scripted peer behind TLS, for what a real broker can't be made to do."""

from __future__ import annotations

import os
import ssl
import warnings
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.net.tls import TLSTransport

from .frozen import AMQP_0_8, Frozen
from .peer import Peer

__all__ = ["TLS_1_1", "TLS_1_2", "TLS_1_3", "TLSPeer", "connect", "only", "own", "refused", "server_context"]

TLS_1_1, TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def server_context(
    certificates: Path,
    name: str = "server",
    version: Optional[ssl.TLSVersion] = None,
    client: ssl.VerifyMode = ssl.CERT_NONE,
) -> ssl.SSLContext:
    """A server's context with the certificate of this name; a TLS `version` makes it speak no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificates / (name + ".pem")), str(certificates / (name + ".key")))
    context.load_verify_locations(str(certificates / "ca.pem"))
    context.verify_mode = client
    if version is not None:
        only(context, version)
    return context


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Have a context speak this version, however old it is."""
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        context.minimum_version = version


class TLSPeer(Peer):
    """A Peer whose accept() means a TLS handshake that succeeds."""

    def __init__(self, context: ssl.SSLContext, dialect: Frozen = AMQP_0_8) -> None:
        self.context = context
        super().__init__(dialect=dialect)
        self.address = "localhost:%d" % self.port

    def _accept(self) -> None:
        super()._accept()
        plain = self._connected()
        try:
            self._client = self.context.wrap_socket(plain, server_side=True)
        except ssl.SSLError as exc:
            raise AssertionError("the TLS handshake failed: %s" % exc) from exc

    def accept_plain(self) -> None:
        """Take a connection, and leave its handshake to other steps."""
        self.do(super()._accept)

    def refuse(self) -> None:
        """Take a connection whose TLS handshake is refused, on either side."""
        self.do(self._refuse)

    def _refuse(self) -> None:
        super()._accept()
        try:
            encrypted = self.context.wrap_socket(self._connected(), server_side=True)
            self._client = encrypted
            # TLS 1.3: the client is through already, and may have said something; the refusal comes with the next read
            encrypted.recv(1)
        except (ssl.SSLError, ConnectionError):
            pass
        else:
            raise AssertionError("the handshake was not refused")
        self._close()

    def send_raw(self, data: bytes) -> None:
        """Send bytes past the encryption."""
        self.do(lambda: self._send_raw(data))

    def _send_raw(self, data: bytes) -> None:
        assert os.write(self._connected().fileno(), data) == len(data)


# --- what a client does with it ---------------------------------------------------------------------------


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
