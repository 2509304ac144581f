"""Proves that the client works where threads are not what they seem: under gevent, eventlet, and import_patched.

The core of the live tests is run again, in processes of its own, as programs run that patch the standard library before
they import anything. And a program shows that green threads share a connection, and that others run while one waits.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.conftest import Broker, Peer
from tests.green import FLAVOURS

ROOT = Path(__file__).parent.parent.parent

#: What is run again; a broker that is named by an address runs it, so tests that need rabbitmqctl are skipped there.
CORE = ["test_channels.py", "test_receiving.py", "test_acks.py"]

pytestmark = pytest.mark.thorough

each_flavour = pytest.mark.parametrize("flavour", FLAVOURS)


def run(flavour: str, broker: Broker, arguments: List[str]) -> str:
    """What a process prints that ends well."""
    package = "gevent" if flavour == "gevent" else "eventlet"
    if importlib.util.find_spec(package) is None:
        pytest.skip("there is no %s here" % package)
    url = "amqp://%s:%s@%s/" % (broker.userid, broker.password, broker.host)
    done = subprocess.run(
        # eventlet warns of its own end, and both patch what is imported by then
        [sys.executable, "-W", "ignore", *arguments],
        env={**os.environ, "AMQPLIB_TEST_URL": url, "AMQPLIB_TEST_QUICK": "1", "PYTHONPATH": str(ROOT)},
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@each_flavour
@pytest.mark.timeout(1000)
def test_the_core_of_the_live_tests(peer: Peer, broker: Broker, flavour: str) -> None:
    files = [str(ROOT / "tests" / "live" / name) for name in CORE]
    # two thousand channels are the same for the sockets
    chosen = "%s and not two_thousand" % str(peer)
    said = run(
        flavour, broker, ["-m", "tests.green", flavour, "-q", "-x", "-p", "no:cacheprovider", "-k", chosen, *files]
    )
    assert " passed" in said


PROGRAM = """
import sys
from tests.green import patch

flavour, module, host = sys.argv[1:]
patch(flavour)
import importlib
amqp = importlib.import_module(module)
if flavour == "gevent":
    import gevent
    spawn, sleep = gevent.spawn, gevent.sleep
    wait = lambda green: green.get()
else:
    import eventlet
    spawn, sleep = eventlet.spawn, eventlet.sleep
    wait = lambda green: green.wait()

ticks = []

def tick():
    while True:
        ticks.append(None)
        sleep(0.01)

spawn(tick)
conn = amqp.Connection(host, heartbeat=1, connect_timeout=30)

def work(number):
    with conn.channel() as ch:
        queue = ch.queue_declare(exclusive=True)[0]
        for i in range(20):
            ch.basic_publish(amqp.Message("%d-%d" % (number, i)), routing_key=queue)
        got = []
        for msg in ch.consume(queue, no_ack=True, timeout=30):
            got.append(msg.body)
            if len(got) == 20:
                break
        assert got == ["%d-%d" % (number, i) for i in range(20)], got

for green in [spawn(work, number) for number in range(10)]:
    wait(green)
with conn.channel() as ch:
    large = b"x" * 5000000  # more than the system takes at once
    queue = ch.queue_declare(exclusive=True)[0]
    ch.basic_publish(amqp.Message(large), routing_key=queue)
    while True:
        msg = ch.basic_get(queue, no_ack=True)
        if msg:
            break
        sleep(0.01)
    assert msg.body == large
    del ticks[:]
    try:
        ch.wait(timeout=3)  # longer than two heartbeats
    except amqp.AMQPTimeoutError:
        pass
    assert len(ticks) > 10, ticks
conn.close(timeout=30)
print("done")
"""


@each_flavour
@pytest.mark.timeout(1000)
def test_green_threads_share_a_connection(peer: Peer, broker: Broker, flavour: str) -> None:
    assert run(flavour, broker, ["-c", PROGRAM, flavour, peer.client, broker.host]).endswith("done\n")
