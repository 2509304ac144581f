"""Fuzzing of the whole client, guided by coverage: whatever a server says, what is promised of calls holds.

    python3 -m fuzz.client -max_total_time=1800 -rss_limit_mb=1024      # any option of libFuzzer; a corpus may follow
    python3 -m fuzz.client crash-4f7c...                                # an input that was found, again

Needs atheris (see tests/requirements.txt). A program makes its calls, from the handshake to close(), in either dialect
and without TLS, to a server that answers as it should until the input says otherwise: other frames, other octets, what
nobody has asked for and a great deal of it, silence, an end. The server, and what stands in the place of the network,
are in fuzz/server.py. What is checked of each input, in check():

    - a call raises nothing but the errors that client/exceptions.py lists, and they have a text, on one line
    - no call takes longer than its deadline and SLACK. The clock is the time for which the input had the client wait,
      and the processor's time of this thread: so a busy machine is no reason to be late
    - a flood that nobody asked for leaves no more than HELD octets behind
    - what is logged is on one line, and there is not one line for each of very many
"""

from __future__ import annotations

import importlib
import logging
import sys
import tracemalloc
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Type

try:
    import atheris
except ImportError:  # check() does without
    atheris = None

if atheris is not None and __name__ == "__main__":
    with atheris.instrument_imports(include=["amqplib"]):
        importlib.import_module("amqplib.client_0_8")
        importlib.import_module("amqplib.client_0_9_1")
        importlib.import_module("amqplib.client.connect.connecting")

import amqplib.client_0_8 as old
import amqplib.client_0_9_1 as new
from amqplib.client.connect import connecting, hints
from amqplib.client.connect.address import Address
from amqplib.client.connect.profile import Profile
from amqplib.client.exceptions import AMQPException, AMQPTimeoutError, ConnectionLostError
from amqplib.client.net.transport import Transport
from fuzz.server import DIALECTS, SAYINGS, Bytes, Clock, Server, Wire

__all__ = ["SLACK", "Clock", "Seen", "check", "seeds"]

#: Seconds that a call may take beyond its deadline.
SLACK = 0.5

#: Lines that a call may log: what it says itself, and a hundred and one each time that something is read.
OWN_LINES, LINES = 50, 101

#: Seconds: for the connection; for an answer, for room, for the end of a block; for a wait.
CONNECT, PATIENCE, WAIT = 2.0, 1.0, 1.0


class Late(AssertionError):
    """A call took longer than it may."""


class Seen(NamedTuple):
    """What came of an input."""

    #: The calls that were made.
    calls: List[str]
    #: The errors that they raised.
    errors: List[BaseException]


class _Lines(logging.Handler):
    """What is logged: formatted, looked at and counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.wrong: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        text = record.getMessage()  # an error in this is one of ours
        if not text.isprintable():
            self.wrong.append(text)


class Program:
    """Makes the calls that the input says, and judges each."""

    def __init__(self, given: Bytes) -> None:
        settings, self._flags = given.octet(), given.octet()
        self.clock = Clock()
        self.seen = Seen([], [])
        self._lines = _Lines()
        self._amqp: Any = (old, new)[settings & 1]
        self._dialect = DIALECTS[settings >> 1 & 1]
        self._steps = [given.octet() for _ in range(settings >> 4)]
        self._given = given
        self._heartbeat = self._flags & 1
        self._tls_of = settings
        self.conn: Any = None
        self.ch: Any = None

    # --- the connection

    def _open_transport(self, address: Address, ssl: Any, deadline: Any) -> Transport:
        if deadline.expired():
            raise AMQPTimeoutError("%s: no connection in time" % (address,))
        try:
            address.host.encode("idna")  # as the system does it
        except UnicodeError as exc:
            raise ConnectionLostError(0, "the host name could not be resolved: %s" % exc) from exc
        server = Server(self._dialect, self._given, self._heartbeat)
        return Wire(address, server, self.clock, 1 << 20 if self._flags & 2 else 600)

    def _class(self) -> Type[Any]:
        base: Any = self._amqp.Connection
        own: Profile = base._amqplib_profile
        fuzzed = Profile(
            own.dialects, own.heartbeat, self._open_transport, lambda d: d.header, own.unknown_arguments, self.clock
        )
        return type("Connection", (base,), {"_amqplib_profile": fuzzed})

    def _connect(self) -> None:
        limits: Dict[str, Any] = dict.fromkeys(("reply_timeout", "write_timeout", "blocked_timeout"), PATIENCE)
        if self._flags & 4:
            limits.update(frame_max=4096, channel_max=2)
        if self._flags & 8:
            limits["on_blocked"] = lambda reason: None
        self.conn = self._class()(
            "broker.example",
            close_timeout=PATIENCE,
            connect_timeout=CONNECT,
            heartbeat=self._heartbeat,
            body_max=5000,
            **limits,
        )

    # --- calls

    def run(self) -> Seen:
        logger = logging.getLogger("amqplib")
        before = logger.level, logger.propagate, logger.handlers[:]
        logger.handlers[:], logger.propagate = [self._lines], False
        logger.setLevel(logging.DEBUG)
        try:
            self._call("Connection()", self._connect, CONNECT)
            if self.conn is not None:
                self._call("channel()", self._open_channel, 2 * PATIENCE)
                for step in self._steps:
                    name, limit = STEPS[step % len(STEPS)]
                    if self.conn.transport is None:
                        break
                    if self.ch is None or not self.ch.is_open:
                        self._call("channel()", self._open_channel, 2 * PATIENCE)
                    if self.ch is not None and self.ch.is_open:
                        self._call(name, getattr(self, "_" + name), limit)
                self._call("close()", self.conn.close, 2 * PATIENCE)
        finally:
            if tracemalloc.is_tracing():
                tracemalloc.stop()
            logger.level, logger.propagate = before[0], before[1]
            logger.handlers[:] = before[2]
        return self.seen

    def _call(self, name: str, call: Callable[[], Any], limit: float) -> None:
        self.seen.calls.append(name)
        self._lines.count = self.clock.reads = 0
        began = self.clock()
        try:
            call()
        except (AMQPException, AMQPTimeoutError) as exc:
            text = str(exc)
            assert text, name
            assert text.isprintable(), (name, text)
            self.seen.errors.append(exc.with_traceback(None))
        took = self.clock() - began
        assert not self._lines.wrong, self._lines.wrong
        lines = OWN_LINES + LINES * self.clock.reads
        assert self._lines.count <= lines, "%s logged %d lines" % (name, self._lines.count)
        if took > limit + SLACK:
            raise Late("%s took %.2f s" % (name, took))

    def _open_channel(self) -> None:
        self.ch = None
        try:
            self.ch = self.conn.channel()
        except ValueError as exc:  # calls that had no answer have cost channels, whose closes had none either
            if "channels of" not in str(exc):
                raise

    def _message(self) -> Any:
        return self._amqp.Message("the body", content_type="text/plain", application_headers={"n": 1})

    def _publish(self) -> None:
        self.ch.basic_publish(self._message(), routing_key="q")

    def _publish_mandatory(self) -> None:
        self.ch.basic_publish(self._message(), routing_key="q", mandatory=True)

    def _publish_confirm(self) -> None:
        self.ch.basic_publish_confirm(self._message(), routing_key="q", mandatory=True, timeout=WAIT)

    def _batch(self) -> None:
        ch = self.ch
        with ch.batch():
            for _ in range(3):
                ch.basic_publish(self._message(), routing_key="q")

    def _confirm(self) -> None:
        ch = self.ch
        if self.conn.protocol == "0-8":
            ch.tx_select()
        else:
            ch.confirm_select(on_nack=lambda tag, msg: None)

    def _confirms(self) -> None:
        ch = self.ch
        if self.conn.protocol == "0-8":
            ch.tx_commit()
        elif ch._amqplib.port.books is not None:
            ch.wait_for_confirms(timeout=WAIT)

    def _declare(self) -> None:
        self.ch.queue_declare("q")

    def _qos(self) -> None:
        self.ch.basic_qos(0, 10, True)

    def _get(self) -> None:
        self.ch.basic_get("q")

    def _consume(self) -> None:
        self.ch.basic_consume("q", "tag", callback=lambda msg: None, on_cancel=lambda tag: None)

    def _cancel(self) -> None:
        self.ch.basic_cancel("tag", nowait=bool(self._flags & 16))

    def _consume_loop(self) -> None:
        for number, msg in enumerate(self.ch.consume("q", timeout=WAIT / 4)):
            msg.ack()
            if number > 2:
                break

    def _wait(self) -> None:
        self.ch.wait(timeout=WAIT)

    def _drain(self) -> None:
        self.conn.drain_events(timeout=WAIT)

    def _ack(self) -> None:
        self.ch.basic_ack(1, True)

    def _returned(self) -> None:
        returned = self.ch.returned_messages
        while not returned.empty():
            returned.get_nowait()

    def _look(self) -> None:
        ch = self.ch
        assert repr((self.conn, ch, self.conn.stats(), self.conn.blocked, ch.unconfirmed))
        hints.on_global_qos(self.conn.server_properties)

    def _close_channel(self) -> None:
        self.ch.close()

    def _second_channel(self) -> None:
        if self.conn.channel_max > 2 and len(self.conn.channels) < 3:
            with self.conn.channel() as ch:
                ch.basic_publish(self._message(), routing_key="q")

    def _secret(self) -> None:
        if self.conn.protocol != "0-8":
            self.conn.update_secret("secret")


#: A call, and its deadline. What the broker owes is put off while it blocks the connection, for the blocked_timeout at
#: most.
STEPS: Tuple[Tuple[str, float], ...] = (
    ("publish", 2 * PATIENCE),
    ("publish_mandatory", 2 * PATIENCE),
    ("publish_confirm", 2 * PATIENCE + WAIT),
    ("batch", 2 * PATIENCE),
    ("confirm", 2 * PATIENCE),
    ("confirms", 2 * PATIENCE),
    ("declare", 2 * PATIENCE),
    ("qos", 2 * PATIENCE),
    ("get", 2 * PATIENCE),
    ("consume", 2 * PATIENCE),
    ("cancel", 4 * PATIENCE),
    ("consume_loop", 8 * PATIENCE),
    ("wait", WAIT),
    ("drain", WAIT),
    ("ack", 2 * PATIENCE),
    ("returned", 0.0),
    ("look", 0.0),
    ("close_channel", 2 * PATIENCE),
    ("second_channel", 6 * PATIENCE),
    ("secret", 2 * PATIENCE),
)
NAMES = [name for name, _ in STEPS]


def check(data: bytes) -> Seen:
    """AssertionError when a promise is broken, or what a call raises that it may not; else what came of it."""
    connecting.SPOKEN.clear()  # what one input has taught is not for the next
    return Program(Bytes(data)).run()


# --- inputs to begin with


def program(which: int, *steps: str, flags: int = 2, acts: bytes = b"") -> bytes:
    """An input: which client and server, the calls, and what the server does instead of answering."""
    return bytes((which | len(steps) << 4, flags, *map(NAMES.index, steps))) + acts


#: Acts: an answer as it should be, silence, a flood of what was said last.
ANSWER, SILENCE, FLOODS = b"\0", b"\4", b"\7\xff"


def saying(name: str, *octets: int) -> bytes:
    """The act of saying a method, with arguments by their places in the tables above."""
    return bytes((6, SAYINGS.index(name), *octets))


#: The answers to a handshake and the opening of a channel.
_BEGUN = ANSWER * 4


def seeds() -> List[bytes]:
    """All calls with good answers, and each saying at each stage, once and over and over."""
    found = []
    for which in range(4):
        for flags in (0, 1, 2, 12, 18):
            found.append(program(which, "declare", "consume", "wait", "ack", "cancel", "close_channel", flags=flags))
            found.append(program(which, "confirm", "publish_mandatory", "confirms", "returned", "get", flags=flags))
        found.append(program(which, "publish_confirm", "batch", "consume_loop", "qos", "look", "drain", "secret"))
        found.append(program(which, "second_channel", "publish", "wait"))
        for name in SAYINGS:
            for beginning in (b"", ANSWER, ANSWER * 2, ANSWER * 3, _BEGUN):
                acts = beginning + saying(name, 2, 3, 2, 1, 4, 0)
                found.append(program(which, "wait", "declare", acts=acts))
            found.append(program(which, "declare", "wait", acts=_BEGUN + saying(name, 0, 3, 0, 0, 0) + FLOODS))
            found.append(program(which, "consume", "wait", acts=_BEGUN + ANSWER + saying(name, 0, 2, 0, 0, 0) + FLOODS))
    return found


def fuzz(data: bytes) -> None:
    check(data)


def main() -> None:
    if atheris is None:
        sys.exit("fuzz.client: there is no atheris here (see tests/requirements.txt)")
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
