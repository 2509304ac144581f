"""Proves what type checkers make of programs: that good ones pass, and that what is wrong is found where it is.

mypy --strict and pyright, strict as well, read a program for each client module. A line of it that ends in a comment
`# wrong` has to be found fault with by both, and no other may be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, Set

import pytest

pytest.importorskip("mypy")  # which no longer runs on the oldest Pythons: see tests/requirements.txt

ROOT = Path(__file__).parents[2]

#: Seconds for a checker that has to read all of the package first, on a busy machine.
LIMIT = 300

NEWER = """
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Union

from typing_extensions import assert_type

import amqplib.client_0_9_1 as amqp

done: List[str] = []


def work(msg: amqp.Message) -> None:
    assert_type(msg.text, str)
    assert_type(msg.body, Union[str, bytes])
    assert_type(msg.reply_to, Optional[str])
    assert_type(msg.headers, Optional[Dict[str, Any]])
    assert_type(msg.delivery_info.get("consumer_tag"), Optional[str])
    assert_type(msg.delivery_info["exchange"], str)
    assert_type(msg.channel, amqp.Channel)
    done.append(msg.text + msg.routing_key)
    done.append(msg.reply_to)  # wrong
    msg.reply_too  # wrong
    msg.delivery_info["delivery_tags"]  # wrong
    msg.priority = 5
    msg.priority = "high"  # wrong
    msg.ack()


def back(code: int, text: str, exchange: str, routing_key: str, msg: amqp.Message) -> None:
    done.append("%d %s" % (code, msg.text))


def acked(tag: int, msg: amqp.Message) -> None:
    done.append(msg.text)


def text_of(body: str) -> None:
    done.append(body)


def traced(record: amqp.TraceRecord) -> None:
    assert_type(record.size, Optional[int])
    done.append(record.method)


def main() -> None:
    with amqp.Connection("localhost", heartbeat=30) as conn, conn.channel() as ch:
        assert_type(ch, amqp.Channel)
        assert_type(conn.is_open, bool)
        assert_type(conn.fileno(), int)
        declared = ch.queue_declare("tasks", durable=True)
        assert_type(declared, amqp.DeclaredQueue)
        assert_type(declared.message_count, int)
        name, messages, consumers = declared
        assert_type(name, str)
        assert_type(messages + consumers, int)

        ch.on_return = back
        ch.on_return = work  # wrong
        ch.confirm_select(on_ack=acked)
        ch.confirm_select(on_ack=work)  # wrong
        for time in ch.confirm_times():
            assert_type(time.seconds, float)
        amqp.Connection("localhost", trace=True)
        amqp.Connection("localhost", trace=traced)
        amqp.Connection("localhost", trace=work)  # wrong
        msg = amqp.Message("x", delivery_mode=2, timestamp=datetime.now(timezone.utc), application_headers={"a": 1})
        amqp.Message("x", delivery_mod=2)  # wrong
        amqp.Message("x", delivery_mode="2")  # wrong
        amqp.Message("x", headers={})  # wrong
        ch.basic_publish(msg, routing_key="tasks", mandatory=True)
        ch.basic_publish("x", routing_key="tasks")  # wrong
        try:
            ch.basic_publish_confirm(msg, routing_key="tasks")
        except amqp.ConfirmTimeoutError as exc:
            assert_type(exc.messages, List[amqp.Message])
        except amqp.UnconfirmedError as exc:
            assert_type(exc.messages, List[amqp.Message])
            assert_type(exc.nacked, Dict[int, amqp.Message])
        except (amqp.NotFound, amqp.ConnectionForced) as exc:
            assert_type(exc.amqp_reply_code, int)
        assert_type(ch.unconfirmed, Dict[int, amqp.Message])

        got = ch.basic_get("tasks")
        got.ack()  # wrong
        assert_type(got, Optional[amqp.Message])
        for each in ch.consume("tasks", timeout=1):
            assert_type(each, amqp.Message)
        ch.basic_consume("tasks", callback=work)
        ch.basic_consume("tasks", callback=text_of)  # wrong
        code, text, exchange, routing_key, returned = ch.returned_messages.get()
        assert_type(code, int)
        assert_type(text + exchange + routing_key, str)
        assert_type(returned, amqp.Message)
        while ch.callbacks:
            ch.wait()
        ch.stop_consuming()


class Counted(amqp.Channel):
    def basic_get(self, queue: str = "", no_ack: bool = False, ticket: Optional[int] = None) -> Optional[amqp.Message]:
        return super().basic_get(queue, no_ack, ticket)


def is_unsafe(exc: Exception) -> bool:
    return isinstance(exc, amqp.UnconfirmedError) and len(exc.messages) > 0


main()
"""

OLDER = """
from typing import Dict, List, Optional, Tuple

from typing_extensions import assert_type

import amqplib.client_0_8 as amqp

done: List[str] = []


def work(msg: amqp.Message) -> None:
    msg.isRetry = True
    done.append(msg.body)
    done.append(msg.reply_to)
    assert_type(msg.delivery_tag, int)
    assert_type(msg.delivery_info["delivery_tag"], int)
    msg.channel.basic_ack(msg.delivery_tag)


def back(code: int, text: str, exchange: str, routing_key: str, msg: amqp.Message) -> None:
    done.append(msg.body)


def text_of(body: str) -> None:
    done.append(body)


def main() -> None:
    conn = amqp.Connection(host="localhost", userid="guest", password="guest", insist=False)
    ch = conn.channel()
    assert_type(ch, amqp.Channel)
    assert_type(ch.queue_declare("tasks", durable=True, auto_delete=False), Tuple[str, int, int])
    ch.queue_declare("tasks", durably=True)  # wrong
    ch.exchange_declare("e")  # wrong
    ch.on_return = back
    ch.basic_publish(amqp.Message("x", delivery_mode=2), "e", "key")
    ch.basic_publish("x", "e", "key")  # wrong
    got = ch.basic_get("tasks")
    assert_type(got, Optional[amqp.Message])
    for each in ch.consume("tasks"):
        assert_type(each, amqp.Message)
    try:
        ch.wait_for_confirms()
    except amqp.UnconfirmedError as exc:
        assert_type(exc.messages, List[amqp.Message])
        assert_type(exc.returned, Dict[int, amqp.Message])
    ch.basic_consume("tasks", callback=work)
    ch.basic_consume("tasks", callback=text_of)  # wrong
    while ch.callbacks:
        ch.wait()


main()
"""

PROGRAMS = {"client_0_9_1": NEWER, "client_0_8": OLDER}


def found_by_mypy(program: Path) -> Set[int]:
    """Lines that mypy --strict finds fault with."""
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    environment.setdefault("MYPY_CACHE_DIR", str(program.parent / "cache"))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", str(program)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env=environment, cwd=program.parent, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = [line.split(":", 3) for line in done.stdout.splitlines() if ": error: " in line]
    assert {line[0] for line in lines} <= {program.name}, done.stdout
    return {int(line[1]) for line in lines}


def found_by_pyright(program: Path) -> Set[int]:
    """Lines that pyright finds fault with."""
    config = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "reportUnusedExpression": False}
    (program.parent / "pyrightconfig.json").write_text(json.dumps({**config, "include": [program.name]}))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--project", str(program.parent)],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    faults = json.loads(done.stdout)["generalDiagnostics"]
    return {fault["range"]["start"]["line"] + 1 for fault in faults if fault["severity"] == "error"}


CHECKERS: Dict[str, Callable[[Path], Set[int]]] = {"mypy": found_by_mypy, "pyright": found_by_pyright}


@pytest.mark.thorough
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("module", PROGRAMS)
@pytest.mark.parametrize("checker", CHECKERS)
def test_what_is_wrong_is_found(tmp_path: Path, checker: str, module: str) -> None:
    pytest.importorskip(checker)
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[module])
    lines = PROGRAMS[module].splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) >= 4
    found = CHECKERS[checker](program)
    assert sorted(found) == sorted(wrong), [lines[number - 1] for number in found ^ wrong]
