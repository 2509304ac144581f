"""Ends what a test process leaves behind when it is killed: brokers.py starts this next to itself.

    python3 reaper.py DIRECTORY

Reads lines of `+GROUP` and `-GROUP`, the process groups that come and go, until its input closes: the process at the
other end of the pipe is done, or dead. Then it kills the groups that are left and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from typing import Set


def main(directory: str) -> None:
    groups: Set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(100):  # what was just killed may still be writing
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            break
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
