"""Proves that whatever a server says of itself on the way to an open virtual host, the error is one that is documented.

fuzz/client.py looks for more of them; a host to go to instead is in test_host_names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.connect import hints

from .peer import HEADER_0_9_1, Peer
from .tls_peer import TLSPeer, server_context

#: Digits to str.isdigit() that int() does not read; more digits than it reads; and others of no version.
VERSIONS = [
    "\u00b2.\u00b2",
    "\u2462",
    "9" * 5000,
    "4." + "3" * 5000,
    "\u0664.\u0663",
    "",
    ".",
    "4.",
    "-4.3",
    "4.\u00b2",
]


@pytest.mark.parametrize("version", [*VERSIONS, None, 4.2, b"\xff", [], {"4": "3"}], ids=lambda v: repr(v)[:12])
def test_versions(peer: Peer, version: Any) -> None:
    """Where advice goes by the version: a limit for the whole channel, and a small frame_max."""
    peer.greet({"product": "RabbitMQ", "version": version})
    peer.let_in(frame_max=4096)
    peer.open_host()
    peer.open_channel()
    peer.answer("basic.qos", "basic.qos_ok")
    peer.part()
    with amqp.Connection(peer.address, frame_max=8192 if version == 4.2 else 4096) as conn:
        conn.channel().basic_qos(0, 10, True)


def test_a_small_frame_max_that_is_the_servers_own_wish(peer: Peer) -> None:
    """The program has asked for nothing, so it has done nothing wrong."""
    peer.greet({"product": "RabbitMQ", "version": "4.1.0"})
    peer.let_in(frame_max=4096)
    peer.open_host()
    peer.part()
    with amqp.Connection(peer.address) as conn:
        assert conn.frame_max == 4096


@pytest.mark.parametrize("tune", [(1, 1, 1), (65535, 4095, 65535), (0, 8, 0)], ids=str)
def test_a_frame_max_that_amqp_does_not_have(peer: Peer, tune: Any) -> None:
    peer.greet({"product": "RabbitMQ", "version": [["4.1"]]})
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.tune", *tune, channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match="a frame_max of %d was proposed" % tune[1]):
        amqp.Connection(peer.address, connect_timeout=20)


def test_a_number_that_is_read_by_its_beginning() -> None:
    told = [
        bool(hints.on_global_qos({"product": "RabbitMQ", "version": version}))
        for version in ("4.3", "5", "5.beta", "x.5", "999999999.0", "9999999999.0")
    ]
    assert told == [True, True, True, False, True, False]


@pytest.mark.parametrize("name", ["wronghost", "selfsigned"])
def test_tls_that_fails_when_another_dialect_is_tried(
    tls_peer: TLSPeer, certificates: Path, name: str, trusting: Any
) -> None:
    """The first connection ends in a protocol header; the second meets another certificate, and no AMQP at all."""
    tls_peer.accept()
    tls_peer.send_bytes(HEADER_0_9_1)
    tls_peer.drain()
    tls_peer.do(lambda: setattr(tls_peer, "context", server_context(certificates, name)))
    tls_peer.refuse()
    if name == "wronghost":
        tls_peer.accept()  # who asks for the names
        tls_peer.expect_end()
    with pytest.raises(amqp.TLSError, match=r"^no TLS with .*; before that, AMQP 0-8: ") as caught:
        amqp.Connection(tls_peer.address, ssl=trusting, connect_timeout=20)
    assert caught.value.errno


def test_tls_that_is_not_there_when_another_dialect_is_tried(tls_peer: TLSPeer, trusting: Any) -> None:
    """Another kind of failure, after another kind of refusal: a close, and then a peer without TLS."""
    tls_peer.accept()
    tls_peer.close()
    tls_peer.accept_plain()
    tls_peer.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    tls_peer.do(tls_peer._drain)
    with pytest.raises(amqp.TLSError, match="before that, AMQP 0-8: "):
        amqp.Connection(tls_peer.address, ssl=trusting, connect_timeout=20)
