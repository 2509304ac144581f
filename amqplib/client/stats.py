"""What has gone over a connection: the counters that Connection.stats() shows."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stats"]


class Stats(NamedTuple):
    """One connection, since it was made.

    On Python 3.8 and 3.9, and without a GIL, frames_out and messages_out may be short of a few where several threads
    publish at the same time; all others are exact.
    """

    #: Frames received and sent, heartbeats included.
    frames_in: int
    frames_out: int
    #: Octets of AMQP received and sent, before encryption.
    bytes_in: int
    bytes_out: int
    #: Messages received, whichever way (deliveries, answers to basic_get(), returned ones), and published.
    messages_in: int
    messages_out: int
    #: Published messages, on all open channels, that the server has not confirmed yet; see confirm_select().
    in_flight: int
    #: Methods that have been received and wait to be handled, on all open channels; see pending().
    pending: int
    #: Seconds since something last came from the server.
    last_seen: float
    #: How often the connection has come back: see Connection's `recover`. All of the above goes on counting then.
    recoveries: int = 0
