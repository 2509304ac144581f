"""The driver: the one lock of a connection, who reads, who sends, and how one waits.

There is no reader thread. A thread that waits for something reads for everybody (the reader); threads that wait
meanwhile (followers) sleep until something has come. With one thread this is a plain blocking read.

The rules, most of which are asserted or tested:

1. What changes in `protocol` and `output` changes with `lock` held; exceptions of one step are in docs/design.txt. Only
   the reader touches the receiver.
2. Nothing waits while it holds the lock. Sending never blocks: what the system does not take becomes `output.rest`, and
   goes when there is room, by whoever waits (`backpressure`). What other locks there are are taken last, and held for a
   moment.
3. Code of the program (callbacks, codecs, handlers of logging) runs where no lock is held.
4. A signal handler, or a __del__, may call anything here in the middle of anything. While its thread waits in poll()
   it is served; anywhere else, where it would have to wait, it gets a NestedCallError: `refuse_nested`.
5. What a loop of the program tests changes with the lock held, and wakes those who wait.
6. An exception may come out of nowhere at any point (Ctrl-C). While its thread waits, nothing is lost: half a frame is
   a rest, and others go on with it. Between the socket and the books it cannot be known what was lost; then the
   connection is over, and says why.
7. Whoever waits has a deadline, or a timeout of the connection's, and holds to it whatever else goes on.
"""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, List, Optional, TypeVar

from ..protocol.acks import HELD
from ..protocol.endings import BY_PROGRAM, LOST, Ending, Over
from ..protocol.port import Port
from ..protocol.session import Session
from ..protocol.states import CLOSED
from .arrivals import after_reading
from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ConnectionLostError, NestedCallError
from .liveness import HEARTBEAT_FRAME, Liveness
from .net.transport import Transport
from .notices import Notices
from .output import Output
from .parting import Parting
from .tested import Tested
from .threads import threading
from .timeouts import Timeouts

__all__ = ["Driver", "new_lock"]

#: Seconds after which a program that only sends looks whether the peer has something to say.
LOOK_EVERY = 0.05

#: Seconds after which whoever waits looks again. Only this depends on it: an exception from outside (Ctrl-C) has kept a
#: reader from telling that it goes; a signal handler has read what the wait that it interrupted is for; another thread
#: has changed something, or left something to send, while the reader sat in poll().
LOOK_AGAIN = 1.0

T = TypeVar("T")


if TYPE_CHECKING:
    from typing import Protocol

    class Flushable(Protocol):
        """What may have something to send before somebody waits."""

        def flush(self, deadline: Deadline = NEVER) -> None:
            """Send it."""


def new_lock() -> Any:
    """THE lock. A thread that has it can take it again: a signal handler may come at any moment."""
    return threading.RLock()


class Driver:
    """One network connection: its session, its transport, and the threads that use them."""

    __slots__ = (
        "__weakref__",
        "batches",
        "clock",
        "followers",
        "liveness",
        "lock",
        "look_at",
        "news",
        "notices",
        "output",
        "parting",
        "reader",
        "receiving",
        "session",
        "stirs",
        "tested",
        "timeouts",
        "transport",
        "where",
    )

    def __init__(
        self,
        session: Session,
        transport: Transport,
        timeouts: Timeouts,
        where: str,
        lock: Any = None,
        clock: Callable[[], float] = time.monotonic,
        condition: Callable[[Any], Any] = threading.Condition,
    ) -> None:
        self.session = session
        self.transport = transport
        self.timeouts = timeouts
        #: Host, vhost and user, for error messages.
        self.where = where
        self.clock = clock
        #: THE lock.
        self.lock: Any = new_lock() if lock is None else lock
        #: Notified, with the lock held, whenever something has changed that somebody may wait for.
        self.news = condition(self.lock)
        #: The thread that reads, by threading.get_ident().
        self.reader: Optional[int] = None
        #: Is it between the socket and the inboxes?
        self.receiving = False
        #: Threads that sleep until there are news.
        self.followers = 0
        #: How often something has changed that the peer has no part in.
        self.stirs = 0
        self.output = Output(transport, session.owed)
        #: The channels that are inside batch().
        self.batches: List[Flushable] = []
        self.liveness = Liveness(clock)
        self.notices = Notices()
        #: What is known of ends, beside why the connection is over.
        self.parting = Parting(session.control)
        #: What loops of the program have tested.
        self.tested = Tested()
        self.look_at = 0.0  # when a program that only sends looks next

    def name_of(self, number: int) -> str:
        """What to call a channel in an error message."""
        return "channel %d of %s" % (number, self.where) if number else self.where

    def abandon(self, port: Port, words: str) -> None:
        """Nobody waits any more for what may still arrive: the port is over for the program at once."""
        with self.lock:
            if port.ending is None:
                if not port.number:
                    words = "the connection was closed by this program: " + words
                    self.fail(Ending(BY_PROGRAM, 0, words))
                else:
                    port.ending = Ending(BY_PROGRAM, 0, words)
                    port.happen("abandon", self.session)
                    try:
                        self.pay_debts()
                    except ConnectionLostError as exc:
                        self._lost(exc, "")
                self.stir()

    # --- waiting

    def flush(self, deadline: Deadline) -> None:
        """Send what batch() has gathered on any channel: something is about to wait."""
        for sending in list(self.batches):
            sending.flush(deadline)
        if self.output.holding:
            self.pay_quietly()

    def wait_for(
        self,
        take: Callable[[], Optional[T]],
        deadline: Deadline = NEVER,
        free: bool = False,
        since: Optional[float] = None,
    ) -> T:
        """Read, or let another thread read, until `take()` (called with the lock held) gives something.

        free: functions of the program that are due are called meanwhile. since: when the caller began to wait, if
        nothing has come since. Over when the connection is over first, AMQPTimeoutError at the deadline, or at the
        timeout that the program has set on the socket.
        """
        if self.batches or self.output.holding:
            self.flush(deadline)
        return self.wait_undisturbed(take, deadline, free, since)

    def wait_undisturbed(
        self, take: Callable[[], Optional[T]], deadline: Deadline, free: bool = False, since: Optional[float] = None
    ) -> T:
        """The same without sending first what batch() has gathered: for those who have something to send themselves."""
        self.refuse_nested("another call")
        looked, nested, me = since is not None, False, threading.get_ident()
        since = self.clock() if since is None else since
        while True:
            leads = False
            try:
                # Whether it is here, and who reads, is one look: what another thread reads in between would be missed.
                with self.lock:
                    stirs = self.stirs
                    found = take()
                    if found is not None:
                        break
                    if self.session.control.ending is not None:
                        raise Over
                    due = free and bool(self.notices)
                    until = self.timeouts.put_off(deadline)
                    follows = self.reader is not None and self.reader != me
                    if (looked or follows) and until.expired():
                        raise self._nothing_came(deadline.seconds)
                    if not due and self.reader is None:
                        leads = True
                        self.reader = me
                        if free:
                            self.transport.be_woken()
                    elif self.reader == me:
                        nested = True  # a signal handler, which reads in place of what it interrupts
                    if self.stirs != stirs:
                        continue  # by a signal handler since the look, when there was nobody to wake
                    if follows and not due:
                        self._follow(until.within(LOOK_AGAIN))
                        continue
                if due:
                    self.tell()
                    continue
                if self.pump(until.within(LOOK_AGAIN)):
                    since = self.clock()
                else:
                    own = self.transport.sock.gettimeout()
                    if own is not None and self.clock() - since >= own:
                        raise self._nothing_came(own)
                looked = True
            except BaseException:
                if nested:
                    self.transport.wake()
                raise
            finally:
                if leads:
                    self.reader = None  # here: an exception from outside may come with a call
                    self.tell_followers()
        if nested:  # it may have taken in what the wait that it interrupts is for, or a wake-up that was that one's
            self.transport.wake()
        if free and self.notices:
            self.notices.log()
        return found

    def _nothing_came(self, seconds: Optional[float]) -> AMQPTimeoutError:
        return AMQPTimeoutError("nothing came from %s within %.3g s" % (self.where, seconds or 0))

    def tell_followers(self) -> None:
        """A departing reader has cleared its mark, and tells whoever follows."""
        if self.followers:
            with self.lock:
                self.news.notify_all()
        if self.session.control.state is CLOSED:
            self._close()  # the program has closed the connection meanwhile: see shut()

    def _follow(self, seconds: float) -> None:
        # With the lock held, so a reader that leaves after this notifies it: no wake-up is lost.
        self.followers += 1
        try:
            self.news.wait(seconds)
        finally:
            self.followers -= 1

    def notify(self) -> None:
        if self.followers:
            self.news.notify_all()

    def stir(self) -> None:
        """With the lock held: something has changed that the peer has no part in, so a reader in poll() is woken, too.

        Likewise when this is a signal handler of the thread that reads: the system's wait goes on after it.
        """
        self.stirs += 1
        self.notify()
        if self.reader is not None and not self.receiving:
            self.transport.wake()

    @property
    def sent(self) -> int:
        """A number that grows with all that is sent."""
        return self.output.frames + self.output.messages

    def pump(self, seconds: float) -> bool:
        """Wait for octets, for a while, and take them in; send on what has to go. True when something came."""
        liveness, attended, transport = self.liveness, self.liveness.attended, self.transport
        began = self.clock()
        if liveness.interval:
            seconds = liveness.at_most(seconds)
        came = writable = False
        try:
            if self.output.rest is None:
                readable = transport.readable(seconds)
            else:
                readable, writable = transport.ready(seconds, reading=True, writing=True)
            came = readable and self._receive()
            if writable:
                with self.lock:
                    self.pay_debts()
        except ConnectionLostError as exc:
            self._lost(exc, liveness.excuse(began - attended))
            raise Over from None
        except BaseException as exc:
            self.failed(exc)
            raise
        if came:
            liveness.attended = liveness.heard_at  # just now
        else:
            liveness.attend()
            self._check_silence(began - attended)
        return came

    def _receive(self) -> bool:
        """Take in what has come, as the reader; False when nothing has."""
        session = self.session
        self.receiving = True
        try:
            data = self.transport.receive()
            if not data:
                return False
            self.liveness.heard(data)
            events = session.receiver.receive(data)
            with self.lock:
                session.take(events)
                after_reading(self)
                if self.followers:
                    self.news.notify_all()
            return True
        except ConnectionLostError:
            raise
        except BaseException as exc:  # Ctrl-C between the socket and the inboxes: octets would be missing
            self._give_up(exc)
            raise
        finally:
            self.receiving = False
            if session.spent:
                session.spent = []

    def pay_debts(self) -> None:
        """With the lock held: send what is left and what is owed, unless somebody is in the middle of sending.

        Who was cut off in the middle has yet to say so (`failed`), and nothing may follow half a frame.
        """
        if not self.output.busy and self.output.drain():
            self.notify()

    def pay(self) -> None:
        """The same for who does not hold the lock. Over when the connection is lost by that."""
        try:
            with self.lock:
                if self.session.ending is None:
                    self.pay_debts()
        except BaseException as exc:
            self.failed(exc)
            raise

    def pay_quietly(self) -> None:
        """The same for who need not hear that it is lost: whoever waits or sends next is told."""
        try:
            self.pay()
        except Over:
            pass

    def look(self) -> None:
        """A program that only sends hears what the peer says, and that it says nothing."""
        if self.lock._is_owned():  # a signal handler, in the middle of what would be changed by what is read
            return
        self.look_at = self.clock() + LOOK_EVERY
        with self.lock:
            if self.reader is not None or self.session.ending is not None:
                return
            self.reader = threading.get_ident()
        away = self.liveness.away()
        try:
            self.session.in_passing = True
            if not self._receive():
                self._check_silence(away)
        except ConnectionLostError as exc:
            self._lost(exc, self.liveness.excuse(away))
        except Over:
            pass  # whoever sends is told
        finally:
            self.reader = None
            self.session.in_passing = False
            self.tell_followers()
        self.liveness.attend()
        if self.notices:
            self.tell()

    def tell(self) -> None:
        """Log, and call the functions of the program that are due. No lock may be held: they may do what they want."""
        self.notices.tell()

    def changed(self, change: Callable[[], None]) -> None:
        """Change something that a loop of the program may test, and wake those who wait."""
        with self.lock:
            change()
            self.stir()

    # --- heartbeats

    def beat(self) -> None:
        """Send a heartbeat, unless something else is being sent, or nothing can be."""
        output = self.output
        try:
            with self.lock:
                if not output.clear or self.session.ending is not None or not self.transport.ready(0, writing=True)[1]:
                    return
                output.frames += 1
                if not output.push(HEARTBEAT_FRAME) and output.rest is not None and output.take_back(output.rest):
                    output.frames -= 1
        except BaseException as exc:
            try:
                self.failed(exc)
            except Over:
                pass  # whoever waits or sends next is told

    def send_late(self) -> bool:
        """Send what has been held back for too long, or what is left of that. True to be asked again in a moment."""
        acks, output = self.output.acks, self.output
        with self.lock:
            if acks is None or self.session.ending is not None:
                return False
            if not acks.waiting and output.rest is None:
                acks.watched = False
                return False
            late = output.rest is not None or self.clock() - acks.since >= HELD
        if late:
            with suppress(BaseException):  # as in beat()
                self.pay()
        return True

    def _check_silence(self, away: float) -> None:
        silent = self.liveness.silence()
        if self.liveness.too_long(silent):
            text = "the peer has been silent for %.1f s, with a heartbeat of %d s agreed on"
            text %= silent, self.liveness.interval
            self.fail(Ending(LOST, 0, text + self.liveness.excuse(away), errno=errno.ETIMEDOUT))
            raise Over

    # --- signal handlers

    def refuse_nested(self, doing: str) -> None:
        """Refuse to wait in the middle of something else of the same thread: this is a signal handler, or a __del__."""
        if self.lock._is_owned() or (self.receiving and self.reader == threading.get_ident()):
            raise self.nested(doing)

    def nested(self, doing: str) -> NestedCallError:
        text = "a call in the middle of %s in the same thread: from a signal handler or a __del__ that came just then"
        return NestedCallError(0, text % doing, (0, 0), self.where)

    # --- the end

    def failed(self, exc: BaseException, tag: Optional[int] = None) -> None:
        """Something came out of the middle of sending. Raises Over where the connection is over because of it.

        tag: of a publish that the books have.
        """
        if isinstance(exc, (Over, NestedCallError)):
            return  # nothing was begun
        if isinstance(exc, ConnectionLostError):
            self._hear_last_words()
            self._lost(exc, "")
            raise Over(tag) from None
        with self.lock:  # so nobody else is in the middle of it
            broken = self.output.busy
        if broken:
            self._give_up(exc)  # half a frame may be out, and nothing may follow it

    def _give_up(self, exc: BaseException) -> None:
        text = "given up: %s came while data was being passed on" % type(exc).__name__
        self.fail(Ending(LOST, 0, text))

    def _hear_last_words(self) -> None:
        """A peer says why before it goes, and a program that only sends may not have read that yet."""
        patience = self.timeouts.deadline(LOOK_AGAIN)
        with self.lock:
            # another thread that reads meets it, too, and reads first what came before
            while self.reader is not None and self.session.ending is None and not patience.expired():
                self._follow(patience.within(LOOK_AGAIN))
            if self.reader is not None or self.session.receiver.error or self.session.ending is not None:
                return
            self.reader = threading.get_ident()
        try:
            while self._receive():
                pass
        except (ConnectionLostError, Over):
            pass  # there is no more
        finally:
            self.reader = None
            self.tell_followers()

    def _lost(self, exc: ConnectionLostError, hint: str) -> None:
        self.fail(Ending(LOST, exc.amqp_reply_code, exc.amqp_reply_text + hint, errno=exc.errno, error=type(exc)))

    def fail(self, ending: Ending, event: str = "lost") -> None:
        """The connection is over. The first reason given stands; everybody who waits or comes later is told."""
        with self.lock:
            self.session.end(ending, event)
            self.transport.shut()
            self.notify()

    def shut(self) -> None:
        """Let go of the socket, once it is over; a thread that is reading from it does so on its way out."""
        self.transport.shut()
        if self.reader is None:
            self._close()

    def _close(self) -> None:
        with self.lock:  # so nobody is about to wake a reader: the number may be another file's after this
            self.transport.close()

    def leave_to_parent(self, parent: int) -> None:
        """This is a child process now, with one thread, and the connection is its parent's."""
        self.lock = type(self.lock)()
        self.news = threading.Condition(self.lock)
        self.reader, self.followers, self.receiving = None, 0, False
        self.notices.forked()
        text = "it belongs to process %d, of which this one is a fork: a child process has to make its own connection"
        self.transport.leave()
        self.session.control.ending = None
        self.session.end(Ending(LOST, 0, text % parent, final=True))
        over, self.parting.on_over = self.parting.on_over, None
        if over:
            over()
