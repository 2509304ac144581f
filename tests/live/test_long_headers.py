"""Headers longer than frame_max, which no broker splits or refuses to send: a message, like any other."""

from __future__ import annotations

import logging
from typing import Any, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.exceptions import AMQPException
from amqplib.client.message import Message
from amqplib.wire.content import BASIC
from tests.live.conftest import Connect, Names
from tests.live.helpers import PATIENCE, declare, get, publish

#: The least that AMQP has; RabbitMQ 4.1 wants 8192.
SMALL = 8192

HOPS = 40


def died_often(ch: Channel, names: Names) -> str:
    """A queue with a message that has been dead-lettered from so many others that its header is over SMALL."""
    long = "-" + "x" * 150
    queues = [names.keep(names.any() + long) for _ in range(HOPS)]
    for queue, following in zip(queues, queues[1:]):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": following, "x-message-ttl": 0}
        ch.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
    ch.queue_declare(queues[-1], durable=True, auto_delete=False)
    publish(ch, queues[0], "often")
    return queues[-1]


def test_x_death(connect: Connect, names: Names) -> None:
    """It is the broker that makes the header that long."""
    queue = died_often(connect().channel(), names)
    ch = connect(frame_max=SMALL).channel()
    msg = get(ch, queue, no_ack=False)
    assert len(msg.application_headers["x-death"]) == HOPS - 1
    assert len(BASIC.encode(msg.properties)) > SMALL
    msg.reject(requeue=True)
    got: List[Message] = []
    ch.basic_consume(queue, callback=got.append)
    ch.wait(timeout=PATIENCE)
    got[0].ack()
    assert got[0].body == "often"


def headers(size: int) -> Any:
    return {"application_headers": {"long": "x" * size}}


def test_it_is_over_header_max(connect: Connect, names: Names, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, what is behind it comes, and nobody has acknowledged it."""
    ch = connect().channel()
    queue = declare(ch, names)
    for number, size in enumerate((10, 20000, 10)):
        ch.basic_publish(Message("number %d" % number, **headers(size)), routing_key=queue)
    small = connect(header_max=SMALL, frame_max=SMALL)
    with small.channel() as one, caplog.at_level(logging.WARNING, "amqplib"):
        got: List[str] = []
        one.basic_qos(0, 2, False)

        def work(msg: Message) -> None:
            got.append(msg.body)
            msg.ack()

        one.basic_consume(queue, callback=work, consumer_tag="me")
        while len(got) < 2:
            one.wait(timeout=PATIENCE)
    assert got == ["number 0", "number 2"]
    for part in ("delivery tag 2", "consumer 'me'", queue, "the limit is 8192 (header_max)", "basic_reject(2, False)"):
        assert part in caplog.text
    with small.channel() as one:
        with pytest.raises(AMQPException, match=r"header_max=\d+ or more .*after Channel.basic_get") as caught:
            get(one, queue, no_ack=False)
        assert "delivery tag 1, from exchange '' with routing key %r. It is not ack" % queue in str(caught.value)
        assert one.is_open
    msg = get(ch, queue)
    assert (msg.body, msg.redelivered) == ("number 1", True)


def test_it_can_be_got_rid_of(connect: Connect, names: Names) -> None:
    """What the warning says: by its tag."""
    ch = connect(header_max=SMALL).channel()
    queue = declare(ch, names)
    ch.basic_publish(Message("x", **headers(20000)), routing_key=queue)
    got: List[Any] = []
    ch.basic_consume(queue, callback=got.append)
    ch.basic_publish(Message("end"), routing_key=queue)
    ch.wait(timeout=PATIENCE)
    ch.basic_reject(1, False)
    got[0].ack()
    ch.close()
    assert connect().channel().queue_declare(queue, passive=True, durable=True)[1] == 0


@pytest.mark.parametrize("way", ["consume", "get"])
@pytest.mark.parametrize("all_of_them", [False, True])
def test_it_is_in_no_acknowledgement_of_several(connect: Connect, names: Names, way: str, all_of_them: bool) -> None:
    """The program was not given it."""
    ch = connect().channel()
    queue = declare(ch, names)
    for number, size in enumerate((10, 20000, 10)):
        ch.basic_publish(Message("number %d" % number, **headers(size)), routing_key=queue)
    got: List[Message] = []
    with connect(header_max=SMALL).channel() as small:
        if way == "consume":
            small.basic_consume(queue, callback=got.append)
            while len(got) < 2:
                small.wait(timeout=PATIENCE)
        else:
            got.append(get(small, queue, no_ack=False))
            with pytest.raises(AMQPException, match="left out"):
                get(small, queue, no_ack=False)
            got.append(get(small, queue, no_ack=False))
        small.basic_ack(0 if all_of_them else got[-1].delivery_tag, multiple=True)
    assert [msg.body for msg in got] == ["number 0", "number 2"]
    msg = get(ch, queue)
    assert (msg.body, msg.redelivered) == ("number 1", True)
    assert ch.basic_get(queue) is None


def test_one_that_is_forgotten(connect: Connect, names: Names) -> None:
    ch = connect(header_max=SMALL).channel()
    queue = declare(ch, names)
    ch.basic_publish(Message("x", **headers(20000)), routing_key=queue)
    with pytest.raises(
        AMQPException, match=r"The broker has forgotten it, for no_ack was set\. Connect with header_max"
    ):
        get(ch, queue)
    assert ch.basic_get(queue) is None
