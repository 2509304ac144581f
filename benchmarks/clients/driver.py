"""What the drivers have in common: each is a process that does with one library what it is told, and times it.

    python -m benchmarks.clients.pika_client '{"host": "127.0.0.1", "port": 5672, "ca": null}'

reads a task a line from its input, as JSON, and answers each with a line. A task is done on a connection of its own.
Only what is inside `with clock:` counts: the CPU time of the whole process, threads of the library included, and the
time on the wall. Bodies are made before it, and looked at after it.

A driver writes what a programmer would who has read the library's documentation, and wants it to be fast. Publishing
ends with a call that the broker answers, inside the timed part: so the messages have left, whatever the library queues,
and are at the broker.
"""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import ssl
import sys
import time
from importlib import metadata
from types import TracebackType
from typing import Any, ClassVar, Dict, List, Mapping, NamedTuple, Optional, Type

from benchmarks.clients.messages import Sample, make_samples

#: Publishes that may be outstanding where a library confirms more than one at a time.
WINDOW = 1000
#: Deliveries that may be unacknowledged where each is acknowledged.
PREFETCH = 1000
#: Octets from which on bodies are not kept.
_LARGE = 500_000


class Server(NamedTuple):
    """The broker; `ca` is the file of its certificate authority where TLS is spoken."""

    host: str
    port: int
    ca: Optional[str]

    def context(self) -> Optional[ssl.SSLContext]:
        return ssl.create_default_context(cafile=self.ca) if self.ca else None


class Task(NamedTuple):
    """So many messages, to or from a queue; `work` is the method of Client that does it."""

    work: str
    queue: str
    messages: int
    #: Octets of a body, where the kind of message has none of its own.
    size: int
    #: Channels, consumers or connections, where the work is spread over several.
    width: int = 1
    #: One of messages.KINDS.
    kind: str = "plain"

    def samples(self) -> List[Sample]:
        """The messages. They differ, so that a lost, repeated or mixed up one is noticed."""
        return make_samples(self.kind, self.messages, self.size, self.queue)

    def bodies(self) -> List[bytes]:
        return [sample.body for sample in self.samples()]


def renamed(task: Task, names: Mapping[str, str], seconds: bool = False) -> List[Sample]:
    """The messages, with properties by the names that a library has for them; timestamps as ints, if it wants that."""
    samples = task.samples()
    for _, properties, _, _ in samples:
        for name, other in names.items():
            if name in properties:
                properties[other] = properties.pop(name)
        if seconds and "timestamp" in properties:
            properties["timestamp"] = int(properties["timestamp"].timestamp())
    return samples


class Received:
    """What is kept of large bodies that have come: their sizes and both ends, and the last one as a whole. A program
    would not keep them either, and fresh memory for each would cost more than what is measured."""

    def __init__(self) -> None:
        self.marks: List[bytes] = []
        self.last = b""

    def append(self, body: bytes) -> None:
        self.marks.append(b"%d %b %b" % (len(body), body[:16], body[-16:]))
        self.last = body

    def __len__(self) -> int:
        return len(self.marks)


def received(task: Task) -> Any:
    """Where a driver puts the bodies that come: a list of them, or Received. It has append() and a length."""
    return [] if task.size < _LARGE else Received()


def digest(got: Any) -> str:
    """The same for the same bodies in the same order. `got` is what received() was."""
    pieces = [*got.marks, got.last] if isinstance(got, Received) else got
    whole = hashlib.sha256()
    for piece in pieces:
        piece = piece.encode() if isinstance(piece, str) else piece  # what a library has decoded
        whole.update(b"%d:" % len(piece))
        whole.update(piece)
    return whole.hexdigest()


def expected(task: Task) -> str:
    """The digest of all that the task is about."""
    got = received(task)
    for body in task.bodies():
        got.append(body)
    return digest(got)


class Clock:
    """Seconds of CPU and on the wall between the beginning and the end of a with-statement."""

    def __enter__(self) -> None:
        gc.collect()
        self.wall = -time.perf_counter()
        self.cpu = -time.process_time()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.cpu += time.process_time()
        self.wall += time.perf_counter()


class Client:
    """One library. What it does not offer stays unimplemented, and is reported as that.

    Works that receive return received() with the bodies in it, in the order of their arrival.
    """

    #: What PyPI calls it; '' is nothing that is installed.
    distribution: ClassVar[str] = ""

    def connect(self, server: Server) -> None:
        """A connection, and one channel."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def publish(self, task: Task, clock: Clock) -> None:
        """A new message each, with the operating system before the next is made."""
        raise NotImplementedError

    def publish_batch(self, task: Task, clock: Clock) -> None:
        """The same, but the library may gather what it sends."""
        raise NotImplementedError

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        """Until the broker has confirmed each; at most WINDOW at a time, if the library can do more than one."""
        raise NotImplementedError

    def publish_confirmed_batch(self, task: Task, clock: Clock) -> None:
        """The same, but the library may gather what it sends."""
        raise NotImplementedError

    def consume(self, task: Task, clock: Clock) -> Any:
        """Without acknowledgements; a function is called for each."""
        raise NotImplementedError

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        """Each is acknowledged, with the operating system before the next is looked at; PREFETCH at a time."""
        raise NotImplementedError

    def consume_ack_batch(self, task: Task, clock: Clock) -> Any:
        """Each is acknowledged, but the library may gather the acknowledgements."""
        raise NotImplementedError

    def consume_gathered(self, task: Task, clock: Clock) -> Any:
        """Each is acknowledged, but the library may gather the acknowledgements for a moment."""
        raise NotImplementedError

    def get(self, task: Task, clock: Clock) -> Any:
        """Asked for one by one, without acknowledgements."""
        raise NotImplementedError

    def watch_memory(self, task: Task) -> List[int]:
        """Octets in memory after each of `width` parts of the messages, all published and consumed."""
        raise NotImplementedError


def memory(field: str) -> int:
    """Octets of this process in memory: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise LookupError("/proc/self/status has no %s" % field)


def stay_idle(client: Client, server: Server) -> float:
    """Seconds of CPU time that a connection takes a second while nothing happens."""
    client.connect(server)
    time.sleep(0.5)
    start, cpu = time.perf_counter(), time.process_time()
    time.sleep(10)
    used = (time.process_time() - cpu) / (time.perf_counter() - start)
    client.close()
    return used


def connect_often(client: Client, server: Server, task: Task) -> float:
    """Octets that a connection with its channel takes."""
    client.connect(server)  # what the first one loads is not the connection's
    others = [type(client)() for _ in range(task.width)]
    gc.collect()
    before = memory("VmRSS")
    for other in others:
        other.connect(server)
    gc.collect()
    each = (memory("VmRSS") - before) / len(others)
    for other in [*others, client]:
        other.close()
    return each


def do(client: Client, server: Server, task: Task) -> Dict[str, Any]:
    """The figures of one task."""
    if task.work == "idle":
        return {"cpu": stay_idle(client, server)}
    if task.work == "connections":
        return {"octets": connect_often(client, server, task)}
    clock = Clock()
    client.connect(server)
    idle = memory("VmRSS")
    try:
        if task.work == "watch_memory":
            return {"octets": client.watch_memory(task)}
        got = getattr(client, task.work)(task, clock)
    except NotImplementedError:
        return {"unsupported": True}
    finally:
        client.close()
    result = {"cpu": clock.cpu, "wall": clock.wall, "peak": memory("VmHWM") - idle}
    if got is not None:
        return {**result, "count": len(got), "digest": digest(got)}
    return result


def main(client: Client) -> None:
    """The life of a driver."""
    server = Server(**json.loads(sys.argv[1]))
    version = metadata.version(client.distribution) if client.distribution else ""
    print(json.dumps({"version": version, "python": platform.python_version()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(do(client, server, Task(**json.loads(line)))), flush=True)
