"""docs/broker.txt shows code that runs, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.broker.faults import Faults

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "broker.txt").read_text(encoding="utf-8")


def block(first: str, last: str) -> str:
    """The indented lines from one to another."""
    lines = TEXT.split("\n")
    start = next(n for n, line in enumerate(lines) if first in line)
    end = next(n for n, line in enumerate(lines) if n >= start and last in line)
    return "\n".join(line[4:] for line in lines[start : end + 1])


def test_the_first_example() -> None:
    exec(block("from amqplib.broker import Broker", "messages == 1"), {})


def test_the_example_of_a_fault(broker: Broker) -> None:
    names = {"amqp": amqp, "pytest": pytest}
    exec(block("def test_a_broker_that_hangs", "faults.resume()"), names)
    names["test_a_broker_that_hangs"](broker)  # type: ignore[operator]


def test_every_fault_is_named() -> None:
    section = TEXT[TEXT.index("Faults on order") : TEXT.index("What it costs")]
    named = set(re.findall(r"^    (\w+)\(", section, re.MULTILINE)) | set(
        re.findall(r"^    \w+\(.*?\), (\w+)\(", section, re.MULTILINE)
    )
    assert named - {"def"} == {name for name in vars(Faults) if not name.startswith("_")}


def test_what_a_broker_shows_is_named() -> None:
    shown = {name for name in vars(Broker) if not name.startswith("_")} - {"running"}
    assert {name for name in shown if name not in TEXT} == set()
