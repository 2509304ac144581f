"""The command line options that the demos share."""

from __future__ import annotations

import argparse
from typing import Any, Dict


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that knows how to say where the broker is and who we are."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--host", default="localhost", help="AMQP server, NAME or NAME:PORT (default: %(default)s)")
    p.add_argument("-u", "--userid", default="guest", help="userid to log in as (default: %(default)s)")
    p.add_argument("-p", "--password", default="guest", help="password to log in with (default: %(default)s)")
    p.add_argument("--ssl", action="store_true", help="use TLS")
    return p


def connection_arguments(options: argparse.Namespace) -> Dict[str, Any]:
    """What the options say, as arguments of Connection."""
    names = ("host", "userid", "password", "ssl")
    return {name: getattr(options, name) for name in names}
