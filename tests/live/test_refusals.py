"""What brokers refuse, in their own words: the same from RabbitMQ 3.10, from 4.0 and from the broker in the box."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException
from amqplib.client.message import Message
from tests.conftest import Broker

from .conftest import Connect, Names

Step = Callable[[Channel, str], Any]


def queue(**options: Any) -> Step:
    """Declare a queue; x_max_length=1 is an argument."""
    arguments = {name.replace("_", "-"): value for name, value in options.items() if name.startswith("x_")}
    rest = {name: value for name, value in options.items() if not name.startswith("x_")}

    def step(ch: Channel, name: str) -> Any:
        return ch.queue_declare(name, **{"durable": True, "auto_delete": False, "arguments": arguments, **rest})

    return step


def exchange(type: str = "direct", **options: Any) -> Step:
    arguments = {name.replace("_", "-"): value for name, value in options.items() if name == "alternate_exchange"}
    rest = {name: value for name, value in options.items() if name not in ("alternate_exchange", "name")}

    def step(ch: Channel, name: str) -> Any:
        name = options.get("name", name)
        return ch.exchange_declare(name, type, **{"auto_delete": False, "arguments": arguments, **rest})

    return step


def steps(*several: Step) -> Step:
    return lambda ch, name: [step(ch, name) for step in several]


def then_ask(step: Step) -> Step:
    """Nothing answers it, so the refusal comes with the next call."""
    return steps(step, lambda ch, name: ch.queue_declare(exclusive=True))


def publish(exchange: str = "", **properties: Any) -> Step:
    return then_ask(lambda ch, name: ch.basic_publish(Message("x", **properties), exchange, name))


OURS: Step = lambda ch, name: ch.queue_declare(name, exclusive=True)  # noqa: E731
QUORUM = queue(x_queue_type="quorum", x_delivery_limit=-1)

# N stands for a name that nobody else has, V for "in vhost '/'"
CHANNEL: List[Tuple[Step, int, str]] = [
    # arguments of queues
    (queue(x_max_length=-1), 406, "invalid arg 'x-max-length' for queue 'N' V: {value_negative,-1}"),
    (queue(x_max_length="a"), 406, "invalid arg 'x-max-length' for queue 'N' V: \"expected integer, got longstr\""),
    (queue(x_max_length=True), 406, "invalid arg 'x-max-length' for queue 'N' V: \"expected integer, got bool\""),
    (queue(x_max_length=1.5), 406, "invalid arg 'x-max-length' for queue 'N' V: \"expected integer, got double\""),
    (
        steps(
            lambda ch, name: ch.queue_declare(exclusive=True, arguments={"x-message-ttl": 315360000000}),
            queue(x_message_ttl=315360000001),
        ),
        406,
        "invalid arg 'x-message-ttl' for queue 'N' V: {value_too_large,315360000001}",
    ),
    (queue(x_expires=0), 406, "invalid arg 'x-expires' for queue 'N' V: {value_zero,0}"),
    (queue(x_max_priority=300), 406, "invalid arg 'x-max-priority' for queue 'N' V: {max_value_exceeded,300}"),
    (queue(x_overflow="zz"), 406, "invalid arg 'x-overflow' for queue 'N' V: invalid_overflow"),
    (queue(x_overflow=5), 406, "invalid arg 'x-overflow' for queue 'N' V: {unacceptable_type,signedint}"),
    (queue(x_queue_mode="zz"), 406, "invalid arg 'x-queue-mode' for queue 'N' V: \"unsupported queue mode 'zz'\""),
    (queue(x_queue_type="zz"), 406, "invalid arg 'x-queue-type' for queue 'N' V: \"unsupported queue type 'zz'\""),
    (queue(x_dead_letter_exchange=5), 406, "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'N' V"),
    (
        queue(x_dead_letter_routing_key="k"),
        406,
        "invalid arg 'x-dead-letter-routing-key' for queue 'N' V: routing_key_but_no_dlx_defined",
    ),
    (
        queue(x_delivery_limit=3),
        406,
        "invalid arg 'x-delivery-limit' for queue 'N' V of queue type rabbit_classic_queue",
    ),
    (queue(x_max_age="1D"), 406, "invalid arg 'x-max-age' for queue 'N' V of queue type rabbit_classic_queue"),
    (
        queue(x_queue_type="quorum", x_max_age="1D"),
        406,
        "invalid arg 'x-max-age' for queue 'N' V of queue type rabbit_quorum_queue",
    ),
    (
        queue(x_expires=0, x_dead_letter_exchange=5),
        406,
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'N' V",
    ),
    (
        queue(x_expires=0, x_queue_type="zz"),
        406,
        "invalid arg 'x-queue-type' for queue 'N' V: \"unsupported queue type 'zz'\"",
    ),
    (queue(x_max_age="1D", x_expires=0), 406, "invalid arg 'x-expires' for queue 'N' V: {value_zero,0}"),
    # arguments of a queue that is there
    (
        steps(queue(exclusive=True), queue(exclusive=True, x_queue_mode="lazy")),
        406,
        "inequivalent arg 'x-queue-mode' for queue 'N' V:"
        " received the value 'lazy' of type 'longstr' but current is none",
    ),
    (
        steps(queue(exclusive=True), queue(exclusive=True, x_max_length=1, x_dead_letter_exchange="d")),
        406,
        "inequivalent arg 'x-dead-letter-exchange' for queue 'N' V:"
        " received the value 'd' of type 'longstr' but current is none",
    ),
    (
        steps(queue(exclusive=True, x_max_length=5), queue(exclusive=True, x_max_length=5.0)),
        406,
        "inequivalent arg 'x-max-length' for queue 'N' V: received '5.0' but current is '5'",
    ),
    (
        queue(x_queue_type="quorum", x_max_priority=3),
        406,
        "invalid arg 'x-max-priority' for queue 'N' V of queue type rabbit_quorum_queue",
    ),
    (queue(x_queue_type="quorum", durable=False), 406, "invalid property 'non-durable' for queue 'N' V"),
    (queue(x_queue_type="quorum", auto_delete=True), 406, "invalid property 'auto-delete' for queue 'N' V"),
    (queue(x_queue_type="quorum", exclusive=True), 406, "invalid property 'exclusive-owner' for queue 'N' V"),
    # queues that are there
    (
        steps(
            queue(exclusive=True, auto_delete=True, durable=False),
            lambda ch, name: ch.queue_declare(name, exclusive=True, auto_delete=False),
        ),
        406,
        "inequivalent arg 'auto_delete' for queue 'N' V: received 'false' but current is 'true'",
    ),
    (
        steps(OURS, lambda ch, name: ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 7})),
        406,
        "inequivalent arg 'x-max-length' for queue 'N' V: received the value '7' of type 'signedint' "
        "but current is none",
    ),
    (
        steps(OURS, lambda ch, name: ch.queue_declare(name)),
        405,
        "cannot obtain exclusive access to locked queue 'N' V. It could be originally declared on another connection "
        "or the exclusive property value does not match that of the original declaration.",
    ),
    (lambda ch, name: ch.queue_declare("amq." + name), 403, "queue name 'amq.N' contains reserved prefix 'amq.*'"),
    (lambda ch, name: ch.queue_declare("", passive=True), 404, "no queue '' V"),
    (lambda ch, name: ch.queue_purge(name), 404, "no queue 'N' V"),
    (lambda ch, name: ch.basic_get(), 404, "no previously declared queue"),
    (steps(OURS, lambda ch, name: ch.basic_consume(name) and ch.queue_delete(name, True)), 406, "queue 'N' V in use"),
    # exchanges
    (exchange(passive=True), 404, "no exchange 'N' V"),
    (exchange(name=""), 403, "operation not permitted on the default exchange"),
    (exchange(name="", passive=True), 403, "operation not permitted on the default exchange"),
    (exchange(name="amq.new"), 403, "exchange name 'amq.new' contains reserved prefix 'amq.*'"),
    (
        exchange(name="amq.fanout", durable=True),
        406,
        "inequivalent arg 'type' for exchange 'amq.fanout' V: received 'direct' but current is 'fanout'",
    ),
    (
        exchange("fanout", name="amq.fanout"),
        406,
        "inequivalent arg 'durable' for exchange 'amq.fanout' V: received 'false' but current is 'true'",
    ),
    (
        exchange(alternate_exchange=5),
        406,
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'N' V",
    ),
    (lambda ch, name: ch.exchange_delete("amq.topic"), 403, "deletion of system exchange 'amq.topic' V not allowed"),
    (lambda ch, name: ch.exchange_delete(""), 403, "operation not permitted on the default exchange"),
    # bindings
    (lambda ch, name: ch.queue_bind(name, "amq.fanout"), 404, "no queue 'N' V"),
    (lambda ch, name: ch.queue_bind(name, name), 404, "no exchange 'N' V"),
    (lambda ch, name: ch.queue_bind(name, ""), 403, "operation not permitted on the default exchange"),
    (
        steps(OURS, lambda ch, name: ch.queue_bind(name, "amq.headers", arguments={"x-match": "zz"})),
        406,
        'Invalid x-match field value <<"zz">>; expected all, any, all-with-x, or any-with-x',
    ),
    (
        steps(OURS, lambda ch, name: ch.queue_bind(name, "amq.headers", arguments={"x-match": 5})),
        406,
        "Invalid x-match field type signedint (value 5); expected longstr",
    ),
    # publishing
    (then_ask(lambda ch, name: ch.basic_publish(Message("x"), name)), 404, "no exchange 'N' V"),
    (publish(user_id="fred"), 406, "user_id property set to 'fred' but authenticated user was 'guest'"),
    (steps(OURS, publish(expiration="abc")), 406, "invalid expiration 'abc': no_integer"),
    (steps(OURS, publish(expiration="-5")), 406, "invalid expiration '-5': {value_negative,-5}"),
    (steps(OURS, publish(expiration="1.5")), 406, "invalid expiration '1.5': {leftover_string,\".5\"}"),
    (
        publish(application_headers={"CC": "k"}),
        406,
        'invalid message: {unacceptable_type_in_header,"CC",longstr}',
    ),
    # acknowledging
    (then_ask(lambda ch, name: ch.basic_ack(5)), 406, "unknown delivery tag 5"),
    (then_ask(lambda ch, name: ch.basic_ack(5, multiple=True)), 406, "unknown delivery tag 5"),
    (then_ask(lambda ch, name: ch.basic_ack(0)), 406, "unknown delivery tag 0"),
    (then_ask(lambda ch, name: ch.basic_reject(7, True)), 406, "unknown delivery tag 7"),
    # consuming
    (
        steps(OURS, lambda ch, name: ch.basic_consume(name) and ch.basic_consume(name, exclusive=True)),
        403,
        "queue 'N' V in exclusive use",
    ),
    # transactions
    (lambda ch, name: ch.tx_commit(), 406, "channel is not transactional"),
    (lambda ch, name: ch.tx_rollback(), 406, "channel is not transactional"),
    (
        steps(lambda ch, name: ch.tx_select(), publish(expiration="a")),
        406,
        "invalid expiration 'a': no_integer",
    ),
    (
        steps(lambda ch, name: ch.tx_select(), publish(application_headers={"CC": "a"})),
        406,
        'invalid message: {unacceptable_type_in_header,"CC",longstr}',
    ),
]

CHANNEL_0_9_1: List[Tuple[Step, int, str]] = [
    (
        steps(lambda ch, name: ch.tx_select(), lambda ch, name: ch.confirm_select()),
        406,
        "cannot switch from tx to confirm mode",
    ),
    (
        steps(lambda ch, name: ch.confirm_select(), lambda ch, name: ch.tx_select()),
        406,
        "cannot switch from confirm to tx mode",
    ),
    (lambda ch, name: ch.exchange_bind(name, "amq.fanout"), 404, "no exchange 'N' V"),
    (lambda ch, name: ch.exchange_bind("amq.fanout", ""), 403, "operation not permitted on the default exchange"),
    (
        steps(OURS, lambda ch, name: ch.basic_consume(name, arguments={"x-priority": "high"})),
        406,
        "invalid arg 'x-priority' for queue 'N' V: \"expected integer, got longstr\"",
    ),
]

CONNECTION: List[Tuple[Step, int, str]] = [
    (lambda ch, name: ch.basic_qos(5, 0, False), 540, "prefetch_size!=0 (5)"),
    (lambda ch, name: ch.flow(False), 540, "active=false"),
    (then_ask(lambda ch, name: ch.basic_publish(Message("x"), immediate=True)), 540, "immediate=true"),
    (then_ask(lambda ch, name: ch.basic_recover(False)), 540, "requeue=false"),
    (
        steps(OURS, lambda ch, name: ch.basic_consume(name, "t") and ch.basic_consume(name, "t")),
        530,
        "attempt to reuse consumer tag 't'",
    ),
    (
        steps(QUORUM, lambda ch, name: ch.basic_qos(0, 1, True), lambda ch, name: ch.basic_consume(name)),
        540,
        "queue 'N' V does not support global qos",
    ),
]

#: Nothing wrong with these, though one might think so.
ALLOWED: Dict[str, Step] = {
    "delete a queue that is not there": lambda ch, name: ch.queue_delete(name),
    "delete an exchange that is not there": lambda ch, name: ch.exchange_delete(name, if_unused=True),
    "unbind a queue that is not there": lambda ch, name: ch.queue_unbind(name, "amq.fanout"),
    "unbind what is not bound": steps(OURS, lambda ch, name: ch.queue_unbind(name, "amq.fanout", "k")),
    "unbind from what is not there": steps(OURS, lambda ch, name: ch.queue_unbind(name, name)),
    "acknowledge all of nothing": then_ask(lambda ch, name: ch.basic_ack(0, multiple=True)),
    "an expiration with a sign": steps(OURS, publish(expiration="+5")),
    "a type that a passive declare gives": exchange("direct", name="amq.fanout", passive=True),
    "a default queue type, in so many words": steps(
        OURS, lambda ch, name: ch.queue_declare(name, exclusive=True, arguments={"x-queue-type": "classic"})
    ),
    "arguments that nobody knows": queue(x_unheard_of=1, exclusive=True),
}

NAMES = {403: "ACCESS_REFUSED", 404: "NOT_FOUND", 405: "RESOURCE_LOCKED", 406: "PRECONDITION_FAILED"}
NAMES.update({530: "NOT_ALLOWED", 540: "NOT_IMPLEMENTED"})


def words(code: int, text: str, name: str) -> str:
    text = "%s - %s" % (NAMES[code], text.replace("V", "in vhost '/'").replace("N", name))
    return text if len(text) <= 255 else text[:252] + "..."


def ids(cases: List[Tuple[Step, int, str]]) -> List[str]:
    return ["%d %s" % (code, text[:50]) for _, code, text in cases]


@pytest.fixture(autouse=True)
def judged(broker: Broker) -> None:
    """What is refused, and in which words, differs; the broker in the box goes by these."""
    if broker.is_rabbitmq(4, 1) or (broker.is_rabbitmq() and not broker.is_rabbitmq(3, 10)):
        pytest.skip("the refusals are those of RabbitMQ 3.10 and 4.0, and this is %s" % broker.version)


@pytest.mark.parametrize(("step", "code", "text"), CHANNEL, ids=ids(CHANNEL))
def test_it_costs_the_channel(connect: Connect, names: Names, step: Step, code: int, text: str) -> None:
    conn = connect()
    name = names.any()
    with pytest.raises(AMQPChannelException) as caught:
        step(conn.channel(), name)
    assert caught.value.args[:2] == (code, words(code, text, name))
    assert conn.channel().is_open


@pytest.mark.parametrize(("step", "code", "text"), CHANNEL_0_9_1, ids=ids(CHANNEL_0_9_1))
def test_it_costs_the_channel_0_9_1(connect: Connect, names: Names, step: Step, code: int, text: str) -> None:
    test_it_costs_the_channel(lambda: connect(protocol="0-9-1"), names, step, code, text)


@pytest.mark.parametrize(("step", "code", "text"), CONNECTION, ids=ids(CONNECTION))
def test_it_costs_the_connection(connect: Connect, names: Names, step: Step, code: int, text: str) -> None:
    name = names.queue()
    with pytest.raises(AMQPConnectionException) as caught:
        step(connect().channel(), name)
    assert caught.value.args[:2] == (code, words(code, text, name))


@pytest.mark.parametrize("step", ALLOWED.values(), ids=list(ALLOWED))
def test_it_costs_nothing(connect: Connect, names: Names, step: Step) -> None:
    ch = connect().channel()
    step(ch, names.any())
    ch.queue_declare(exclusive=True)


def test_unbinding_anothers_queue_from_what_it_is_not_bound_to(connect: Connect, names: Names) -> None:
    """Its exclusive one: who may not touch it may still ask for what is so already."""
    name = names.any()
    connect().channel().queue_declare(name, exclusive=True)
    ch = connect().channel()
    ch.queue_unbind(name, "amq.fanout", "k")
    ch.queue_unbind(name, name)
    assert ch.is_open
