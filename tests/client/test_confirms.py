"""The books of publisher confirms balance, whatever the server says and in whatever order.

The model: a set of outstanding tags and the fate of every other. A rule is something that a server or a program may
do at any time: acknowledge or refuse a tag, or all up to one, again, late, or one that never was; return a message;
publish; collect.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqplib.client.confirms import Confirms
from amqplib.client.message import GenericContent, Message

ROUTES = ["here", "there"]
BODIES = [b"same", b"other"]


class Books(RuleBasedStateMachine):
    """Confirms beside its model."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms = Confirms()
        self.sent: Dict[int, GenericContent] = {}
        self.mandatory: Dict[int, Tuple[str, str, bytes]] = {}
        self.outstanding: Set[int] = set()
        self.acked: Set[int] = set()
        self.nacked: Set[int] = set()
        self.returned: Set[int] = set()
        self.reported: List[int] = []

    @rule(route=st.sampled_from(ROUTES), body=st.sampled_from(BODIES), mandatory=st.booleans())
    def publish(self, route: str, body: bytes, mandatory: bool) -> None:
        msg = Message(body)
        went = ("", route, body) if mandatory else None
        tag = self.confirms.sent(msg, went)
        assert tag == len(self.sent) + 1
        self.sent[tag] = msg
        self.outstanding.add(tag)
        if went:
            self.mandatory[tag] = went

    @rule()
    def publish_that_was_not_sent(self) -> None:
        self.confirms.take_back(self.confirms.sent(Message("never")))

    @rule(tag=st.integers(0, 12), multiple=st.booleans(), ack=st.booleans())
    def settle(self, tag: int, multiple: bool, ack: bool) -> None:
        if multiple:
            concerned = {one for one in self.outstanding if one <= tag}
        else:
            concerned = self.outstanding & {tag}
        settled = self.confirms.settle(tag, multiple, ack)
        assert [one for one, _ in settled] == sorted(concerned - self.returned)
        assert all(msg is self.sent[one] for one, msg in settled)
        self.outstanding -= concerned
        for one in concerned - self.returned:
            (self.acked if ack else self.nacked).add(one)

    @rule(route=st.sampled_from(ROUTES), body=st.sampled_from(BODIES))
    def come_back(self, route: str, body: bytes) -> None:
        candidates = [
            tag
            for tag, went in sorted(self.mandatory.items())
            if went == ("", route, body) and tag in self.outstanding and tag not in self.returned
        ]
        tag = self.confirms.came_back("", route, body)
        assert tag == (candidates[0] if candidates else None)
        if tag is not None:
            self.returned.add(tag)

    @rule()
    def collect(self) -> None:
        nacked, returned, unconfirmed = self.confirms.collect()
        assert set(nacked) == self.nacked - set(self.reported)
        assert set(returned) == self.returned - set(self.reported)
        # one that was returned and reported, but not acknowledged yet, is not reported again
        assert set(unconfirmed) == self.outstanding - self.returned
        self.reported += [*nacked, *returned]

    @precondition(lambda self: self.nacked | self.returned)
    @rule(data=st.data())
    def collect_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.nacked | self.returned)))
        nacked, returned, unconfirmed = self.confirms.collect_one(tag)
        new = {tag} - set(self.reported)
        assert set(nacked) == self.nacked & new
        assert set(returned) == self.returned & new
        assert unconfirmed == {}
        self.reported += [*nacked, *returned]

    @invariant()
    def the_books_balance(self) -> None:
        assert list(self.confirms.unconfirmed) == sorted(self.outstanding)
        fates = self.acked, self.nacked, self.returned, self.outstanding - self.returned
        assert sum(map(len, fates)) == len(self.sent)
        assert set().union(*fates) == set(self.sent)

    @invariant()
    def nothing_is_reported_twice(self) -> None:
        assert len(set(self.reported)) == len(self.reported)


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase


def test_a_late_ack_for_one_message_never_vouches_for_another() -> None:
    confirms = Confirms()
    first, second = confirms.sent(Message("1")), confirms.sent(Message("2"))
    assert confirms.settle(first, False, True)
    assert confirms.settle(first, False, True) == []
    assert list(confirms.unconfirmed) == [second]


@pytest.mark.parametrize(("window", "outstanding", "full"), [(None, 100, False), (2, 1, False), (2, 2, True)])
def test_window(window: Optional[int], outstanding: int, full: bool) -> None:
    confirms = Confirms(window)
    for _ in range(outstanding):
        confirms.sent(Message("x"))
    assert confirms.full() is full
