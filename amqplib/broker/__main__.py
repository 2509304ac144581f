"""`python -m amqplib.broker`: the broker as a program. Ctrl-C ends it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from types import FrameType
from typing import List, Optional, Tuple

from .broker import Broker

__all__ = ["main"]

#: For ports and for heartbeats alike.
_MOST = 65535


def _credentials(text: str) -> Tuple[str, str]:
    name, colon, password = text.partition(":")
    if not name or not colon:
        raise argparse.ArgumentTypeError("it is NAME:PASSWORD")  # what was given may be a password, and is not shown
    return name, password


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > _MOST:
        raise argparse.ArgumentTypeError("%r is not a number from 0 to %d" % (text, _MOST))
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m amqplib.broker",
        description="An AMQP broker in memory, for demos and tests. It speaks AMQP 0-8 and 0-9-1. Ctrl-C ends it, and "
        "all that it holds is gone then.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_number, default=5672, help="0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--user",
        type=_credentials,
        action="append",
        metavar="NAME:PASSWORD",
        help="who may log in; may be repeated (default: guest:guest)",
    )
    parser.add_argument("--vhost", action="append", metavar="NAME", help="a virtual host; may be repeated (default: /)")
    parser.add_argument("--heartbeat", type=_number, default=60, help="seconds, 0 for none (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print a line for what each connection does")
    return parser


def _printable(text: str) -> str:
    """In characters that the terminal has."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def main(arguments: Optional[List[str]] = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    given = _parser().parse_args(arguments)

    def log(line: str) -> None:
        if given.verbose:
            try:
                print("%s %s" % (time.strftime("%H:%M:%S"), _printable(line)), flush=True)
            except BrokenPipeError:  # nobody reads it any more
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    try:
        broker = Broker(
            host=given.host,
            port=given.port,
            users=dict(given.user) if given.user else None,
            vhosts=given.vhost or ["/"],
            heartbeat=given.heartbeat,
            log=log,
        )
    except OSError as exc:
        print("no broker on %s, port %d: %s" % (given.host, given.port, exc.strerror or exc), file=sys.stderr)
        return 1

    def end(number: int, frame: Optional[FrameType]) -> None:
        broker.end()

    for number in (signal.SIGINT, signal.SIGTERM):  # a KeyboardInterrupt would leave lines half written
        signal.signal(number, end)
    print("an AMQP broker in memory on %s; Ctrl-C ends it" % broker.address, flush=True)
    broker.serve()
    print("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
