"""Proves what the wire's errors are made of: who is to blame, the reply code, bytes that can be read in a log."""

from __future__ import annotations

import pytest

from amqplib.wire.errors import LocalError, PeerError, ProtocolHeaderReceived, quote


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\x00A\xff", "00 41 ff"),
        (bytes(32), " ".join(["00"] * 32)),
        (bytes(33), " ".join(["00"] * 32) + " ... (33 bytes)"),
    ],
)
def test_quote(data: bytes, text: str) -> None:
    assert quote(data) == text


def test_ours_is_a_value_error_and_theirs_is_not() -> None:
    assert issubclass(LocalError, ValueError)
    assert not issubclass(PeerError, (ValueError, LocalError))


def test_peer_error() -> None:
    error = PeerError(505, "a body frame", (60, 60))
    assert (str(error), error.reply_code, error.sig) == ("a body frame", 505, (60, 60))
    assert PeerError(501, "x").sig == (0, 0)


def test_protocol_header_received() -> None:
    error = ProtocolHeaderReceived(b"AMQP\x00\x00\x09\x01")
    assert isinstance(error, PeerError)
    assert error.header == b"AMQP\x00\x00\x09\x01"
    assert error.reply_code == 501
    assert str(error) == r"the peer answered with the protocol header b'AMQP\x00\x00\t\x01'"
