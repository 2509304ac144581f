"""How far it is, on a terminal; nothing anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import IO, Optional, Type

__all__ = ["Progress"]

#: Seconds between two looks at it.
_EVERY = 0.2

_WIDTH = 30


class Progress:
    """A line on stderr that is written over and over, and is gone in the end."""

    def __init__(self, total: Optional[int], wanted: bool, stream: Optional[IO[str]] = None) -> None:
        self._stream = stream or sys.stderr
        self._total = total
        self._wanted = wanted and self._stream.isatty()
        self._began = self._shown = time.monotonic()
        self.done = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        if self._shown != self._began:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def step(self) -> None:
        """One more."""
        self.done += 1
        if not self._wanted:
            return
        now = time.monotonic()
        if now - self._shown < _EVERY:
            return
        self._shown = now
        self._stream.write("\r\x1b[K" + self._line(now))
        self._stream.flush()

    def _line(self, now: float) -> str:
        rate = "%d, %.0f/s" % (self.done, self.done / (now - self._began))
        if not self._total:
            return rate
        full = min(self.done * _WIDTH // self._total, _WIDTH)
        return "[%s%s] %s" % ("#" * full, "." * (_WIDTH - full), rate)
