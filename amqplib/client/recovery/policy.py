"""`Recovery`: what a program wants done when its connection is lost. Values only; `reviver` acts on them."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

from ..deadline import Deadline
from ..functions import check_functions

__all__ = ["Recovery", "checked"]

#: The pause before another attempt is this part of the time for which the connection has been away. So a broker that
#: restarts in seconds is found again within a second, and one that is away for hours is not asked all the time.
_PART = 0.1


class Recovery:
    """How a connection comes back: Connection(recover=Recovery(...)); recover=True is the same as Recovery().

    hosts: 'name', 'name:port' or a list of them, to be tried beside those of Connection's `host`.
    shuffle: try the hosts in another order each time; False keeps theirs.
    first: try again, too, when the connection is made: for a program that may start before its broker.
    idle: bring it back while nobody uses it, too, so that consumers live on in a program that does something else. The
        thread of heartbeats looks once a second whether it is lost; see docs/recovery.txt.
    delay, delay_max: seconds between two attempts, at first and at most. They grow with the time of being away, to a
        tenth of it, and each is shortened by chance by up to a half. The first attempt comes at once.
    time: seconds after which to give up, for each loss; None for never.
    attempts: how many to make before giving up, for each loss; None for no limit.
    locked: seconds for which an exclusive queue or consumer is tried again that the broker still holds for the lost
        connection (405, 403).
    nacked: seconds for which a publish in confirm mode is sent again that the broker refuses (basic.nack), as a quorum
        queue without a leader does; then it counts as refused. 0: at once. Not with unconfirmed='report'.
    unconfirmed: what becomes of publishes in confirm mode that were not confirmed: 'resend' sends them again, in their
        order; 'report' counts them as refused (UnconfirmedError.nacked, on_nack).
    publishes: what a publish does while the connection is away: 'wait' until it is back, 'raise' ConnectionLostError.
    stale_acks: what becomes of acknowledging a delivery of a connection that was lost, which the broker delivers anew:
        'ignore', or 'raise' StaleDeliveryError.
    message_ids: set a message_id on each published message that has none, so that receivers can tell one that was sent
        again.
    wanted: called with each Declaration before it is made again; what is not true leaves it out.
    on_lost: called with the exception for the loss, when the first attempt begins.
    before, after: called with each Declaration before and after it is made again.
    on_failed: called with a RecoveryError for each Declaration that could not be made again.
    on_renamed: called with the old and the new name of a queue whose name the server makes up.
    on_recovered: called without arguments when the connection is back.
    on_given_up: called with the exception when it will not come back.

    ValueError for what makes no sense. All functions are called by the thread that brings the connection back, one at
    a time. Until on_recovered is called the connection is not there for them either.
    """

    __slots__ = (
        "after",
        "attempts",
        "before",
        "delay",
        "delay_max",
        "first",
        "hosts",
        "idle",
        "locked",
        "message_ids",
        "nacked",
        "on_failed",
        "on_given_up",
        "on_lost",
        "on_recovered",
        "on_renamed",
        "publishes",
        "shuffle",
        "stale_acks",
        "time",
        "unconfirmed",
        "wanted",
    )

    def __init__(
        self,
        *,
        hosts: Union[str, Sequence[str]] = (),
        shuffle: bool = True,
        first: bool = False,
        idle: bool = False,
        delay: float = 0.1,
        delay_max: float = 5.0,
        time: Optional[float] = None,
        attempts: Optional[int] = None,
        locked: float = 30.0,
        nacked: float = 10.0,
        unconfirmed: str = "resend",
        publishes: str = "wait",
        stale_acks: str = "ignore",
        message_ids: bool = False,
        wanted: Optional[Callable[[Any], Any]] = None,
        on_lost: Optional[Callable[[Exception], Any]] = None,
        before: Optional[Callable[[Any], Any]] = None,
        after: Optional[Callable[[Any], Any]] = None,
        on_failed: Optional[Callable[[Exception], Any]] = None,
        on_renamed: Optional[Callable[[str, str], Any]] = None,
        on_recovered: Optional[Callable[[], Any]] = None,
        on_given_up: Optional[Callable[[Exception], Any]] = None,
    ) -> None:
        self.hosts: Tuple[str, ...] = (hosts,) if isinstance(hosts, str) else tuple(hosts)
        if not all(isinstance(host, str) for host in self.hosts):
            raise ValueError("hosts: names, or names with ports, as str")
        times = {"delay": delay, "delay_max": delay_max, "time": time, "locked": locked, "nacked": nacked}
        for name, seconds in times.items():
            try:
                Deadline(seconds)
            except ValueError as exc:
                raise ValueError("%s: %s" % (name, exc)) from None
            if seconds is None and name != "time":
                raise ValueError("%s: a number of seconds" % name)
        if not 0 < delay <= delay_max:
            raise ValueError("delay: %r: it is more than 0, and at most delay_max, which is %r" % (delay, delay_max))
        if attempts is not None and not (isinstance(attempts, int) and attempts > 0):
            raise ValueError("attempts: %r: a number of attempts, 1 or more, or None for no limit" % (attempts,))
        _choice("unconfirmed", unconfirmed, "resend", "report")
        _choice("publishes", publishes, "wait", "raise")
        _choice("stale_acks", stale_acks, "ignore", "raise")
        check_functions(
            wanted=wanted,
            on_lost=on_lost,
            before=before,
            after=after,
            on_failed=on_failed,
            on_renamed=on_renamed,
            on_recovered=on_recovered,
            on_given_up=on_given_up,
        )
        self.shuffle = shuffle
        self.first = first
        self.idle = idle
        self.delay = delay
        self.delay_max = delay_max
        self.time = time
        self.attempts = attempts
        self.locked = locked
        self.nacked = nacked
        self.unconfirmed = unconfirmed
        self.publishes = publishes
        self.stale_acks = stale_acks
        self.message_ids = message_ids
        self.wanted = wanted
        self.on_lost = on_lost
        self.before = before
        self.after = after
        self.on_failed = on_failed
        self.on_renamed = on_renamed
        self.on_recovered = on_recovered
        self.on_given_up = on_given_up

    def pause(self, away: float, chance: float) -> float:
        """Seconds to wait before the next attempt, with the connection away for so many; chance: any from 0 to 1."""
        return min(max(self.delay, _PART * away), self.delay_max) * (1 - chance / 2)

    def exhausted(self, attempts: int, away: float) -> bool:
        """Is it time to give up?"""
        return (self.attempts is not None and attempts >= self.attempts) or (
            self.time is not None and away >= self.time
        )


def _choice(name: str, value: Any, *known: str) -> None:
    if value not in known:
        raise ValueError("%s: %r: it is %s" % (name, value, " or ".join(map(repr, known))))


def checked(
    recover: Any, wanted: Optional[bool] = None, said: Optional[Mapping[str, Any]] = None
) -> Optional[Recovery]:
    """What the program gave as `recover`, with what a URL says of it; None for nothing of it."""
    if recover is True:
        given: Optional[Recovery] = Recovery()
    elif recover is None or recover is False:
        given = None
    elif isinstance(recover, Recovery):
        given = recover
    else:
        raise ValueError("recover: True, False, or a Recovery, not a thing of type %s" % type(recover).__name__)
    if wanted is None:
        return given
    if not wanted:
        return None
    values = {name: getattr(given, name) for name in Recovery.__slots__} if given is not None else {}
    return Recovery(**{**values, **(said or {})})
