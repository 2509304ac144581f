"""Proves that stats() counts what really goes over the connection."""

from __future__ import annotations

import struct
from typing import List, Tuple

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

from .peer import HEADER, HEADER_0_9_1, Peer, content, method


def frames(data: bytes) -> List[int]:
    """The types of the frames in what a client has sent."""
    found, offset = [], len(HEADER)
    while offset < len(data):
        kind, _, size = struct.unpack_from(">BHL", data, offset)
        found.append(kind)
        offset += size + 8
    return found


def sent(peer: Peer) -> Tuple[int, int]:
    """Frames and octets by the peer's account; the protocol header is no frame."""
    return len(frames(bytes(peer.received))), len(peer.received)


def test_what_goes_out(newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel) -> None:
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    newer.basic_publish(amqp91.Message(b"small"))
    newer.basic_publish(amqp91.Message(b""))
    newer.basic_publish(amqp91.Message(b"x" * 300000, type="large"))
    newer.basic_publish(amqp91.Message(b"x" * 100000, type="middle"))
    with newer.batch():
        for _ in range(3):
            newer.basic_publish(amqp91.Message(b"x"))
        newer.basic_ack(1)
        newer.basic_publish(amqp91.Message(b"x" * 200000))
        newer.basic_publish(amqp91.Message(b""))
    newer.basic_ack(2)
    newer_peer.do(lambda: read_all(newer_peer, b"\x00\x00\x00\x00\x00\x00\x00\x02\x00\xce"))
    newer_peer.wait()
    stats = newer_conn.stats()
    assert newer_peer.received.startswith(HEADER_0_9_1)
    assert (stats.frames_out, stats.bytes_out) == sent(newer_peer)
    assert stats.messages_out == stats.in_flight == 9
    newer_peer.send_bytes(method("basic.ack", 8, True, channel=1))
    newer.wait()
    assert newer_conn.stats().in_flight == 1
    newer_peer.taken = len(newer_peer.received)


def read_all(peer: Peer, end: bytes) -> None:
    while not peer.received.endswith(end):
        assert peer.read()


def test_what_comes_in(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    before = conn.stats()
    assert before.frames_in == 4  # start, tune, open-ok, channel.open-ok
    assert (before.messages_in, before.messages_out, before.in_flight, before.pending) == (0, 0, 0, 0)
    delivery = content("basic.deliver", "tag", 1, False, "", "", message=({}, b"x"))
    empty = content("basic.deliver", "tag", 1, False, "", "")
    large = content("basic.deliver", "tag", 1, False, "", "", message=({}, b"x" * 10000))
    returned = content("basic.return", 312, "NO_ROUTE", "", "", message=({}, b"x"))
    heartbeat = b"\x08\0\0\0\0\0\0\xce"
    data = (delivery + empty) * 3 + heartbeat + large + delivery + returned
    peer.send_bytes(data)
    peer.wait()
    ch.wait()
    while conn.stats().bytes_in < before.bytes_in + len(data):
        ch.wait()
    after = conn.stats()
    assert after.frames_in - before.frames_in == 3 * 3 + 3 * 2 + 1 + 3 + 3 + 3
    assert after.messages_in == 9
    assert 0 < after.pending < 9
    assert 0 <= after.last_seen < 10
    assert type(after).__name__ == "Stats"


def test_after_the_end(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.part()
    conn.close()
    stats = conn.stats()
    assert (stats.in_flight, stats.pending) == (0, 0)
    assert stats.bytes_out == len(peer.received)


def test_room_for_attributes(newer_conn: amqp91.Connection, newer: amqp91.Channel) -> None:
    """With 30 of them an object becomes slower and larger; programs may add some of their own."""
    for one in (newer, newer_conn):
        assert len(vars(one)) + 5 < 30
