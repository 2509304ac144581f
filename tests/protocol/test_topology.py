"""The record of what a program has declared: in it is what it has not undone, and nothing else."""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.protocol.topology import Topology
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1


class Program:
    """Says what happens on a connection, as Line does."""

    def __init__(self) -> None:
        self.topology = Topology()

    def do(self, name: str, *args: Any, channel: int = 1, reply: Tuple[Any, ...] = ()) -> None:
        self.topology.happened(channel, AMQP_0_9_1[name], args, reply)

    def exchange(self, name: str, auto_delete: bool = False, passive: bool = False) -> None:
        self.do("exchange.declare", 0, name, "topic", passive, True, auto_delete, False, False, None)

    def queue(
        self, name: str, auto_delete: bool = False, passive: bool = False, made_up: str = "", at: int = 1
    ) -> None:
        args = 0, name, passive, True, False, auto_delete, False, None
        self.do("queue.declare", *args, reply=(made_up or name, 0, 0), channel=at)

    def bind(self, queue: str, exchange: str, key: str = "", arguments: Any = None) -> None:
        self.do("queue.bind", 0, queue, exchange, key, False, arguments)

    def consume(self, queue: str, tag: str, channel: int = 1) -> None:
        self.do("basic.consume", 0, queue, tag, False, False, False, False, None, reply=(tag,), channel=channel)

    @property
    def shared(self) -> List[str]:
        return [str(each) for each in self.topology.shared()]

    def of_channel(self, number: int = 1) -> List[str]:
        return [str(each) for each in self.topology.of_channel(number)]


@pytest.fixture
def program() -> Program:
    return Program()


def test_everything_in_its_order(program: Program) -> None:
    """Bindings behind both their ends, whatever the program's order was on its channels."""
    program.queue("q")
    program.exchange("e")
    program.bind("q", "e", "k")
    program.exchange("other")
    program.do("exchange.bind", 0, "other", "e", "#", False, {"x": 1})
    program.do("basic.qos", 0, 5, False)
    program.consume("q", "c")
    assert program.shared == [
        "exchange 'e'",
        "exchange 'other'",
        "queue 'q'",
        "the binding of 'q' to exchange 'e' with routing key 'k'",
        "the binding of 'other' to exchange 'e' with routing key '#'",
    ]
    assert program.of_channel() == ["basic.qos on channel 1", "consumer 'c' of queue 'q' on channel 1"]
    assert program.of_channel(2) == []


def test_what_is_sent_is_what_was_sent(program: Program) -> None:
    """With an answer this time."""
    arguments = {"x-expires": 7}
    program.do("queue.declare", 3, "q", False, True, False, True, True, arguments)
    (declaration,) = program.topology.shared()
    sent = program.topology.args(declaration, AMQP_0_9_1["queue.declare"])
    assert sent == (3, "q", False, True, False, True, False, arguments)


def test_in_0_8(program: Program) -> None:
    method = AMQP_0_8["basic.consume"]
    program.topology.happened(1, method, (0, "q", "c", False, True, False, True))
    (declaration,) = program.topology.of_channel(1)
    assert program.topology.args(declaration, method) == (0, "q", "c", False, True, False, False)


def test_what_was_only_looked_at(program: Program) -> None:
    program.queue("q", passive=True)
    program.exchange("e", passive=True)
    assert program.shared == []
    program.bind("", "e")  # it is the one declared last all the same
    assert program.shared == ["the binding of 'q' to exchange 'e' with routing key ''"]


def test_the_latest_arguments_count(program: Program) -> None:
    program.queue("q")
    program.queue("q", auto_delete=True)
    (declaration,) = program.topology.shared()
    assert declaration.arguments["auto_delete"] is True


def test_deleted(program: Program) -> None:
    program.exchange("e")
    program.exchange("other")
    program.queue("q")
    program.bind("q", "e")
    program.consume("q", "c")
    program.consume("q", "d", channel=2)
    program.do("exchange.bind", 0, "e", "other", "", False, None)
    program.do("queue.delete", 0, "q", False, False, False)
    assert program.shared == [
        "exchange 'e'",
        "exchange 'other'",
        "the binding of 'e' to exchange 'other' with routing key ''",
    ]
    assert program.of_channel(1) == program.of_channel(2) == []
    program.do("exchange.delete", 0, "e", False, False)
    assert program.shared == ["exchange 'other'"]


def test_the_bindings_of_an_exchange_go_with_it(program: Program) -> None:
    for name in ("e", "other"):
        program.exchange(name)
    program.queue("q")
    program.bind("q", "e", "other")
    program.bind("q", "other", "e")
    program.do("exchange.bind", 0, "other", "e", "", False, None)
    program.do("exchange.delete", 0, "e", False, False)
    assert program.shared == [
        "exchange 'other'",
        "queue 'q'",
        "the binding of 'q' to exchange 'other' with routing key 'e'",
    ]


def test_unbound_is_what_has_the_same_arguments(program: Program) -> None:
    program.bind("q", "e", "k")
    program.bind("q", "e", "k", {"a": 1, "b": 2})
    program.do("queue.unbind", 0, "q", "e", "k", {"b": 2, "a": 1})
    program.do("queue.unbind", 0, "q", "e", "another", None)
    (declaration,) = program.topology.shared()
    assert declaration.arguments["arguments"] is None
    program.do("queue.unbind", 0, "q", "e", "k", {})
    assert program.shared == []
    program.do("exchange.bind", 0, "d", "s", "k", False, None)
    program.do("exchange.unbind", 0, "d", "s", "k", False, None)
    assert program.shared == []


def test_an_auto_delete_exchange_goes_with_its_last_binding(program: Program) -> None:
    program.exchange("goes", auto_delete=True)
    program.exchange("stays")
    program.exchange("goes too", auto_delete=True)
    program.do("exchange.bind", 0, "goes", "goes too", "", False, None)
    for queue in ("q", "r"):
        program.bind(queue, "goes")
    program.bind("q", "stays")
    program.do("queue.unbind", 0, "q", "goes", "", None)
    assert "exchange 'goes'" in program.shared
    program.do("queue.unbind", 0, "r", "goes", "", None)
    assert program.shared == ["exchange 'stays'", "the binding of 'q' to exchange 'stays' with routing key ''"]


@pytest.mark.parametrize("end", ["cancel", "channel", "by the server"])
def test_an_auto_delete_queue_goes_with_its_last_consumer(program: Program, end: str) -> None:
    def leave(tag: str, channel: int) -> None:
        if end == "cancel":
            program.do("basic.cancel", tag, False, channel=channel)
        elif end == "channel":
            program.topology.over(channel)
        else:
            program.topology.ended(channel, tag)

    program.queue("goes", auto_delete=True)
    program.queue("stays", auto_delete=True)  # it never had one
    program.queue("kept")
    program.consume("goes", "c", channel=2)
    program.consume("goes", "d", channel=3)
    program.consume("kept", "e", channel=4)
    leave("c", 2)
    assert "queue 'goes'" in program.shared
    leave("d", 3)
    leave("e", 4)
    assert program.shared == ["queue 'stays'", "queue 'kept'"]
    assert [program.of_channel(number) for number in (2, 3, 4)] == [[], [], []]


def test_names_that_the_server_makes_up(program: Program) -> None:
    topology = program.topology
    program.queue("", made_up="amq.gen-1")
    program.bind("", "e")
    program.consume("amq.gen-1", "c")
    assert program.shared == ["queue 'amq.gen-1'", "the binding of 'amq.gen-1' to exchange 'e' with routing key ''"]
    queue, binding = topology.shared()
    assert topology.args(queue, AMQP_0_9_1["queue.declare"])[1] == ""
    topology.renamed("amq.gen-1", "amq.gen-2")
    assert topology.args(binding, AMQP_0_9_1["queue.bind"])[1] == "amq.gen-2"
    (consumer,) = topology.of_channel(1)
    assert topology.args(consumer, AMQP_0_9_1["basic.consume"])[1] == "amq.gen-2"
    assert topology.current("amq.gen-1") == "amq.gen-2"
    # both of its names, and none, mean it
    for name in ("amq.gen-1", "amq.gen-2", ""):
        assert topology.on_wire(1, AMQP_0_9_1["queue.purge"], (0, name, False)) == (0, "amq.gen-2", False)
    assert topology.on_wire(1, AMQP_0_9_1["queue.declare"], (0, "", *[False] * 5, None))[1] == ""
    assert topology.on_wire(1, AMQP_0_9_1["basic.qos"], (0, 1, False)) == (0, 1, False)
    program.do("queue.delete", 0, "amq.gen-2", False, False, False)
    assert program.shared == program.of_channel() == []
    assert topology.current("amq.gen-1") == "amq.gen-1"


def test_a_name_that_nobody_heard(program: Program) -> None:
    """Declared without an answer: what '' stands for is not known."""
    program.do("queue.declare", 0, "", False, False, True, True, True, None)
    assert program.shared == []


def test_the_queue_declared_last_is_a_channel_s_own(program: Program) -> None:
    program.queue("q", at=1)
    program.queue("r", at=2)
    get = AMQP_0_9_1["basic.get"]
    assert [program.topology.on_wire(number, get, (0, "", False))[1] for number in (1, 2, 3)] == ["q", "r", ""]


def test_a_consumer_has_the_limit_of_when_it_began(program: Program) -> None:
    program.consume("q", "none")
    program.do("basic.qos", 0, 5, False)
    program.consume("q", "five")
    program.consume("q", "five too")
    program.do("basic.qos", 0, 7, False)
    program.do("basic.qos", 0, 100, True)
    found = [
        each.arguments["prefetch_count"] if each.kind == "qos" else each.name for each in program.topology.of_channel(1)
    ]
    assert found == [100, "none", 5, "five", "five too", 7]


def test_a_tag_that_the_server_makes_up(program: Program) -> None:
    program.do("basic.consume", 0, "q", "", False, False, False, False, None, reply=("amq.ctag-1",))
    (consumer,) = program.topology.of_channel(1)
    assert (consumer.name, consumer.arguments["consumer_tag"]) == ("amq.ctag-1", "amq.ctag-1")


def test_transactions(program: Program) -> None:
    assert not program.topology.channel(1).transacted
    program.do("tx.select")
    assert program.topology.channel(1).transacted


def test_values_that_are_no_names_are_left_to_the_encoder(program: Program) -> None:
    assert program.topology.on_wire(1, AMQP_0_9_1["queue.purge"], (0, 7, False)) == (0, 7, False)
    assert program.topology.on_wire(1, AMQP_0_9_1["queue.purge"], ()) == ()


# --- any order, against a broker that is a set of names

NAMES = st.sampled_from("ab")


@given(st.lists(st.tuples(st.sampled_from(("declare", "bind", "unbind", "delete", "consume", "cancel")), NAMES, NAMES)))
def test_any_order(steps: List[Tuple[str, str, str]]) -> None:
    """Queues that are not auto-delete, and exchanges that are there."""
    program = Program()
    queues: Set[str] = set()
    bindings: Set[Tuple[str, str]] = set()
    consumers: Dict[str, str] = {}
    for what, queue, other in steps:
        if what == "declare":
            queues.add(queue)
            program.queue(queue)
        elif queue not in queues:
            continue
        elif what == "bind":
            bindings.add((queue, other))
            program.bind(queue, other)
        elif what == "unbind":
            bindings.discard((queue, other))
            program.do("queue.unbind", 0, queue, other, "", None)
        elif what == "delete":
            queues.discard(queue)
            bindings = {each for each in bindings if each[0] != queue}
            consumers = {tag: name for tag, name in consumers.items() if name != queue}
            program.do("queue.delete", 0, queue, False, False, False)
        elif what == "consume" and other not in consumers:
            consumers[other] = queue
            program.consume(queue, other)
        elif what == "cancel":
            consumers.pop(other, None)
            program.do("basic.cancel", other, False)
    found = list(program.topology.shared())
    assert {each.name for each in found if each.kind == "queue"} == queues
    assert {(each.name, each.arguments["exchange"]) for each in found if each.kind == "binding"} == bindings
    assert {each.name: each.arguments["queue"] for each in program.topology.of_channel(1)} == consumers


def test_the_present_name_of_a_queue_that_the_server_names(program: Program) -> None:
    """Who declares it under that has not made another one: the next server is asked for a name again."""
    program.queue("", made_up="amq.gen-1")
    program.topology.renamed("amq.gen-1", "amq.gen-2")
    program.queue("amq.gen-2")
    assert list(program.topology.queues) == ["amq.gen-1"]
    assert program.topology.queues["amq.gen-1"]["queue"] == ""
