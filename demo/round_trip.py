#!/usr/bin/env python3
"""demo_receive.py and demo_send.py at once: a message goes through a real RabbitMQ and back.

With --host through the broker that is there; without it through a private RabbitMQ 3.10 that exists only as long as
this does (tests/install_rabbitmq.sh fetches it on first use: Debian's package, unpacked below ~/.cache, no root).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

from demo.options import parser, run

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"  # Debian 12: RabbitMQ 3.10


def on_a_private_broker() -> None:
    """Run this program again, with --host, against a RabbitMQ that is started for it."""
    subprocess.run(["sh", str(ROOT / "tests" / "install_rabbitmq.sh"), SUITE], check=True, stdout=sys.stderr)
    again = [sys.executable, __file__, "--host", "{host}"]
    os.execv(sys.executable, [sys.executable, str(ROOT / "tests" / "brokers.py"), "--suite", SUITE, "--", *again])


def round_trip(arguments: List[str]) -> int:
    """Start the receiver, send it two messages, and wait for its end; its exit code."""

    def demo(name: str) -> List[str]:
        return [sys.executable, str(ROOT / "demo" / name), *arguments]

    receive = subprocess.Popen(demo("demo_receive.py"), stdout=subprocess.PIPE, text=True)
    assert receive.stdout is not None
    with receive:
        try:
            ready = receive.stdout.readline()  # so nothing sent from now on is missed
            if not ready:
                return receive.wait()
            print(ready, end="", flush=True)
            for words in (["hello", "world"], ["quit"]):
                print("$ demo_send.py %s" % " ".join(words), flush=True)
                subprocess.run(demo("demo_send.py") + words, check=True)
                for line in receive.stdout:
                    print(line, end="", flush=True)
                    if line.strip() == " ".join(words):
                        break
        except BaseException:
            receive.kill()
            raise
    return receive.returncode


def main() -> int:
    """See the head of this file."""
    options = parser(__doc__.strip().split("\n")[0])
    options.set_defaults(host=None)
    given = options.parse_args()
    if given.host is None:
        on_a_private_broker()
    try:
        return round_trip(sys.argv[1:])
    except subprocess.CalledProcessError as exc:
        return exc.returncode


if __name__ == "__main__":
    sys.exit(run(main))
