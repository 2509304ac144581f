"""Looking host names up, with a deadline that systems do not have.

A thread asks the system, which takes as long as it likes; whoever wants to know waits for as long as there is time.
The thread of a look-up that was given up cannot be ended. So that programs that try again and again do not gather them,
there is one for a name at a time, whoever asks, and no more than MOST altogether.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Dict, List, Optional, Tuple, Union

from ..connect.address import Address, is_ipv6
from ..deadline import Deadline
from ..exceptions import AMQPTimeoutError, ConnectionLostError

__all__ = ["MOST", "look_up"]

#: Names that are looked up at a time.
MOST = 16

#: Seconds of a single wait.
_LONGEST = 3600.0

#: What socket.getaddrinfo() returned, or raised.
_Answer = Union[List[Any], BaseException]


def look_up(address: Address, deadline: Deadline) -> List[Any]:
    """The host's addresses, as socket.getaddrinfo() has them."""
    found: Optional[_Answer]
    if deadline.remaining() is None or _is_literal(address.host):
        found = _ask(address)
    else:
        found = _look_ups.find(address, deadline)
    if found is None:
        text = "%s: the host name was not looked up within %.3g s" % (address, deadline.seconds or 0)
        raise AMQPTimeoutError(text)
    if isinstance(found, list):
        return found
    if not isinstance(found, Exception):
        raise found
    text = "the host name %r could not be resolved: %s" % (address.host, found)
    raise ConnectionLostError(0, text, where=str(address), errno=getattr(found, "errno", None)) from found


def _ask(address: Address) -> _Answer:
    try:
        return list(socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP))
    except BaseException as exc:  # whatever it is, those who wait are to be told
        return exc.with_traceback(None)


def _is_literal(host: str) -> bool:
    """Is it an address, which needs no looking up? What only looks like one is for the system to find out, and so is
    what a zone means."""
    if is_ipv6(host) and "%" not in host:
        return True
    if not (host.isascii() and host.replace(".", "").isdigit()):
        return False
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


class _LookUps:
    """Those that are under way. Its lock is re-entrant: a signal handler may connect, too."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: For each the list that its answer will be in.
        self._under_way: Dict[Tuple[str, int], List[_Answer]] = {}

    def find(self, address: Address, deadline: Deadline) -> Optional[_Answer]:
        """The answer for this address; None if there is none in time."""
        with self._changed:
            while address not in self._under_way and len(self._under_way) >= MOST:
                if deadline.expired():
                    return None
                self._changed.wait(deadline.within(_LONGEST))
            answer = self._under_way.get(address)
            if answer is None:
                answer = self._under_way[address] = []
                self._begin(address, answer)
            while not answer:
                if deadline.expired():
                    return None
                self._changed.wait(deadline.within(_LONGEST))
            return answer[0]

    def _begin(self, address: Address, answer: List[_Answer]) -> None:
        thread = threading.Thread(target=self._run, args=(address, answer), name="amqplib-lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many; or Python 3.12 is about to exit
            self._run(address, answer)
        except BaseException:  # Ctrl-C: nobody else is to wait for a thread that may not be there
            self._under_way.pop(address, None)
            raise

    def _run(self, address: Address, answer: List[_Answer]) -> None:
        found = _ask(address)
        with self._changed:
            answer.append(found)
            if self._under_way.get(address) is answer:
                del self._under_way[address]
            self._changed.notify_all()


_look_ups = _LookUps()


def _in_child() -> None:
    """A child process has none of the threads, and maybe a lock that one of them held."""
    _look_ups.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
