"""`python -m amqplib.broker`: the broker as a program. Ctrl-C ends it."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import List, Optional, Tuple

from .broker import Broker
from .memory import DEFAULT_MEMORY_MAX

__all__ = ["main"]

Users = List[Tuple[str, str]]

#: For ports and for heartbeats alike.
_MOST = 65535


#: The environment variable that may have what --user has, so that passwords are not seen in the list of processes.
_USERS = "AMQPLIB_BROKER_USERS"

_MEGABYTE = 1 << 20


def _credentials(line: str, where: str = "it") -> Tuple[str, str]:
    name, colon, password = line.partition(":")
    if not name or not colon:
        raise argparse.ArgumentTypeError("%s is NAME:PASSWORD" % where)  # what was given may be a password: not shown
    return name, password


def _lines(text: str, what: str) -> Users:
    """One NAME:PASSWORD a line."""
    lines = enumerate(text.splitlines(), 1)
    return [_credentials(line, "%s, line %d:" % (what, number)) for number, line in lines if line.strip()]


def _users(text: str) -> Users:
    if not text.startswith("@"):
        return [_credentials(text)]
    try:
        found = _lines(Path(text[1:]).read_text(encoding="utf-8"), text[1:])
    except (OSError, ValueError) as exc:
        raise argparse.ArgumentTypeError("%s: %s" % (text[1:], getattr(exc, "strerror", None) or exc)) from None
    if not found:
        raise argparse.ArgumentTypeError("%s: there is nobody in it" % text[1:])
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        type=_users,
        action="append",
        metavar="NAME:PASSWORD",
        help="who may log in; @FILE has one NAME:PASSWORD a line; may be repeated (default: the lines of the "
        "environment variable %s, or else guest:guest)" % _USERS,
    )
    parser.add_argument("--vhost", action="append", metavar="NAME", help="a virtual host; may be repeated (default: /)")
    parser.add_argument("--heartbeat", type=_number, default=60, help="seconds, 0 for none (default: %(default)s)")
    parser.add_argument(
        "--memory",
        type=_number,
        default=DEFAULT_MEMORY_MAX // _MEGABYTE,
        metavar="MB",
        help="publishers are blocked when messages take more; 0 for no limit (default: %(default)s)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print a line for what each connection does")
    return parser


def _printable(text: str) -> str:
    """In characters that the terminal has."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def main(arguments: Optional[List[str]] = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        named = [user for users in given.user or [_lines(os.environ.get(_USERS, ""), _USERS)] for user in users]
    except argparse.ArgumentTypeError as exc:
        parser.error(str(exc))
    users = dict(named) or {"guest": "guest"}
    if users.get("guest") == "guest" and not _is_loopback(given.host):
        print("warning: on %s, anybody may log in as guest, whose password is guest" % given.host, file=sys.stderr)

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
            users=users,
            vhosts=given.vhost or ["/"],
            heartbeat=given.heartbeat,
            memory_max=given.memory * _MEGABYTE,
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
