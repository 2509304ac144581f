"""Direct reply-to (https://www.rabbitmq.com/docs/direct-reply-to): the same on RabbitMQ and in the box."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException, AMQPTimeoutError
from amqplib.client.message import Message
from tests.live.conftest import Connect
from tests.live.helpers import eventually, get

Step = Callable[[Channel], Any]

REPLY_TO = "amq.rabbitmq.reply-to"
NO_QUEUE = "NOT_FOUND - no queue '%s' in vhost '/'"


def ask(ch: Channel, queue: str = "") -> None:
    """Publish a question."""
    ch.basic_publish(Message("question", reply_to=REPLY_TO), routing_key=queue)


def asked(ch: Channel, queue: str) -> str:
    """Publish a question; the name that the answer is to go to."""
    ask(ch, queue)
    return str(get(ch, queue).reply_to)


def there(conn: Connection, name: str) -> bool:
    """Does somebody wait for replies there?"""
    try:
        return conn.channel().queue_declare(name, passive=True) == (name, 0, 1)
    except AMQPChannelException as exc:
        if exc.args[:2] == (404, NO_QUEUE % name):
            return False
        raise


def test_question_and_answer(connect: Connect, conn: Connection, queue: str) -> None:
    ch, server = conn.channel(), connect().channel()
    seen: List[Message] = []
    tag = ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    question = Message("question", reply_to=REPLY_TO, correlation_id="7", application_headers={"a": 1})
    ch.basic_publish(question, routing_key=queue)
    got = get(server, queue)
    assert got.reply_to.startswith(REPLY_TO + ".")
    assert (got.correlation_id, got.application_headers) == ("7", {"a": 1})
    server.basic_publish(Message("answer", correlation_id="7"), routing_key=got.reply_to)
    ch.wait(timeout=20)
    (answer,) = seen
    assert (answer.body, answer.correlation_id) == ("answer", "7")
    info = answer.delivery_info
    assert info is not None
    assert {name: info[name] for name in ("consumer_tag", "redelivered", "exchange", "routing_key")} == {
        "consumer_tag": tag,
        "redelivered": False,
        "exchange": "",
        "routing_key": got.reply_to,
    }
    assert asked(ch, queue) == got.reply_to


def test_how_long_a_name_lasts(connect: Connect, conn: Connection, queue: str) -> None:
    """Until its consumer is cancelled, or its channel closed; then it is another, and what comes late is lost."""
    ch, other = conn.channel(), connect()
    names = []
    for n in range(3):
        seen: List[Message] = []
        tag = ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
        names.append(asked(ch, queue))
        assert there(other, names[-1])
        if n == 1:
            ch.close()
            ch = conn.channel()
        else:
            ch.basic_cancel(tag)
        eventually(lambda: not there(other, names[-1]))
        other.channel().basic_publish(Message("late"), routing_key=names[-1])
        with suppress(AMQPTimeoutError):  # the first of two may return: the last consumer has ended
            for _ in "12":
                assert ch.wait(timeout=0.1) is None
        assert seen == []
    assert len(set(names)) == 3
    assert there(conn, REPLY_TO)


def test_an_answer_by_the_header_cc(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    seen: List[Message] = []
    ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    name = asked(ch, queue)
    headers = {"CC": [name, queue], "BCC": [name]}
    conn.channel().basic_publish(Message("answer", application_headers=headers), routing_key=queue)
    ch.wait(timeout=20)
    assert get(ch, queue).body == "answer"
    assert [msg.body for msg in seen] == ["answer"]
    assert seen[0].application_headers == {"CC": [name, queue]}


def test_an_answer_is_no_route(conn: Connection, queue: str) -> None:
    """A mandatory one is delivered and comes back all the same."""
    ch, server = conn.channel(), conn.channel()
    seen: List[Any] = []
    said: List[Any] = []
    ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    name = asked(ch, queue)
    server.on_return = lambda code, text, exchange, key, msg: said.append((code, key))
    server.basic_publish(Message("answer"), routing_key=name, mandatory=True)
    server.wait(timeout=20)
    ch.wait(timeout=20)
    assert (said, [msg.body for msg in seen]) == ([(312, name)], ["answer"])


def test_an_answer_in_a_transaction(conn: Connection, queue: str) -> None:
    """It does not wait for the commit."""
    ch, server = conn.channel(), conn.channel()
    seen: List[Message] = []
    ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    name = asked(ch, queue)
    server.tx_select()
    for body, end in (("undone", server.tx_rollback), ("done", server.tx_commit)):
        server.basic_publish(Message(body), routing_key=name)
        ch.wait(timeout=20)
        end()
    with pytest.raises(AMQPTimeoutError):
        ch.wait(timeout=0.1)
    assert [msg.body for msg in seen] == ["undone", "done"]


@pytest.mark.only(before=(4, 0), reason="the queue crashes in RabbitMQ 4.0")
def test_a_dead_letter_is_an_answer_too(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    seen: List[Message] = []
    ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    arguments = {"x-max-length": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": asked(ch, queue)}
    dying = ch.queue_declare(exclusive=True, arguments=arguments)[0]
    ch.basic_publish(Message("answer"), routing_key=dying)
    ch.wait(timeout=20)
    assert seen[0].application_headers["x-death"][0]["queue"] == dying


def test_prefetch_does_not_hold_answers_back(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    seen: List[Message] = []
    ch.basic_consume(REPLY_TO, no_ack=True, callback=seen.append)
    ch.basic_qos(0, 1, True)
    ch.basic_consume(queue, callback=seen.append)
    ch.basic_publish(Message("question", reply_to=REPLY_TO), routing_key=queue)
    ch.wait(timeout=20)
    ch.basic_publish(Message("answer"), routing_key=seen[0].reply_to)
    ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["question", "answer"]


def test_another_reply_to_stays_as_it_is(ch: Channel, queue: str) -> None:
    for name in (REPLY_TO + ".abc", "somewhere"):
        ch.basic_publish(Message("question", reply_to=name), routing_key=queue)
        assert get(ch, queue).reply_to == name


def test_it_is_the_queue_declared_last(ch: Channel, queue: str) -> None:
    assert ch.queue_declare(REPLY_TO, durable=True, auto_delete=False) == (REPLY_TO, 0, 1)
    seen: List[Message] = []
    ch.basic_consume(no_ack=True, callback=seen.append)
    ch.basic_publish(Message("answer"), routing_key=asked(ch, queue))
    ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["answer"]


REFUSED: List[Tuple[str, Step, int, str]] = [
    ("acks", lambda ch: ch.basic_consume(REPLY_TO), 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"),
    (
        "two consumers",
        lambda ch: [ch.basic_consume(REPLY_TO, no_ack=True) for _ in "12"],
        406,
        "PRECONDITION_FAILED - reply consumer already set",
    ),
    (
        "a question before",
        lambda ch: [step() for step in (lambda: ask(ch), lambda: ch.queue_declare(exclusive=True))],
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    ),
    (
        "a question before, in a transaction",
        lambda ch: [step() for step in (ch.tx_select, lambda: ask(ch), ch.tx_commit)],
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    ),
    ("get", lambda ch: ch.basic_get(REPLY_TO), 404, NO_QUEUE % REPLY_TO),
    ("purge", lambda ch: ch.queue_purge(REPLY_TO), 404, NO_QUEUE % REPLY_TO),
    ("bind", lambda ch: ch.queue_bind(REPLY_TO, "amq.fanout"), 404, NO_QUEUE % REPLY_TO),
    ("declare another", lambda ch: ch.queue_declare(REPLY_TO + ".x"), 404, NO_QUEUE % (REPLY_TO + ".x")),
    ("declare a longer one", lambda ch: ch.queue_declare(REPLY_TO + "x"), 404, NO_QUEUE % (REPLY_TO + "x")),
    (
        "consume from another",
        lambda ch: ch.basic_consume(REPLY_TO + ".x", no_ack=True),
        404,
        NO_QUEUE % (REPLY_TO + ".x"),
    ),
]


@pytest.mark.parametrize(("step", "code", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(ch: Channel, step: Step, code: int, text: str) -> None:
    with pytest.raises(AMQPChannelException) as caught:
        step(ch)
    assert caught.value.args[:2] == (code, text)


def test_nothing_is_deleted(ch: Channel) -> None:
    assert ch.queue_delete(REPLY_TO) == 0


def test_a_tag_that_is_used(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    ch.basic_consume(queue, "mine")
    with pytest.raises(AMQPConnectionException, match="attempt to reuse consumer tag 'mine'"):
        ch.basic_consume(REPLY_TO, "mine", no_ack=True)
