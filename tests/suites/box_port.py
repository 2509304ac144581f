"""A pytest plugin: who connects to AMQP's port gets the broker in the box, whose port BOX_PORT says."""

from __future__ import annotations

import os
import socket
from typing import Any

AMQP_PORT = 5672

_connect = socket.socket.connect


def connect(sock: socket.socket, address: Any) -> None:
    if isinstance(address, tuple) and address[1] == AMQP_PORT:
        address = (address[0], int(os.environ["BOX_PORT"]), *address[2:])
    _connect(sock, address)


socket.socket.connect = connect  # type: ignore[assignment, method-assign]
