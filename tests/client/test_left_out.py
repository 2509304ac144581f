"""Proves that a message which was left out, for its header is too long, is in no acknowledgement of several."""

from __future__ import annotations

from typing import Any, List

import pytest

import amqplib.client_0_9_1 as amqp

from .peer import PATIENCE, Peer

LONG = {"application_headers": {"long": "x" * 5000}}


def deliver(peer: Peer, *tags: int, **properties: Any) -> None:
    for tag in tags:
        peer.send_content("basic.deliver", "tag", tag, False, "", "q", message=(properties, b"x"))


@pytest.mark.parametrize("no_ack", [False, True])
def test_one_in_between(newer_peer: Peer, no_ack: bool) -> None:
    """With no_ack the broker has forgotten it, so that nothing is in between."""
    got: List[Any] = []
    newer_peer.welcome()
    with amqp.Connection(newer_peer.address, heartbeat=0, header_max=4096) as conn:
        newer_peer.open_channel()
        ch = conn.channel()
        for tag, lossy in (("tag", no_ack), ("other", False)):
            newer_peer.answer("basic.consume", "basic.consume_ok", tag)
            ch.basic_consume("q", tag, no_ack=lossy, callback=got.append)
        deliver(newer_peer, 1, 2)
        deliver(newer_peer, 3, **LONG)
        newer_peer.send_content("basic.deliver", "other", 4, False, "", "q", message=({}, b"x"))
        for _ in range(3):
            ch.wait(timeout=PATIENCE)
        if no_ack:
            newer_peer.expect("basic.ack", 4, True)
        else:
            newer_peer.expect("basic.ack", 2, True)
            newer_peer.expect("basic.ack", 4, False)
        ch.basic_ack(4, multiple=True)
        newer_peer.part()
