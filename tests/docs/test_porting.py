"""docs/porting/ names what there is: each name in the column that is ours exists, and takes these arguments."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any, Dict, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from tests.pages import DOCS, page

PAGES = sorted(path.stem for path in (DOCS / "porting").glob("*.rst"))


def ours(text: str) -> List[str]:
    """The code in the second column of the table."""
    rows = re.findall(r"^   \* - .*\n     - ((?:.*\n)(?:       .*\n)*)", text, re.MULTILINE)
    return [code for row in rows[1:] for code in re.findall(r"``([^`]+)``", row)]


@pytest.fixture
def owners() -> Iterator[Dict[str, Any]]:
    """What the names in the tables stand for."""
    with Broker() as broker, amqp.Connection(broker.address) as conn, conn.channel() as ch:
        queue = ch.queue_declare().queue
        ch.basic_publish(amqp.Message("x"), routing_key=queue)
        yield {
            "amqp": amqp,
            "conn": conn,
            "ch": ch,
            "msg": next(ch.consume(queue)),
            "exc": amqp.NotFound(404, "", (0, 0)),
        }


def check(code: str, owners: Dict[str, Any]) -> int:
    """How many names of ours are in it. AttributeError for one that is not there, TypeError for wrong arguments."""
    found = 0
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in owners:
            getattr(owners[node.value.id], node.attr)  # type: ignore[attr-defined]
            found += 1
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", None)
            if owner in owners:
                called = getattr(owners[owner], node.func.attr)
                keywords: Dict[str, Any] = {word.arg: word.value for word in node.keywords if word.arg}
                if called is amqp.Message:
                    amqp.Message(**keywords)
                elif called is amqp.Connection:
                    assert set(keywords) <= set(inspect.signature(called).parameters)
                else:
                    inspect.signature(called).bind(*node.args, **keywords)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_names(name: str, owners: Dict[str, Any]) -> None:
    codes = ours(page("porting/" + name))
    assert len(codes) >= 20
    assert sum(check(code, owners) for code in codes) >= 20


@pytest.mark.parametrize("code", ["ch.basic_pulish(msg)", "amqp.Message('x', headers={})", "ch.basic_ack()"])
def test_a_name_that_there_is_not(code: str, owners: Dict[str, Any]) -> None:
    with pytest.raises((AttributeError, TypeError)):
        check(code, owners)
