"""What each command does, on an open channel."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import IO, Any, Callable, Dict, Iterator, Optional

import amqplib.client_0_9_1 as amqp

from ..wire.text import printable
from .bench import bench
from .progress import Progress
from .records import Record, made, read, written

__all__ = ["COMMANDS", "Mistake"]

#: Exit codes.
_DONE, _NOT_TAKEN, _NOTHING = 0, 3, 4

#: Publishes that are on their way without a confirm, and seconds until those that are have to be confirmed.
_WINDOW, _CONFIRM_EVERY = 1000, 1.0

Given = argparse.Namespace


class Mistake(Exception):
    """Something that was given is of no use."""


def _say(given: Given, text: str) -> None:
    if not given.quiet:
        print(text, flush=True)


def _ping(ch: amqp.Channel, given: Given) -> int:
    conn = ch.connection
    assert conn is not None
    names = " ".join(printable(str(conn.server_properties.get(name, ""))) for name in ("product", "version"))
    _say(given, "%s, AMQP %s: connected in %.1f ms" % (names, conn.protocol, given.connected_in * 1000))
    for number in range(given.count):
        if number:
            time.sleep(1.0)
        began = time.perf_counter()
        conn.channel().close()
        _say(given, "a channel opened and closed in %.1f ms" % ((time.perf_counter() - began) * 1000))
    return _DONE


# --- out


def _publish(ch: amqp.Channel, given: Given) -> int:
    if not given.unsafe:
        ch.confirm_select(window=_WINDOW)
    confirm_at = time.monotonic() + _CONFIRM_EVERY
    with Progress(None, not given.quiet) as progress:
        try:
            for msg, exchange, key in _to_publish(given):
                for _ in range(given.count):
                    ch.basic_publish(msg, exchange, key, mandatory=not given.unsafe)
                    progress.step()
                    # what comes slowly is confirmed one by one: no mistake is kept until the end of the input
                    if not given.unsafe and (progress.done % _WINDOW == 0 or time.monotonic() >= confirm_at):
                        ch.wait_for_confirms()
                        confirm_at = time.monotonic() + _CONFIRM_EVERY
            if not given.unsafe:
                ch.wait_for_confirms()
        except amqp.UnconfirmedError as exc:
            return _not_taken(exc)
    _say(given, "%d %s" % (progress.done, "sent" if given.unsafe else "published, and the broker has them"))
    return _DONE


def _not_taken(exc: amqp.UnconfirmedError) -> int:
    if not exc.nacked and not exc.returned:
        raise exc
    number = min((*exc.nacked, *exc.returned))
    why = "no queue took it" if number in exc.returned else "the broker refused it"
    print("amqplib: message %d was not taken: %s (%s)" % (number, why, exc), file=sys.stderr)
    return _NOT_TAKEN


def _to_publish(given: Given) -> Iterator[Any]:
    """Messages, with exchange and routing key."""
    for msg, exchange, key in _messages(given):
        exchange = given.exchange if given.exchange is not None else exchange or ""
        key = given.key if given.key is not None else key
        if key is None and not exchange:
            raise Mistake("no QUEUE is given, and no --exchange; with --json a line may have its own routing_key")
        if not given.transient:
            msg.properties.setdefault("delivery_mode", 2)
        yield msg, exchange, key or ""


def _messages(given: Given) -> Iterator[Record]:
    def of(body: bytes) -> Record:
        return made(body, given.property, given.header), None, None

    if given.message is not None:
        if given.file:
            raise Mistake("--message and files: give one of them")
        yield of(given.message.encode("utf-8", "surrogateescape"))
        return
    if given.json and (given.property or given.header):
        raise Mistake("--json: properties and headers stand in the lines")
    for name in given.file or ["-"]:
        with _opened(name, given) as file:
            if not given.lines and not given.json:
                yield of(file.read())
                continue
            for number, line in enumerate(file, 1):
                if given.lines:
                    yield of(line.rstrip(b"\r\n"))
                elif line.strip():
                    try:
                        yield read(line)
                    except ValueError as exc:
                        raise Mistake("%s, line %d: %s" % (name, number, exc)) from None


def _opened(name: str, given: Given) -> IO[bytes]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin.isatty() and not given.quiet:
        print("amqplib: reading from the terminal; Ctrl-D ends it", file=sys.stderr)
    return open(sys.stdin.fileno(), "rb", closefd=False)


# --- in


def _write(msg: amqp.Message, given: Given) -> None:
    """Once this returns, whoever reads our output has it: then it may be acknowledged."""
    out = sys.stdout.buffer
    text = written(msg) if given.json else msg.body
    assert isinstance(text, bytes)  # auto_decode is off
    out.write(text if given.raw or text.endswith(b"\n") else text + b"\n")
    out.flush()


def _get(ch: amqp.Channel, given: Given) -> int:
    number = 0
    while given.all or number < given.count:
        msg = ch.basic_get(given.queue)
        if msg is None:
            break
        _write(msg, given)
        if not given.keep:  # else it goes back when the channel is closed
            msg.ack()
        number += 1
    return _DONE if number else _NOTHING


def _consume(ch: amqp.Channel, given: Given) -> int:
    arguments: Optional[Dict[str, Any]] = None
    if given.offset is not None:
        arguments = {"x-stream-offset": int(given.offset) if given.offset.isdecimal() else given.offset}
    prefetch = given.prefetch if given.count is None else min(given.prefetch, given.count)
    ch.basic_qos(prefetch_count=prefetch)
    number = 0
    for msg in ch.consume(given.queue, no_ack=given.no_ack, arguments=arguments, timeout=given.idle):
        _write(msg, given)
        if not given.no_ack:
            msg.ack()
        number += 1
        if number == given.count:
            break
    return _DONE if number else _NOTHING


# --- queues and exchanges


def _declare_queue(ch: amqp.Channel, given: Given) -> int:
    arguments = dict(given.argument)
    if given.type:
        arguments["x-queue-type"] = given.type
    name, messages, consumers = ch.queue_declare(
        given.name,
        passive=given.passive,
        durable=not given.transient,
        exclusive=False,
        auto_delete=given.auto_delete,
        arguments=arguments or None,
    )
    _say(given, json.dumps({"queue": name, "messages": messages, "consumers": consumers}))
    return _DONE


def _declare_exchange(ch: amqp.Channel, given: Given) -> int:
    ch.exchange_declare(
        given.name,
        given.type,
        passive=given.passive,
        durable=not given.transient,
        auto_delete=given.auto_delete,
        internal=given.internal,
        arguments=given.argument or None,
    )
    return _DONE


def _bind(ch: amqp.Channel, given: Given) -> int:
    bind = ch.exchange_bind if given.exchanges else ch.queue_bind
    bind(given.queue, given.exchange, given.key, arguments=given.argument or None)
    return _DONE


def _unbind(ch: amqp.Channel, given: Given) -> int:
    unbind = ch.exchange_unbind if given.exchanges else ch.queue_unbind
    unbind(given.queue, given.exchange, given.key, arguments=given.argument or None)
    return _DONE


def _delete_queue(ch: amqp.Channel, given: Given) -> int:
    number = ch.queue_delete(given.name, if_unused=given.if_unused, if_empty=given.if_empty)
    _say(given, "%s messages went with it" % number)
    return _DONE


def _delete_exchange(ch: amqp.Channel, given: Given) -> int:
    ch.exchange_delete(given.name, if_unused=given.if_unused)
    return _DONE


def _purge(ch: amqp.Channel, given: Given) -> int:
    _say(given, "%s messages dropped" % ch.queue_purge(given.queue))
    return _DONE


def _bench(ch: amqp.Channel, given: Given) -> int:
    bench(ch, given, lambda row: print(row, flush=True))
    return _DONE


#: By the name that the parser gives them.
COMMANDS: Dict[str, Callable[[amqp.Channel, Given], int]] = {
    "bench": _bench,
    "bind": _bind,
    "consume": _consume,
    "declare_exchange": _declare_exchange,
    "declare_queue": _declare_queue,
    "delete_exchange": _delete_exchange,
    "delete_queue": _delete_queue,
    "get": _get,
    "ping": _ping,
    "publish": _publish,
    "purge": _purge,
    "unbind": _unbind,
}
