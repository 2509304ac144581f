"""Waiting for publisher confirms, and calling the program's functions for them.

What the peer says of publishes is entered in the books as it arrives, by whichever thread reads. Functions of the
program are called for it later, inside wait() or wait_for_confirms().
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..protocol.confirms import Back
from ..protocol.endings import Over
from ..protocol.port import ACK
from .deadline import Deadline
from .exceptions import (
    AMQPException,
    AMQPTimeoutError,
    ConfirmTimeoutError,
    UnconfirmedError,
    unconfirmed_at_the_end,
)
from .line import Line

__all__ = ["Account", "await_confirms", "report_all", "report_one"]


class Account(NamedTuple):
    """What is not safe: delivery tag -> message each, and what came with those that were returned."""

    nacked: Dict[int, Any]
    returned: Dict[int, Any]
    unconfirmed: Dict[int, Any]
    backs: List[Back]


def report(line: Line) -> None:
    """Call the program's function for all that one acknowledgement or refusal has settled."""
    books, port = line.port.books, line.port
    if books is None:
        return
    try:
        callback, settled = books.reports.popleft()
    except IndexError:
        return  # another thread was faster
    while settled:
        try:
            tag, msg = settled.popleft()
            with line.driver.lock:
                books.refused(tag)
            callback(tag, msg)
        except BaseException:
            if settled:  # one that raises keeps no other from being called
                with line.driver.lock:
                    books.reports.appendleft((callback, settled))
                    port.remind(line.driver.session, (ACK, (0, False), None))
            raise


def report_one(line: Line) -> None:
    """The same for wait(), whose inbox had a reminder of it: another one stands for what is left."""
    books, port = line.port.books, line.port
    with line.driver.lock:
        reminder, port.reminder = port.reminder, None
        if reminder is not None and books is not None and len(books.reports) > 1:
            port.remind(line.driver.session, reminder)
    report(line)


def report_all(line: Line) -> None:
    """Call the program's functions for all that has been settled."""
    books, port = line.port.books, line.port
    while books is not None and books.reports:
        report(line)
    with line.driver.lock:
        if port.reminder is not None and not (books and books.reports):
            try:
                port.inbox.remove(port.reminder)
            except ValueError:
                pass  # another thread is at it
            port.reminder = None


def await_confirms(
    line: Line,
    done: Callable[[], bool],
    call_back: Callable[[Line], None],
    collect: Callable[[], Account],
    deadline: Deadline,
) -> None:
    """Wait until `done`, also with what `call_back` has published; raise what `collect` then says is not safe."""
    cause: Optional[AMQPException] = None
    late, excuse = False, ""
    while True:
        try:
            _wait_until(line, done, deadline)
        except AMQPTimeoutError:
            late, excuse = True, line.driver.timeouts.excuse()
        except AMQPException as exc:
            cause = exc
        call_back(line)
        if late or cause or done():
            break
    with line.driver.lock:
        nacked, returned, unconfirmed, backs = collect()
    if not late and not cause:
        unconfirmed = {}  # another thread has published it since: nobody has waited for it
    if nacked or returned or unconfirmed:
        if cause:
            raise unconfirmed_at_the_end(cause, nacked, returned, unconfirmed, line.where) from cause
        kind = ConfirmTimeoutError if late and unconfirmed else UnconfirmedError
        raise kind(nacked, returned, unconfirmed, line.where, excuse=excuse, advice=_advice(backs))
    if cause:
        raise cause


def _advice(backs: List[Back]) -> str:
    """Where the first of the messages that came back was to go; '' where none did."""
    if not backs:
        return ""
    from .connect import hints  # not before something goes wrong

    reply_code, _, exchange, routing_key, _ = min(backs, key=lambda back: back.tag)
    advice = hints.on_returned(reply_code, exchange, routing_key)
    return "of the first that came back: %s" % advice if advice and len(backs) > 1 else advice


def _wait_until(line: Line, done: Callable[[], bool], deadline: Deadline) -> None:
    """Let methods arrive until `done`, or the channel is over, which raises."""
    line.check()

    def take() -> Optional[bool]:
        if done():
            return True
        if line.port.ending is not None:
            raise Over
        return None

    line.wait_for(take, deadline)
