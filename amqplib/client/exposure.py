"""Passwords in clear text over the network: the program is told, once for every host."""

from __future__ import annotations

import socket
from typing import Set

from .address import Address
from .logger import LOGGER
from .login import SENDS_PASSWORD
from .transport import Transport

__all__ = ["warn_of_exposure"]

_warned: Set[Address] = set()


def warn_of_exposure(transport: Transport, mechanism: str, where: str) -> None:
    """Log a warning if the mechanism is about to send the password unencrypted to another machine."""
    if mechanism.upper() not in SENDS_PASSWORD or transport.encrypted or transport.address in _warned:
        return
    if not _is_here(transport.sock):
        _warned.add(transport.address)
        LOGGER.warning(
            "%s: the password goes over the network unencrypted (%s without TLS): ssl=True encrypts it",
            where,
            mechanism,
        )


def _is_here(sock: socket.socket) -> bool:
    """Is the peer on this machine?"""
    try:
        own, peer = sock.getsockname(), sock.getpeername()
    except OSError:
        return True  # it is lost: nothing will be sent
    if not isinstance(peer, tuple):  # a path of this machine's
        return True
    host: str = peer[0]
    return host == "::1" or host.startswith(("127.", "::ffff:127.")) or host == own[0]
