"""Verdict: the head of a delivery's method frame, up to its consumer tag, is looked up as a whole, instead of being
read and checked field by field.

Ways to read a run of deliveries of 100 octets without properties; messages are made. On Python 3.11, microseconds of
CPU a delivery:

    field by field    1.04
    heads             0.95

That is little, but it is less code as well. Most of the rest is the making of what programs get: the message, its
dicts, the body.
"""

from __future__ import annotations

from typing import Any, Callable, Container, Dict, List, Type

from amqplib.client_0_9_1 import Message
from amqplib.wire import content, frames, hot
from amqplib.wire.codecs import BROKEN
from amqplib.wire.errors import PeerError
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import Reading, utc_time
from benchmarks.experiments.harness import in_turn, timed

RUN, COUNT = 40, 500
DELIVER = AMQP_0_9_1["basic.deliver"]
TAGS: Dict[bytes, str] = {}


def run_of_deliveries() -> bytes:
    one = [
        (
            frames.encode_frame(frames.METHOD, 1, DELIVER.encode("amq.ctag-1", number, False, "", "queue")),
            frames.encode_frame(frames.HEADER, 1, content.encode_header(b"\x00\x00", 100)),
            frames.encode_frame(frames.BODY, 1, b"x" * 100),
        )
        for number in range(RUN)
    ]
    return b"".join(piece for pieces in one for piece in pieces)


class FieldByField(hot.DeliveryReader):
    """As it was, but for what follows the method frame."""

    __slots__ = ()

    def walk(
        self, buf: bytes, offset: int, largest: int, channels: Container[int], busy: Container[int], events: List[Any]
    ) -> int:
        unpack_method, unpack_tag = frames.METHOD_FRAME.unpack_from, hot._LONGLONG.unpack_from
        unpack_header, unpack_middle = frames.END_AND_HEADER.unpack_from, frames.END_AND_PREFIX.unpack_from
        tags, routes, known = TAGS, self._routes.known, self._properties.known
        method, key, make_content, append = self._method, self._key, self._make_content, events.append
        done = offset
        try:
            while True:
                frame_type, channel, length, its_key = unpack_method(buf, offset)
                if its_key != key or frame_type != 1 or length > largest or channel in busy or channel not in channels:
                    return done
                if not channel:
                    return done
                tag_end = offset + 12 + buf[offset + 11]
                raw = buf[offset + 11 : tag_end]
                consumer_tag = tags.get(raw) or tags.setdefault(raw, raw[1:].decode())
                (delivery_tag,) = unpack_tag(buf, tag_end)
                end = offset + 7 + length
                raw = buf[tag_end + 8 : end]
                redelivered, exchange, routing_key = routes.get(raw) or self._read_route(raw)
                end_octet, frame_type, its_channel, length, class_id, _, size = unpack_header(buf, end)
                if end_octet != 206 or frame_type != 2 or its_channel != channel or class_id != 60:
                    return done
                if length > largest or size > largest:
                    return done
                first = start = end + 20
                stop = end = end + 8 + length
                raw = buf[start:end]
                properties = known.get(raw)
                if properties is not None:
                    properties = properties.copy()
                if size:
                    end_octet, frame_type, its_channel, length = unpack_middle(buf, end)
                    if end_octet != 206 or frame_type != 3 or its_channel != channel or length != size:
                        return done
                    start = end + 8
                    end = start + size
                    body = buf[start:end]
                else:
                    body = b""
                if buf[end] != 206:
                    return done
                if properties is None:
                    properties = self._read_properties(buf, first, stop, raw)
                args = (consumer_tag, delivery_tag, redelivered, exchange, routing_key)
                append((channel, method, args, make_content(properties, body)))
                if not size:
                    self.empty += 1
                done = offset = end + 1
        except (*BROKEN, PeerError):
            return done


def main() -> None:
    buf = run_of_deliveries()

    def variant(kind: Type[hot.DeliveryReader]) -> Callable[[], float]:
        reader = kind(AMQP_0_9_1, Message._amqplib_received, Reading(utc_time))

        def read() -> None:
            for _ in range(COUNT):
                assert reader.walk(buf, 0, 131064, {0, 1}, {}, []) == len(buf)

        return lambda: timed(read)

    in_turn({"field by field": variant(FieldByField), "heads": variant(hot.DeliveryReader)}, per=RUN * COUNT)


if __name__ == "__main__":
    main()
