"""Pytest under gevent or eventlet: python -m tests.green FLAVOUR ARGUMENTS...

gevent              gevent.monkey.patch_all() before anything is imported
eventlet            eventlet.monkey_patch() before anything is imported
import_patched      nothing is patched but amqplib, by eventlet.import_patched()
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

FLAVOURS = ("gevent", "eventlet", "import_patched")


def patch(flavour: str) -> None:
    """Do what a program does first of all; amqplib works on green sockets then."""
    package: Any = importlib.import_module("gevent.monkey" if flavour == "gevent" else "eventlet")
    if flavour == "gevent":
        package.patch_all()
    elif flavour == "eventlet":
        package.monkey_patch()
    else:
        for name in ("amqplib.client_0_8", "amqplib.client_0_9_1"):
            package.import_patched(name)
    transport: Any = importlib.import_module("amqplib.client.net.transport")
    assert transport.socket.socket.__module__.startswith(("gevent", "eventlet")), transport.socket.socket


def main() -> None:
    """Patch, run, and leave without waiting for what green threads are left."""
    patch(sys.argv[1])
    import pytest

    code = pytest.main(sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
