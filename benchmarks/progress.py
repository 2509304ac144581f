"""A progress bar on the terminal; where there is none, a line now and then."""

from __future__ import annotations

import sys
import time

_WIDTH = 30
_SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """So many steps, each with a name."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done = steps, 0
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._said = self._start

    def step(self, name: str) -> None:
        """A step begins."""
        share = self._done / self._steps
        self._done += 1
        now = time.monotonic()
        left = "%d s left" % ((now - self._start) * (1 - share) / share) if share else ""
        if self._terminal:
            bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH, ".")
            self._write("\r\x1b[K[%s] %3d %%  %s  %s" % (bar, share * 100, name, left))
        elif now - self._said > _SECONDS_BETWEEN_LINES:
            self._said = now
            self._write("%3d %%  %s  %s\n" % (share * 100, name, left))

    def end(self) -> None:
        if self._terminal:
            self._write("\r\x1b[K")

    def say(self, what: str) -> None:
        """A line that stays."""
        self.end()
        self._write(what + "\n")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
