"""What the tests of faults share."""

from __future__ import annotations

import logging
from typing import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The library warns of what it cannot read, and these tests send it thousands of such things."""
    logger = logging.getLogger("amqplib")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
