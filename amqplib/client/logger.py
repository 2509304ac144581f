"""Where amqplib logs: the one name that a program has to filter which passes log records on over AMQP itself."""

from __future__ import annotations

import logging

__all__ = ["LOGGER"]

LOGGER = logging.getLogger("amqplib")
