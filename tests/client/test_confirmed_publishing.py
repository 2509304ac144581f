"""Confirmed publishing over a socket: a peer says late, multiple, refused and returned in any order.

Whenever the client has heard all that the peer has said, its books, its errors and its callbacks have to agree with the
truth; a message that nobody vouched for is never safe.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import amqplib.client_0_9_1 as amqp
from amqplib.client.message import GenericContent
from amqplib.client.timeouts import Timeouts
from tests.octets import frame, octets
from tests.protocol.truth import Truth
from tests.rest import await_rest
from tests.waits import waits
from tests.wire.helpers import scaled

from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer, content, method


class Looks(NamedTuple):
    """What is to be seen of a message."""

    route: str
    body: bytes
    message_id: str


LOOKS = [
    Looks("here", b"same", "1"),
    Looks("here", b"same", "2"),
    Looks("here", b"other", "1"),
    Looks("there", b"", ""),
]
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
    """A channel in confirm mode, beside the truth."""

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
        self.truth = Truth()
        self.sent: Dict[int, GenericContent] = {}
        self.reported: Dict[str, Set[int]] = {"nacked": set(), "returned": set()}

    def teardown(self) -> None:
        if self.truth.outstanding:
            self.says("basic.ack", len(self.sent), True)
        self.wait_for_confirms()
        assert self.ch.unconfirmed == {}
        connection = self.ch.connection
        assert connection
        self.peer.part()
        connection.close()
        self.peer.finish()

    # --- what the peer says

    def says(self, name: str, tag: int, multiple: bool) -> None:
        if not self.truth.may_refuse(tag, multiple):
            name = "basic.ack"
        self.truth.settle(tag, multiple, name == "basic.ack")
        self.peer.send(name, tag, multiple, *([False] if name == "basic.nack" else []))

    def gives_back(self, tag: int) -> None:
        looks = self.truth.sent[tag]
        assert isinstance(looks, Looks)
        self.truth.give_back(tag)
        message = {"message_id": looks.message_id}, looks.body
        self.peer.send_content("basic.return", *NO_ROUTE, "", looks.route, message=message)

    # A peer that speaks of what it has not got yet cannot be told from one that speaks of it later; so it does not.

    @precondition(lambda self: self.sent)
    @rule(name=st.sampled_from(["basic.ack", "basic.nack"]), data=st.data(), multiple=st.booleans())
    def settle(self, name: str, data: st.DataObject, multiple: bool) -> None:
        self.says(name, data.draw(st.integers(0, len(self.sent))), multiple)

    @precondition(lambda self: self.truth.returnable())
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        self.gives_back(data.draw(st.sampled_from(sorted(self.truth.returnable()))))

    @precondition(lambda self: self.truth.returnable())
    @rule(data=st.data())
    def come_back_and_be_acknowledged(self, data: st.DataObject) -> None:
        """As RabbitMQ does it."""
        tag = data.draw(st.sampled_from(sorted(self.truth.returnable())))
        self.gives_back(tag)
        self.says("basic.ack", tag, False)

    # --- what the program does

    def expect(self, looks: Looks, mandatory: bool) -> amqp.Message:
        self.peer.wait()  # the client may hear now what was said before
        msg = amqp.Message(looks.body, message_id=looks.message_id)
        message = dict(msg.properties), looks.body
        self.peer.expect_content("basic.publish", 0, "", looks.route, mandatory, False, message=message)
        self.sent[self.truth.publish(looks if mandatory else None)] = msg
        return msg

    @rule(looks=st.sampled_from(LOOKS), mandatory=st.booleans())
    def publish(self, looks: Looks, mandatory: bool) -> None:
        msg = self.expect(looks, mandatory)
        assert self.ch.basic_publish(msg, "", looks.route, mandatory) == len(self.sent)

    @rule(looks=st.sampled_from(LOOKS), mandatory=st.booleans(), fate=st.sampled_from(FATES))
    def publish_and_wait(self, looks: Looks, mandatory: bool, fate: str) -> None:
        mandatory = mandatory or fate == "return"
        msg = self.expect(looks, mandatory)
        tag = len(self.sent)
        if fate == "return":
            self.gives_back(tag)
        if fate == "nack":
            self.says("basic.nack", tag, False)
        elif fate != "silence":
            self.says("basic.ack", tag, fate == "multiple")
        error = None
        try:
            timeout = 0.02 if fate == "silence" else PATIENCE
            assert self.ch.basic_publish_confirm(msg, "", looks.route, mandatory, timeout=timeout) == tag
        except amqp.UnconfirmedError as exc:
            error = exc
        if fate == "silence":
            assert isinstance(error, amqp.ConfirmTimeoutError)
            assert (error.unconfirmed, error.nacked, error.returned) == ({tag: msg}, {}, {})
        elif error is None:
            assert fate in ("ack", "multiple")
        else:
            assert (error.unconfirmed, error.messages) == ({}, [msg])
            assert bool(error.nacked) == (fate == "nack")
            self.enter(error)

    def enter(self, error: amqp.UnconfirmedError) -> None:
        for what, told in self.reported.items():
            found = getattr(error, what)
            assert not told & set(found), "it was told before"
            told |= set(found)
            assert all(self.sent[tag] is msg for tag, msg in found.items())

    @rule()
    def wait_for_confirms(self) -> None:
        self.peer.wait()  # until all has been said
        unknown: List[int] = []
        error = None
        try:
            self.ch.wait_for_confirms(timeout=0)
        except amqp.UnconfirmedError as exc:
            error = exc
        if error:
            self.enter(error)
            every = {**error.nacked, **error.returned, **error.unconfirmed}
            assert error.messages == [self.sent[tag] for tag in sorted(every)]
            unknown = list(error.unconfirmed)
            assert isinstance(error, amqp.AMQPTimeoutError) == bool(unknown)
        assert all(self.sent[tag] is msg for said in self.called.values() for tag, msg in said)
        acked = [tag for tag, _ in self.called["ack"]]
        assert {tag for tag, _ in self.called["nack"]} == self.reported["nacked"]
        self.truth.compare(acked, self.reported["nacked"], self.reported["returned"])
        assert {*acked, *self.reported["nacked"], *self.reported["returned"], *unknown} == set(self.sent)
        assert list(self.ch.unconfirmed) == sorted(self.truth.outstanding)
        assert unknown == [tag for tag in self.ch.unconfirmed if tag not in self.reported["returned"]]


Publishing.TestCase.settings = settings(max_examples=scaled(60), stateful_step_count=25, deadline=None)
TestPublishing = Publishing.TestCase


# --- single cases


def test_a_late_ack_never_vouches_for_the_next_message(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    with pytest.raises(amqp.ConfirmTimeoutError):
        newer.basic_publish_confirm(amqp.Message(b"1"), routing_key="q", timeout=0.01)
    newer_peer.send("basic.ack", 1, False)
    newer_peer.wait()
    expect_publish(newer_peer, "q", b"2")
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


@pytest.mark.parametrize("window", [0, -1, 1.5, "a"])
def test_a_window_that_is_none(newer: amqp.Channel, window: Any) -> None:
    with pytest.raises(ValueError, match=r"window: %r" % window):
        newer.confirm_select(window=window)


def test_a_full_window_waits(newer_peer: Peer, newer: amqp.Channel) -> None:
    select(newer_peer, newer, window=2)
    for n in (1, 2):
        expect_publish(newer_peer, "q", b"%d" % n)
        newer.basic_publish(amqp.Message(b"%d" % n), routing_key="q")
    acknowledged: List[int] = []
    newer_peer.do(await_rest)
    newer_peer.do(lambda: acknowledged.append(2))
    newer_peer.send("basic.ack", 2, True)
    expect_publish(newer_peer, "q", b"3")
    newer.basic_publish(amqp.Message(b"3"), routing_key="q")
    assert acknowledged == [2]
    assert list(newer.unconfirmed) == [3]


def test_a_window_that_stays_full(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    newer_peer.welcome()
    newer_peer.open_channel()
    ch = amqp.Connection(newer_peer.address, heartbeat=0).channel()
    select(newer_peer, ch, window=1)
    timeouts[-1].reply_timeout = 0.1
    expect_publish(newer_peer, "q", b"1")
    ch.basic_publish(amqp.Message(b"1"), routing_key="q")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.basic_publish(amqp.Message(b"2"), routing_key="q")
    assert list(ch.unconfirmed) == [1]
    newer_peer.send("basic.ack", 1, False)
    ch.wait_for_confirms(timeout=PATIENCE)
    timeouts[-1].reply_timeout = None
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
    with pytest.raises(amqp.UnconfirmedError, match=r"^404 .*1 nacked, 1 returned .* 1 not confirmed ") as caught:
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
    assert newer.returned_messages.empty()


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


@pytest.mark.parametrize(
    "header",
    [
        "2000 0000000A 01 'b' 49 00000001 01 'z' 7A",  # a field that cannot be read
        "2000 0000000B 01 'b' 44 FF 7FFFFFFF 01 'a' 56",
        "0040 7FFFFFFFFFFFFFFF",
        "8000 03 'a' FF 'b'",
        "1000 07",
    ],
)
def test_a_message_that_comes_back_changed(newer_peer: Peer, newer: amqp.Channel, header: str) -> None:
    """Whatever has been done to its properties, it is known by its way and its body."""
    select(newer_peer, newer)
    headers = {"b": 1}
    newer_peer.expect_content(
        "basic.publish", 0, "", "q", True, False, message=({"application_headers": headers}, b"body")
    )
    newer.basic_publish(amqp.Message(b"body", application_headers=headers), routing_key="q", mandatory=True)
    newer_peer.send_bytes(
        method("basic.return", *NO_ROUTE, "", "q", dialect=AMQP_0_9_1)
        + frame(2, 1, b"\0\x3c\0\0" + b"\0\0\0\0\0\0\0\x04" + octets(header))
        + frame(3, 1, b"body")
    )
    newer_peer.send("basic.ack", 1, False)
    with pytest.raises(amqp.UnconfirmedError, match="1 returned"):
        newer.wait_for_confirms(timeout=PATIENCE)
    assert newer.is_open


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
    for number in (b"1", b"2"):
        expect_publish(newer_peer, "q", number, True)
        newer.basic_publish(amqp.Message(number), routing_key="q", mandatory=True)
    newer_peer.send_bytes(
        content("basic.return", *NO_ROUTE, "", "q", message=({}, b"1"), dialect=AMQP_0_9_1)
        + method("basic.ack", 2, True, dialect=AMQP_0_9_1)
    )
    newer_peer.wait()
    time.sleep(0.06)  # a program that only sends looks every 50 ms
    expect_publish(newer_peer, "q", b"3")
    newer.basic_publish(amqp.Message(b"3"), routing_key="q")
    assert list(newer.unconfirmed) == [3]
    expect_publish(newer_peer, "q", b"4")
    newer_peer.send("basic.ack", 4, True)
    newer.basic_publish(amqp.Message(b"4"), routing_key="q")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        newer.wait_for_confirms(timeout=PATIENCE)
    said = caught.value
    assert (said.nacked, list(said.returned), said.unconfirmed) == ({}, [1], {})


# --- how long it waits


def test_without_a_timeout_the_reply_timeout_holds(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    ch = conn.channel()
    select(newer_peer, ch)
    timeouts[-1].reply_timeout = 0.1
    expect_publish(newer_peer, "q", b"1")
    with pytest.raises(amqp.ConfirmTimeoutError):
        ch.basic_publish_confirm(amqp.Message(b"1"), routing_key="q")
    with pytest.raises(amqp.ConfirmTimeoutError):
        ch.wait_for_confirms()
    assert ch.is_open
    timeouts[-1].reply_timeout = None
    newer_peer.part()
    conn.close()


def test_one_within_another(newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel) -> None:
    """As in a function of the program that is called while the outer one waits: each has its own time."""
    select(newer_peer, newer)

    def on_blocked(reason: str) -> None:
        with pytest.raises(amqp.ConnectionBlockedError):
            newer.basic_publish_confirm(amqp.Message(b"inner"), routing_key="q", timeout=0.05)

    newer_conn.on_blocked = on_blocked
    newer_peer.send("connection.blocked", "disk", channel=0)
    newer_peer.wait()
    time.sleep(0.06)  # a program that only sends looks every 50 ms
    with waits(0.3, 0.36), pytest.raises(amqp.ConnectionBlockedError):
        newer.basic_publish_confirm(amqp.Message(b"outer"), routing_key="q", timeout=0.3)
    newer_peer.send("connection.unblocked", channel=0)
    expect_publish(newer_peer, "q", b"next")
    newer_peer.send("basic.ack", 1, False)
    assert newer.basic_publish_confirm(amqp.Message(b"next"), routing_key="q", timeout=PATIENCE) == 1
