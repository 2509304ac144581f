"""The broker in the box (amqplib.broker) in the part of a RabbitMQ: what tests/brokers.py's Node is for those.

box = Box()
box.ctl("add_user", "alice", "secret")      # the commands of rabbitmqctl that the tests use
box.kill(); box.run()                       # all connections are lost, and it is back on the same port
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import amqplib
from amqplib.broker import Broker


class Box:
    """A broker in a thread of this process."""

    version = amqplib.__version__

    def __init__(self) -> None:
        self._broker = Broker()
        self._broker.start()
        self.host = self._broker.address
        self._commands: Dict[str, Callable[..., Any]] = {
            "add_user": self._broker.add_user,
            "delete_user": self._broker.delete_user,
            "set_permissions": lambda *arguments: None,  # everybody may do everything
            "add_vhost": self._broker.add_vhost,
            "delete_vhost": self._broker.delete_vhost,
            "list_queues": self._list_queues,
            "list_exchanges": self._list_exchanges,
            "list_connections": self._list_connections,
            "close_all_connections": self._broker.faults.close_connections,
            "set_vm_memory_high_watermark": self._set_watermark,
        }

    def ctl(self, command: str, *arguments: str) -> str:
        """What rabbitmqctl would print."""
        return self._commands[command](*arguments) or ""

    def _list_queues(self, *columns: str) -> str:
        return _lines([{"name": name, **queue._asdict()} for name, queue in self._broker.queues().items()], columns)

    def _list_exchanges(self, *columns: str) -> str:
        return _lines([{"name": name, **item._asdict()} for name, item in self._broker.exchanges().items()], columns)

    def _list_connections(self, *columns: str) -> str:
        shown = []
        for connection in self._broker.connections():
            pairs = ['{"%s","%s"}' % pair for pair in connection.client_properties.items()]
            shown.append({**connection._asdict(), "client_properties": "[%s]" % ",".join(pairs)})
        return _lines(shown, columns)

    def _set_watermark(self, fraction: str) -> None:
        if float(fraction) < 0.01:
            self._broker.faults.block("low on memory")
        else:
            self._broker.faults.unblock()

    # --- its life

    def running(self) -> bool:
        return self._broker.is_up

    def run(self) -> None:
        """Again, on the same port, with what was durable."""
        self._broker.up()

    def wait_ready(self) -> None:
        """It always is."""

    def kill(self) -> None:
        """All connections are lost without a word."""
        self._broker.down(crash=True)

    def stop(self) -> None:
        """In good order."""
        self._broker.down()

    def freeze(self) -> None:
        self._broker.faults.stall()

    def thaw(self) -> None:
        self._broker.faults.resume()

    def end(self) -> None:
        """The tests are over."""
        self._broker.stop()


def _lines(rows: List[Dict[str, object]], columns: Tuple[str, ...]) -> str:
    def shown(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return "\n".join("\t".join(shown(row[column]) for column in columns) for row in rows)
