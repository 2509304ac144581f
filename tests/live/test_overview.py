"""Every example of docs/overview.txt that starts with >>> does what is printed below it."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from amqplib.client.connect import url
from tests.conftest import Broker

from .conftest import Names

OVERVIEW = Path(__file__).resolve().parents[2] / "docs" / "overview.txt"


def test_overview(broker: Broker, address: str, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url, "DEFAULT_PORT", int(address.rpartition(":")[2]))
    names.queues.append("amqplib.queue")
    names.exchanges.append("amqplib.fan")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    text = OVERVIEW.read_text(encoding="utf-8").replace("\n    RabbitMQ\n", "\n    %s\n" % broker.product)
    examples = doctest.DocTestParser().get_doctest(text, {}, OVERVIEW.name, str(OVERVIEW), 0)
    result = doctest.DocTestRunner(optionflags=flags).run(examples)
    assert result.attempted > 50
    assert result.failed == 0
