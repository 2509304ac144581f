"""Proves that what a peer may send has limits, checked before memory is taken, and that it is told which it broke."""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Tuple

import pytest

import amqplib.client_0_8 as amqp
from amqplib.wire.tables import UndecodedField
from tests.octets import frame, octets

from .peer import Peer

DELIVER = octets("003C 003C 03'tag' 0000000000000001 00 00 00")


def header(size: int) -> bytes:
    return frame(2, 1, octets("003C 0000") + size.to_bytes(8, "big") + b"\0\0")


BROKEN: Dict[str, Tuple[bytes, int, str]] = {
    "a frame longer than was agreed on": (b"\x03\0\x01\x00\x02\x00\x01\x00", 501, "03 00 01 00 02 00 01"),
    "a method longer than header_max": (b"\x01\0\x01\x00\x10\x00\x01\x00", 501, "1048576 (header_max"),
    "a body longer than body_max": (frame(1, 1, DELIVER) + header(1001), 501, "body_max"),
    "a wrong end": (b"\x01\0\x01\0\0\0\x04\x00\x14\x00\x15\xcd", 501, "00 14 00 15 cd"),
    "arguments cut short": (frame(1, 1, octets("003C 003C 09'tag'")), 502, "09 74 61 67"),
    "an unknown method": (frame(1, 1, octets("003C 00FF")), 503, "00 3c 00 ff"),
    "a method of the connection on a channel": (frame(1, 1, octets("000A 0033")), 503, "00 0a 00 33"),
    "a channel that is not open": (frame(1, 9, octets("0014 0015")), 504, "01 00 09"),
    "a body without a header": (frame(1, 1, DELIVER) + frame(3, 1, b"abc"), 505, "61 62 63"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_broker_is_told(peer: Peer, name: str) -> None:
    """With the code that AMQP has for it; and the error here quotes the bytes."""
    data, code, shown = BROKEN[name]
    peer.welcome()
    conn = amqp.Connection(peer.address, body_max=1000)
    peer.open_channel()
    ch = conn.channel()
    codes: List[int] = []

    def expect_close() -> None:
        size = 4 + 2
        got = peer.take(7 + size, "connection.close")
        assert got[7:11] == octets("000A 003C")
        codes.append(int.from_bytes(got[11:13], "big"))

    peer.send_bytes(data)
    peer.do(expect_close)
    peer.drain()
    with pytest.raises(amqp.ConnectionLostError, match="the peer broke the protocol") as caught:
        ch.wait()
    peer.wait()
    assert codes == [code]
    assert caught.value.amqp_reply_code == code
    assert shown in str(caught.value)
    peer.taken = len(peer.received)


def test_a_body_of_the_limit(peer: Peer) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address, body_max=1000)
    peer.open_channel()
    ch = conn.channel()
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    for size in (1000, 0):
        peer.send_content("basic.deliver", "tag", 1, False, "", "", message=({}, b"x" * size))
        ch.wait()
    assert [len(msg.body) for msg in got] == [1000, 0]
    peer.part()
    conn.close()


def test_no_memory_is_taken_for_what_is_only_announced(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """A body of 128 MiB, of which nothing comes."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count what is allocated")
    tracemalloc.start()
    try:
        peer.send_bytes(frame(1, 1, DELIVER) + header(128 * 1024 * 1024) + frame(3, 1, b"x"))
        with pytest.raises(amqp.AMQPTimeoutError):
            ch.wait(timeout=0.2)
        assert tracemalloc.get_traced_memory()[1] < 2000000
    finally:
        tracemalloc.stop()


def test_a_limit_that_is_none() -> None:
    with pytest.raises(ValueError, match="body_max: -1"):
        amqp.Connection("127.0.0.1:1", body_max=-1)


def nested(depth: int) -> bytes:
    """A table in a table in a table, by hand: the library does not write what is too deep either."""
    table = octets("0000000A 04'leaf' 'I' 00000001")
    for _ in range(depth - 1):
        fields = b"\x01tF" + table
        table = len(fields).to_bytes(4, "big") + fields
    return table


def test_a_table_too_deep_costs_its_field_only(peer: Peer, ch: amqp.Channel, caplog: pytest.LogCaptureFixture) -> None:
    """The message is delivered, the bytes are kept, and a warning is logged."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    with caplog.at_level(logging.WARNING, "amqplib"):
        for depth in (64, 65):
            assert not caplog.records
            with_headers = octets("003C 0000 0000000000000001 2000") + nested(depth)
            peer.send_bytes(frame(1, 1, DELIVER) + frame(2, 1, with_headers) + frame(3, 1, b"x"))
            ch.wait()
    values = [msg.application_headers for msg in got]
    for _ in range(63):
        values = [value["t"] for value in values]
    assert values[0] == {"leaf": 1}
    assert values[1] == {"t": UndecodedField(b"F" + nested(1))}
    assert got[1].body == b"x"
    assert "the field 't' could not be read and is left as it came: 46 00 00 00 0a 04" in caplog.text
