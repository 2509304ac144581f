"""The command line: what there is to say."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

__all__ = ["parser"]

_DESCRIPTION = "Send and receive AMQP messages, and look after queues and exchanges."

_EPILOG = """\
exit codes: 0 done; 1 an error, of the broker or the network; 2 a mistake in the command; 3 the broker has not taken
messages: no queue was there for them, or it refused; 4 there was no message; 130 Ctrl-C, 143 SIGTERM

examples:
  amqplib ping
  amqplib declare queue work
  echo hello | amqplib publish work
  amqplib publish --exchange amq.topic info.disk -m full -H host=a -H percent:=97
  amqplib get work
  amqplib consume work --json --idle 5 > saved; amqplib publish --json < saved
"""

#: The environment variable with the broker's URL.
URL = "AMQP_URL"


def number(text: str) -> int:
    """A number of things, 1 or more."""
    if not (text.isascii() and text.isdecimal()) or not int(text):
        raise argparse.ArgumentTypeError("%r is not a number of 1 or more" % text)
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("%r is not a number of seconds" % text)
    return value


def pair(text: str) -> Tuple[str, Any]:
    """NAME=TEXT or NAME:=JSON."""
    name, equals, value = text.partition("=")
    if not equals or not name or name == ":":
        raise argparse.ArgumentTypeError("%r is not NAME=TEXT, nor NAME:=JSON" % text)
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError("%r: no JSON: %s" % (text, exc)) from None


class _Pairs(argparse.Action):
    """Gathers NAME=VALUE in a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """As argparse calls it."""
        gathered: Dict[str, Any] = dict(getattr(namespace, self.dest) or {})
        gathered.update([values])
        setattr(namespace, self.dest, gathered)


def _url(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise argparse.ArgumentTypeError("%s: %s" % (text[1:], getattr(exc, "strerror", None) or exc)) from None


def _common() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(add_help=False)
    group = p.add_argument_group("the broker")
    group.add_argument(
        "-u",
        "--url",
        type=_url,
        default=os.environ.get(URL) or "localhost",
        metavar="URL",
        help="amqp://USER:PASSWORD@HOST:PORT/VHOST, amqps:// for TLS, or HOST, or HOST:PORT; @FILE for a file that has "
        "it, since others can see the command line (default: the environment variable %s, or else localhost)" % URL,
    )
    group.add_argument(
        "--cacert", dest="ca_certs", metavar="FILE", help="trust the authorities in this file instead of the system's"
    )
    group.add_argument("--cert", dest="certfile", metavar="FILE", help="the client's certificate")
    group.add_argument("--key", dest="keyfile", metavar="FILE", help="its key, if that is in a file of its own")
    group.add_argument(
        "--connect-timeout", type=seconds, default=10.0, metavar="SECONDS", help="(default: %(default)s)"
    )
    group.add_argument("--trace", action="store_true", help="print on stderr what goes over the wire, a line a method")
    talk = p.add_mutually_exclusive_group()
    talk.add_argument("-v", "--verbose", action="store_true", help="tell on stderr what is done")
    talk.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return p


def _pairs(p: Any, *names: str, text: str) -> None:
    p.add_argument(*names, type=pair, action=_Pairs, default={}, metavar="NAME=VALUE", help=text)


def _arguments(p: argparse.ArgumentParser) -> None:
    _pairs(p, "-a", "--argument", text="an argument, NAME=TEXT or NAME:=JSON, such as x-max-length:=1000")


def _output(p: argparse.ArgumentParser) -> None:
    form = p.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="a line of JSON for each message, with all that belongs to it"
    )
    form.add_argument("--raw", action="store_true", help="bodies as they are; else each ends with a newline")


def _ping(p: argparse.ArgumentParser) -> None:
    p.add_argument("-n", "--count", type=number, default=1, help="so often, a second apart (default: %(default)s)")


def _publish(p: argparse.ArgumentParser) -> None:
    p.add_argument("key", nargs="?", help="routing key; for the default exchange the name of a queue")
    p.add_argument("file", nargs="*", help="each is the body of a message; - is stdin (default: stdin)")
    p.add_argument("-e", "--exchange", help="(default: the one that routes to the queue that the key names)")
    form = p.add_mutually_exclusive_group()
    form.add_argument("-m", "--message", metavar="TEXT", help="the body")
    form.add_argument("--lines", action="store_true", help="each line is the body of a message")
    form.add_argument("--json", action="store_true", help="each line is a message in JSON, as get and consume print it")
    _pairs(p, "-p", "--property", text="a property, such as content_type=text/plain or priority:=5")
    _pairs(p, "-H", "--header", text="a header, NAME=TEXT or NAME:=JSON")
    p.add_argument("--transient", action="store_true", help="not persistent: a restart of the broker loses them")
    p.add_argument("-n", "--count", type=number, default=1, help="each so often (default: %(default)s)")
    p.add_argument(
        "--unsafe", action="store_true", help="wait for no confirms, and let the broker drop what no queue takes"
    )


def _get(p: argparse.ArgumentParser) -> None:
    p.add_argument("queue")
    amount = p.add_mutually_exclusive_group()
    amount.add_argument("-n", "--count", type=number, default=1, help="at most so many (default: %(default)s)")
    amount.add_argument("--all", action="store_true", help="all that are there")
    p.add_argument("--keep", action="store_true", help="look only: they go back to the queue")
    _output(p)


def _consume(p: argparse.ArgumentParser) -> None:
    p.add_argument("queue")
    p.add_argument("-n", "--count", type=number, help="end after so many (default: never)")
    p.add_argument("--idle", type=seconds, metavar="SECONDS", help="end when none has come for so long")
    p.add_argument("--prefetch", type=number, default=100, help="so many are on their way (default: %(default)s)")
    p.add_argument("--offset", help="of a stream: first, last, next, or a number")
    p.add_argument("--no-ack", action="store_true", help="the broker forgets each as it sends it")
    _output(p)


def _declare_queue(p: argparse.ArgumentParser) -> None:
    p.add_argument("name")
    p.add_argument("--type", choices=("classic", "quorum", "stream"), help="(default: the virtual host's)")
    p.add_argument("--transient", action="store_true", help="not durable: a restart of the broker deletes it")
    p.add_argument("--auto-delete", action="store_true", help="it goes with its last consumer")
    p.add_argument("--passive", action="store_true", help="only look whether it is there")
    _arguments(p)


def _declare_exchange(p: argparse.ArgumentParser) -> None:
    p.add_argument("name")
    p.add_argument("type", nargs="?", default="direct", help="direct, fanout, topic, headers, ... (default: direct)")
    p.add_argument("--transient", action="store_true", help="not durable: a restart of the broker deletes it")
    p.add_argument("--auto-delete", action="store_true", help="it goes when nothing is bound to it any more")
    p.add_argument("--internal", action="store_true", help="only other exchanges publish to it")
    p.add_argument("--passive", action="store_true", help="only look whether it is there")
    _arguments(p)


def _bind(p: argparse.ArgumentParser) -> None:
    p.add_argument("queue", help="where messages are to go")
    p.add_argument("exchange", help="where they come from")
    p.add_argument("key", nargs="?", default="", help="routing key (default: none)")
    p.add_argument("--exchanges", action="store_true", help="the first one is an exchange, too")
    _arguments(p)


def _delete_queue(p: argparse.ArgumentParser) -> None:
    p.add_argument("name")
    p.add_argument("--if-unused", action="store_true", help="only if it has no consumers")
    p.add_argument("--if-empty", action="store_true", help="only if it has no messages")


def _delete_exchange(p: argparse.ArgumentParser) -> None:
    p.add_argument("name")
    p.add_argument("--if-unused", action="store_true", help="only if nothing is bound to it")


def _purge(p: argparse.ArgumentParser) -> None:
    p.add_argument("queue")


def _bench(p: argparse.ArgumentParser) -> None:
    p.add_argument("-n", "--count", type=number, default=20000, help="so many messages (default: %(default)s)")
    p.add_argument("-s", "--size", type=number, default=100, help="bytes of each body (default: %(default)s)")
    p.add_argument("--type", choices=("classic", "quorum"), default="classic", help="of the queue (default: classic)")


Setup = Callable[[argparse.ArgumentParser], None]

#: Command -> what it does, and its arguments.
_COMMANDS: Sequence[Tuple[str, str, Setup]] = (
    ("ping", "connect, and say what is there and how long it took", _ping),
    ("publish", "send messages, and be sure that the broker has them", _publish),
    ("get", "take messages that are in a queue", _get),
    ("consume", "take messages from a queue as they come", _consume),
    ("bind", "have messages of an exchange go to a queue", _bind),
    ("unbind", "undo a bind", _bind),
    ("purge", "drop the messages of a queue", _purge),
    ("bench", "measure what this machine and the broker do in a second", _bench),
)

_OF_BOTH: Sequence[Tuple[str, str, Setup, Setup]] = (
    ("declare", "make a queue or an exchange, unless it is there", _declare_queue, _declare_exchange),
    ("delete", "delete a queue or an exchange", _delete_queue, _delete_exchange),
)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line: `command` is the command, as in "ping" or "declare_queue"."""
    p = argparse.ArgumentParser(
        prog="amqplib", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = _common()
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text, setup in _COMMANDS:
        one = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[common])
        setup(one)
    for name, text, of_queue, of_exchange in _OF_BOTH:
        both = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        kinds = both.add_subparsers(dest="kind", metavar="queue|exchange", required=True)
        for kind, setup in (("queue", of_queue), ("exchange", of_exchange)):
            one = kinds.add_parser(kind, parents=[common])
            one.set_defaults(command="%s_%s" % (name, kind))
            setup(one)
    text = "say where the documents are"
    commands.add_parser("docs", help=text, description=text[0].upper() + text[1:] + ".")
    return p
