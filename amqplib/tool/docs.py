"""Where the documents are: beside a checkout, and in the source distribution of what is installed."""

from __future__ import annotations

from pathlib import Path

from amqplib import __version__

__all__ = ["where"]

_HERE = """\
The documents of amqplib %(version)s are in %(docs)s: index.rst is where to begin.
Whole programs are in %(demo)s.
"""

_ELSEWHERE = """\
The documents of amqplib %(version)s, with a tutorial, and whole programs are in its source distribution,
amqplib-%(version)s.tar.gz. It is where the wheel came from; of a package index that has it:

    python3 -m pip download --no-deps --no-binary :all: amqplib==%(version)s

In what `tar xf amqplib-%(version)s.tar.gz` unpacks, docs/index.rst is where to begin, and demo/ has the programs.
"""

_REFERENCE = """\
What each class and method does, from what is installed:

    python3 -m pydoc amqplib.client_0_9_1.Channel       or Connection, Message; amqplib.broker.Broker
"""


def where(package: Path) -> str:
    """What to print of the package in this folder."""
    root = package.parent
    facts = {"version": __version__, "docs": root / "docs", "demo": root / "demo"}
    text = _HERE if (root / "docs" / "index.rst").is_file() else _ELSEWHERE
    return text % facts + "\n" + _REFERENCE
