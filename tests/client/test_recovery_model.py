"""Declaring, publishing, consuming and losing the connection in any order: the broker's view and the program's agree.

After each step, whatever it was: the queues, bindings and consumers on the broker are those of the model, and so are
the program's callbacks. In the end each message that was published is where it has to be: received, or in its queue.
"""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

#: Bounds a hang.
LONG = 30

QUEUES, KEYS, TAGS = (st.sampled_from(names) for names in (("q1", "q2"), ("k1", "k2"), ("c1", "c2")))


class Program(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker()
        self.broker.start()
        policy = amqp.Recovery(delay=0.001, delay_max=0.01)
        self.conn = amqp.Connection(self.broker.address, recover=policy, reply_timeout=LONG)
        self.ch, self.pub = self.conn.channel(), self.conn.channel()
        self.ch.basic_qos(prefetch_count=3)
        self.pub.confirm_select()
        self.queues: Set[str] = set()
        self.bindings: Set[Tuple[str, str]] = set()
        self.consumers: Dict[str, str] = {}
        self.received: List[str] = []
        self.held: List[Any] = []
        #: Queue -> what was published to it, and has to be there or received.
        self.published: Dict[str, List[str]] = {}
        self.count = 0
        self.tags = 0

    def got(self, msg: Any) -> None:
        assert msg.delivery_tag > self.tags  # they go on counting, over all losses
        self.tags = msg.delivery_tag
        self.received.append(msg.body)
        self.held.append(msg)

    # --- the program

    @rule(queue=QUEUES)
    def declare(self, queue: str) -> None:
        self.ch.queue_declare(queue, durable=True, auto_delete=False)
        self.queues.add(queue)

    @rule(queue=QUEUES)
    def delete(self, queue: str) -> None:
        if queue not in self.queues:
            return
        try:
            self.ch.queue_delete(queue)
        except amqp.InterruptedCallError:
            self.ch.queue_delete(queue)
        self.queues.discard(queue)
        self.bindings = {each for each in self.bindings if each[0] != queue}
        self.consumers = {tag: name for tag, name in self.consumers.items() if name != queue}
        self.published.pop(queue, None)
        while set(self.ch.callbacks) != set(self.consumers):
            self.drain()  # the broker says that it has cancelled them

    @rule(queue=QUEUES, key=KEYS)
    def bind(self, queue: str, key: str) -> None:
        if queue in self.queues:
            self.ch.queue_bind(queue, "amq.topic", key)
            self.bindings.add((queue, key))

    @rule(queue=QUEUES, key=KEYS)
    def unbind(self, queue: str, key: str) -> None:
        if (queue, key) in self.bindings:
            self.ch.queue_unbind(queue, "amq.topic", key)
            self.bindings.discard((queue, key))

    @rule(queue=QUEUES, tag=TAGS)
    def consume(self, queue: str, tag: str) -> None:
        if queue in self.queues and tag not in self.consumers:
            self.ch.basic_consume(queue, tag, callback=self.got)
            self.consumers[tag] = queue

    @rule(tag=TAGS)
    def cancel(self, tag: str) -> None:
        if tag in self.consumers:
            self.ch.basic_cancel(tag)
            del self.consumers[tag]

    @rule(queue=QUEUES, number=st.integers(1, 4))
    def publish(self, queue: str, number: int) -> None:
        for _ in range(number):
            self.count += 1
            body = "%d" % self.count
            assert self.pub.basic_publish(amqp.Message(body, delivery_mode=2), routing_key=queue) == self.count
            if queue in self.queues:
                self.published.setdefault(queue, []).append(body)

    @rule()
    def confirm(self) -> None:
        self.pub.wait_for_confirms(LONG)
        assert self.pub.unconfirmed == {}

    @rule()
    def drain(self) -> None:
        try:
            self.conn.drain_events(timeout=0.01)
        except amqp.AMQPTimeoutError:
            pass

    @precondition(lambda self: self.held)
    @rule(data=st.data(), multiple=st.booleans())
    def ack(self, data: st.DataObject, multiple: bool) -> None:
        """Also of what a connection delivered that is gone; each once."""
        msg = data.draw(st.sampled_from(self.held))
        msg.ack(multiple=multiple)
        upto = msg.delivery_tag
        self.held = [each for each in self.held if each is not msg and not (multiple and each.delivery_tag <= upto)]

    # --- what happens to it

    @rule(reset=st.booleans())
    def lose(self, reset: bool) -> None:
        self.broker.faults.drop(reset=reset)

    @rule(queue=QUEUES, before=st.integers(0, 3), after=st.integers(1, 3), reset=st.booleans())
    def publish_over_a_loss(self, queue: str, before: int, after: int, reset: bool) -> None:
        """Some that are not confirmed by then, and others into what is lost already."""
        self.broker.faults.delay_confirms(3600)
        self.publish(queue, before)
        self.broker.faults.drop(reset=reset)
        self.broker.faults.clear()
        self.publish(queue, after)

    @rule()
    def close_all(self) -> None:
        self.broker.faults.close_connections()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.broker.restart(crash=crash)

    @rule()
    def restart_without_anything(self) -> None:
        self.pub.wait_for_confirms(LONG)
        self.broker.restart(durable=False)
        self.published.clear()  # what is not there cannot be received

    # --- what has to be

    @invariant()
    def the_views_agree(self) -> None:
        self.ch.exchange_declare("amq.topic", passive=True)  # here the connection is back
        found = self.broker.queues()
        assert set(found) == self.queues
        assert {name: queue.consumers for name, queue in found.items()} == {
            name: list(self.consumers.values()).count(name) for name in self.queues
        }
        assert self.broker.exchanges()["amq.topic"].bindings == len(self.bindings)
        assert set(self.ch.callbacks) == set(self.consumers)

    def teardown(self) -> None:
        try:
            self.pub.wait_for_confirms(LONG)
            self.the_views_agree()
            for tag in list(self.consumers):
                self.cancel(tag)
            with amqp.Connection(self.broker.address) as conn:
                self.conn.close()  # what is not acknowledged is in its queue again
                ch = conn.channel()
                for queue, bodies in self.published.items():
                    there = [msg.body for msg in iter(lambda: ch.basic_get(queue, no_ack=True), None)]  # noqa: B023
                    assert set(bodies) <= {*there, *self.received}
        finally:
            self.broker.stop()


Program.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_order = Program.TestCase
