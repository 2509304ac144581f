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

if TYPE_CHECKING:
    from .routes import Routes

__all__ = ["watch"]

#: All links, by id(). Not a WeakSet: another thread may be in the middle of using that at the fork.
_links: Dict[int, weakref.ref[Routes]] = {}


def watch(link: Routes) -> None:
    """Have the link told of a fork."""
    _links[id(link)] = weakref.ref(link, partial(_links.pop, id(link)))


def _in_child() -> None:
    for ref in list(_links.values()):
        link = ref()
        if link is not None:
            link.leave_to_parent(os.getppid())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
