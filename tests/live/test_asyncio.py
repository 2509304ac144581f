"""docs/asyncio.rst: the library in an event loop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from typing import List

import pytest

from amqplib.broker import Broker as Box
from tests.conftest import Broker
from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, ROOT
from tests.live.secure import Secured

pytestmark = pytest.mark.only(client="client_0_9_1", reason="the recipe imports it")

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}

_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def recipes() -> List[str]:
    text = (ROOT / "docs" / "asyncio.rst").read_text(encoding="utf-8")
    return [textwrap.dedent(match.group(1)) for match in _BLOCK.finditer(text)]


def said(*code: str) -> str:
    """What a program of this code prints."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=ENV,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def on(broker: Broker, names: Names, code: str) -> str:
    """The code, for a broker and a queue of the test's."""
    login = ", ".join("%s=%r" % item for item in broker.login.items())
    return code.replace("'localhost'", login).replace("'letters'", repr(names.queue()))


def test_there_and_back(broker: Broker, names: Names) -> None:
    link, program = recipes()
    assert said(link, on(broker, names, program)) == "100 confirmed\nthe last is letter 99\n"


def test_tls(secured: Secured) -> None:
    link, program = recipes()
    program = program.replace("'localhost'", "%r, ssl=%r" % (secured.host, secured.trusting))
    program = program.replace("queue_declare('letters'", "queue_declare('letters', exclusive=True")
    assert said(link, program) == "100 confirmed\nthe last is letter 99\n"


READ_BY_THE_WAY = """
import select, time

async def main():
    other = amqp.Connection('localhost').channel()
    link = Link(amqp.Connection('localhost', heartbeat=0))
    link.ch.queue_declare('letters')
    other.basic_publish_confirm(amqp.Message('0'), routing_key='letters')
    messages = link.consume('letters')      # the answer and the first message may come in one read
    msg = await messages.get()
    other.basic_publish_confirm(amqp.Message('1'), routing_key='letters')
    select.select([link.fd], [], [], 20)    # it is here
    time.sleep(0.1)                         # who sends looks into the socket every 50 ms
    pending = [link.conn.pending()]
    link.do(msg.ack)
    print(*pending, link.conn.pending(), (await messages.get()).text)
    link.stop()
    other.connection.close()

asyncio.run(asyncio.wait_for(main(), 25))
"""


def test_what_was_read_by_the_way(broker: Broker, names: Names) -> None:
    """It is handled, though no octet comes after it that would wake the loop."""
    assert said(recipes()[0], on(broker, names, READ_BY_THE_WAY)) == "0 1 1\n"


A_CALLBACK_THAT_RAISES = """
async def main():
    link = Link(amqp.Connection('localhost', heartbeat=0))
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: print(context['exception']))
    link.ch.queue_declare('letters')
    came = []
    def take(msg):
        came.append(msg.text)
        if len(came) == 1:
            raise ValueError('the first one')
    link.ch.basic_consume('letters', callback=take, no_ack=True)
    await asyncio.gather(*[link.publish(amqp.Message('%d' % number), 'letters') for number in range(3)])
    while len(came) < 3:
        await link.publish(amqp.Message('more'), 'letters')
    print(came[:3])
    link.stop()

asyncio.run(asyncio.wait_for(main(), 25))
"""


def test_a_callback_that_raises(broker: Broker, names: Names) -> None:
    text = said(recipes()[0], on(broker, names, A_CALLBACK_THAT_RAISES))
    assert text == "the first one\n['0', '1', '2']\n"


SILENCE = """
async def main():
    link = Link(amqp.Connection('localhost', heartbeat=1))
    await asyncio.sleep(3.5)
    print(link.over.done(), flush=True)
    input()
    publish = asyncio.ensure_future(link.publish(amqp.Message('x'), 'nowhere'))
    try:
        await link.over
    except amqp.ConnectionLostError as exc:
        print('the peer has been silent' in str(exc))
    await asyncio.wait([publish])
    print(publish.cancelled(), list(link.ch.unconfirmed))

asyncio.run(asyncio.wait_for(main(), 25))
"""


def test_heartbeats() -> None:
    """They keep a connection on which nothing happens; a peer that sends none is noticed."""
    with Box() as box:
        code = recipes()[0] + SILENCE.replace("'localhost'", repr(box.address))
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=ENV) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "False\n"
            box.faults.stall()
            assert process.communicate("\n", PATIENCE)[0] == "True\nTrue [1]\n"
            box.faults.resume()
