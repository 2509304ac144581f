"""Fork: a child process has its parent's connections in its memory, and must leave them alone.

Both would send and receive on one network connection, and either could end it for the other. So the child's copy of
each connection is over as soon as there is a child: its calls raise, and closing it, collecting it or exiting touches
nothing but the child's own file descriptor, which does not end the parent's connection. Nothing is asked on the way
of a message: Python itself tells of os.fork(), and of what is built on it, such as multiprocessing.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Dict

from . import heartbeat

__all__ = ["watch"]


if TYPE_CHECKING:
    from typing import Protocol

    class Forked(Protocol):
        """What has to be told of a fork."""

        def leave_to_parent(self, parent: int) -> None:
            """This is a child process now, with one thread; `parent` is whose connections there are."""


#: All of them, by id(). Not a WeakSet: another thread may be in the middle of using that at the fork.
_watched: Dict[int, weakref.ref[Forked]] = {}


def watch(forked: Forked) -> None:
    """Have it told of a fork."""
    _watched[id(forked)] = weakref.ref(forked, partial(_watched.pop, id(forked)))


def _in_child() -> None:
    heartbeat.forked()
    for ref in list(_watched.values()):
        forked = ref()
        if forked is not None:
            forked.leave_to_parent(os.getppid())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=heartbeat.forking, after_in_child=_in_child)
