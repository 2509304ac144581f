"""Messages that are published and consumed: of 100 octets and nothing else, or as programs send them.

Every one is another: its body, and what else a program gives each message of its own. They are the same each time, so
that what has arrived can be compared.
"""

from __future__ import annotations

import json
import uuid
import zlib
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NamedTuple

__all__ = ["KINDS", "Sample", "make_samples"]

#: Where messages go whose routing keys do not name the queue; the queue is bound to it for all of them.
EXCHANGE = "amq.topic"

_BEGUN = datetime(2026, 11, 26, 18, tzinfo=timezone.utc)


class Sample(NamedTuple):
    """What a program hands to its library."""

    body: bytes
    #: By amqplib's names; timestamps are aware datetimes.
    properties: Dict[str, Any]
    exchange: str
    routing_key: str


def _id(kind: int, number: int) -> str:
    return str(uuid.UUID(int=kind << 96 | number * 0x9E3779B97F4A7C15, version=4))


def _plain(number: int, size: int, queue: str) -> Sample:
    return Sample(_body(number, size), {}, "", queue)


def _body(number: int, size: int) -> bytes:
    return (b"%d " % number).ljust(size, b".")


def _headers(number: int, size: int, queue: str) -> Sample:
    """Three headers, in a dict of its own for each message."""
    headers = {"tenant": "acme", "attempt": 1, "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
    return Sample(_body(number, size), {"application_headers": headers}, "", queue)


def _changing(number: int, size: int, queue: str) -> Sample:
    """One of them is another each time."""
    headers = {"tenant": "acme", "attempt": number, "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
    return Sample(_body(number, size), {"application_headers": headers}, "", queue)


def _shop(number: int, size: int, queue: str) -> Sample:
    """An event of a shop: 600 octets of JSON."""
    order = _id(1, number)
    lines = [{"sku": "A-%05d" % (number * 7 % 99991), "quantity": 1 + number % 3, "price": "19.90"} for _ in range(8)]
    event = {"order": order, "customer": number * 31 % 10007, "currency": "EUR", "lines": lines}
    headers = {"tenant": "acme", "schema": 3, "source": "checkout", "region": "eu-west-1", "trace": "%032x" % number}
    properties = {
        "content_type": "application/json",
        "application_headers": headers,
        "delivery_mode": 2,
        "correlation_id": order,
        "message_id": _id(2, number),
        "timestamp": _BEGUN + timedelta(seconds=number // 100),
        "type": "order.placed",
        "app_id": "shop",
    }
    body = json.dumps(event).encode().ljust(600)
    return Sample(body, properties, EXCHANGE, "order.placed.%d" % (100000 + number))


def _celery(number: int, size: int, queue: str) -> Sample:
    """A task as Celery 5 sends it: version 2 of its protocol, task_protocol, with the result backend rpc://."""
    task = _id(3, number)
    headers: Dict[str, Any] = {
        "lang": "py", "task": "shop.tasks.send_receipt", "id": task, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task,
        "parent_id": None, "argsrepr": "(%d, 'someone@example.org')" % number, "kwargsrepr": "{'copy': False}",
        "origin": "gen4711@web-3", "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None,
        "stamps": {},
    }  # fmt: skip
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "application_headers": headers,
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": task,
        "reply_to": "5d1cc4f8-9f5a-3c2e-8b8e-0f6c7a1d2b3c",
    }
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[number, "someone@example.org"], {"copy": False}, embed]).encode()
    return Sample(body, properties, "", queue)


def _log(number: int, size: int, queue: str) -> Sample:
    """A log event as graypy's GELFRabbitHandler sends it: compressed JSON."""
    event = {
        "version": "1.1", "host": "web-3", "short_message": "GET /orders/%d took %d ms" % (number, number * 7 % 911),
        "timestamp": 1795716000 + number / 100, "level": 6, "facility": "shop.web", "file": "/srv/shop/web/views.py",
        "line": 217, "_function": "show", "_pid": 4711, "_thread_name": "MainThread", "_process_name": "MainProcess",
    }  # fmt: skip
    return Sample(zlib.compress(json.dumps(event).encode()), {"delivery_mode": 2}, EXCHANGE, "")


def _keys(number: int, size: int, queue: str) -> Sample:
    """Nothing but a routing key of its own."""
    return Sample(_body(number, size), {}, EXCHANGE, "device.%d.temperature" % (100000 + number))


#: number, size of the body where the kind has none of its own, queue -> the message
KINDS: Dict[str, Callable[[int, int, str], Sample]] = {
    "plain": _plain,
    "headers": _headers,
    "changing": _changing,
    "shop": _shop,
    "celery": _celery,
    "log": _log,
    "keys": _keys,
}


def make_samples(kind: str, count: int, size: int, queue: str, first: int = 0) -> List[Sample]:
    """So many messages of a kind, numbered on from `first`."""
    make = KINDS[kind]
    return [make(number, size, queue) for number in range(first, first + count)]
