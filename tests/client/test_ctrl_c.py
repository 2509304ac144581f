"""Proves that an exception from outside (Ctrl-C) does no harm wherever it comes: what goes on is right, or all is over.

Python looks for signals where a function begins, and where a call of a function of the system has returned. There, at
each of these moments in turn, a KeyboardInterrupt comes.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict

import pytest

import amqplib
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE
from .threads import Threads

CORE = tuple(str(Path(amqplib.__file__).parent / part) for part in ("client", "protocol"))


class Interruption:
    """As a with-statement: a KeyboardInterrupt comes at the moment of this number, unless it is over before."""

    def __init__(self, moment: int) -> None:
        self._left = moment
        #: Where it came.
        self.where = ""

    def __enter__(self) -> Interruption:
        gc.disable()  # where it comes in the middle of that, Python drops it
        self._before = sys.getprofile()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *exc: Any) -> None:
        sys.setprofile(self._before)
        gc.enable()

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        name = frame.f_code.co_filename
        if self.where or event not in ("call", "c_return") or not name.startswith(CORE):
            return
        self._left -= 1
        if self._left < 0:
            self.where = "%s:%d, %s" % (name, frame.f_lineno, event)
            raise KeyboardInterrupt


def publish(ch: amqp.Channel) -> Any:
    return ch.basic_publish(amqp.Message(b"x"), routing_key="q")


def publish_mandatory(ch: amqp.Channel) -> Any:
    return ch.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=True)


def publish_large(ch: amqp.Channel) -> Any:
    return ch.basic_publish(amqp.Message(b"x" * 300000), routing_key="q")


def publish_and_wait(ch: amqp.Channel) -> Any:
    return ch.basic_publish_confirm(amqp.Message(b"x"), routing_key="q")


def gather(ch: amqp.Channel) -> None:
    with ch.batch():
        publish(ch)
        publish(ch)


def declare(ch: amqp.Channel) -> Any:
    return ch.queue_declare("q", passive=True)


def wait(ch: amqp.Channel) -> None:
    ch.wait_for_confirms()


@pytest.mark.parametrize("call", [publish, publish_mandatory, publish_large, publish_and_wait, gather, declare, wait])
def test_ctrl_c_at_every_moment(call: Callable[[amqp.Channel], Any]) -> None:
    wrong: Dict[str, str] = {}
    number, come = 0, True
    with Broker() as broker:
        while come:
            conn = amqp.Connection(broker.address, reply_timeout=PATIENCE, write_timeout=PATIENCE)
            ch = conn.channel()
            ch.queue_declare("q", auto_delete=False)
            ch.queue_purge("q")
            ch.confirm_select()
            publish(ch)
            with suppress(KeyboardInterrupt), Interruption(number) as interruption:
                call(ch)
            come = bool(interruption.where)
            number += 1
            threads = Threads()  # another one, which would wait for ever for a lock that is still held
            threads.start(look, broker, conn, ch)
            (found,) = threads.outcomes()
            if found is not None:
                wrong[interruption.where] = repr(found)
            broker.faults.clear()
            with suppress(amqp.AMQPConnectionException, amqp.AMQPTimeoutError):
                conn.close()
    assert wrong == {}
    assert number >= 10


def look(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Nothing is raised where all is right, and where it is over."""
    try:
        ch.wait_for_confirms()
        arrived = ch.queue_declare("q", passive=True)[1]
        broker.faults.nack_every(1)
        with pytest.raises(amqp.UnconfirmedError) as caught:
            ch.basic_publish_confirm(amqp.Message(b"refused"), routing_key="q")
        assert list(caught.value.nacked) == [arrived + 1], "the broker counts differently"
    except (amqp.ConnectionLostError, amqp.ChannelClosedError, amqp.UnconfirmedError) as exc:
        if not ("KeyboardInterrupt" in str(exc) or "a batch could not be sent" in str(exc)):
            raise
