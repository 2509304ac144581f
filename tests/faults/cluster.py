"""A cluster of three, a quorum queue, and programs in which there is no line of connecting again.

The leader of the queue is killed (kill -9) again and again, each node is restarted in turn, and the leader is cut off
from the others, which goes on as one that its cluster has lost (pause_minority). Measured is the time from the kill to
the first confirm of a message that was published after it; and an account is kept as in account.py.

    python3 -m tests.faults.cluster --suite trixie --kills 30
"""

from __future__ import annotations

import argparse
import collections
import logging
import sys
import threading
import time
from typing import Any, Callable, Counter, Dict, List, Set

import amqplib.client_0_9_1 as amqp
from tests.brokers import SUITES, BrokerError, Node, Nodes, install

from .account import SETTLING, Id, body_of, id_of

__all__ = ["Cluster"]

LOGGER = logging.getLogger("cluster")

QUEUE = "amqplib-cluster-quorum"

#: Bounds a hang.
LONG = 120.0

#: Publishers that wait for each confirm before they publish again, and those that do not.
PROBES, STREAMS = 2, 2

#: Seconds between two publishes.
PACE = 0.005

WINDOW = 100


class Program(threading.Thread):
    """One program, with a connection to any of the nodes."""

    def __init__(self, cluster: Cluster, who: int) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.who = who
        self.stats: Any = None

    def run(self) -> None:
        try:
            hosts = ",".join(node.host for node in self.cluster.nodes)
            recover = amqp.Recovery(first=True)
            with amqp.Connection(hosts, heartbeat=5, connect_timeout=5, reply_timeout=LONG, recover=recover) as conn:
                self.work(conn.channel())
                self.stats = conn.stats()
        except Exception as exc:
            LOGGER.exception("a program has ended")
            self.cluster.errors.append("%s %d: %r" % (type(self).__name__, self.who, exc))

    def work(self, ch: Any) -> None:
        raise NotImplementedError


class Publisher(Program):
    """Publishes until all is over."""

    def work(self, ch: Any) -> None:
        ch.confirm_select(window=WINDOW, on_ack=self.acked, on_nack=self.nacked)
        number = 0
        while not self.cluster.over.is_set():
            msg: Any = amqp.Message(body_of(self.who, number), delivery_mode=2)
            msg.began, msg.id = time.monotonic(), (self.who, number)
            with self.cluster.lock:
                self.cluster.attempted.add((self.who, number))
            self.publish(ch, msg)
            number += 1
            time.sleep(PACE)
        ch.wait_for_confirms(LONG)

    def publish(self, ch: Any, msg: Any) -> None:
        ch.basic_publish(msg, routing_key=QUEUE)
        if ch.pending():
            ch.wait(timeout=1)

    def acked(self, tag: int, msg: Any) -> None:
        self.cluster.confirmed_one(self.who, msg)

    def nacked(self, tag: int, msg: Any) -> None:
        self.cluster.errors.append("%s %d: refused: %r" % (type(self).__name__, self.who, msg.id))


class Probe(Publisher):
    """Waits for each confirm."""

    def publish(self, ch: Any, msg: Any) -> None:
        ch.basic_publish_confirm(msg, routing_key=QUEUE, timeout=LONG)


class Consumer(Program):
    """Acknowledges what it gets."""

    def work(self, ch: Any) -> None:
        ch.basic_qos(0, 50, False)
        ch.basic_consume(QUEUE, callback=self.got)
        while not self.cluster.done.is_set():
            try:
                ch.wait(timeout=0.2)
            except amqp.AMQPTimeoutError:
                pass

    def got(self, msg: Any) -> None:
        found = id_of(msg.body)
        with self.cluster.lock:
            if found is None:
                self.cluster.strangers += 1
            else:
                self.cluster.received[found] += 1
        msg.ack()


class Cluster:
    """The nodes, the programs, and what happens to them."""

    def __init__(self, nodes: List[Node]) -> None:
        self.nodes = nodes
        self.lock = threading.Lock()
        self.attempted: Set[Id] = set()
        self.confirmed: Set[Id] = set()
        self.received: Counter[Id] = collections.Counter()
        self.strangers = 0
        self.errors: List[str] = []
        #: No more is published; all has been received.
        self.over, self.done = threading.Event(), threading.Event()
        #: Of each publisher: since when its first confirm is waited for, and how long that took.
        self._since = 0.0
        self._first: Dict[int, float] = {}
        #: Seconds to the first confirm, by what has happened.
        self.times: Dict[str, List[float]] = {}
        self.programs: List[Program] = []

    def confirmed_one(self, who: int, msg: Any) -> None:
        """A message was confirmed."""
        with self.lock:
            self.confirmed.add(msg.id)
            if msg.began >= self._since and who not in self._first:
                self._first[who] = time.monotonic() - self._since

    def begin(self) -> None:
        """Declare, and begin to publish."""
        with amqp.Connection(self.nodes[0].host) as conn, conn.channel() as ch:
            ch.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        time.sleep(SETTLING)
        self.programs = [
            *(Probe(self, who) for who in range(PROBES)),
            *(Publisher(self, PROBES + who) for who in range(STREAMS)),
            *(Consumer(self, who) for who in range(2)),
        ]
        for program in self.programs:
            program.start()

    def leader(self, asked: Node) -> Node:
        """Where the queue's leader is, as one of the nodes says."""
        deadline = time.monotonic() + LONG
        while True:
            lines = asked.ctl("list_queues", "name", "leader", "online").splitlines()
            for line in lines:
                found = [node for node in self.nodes if QUEUE in line and line.split("\t")[1] == node.name]
                if found and all(node.name in line.split("\t")[2] for node in self.nodes):
                    return found[0]
            if time.monotonic() > deadline:
                raise BrokerError("the queue has no leader, or not all of its members: %r" % lines)
            time.sleep(0.5)

    def happens(self, kind: str, what: Callable[[], Any]) -> None:
        """Something happens; wait for the first confirm of each publisher after it."""
        before = time.monotonic()
        what()
        with self.lock:
            # a kill is what takes no time; a restart is told from its beginning
            self._since, self._first = (time.monotonic() if kind == "kill" else before), {}
        deadline = time.monotonic() + LONG
        while len(self._first) < PROBES + STREAMS:
            if time.monotonic() > deadline:
                self.errors.append("%s: no confirm within %d s, but for %s" % (kind, LONG, self._first))
                break
            time.sleep(0.01)
        with self.lock:
            found = list(self._first.values())
        self.times.setdefault(kind, []).extend(found)
        LOGGER.info("%s: first confirms after %s s", kind, ", ".join("%.2f" % each for each in sorted(found)))

    def kill_leader(self) -> None:
        leader = self.leader(self.nodes[0])
        self.happens("kill", leader.kill)
        leader.run()
        leader.wait_ready()

    def restart_each(self) -> None:
        for node in self.nodes:
            self.leader(node)  # all members are there
            self.happens("rolling restart", node.stop)
            node.run()
            node.wait_ready()

    def cut_off_leader(self, seconds: float) -> None:
        """For so long it and the others do not take each other for theirs."""
        leader = self.leader(self.nodes[0])
        others = [node for node in self.nodes if node is not leader]
        cut = "".join(
            "erlang:set_cookie('%s', wrong), erlang:disconnect_node('%s'), " % ((node.name,) * 2) for node in others
        )
        self.happens("partition", lambda: leader.ctl("eval", cut + "ok."))
        time.sleep(seconds)
        cookie = leader.ctl("eval", "erlang:get_cookie().").strip()
        leader.ctl("eval", "".join("erlang:set_cookie('%s', %s), " % (node.name, cookie) for node in others) + "ok.")
        self.leader(others[0])  # all are there again

    def end(self) -> None:
        """Let everything arrive."""
        self.over.set()
        for program in self.programs:
            if isinstance(program, Publisher):
                program.join(LONG)
        deadline = time.monotonic() + LONG
        while self.confirmed - set(self.received) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.done.set()
        for program in self.programs:
            program.join(LONG)
            if program.is_alive():
                self.errors.append("%s %d hangs" % (type(program).__name__, program.who))

    def wrong(self) -> List[str]:
        """What must not be."""
        found = list(self.errors)
        if self.attempted != self.confirmed:
            found.append("%d were never confirmed" % len(self.attempted - self.confirmed))
        lost = self.confirmed - set(self.received)
        if lost:
            found.append("%d are lost, among them %s" % (len(lost), sorted(lost)[:10]))
        if self.strangers or set(self.received) - self.attempted:
            found.append("%d are invented" % (self.strangers + len(set(self.received) - self.attempted)))
        return found

    def summary(self) -> List[str]:
        twice = sum(self.received.values()) - len(self.received)
        recoveries = sum(program.stats.recoveries for program in self.programs if program.stats)
        lines = ["confirmed %d, received %d, duplicated %d" % (len(self.confirmed), len(self.received), twice)]
        lines.append("recoveries %d of %d connections" % (recoveries, len(self.programs)))
        for kind, times in self.times.items():
            ordered = sorted(times)
            middle, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
            text = "%s: %d first confirms, median %.2f s, 99th percentile %.2f s, at most %.2f s"
            lines.append(text % (kind, len(times), middle, late, ordered[-1]))
        return lines


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="Kill the leader of a quorum queue, again and again.")
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the RabbitMQ of which Debian")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=60, help="kill no more after so many")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    until = time.monotonic() + 60 * options.minutes
    try:
        with Nodes() as nodes:
            cluster = Cluster(
                nodes.cluster(install(options.suite), conf="cluster_partition_handling = pause_minority\n")
            )
            cluster.begin()
            cluster.restart_each()
            cluster.cut_off_leader(10)
            for _ in range(options.kills):
                if time.monotonic() < until:
                    cluster.kill_leader()
            cluster.end()
            version = cluster.nodes[0].version
    except BrokerError as error:
        print("cluster.py: %s" % error, file=sys.stderr)
        return 1
    print("RabbitMQ %s" % version)
    print("\n".join([*cluster.summary(), *cluster.wrong()[:20]]))
    return 1 if cluster.wrong() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
