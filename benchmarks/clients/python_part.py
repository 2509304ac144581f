"""The Python part of amqplib: what an operation costs without the system's sending and receiving.

    python -m benchmarks.clients.python_part DIR [recover]

measures the amqplib of the checkout DIR, whichever one this file belongs to. It connects to the broker in memory, for
real, and notes what that sends; then the socket under the connection is replaced (see in_memory), and what was noted
comes once more, as often as wanted. It reads the name of a row a line from its input, and answers each with a line:
seconds of CPU time for each operation. Garbage collection is off while the clock runs. With "count" before the name the
answer is what Python does for each operation: instructions, and calls of functions that are written in C. With recover
the connection is one that comes back.

Only public names of amqplib are used, so that the same program measures an older and a newer one.
"""

from __future__ import annotations

import gc
import itertools
import json
import platform
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from benchmarks.clients import calibration, in_memory
from benchmarks.clients.messages import Sample, make_samples

__all__ = ["BY_NAME", "LOOP", "PARTS", "Part"]


class Part(NamedTuple):
    """A row of the table."""

    name: str
    title: str
    #: Operations a slice; with so many it takes about five milliseconds.
    times: int
    #: The method of Client that does it, where that has another name; it is told the kind of message and its size.
    work: str = ""
    #: One of messages.KINDS.
    kind: str = ""
    size: int = 0


PARTS = [
    Part("shop-out", "a shop's event: sent at once", 800, "publish_real", "shop", 600),
    Part("shop-in", "a shop's event: consumed, ack each", 600, "take_real", "shop", 600),
    Part("celery-out", "a Celery task: sent at once", 500, "publish_real", "celery"),
    Part("celery-in", "a Celery task: consumed, ack each", 400, "take_real", "celery"),
    Part("log-out", "a log event: sent at once", 1500, "publish_real", "log"),
    Part("log-in", "a log event: consumed, ack each", 1200, "take_real", "log"),
    Part("keys-out", "a routing key each: sent at once", 1500, "publish_real", "keys", 100),
    Part("keys-in", "a routing key each: consumed, ack each", 1000, "take_real", "keys", 100),
    Part("64KB-out", "64 KB bodies: sent at once", 300, "publish_real", "plain", 65_536),
    Part("64KB-in", "64 KB bodies: consumed, ack each", 100, "take_real", "plain", 65_536),
    Part("shop-encode", "a shop's event: properties to bytes", 1200, "encode_real", "shop"),
    Part("shop-decode", "a shop's event: properties from bytes", 1000, "decode_real", "shop"),
    Part("publish", "basic_publish, each sent at once", 2000),
    Part("counted", "basic_publish in confirm mode", 1000),
    Part("batch", "basic_publish in a batch", 4000),
    Part("receiver", "Receiver.receive, a delivery", 4000),
    Part("get", "basic_get and its answer", 400),
    Part("dispatch", "wait, for a delivery that is here", 8000),
    Part("routing", "wait, a delivery from bytes to callback", 2000),
    Part("call", "queue_declare and its answer", 400),
]
BY_NAME: Dict[str, Part] = {part.name: part for part in PARTS}

#: The calibration, which is measured like a row.
LOOP = Part("loop", "calibration", 2500)

SIZE, QUEUE, ACKED = 100, "python part", "python part, acked"
#: Publishes to one confirm; different answers to basic_get; deliveries that come together; publishes in a batch.
_CONFIRMED, _ANSWERS, _TOGETHER, _BATCH = 100, 100, 400, 1000


class PartError(Exception):
    """Something other was done than what is to be measured."""


class Client:
    """A connection that has left the system, and what was noted before."""

    def __init__(self, recover: bool = False) -> None:
        with in_memory.connecting():  # in case a module keeps the class
            from amqplib.broker import Broker
            from amqplib.client_0_9_1 import Connection, Message
            from amqplib.wire.content import BASIC
            from amqplib.wire.protocol import Receiver, Sender
            from amqplib.wire.spec import AMQP_0_9_1
            from amqplib.wire.tables import Reading, utc_time

        self._basic, self._reading, self._dialect = BASIC, Reading(utc_time), AMQP_0_9_1
        self._content = Sender(AMQP_0_9_1).content
        self._made = self._delivered = 0
        self._samples: List[Sample] = []
        #: What a row measures with.
        self._clock: Callable[[], Clock] = Clock
        self._message: Any = Message
        self._got: List[Any] = []
        self._bodies = [(b"%d " % number).ljust(SIZE, b".") for number in range(_BATCH)]
        with Broker() as broker:
            with in_memory.connecting(), _noting(Receiver) as made:
                options: Dict[str, Any] = {"recover": True} if recover else {}  # which an older amqplib does not know
                self._connection = Connection(broker.address, heartbeat=0, **options)
            transport = self._connection.transport
            assert transport
            self._sock: Any = transport.sock
            if not isinstance(self._sock, in_memory.Socket):
                raise PartError("the connection has a socket of its own: %r" % self._sock)
            self._channel, self._counted = self._connection.channel(), self._connection.channel()
            self._number: int = self._channel.channel_id or 0
            self._channel.queue_declare(QUEUE)
            self._record()
            self._sock.leave_system()
        self._receiver = _like(Receiver, *made[-1])
        if len(self._receiver.receive(self._deliveries)) != _TOGETHER:
            raise PartError("a Receiver does not find %d deliveries in what came" % _TOGETHER)
        gc.collect()
        if hasattr(gc, "freeze"):  # PyPy has none
            gc.freeze()  # so that collecting the garbage before each slice takes no time

    # --- before

    def _record(self) -> None:
        """Do each thing once, for real."""
        channel, bodies = self._channel, self._bodies
        self._declared, _ = self._noted(lambda: channel.queue_declare(QUEUE, passive=True))
        _, self._published = self._noted(lambda: self._publish(channel, bodies[0]))
        for body in bodies[1:_ANSWERS]:
            self._publish(channel, body)
        self._answers = [self._noted(lambda: channel.basic_get(QUEUE, no_ack=True))[0] for _ in range(_ANSWERS)]
        counted = self._counted
        counted.confirm_select()
        self._publish(counted, bodies[0])
        self._confirm, _ = self._noted(counted.wait_for_confirms)
        self._tag = 1
        if len(self._confirm) != 21 or self._confirm[11:19] != self._tag.to_bytes(8, "big"):
            raise PartError("this is not one confirm: %r" % self._confirm)
        channel.queue_purge(QUEUE)
        channel.basic_consume(QUEUE, "consumer", no_ack=True, callback=self._got.append)
        self._deliveries, _ = self._noted(self._consume)
        channel.queue_declare(ACKED)
        channel.basic_consume(ACKED, "acking", callback=self._ack)

    def _ack(self, msg: Any) -> None:
        self._got.append(msg)
        self._channel.basic_ack(msg.delivery_tag)

    def _consume(self) -> None:
        for body in self._bodies[:_TOGETHER]:
            self._publish(self._channel, body)
        while len(self._got) < _TOGETHER:
            self._channel.wait()
        self._check_bodies(_TOGETHER)

    def _publish(self, channel: Any, body: bytes) -> Any:
        return channel.basic_publish(self._message(body), routing_key=QUEUE)

    def _noted(self, function: Callable[[], Any]) -> Tuple[bytes, bytes]:
        """What comes and goes while it is called."""
        self._sock.note(True)
        function()
        return b"".join(self._sock.came), b"".join(self._sock.went)

    def _confirms(self, count: int) -> List[bytes]:
        """The next ones; each confirms what came before it as well."""
        head, end = self._confirm[:11], self._confirm[20:]
        tags = range(self._tag + _CONFIRMED, self._tag + count * _CONFIRMED + 1, _CONFIRMED)
        return [b"%b%b\x01%b" % (head, tag.to_bytes(8, "big"), end) for tag in tags]

    def _check_bodies(self, count: int) -> None:
        """Have so many messages come, and the right ones?"""
        if [msg.body for msg in self._got] != list(itertools.islice(itertools.cycle(self._bodies[:_TOGETHER]), count)):
            raise PartError("%d messages came, not the %d that were to come" % (len(self._got), count))
        self._got.clear()

    def _fresh(self, kind: str, times: int, size: int) -> List[Sample]:
        """Messages that have not been before, as those of a program: what is remembered of others is no use."""
        self._made += times
        return make_samples(kind, times, size, QUEUE, self._made - times)

    # --- the rows: each does so many operations and returns the seconds they took

    def publish(self, times: int) -> float:
        publish, message, body = self._channel.basic_publish, self._message, self._bodies[0]
        with self._clock() as clock:
            for _ in range(times):
                publish(message(body), routing_key=QUEUE)
        return clock.seconds

    def publish_real(self, times: int, kind: str, size: int) -> float:
        publish, message, samples = self._channel.basic_publish, self._message, self._fresh(kind, times, size)
        with self._clock() as clock:
            for body, properties, exchange, routing_key in samples:
                publish(message(body, **properties), exchange, routing_key)
        self._samples = samples
        return clock.seconds

    def take_real(self, times: int, kind: str, size: int) -> float:
        wait, samples, method = self._channel.wait, self._fresh(kind, times, size), self._dialect["basic.deliver"]
        stream = []
        for body, properties, exchange, routing_key in samples:
            self._delivered += 1
            args = "acking", self._delivered, False, exchange, routing_key
            stream.append(self._content(self._number, method, args, properties, body))
        self._sock.feed(b"".join(stream))
        with self._clock() as clock:
            for _ in range(times):
                wait()
        for sample, msg in zip(samples, self._got):
            body = msg.body.encode() if isinstance(msg.body, str) else msg.body
            if (body, msg.properties, msg.routing_key) != (sample.body, sample.properties, sample.routing_key):
                raise PartError("%s: this is not the message that was to come: %r" % (kind, msg.properties))
        if len(self._got) != times:
            raise PartError("%s: %d messages came, not %d" % (kind, len(self._got), times))
        self._got.clear()
        return clock.seconds

    def encode_real(self, times: int, kind: str, size: int) -> float:
        encode, lists = self._basic.encode, [sample.properties for sample in self._fresh(kind, times, size)]
        with self._clock() as clock:
            for properties in lists:
                encode(properties)
        return clock.seconds

    def decode_real(self, times: int, kind: str, size: int) -> float:
        decode, encode, reading = self._basic.decode, self._basic.encode, self._reading
        lists = [encode(sample.properties) for sample in self._fresh(kind, times, size)]
        with self._clock() as clock:
            for data in lists:
                decode(data, 0, len(data), reading)
        return clock.seconds

    def counted(self, times: int) -> float:
        channel, message, body, feed = self._counted, self._message, self._bodies[0], self._sock.feed
        publish, settle, together = channel.basic_publish, channel.wait_for_confirms, range(_CONFIRMED)
        tag: Any = None
        confirms = self._confirms(times // _CONFIRMED)
        with self._clock() as clock:
            for confirm in confirms:
                for _ in together:
                    tag = publish(message(body), routing_key=QUEUE)
                feed(confirm)
                settle()
        self._tag = tag
        return clock.seconds

    def batch(self, times: int) -> float:
        channel, publish = self._channel, self._channel.basic_publish
        message, body, together = self._message, self._bodies[0], range(_BATCH)
        with self._clock() as clock:
            for _ in range(times // _BATCH):
                with channel.batch():
                    for _ in together:
                        publish(message(body), routing_key=QUEUE)
        return clock.seconds

    def receiver(self, times: int) -> float:
        receive = self._receiver.receive
        stream = self._deliveries
        pieces = [stream[start : start + in_memory.READ] for start in range(0, len(stream), in_memory.READ)]
        found = 0
        with self._clock() as clock:
            for _ in range(times // _TOGETHER):
                for piece in pieces:
                    found += len(receive(piece))
        if found != times:
            raise PartError("%d events, not %d" % (found, times))
        return clock.seconds

    def get(self, times: int) -> float:
        self._sock.answer(self._answers * (times // _ANSWERS))
        get, took = self._channel.basic_get, self._got.append
        with self._clock() as clock:
            for _ in range(times):
                took(get(QUEUE, no_ack=True))
        if [msg.body for msg in self._got] != self._bodies[:_ANSWERS] * (times // _ANSWERS):
            raise PartError("basic_get did not give what was asked for")
        self._got.clear()
        return clock.seconds

    def dispatch(self, times: int) -> float:
        channel, wait, seconds = self._channel, self._channel.wait, 0.0
        for _ in range(times // _TOGETHER):
            self._sock.feed(self._deliveries + self._declared)
            channel.queue_declare(QUEUE, passive=True)  # reads all
            if channel.pending() != _TOGETHER:
                raise PartError("%d deliveries are here, not %d" % (channel.pending(), _TOGETHER))
            with self._clock() as clock:
                for _ in range(_TOGETHER):
                    wait()
            seconds += clock.seconds
        self._check_bodies(times)
        return seconds

    def routing(self, times: int) -> float:
        wait = self._channel.wait
        for _ in range(times // _TOGETHER):
            self._sock.feed(self._deliveries)
        with self._clock() as clock:
            for _ in range(times):
                wait()
        self._check_bodies(times)
        return clock.seconds

    def call(self, times: int) -> float:
        self._sock.answer([self._declared] * times)
        declare = self._channel.queue_declare
        with self._clock() as clock:
            for _ in range(times):
                declare(QUEUE, passive=True)
        return clock.seconds

    def loop(self, times: int) -> float:
        with self._clock() as clock:
            calibration.loop(times)
        return clock.seconds

    def measure(self, part: Part) -> float:
        """Seconds an operation."""
        work = getattr(self, part.work or part.name)
        seconds: float = work(part.times, part.kind, part.size) if part.kind else work(part.times)
        if self._sock.unread():
            raise PartError("%s: %d octets were not received" % (part.name, self._sock.unread()))
        return seconds / part.times

    def count(self, part: Part) -> Dict[str, float]:
        """Instructions of Python's own and calls of C functions an operation; the same each time."""
        counter = Counter()
        self._clock = lambda: counter
        try:
            self.measure(part)
        finally:
            self._clock = Clock
        return {"instructions": counter.instructions / part.times, "C calls": counter.calls / part.times}

    def check(self) -> None:
        """Does each row send what it should? Raises PartError."""
        wanted = {"publish": self._published, "batch": self._published}
        for part in PARTS:
            _, went = self._noted(lambda part=part: self.measure(part))  # type: ignore[misc]
            expected = self._expected() if part.work == "publish_real" else wanted.get(part.name, b"") * part.times
            if expected and went != expected:
                raise PartError("%s: %d octets were sent, not %d" % (part.name, len(went), len(expected)))
            if part.work == "take_real" and len(went) != 21 * part.times:
                raise PartError("%s: %d octets were sent, not so many acks" % (part.name, len(went)))
            if part.name == "counted" and len(went) != len(self._published) * part.times:
                raise PartError("%s: %d octets were sent" % (part.name, len(went)))
            if part.name in ("get", "call") and (not went or len(went) % part.times):
                raise PartError("%s: %d octets were sent" % (part.name, len(went)))
        self._sock.note(False)
        if self._counted.unconfirmed or self._tag < 2:
            raise PartError("the books of confirms are not kept")

    def _expected(self) -> bytes:
        """What the latest publish_real() should have sent, by the plain codecs."""
        number, method = self._number, self._dialect["basic.publish"]
        return b"".join(
            self._content(number, method, (0, exchange, routing_key, False, False), properties, body)
            for body, properties, exchange, routing_key in self._samples
        )


class Clock:
    """CPU time of the process, all its threads included; there is no garbage collection meanwhile."""

    def __enter__(self) -> Clock:
        gc.collect()
        gc.disable()
        self.seconds = -time.process_time()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.seconds += time.process_time()
        gc.enable()


class Counter(Clock):
    """Counts what this thread does meanwhile, in functions that are called meanwhile: the row's own loop counts not.

    A machine's speed has no share in it, nor has what else it does; but it is blind to what a C function takes.
    """

    def __init__(self) -> None:
        self.instructions = self.calls = 0

    def __enter__(self) -> Counter:
        super().__enter__()
        sys.setprofile(self._on_call)
        sys.settrace(self._on_frame)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)
        super().__exit__(*exc_info)

    def _on_frame(self, frame: FrameType, event: str, arg: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._on_event

    def _on_event(self, frame: FrameType, event: str, arg: object) -> Any:
        self.instructions += event == "opcode"
        return self._on_event

    def _on_call(self, frame: FrameType, event: str, arg: object) -> None:
        self.calls += event == "c_call"


class _noting:
    """Receivers that are made meanwhile, and of what: how the client does it is its own affair."""

    def __init__(self, kind: Any) -> None:
        self._kind, self._init = kind, kind.__init__

    def __enter__(self) -> List[Tuple[Any, Tuple[Any, ...], Dict[str, Any]]]:
        made: List[Tuple[Any, Tuple[Any, ...], Dict[str, Any]]] = []
        kind, init = self._kind, self._init

        def noted(receiver: Any, *args: Any, **kwargs: Any) -> None:
            if type(receiver) is kind:  # and not one of the broker's
                made.append((receiver, args, kwargs))
            init(receiver, *args, **kwargs)

        kind.__init__ = noted
        return made

    def __exit__(self, *exc_info: object) -> None:
        self._kind.__init__ = self._init


def _like(kind: Any, receiver: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """Another Receiver in the same state."""
    other = kind(*args, **kwargs)
    other.frame_max = receiver.frame_max
    other.channels.update(receiver.channels)
    return other


def main() -> None:
    """The life of the process."""
    checkout = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(checkout))
    in_memory.replace_poll()
    import amqplib

    if Path(str(amqplib.__file__)).resolve().parents[1] != checkout:
        raise PartError("this is not the amqplib of %s: %s" % (checkout, amqplib.__file__))
    client = Client(sys.argv[2:] == ["recover"])
    client.check()
    print(json.dumps({"python": platform.python_version()}), flush=True)
    for line in sys.stdin:
        *count, name = line.split()
        measure: Callable[[Part], Any] = client.count if count else client.measure
        print(json.dumps(measure(BY_NAME.get(name, LOOP))), flush=True)


if __name__ == "__main__":
    main()
