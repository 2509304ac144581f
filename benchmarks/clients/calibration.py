"""How fast is Python here, now? A loop of the kind of things that the client does, to divide its figures by.

It imports nothing of amqplib, and must stay as it is: all that is recorded in benchmarks/recorded.json is in its units.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from typing import Any, Deque, Dict, Tuple

__all__ = ["loop"]

_HEAD = struct.Struct(">BHI")


class _Thing:
    def __init__(self, body: bytes, **properties: Any) -> None:
        self.body = body
        self.properties = properties


class _Work:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queue: Deque[Tuple[int, Any]] = deque()
        self.remembered: Dict[Tuple[int, str], bytes] = {(1, "route"): b"r" * 40}
        self.octets = self.count = 0
        self.failure = None

    def out(self, thing: _Thing, number: int, route: str) -> None:
        """Makes a message, as it were, and sends it."""
        if not isinstance(thing, _Thing):
            raise ValueError("not a thing")
        body = thing.body
        known = self.remembered.get((number, route))
        if known is None or type(body) is not bytes:
            raise KeyError(route)
        data = b"%b%b%b\xce" % (known, _HEAD.pack(3, number, len(body)), body)
        try:
            with self.lock:
                if self.failure:
                    raise self.failure
                self.octets += self.send(data)
        except OSError:
            self.count -= 1
        self.count += 1

    def send(self, data: bytes) -> int:
        self.queue.append((len(data), data))
        return len(data)

    def take(self) -> Any:
        """Takes it out again, and looks at what it is."""
        with self.lock:
            size, data = self.queue.popleft()
        kind, number, length = _HEAD.unpack_from(data, 40)
        if kind != 3 or data[size - 1] != 0xCE:
            raise ValueError("no such thing")
        return _Thing(data[47 : 47 + length], number=number)


def loop(times: int) -> None:
    """So many turns, of about two microseconds each."""
    work, body = _Work(), b"." * 100
    for _ in range(times):
        work.out(_Thing(body), 1, "route")
        thing = work.take()
        if thing.body != body:
            raise ValueError("a wrong loop")
