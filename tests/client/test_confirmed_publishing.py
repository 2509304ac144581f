"""Confirmed publishing over a socket: a peer says late, multiple, refused and returned in any order.

The model is what the peer has said. Whenever the client has heard all of it, its books, its errors and its callbacks
have to agree with the model; a message that nobody vouched for is never safe.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import amqplib.client_0_9_1 as amqp
from amqplib.client.message import GenericContent
from amqplib.wire.spec import AMQP_0_9_1

from .peer import PATIENCE, Peer, content

ROUTES = ["here", "there"]
BODIES = [b"same", b"other"]
FATES = ["ack", "multiple", "nack", "return", "silence"]

NO_ROUTE = 312, "NO_ROUTE"


def connect(peer: Peer, **tune: int) -> amqp.Channel:
    peer.welcome(**tune)
    peer.open_channel()
    return amqp.Connection(peer.address, heartbeat=0).channel()


def select(peer: Peer, ch: amqp.Channel, **options: Any) -> None:
    peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select(**options)


def expect_publish(peer: Peer, route: str, body: bytes, mandatory: bool = False) -> None:
    peer.expect_content("basic.publish", 0, "", route, mandatory, False, message=({}, body))


class Publishing(RuleBasedStateMachine):
    """A channel in confirm mode, beside what its peer has said."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer(dialect=AMQP_0_9_1)
        self.ch = connect(self.peer)
        self.called: Dict[str, List[Tuple[int, GenericContent]]] = {"ack": [], "nack": []}
        select(
            self.peer,
            self.ch,
            on_ack=lambda tag, msg: self.called["ack"].append((tag, msg)),
            on_nack=lambda tag, msg: self.called["nack"].append((tag, msg)),
        )
        self.sent: Dict[int, GenericContent] = {}
        self.mandatory: Dict[int, Tuple[str, bytes]] = {}
        self.outstanding: Set[int] = set()
        self.acked: Set[int] = set()
        self.nacked: Set[int] = set()
        self.returned: Set[int] = set()
        self.reported: Set[int] = set()

    def teardown(self) -> None:
        connection = self.ch.connection
        assert connection
        self.peer.part()
        connection.close()
        self.peer.finish()

    # --- what the peer says

    def says(self, name: str, tag: int, multiple: bool) -> None:
        self.peer.send(name, tag, multiple, *([False] if name == "basic.nack" else []))
        concerned = {one for one in self.outstanding if one == tag or (multiple and one < tag)}
        self.outstanding -= concerned
        (self.acked if name == "basic.ack" else self.nacked).update(concerned - self.returned)

    def gives_back(self, route: str, body: bytes) -> None:
        self.peer.send_content("basic.return", *NO_ROUTE, "", route, message=({}, body))
        for tag in sorted(self.outstanding - self.returned):
            if self.mandatory.get(tag) == (route, body):
                self.returned.add(tag)
                break

    # A peer that speaks of what it has not got yet cannot be told from one that speaks of it later; so it does not.

    @precondition(lambda self: self.sent)
    @rule(name=st.sampled_from(["basic.ack", "basic.nack"]), data=st.data(), multiple=st.booleans())
    def settle(self, name: str, data: st.DataObject, multiple: bool) -> None:
        self.says(name, data.draw(st.integers(0, len(self.sent))), multiple)

    @precondition(lambda self: set(self.mandatory) & self.outstanding - self.returned)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        candidates = set(self.mandatory) & self.outstanding - self.returned
        self.gives_back(*self.mandatory[data.draw(st.sampled_from(sorted(candidates)))])

    # --- what the program does

    def enter(self, tag: int, msg: GenericContent, route: str, body: bytes, mandatory: bool) -> None:
        self.sent[tag] = msg
        self.outstanding.add(tag)
        if mandatory:
            self.mandatory[tag] = route, body

    @rule(route=st.sampled_from(ROUTES), body=st.sampled_from(BODIES), mandatory=st.booleans())
    def publish(self, route: str, body: bytes, mandatory: bool) -> None:
        self.peer.wait()  # the client may hear now what was said before
        expect_publish(self.peer, route, body, mandatory)
        msg = amqp.Message(body)
        tag = self.ch.basic_publish(msg, "", route, mandatory)
        assert tag == len(self.sent) + 1
        self.enter(tag, msg, route, body, mandatory)

    @rule(route=st.sampled_from(ROUTES), body=st.sampled_from(BODIES), fate=st.sampled_from(FATES))
    def publish_and_wait(self, route: str, body: bytes, fate: str) -> None:
        self.peer.wait()
        tag, msg = len(self.sent) + 1, amqp.Message(body)
        mandatory = fate == "return"
        expect_publish(self.peer, route, body, mandatory)
        self.enter(tag, msg, route, body, mandatory)
        earlier = set(self.returned)
        if mandatory:
            self.gives_back(route, body)  # which may be an older one that went the same way
        if fate == "nack":
            self.says("basic.nack", tag, False)
        elif fate != "silence":
            self.says("basic.ack", tag, fate == "multiple")
        error = None
        try:
            timeout = 0.02 if fate == "silence" else PATIENCE
            assert self.ch.basic_publish_confirm(msg, "", route, mandatory, timeout=timeout) == tag
        except amqp.UnconfirmedError as exc:
            error = exc
        if error is None:
            assert tag in self.acked
        elif isinstance(error, amqp.ConfirmTimeoutError):
            assert fate == "silence"
            assert (error.unconfirmed, error.nacked, error.returned) == ({tag: msg}, {}, {})
        else:
            assert {**error.nacked, **error.returned} == {tag: msg}
            assert error.unconfirmed == {}
            assert tag in (self.nacked if error.nacked else self.returned - earlier)
            self.reported.add(tag)

    @rule()
    def wait_for_confirms(self) -> None:
        self.peer.wait()  # until all has been said
        nacked, returned = self.nacked - self.reported, self.returned - self.reported
        unknown = self.outstanding - self.returned
        error = None
        try:
            self.ch.wait_for_confirms(timeout=0)
        except amqp.UnconfirmedError as exc:
            error = exc
        if error is None:
            assert not nacked | returned | unknown
        else:
            assert (set(error.nacked), set(error.returned), set(error.unconfirmed)) == (nacked, returned, unknown)
            assert isinstance(error, amqp.AMQPTimeoutError) == bool(unknown)
            assert error.messages == [self.sent[tag] for tag in sorted(nacked | returned | unknown)]
            self.reported |= nacked | returned
        self.balance()

    def balance(self) -> None:
        """All that was said has been heard."""
        assert list(self.ch.unconfirmed) == sorted(self.outstanding)
        assert self.ch.unconfirmed == {tag: self.sent[tag] for tag in self.outstanding}
        assert sorted(tag for tag, _ in self.called["ack"]) == sorted(self.acked)
        assert sorted(tag for tag, _ in self.called["nack"]) == sorted(self.nacked)
        assert all(self.sent[tag] is msg for said in self.called.values() for tag, msg in said)
        fates = self.acked, self.nacked, self.returned, self.outstanding - self.returned
        assert sum(map(len, fates)) == len(self.sent)

    @precondition(lambda self: self.outstanding)
    @rule()
    def all_in_the_end(self) -> None:
        self.says("basic.ack", len(self.sent), True)
        self.wait_for_confirms()
        assert self.ch.unconfirmed == {}


Publishing.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPublishing = Publishing.TestCase


# --- single cases


def test_a_late_ack_never_vouches_for_the_next_message(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    with pytest.raises(amqp.ConfirmTimeoutError):
        newer.basic_publish_confirm(amqp.Message(b"1"), routing_key="q", timeout=0.01)
    expect_publish(newer_peer, "q", b"2")
    newer_peer.send("basic.ack", 1, False)
    with pytest.raises(amqp.ConfirmTimeoutError) as caught:
        newer.basic_publish_confirm(amqp.Message(b"2"), routing_key="q", timeout=0.1)
    assert list(caught.value.unconfirmed) == [2]
    assert list(newer.unconfirmed) == [2]


def test_confirm_mode_is_selected_when_it_is_first_needed(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer_peer.answer("confirm.select", "confirm.select_ok")
    for n in (1, 2):
        expect_publish(newer_peer, "q", b"x")
        newer_peer.send("basic.ack", n, False)
        assert newer.basic_publish_confirm(amqp.Message(b"x"), routing_key="q") == n


def test_a_full_window_waits(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer, window=2)
    for n in (1, 2):
        expect_publish(newer_peer, "q", b"%d" % n)
        newer.basic_publish(amqp.Message(b"%d" % n), routing_key="q")
    newer_peer.do(lambda: time.sleep(0.2))
    newer_peer.send("basic.ack", 2, True)
    expect_publish(newer_peer, "q", b"3")
    began = time.monotonic()
    newer.basic_publish(amqp.Message(b"3"), routing_key="q")
    assert time.monotonic() - began >= 0.15
    assert list(newer.unconfirmed) == [3]


def test_a_window_that_stays_full(newer_peer: Peer) -> None:
    newer_peer.welcome()
    newer_peer.open_channel()
    ch = amqp.Connection(newer_peer.address, heartbeat=0, reply_timeout=0.1).channel()
    select(newer_peer, ch, window=1)
    expect_publish(newer_peer, "q", b"1")
    ch.basic_publish(amqp.Message(b"1"), routing_key="q")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.basic_publish(amqp.Message(b"2"), routing_key="q")
    assert list(ch.unconfirmed) == [1]
    newer_peer.send("basic.ack", 1, False)
    ch.wait_for_confirms(timeout=PATIENCE)
    assert ch.connection
    newer_peer.part()
    ch.connection.close()


def test_what_is_left_when_the_channel_ends(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer)
    msgs = [amqp.Message(b"%d" % n) for n in range(4)]
    for n, msg in enumerate(msgs):
        expect_publish(newer_peer, "q", b"%d" % n, True)
        newer.basic_publish(msg, routing_key="q", mandatory=True)
    newer_peer.send("basic.ack", 1, False)
    newer_peer.send("basic.nack", 2, False, False)
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, b"2"))
    newer_peer.send("channel.close", 404, "no exchange", 60, 40)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp.UnconfirmedError, match=r"1 nacked, 1 returned .* 1 not confirmed before .*404") as caught:
        newer.wait_for_confirms()
    assert caught.value.nacked == {2: msgs[1]}
    assert caught.value.returned == {3: msgs[2]}
    assert caught.value.unconfirmed == {4: msgs[3]}
    assert isinstance(caught.value.__cause__, amqp.AMQPChannelException)
    with pytest.raises(amqp.UnconfirmedError, match="0 nacked, 0 returned"):
        newer.wait_for_confirms()
    assert 4 in newer.unconfirmed


def test_what_is_left_when_the_connection_is_lost(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    newer_peer.reset()
    with pytest.raises(amqp.UnconfirmedError) as caught:
        newer.basic_publish_confirm(amqp.Message(b"1"), routing_key="q")
    assert isinstance(caught.value.__cause__, amqp.ConnectionLostError)
    assert [msg.body for msg in caught.value.messages if isinstance(msg, amqp.Message)] == [b"1"]
    assert isinstance(caught.value.unconfirmed[1], amqp.Message)
    with pytest.raises(amqp.ConnectionLostError):
        newer.basic_publish(amqp.Message(b"2"), routing_key="q")


def test_nothing_is_left_when_the_channel_ends(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer)
    newer_peer.send("channel.close", 406, "enough", 0, 0)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException, match="enough"):
        newer.wait()
    with pytest.raises(amqp.ChannelClosedError):
        newer.wait_for_confirms()


@pytest.mark.parametrize("wait", [lambda ch: ch.wait(), lambda ch: ch.connection.drain_events()])
def test_on_return(newer_peer: Peer, newer: amqp.Channel, wait: Callable[[amqp.Channel], None]) -> None:
    came: List[Tuple[Any, ...]] = []
    newer.on_return = lambda *args: came.append(args)
    expect_publish(newer_peer, "nowhere", b"lost", True)
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "nowhere", message=({"message_id": "7"}, b"lost"))
    newer.basic_publish(amqp.Message(b"lost"), routing_key="nowhere", mandatory=True)
    wait(newer)
    ((code, text, exchange, routing_key, msg),) = came
    assert (code, text, exchange, routing_key) == (*NO_ROUTE, "", "nowhere")
    assert (msg.body, msg.message_id) == (b"lost", "7")
    assert newer.returned_messages.get_nowait()[4] is msg


def test_a_returned_message_is_not_acknowledged_to_the_program(newer_peer: Peer, newer: amqp.Channel) -> None:
    acked: List[int] = []
    select(newer_peer, newer, on_ack=lambda tag, msg: acked.append(tag))
    for n in (1, 2):
        expect_publish(newer_peer, "q", b"same", n == 1)
        newer.basic_publish(amqp.Message(b"same"), routing_key="q", mandatory=n == 1)
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, b"same"))
    newer_peer.send("basic.ack", 2, True)
    with pytest.raises(amqp.UnconfirmedError) as caught:
        newer.wait_for_confirms(timeout=PATIENCE)
    assert list(caught.value.returned) == [1]
    assert acked == [2]


def test_acks_that_nobody_asked_for(newer_peer: Peer, newer: amqp.Channel, caplog: pytest.LogCaptureFixture) -> None:
    newer_peer.send("basic.ack", 1, False)
    newer_peer.wait()
    newer.wait(timeout=PATIENCE)
    assert "ignored" in caplog.text
    with pytest.raises(ValueError, match="confirm_select"):
        newer.wait_for_confirms()


def test_a_multiple_ack_in_one_read_with_its_publish_next(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Heard by a publish, not by a wait: the books are the same."""
    select(newer_peer, newer)
    data = content("basic.return", *NO_ROUTE, "", "q", message=({}, b"1"), dialect=AMQP_0_9_1)
    expect_publish(newer_peer, "q", b"1", True)
    newer_peer.send_bytes(data)
    newer_peer.send("basic.ack", 1, False)
    newer.basic_publish(amqp.Message(b"1"), routing_key="q", mandatory=True)
    newer_peer.wait()
    time.sleep(0.06)  # a program that only sends looks every 50 ms
    expect_publish(newer_peer, "q", b"2")
    newer.basic_publish(amqp.Message(b"2"), routing_key="q")
    assert list(newer.unconfirmed) == [2]
