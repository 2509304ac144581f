"""TLS: a transport that encrypts. Imported only when it is asked for.

The session works on memory (ssl.MemoryBIO), not on the socket: one thread may read while another writes, which an
SSLSocket does not bear, and the program's socket stays a plain one, to be select()ed on. `_session` guards it, and
is never held across a read or write of the socket. It can be taken again by a thread that has it: a signal handler may
publish while its thread decrypts.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Iterator, List, Optional, Tuple, Type

from ..connect.address import Address
from ..deadline import Deadline
from ..exceptions import AMQPTimeoutError, ConnectionLostError, TLSError
from . import tls_errors
from .transport import TLS, Data, Piece, Transport

__all__ = ["TLSTransport"]

#: Octets asked of the session at a time.
_RECORDS = 65536

#: Octets that are encrypted and sent at once: benchmarks/experiments/tls_sizes.py.
_PORTION = 65536

#: In TLS 1.3 the handshake is over before the server looks at our certificate, and then it may just go. It may as well
#: have refused the AMQP version, so this is no TLSError.
_UNHEARD = "; it was right after the TLS handshake: it may want a client certificate, or another one"

#: Seconds of a single wait.
_LONGEST = 3600.0

#: 0 where Python's TLS library does not know it.
_STRICT: int = getattr(ssl, "VERIFY_X509_STRICT", 0)

#: Octets of an answer that tell what it is.
_ENOUGH = 16


class TLSTransport(Transport):
    """A transport whose bytes are encrypted on the way."""

    encrypted = True

    def __init__(
        self, sock: socket.socket, address: Address, context: ssl.SSLContext, server_hostname: str, deadline: Deadline
    ) -> None:
        super().__init__(sock, address)
        # a dot at the end makes a name absolute, and is no part of it in certificates and in SNI (RFC 6066, section 3)
        self._server_hostname = server_hostname[:-1] if server_hostname.endswith(".") else server_hostname
        if ":" in server_hostname:  # nor is a zone of an address: it means something on this machine only (RFC 4007)
            self._server_hostname = server_hostname.partition("%")[0]
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = threading.RLock()
        #: Encrypted, and not taken by the system yet.
        self._records = memoryview(b"")
        #: Has the peer said anything inside of the session?
        self._heard = False
        #: Why nothing more will come, once that is known.
        self._over: Optional[Tuple[Type[ConnectionLostError], str, int]] = None
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._server_hostname)
        except (ValueError, TypeError, ssl.SSLError) as exc:  # for a NUL, and for a name that is too long
            raise ValueError("ssl: server_hostname: %r: %s" % (server_hostname, exc)) from exc
        self._handshake(deadline)
        # Whatever the cipher suites were, or the TLS library is: nothing is said to a peer that did not say who it is.
        if self._tls.context.verify_mode != ssl.CERT_NONE and not self._tls.getpeercert(True):
            cipher = self._tls.cipher() or ("of an unknown name",)
            raise self._failed("its handshake ended without a certificate to be verified (cipher %s)" % cipher[0])

    def tls(self) -> TLS:
        session = self._tls
        with self._session:
            version, cipher = session.version() or "", (session.cipher() or ("",))[0]
            certificate: Any = session.getpeercert()
            return TLS(version, cipher, certificate or {}, session.getpeercert(True))

    def _handshake(self, deadline: Deadline) -> None:
        first = b""  # of what the peer has said
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._send_records(deadline)
                    self.await_bytes(deadline)
                    data = super().receive()
                    first += data[: _ENOUGH - len(first)]
                    self._incoming.write(data)
                else:
                    self._send_records(deadline)
                    return
        except ssl.SSLError as exc:
            peer = tls_errors.peer_of(self.sock)
            with suppress(ConnectionLostError, AMQPTimeoutError):
                self._send_records(deadline)  # the alert that tells the peer why
            offered: List[str] = []
            if tls_errors.wrong_host(exc):
                offered = tls_errors.offered_names(peer, self._server_hostname, deadline)
            why = tls_errors.not_tls(first, exc) or tls_errors.in_words(exc, self._server_hostname, offered)
            if self._tls.context.verify_flags & _STRICT:
                why += tls_errors.on_strictness(exc)
            raise self._failed(why) from exc
        except AMQPTimeoutError as exc:
            why = "its handshake was not over within %.3g s" % (deadline.seconds or 0) if first else str(exc)
            raise AMQPTimeoutError("no TLS with %s: %s" % (str(self.address), why)) from exc
        except ConnectionLostError as exc:
            text = "the connection was lost in the TLS handshake"
            if not first:
                text += "; a broker that speaks AMQP without TLS on that port does that"
            raise self._failed("%s (%s)" % (text, exc.amqp_reply_text), exc.errno) from exc

    def _failed(self, why: str, number: Optional[int] = errno.EPROTO) -> TLSError:
        return TLSError(0, "no TLS with %s: %s" % (str(self.address), why), errno=number)

    def _send_records(self, deadline: Deadline) -> None:
        """What the handshake has to say."""
        left = memoryview(self._outgoing.read())
        while left:
            left = left[super().send(left) :]
            if left and not self.ready(deadline.within(_LONGEST), writing=True)[1] and deadline.expired():
                raise AMQPTimeoutError("%s took no data within %.3g s" % (self.address, deadline.seconds or 0))

    def readable(self, seconds: float) -> bool:
        """Wait until receive() has something, if only the reason why there will be nothing more."""
        return self._over is not None or super().readable(seconds)

    def receive(self) -> bytes:
        """Whatever has arrived and makes whole TLS records; none is left in the session."""
        if self._over is None:
            try:
                encrypted = super().receive()
            except ConnectionLostError as exc:
                if self._heard:
                    raise
                raise self._unheard(exc) from exc
            with self._session:
                self._incoming.write(encrypted)
                decrypted = self._decrypted()
            if decrypted or self._over is None:
                return decrypted
        kind, text, number = self._over
        raise kind(0, text, errno=number)

    @staticmethod
    def _unheard(exc: ConnectionLostError) -> ConnectionLostError:
        return ConnectionLostError(0, exc.amqp_reply_text + _UNHEARD, errno=exc.errno)

    def _decrypted(self) -> bytes:
        """All that is in the session; `_over` says why nothing will follow, if that is so."""
        pieces: List[bytes] = []
        try:
            while True:
                piece = self._tls.read(_RECORDS)
                if not piece:
                    break
                pieces.append(piece)
                self._heard = True
        except ssl.SSLWantReadError:
            return b"".join(pieces)
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as exc:
            what = "the TLS session broke with" if self._heard else "no TLS with"
            text = "%s %s: %s" % (what, self.address, tls_errors.in_words(exc, self._server_hostname, []))
            self._over = TLSError, text, errno.EPROTO
            return b"".join(pieces)
        text = "%s ended the TLS session%s" % (self.address, "" if self._heard else _UNHEARD)
        self._over = ConnectionLostError, text, errno.ECONNRESET
        return b"".join(pieces)

    def send(self, data: Data) -> int:
        """Encrypt and hand over what the system takes at once; how many octets of `data` that was.

        What has been encrypted has to be sent, in this order, whatever becomes of it here. So the last octet of a
        portion counts as taken only when all of its records have gone: until then it comes back as the first octet of
        what is left, and stands for them.
        """
        taken = 0
        if self._records:
            if not self._send_on():
                return 0
            taken = 1
        for portion in _portions(data, taken):
            self._encrypt(portion)
            if not self._send_on():
                return taken + len(portion) - 1
            taken += len(portion)
        return taken

    def _encrypt(self, portion: bytes) -> None:
        with self._session:
            try:
                self._tls.write(portion)
            except ssl.SSLWantReadError as exc:  # TLS 1.2, and a context that permits that
                text = "%s began a TLS renegotiation; ssl.OP_NO_RENEGOTIATION refuses them" % str(self.address)
                raise TLSError(0, text, errno=errno.EPROTO) from exc
            # With whatever reading has left to be answered (key updates): records go out in the order they were made.
            self._records = memoryview(self._outgoing.read())

    def _send_on(self) -> bool:
        """Send records; True when there are no more."""
        try:
            while self._records:
                sent = super().send(self._records)
                self._records = self._records[sent:]
                if not sent:
                    return False
            return True
        except ConnectionLostError as exc:
            if not self._heard:  # so nobody else reads: why it is lost may have come already
                self.receive()
            if not self._heard:  # nothing but what TLS has to say to itself
                raise self._unheard(exc) from exc
            raise


def _portions(data: Data, skip: int) -> Iterator[bytes]:
    """The octets but the first `skip` in pieces of about _PORTION: a long body takes no memory of its length, twice."""
    gathered: List[Piece] = []
    size = 0
    for piece in (data,) if isinstance(data, (bytes, memoryview)) else data:
        for start in range(skip, len(piece), _PORTION):
            part = memoryview(piece)[start : start + _PORTION]
            gathered.append(part)
            size += len(part)
            if size >= _PORTION:
                yield b"".join(gathered)
                gathered, size = [], 0
        skip = 0
    if gathered:
        yield b"".join(gathered)
