"""What is measured: the rows of the table, and the libraries in its columns."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

#: Libraries by the name of their driver in benchmarks/clients; the first is ours, and the second what targets refer to.
LIBRARIES = {
    "amqplib": "amqplib_client",
    "py-amqp": "amqp_client",
    "pika": "pika_client",
    "amqpstorm": "amqpstorm_client",
    "rabbitpy": "rabbitpy_client",
    "floor": "floor",
}
OURS, REFERENCE, FLOOR = "amqplib", "py-amqp", "floor"
PEERS = [name for name in LIBRARIES if name not in (OURS, FLOOR)]

#: Measurements that would take too long at the usual number of messages, and the share of it that is enough.
FEWER = {
    ("get", "amqpstorm"): 0.1,
    ("publish_confirmed", "py-amqp"): 0.2,
    ("publish_confirmed", "pika"): 0.2,
    ("publish_confirmed", "amqpstorm"): 0.02,
    ("publish_confirmed", "rabbitpy"): 0.005,
}

SMALL = 100
MEDIUM = 65_536
LARGE = 1_000_000
HUGE = 100_000_000


class Row(NamedTuple):
    """A line of the table."""

    name: str
    title: str
    #: The method of benchmarks.clients.driver.Client that does it.
    work: str
    #: Messages a measurement.
    messages: int
    #: The most that amqplib's CPU time may be, as a share of py-amqp's.
    target: Optional[float]
    #: Octets of a body, where the kind of message has none of its own.
    size: int = SMALL
    #: The row whose figure of py-amqp is the measure, where py-amqp has nothing of the kind.
    against: str = ""
    #: The figure is octets of memory instead of time.
    memory: bool = False
    #: One of messages.KINDS.
    kind: str = "plain"

    @property
    def receives(self) -> bool:
        return self.work.startswith(("consume", "get"))

    def messages_for(self, library: str, scale: float) -> int:
        """Messages for this library."""
        return max(1, int(self.messages * FEWER.get((self.work, library), 1) * scale))


def _ways(
    name: str,
    what: str,
    kind: str,
    out: Optional[float] = None,
    back: Optional[float] = None,
    gathered: Optional[float] = None,
) -> List[Row]:
    """A kind of message each way; the targets of publishing, of acknowledging at once and of gathering these."""
    size, messages = (MEDIUM, 500) if kind == "plain" else (SMALL, 5000)

    def row(end: str, title: str, work: str, target: Optional[float] = None, against: str = "") -> Row:
        return Row(name + end, "%s: %s" % (what, title), work, messages, target, size, against, kind=kind)

    return [
        row("", "sent at once", "publish", out),
        row("-batch", "in a batch", "publish_batch", against=name),
        row("-conf", "confirmed", "publish_confirmed"),
        row("-ack", "consumed, ack each", "consume_ack", back),
        row("-ack-batch", "... acks in a batch", "consume_ack_batch", against=name + "-ack"),
        row("-gathered", "... acks gathered", "consume_gathered", gathered, name + "-ack"),
    ]


#: Messages as programs send them (messages.KINDS says what is in them).
REAL: List[Row] = [
    *_ways("shop", "a shop's event", "shop", 0.25, 0.36, 0.25),
    *_ways("celery", "a Celery task", "celery", 0.30, 0.30),
    *_ways("log", "a log event", "log"),
    *_ways("keys", "a routing key each", "keys"),
    *_ways("64KB", "64 KB bodies", "plain"),
]

ROWS: List[Row] = [
    *REAL,
    Row("publish", "publish, each sent at once", "publish", 10_000, 0.15),
    Row("batch", "publish in a batch", "publish_batch", 20_000, 0.065, against="publish"),
    Row("headers", "publish with three application_headers", "publish", 10_000, 0.20, kind="headers"),
    Row("changing", "... one of them another each time", "publish", 10_000, None, kind="changing"),
    Row("consume", "consume, no acks, a callback each", "consume", 10_000, 0.13),
    Row("ack", "consume and ack each at once", "consume_ack", 10_000, 0.12),
    Row("ack-batch", "consume, acks in a batch", "consume_ack_batch", 10_000, None, against="ack"),
    Row("gathered", "consume, acks gathered", "consume_gathered", 10_000, None, against="ack"),
    Row("get", "basic_get", "get", 2_000, 0.40),
    Row("confirmed", "publish confirmed, 1000 outstanding", "publish_confirmed", 10_000, 0.08),
    Row("conf-batch", "... in a batch", "publish_confirmed_batch", 10_000, None, against="confirmed"),
    Row("1MB-out", "1 MB bodies out", "publish", 40, 0.85, size=LARGE),
    Row("1MB-in", "1 MB bodies in", "consume", 40, 0.55, size=LARGE),
    Row("100MB-in", "100 MB body in: memory, times the body", "consume", 1, 1.25, size=HUGE, memory=True),
]
BY_NAME: Dict[str, Row] = {row.name: row for row in ROWS}
