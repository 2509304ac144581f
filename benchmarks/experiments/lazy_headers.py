"""Verdict: headers are decoded with the rest of the properties. To wait until a program looks at them is rejected.

Most consumers never look at the headers of a message. This is the most that could be gained by leaving them as they
are: their length is looked at, as it has to be (a list that is malformed is found at once), and nothing else. What has
to be kept of them, and a dict that decodes itself when it is looked at, are not even counted. On Python 3.11,
microseconds a message, the best of many (November 2026):

                                          a shop's    Celery's
    Receiver.receive                      5.31        10.04
    headers skipped                       3.57        2.66

Consuming and acknowledging a message takes 9.6 us of Python alone for a shop's event and 14.7 for a Celery task (run
python --rows shop-in celery-in, at the best of times), and some 4.4 of the system. So of the shop's an eighth is
gained, less than the fifth that would be worth a second kind of dict; and of the task it would be more than a third,
but a worker looks at the headers of each task, since the name of its function is there.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple, cast
from unittest.mock import patch

from amqplib.wire.codecs import compile_properties_decoder
from amqplib.wire.content import BASIC
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import Reading, utc_time
from benchmarks.clients.messages import make_samples
from benchmarks.experiments.harness import best_in_turn

COUNT = 100


def skip(buf: bytes, offset: int, end: int, reading: Reading) -> Tuple[Dict[str, Any], int]:
    stop = offset + 4 + int.from_bytes(buf[offset : offset + 4], "big")
    if stop > end:
        raise IndexError
    return {}, stop


def main() -> None:
    for kind in ("shop", "celery"):
        samples = make_samples(kind, COUNT, 600, "queue")
        content, deliver = Sender(AMQP_0_9_1).content, AMQP_0_9_1["basic.deliver"]
        wire = b"".join(
            content(1, deliver, ("tag", number, False, exchange, routing_key), properties, body)
            for number, (body, properties, exchange, routing_key) in enumerate(samples)
        )
        fields = [field for field in BASIC.fields if field[0] in samples[0].properties]
        flags = BASIC.encode(samples[0].properties)[:2]
        decoding, skipping = compile_properties_decoder(fields), cast(Any, compile_properties_decoder(fields))
        skipping.__globals__["decode_table"] = skip

        def receiving(decode: Any, wire: bytes = wire, flags: bytes = flags) -> Callable[[], object]:
            receiver = Receiver(AMQP_0_9_1, lambda *both: both, utc_time)
            receiver.channels.add(1)

            def work() -> None:
                with patch.dict(BASIC._decoders, {flags: decode}):
                    assert len(receiver.receive(wire)) == COUNT

            return work

        print(kind)
        best_in_turn({"Receiver.receive": receiving(decoding), "headers skipped": receiving(skipping)}, per=COUNT)


if __name__ == "__main__":
    main()
