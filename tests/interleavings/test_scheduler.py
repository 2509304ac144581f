"""The explorer itself, on programs whose orders can be counted by hand."""

from __future__ import annotations

from typing import Callable, List, Set

import pytest

from .scheduler import BROKER, SIGNAL, Condition, Fault, Lock, Scheduler, explore, replay


def steps(name: str, count: int, done: List[str], scheduler: Scheduler) -> Callable[[], None]:
    def run() -> None:
        for number in range(count):
            scheduler.point("step")
            done.append("%s%d" % (name, number))

    return run


@pytest.mark.parametrize(
    ("preemptions", "orders"),
    # of two threads of two steps each: who begins is free; then each may be interrupted before its first or second step
    [(0, {"a0 a1 b0 b1", "b0 b1 a0 a1"}), (2, {"a0 a1 b0 b1", "b0 b1 a0 a1", "a0 b0 b1 a1", "b0 a0 a1 b1"})],
)
def test_all_orders_are_played_and_none_twice(preemptions: int, orders: Set[str]) -> None:
    played: List[str] = []

    def play(scheduler: Scheduler) -> None:
        done: List[str] = []
        scheduler.run([steps("a", 2, done, scheduler), steps("b", 2, done, scheduler)])
        played.append(" ".join(done))

    assert explore(play, preemptions) == len(played)
    assert orders <= set(played)
    assert preemptions or set(played) == orders
    found = len(played)
    assert explore(play, preemptions, most=found - 1) == found - 1  # and no more are played
    assert len(played) == 2 * found - 1


def test_every_merge_of_two_threads_is_among_them() -> None:
    merges: Set[str] = set()

    def play(scheduler: Scheduler) -> None:
        done: List[str] = []
        scheduler.run([steps("a", 2, done, scheduler), steps("b", 2, done, scheduler)])
        merges.add(" ".join(done))

    explore(play, 4)
    assert len(merges) == 6  # 4 over 2


def test_an_update_that_is_lost_is_found_and_played_again() -> None:
    def play(scheduler: Scheduler) -> None:
        total = 0

        def add() -> None:
            nonlocal total
            seen = total
            scheduler.point("between")
            total = seen + 1

        scheduler.run([add, add])
        assert total == 2

    explore(play, 0)
    with pytest.raises(Fault, match=r"the order: \[\(0, 1\), \(1, 0\)\]"):
        explore(play, 1)
    replay(play, [])
    with pytest.raises(Fault, match="assert 1 == 2"):
        replay(play, [(0, 1), (1, 0)])


def test_the_lock_lets_one_in() -> None:
    def play(scheduler: Scheduler) -> None:
        lock = Lock(scheduler)
        inside: List[int] = []

        def enter() -> None:
            with lock, lock:
                assert not inside
                inside.append(1)
                scheduler.point("inside")
                inside.pop()

        assert scheduler.run([enter, enter, enter]) == [None] * 3

    assert explore(play, 2) > 10


def test_two_locks_in_two_orders() -> None:
    def play(scheduler: Scheduler) -> None:
        one, two = Lock(scheduler), Lock(scheduler)

        def forth() -> None:
            with one, two:
                pass

        def back() -> None:
            with two, one:
                pass

        scheduler.run([forth, back])

    with pytest.raises(Fault, match="nothing will ever come; thread 0: lock; thread 1: lock"):
        explore(play, 1)


def test_a_wake_up_that_comes_too_early_is_lost() -> None:
    def play(scheduler: Scheduler) -> None:
        lock = Lock(scheduler)
        news = Condition(lock, scheduler)

        def sleep() -> None:
            with lock:
                news.wait(float("inf"))

        def wake() -> None:
            with lock:
                news.notify_all()

        scheduler.run([sleep, wake])

    with pytest.raises(Fault, match="nothing will ever come; thread 0: sleep"):
        explore(play, 0)


def test_time_passes_when_everybody_waits() -> None:
    def play(scheduler: Scheduler) -> None:
        began, lock = scheduler.clock(), Lock(scheduler)
        news = Condition(lock, scheduler)

        def sleep(seconds: float) -> float:
            with lock:
                news.wait(seconds)
            return scheduler.clock() - began

        assert scheduler.run([lambda: sleep(3.0), lambda: sleep(1.0)]) == [3.0, 1.0]

    explore(play, 2)


def test_what_never_ends_is_given_up() -> None:
    def play(scheduler: Scheduler) -> None:
        def spin() -> None:
            while True:
                scheduler.point("spin")

        scheduler.run([spin])

    with pytest.raises(Fault, match="there is no end to it"):
        replay(play, [])


def test_the_world_outside_acts_at_any_point() -> None:
    seen: Set[int] = set()

    def play(scheduler: Scheduler) -> None:
        acted: List[int] = []
        scheduler.may_act = lambda: not acted
        scheduler.act = lambda: acted.append(1)

        def look() -> int:
            scheduler.point("look")
            return len(acted)

        seen.update(scheduler.run([look]))

    replay(play, [])
    assert seen == {0}
    replay(play, [(0, BROKER)])
    assert seen == {0, 1}
    assert explore(play, 1) == 3  # before the thread begins, and before it looks


def test_a_signal_comes_once_at_any_point() -> None:
    came: List[str] = []

    def play(scheduler: Scheduler) -> None:
        done: List[str] = []
        scheduler.handler = lambda: done.append("signal")
        scheduler.run([steps("a", 2, done, scheduler)])
        came.append(" ".join(done))

    assert explore(play, 1) == 4
    assert sorted(came) == ["a0 a1", "a0 signal a1", "signal a0 a1", "signal a0 a1"]
    replay(play, [(1, SIGNAL)])


def test_what_a_thread_raises_is_its_outcome() -> None:
    def play(scheduler: Scheduler) -> None:
        def fail() -> None:
            raise KeyError("x")

        outcome, other = scheduler.run([fail, lambda: 1])
        assert isinstance(outcome, KeyError)
        assert other == 1

    replay(play, [])


def test_another_program_is_not_played_by_a_plan() -> None:
    def play(scheduler: Scheduler) -> None:
        scheduler.run([lambda: None, lambda: None])

    with pytest.raises(Fault, match="cannot be played again"):
        replay(play, [(0, 5)])
