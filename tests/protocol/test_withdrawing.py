"""Proves that deliveries are taken out of an inbox whole, though wait() takes from it without the lock meanwhile."""

from __future__ import annotations

from collections import deque
from typing import Any, Tuple

from amqplib.protocol.port import DELIVER, Port


def delivery(tag: int) -> Tuple[Any, ...]:
    return DELIVER, ("tag", tag, False, "", "q"), None


def test_other_methods_and_later_tags_stay() -> None:
    port = Port(1)
    other: Any = ((*DELIVER[:1], 0), (True,), None)
    port.inbox.extend([other, delivery(1), delivery(2)])
    assert port.withdraw(lambda args: True, up_to=1) == [delivery(1)]
    assert list(port.inbox) == [other, delivery(2)]


def test_one_that_is_taken_during_the_search() -> None:
    port = Port(1)
    port.inbox.extend([delivery(1), delivery(2)])

    def wanted(args: Tuple[Any, ...]) -> bool:
        if args[1] == 1:
            port.inbox.popleft()
        return True

    assert port.withdraw(wanted) == [delivery(2)]
    assert list(port.inbox) == []


def test_one_that_is_taken_after_the_search() -> None:
    class Taken(deque):  # type: ignore[type-arg]  # Python 3.8 has no deque[Any]
        def remove(self, item: Any) -> None:
            self.popleft()
            raise ValueError

    port = Port(1)
    port.inbox = Taken([delivery(1)])
    assert port.withdraw(lambda args: True) == []
    assert list(port.inbox) == []
