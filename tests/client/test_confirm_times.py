"""confirm_select(timed=True) and confirm_times()."""

from __future__ import annotations

from typing import Union

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker


@pytest.mark.parametrize("recover", [False, amqp.Recovery(nacked=0)], ids=["", "recover"])
def test_times(broker: Broker, recover: Union[bool, amqp.Recovery]) -> None:
    broker.faults.nack_every(3)
    with amqp.Connection(broker.address, recover=recover) as conn, conn.channel() as ch:
        ch.queue_declare("work")
        ch.confirm_select(timed=True)
        with ch.batch():
            for _ in range(2):
                ch.basic_publish(amqp.Message("x"), routing_key="work")
        with pytest.raises(amqp.UnconfirmedError):
            ch.basic_publish_confirm(amqp.Message("x"), routing_key="work", mandatory=True)
        times = ch.confirm_times()
        assert [time.acknowledged for time in times] == [True, True, False]
        assert all(0 < time.seconds < 60 for time in times)
        assert ch.confirm_times() == []
        ch.basic_publish(amqp.Message("x"), routing_key="work")
        ch.wait_for_confirms()
    assert [time.acknowledged for time in ch.confirm_times()] == [True]


def test_the_time_is_that_of_the_confirm(broker: Broker) -> None:
    """Not that of when the program looks: what the peer was slow with is in it, what the program did before is not."""
    broker.faults.delay_confirms(0.3)
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        ch.confirm_select(timed=True)
        ch.basic_publish_confirm(amqp.Message("x"), routing_key="nowhere")
        (time,) = ch.confirm_times()
        assert time.seconds >= 0.3


def test_nobody_has_asked(broker: Broker) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        with pytest.raises(ValueError, match=r"confirm_select\(\) has not been called on channel 1"):
            ch.confirm_times()
        ch.confirm_select()
        with pytest.raises(ValueError, match=r"confirm_select\(timed=True\) has not been called on channel 1"):
            ch.confirm_times()
