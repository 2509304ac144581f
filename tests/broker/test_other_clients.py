"""Other people's clients on the broker in the box: pika, py-amqp, amqpstorm and rabbitpy."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Tuple

import pytest

from amqplib.broker import Broker
from benchmarks import environment
from tests.pages import blocks, page

PIKA = """
import pika, sys
connection = pika.BlockingConnection(pika.URLParameters("amqp://guest:guest@%s/%%2F" % sys.argv[1]))
channel = connection.channel()
channel.exchange_declare("events", "topic")
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "events", "a.#")
channel.confirm_delivery()
for n in range(5):
    channel.basic_publish("events", "a.%d" % n, b"body %d" % n, pika.BasicProperties(headers={"n": n}), mandatory=True)
try:
    channel.basic_publish("events", "b", b"nobody wants this", mandatory=True)
except pika.exceptions.UnroutableError as exc:
    print("returned", exc.messages[0].body)
method, properties, body = channel.basic_get(queue)
print("got", method.routing_key, properties.headers, body)
channel.basic_ack(method.delivery_tag)
channel.basic_qos(prefetch_count=2)
for method, properties, body in channel.consume(queue, inactivity_timeout=10):
    print("consumed", method.routing_key, properties.headers, body)
    channel.basic_ack(method.delivery_tag)
    if body == b"body 4":
        break
channel.cancel()
print("left", channel.queue_declare(queue, passive=True).method.message_count)
try:
    channel.queue_declare("no.such.queue", passive=True)
except pika.exceptions.ChannelClosedByBroker as exc:
    print("refused", exc.reply_code)
connection.close()
"""

PY_AMQP = """
import amqp, sys
connection = amqp.Connection(sys.argv[1], confirm_publish=True)
connection.connect()
channel = connection.channel()
channel.exchange_declare("events", "topic")
queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
channel.queue_bind(queue, "events", "a.#")
for n in range(5):
    channel.basic_publish(amqp.Message("body %d" % n, application_headers={"n": n}), "events", "a.%d" % n)
channel.events["basic_return"].add(lambda exc, exchange, key, message: print("returned", message.body.encode()))
channel.basic_publish(amqp.Message("nobody wants this"), "events", "b", mandatory=True)
message = channel.basic_get(queue)
print("got", message.delivery_info["routing_key"], message.headers, message.body.encode())
channel.basic_ack(message.delivery_tag)
channel.basic_qos(0, 2, False)
seen = []
def callback(message):
    seen.append(message.body)
    print("consumed", message.delivery_info["routing_key"], message.headers, message.body.encode())
    channel.basic_ack(message.delivery_tag)
tag = channel.basic_consume(queue, callback=callback)
while len(seen) < 4:
    connection.drain_events(timeout=10)
channel.basic_cancel(tag)
print("left", channel.queue_declare(queue, passive=True).message_count)
try:
    channel.queue_declare("no.such.queue", passive=True)
except amqp.NotFound as exc:
    print("refused", exc.reply_code)
connection.close()
"""

AMQPSTORM = """
import amqpstorm, sys
host, port = sys.argv[1].split(":")
connection = amqpstorm.Connection(host, "guest", "guest", port=int(port))
channel = connection.channel()
channel.exchange.declare("events", "topic")
queue = channel.queue.declare("", exclusive=True)["queue"]
channel.queue.bind(queue, "events", "a.#")
channel.confirm_deliveries()
for n in range(5):
    assert channel.basic.publish("body %d" % n, "a.%d" % n, "events", {"headers": {"n": n}})
try:
    channel.basic.publish("nobody wants this", "b", "events", mandatory=True)
except amqpstorm.AMQPMessageError as exc:
    print("returned", b"nobody wants this")
message = channel.basic.get(queue)
print("got", message.method["routing_key"], message.properties["headers"], message.body.encode())
message.ack()
channel.basic.qos(2)
seen = []
def callback(message):
    seen.append(message.body)
    print("consumed", message.method["routing_key"], message.properties["headers"], message.body.encode())
    message.ack()
    if len(seen) == 4:
        channel.basic.cancel(message.method["consumer_tag"])
channel.basic.consume(callback, queue)
channel.start_consuming()
print("left", channel.queue.declare(queue, passive=True)["message_count"])
try:
    channel.queue.declare("no.such.queue", passive=True)
except amqpstorm.AMQPChannelError as exc:
    print("refused", exc.error_code)
connection.close()
"""

# They split bodies into frames that are eight octets longer than was agreed on, counted with their overhead.
AMQPSTORM_LARGE = """
import amqpstorm, sys
host, port = sys.argv[1].split(":")
connection = amqpstorm.Connection(host, "guest", "guest", port=int(port))
channel = connection.channel()
queue = channel.queue.declare("", exclusive=True)["queue"]
channel.confirm_deliveries()
assert channel.basic.publish(b"x" * 200000, queue)
print(channel.basic.get(queue, auto_decode=False).body == b"x" * 200000)
connection.close()
"""

RABBITPY_LARGE = """
import rabbitpy, sys
with rabbitpy.Connection("amqp://guest:guest@%s/%%2F" % sys.argv[1]) as connection:
    with connection.channel() as channel:
        queue = rabbitpy.Queue(channel, "large", auto_delete=False)
        queue.declare()
        channel.enable_publisher_confirms()
        assert rabbitpy.Message(channel, b"x" * 200000).publish("", "large")
        print(queue.get().body == b"x" * 200000)
"""

EXPECTED = """\
returned b'nobody wants this'
got a.0 {'n': 0} b'body 0'
consumed a.1 {'n': 1} b'body 1'
consumed a.2 {'n': 2} b'body 2'
consumed a.3 {'n': 3} b'body 3'
consumed a.4 {'n': 4} b'body 4'
left 0
refused 404
"""


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that has them."""
    if sys.version_info < environment.NEEDED:
        pytest.skip("they need Python %d.%d or later" % environment.NEEDED)
    try:
        return environment.peers_python()
    except (OSError, subprocess.CalledProcessError) as exc:
        if os.environ.get("AMQPLIB_REQUIRE_BROKER") == "1":
            raise
        pytest.skip("they cannot be installed: %s" % exc)


@pytest.mark.timeout(300)  # the first time they are installed
@pytest.mark.parametrize("program", [PIKA, PY_AMQP, AMQPSTORM], ids=["pika", "py-amqp", "amqpstorm"])
def test_there_and_back(broker: Broker, python: str, program: str) -> None:
    """Connect, declare, publish with confirms, get, consume with acks, a return and a refusal."""
    assert said(python, program, broker) == (0, EXPECTED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", [AMQPSTORM_LARGE, RABBITPY_LARGE], ids=["amqpstorm", "rabbitpy"])
def test_a_large_message(broker: Broker, python: str, program: str) -> None:
    assert said(python, program, broker) == (0, "True\n")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["pika", "py-amqp"])
def test_what_the_porting_guides_begin_with(broker: Broker, python: str, name: str) -> None:
    theirs, ours = (block for block in blocks(page("porting/" + name)) if block.language == "python")
    host, port = broker.address.split(":")
    there = "%r, %s" % (host, port) if name == "pika" else repr(broker.address)
    assert said(python, theirs.code.replace("'localhost'", there), broker) == (0, ours.output)


def said(python: str, program: str, broker: Broker) -> Tuple[int, str]:
    """Its exit code, and what it prints."""
    done = subprocess.run(
        [python, "-c", program, broker.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    return done.returncode, done.stdout
