"""Verdict: once many keys were new, one in 32 that are is remembered. Publishing remembers no properties.

Programs publish to few routes, or to one for each message, and nobody knows which before they have. What hot.py makes
of a route, or reads, can be remembered each time, never, or now and then. On Python 3.11, microseconds of publishing
and of receiving a message of 100 octets, the best of many, garbage collected as it comes (November 2026):

                       50 routes           a route each
    each time          0.44    0.79        2.89    3.06
    one in eight       0.43    0.74        2.18    2.62
    one in 32          0.43    0.80        1.68    2.01
    never              1.87    5.65        1.60    2.69

(Never costs so much where a message is received because then nothing is known of its properties either.) What costs is
not the memory but the collector of garbage, which looks at all that stays.

The bytes of properties were remembered by their items. Since lists are compiled that gains little where it helps, and
costs whoever has something in them that is another each time:

                       delivery_mode    five that stay    ... and a message_id
    items looked up    0.20             0.39              1.39
    compiled           0.27             0.59              0.73

A message that is like the one before it, in size as well, is made of what is remembered of that one all the same.
"""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, Tuple
from unittest.mock import patch

from amqplib.wire import hot
from amqplib.wire.content import BASIC
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from benchmarks.experiments.harness import best_in_turn

COUNT = 2000
DELIVER = AMQP_0_9_1["basic.deliver"]
BODY = b"x" * 100
NEVER = 1 << 60

_known: Dict[Any, bytes] = {}


def looked_up(properties: Dict[str, Any]) -> bytes:
    key = tuple(properties.items())
    data = _known.get(key)
    if data is None:
        if len(_known) >= 4096:
            _known.clear()
        data = _known[key] = BASIC.encode(properties)
    return data


def routes(numbers: itertools.count[int], few: bool) -> List[str]:
    return ["device.%d" % (number % 50 if few else number) for number in itertools.islice(numbers, COUNT)]


def publishing(at_once: int, one_of: int, few: bool) -> Callable[[], object]:
    publish, numbers = Sender(AMQP_0_9_1).publish, itertools.count(100000)
    publish((1, 0, "", "warm", False, False), {}, BODY)

    def work() -> None:
        with patch.object(hot, "_AT_ONCE", at_once), patch.object(hot, "_ONE_OF", one_of):
            for route in routes(numbers, few):
                publish((1, 0, "amq.topic", route, False, False), {}, BODY)

    return work


def receiving(at_once: int, one_of: int, few: bool) -> Callable[[], object]:
    receiver, numbers, tags = (
        Receiver(AMQP_0_9_1, lambda *both: both, utc_time),
        itertools.count(100000),
        itertools.count(1),
    )
    receiver.channels.add(1)
    content = Sender(AMQP_0_9_1).content

    def some() -> bytes:
        return b"".join(
            content(1, DELIVER, ("tag", next(tags), False, "amq.topic", route), {}, BODY)
            for route in routes(numbers, few)
        )

    ready = [some() for _ in range(ROUNDS)]

    def work() -> None:
        with patch.object(hot, "_AT_ONCE", at_once), patch.object(hot, "_ONE_OF", one_of):
            assert len(receiver.receive(ready.pop())) == COUNT

    return work


ROUNDS = 30
POLICIES: Dict[str, Tuple[int, int]] = {
    "each time": (NEVER, 1),
    "one in eight": (256, 8),
    "one in 32": (256, 32),
    "never": (0, NEVER),
}


def main() -> None:
    for what, few in (("50 routes", True), ("a route each", False)):
        for made, title in ((publishing, "published"), (receiving, "received")):
            print("%s, %s" % (what, title))
            best_in_turn(
                {name: made(*policy, few) for name, policy in POLICIES.items()}, COUNT, ROUNDS, collecting=True
            )
    stay = {
        "content_type": "application/json",
        "delivery_mode": 2,
        "type": "order.placed",
        "app_id": "shop",
        "user_id": "guest",
    }
    for name, of in (
        ("delivery_mode", lambda number: {"delivery_mode": 2}),
        ("five that stay", lambda number: dict(stay)),
        ("... and a message_id", lambda number: dict(stay, message_id=str(number))),
    ):
        print(name)
        numbers = itertools.count()

        def each(
            encode: Callable[[Dict[str, Any]], bytes], of: Any = of, numbers: Any = numbers
        ) -> Callable[[], object]:
            several = [[of(next(numbers)) for _ in range(COUNT)] for _ in range(ROUNDS)]
            return lambda: [encode(properties) for properties in several.pop()]

        best_in_turn({"items looked up": each(looked_up), "compiled": each(BASIC.encode)}, per=COUNT, rounds=ROUNDS)


if __name__ == "__main__":
    main()
