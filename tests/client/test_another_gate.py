"""A gate that is put before those that there are (docs/design.txt, Where the next rooms go) sees every publish once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.protocol.gates import SHUT, Batch, Data, Entered
from amqplib.protocol.port import Port
from amqplib.protocol.session import Session

if TYPE_CHECKING:
    from amqplib.protocol.gates import Gate


class Looking:
    """Lets everything in, and notes it."""

    def __init__(self, behind: Optional[Gate], seen: List[Any]) -> None:
        self._behind = behind
        self._seen = seen

    @property
    def gathers(self) -> bool:
        return self._behind is not None and self._behind.gathers

    @property
    def size(self) -> int:
        return self._behind.size if self._behind is not None else 0

    def enter(self, frames: Data, msg: Any, key: Any) -> Optional[Entered]:
        entered = (None, frames) if self._behind is None else self._behind.enter(frames, msg, key)
        if entered is not None:
            self._seen.append(msg)
        return entered


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The messages that have passed such a gate."""
    passed: List[Any] = []
    regate = Port.regate

    def regate_behind(port: Port, session: Session, item: Any = None) -> None:
        regate(port, session, item)
        if port.gate is not SHUT:
            port.gate = Looking(port.gate, passed)

    monkeypatch.setattr(Port, "regate", regate_behind)
    return passed


@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("size", [10, Batch.LIMIT // 4, 3 * Batch.LIMIT])
def test_it_sees_every_publish_once(broker: Broker, seen: List[Any], confirms: bool, size: int) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        ch.queue_declare("q")
        if confirms:
            ch.confirm_select()
        sent = [amqp.Message(b"%d" % number + bytes(size)) for number in range(30)]
        ch.basic_publish(sent[0], routing_key="q")
        ch.basic_publish(sent[1], routing_key="q", mandatory=True)
        with ch.batch():
            for number, msg in enumerate(sent[2:20]):
                ch.basic_publish(msg, routing_key="q", mandatory=number % 5 == 4)
        for msg in sent[20:]:
            ch.basic_publish(msg, routing_key="q")
        if confirms:
            ch.wait_for_confirms(timeout=10)
        got = [ch.basic_get("q", no_ack=True) for _ in sent]
        assert [msg.body for msg in got if msg is not None] == [msg.body for msg in sent]
        assert [id(msg) for msg in seen] == [id(msg) for msg in sent]
