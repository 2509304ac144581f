"""The ways of messages through exchanges, queues and consumers: the same in RabbitMQ and in the broker in the box."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException
from amqplib.client.message import Message
from tests.conftest import Broker

from .conftest import Connect, Names
from .helpers import bodies, eventually, get, holds, publish


def declare(ch: Channel, names: Names, **arguments: Any) -> str:
    """A queue; x_max_length becomes x-max-length."""
    queue = names.queue()
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    ch.queue_declare(queue, auto_delete=False, arguments=given)
    return queue


def got(ch: Channel, queue: str, number: int) -> List[Any]:
    """So many bodies, when they have come."""
    return [get(ch, queue).body for _ in range(number)]


# --- exchanges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("#", ["", "a", "a.b", "a.b.c", "a..b"]),
        ("*", ["a"]),
        ("a.*", ["a.b"]),
        ("a.#", ["a", "a.b", "a.b.c", "a..b"]),
        ("#.b", ["a.b", "a..b"]),
        ("*.*", ["a.b"]),
        ("a.*.b", ["a..b"]),
        ("a.#.b", ["a.b", "a..b"]),
        ("#.#", ["", "a", "a.b", "a.b.c", "a..b"]),
        ("*.#", ["a", "a.b", "a.b.c", "a..b"]),
        ("", [""]),
        ("a*", []),
    ],
)
def test_topics(ch: Channel, names: Names, queue: str, pattern: str, keys: List[str]) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "topic", auto_delete=False)
    ch.queue_bind(queue, exchange, pattern)
    ch.queue_bind(queue, exchange, "the end")
    for key in ("", "a", "a.b", "a.b.c", "a..b", "the end"):
        ch.basic_publish(Message(key), exchange, key)
    assert got(ch, queue, len(keys) + 1) == [*keys, "the end"]


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, ["ab", "abc"]),
        ({"a": 1, "b": "x"}, ["ab", "abc"]),
        ({"x-match": "any", "a": 1, "b": "x"}, ["a", "ab", "abc"]),
        ({"x-match": "all"}, ["none", "a", "ab", "abc", "other"]),
        ({"x-match": "any"}, []),
        ({"x-match": "all", "a": None}, ["a", "ab", "abc", "other"]),
        ({"x-match": "all", "x-y": 5}, ["none", "a", "ab", "abc", "other"]),
        ({"x-match": "all-with-x", "x-y": 5}, ["abc"]),
        ({"x-match": "any-with-x", "x-y": 5, "a": 7}, ["abc", "other"]),
        ({"b": b"x"}, ["ab", "abc"]),
    ],
)
def test_headers(
    broker: Broker, ch: Channel, names: Names, queue: str, arguments: Dict[str, Any], taken: List[str]
) -> None:
    if arguments.get("x-match", "").endswith("-with-x") and broker.is_rabbitmq() and not broker.is_rabbitmq(3, 10):
        pytest.skip("RabbitMQ %s has no %s" % (broker.version, arguments["x-match"]))
    exchange = names.exchange()
    ch.exchange_declare(exchange, "headers", auto_delete=False)
    ch.queue_bind(queue, exchange, arguments=arguments)
    sent = {"none": {}, "a": {"a": 1}, "ab": {"a": 1, "b": "x"}, "abc": {"a": 1, "b": "x", "c": 2, "x-y": 5}}
    sent["other"] = {"a": 7}
    for body, headers in sent.items():
        ch.basic_publish(Message(body, application_headers=headers), exchange)
    publish(ch, queue, "the end")
    assert got(ch, queue, len(taken) + 1) == [*taken, "the end"]


def test_the_default_exchange_is_nobodys_alternate(ch: Channel, names: Names, queue: str) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "direct", auto_delete=False, arguments={"alternate-exchange": ""})
    ch.basic_publish(Message("lost"), exchange, queue)
    publish(ch, queue, "the end")
    assert got(ch, queue, 1) == ["the end"]


def test_each_queue_gets_a_message_once(ch: Channel, names: Names) -> None:
    first, second, exchange = declare(ch, names), declare(ch, names), names.exchange()
    ch.exchange_declare(exchange, "direct", auto_delete=False)
    for queue, key in ((first, "a"), (first, "b"), (second, "a")):
        ch.queue_bind(queue, exchange, key)
    for key in ("a", "b", "c"):
        ch.basic_publish(Message(key), exchange, key)
    holds(ch, first, 2)
    assert bodies(ch, first) == ["a", "b"]
    assert bodies(ch, second) == ["a"]


def test_copies(ch: Channel, names: Names) -> None:
    """CC and BCC are more routing keys; BCC is not shown to those who receive."""
    first, second, third = (declare(ch, names) for _ in range(3))
    headers = {"CC": [second], "BCC": [third]}
    ch.basic_publish(Message("x", application_headers=headers), routing_key=first)
    for queue in (first, second, third):
        assert get(ch, queue).application_headers == {"CC": [second]}


def test_the_last_binding_takes_an_auto_delete_exchange_along(ch: Channel, names: Names, queue: str) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "fanout", auto_delete=True)
    ch.queue_bind(queue, exchange)
    ch.queue_delete(queue)
    ch.exchange_declare(exchange, "direct", auto_delete=False)  # another type: the old one is gone


def test_an_exchange_between(connect: Connect, names: Names) -> None:
    ch = connect(protocol="0-9-1").channel()
    first, second, queue = names.exchange(), names.exchange(), declare(ch, names)
    ch.exchange_declare(first, "direct", auto_delete=False)
    ch.exchange_declare(second, "topic", auto_delete=False)
    ch.exchange_bind(second, first, "in")
    ch.exchange_bind(first, second, "back")  # a circle harms nobody
    ch.queue_bind(queue, second, "#")
    for key in ("in", "out", "in"):
        ch.basic_publish(Message(key), first, key)
    holds(ch, queue, 2)
    ch.exchange_delete(first)
    ch.basic_publish(Message("direct"), second, "x")
    assert got(ch, queue, 3) == ["in", "in", "direct"]


# --- queues -------------------------------------------------------------------------------------------------


def test_what_comes_back_keeps_its_place(conn: Connection, queue: str) -> None:
    ch, other = conn.channel(), conn.channel()
    publish(ch, queue, *"abcdef")
    msgs = [get(ch, queue, no_ack=False) for _ in range(4)]
    ch.basic_reject(msgs[2].delivery_tag, requeue=True)
    ch.basic_reject(msgs[0].delivery_tag, requeue=True)
    holds(other, queue, 4)
    again = [get(other, queue) for _ in range(4)]
    assert [(msg.body, msg.redelivered) for msg in again] == [("a", True), ("c", True), ("e", False), ("f", False)]
    ch.close()
    assert [(msg.body, msg.redelivered) for msg in (get(other, queue), get(other, queue))] == [("b", True), ("d", True)]


def test_acknowledging_several(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    publish(ch, queue, *"abcdef")
    msgs = [get(ch, queue, no_ack=False) for _ in range(5)]
    ch.basic_ack(msgs[1].delivery_tag)
    ch.basic_ack(msgs[3].delivery_tag, multiple=True)
    ch.close()
    other = conn.channel()
    holds(other, queue, 2)
    assert bodies(other, queue) == ["e", "f"]


def test_prefetch(broker: Broker, conn: Connection, queue: str) -> None:
    """A limit for each consumer, and one for the channel."""
    ch = conn.channel()
    ch.basic_qos(0, 2, False)
    seen: List[Message] = []
    ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, *"abcde")
    while len(seen) < 2:
        ch.wait(timeout=20)
    holds(ch, queue, 3)
    assert ch.pending() == 0
    seen[1].ack()
    ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["a", "b", "c"]
    if broker.is_rabbitmq(4, 3):
        return  # it ignores the limit for the channel: test_acks.py
    ch.basic_qos(0, 3, True)
    ch.basic_consume(queue, callback=seen.append)  # two of its own, but three of the channel's
    ch.wait(timeout=20)
    holds(ch, queue, 1)
    ch.basic_ack(0, multiple=True)
    ch.wait(timeout=20)
    assert [msg.body for msg in seen] == list("abcde")


def test_consumers_take_turns(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    seen: Dict[str, List[Any]] = {"one": [], "two": []}
    for tag in seen:
        ch.basic_consume(queue, tag, no_ack=True, callback=lambda msg: seen[msg.consumer_tag].append(msg.body))
    publish(ch, queue, *"abcdef")
    for _ in range(6):
        ch.wait(timeout=20)
    assert seen == {"one": ["a", "c", "e"], "two": ["b", "d", "f"]}


def test_a_single_active_consumer(conn: Connection, names: Names) -> None:
    ch = conn.channel()
    queue = declare(ch, names, x_single_active_consumer=True)
    seen: List[Tuple[Any, Any]] = []
    for tag in ("one", "two"):
        ch.basic_consume(queue, tag, no_ack=True, callback=lambda msg: seen.append((msg.consumer_tag, msg.body)))
    publish(ch, queue, *"ab")
    ch.wait(timeout=20)
    ch.wait(timeout=20)
    ch.basic_cancel("one")
    publish(ch, queue, "c")
    ch.wait(timeout=20)
    assert seen == [("one", "a"), ("one", "b"), ("two", "c")]


@pytest.mark.parametrize(
    ("arguments", "kept", "dead"),
    [
        ({"x_max_length": 2}, ["c", "d"], ["a", "b"]),
        ({"x_max_length_bytes": 2}, ["c", "d"], ["a", "b"]),
        ({"x_max_length": 2, "x_overflow": "reject-publish"}, ["a", "b"], []),
        ({"x_max_length": 2, "x_overflow": "reject-publish-dlx"}, ["a", "b"], ["c", "d"]),
    ],
)
def test_limits(
    ch: Channel, names: Names, arguments: Dict[str, Any], kept: List[str], dead: List[str], queue: str
) -> None:
    full = declare(ch, names, **arguments, x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    for body in "abcd":
        publish(ch, full, body)
        ch.queue_declare(full, passive=True)
        time.sleep(0.01)  # RabbitMQ lets a burst pass
    holds(ch, full, 2)
    assert bodies(ch, full) == kept
    msgs = [get(ch, queue) for _ in dead]
    assert [msg.body for msg in msgs] == dead
    for msg in msgs:
        assert msg.application_headers["x-death"][0]["reason"] == "maxlen"


@pytest.mark.parametrize(("overflow", "left"), [("drop-head", "cd"), ("reject-publish", "abcd")])
def test_limits_and_what_comes_back(ch: Channel, names: Names, overflow: str, left: str) -> None:
    """It makes a queue too long as well, unless that only refuses what is new."""
    queue = declare(ch, names, x_max_length=2, x_overflow=overflow)
    publish(ch, queue, "a", "b")
    out = [get(ch, queue, no_ack=False) for _ in "ab"]
    publish(ch, queue, "c", "d")
    holds(ch, queue, 2)
    for msg in out:
        msg.reject(requeue=True)
    holds(ch, queue, len(left))
    assert bodies(ch, queue) == list(left)


def test_deaths(ch: Channel, names: Names) -> None:
    """From queue to queue: rejected, then expired."""
    exchange, first, last = names.exchange(), names.queue(), declare(ch, names)
    ch.exchange_declare(exchange, "fanout", auto_delete=False)
    second = declare(ch, names, x_message_ttl=1, x_dead_letter_exchange="", x_dead_letter_routing_key=last)
    ch.queue_declare(first, auto_delete=False, arguments={"x-dead-letter-exchange": exchange})
    ch.queue_bind(second, exchange)
    ch.basic_publish(Message("x", expiration="60000"), routing_key=first)
    ch.basic_reject(get(ch, first, no_ack=False).delivery_tag, requeue=False)
    msg = get(ch, last)
    deaths = msg.application_headers["x-death"]
    assert [(death["reason"], death["queue"], death["count"]) for death in deaths] == [
        ("expired", second, 1),
        ("rejected", first, 1),
    ]
    assert [(death["exchange"], death["routing-keys"]) for death in deaths] == [(exchange, [first]), ("", [first])]
    assert msg.application_headers["x-first-death-reason"] == "rejected"
    assert msg.application_headers["x-first-death-queue"] == first
    assert msg.application_headers["x-first-death-exchange"] == ""
    assert ["original-expiration" in death for death in deaths] == [False, True]
    assert deaths[1]["original-expiration"] == "60000"
    assert "expiration" not in msg.properties


def test_a_circle_of_deaths_ends(ch: Channel, names: Names) -> None:
    queue = names.queue()
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    ch.queue_declare(queue, auto_delete=False, arguments=arguments)
    publish(ch, queue, "x")
    time.sleep(0.1)
    holds(ch, queue, 0)


def test_a_ring_of_full_queues(ch: Channel, names: Names) -> None:
    """One message too many has each move on, again and again, until one has been everywhere. A witness hears of it."""
    ring, exchange, witness = [names.queue() for _ in range(5)], names.exchange(), declare(ch, names)
    ch.exchange_declare(exchange, "direct", auto_delete=False)
    for place, queue in enumerate(ring):
        to = ring[(place + 1) % len(ring)]
        arguments = {"x-max-length": 1, "x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": to}
        ch.queue_declare(queue, auto_delete=False, arguments=arguments)
        ch.queue_bind(queue, exchange, queue)
        ch.queue_bind(witness, exchange, queue)
        publish(ch, queue, "of %d" % place)
        holds(ch, queue, 1)
    publish(ch, ring[0], "new")
    holds(ch, witness, 25)
    for queue in ring:
        holds(ch, queue, 1)
    found = [get(ch, queue) for queue in ring]
    assert [msg.body for msg in found] == ["of 1", "of 2", "of 3", "of 4", "new"]
    for place, msg in enumerate(found):
        deaths = [ring.index(death["queue"]) for death in msg.application_headers["x-death"]]
        assert deaths[0] == (place - 1) % 5
        assert sorted(deaths) == sorted({0, 1, 2, 3, 4} - {place})  # 3.10 has the earlier ones in another order
    assert bodies(ch, witness)[-1] == "of 0"


def test_time_to_live_of_a_queue_and_of_a_message(ch: Channel, names: Names) -> None:
    """The shorter one counts."""
    slow, quick = declare(ch, names, x_message_ttl=600_000), declare(ch, names, x_message_ttl=1)
    for queue in (slow, quick):
        ch.basic_publish(Message("short", expiration="1"), routing_key=queue)
        ch.basic_publish(Message("long", expiration="60000"), routing_key=queue)
        publish(ch, queue, "as the queue says")
    holds(ch, slow, 2)
    holds(ch, quick, 0)


def test_the_next_one_expires_in_time(ch: Channel, names: Names) -> None:
    """Also when the one before it, which had longer to live, is gone."""
    dead = declare(ch, names)
    queue = declare(ch, names, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    ch.basic_publish(Message("long", expiration="600000"), routing_key=queue)
    ch.basic_publish(Message("short", expiration="200"), routing_key=queue)
    assert get(ch, queue).body == "long"
    assert got(ch, dead, 1) == ["short"]


def test_no_time_to_live(conn: Connection, names: Names) -> None:
    """Only a consumer that takes it at once gets it."""
    ch = conn.channel()
    queue = declare(ch, names, x_message_ttl=0)
    publish(ch, queue, "lost")
    holds(ch, queue, 0)
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    publish(ch, queue, "taken")
    ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["taken"]


def test_priorities_with_requeue(ch: Channel, names: Names) -> None:
    queue = declare(ch, names, x_max_priority=5)
    for body, priority in (("low", 1), ("high", 5), ("higher than there is", 9), ("none", None), ("low too", 1)):
        ch.basic_publish(Message(body, priority=priority), routing_key=queue)
    holds(ch, queue, 5)
    first = get(ch, queue, no_ack=False)
    ch.basic_reject(first.delivery_tag, requeue=True)
    holds(ch, queue, 5)
    assert bodies(ch, queue) == ["high", "higher than there is", "low", "low too", "none"]


@pytest.mark.thorough(box=True)
def test_a_queue_that_is_used_does_not_expire(ch: Channel, names: Names) -> None:
    queue = names.queue()
    ch.queue_declare(queue, auto_delete=False, arguments={"x-expires": 1500})
    for _ in range(4):
        time.sleep(0.4)
        ch.basic_get(queue)
    tag = ch.basic_consume(queue)
    time.sleep(1.6)
    ch.basic_cancel(tag)
    assert ch.queue_declare(queue, passive=True)[0] == queue


# --- transactions, returns, the ends of consumers -----------------------------------------------------------


def test_transactions(conn: Connection, queue: str) -> None:
    ch, other = conn.channel(), conn.channel()
    publish(other, queue, "acknowledged", "given back")
    holds(other, queue, 2)
    ch.tx_select()
    publish(ch, queue, "published")
    ch.basic_ack(get(ch, queue, no_ack=False).delivery_tag)
    kept = get(ch, queue, no_ack=False)
    ch.queue_declare(queue, passive=True)
    assert bodies(other, queue) == []
    ch.tx_rollback()
    ch.basic_ack(kept.delivery_tag)
    publish(ch, queue, "published after all")
    ch.tx_commit()
    assert got(other, queue, 1) == ["published after all"]
    ch.close()
    assert got(other, queue, 1) == ["acknowledged"]  # its acknowledgement was rolled back


def test_a_return_comes_before_its_confirm(connect: Connect, names: Names) -> None:
    ch = connect(protocol="0-9-1").channel()
    said: List[Any] = []
    ch.confirm_select(on_ack=lambda tag, msg: said.append(tag))
    ch.on_return = lambda code, text, exchange, key, msg: said.append((code, text, exchange, msg.body))
    ch.basic_publish(Message("back"), "amq.direct", names.any(), mandatory=True)
    deadline = time.monotonic() + 20
    while len(said) < 1 and time.monotonic() < deadline:
        ch.wait(timeout=20)
    assert said[0] == (312, "NO_ROUTE", "amq.direct", "back")
    ch.connection.close() if ch.connection else None


def test_a_consumer_ends_with_its_queue(conn: Connection, queue: str) -> None:
    ended: List[str] = []
    ch = conn.channel()
    tag = ch.basic_consume(queue, on_cancel=ended.append)
    conn.channel().queue_delete(queue)
    ch.wait(timeout=20)
    assert ended == [tag]


def test_an_exclusive_queue_ends_with_its_connection(connect: Connect, conn: Connection, names: Names) -> None:
    owner = connect()
    queue = owner.channel().queue_declare(names.any(), exclusive=True, auto_delete=False)[0]
    owner.close()

    def is_free() -> bool:
        try:
            return conn.channel().queue_declare(queue, exclusive=True)[1] == 0
        except AMQPChannelException:  # RESOURCE_LOCKED: a moment later it is gone
            return False

    eventually(is_free)
