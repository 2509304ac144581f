"""Proves when a peer that says nothing counts as lost."""

from __future__ import annotations

import pytest

from amqplib.client.liveness import Liveness


@pytest.mark.parametrize(
    ("interval", "silent", "lost"),
    [(5, 9.9, False), (5, 10.0, True), (5, 11.0, True), (0, 1e6, False)],
    ids=["not yet", "after two intervals", "for longer", "without heartbeats"],
)
def test_two_intervals(interval: int, silent: float, lost: bool) -> None:
    liveness = Liveness(lambda: 0.0)
    liveness.begin(interval)
    assert liveness.too_long(silent) is lost


@pytest.mark.parametrize(("now", "left"), [(100.0, 10.0), (107.5, 2.5), (110.0, 0.0), (200.0, 0.0)])
def test_nobody_waits_for_longer(now: float, left: float) -> None:
    time = [100.0]
    liveness = Liveness(lambda: time[0])
    liveness.begin(5)
    time[0] = now
    assert liveness.at_most(1000.0) == left
    assert liveness.at_most(0.0) == 0.0
