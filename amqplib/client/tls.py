"""TLS: the `ssl` argument of Connection, and a transport that encrypts.

The default verifies: the system's trust store, the host's name, TLS 1.2 or later. Imported only when it is asked for.

The session works on memory (ssl.MemoryBIO), not on the socket: one thread may read while another writes, which an
SSLSocket does not bear, and the program's socket stays a plain one, to be select()ed on. `_session` guards it, and
is never held across a read or write of the socket.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from .address import Address
from .deadline import Deadline
from .exceptions import AMQPTimeoutError, ConnectionLostError
from .transport import Data, Transport, Wait

__all__ = ["TLSTransport", "make_context"]

#: Options of the former ssl.wrap_socket() that say nothing about a client's connection.
_IGNORED = {"server_side", "do_handshake_on_connect", "suppress_ragged_eofs", "ssl_version"}

_RECORDS = 65536


def make_context(option: Union[bool, Mapping[str, Any], ssl.SSLContext]) -> Tuple[ssl.SSLContext, Optional[str]]:
    """The context for Connection's `ssl` argument, and the host name to verify if it names one.

    True, an ssl.SSLContext that is taken as it is, or a dict with any of keyfile, certfile, ca_certs, ciphers,
    cert_reqs and server_hostname; None values count as absent. Only cert_reqs=ssl.CERT_NONE turns verification off.
    """
    if isinstance(option, ssl.SSLContext):
        return option, None
    given: Dict[str, Any] = {}
    if isinstance(option, Mapping):
        given = {key: value for key, value in option.items() if value is not None and key not in _IGNORED}
    elif option is not True:
        raise ValueError("ssl: %r is neither True nor a dict nor an ssl.SSLContext" % (option,))
    context = ssl.create_default_context(cafile=given.pop("ca_certs", None))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certfile, keyfile = given.pop("certfile", None), given.pop("keyfile", None)
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile)
    if "ciphers" in given:
        context.set_ciphers(given.pop("ciphers"))
    if given.pop("cert_reqs", ssl.CERT_REQUIRED) == ssl.CERT_NONE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    server_hostname = given.pop("server_hostname", None)
    if given:
        raise ValueError("ssl: unknown option %s" % ", ".join(sorted(given)))
    return context, server_hostname


class TLSTransport(Transport):
    """A transport whose bytes are encrypted on the way."""

    def __init__(
        self, sock: socket.socket, address: Address, context: ssl.SSLContext, server_hostname: str, deadline: Deadline
    ) -> None:
        super().__init__(sock, address)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._session = threading.Lock()
        try:
            self._handshake(deadline)
        except ssl.SSLError as exc:
            raise self._refused(exc, server_hostname) from exc

    def _handshake(self, deadline: Deadline) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_records(deadline)
                self.await_bytes(deadline)
                self._incoming.write(super().receive())
            except ssl.SSLError:
                self._send_records(deadline)  # the alert that tells the peer why
                raise
            else:
                self._send_records(deadline)
                return

    def _send_records(self, deadline: Deadline) -> None:
        """What the handshake has to say."""

        def wait() -> None:
            if not self.await_room(deadline, reading=False)[1]:
                raise AMQPTimeoutError("%s took no data within %.3g s" % (self.address, deadline.seconds or 0))

        super().write(self._outgoing.read(), wait)

    def _refused(self, exc: ssl.SSLError, server_hostname: str) -> ConnectionLostError:
        if isinstance(exc, ssl.SSLCertVerificationError):
            reason = "its certificate was not accepted for %r: %s" % (server_hostname, exc.verify_message)
        elif exc.reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
            reason = "it does not answer in TLS; RabbitMQ's port for TLS is 5671"
        else:
            reason = exc.reason or str(exc)
        return ConnectionLostError(0, "no TLS with %s: %s" % (str(self.address), reason), errno=exc.errno)

    def receive(self) -> bytes:
        """Whatever has arrived and makes whole TLS records; none is left in the session."""
        encrypted = super().receive()
        with self._session:
            self._incoming.write(encrypted)
        return self._decrypted()

    def _decrypted(self) -> bytes:
        pieces = []
        with self._session:
            try:
                while True:
                    piece = self._tls.read(_RECORDS)
                    if not piece:
                        break
                    pieces.append(piece)
            except ssl.SSLWantReadError:
                return b"".join(pieces)
            except ssl.SSLError as exc:
                if not pieces and not isinstance(exc, ssl.SSLZeroReturnError):
                    raise self._lost(exc) from exc
        if not pieces:
            text = "%s ended the TLS session" % str(self.address)
            raise ConnectionLostError(0, text, errno=errno.ECONNRESET)
        return b"".join(pieces)

    def write(self, data: Data, wait: Wait) -> int:
        """Encrypt `data` and hand all of it to the system; how many octets that was before."""
        if not isinstance(data, bytes):
            data = b"".join(data)
        with self._session:
            self._tls.write(data)
            # With whatever reading has left to be answered (key updates): records go out in the order they were made.
            encrypted = self._outgoing.read()
        try:
            super().write(encrypted, wait)
        except AMQPTimeoutError as exc:
            # the session has moved on, so this can't be taken back as on a plain connection
            raise ConnectionLostError(0, str(exc), errno=errno.ETIMEDOUT) from exc
        return len(data)
