"""Verdict: middles are remembered. Alike deliveries cost 0.65 of what they cost without; those that are not alike, in
size, route or properties, at most 1.02 (Python 3.11, November 2026).

A middle is all that is between the delivery tag and the body of a delivery (wire/hot.py): one look-up instead of two
look-ups and two calls of struct. Where it is seldom known, it is not looked for.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from amqplib.client.message import Message
from amqplib.wire import content, frames, hot
from amqplib.wire.protocol import Receiver
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import Reading, local_time
from benchmarks.experiments.harness import in_turn, timed

COUNT, READ = 4000, 65536

STREAMS: Dict[str, Callable[[int], Tuple[str, Dict[str, Any], bytes]]] = {
    "alike": lambda n: ("key", {"delivery_mode": 2}, b"x" * 100),
    "sizes": lambda n: ("key", {"delivery_mode": 2}, b"x" * (50 + n * 37 % 1013)),
    "keys": lambda n: ("key %8d" % n, {"delivery_mode": 2}, b"x" * 100),
    "properties": lambda n: ("key", {"message_id": "%8d" % n}, b"x" * 100),
}


class Without(hot.DeliveryReader):
    """Never looks for a middle."""

    def _learn(self, head: Any, *args: Any) -> int:
        head.since = 1 << 64  # not to be asked again
        return 0


def pieces(kind: str) -> List[bytes]:
    deliver, stream = AMQP_0_9_1["basic.deliver"], b""
    for number in range(COUNT):
        key, properties, body = STREAMS[kind](number)
        stream += frames.encode_frame(frames.METHOD, 1, deliver.encode("tag", number + 1, False, "", key))
        header = content.encode_header(content.BASIC.encode(properties), len(body))
        stream += frames.encode_frame(frames.HEADER, 1, header) + b"".join(frames.encode_body(1, body, 0))
    return [stream[start : start + READ] for start in range(0, len(stream), READ)]


def variant(reads: List[bytes], kind: Any) -> Callable[[], float]:
    receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, local_time)
    receiver.channels.add(1)
    ids = AMQP_0_9_1["basic.deliver"].key.to_bytes(4, "big")
    receiver._runs[ids] = kind(AMQP_0_9_1, Message._amqplib_received, Reading(local_time))

    def read() -> None:
        for data in reads:
            receiver.receive(data)

    return lambda: timed(read)


if __name__ == "__main__":
    variants = {}
    for name in STREAMS:
        reads = pieces(name)
        variants["%s, with" % name] = variant(reads, hot.DeliveryReader)
        variants["%s, without" % name] = variant(reads, Without)
    in_turn(variants, per=COUNT)
