"""The program around the commands: the connection, signals, errors and exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Dict, List, Optional

import amqplib.client_0_9_1 as amqp

from .arguments import parser
from .commands import COMMANDS, Mistake

__all__ = ["main", "run"]

_FAILED, _WRONG = 1, 2

#: What a shell says of a process that a signal has ended.
_OF_SIGNAL = 128


class _Stop(BaseException):
    """A signal that ends the program has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: Optional[FrameType]) -> None:
    # a second one ends the process at once: something may hang
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise _Stop(number)


def _trace(record: amqp.TraceRecord) -> None:
    print(record, file=sys.stderr)


def _connect(given: argparse.Namespace) -> amqp.Connection:
    ssl: Dict[str, Any] = {name: getattr(given, name) for name in ("ca_certs", "certfile", "keyfile")}
    ssl = {name: value for name, value in ssl.items() if value is not None}
    began = time.perf_counter()
    conn = amqp.Connection(
        given.url,
        ssl=ssl or False,
        connect_timeout=given.connect_timeout,
        client_properties={"connection_name": "amqplib %s" % given.command.replace("_", " ")},
        trace=_trace if given.trace else None,
    )
    given.connected_in = time.perf_counter() - began
    return conn


def _run(given: argparse.Namespace) -> int:
    with _connect(given) as conn, conn.channel() as ch:
        ch.auto_decode = False  # bodies as they are
        return COMMANDS[given.command](ch, given)


def run(arguments: Optional[List[str]] = None) -> int:
    """Do what the command line says; the exit code."""
    given = parser().parse_args(arguments)
    if given.command == "docs":
        from .docs import where

        print(where(Path(amqp.__file__).resolve().parents[1]), end="")
        return 0
    level = logging.DEBUG if given.verbose else logging.ERROR if given.quiet else logging.WARNING
    logging.getLogger().setLevel(level)
    try:
        return _run(given)
    except (Mistake, ValueError) as exc:
        return _failed(_WRONG, exc)
    except BrokenPipeError:  # whoever read our output has gone: what was not written goes back to its queue
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OF_SIGNAL + getattr(signal, "SIGPIPE", 13)
    except (amqp.AMQPException, OSError) as exc:
        return _failed(_FAILED, exc)


def _failed(code: int, exc: Exception) -> int:
    print("amqplib: %s" % " ".join(str(exc).split()), file=sys.stderr)
    return code


def main() -> int:
    """The whole process."""
    logging.basicConfig(format="amqplib: %(message)s", stream=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return run()
    except _Stop as exc:
        return _OF_SIGNAL + exc.number
