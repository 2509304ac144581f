"""Messages as lines of JSON, one object a message: what `get` and `consume` print, and `publish` reads.

    {"body": "text", "properties": {"content_type": "text/plain"}, "headers": {"n": 1},
     "exchange": "", "routing_key": "work", "redelivered": false}

A body is UTF-8, whatever content_encoding says; one that is not stands under "body_base64". What JSON has no type for
is an object with one name that begins with "$": {"$bytes": BASE64}, {"$decimal": "1.50"}, {"$timestamp": SECONDS},
{"$float": "nan"}, {"$undecoded": BASE64}; and {"$table": {...}} is a table that would look like one of these. What is
printed can be read again, and is the same message then.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Callable, Dict, Tuple

import amqplib.client_0_9_1 as amqp

from ..wire.tables import RawTimestamp, UndecodedField

__all__ = ["Record", "made", "read", "written"]

#: A message, and the exchange and routing key that its line gives; None where it gives none.
Record = Tuple[amqp.Message, Any, Any]

_NAMES = ("body", "body_base64", "properties", "headers", "exchange", "routing_key", "redelivered", "message_count")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _plain_fields(table: Dict[str, Any]) -> Dict[str, Any]:
    return {name: _plain(each) for name, each in table.items()}


def _plain(value: Any) -> Any:
    """A value of a property or of a header, as JSON has it."""
    if isinstance(value, UndecodedField):
        return {"$undecoded": _base64(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": _base64(bytes(value))}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        return {"$timestamp": round(value.timestamp())}
    if isinstance(value, RawTimestamp):
        return {"$timestamp": int(value)}
    if isinstance(value, dict):
        table = _plain_fields(value)
        return {"$table": table} if _marked(table) else table
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return value


def _timestamp(value: Any) -> Any:
    seconds = int(value)
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return RawTimestamp(seconds)


def _fields(table: Any) -> Dict[str, Any]:
    """The reverse of _plain_fields()."""
    if not isinstance(table, dict):
        raise ValueError("$table: %r is none" % (table,))
    return {name: _value(each) for name, each in table.items()}


def _octets(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


_TYPES: Dict[str, Callable[[Any], Any]] = {
    "$undecoded": lambda value: UndecodedField(_octets(value)),
    "$bytes": _octets,
    "$decimal": Decimal,
    "$timestamp": _timestamp,
    "$float": float,
}
#: The names that an object may have instead of a field's.
_MARKS = {*_TYPES, "$table"}


def _marked(table: Dict[str, Any]) -> bool:
    """Does it look like a value that JSON has no type for?"""
    return len(table) == 1 and next(iter(table)) in _MARKS


def _value(value: Any) -> Any:
    """The reverse of _plain()."""
    if isinstance(value, list):
        return [_value(each) for each in value]
    if not isinstance(value, dict):
        return value
    if not _marked(value):
        return _fields(value)
    ((name, inner),) = value.items()
    if name == "$table":
        return _fields(inner)
    try:
        return _TYPES[name](inner)
    except (TypeError, ValueError, InvalidOperation):
        raise ValueError("%s: %r is none" % (name, inner)) from None


def _record_of(msg: amqp.Message) -> Dict[str, Any]:
    """What a received message is, in an order that reads well. Its body is bytes."""
    record: Dict[str, Any] = {}
    body = msg.body
    assert isinstance(body, bytes)  # auto_decode is off
    try:
        record["body"] = body.decode("utf-8")
    except UnicodeDecodeError:
        record["body_base64"] = _base64(body)
    properties = {name: _plain(value) for name, value in msg.properties.items() if name != "application_headers"}
    if properties:
        record["properties"] = properties
    headers = msg.properties.get("application_headers")
    if headers:
        record["headers"] = _plain_fields(headers)
    for name in ("exchange", "routing_key", "redelivered", "message_count"):
        if name in msg.delivery_info:
            record[name] = msg.delivery_info[name]
    return record


def written(msg: amqp.Message) -> bytes:
    """A line of JSON, without the newline. In ASCII: names that were no UTF-8 hold lone surrogates."""
    return json.dumps(_record_of(msg)).encode("ascii")


def read(line: bytes) -> Record:
    """The message of a line of JSON. ValueError says what is wrong with it."""
    try:
        given = json.loads(line.decode("utf-8"))
    except ValueError as exc:
        raise ValueError("no JSON: %s" % exc) from None
    if not isinstance(given, dict):
        raise ValueError("it is no JSON object")
    unknown = sorted(set(given) - set(_NAMES))
    if unknown:
        raise ValueError("%r: there are %s" % (unknown[0], ", ".join(_NAMES)))
    if "body" in given and "body_base64" in given:
        raise ValueError("body and body_base64: give one of them")
    text = given.get("body", "")
    if not isinstance(text, str):
        raise ValueError("body: a string; other JSON has to be written as one")
    # bytes, whatever content_encoding says: they are what was received
    body = _value({"$bytes": given["body_base64"]}) if "body_base64" in given else text.encode("utf-8")
    msg = made(body, _table(given, "properties"), _table(given, "headers"))
    return msg, _text(given, "exchange"), _text(given, "routing_key")


def made(body: bytes, properties: Dict[str, Any], headers: Dict[str, Any]) -> amqp.Message:
    """A message of values as JSON has them. ValueError for a property that there is not."""
    known = _fields(properties)
    if type(known.get("timestamp")) is int:
        known["timestamp"] = _timestamp(known["timestamp"])
    if headers:
        known["application_headers"] = _fields(headers)
    try:
        return amqp.Message(body, **known)
    except TypeError as exc:
        raise ValueError(str(exc)) from None


def _table(given: Dict[str, Any], name: str) -> Dict[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        raise ValueError("%s: an object" % name)
    return table


def _text(given: Dict[str, Any], name: str) -> Any:
    text = given.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError("%s: a string" % name)
    return text
