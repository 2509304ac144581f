"""Heartbeats: a thread that tells the peer that we are here while the program does something else.

It only sends. That the peer is silent is noticed by whoever waits (`Link`). It is started only when a heartbeat was
agreed on, and ends with the link; with one that is dropped without a close, which it holds by a weak reference, at its
next beat.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from ..wire.frames import HEARTBEAT, encode_frame
from .exceptions import AMQPConnectionException, AMQPTimeoutError

if TYPE_CHECKING:
    from .link import Link

__all__ = ["HEARTBEAT_FRAME", "Heartbeats"]

HEARTBEAT_FRAME = encode_frame(HEARTBEAT, 0, b"")


class Heartbeats:
    """Sends a heartbeat every `seconds`, until stop()."""

    def __init__(self, link: Link, seconds: float) -> None:
        self._stopped = threading.Event()
        link_ref = weakref.ref(link)
        thread = threading.Thread(target=_beat, args=(link_ref, seconds, self._stopped), name="amqplib-heartbeat")
        thread.daemon = True
        thread.start()

    def stop(self) -> None:
        """Send no more. Does not wait for the thread."""
        self._stopped.set()


def _beat(link_ref: weakref.ref[Link], seconds: float, stopped: threading.Event) -> None:
    while not stopped.wait(seconds):
        link = link_ref()
        if link is None or link.failure:
            return
        try:
            link.send_heartbeat()
        except AMQPTimeoutError:
            pass  # the program's own timeout on the socket: the next one may go
        except AMQPConnectionException:
            return  # whoever waits or sends next is told
        del link
