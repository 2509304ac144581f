"""RabbitMQ 4.3 and later take a prefetch limit for the whole channel and ignore it: the program is told."""

from __future__ import annotations

from typing import Any, Dict

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.connect import hints as advice

from .peer import Peer


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"product": "RabbitMQ", "version": "4.3.0"}, True),
        ({"product": "RabbitMQ", "version": "4.10.1"}, True),
        ({"product": "RabbitMQ", "version": "5.0.0-rc.1"}, True),
        ({"product": "RabbitMQ", "version": "4.2.9"}, False),
        ({"product": "RabbitMQ", "version": "3.10.8"}, False),
        ({"product": "RabbitMQ"}, False),
        ({"product": "RabbitMQ", "version": "unknown"}, False),
        ({"product": "Other", "version": "9.9"}, False),
        ({}, False),
    ],
)
def test_who_ignores_it(properties: Dict[str, Any], told: bool) -> None:
    assert bool(advice.on_global_qos(properties)) is told


@pytest.mark.parametrize("a_global", [True, False])
def test_a_warning_is_logged(peer: Peer, a_global: bool, caplog: pytest.LogCaptureFixture) -> None:
    peer.greet({"product": "RabbitMQ", "version": "4.3.6"})
    peer.let_in()
    peer.open_host()
    peer.open_channel()
    peer.answer("basic.qos", "basic.qos_ok")
    peer.part()
    with amqp.Connection(peer.address) as conn:
        conn.channel().basic_qos(0, 10, a_global)
    assert ("a_global=False" in caplog.text) is a_global
