"""Proves that the method table says what RabbitMQ's own tables say, for both dialects.

rabbitmq_tables.txt holds RabbitMQ's; names differ as OURS says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import pytest

from amqplib.wire.content import BASIC, BASIC_CLASS_ID
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, REPLIES, Dialect, reply_of, sig_of

from .helpers import DIALECTS

#: Their name -> ours, where it is not just '-' turned into '_'.
OURS = {"global": "a_global", "headers": "application_headers"}

#: What may answer a method besides its -ok. What is not sent in the dialect is left out.
OTHER_REPLIES = {"connection.open": ["connection.redirect"], "basic.get": ["basic.get_empty"]}


class Fact(NamedTuple):
    """One line of rabbitmq_tables.txt."""

    class_id: int
    method_id: int
    fields: Tuple[Tuple[str, str], ...]
    has_content: bool
    is_synchronous: bool


def _fields(words: List[str]) -> Tuple[Tuple[str, str], ...]:
    pairs = [word.split(":") for word in words]
    return tuple((OURS.get(name, name.replace("-", "_")), kind) for name, kind in pairs)


TABLES = Path(__file__).with_name("rabbitmq_tables.txt")


def _read_facts() -> Tuple[Dict[str, Dict[str, Fact]], Dict[str, Tuple[Tuple[str, str], ...]]]:
    methods: Dict[str, Dict[str, Fact]] = {}
    properties: Dict[str, Tuple[Tuple[str, str], ...]] = {}
    dialect = ""
    for line in TABLES.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            dialect = line.strip("[]")
            methods[dialect] = {}
        elif line.startswith("basic properties"):
            properties[dialect] = _fields(line.split()[2:])
        elif line.startswith("constant"):
            continue
        elif line and not line.startswith("#"):
            name, class_id, method_id, *words = line.split()
            flags = {word for word in words if ":" not in word}
            assert flags <= {"sync", "content"}, line
            fields = _fields([word for word in words if ":" in word])
            fact = Fact(int(class_id), int(method_id), fields, "content" in flags, "sync" in flags)
            methods[dialect][name.replace("-", "_")] = fact
    return methods, properties


FACTS, PROPERTIES = _read_facts()

EVERY_FACT = [(dialect, name) for dialect, facts in FACTS.items() for name in facts]


@pytest.mark.parametrize("dialect", FACTS)
def test_no_method_is_missing_and_none_is_invented(dialect: str) -> None:
    assert set(DIALECTS[dialect].by_name) == set(FACTS[dialect])


@pytest.mark.parametrize(("dialect", "name"), EVERY_FACT, ids=map(" ".join, EVERY_FACT))
def test_method(dialect: str, name: str) -> None:
    fact, method = FACTS[dialect][name], DIALECTS[dialect][name]
    assert method.name == name
    assert divmod(method.key, 0x10000) == (fact.class_id, fact.method_id)
    assert method.fields == fact.fields
    assert method.has_content == fact.has_content


@pytest.mark.parametrize(("dialect", "name"), EVERY_FACT, ids=map(" ".join, EVERY_FACT))
def test_a_method_has_replies_just_if_it_is_synchronous(dialect: str, name: str) -> None:
    known = DIALECTS[dialect]
    due = [name + "_ok", *OTHER_REPLIES.get(name, [])] if FACTS[dialect][name].is_synchronous else []
    assert known[name].replies == tuple(known[reply].sig for reply in due if reply in known)


@pytest.mark.parametrize(("dialect", "name"), EVERY_FACT, ids=map(" ".join, EVERY_FACT))
def test_the_signature_is_that_of_0_8_in_both_dialects(dialect: str, name: str) -> None:
    fact = FACTS["0-8"].get(name) or FACTS[dialect][name]
    own = fact.class_id, fact.method_id
    # what 0-8 lacks keeps its ids, unless they mean something else in 0-8: then no dialect has the signature
    taken = [other for other, its in FACTS["0-8"].items() if (its.class_id, its.method_id) == own and other != name]
    assert bool(taken) == (name in ("connection.blocked", "connection.unblocked"))
    assert DIALECTS[dialect][name].sig == ((own[0], -own[1]) if taken else own)


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_no_two_methods_of_a_dialect_share_a_signature(dialect: str) -> None:
    methods = DIALECTS[dialect].by_name.values()
    assert len({method.sig for method in methods}) == len(methods)


def test_the_signature_of_ids_on_the_wire() -> None:
    assert DIALECTS["0-9-1"].sig(10, 50) == DIALECTS["0-8"]["connection.close"].sig
    assert DIALECTS["0-8"].sig(10, 50) == DIALECTS["0-8"]["connection.redirect"].sig
    assert DIALECTS["0-9-1"].sig(0, 0) == (0, 0)
    assert sig_of("basic.nack") == DIALECTS["0-9-1"]["basic.nack"].sig
    assert sig_of("connection.close") == DIALECTS["0-8"]["connection.close"].sig


@pytest.mark.parametrize("dialect", [AMQP_0_8, AMQP_0_9_1], ids=repr)
def test_the_ids_of_a_signature(dialect: Dialect) -> None:
    for method in dialect.by_name.values():
        assert dialect.ids(method.sig) == (method.key >> 16, method.key & 0xFFFF)
        assert dialect.sig(*dialect.ids(method.sig)) == method.sig
    assert dialect.ids((0, 0)) == (0, 0)


@pytest.mark.parametrize("dialect", [AMQP_0_8, AMQP_0_9_1], ids=repr)
def test_keys_do_not_collide(dialect: Dialect) -> None:
    assert len(dialect.by_key) == len(dialect.by_name)
    assert all(dialect.by_key[method.key] is method for method in dialect.by_name.values())


def test_what_the_dialects_share() -> None:
    rows = {
        name: {(m.name, m.key, m.fields, m.has_content) for m in dialect.by_name.values()}
        for name, dialect in DIALECTS.items()
    }
    shared = rows["0-8"] & rows["0-9-1"]
    assert (len(shared), len(rows["0-8"] - shared), len(rows["0-9-1"] - shared)) == (51, 6, 15)


@pytest.mark.parametrize("dialect", FACTS)
def test_properties(dialect: str) -> None:
    assert BASIC.fields == PROPERTIES[dialect]


def test_the_only_class_with_contents_is_basic() -> None:
    classes = {fact.class_id for facts in FACTS.values() for fact in facts.values() if fact.has_content}
    assert classes == {BASIC_CLASS_ID}


def test_protocol_headers() -> None:
    assert AMQP_0_8.header == b"AMQP\x01\x01\x09\x01"
    assert AMQP_0_9_1.header == b"AMQP\x00\x00\x09\x01"


def test_looking_up() -> None:
    assert "basic.nack" in AMQP_0_9_1
    assert "basic.nack" not in AMQP_0_8
    assert AMQP_0_8["basic.ack"].name == "basic.ack"
    with pytest.raises(KeyError):
        AMQP_0_8["basic.nack"]


def test_shown() -> None:
    assert repr(AMQP_0_9_1) == "<AMQP 0-9-1>"
    assert repr(AMQP_0_9_1["connection.close"]) == "<connection.close 10,50>"


def test_reply_codes() -> None:
    """Those of both versions, which agree about them; 0-8 has one more."""
    ends = {"soft-error": "channel", "hard-error": "connection"}
    theirs = {
        (int(code), name.replace("-", "_"), ends[kind])
        for line in TABLES.read_text(encoding="ascii").splitlines()
        if line.startswith("constant")
        for _, name, code, kind in [line.split()]
    }
    assert set(REPLIES.values()) == theirs
    assert len(theirs) == len(REPLIES) == 19
    assert [REPLIES[code].code for code in REPLIES] == list(REPLIES)
    assert {reply_of(reply.name) for reply in REPLIES.values()} == theirs
