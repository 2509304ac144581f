"""Functions of the program that are called for confirms: when, for what, and what becomes of what they raise."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.client.message import GenericContent
from amqplib.protocol.confirms import Confirms
from tests.rest import await_rest

from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer, content, method
from .test_confirmed_publishing import expect_publish, select


def test_what_a_function_raises_costs_no_other_call(newer_peer: Peer, newer: amqp.Channel) -> None:
    acked: List[int] = []

    def on_ack(tag: int, msg: GenericContent) -> None:
        acked.append(tag)
        if tag == 2:
            raise KeyError("mine")

    select(newer_peer, newer, on_ack=on_ack)
    for _ in range(4):
        expect_publish(newer_peer, "q", b"x")
        newer.basic_publish(amqp.Message(b"x"), routing_key="q")
    newer_peer.send("basic.ack", 3, True)
    newer_peer.send("basic.ack", 4, False)
    with pytest.raises(KeyError, match="mine"):
        newer.wait(timeout=PATIENCE)
    newer.wait(timeout=PATIENCE)
    newer_peer.wait()
    newer.wait(timeout=PATIENCE)
    assert acked == [1, 2, 3, 4]
    assert newer.pending() == 0


@pytest.mark.parametrize("raises", [True, False])
def test_functions_called_while_waiting_for_confirms(newer_peer: Peer, newer: amqp.Channel, raises: bool) -> None:
    """Those for what came before as well; and no more is left for wait()."""
    called: List[Tuple[str, int]] = []

    def on_ack(tag: int, msg: GenericContent) -> None:
        called.append(("ack", tag))
        if raises and tag == 1:
            raise KeyError("mine")

    select(newer_peer, newer, on_ack=on_ack, on_nack=lambda tag, msg: called.append(("nack", tag)))
    for _ in range(3):
        expect_publish(newer_peer, "q", b"x")
        newer.basic_publish(amqp.Message(b"x"), routing_key="q")
    newer_peer.send("basic.ack", 2, True)
    newer_peer.send("basic.nack", 3, False, False)
    if raises:
        with pytest.raises(KeyError, match="mine"):
            newer.wait_for_confirms(timeout=PATIENCE)
    with pytest.raises(amqp.UnconfirmedError, match="1 nacked"):
        newer.wait_for_confirms(timeout=PATIENCE)
    assert called == [("ack", 1), ("ack", 2), ("nack", 3)]
    assert newer.pending() == 0


def test_what_a_function_publishes_is_waited_for(newer_peer: Peer, newer: amqp.Channel) -> None:
    """As by one that publishes again what was refused."""
    again: List[Optional[int]] = []
    select(newer_peer, newer, on_nack=lambda tag, msg: again.append(newer.basic_publish(msg, routing_key="q")))
    expect_publish(newer_peer, "q", b"x")
    newer_peer.send("basic.nack", 1, False, False)
    expect_publish(newer_peer, "q", b"x")
    newer_peer.do(await_rest)
    newer_peer.send("basic.ack", 2, False)
    newer.basic_publish(amqp.Message(b"x"), routing_key="q")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        newer.wait_for_confirms(timeout=PATIENCE)
    assert (list(caught.value.nacked), caught.value.unconfirmed, again) == ([1], {}, [2])
    newer.wait_for_confirms(timeout=PATIENCE)


def test_what_is_published_after_the_wait(
    newer_peer: Peer, newer: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has waited for that, so it is no failure."""
    select(newer_peer, newer)
    collect = Confirms.collect

    def late(books: Confirms, told: Any) -> Any:
        monkeypatch.undo()
        expect_publish(newer_peer, "q", b"late")
        newer.basic_publish(amqp.Message(b"late"), routing_key="q")  # in this thread: another would wait for the books
        return collect(books, told)

    monkeypatch.setattr(Confirms, "collect", late)
    newer.wait_for_confirms(timeout=PATIENCE)
    assert list(newer.unconfirmed) == [1]


def test_functions_are_called_after_the_end_of_the_channel(newer_peer: Peer, newer: amqp.Channel) -> None:
    acked: List[int] = []
    select(newer_peer, newer, on_ack=lambda tag, msg: acked.append(tag))
    for _ in range(2):
        expect_publish(newer_peer, "q", b"x")
        newer.basic_publish(amqp.Message(b"x"), routing_key="q")
    newer_peer.send("basic.ack", 1, False)
    newer_peer.send("channel.close", 404, "gone", 0, 0)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp.UnconfirmedError, match="gone") as caught:
        newer.wait_for_confirms(timeout=PATIENCE)
    assert (list(caught.value.unconfirmed), acked) == ([2], [1])


def test_acks_among_many_deliveries(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Their functions are found at once, and the deliveries stay in their order."""
    acked: List[int] = []
    select(newer_peer, newer, on_ack=lambda tag, msg: acked.append(tag))
    got: List[Any] = []
    newer.callbacks["t"] = lambda msg: got.append(msg.body)
    many = 2000
    deliveries = [
        content("basic.deliver", "t", n, False, "", "q", message=({}, b"%d" % n), dialect=AMQP_0_9_1)
        for n in range(many)
    ]
    acks = [method("basic.ack", n + 1, False, dialect=AMQP_0_9_1) for n in range(many)]
    for n in range(many):
        expect_publish(newer_peer, "q", b"%d" % n)
        newer.basic_publish(amqp.Message(b"%d" % n), routing_key="q")
    newer_peer.send_bytes(b"".join(deliveries) + b"".join(acks))
    newer.wait_for_confirms(timeout=PATIENCE)
    assert acked == list(range(1, many + 1))
    assert newer.pending() == many
    while newer.pending():
        newer.wait(timeout=0)
    assert got == [b"%d" % n for n in range(many)]
