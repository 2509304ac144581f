"""What the demos share: the command line options, and how they end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional


def connection_options(own_broker: bool = False) -> argparse.ArgumentParser:
    """A parser, to be the parent of others, that knows how to say where the broker is and who we are.

    own_broker: without a host, the program brings its own.
    """
    p = argparse.ArgumentParser(add_help=False)
    host = None if own_broker else "localhost"
    text = "AMQP server: NAME, NAME:PORT or a URL (default: %s)"
    p.add_argument("--host", default=host, help=text % (host or "one in this process"))
    p.add_argument("-u", "--userid", default="guest", help="userid to log in as (default: %(default)s)")
    p.add_argument("-p", "--password", default="guest", help="password to log in with (default: %(default)s)")
    p.add_argument("--ssl", action="store_true", help="use TLS")
    return p


def parser(description: str, own_broker: bool = False) -> argparse.ArgumentParser:
    """A parser that knows these."""
    return argparse.ArgumentParser(description=description, parents=[connection_options(own_broker)])


def number(text: str) -> int:
    """An argument that is a number of things."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError("%r is not a number of 0 or more" % text)
    return int(text)


def shown(text: object) -> str:
    """What others have sent, fit to be printed: they may send what is no UTF-8, or commands a terminal."""
    plain = str(text)
    return plain if plain.isprintable() else repr(plain)


def connection_arguments(options: argparse.Namespace) -> Dict[str, Any]:
    """What the options say, as arguments of Connection."""
    names = ("host", "userid", "password", "ssl")
    return {name: getattr(options, name) for name in names}


def run(main: Callable[[], Optional[int]]) -> int:
    """The exit code of main(); an error is said in one line."""
    import amqplib.client_0_9_1 as amqp  # not above: the demos put their checkout on the path first

    try:
        return main() or 0
    except KeyboardInterrupt:
        return 130
    except (amqp.AMQPException, OSError, ValueError) as exc:
        print("%s: %s" % (Path(sys.argv[0]).name, " ".join(str(exc).split())), file=sys.stderr)
        return 1
