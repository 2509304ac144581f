"""What went wrong with TLS, in words: which check failed, on whose side, and what to do.

OpenSSL's own words are kept in parentheses, for search engines.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import Any, Iterator, List, Optional, Tuple

from ...wire.errors import quote
from ..connect.hints import add, what_answered
from ..deadline import Deadline

__all__ = ["in_words", "not_tls", "offered_names", "on_strictness", "peer_of", "wrong_host"]

_UNKNOWN_CA = "its certificate is from an authority that is not trusted here; ca_certs names a file with those that are"

#: Codes of X509_verify_cert_error_string(3).
_VERIFY = {
    2: _UNKNOWN_CA,
    9: "its certificate is not valid yet, by the clock of this machine",
    10: "its certificate has expired, or that of an authority above it",
    18: "its certificate is self-signed, and not among those that are trusted here (ca_certs)",
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    23: "its certificate was revoked",
}
_WRONG_HOST = (62, 64)

#: (a part of OpenSSL's reason, what it means). ALERT: the peer says so, of us.
_REASONS = (
    ("CERTIFICATE_REQUIRED", "it wants a client certificate (certfile, keyfile)"),
    ("ALERT_UNKNOWN_CA", "it does not trust the authority of our client certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "our client certificate has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "our client certificate was revoked"),
    ("ALERT_BAD_CERTIFICATE", "it does not accept our client certificate"),
    ("ALERT_CERTIFICATE_UNKNOWN", "it does not accept our client certificate"),
    ("ALERT_UNSUPPORTED_CERTIFICATE", "it does not accept our client certificate"),
    (
        "ALERT_HANDSHAKE_FAILURE",
        "it finds no cipher in common with us, or wants a client certificate (certfile, keyfile)",
    ),
    ("PROTOCOL_VERSION", "no TLS version in common; TLS 1.2 and later are spoken here, unless ssl= says otherwise"),
    ("UNSUPPORTED_PROTOCOL", "no TLS version in common; it wants one older than those that are spoken here"),
    ("NO_PROTOCOLS_AVAILABLE", "the ssl.SSLContext permits no TLS version"),
    ("NO_CIPHERS_AVAILABLE", "the ssl.SSLContext permits no cipher"),
    ("INSUFFICIENT_SECURITY", "no TLS version and cipher in common that it takes for safe"),
    ("UNRECOGNIZED_NAME", "it does not know the host name (server_hostname)"),
    ("KEY_TOO_SMALL", "its key is too short to be safe"),
    ("MD_TOO_WEAK", "its certificate is signed in a way that is not safe any more"),
)


def wrong_host(exc: ssl.SSLError) -> bool:
    """Is it that the certificate is another host's?"""
    return isinstance(exc, ssl.SSLCertVerificationError) and exc.verify_code in _WRONG_HOST


def in_words(exc: ssl.SSLError, server_hostname: str, offered: List[str]) -> str:
    """What the exception means. `offered` are the names in the certificate, where they are known."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        if wrong_host(exc):
            names = "but for %s" % ", ".join(map(repr, offered)) if offered else "and no names in it could be read"
            text = "its certificate is not valid for %r, %s (server_hostname)" % (server_hostname, names)
            if any(name.startswith("CN=") for name in offered):
                text += "; a common name (CN) does not count, it needs an alternative name (RFC 9525)"
            return text
        meaning = _VERIFY.get(exc.verify_code, "its certificate was not accepted for %r" % server_hostname)
        return "%s (%s)" % (meaning, exc.verify_message)
    own = exc.reason or str(exc)
    for part, meaning in _REASONS:
        if part in own:
            return "%s (%s)" % (meaning, own)
    return own


def on_strictness(exc: ssl.SSLError) -> str:
    """Advice where a certificate was checked strictly, and is refused for something that is seldom looked at."""
    if not isinstance(exc, ssl.SSLCertVerificationError) or exc.verify_code in (*_VERIFY, *_WRONG_HOST):
        return ""
    return (
        "; it is checked by the letter of RFC 5280, as Python 3.13 and later do unless told otherwise: better make"
        " a new certificate, or pass an ssl.SSLContext without ssl.VERIFY_X509_STRICT in its verify_flags"
    )


def not_tls(data: bytes, exc: BaseException) -> str:
    """What answered, if these first bytes of an answer are no TLS; else ''."""
    if not data or 0x14 <= data[0] <= 0x17:  # content types of records (RFC 8446, section 5.1)
        return ""
    if data.startswith(b"AMQP"):
        return "it speaks AMQP without TLS on that port; brokers have TLS on another, most often 5671"
    return add(what_answered(data, True), "it does not answer in TLS but with %s" % quote(data))


# --- the names in a certificate ----------------------------------------------------------------------------
#
# Once a check has failed, the ssl module does not give away the certificate. So it is fetched by another connection,
# which sends nothing. What it says is for the error's text only.

#: Seconds for that, and no longer than the connection has.
_PATIENCE = 10.0
_SUBJECT_ALT_NAME = b"\x06\x03\x55\x1d\x11"  # 2.5.29.17, RFC 5280, section 4.2.1.6
_COMMON_NAME = b"\x06\x03\x55\x04\x03"  # 2.5.4.3, of the issuer and then of the subject
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
#: Names that an error shows.
_MOST = 10


def peer_of(sock: socket.socket) -> Optional[Tuple[socket.AddressFamily, Any]]:
    """Where the peer is. To be asked before it hears of a failure: when it then resets the connection, as RabbitMQ 3.10
    does, the system knows no longer. None where that is so already."""
    with suppress(OSError):
        return sock.family, sock.getpeername()
    return None


def offered_names(
    peer: Optional[Tuple[socket.AddressFamily, Any]], server_hostname: str, deadline: Deadline
) -> List[str]:
    """The host names and addresses in the certificate of the peer; none when they cannot be had."""
    if peer is None:
        return []
    family, address = peer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, ValueError, IndexError), closing(socket.socket(family, socket.SOCK_STREAM)) as other:
        other.settimeout(deadline.sooner(Deadline(_PATIENCE)).remaining())
        other.connect(address)
        with context.wrap_socket(other, server_hostname=server_hostname) as encrypted:
            return list(_names(encrypted.getpeercert(True) or b""))[:_MOST]
    return []


def _names(certificate: bytes) -> Iterator[str]:
    """The alternative names of a certificate in DER, or else its common name. IndexError, ValueError where it has
    none, or is none. A common name, which does not count, and an address that stands where names do, a mistake often
    made, are shown with the place: it counts for no address."""
    if _SUBJECT_ALT_NAME not in certificate:
        _, start, end = _element(certificate, certificate.rindex(_COMMON_NAME) + len(_COMMON_NAME))
        name = certificate[start:end].decode("utf-8", "backslashreplace")
        yield "CN=" + name
        return
    at = certificate.index(_SUBJECT_ALT_NAME) + len(_SUBJECT_ALT_NAME)
    tag, start, end = _element(certificate, at)
    if tag == 0x01:  # `critical` stands before the value
        tag, start, end = _element(certificate, end)
    _, start, end = _element(certificate, start)
    while start < end:
        tag, value, start = _element(certificate, start)
        if tag == _DNS_NAME:
            name = certificate[value:start].decode("ascii", "backslashreplace")
            yield "DNS:%s" % name if _is_address(name) else name
        elif tag == _IP_ADDRESS:
            raw = certificate[value:start]
            yield socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _element(data: bytes, at: int) -> Tuple[int, int, int]:
    """Tag, beginning and end of the value that begins at `at` (X.690, section 8.1)."""
    tag, size, at = data[at], data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(data[at : at + count], "big"), at + count
    return tag, at, at + size
