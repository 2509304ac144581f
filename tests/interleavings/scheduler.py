"""A scheduler that decides which thread goes on, so that a test can go through the orders in which things may happen.

The threads are real, but only one of them runs at a time: the one that has the turn. At every point that matters (it
takes or lets go of the lock, sleeps, wakes, waits for the network, sends, receives) it asks the scheduler who goes on.
Where nobody says otherwise the thread itself goes on as long as it can; an order is told by where that is not so:

    [(14, 1), (20, "broker")]     at the 14th choice thread 1 went on instead, at the 20th the broker did something

`explore` goes through all orders with up to so many preemptions, fewest first (iterative context bounding: Musuvathi
and Qadeer, PLDI 2007). A preemption is a switch away from a thread that could go on; who goes on in the place of one
that cannot is free. Time stands still until nobody can go on, and then moves to the next moment that somebody waits
for. So reading the clock is no point at which the order matters.

An order fails when everybody waits for something that never comes, when it takes more steps than anything sensible, or
when the program's own checks say so. What is printed then is the list above, and a test plays it again with `replay`.
"""

from __future__ import annotations

import _thread
import sys
from functools import partial
from typing import Any, Callable, ClassVar, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

__all__ = ["BROKER", "SIGNAL", "Condition", "Fault", "Lock", "Order", "Plan", "Scheduler", "explore", "replay"]

#: Who goes on in the place of a thread: the world outside does something; a signal comes for thread 0.
BROKER, SIGNAL = "broker", "signal"

#: A thread by its number, or one of the above.
Choice = Union[int, str]

#: Where an order is not the usual one: number of the choice, and what was chosen.
Plan = Sequence[Tuple[int, Choice]]

#: Steps of one order. The longest sensible one takes some hundreds.
_STEPS = 5000


class Fault(AssertionError):
    """An order in which something goes wrong."""


class _Stop(BaseException):
    """Ends a thread of an order that is given up."""


class _Point(NamedTuple):
    """A choice: what there was, what was chosen, and could the thread that asked go on?"""

    options: Tuple[Choice, ...]
    chosen: Choice
    able: bool


class _Thread:
    __slots__ = ("ended", "function", "number", "outcome", "ready", "signalled", "turn", "until", "what")

    def __init__(self, number: int, function: Callable[[], Any], turn: Any) -> None:
        self.number = number
        self.function = function
        #: Held, and let go of when it is the thread's turn.
        self.turn = turn
        #: Can it go on? The moment at which that is to be looked at again. What it is about to do, for the log.
        self.ready: Callable[[], bool] = _always
        self.until: Optional[float] = None
        self.what = "begin"
        self.ended = self.signalled = False
        self.outcome: Any = None


def _always() -> bool:
    return True


def _turn() -> Any:
    turn = _thread.allocate_lock()
    turn.acquire()
    return turn


class _Worker:
    """A real thread, which serves one order after another: starting one takes longer than an order."""

    idle: ClassVar[List[_Worker]] = []

    def __init__(self) -> None:
        self.turn = _turn()
        self.job: Callable[[], None] = lambda: None
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        while True:
            self.turn.acquire()
            self.job()

    @classmethod
    def get(cls) -> _Worker:
        """One that has nothing to do."""
        return cls.idle.pop() if cls.idle else cls()


class Scheduler:
    """One order. Until run() there is one thread, which prepares, and the same when it is over, to look at the end."""

    def __init__(self, plan: Plan = (), lines_of: Tuple[str, ...] = (), tells: bool = False) -> None:
        self.now = 1000.0
        self.points: List[_Point] = []
        #: What was done, and by whom, if it tells that.
        self.log: List[Tuple[Choice, str]] = []
        #: What a signal that comes for thread 0 calls. It comes once, when it is chosen; not between the beginning of
        #: a `finally` and the first thing that it sets, where Python looks for none.
        self.handler: Optional[Callable[[], Any]] = None
        #: The world outside: has it anything to do now; do it; when has it something to do next?
        self.may_act: Callable[[], bool] = lambda: False
        self.act: Callable[[], None] = lambda: None
        self.acts_at: Callable[[], Optional[float]] = lambda: None
        self._tells = tells
        self._plan = dict(plan)
        self._threads: List[_Thread] = []
        self._main = self.current = _Thread(-1, _always, _turn())
        self._steps = 0
        self._signal = False
        self._stopping = False
        self._fault: Optional[str] = None
        # each line that is executed in these files is a point as well
        self._lines_of = lines_of

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now

    # --- for threads

    def point(self, what: str) -> None:
        """Another thread may go on here."""
        self.block(what, _always)

    def block(self, what: str, ready: Callable[[], bool], until: Optional[float] = None) -> None:
        """Go on once `ready`; what that says may change at the moment `until`."""
        me = self.current
        if self._stopping:
            raise Fault(self._fault) if me is self._main else _Stop
        if me is self._main and ready():
            return
        while True:
            me.ready, me.until, me.what = ready, until, what
            self._choose(me)
            if not me.signalled:
                return
            me.signalled = False
            assert self.handler is not None
            self.handler()

    def _choose(self, me: _Thread) -> None:
        """Have somebody go on; returns when it is the turn of `me`."""
        chosen = self._next(me)
        if chosen is me:
            if self._stopping:
                raise Fault(self._fault) if me is self._main else _Stop
            return
        self.current = chosen
        chosen.turn.release()
        if me.ended:
            return
        me.turn.acquire()
        if self._stopping:
            raise _Stop

    def _next(self, me: _Thread) -> _Thread:
        while not self._stopping:
            self._steps += 1
            if self._steps > _STEPS:
                return self._give_up("there is no end to it", me)
            able = not me.ended and me.ready()
            options: List[Choice] = [me.number] if able else []
            options += [each.number for each in self._threads if each is not me and not each.ended and each.ready()]
            if self.may_act():
                options.append(BROKER)
            if not options:
                if all(each.ended for each in self._threads) and me.ended:
                    return self._main
                if not self._pass_time(me):
                    return self._give_up("everybody waits, and nothing will ever come", me)
                continue
            if self._signal and not self._threads[0].ended and not self._threads[0].what.startswith("set "):
                options.append(SIGNAL)
            chosen = options[0]
            if len(options) > 1 and self._threads:
                chosen = self._plan.get(len(self.points), chosen)
                if chosen not in options:
                    return self._give_up("the order cannot be played again: it is not the same program", me)
                self.points.append(_Point(tuple(options), chosen, able))
            if chosen == BROKER:
                if self._tells:
                    self.log.append((BROKER, "acts"))
                self.act()
                continue
            if chosen == SIGNAL:
                self._signal = False
                self._threads[0].signalled = True
                chosen = 0
            thread = self._main if chosen == -1 else self._threads[int(chosen)]
            if self._tells:
                self.log.append((chosen, "signal in " + thread.what if thread.signalled else thread.what))
            return thread
        return self._next_to_stop(me)

    def _pass_time(self, me: _Thread) -> bool:
        moments = [each.until for each in (*self._threads, me) if each.until is not None and not each.ended]
        moments.append(self.acts_at() or float("inf"))
        then = min(moments)
        if not self.now < then < float("inf"):
            return False
        self.now = then
        return True

    def _give_up(self, why: str, me: _Thread) -> _Thread:
        self._fault = why
        for each in (*self._threads, self._main):
            if not each.ended and (each.number >= 0 or not self._threads):
                self._fault += "; thread %d: %s" % (each.number, each.what)
        self._stopping = True
        return self._next_to_stop(me)

    def _next_to_stop(self, me: _Thread) -> _Thread:
        if not me.ended:
            return me
        return next((each for each in self._threads if not each.ended), self._main)

    # --- for who explores

    def run(self, functions: Sequence[Callable[[], Any]]) -> List[Any]:
        """Have threads execute these, in the order planned; what each returned or raised. Raises Fault."""
        workers = [_Worker.get() for _ in functions]
        threads = [_Thread(number, function, workers[number].turn) for number, function in enumerate(functions)]
        for thread, worker in zip(threads, workers):
            worker.job = partial(self._thread, thread, worker)
        main, self._signal = self._main, self.handler is not None
        self.log.clear()
        self._threads = threads
        main.ended = True
        self._choose(main)
        main.turn.acquire()
        main.ended = False
        self.current, self._threads, self._signal = main, [], False
        if self._fault is not None:
            raise Fault(self._fault)
        return [thread.outcome for thread in threads]

    def _thread(self, thread: _Thread, worker: _Worker) -> None:
        try:
            if not self._stopping:
                if self._lines_of:
                    sys.settrace(self._trace)
                if thread.signalled:
                    thread.signalled = False
                    assert self.handler is not None
                    self.handler()
                thread.outcome = thread.function()
        except _Stop:
            pass
        except BaseException as exc:
            thread.outcome = exc
        sys.settrace(None)
        thread.ended = True
        worker.job = lambda: None
        _Worker.idle.append(worker)
        self._choose(thread)

    def _trace(self, frame: Any, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename.endswith(self._lines_of) else None

    def _line(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "line" and not self._stopping:
            self.point("line %d of %s" % (frame.f_lineno, frame.f_code.co_name))
        return self._line

    @property
    def story(self) -> str:
        """What was done by whom, in one line."""
        return " ".join("%s:%s" % (who, what.replace(" ", "-")) for who, what in self.log)


class Lock:
    """A lock that its thread can take again, as a Driver wants it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.owner: Optional[_Thread] = None
        self.depth = 0

    def free(self) -> bool:
        return self.owner is None

    def _is_owned(self) -> bool:
        return self.owner is self._scheduler.current

    def __enter__(self) -> None:
        scheduler = self._scheduler
        if self.owner is not scheduler.current:
            scheduler.block("lock", self.free)
            self.owner = scheduler.current
        self.depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self.depth -= 1
        if not self.depth:
            self.owner = None  # no point: what matters next is one


class Condition:
    """A condition over such a lock."""

    def __init__(self, lock: Lock, scheduler: Scheduler) -> None:
        self._lock = lock
        self._scheduler = scheduler
        self._sleepers: List[List[bool]] = []

    def wait(self, seconds: float) -> None:
        lock, scheduler = self._lock, self._scheduler
        assert lock._is_owned()
        sleeper = [False]
        self._sleepers.append(sleeper)
        until, depth = scheduler.now + seconds, lock.depth
        lock.owner, lock.depth = None, 0
        try:
            scheduler.block("sleep", lambda: lock.owner is None and (sleeper[0] or scheduler.now >= until), until)
        except _Stop:
            raise
        except BaseException:  # a signal handler's: the lock is taken again all the same
            scheduler.block("lock", lock.free)
            raise
        finally:
            lock.owner, lock.depth = scheduler.current, depth
            self._sleepers[:] = [each for each in self._sleepers if each is not sleeper]

    def notify_all(self) -> None:
        assert self._lock._is_owned()
        for sleeper in self._sleepers:
            sleeper[0] = True
        self._sleepers.clear()


#: Plays one order of a program; raises Fault, or any AssertionError, when something is wrong in it.
Order = Callable[[Scheduler], None]


def explore(
    play: Order,
    preemptions: int = 2,
    free: bool = True,
    lines_of: Tuple[str, ...] = (),
    most: int = 1000000,
) -> int:
    """Play every order with up to so many preemptions; how many there were. A signal counts as a preemption.

    Unless it is `free` who goes on in the place of a thread that cannot, that counts as one as well: programs of three
    threads have too many orders otherwise (delay bounding: Emmi, Qadeer and Rakamaric, POPL 2011).
    Raises Fault in the first one that fails, of those with the fewest preemptions. After `most` it leaves out others.
    """
    count = 0
    waiting: List[List[Tuple[Tuple[int, Choice], ...]]] = [[] for _ in range(preemptions + 1)]
    waiting[0].append(())
    for used, plans in enumerate(waiting):
        while plans and count < most:
            plan = plans.pop()
            count += 1
            points = replay(play, plan, lines_of)
            for number, other, cost in _others(points, plan[-1][0] + 1 if plan else 0):
                cost = cost if free else 1
                if used + cost <= preemptions:
                    waiting[used + cost].append((*plan, (number, other)))
    return count


def _others(points: List[_Point], first: int) -> Iterator[Tuple[int, Choice, int]]:
    for number in range(first, len(points)):
        point = points[number]
        for other in point.options:
            if other != point.chosen:
                yield number, other, int(point.able or other == SIGNAL)


def replay(play: Order, plan: Plan, lines_of: Tuple[str, ...] = ()) -> List[_Point]:
    """Play one order; what there was to choose in it."""
    scheduler = Scheduler(plan, lines_of)
    try:
        play(scheduler)
    except Exception:
        _tell(play, plan, lines_of)
        raise
    return scheduler.points


def _tell(play: Order, plan: Plan, lines_of: Tuple[str, ...]) -> None:
    """Play one that has failed again, and say what is done in it."""
    scheduler = Scheduler(plan, lines_of, tells=True)
    try:
        play(scheduler)
    except Exception as exc:
        text = "%s: %s\nthe order: %r\nwhat was done: %s"
        raise Fault(text % (type(exc).__name__, exc, list(plan), scheduler.story)) from exc
