"""What answered instead of a broker, or in the broker's place: recognised by its first bytes, with what to do."""

from __future__ import annotations

from .address import DEFAULT_PORT, DEFAULT_TLS_PORT
from .exceptions import AMQPTimeoutError, ConnectionLostError

__all__ = ["explained", "what_answered"]

_AMQP = b"AMQP"

#: The last four octets of a protocol header: what is spoken there.
_VERSIONS = {
    b"\x01\x01\x08\x00": "AMQP 0-8",
    b"\x01\x01\x09\x01": "AMQP 0-8",
    b"\x01\x01\x00\x09": "AMQP 0-9",
    b"\x00\x00\x09\x00": "AMQP 0-9",
    b"\x00\x00\x09\x01": "AMQP 0-9-1",
    b"\x01\x01\x00\x0a": "AMQP 0-10",
    b"\x00\x01\x00\x00": "AMQP 1.0",
    b"\x02\x01\x00\x00": "AMQP 1.0 with TLS",
    b"\x03\x01\x00\x00": "AMQP 1.0 with SASL",
}

#: How others begin: an HTTP server, an SSH server, a server of mail or files; an alert of TLS.
_OTHERS = (
    (b"HTTP/", "an HTTP server answered; RabbitMQ's management listens on 15672, AMQP on %d" % DEFAULT_PORT),
    (b"SSH-", "an SSH server answered: check the port; AMQP's is %d" % DEFAULT_PORT),
    (b"220", "a mail or FTP server answered: check the port; AMQP's is %d" % DEFAULT_PORT),
    (
        b"\x15\x03",
        "it speaks TLS there: connect with ssl=True, or to the port without TLS; RabbitMQ's ports are %d with TLS and "
        "%d without" % (DEFAULT_TLS_PORT, DEFAULT_PORT),
    ),
)


def what_answered(opening: bytes, tls: bool, exc: BaseException) -> str:
    """What is to be added to the error `exc` before connection.start came; '' where nothing is known.

    opening: the first bytes that came. tls: is TLS spoken?
    """
    if opening.startswith(_AMQP):
        version = _VERSIONS.get(opening[4:8])
        return "; it speaks %s" % version if version else "; it speaks some other version of AMQP"
    for beginning, what in _OTHERS:
        if opening.startswith(beginning):
            return "; " + what
    if opening:
        return ""
    if isinstance(exc, AMQPTimeoutError):
        text = "something has accepted the connection and says nothing: an overloaded broker, or a proxy without one"
    else:
        text = "a proxy without a broker behind it does that"
    if not tls:
        text += "; or it is a port for TLS: connect with ssl=True"
    return "; " + text


def explained(exc: BaseException, hint: str) -> BaseException:
    """The same exception, with the hint."""
    if isinstance(exc, AMQPTimeoutError):
        return AMQPTimeoutError(str(exc) + hint)
    if isinstance(exc, ConnectionLostError):
        text = exc.amqp_reply_text + hint
        return type(exc)(exc.amqp_reply_code, text, exc.amqp_method_sig, exc._where, exc.errno)
    return exc
