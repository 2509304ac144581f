"""Sessions for tests, and literal octets to feed them."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from amqplib.protocol.session import Session
from amqplib.wire.protocol import Event, Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from tests.octets import frame, octets

__all__ = [
    "ACK",
    "CLOSE",
    "CLOSE_OK",
    "DELIVERY",
    "FLOW",
    "RETURN",
    "arrive",
    "decode",
    "method",
    "new_session",
    "owed",
]


def method(channel: int, text: str) -> bytes:
    """The frame of a method, of ids and arguments as tests.octets has them."""
    return frame(1, channel, octets(text))


FLOW = method(1, "0014 0014 01")
ACK = method(1, "003C 0050 0000000000000001 00")
CLOSE = method(1, "0014 0028 0194 04 'gone' 0032 000A")
CLOSE_OK = method(1, "0014 0029")
RETURN = method(1, "003C 0032 0138 08 'NO_ROUTE' 00 01 'k'") + frame(2, 1, octets("003C 0000 0000000000000000 0000"))
DELIVERY = method(1, "003C 003C 01 'c' 0000000000000001 00 00 01 'k'") + frame(
    2, 1, octets("003C 0000 0000000000000000 0000")
)


class Content:
    """A message as it arrives."""

    def __init__(self, properties: Dict[str, Any], body: bytes) -> None:
        self.properties = properties
        self.body = body


def new_session() -> Session:
    """A session of 0-9-1, whose connection has just been made."""
    return Session(Receiver(AMQP_0_9_1, Content, utc_time), Sender(AMQP_0_9_1))


def decode(session: Session, *frames: bytes) -> List[Event]:
    """What the octets say, not acted on yet."""
    events = session.receiver.receive(b"".join(frames))
    assert session.receiver.error is None
    return events


def arrive(session: Session, *frames: bytes) -> List[Event]:
    """Have the octets arrive."""
    events = decode(session, *frames)
    session.take(events)
    return events


def owed(session: Session) -> Tuple[bytes, ...]:
    """What is owed to the peer; it is owed no more."""
    frames = tuple(session.owed)
    session.owed.clear()
    return frames
