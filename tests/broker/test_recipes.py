"""The recipes in docs/*.rst, as programs of their own on the broker in the box."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

pytestmark = pytest.mark.timeout(200)

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def recipes(page: str) -> List[str]:
    """The blocks of code of a page, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [textwrap.dedent(match.group(1)) for match in _BLOCK.finditer(text)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def addressed(broker: Broker, *code: str) -> str:
    """The code as one program, for which localhost is the broker."""
    return re.sub(r"(?<=\')localhost(?=\')", broker.address, "\n".join(code))


def said(broker: Broker, *code: str) -> str:
    """What a program of this code prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", addressed(broker, *code)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_trace(broker: Broker) -> None:
    (code,) = recipes("trace.rst")
    lines = said(broker, code).splitlines()
    shown = re.findall(r"^    \d\d:\d\d:\S+ localhost:5672#1 (.*)$", (ROOT / "docs" / "trace.rst").read_text(), re.M)
    assert len(shown) == 3
    told = [line.split(" ", 2)[2] for line in lines]
    assert [line for line in told if line in shown] == shown


needs_prometheus = pytest.mark.skipif(not find_spec("prometheus_client"), reason="it needs Python 3.10 or later")
needs_opentelemetry = pytest.mark.skipif(not find_spec("opentelemetry"), reason="it needs Python 3.10 or later")

SCRAPE = """
        import urllib.request
        urllib.request.getproxies = dict
        print(urllib.request.urlopen("http://127.0.0.1:9464/metrics").read().decode())
"""


@needs_prometheus
def test_the_totals_for_prometheus(broker: Broker) -> None:
    program = recipes("metrics.rst")[0].rstrip("\n") + textwrap.indent(textwrap.dedent(SCRAPE), "    ")
    text = said(broker, program.replace("9464", str(free_port())))
    values = dict(re.findall(r"^(amqp_\S+) (\S+)$", text, re.MULTILINE))
    assert set(values) == {"amqp_" + name for name in amqp.Stats._fields}
    expected = {"amqp_messages_out": 1, "amqp_in_flight": 0, "amqp_recoveries": 0}
    assert {name: float(values[name]) for name in expected} == expected
    assert float(values["amqp_bytes_out"]) > 100


@needs_prometheus
def test_prometheus(broker: Broker) -> None:
    classes, program = recipes("metrics.rst")[1:3]
    port = str(free_port())
    scrape = textwrap.indent(textwrap.dedent(SCRAPE), "    ")
    program = program.replace("    REGISTRY.unregister(conn)\n", scrape + "    REGISTRY.unregister(conn)\n")
    text = said(broker, (classes + program).replace("9464", port))
    values = dict(re.findall(r"^(amqp_\S+) (\S+)$", text, re.MULTILINE))
    expected = {
        'amqp_handled_seconds_count{queue="metered"}': 10,
        "amqp_acks_total": 10,
        'amqp_confirmed_seconds_count{acknowledged="True"}': 10,
        "amqp_messages_out_total": 10,
        "amqp_messages_in_total": 10,
        "amqp_recoveries_total": 0,
        "amqp_in_flight": 0,
        "amqp_pending": 0,
        "amqp_blocked": 0,
    }
    assert {name: float(values[name]) for name in expected} == expected
    assert float(values["amqp_bytes_out_total"]) > 1000
    assert float(values['amqp_confirmed_seconds_sum{acknowledged="True"}']) > 0


UNTIL = """
    while REGISTRY.get_sample_value('amqp_blocked') != %d:
        try:
            conn.drain_events(timeout=0.1)
        except amqp.AMQPTimeoutError:
            pass
    print(%d, flush=True)
"""


@needs_prometheus
def test_prometheus_is_told_of_a_block(broker: Broker) -> None:
    broker.faults.block("memory")
    begin = "with Connection('localhost') as conn, conn.channel() as ch:\n"
    begin += "    ch.basic_publish(amqp.Message('x'), routing_key='nowhere')\n"
    code = addressed(broker, recipes("metrics.rst")[1], begin, UNTIL % (1, 1), UNTIL % (0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        broker.faults.unblock()
        assert process.stdout.readline() == "0\n"
        assert process.wait(60) == 0


EXPORTER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
"""

SPANS = """
spans = exporter.get_finished_spans()
names = {span.context.span_id: span.name for span in spans}
for span in spans:
    parent = names[span.parent.span_id] if span.parent else None
    size = (span.attributes or {}).get('messaging.message.body.size')
    print(span.name, '<-', parent, size, span.kind.name, len({span.context.trace_id for span in spans}))
"""

CALLBACK = """
with Connection('localhost') as conn, conn.channel() as ch:
    ch.queue_declare('traced')
    ch.basic_publish_confirm(amqp.Message('x', application_headers={'n': 1}), routing_key='traced')
    def show(msg):
        print(sorted(msg.headers), trace.get_current_span().is_recording())
    ch.basic_consume('traced', callback=show, no_ack=True)
    ch.wait(timeout=30)
"""


@needs_opentelemetry
def test_opentelemetry(broker: Broker) -> None:
    classes, program = recipes("metrics.rst")[3:]
    assert said(broker, EXPORTER, classes, program, SPANS).splitlines() == [
        "publish traced <- an order 10 PRODUCER 1",
        "an order <- None None INTERNAL 1",
        "process traced <- publish traced 10 CONSUMER 1",
    ]


@needs_opentelemetry
def test_opentelemetry_around_a_callback(broker: Broker) -> None:
    assert said(broker, EXPORTER, recipes("metrics.rst")[3], CALLBACK, SPANS).splitlines() == [
        "['n', 'traceparent'] True",
        "publish traced <- None 1 PRODUCER 1",
        "process traced <- publish traced 1 CONSUMER 1",
    ]
