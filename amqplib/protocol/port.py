"""One channel number of a session: its state, what has arrived, the call that waits, and the gate of its publishes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Collection, Container, Deque, List, Optional, Set, Tuple, Union

from ..wire.spec import Sig, sig_of
from .confirms import Back, Confirms
from .endings import BY_PEER, CHANNEL_PARTED, SHORT, Ending
from .gates import BLOCKED, SHUT, Batch
from .states import CHANNEL, CLOSING, OPENING, OVER, State, Table
from .unasked import Room, weight

if TYPE_CHECKING:
    from .gates import Gate
    from .session import Session

__all__ = ["ACK", "CLOSE", "DELIVER", "NACK", "RETURN", "Call", "Item", "Port"]

#: A method as it is kept: its 0-8 (class id, method id), its arguments, its content or None.
Item = Tuple[Sig, Tuple[Any, ...], Any]

# There is one signature object for each method, in either dialect (spec._api_sig): where speed counts, `is` compares.
DELIVER, RETURN = sig_of("basic.deliver"), sig_of("basic.return")
ACK, NACK = sig_of("basic.ack"), sig_of("basic.nack")
CLOSE, CLOSE_OK = sig_of("channel.close"), sig_of("channel.close_ok")

#: What a method from the peer is to the table of states; "method" is what is not here.
_EVENTS = {
    DELIVER: "delivery",
    RETURN: "return",
    ACK: "confirm",
    NACK: "confirm",
    CLOSE: "close",
    CLOSE_OK: "close-ok",
}

#: Returned messages that a channel takes beyond what it can have published, and how long those may be.
_RETURNS, _RETURNED = 100, 4096


class Call:
    """A method that waits for its reply."""

    __slots__ = ("answered", "expected", "reply", "sent", "thread")

    def __init__(
        self,
        expected: Collection[Sig],
        thread: int,
        answered: Optional[Callable[[Tuple[Any, ...]], None]] = None,
    ) -> None:
        self.expected = expected
        #: The thread that makes it: another call of the same one on this port is a signal handler's.
        self.thread = thread
        #: Called with the reply's arguments when it arrives, before anything that arrives behind it is seen. With the
        #: lock held, so it is never a function of the program's.
        self.answered = answered
        #: Has it been handed over to be sent? Then its reply may come.
        self.sent = False
        self.reply: Optional[Item] = None


class Port:
    """The protocol's side of a channel."""

    __slots__ = (
        "batch",
        "books",
        "call",
        "consumers",
        "ending",
        "expects",
        "gate",
        "give_back",
        "inbox",
        "keep_returned",
        "late",
        "left_out",
        "noted",
        "number",
        "reminder",
        "returnable",
        "room",
        "state",
        "taking",
        "waiting",
        "wants_ack",
        "warned_of",
    )

    table: Table = CHANNEL

    def __init__(self, number: int) -> None:
        self.number = number
        self.state: State = OPENING
        #: Why it is over, once it is.
        self.ending: Optional[Ending] = None
        #: Why publishing is not plain; None where it is. Only regate() sets it.
        self.gate: Optional[Gate] = None
        self.batch: Optional[Batch] = None
        self.books: Optional[Confirms] = None
        #: What has arrived, in order, and nobody waits for as a reply.
        self.inbox: Deque[Item] = deque()
        self.call: Optional[Call] = None
        #: What may still answer calls that nobody waits for any more and that the channel has outlived, in their order.
        self.late: Deque[Collection[Sig]] = deque()
        #: Delivery tags of messages that were left out, longer than the program wants any; it has not settled them.
        self.left_out: Set[int] = set()
        #: Have messages for the consumer of this tag to be acknowledged?
        self.wants_ack: Optional[Callable[[str], bool]] = None
        #: Takes a returned message's arguments and content; what the program gets of it. True, or one that it is told
        #: of, when a function of the program's has to be called for it, so that it goes to the inbox.
        self.keep_returned: Optional[Callable[[Tuple[Any, ...], Any], Union[bool, Back]]] = None
        #: Tags of the consumers that the program has.
        self.consumers: Container[str] = ()
        #: Whether somebody has asked for a delivery whose tag is none of those, all the same; with the lock held.
        self.expects: Optional[Callable[[Item], bool]] = None
        #: Deals with one that nobody has asked for, and that there is no room for; False if it can only be dropped.
        self.give_back: Optional[Callable[[Item], bool]] = None
        #: Publishes that may yet come back: mandatory and immediate ones that have not. Below 0 where more came back.
        self.returnable = 0
        self.room = Room()
        #: What the peer has sent that nobody had asked for, as far as the program was told of it.
        self.warned_of: Set[Sig] = set()
        #: Threads inside a wait() for which a delivery would be the one method that they handle.
        self.taking = 0
        #: Threads inside a wait() for which a returned message or a confirm would be the one method that they handle.
        self.waiting = 0
        #: Returned messages that such a wait() has yet to count.
        self.noted = 0
        #: Stands in the inbox for all reports of the books that the program has yet to be told.
        self.reminder: Optional[Item] = None

    # --- events

    def happen(self, event: str, session: Session, item: Optional[Item] = None) -> None:
        """Act on an event by the table of states."""
        self.state, deed = self.table[self.state][event]
        if self.state in OVER:
            self.call = None  # who made it sees why it is over; others need not wait for it
        getattr(self, deed)(session, item)

    def arrived(self, session: Session, item: Item) -> None:
        """A method from the peer."""
        call = self.call
        if self.late and item[0] in self.late[0]:
            self.late.popleft()  # replies come in the order of calls, so it is not that of a later one
            return
        if call is not None and call.reply is None and item[0] in call.expected and self.state not in OVER:
            if call.answered is not None:
                call.answered(item[1])
            call.reply = item
            self.call = None  # the next call may go, whenever the thread that made this one wakes up
            if item[0] is not CLOSE_OK:
                return
        self.happen(_EVENTS.get(item[0], "method"), session, item)

    def forgo(self, call: Call) -> None:
        """Nobody waits for the reply of this call any more, which counts as answered. The channel goes on."""
        if call.reply is None:
            self.late.append(call.expected)
            if call.answered is not None:
                call.answered(())
        self.call = None

    # --- what is done

    def drop(self, session: Session, item: Optional[Item]) -> None:
        """Nothing."""

    def keep(self, session: Session, item: Optional[Item]) -> None:
        """Keep a method for wait(), if there is room for what nobody has asked for."""
        assert item is not None
        if session.raw is not None or self.room.takes(self.inbox, item, self._is_unasked):
            self.store(session, item)
        elif item[0] is not DELIVER or self.give_back is None or not self.give_back(item):
            self._refuse(session, item)

    def _is_unasked(self, item: Item) -> bool:
        """Is a method in the inbox one that has to find room there?"""
        return item[0] is not RETURN and not (item[0] is DELIVER and item[1][0] in self.consumers)

    def store(self, session: Session, item: Item) -> None:
        """Keep a method for wait(), whatever it is."""
        self.inbox.append(item)
        session.ready[self.number] = self

    def _refuse(self, session: Session, item: Item) -> None:
        """Drop what nobody has asked for, and have it told once."""
        if self.is_first(item[0]):
            session.dropped.append((self.number, item[0]))

    def is_first(self, sig: Sig) -> bool:
        """Is the program to be told of a method that nobody has asked for? Once for each kind: there may be many."""
        if sig in self.warned_of:
            return False
        self.warned_of.add(sig)
        return True

    def deliver(self, session: Session, item: Optional[Item]) -> None:
        """A message for a consumer."""
        assert item is not None
        if self.expects is None or item[1][0] in self.consumers or self.expects(item):
            self.store(session, item)
        else:
            self.keep(session, item)

    def deliver_behind(self, session: Session, item: Optional[Item]) -> None:
        """The same behind our close: for those who wait. Nobody else will be given it, and the peer takes it back."""
        if self.taking or session.draining or session.raw is not None:
            self.deliver(session, item)

    def came_back(self, session: Session, item: Optional[Item]) -> None:
        """A message that no queue took."""
        assert item is not None
        _, args, content = item
        if session.raw is None:
            if self.returnable <= 0 and (self.returnable <= -_RETURNS or weight(item) > _RETURNED):
                self._refuse(session, item)
                return
            self.returnable -= 1
        kept = self.keep_returned is not None and self.keep_returned(args, content)
        back = kept if isinstance(kept, Back) else None
        if self.books is not None:
            self.books.came_back(session.look_of(args[2], args[3], content.body, content.properties), back)
        if session.raw is not None:
            self.store(session, (RETURN, session.raw(args), content))
        elif kept is True or (back is not None and back.told):
            self.store(session, item)
        elif session.draining:
            self.store(session, item if back is None else (RETURN, args, None))
        elif self.waiting or (session.in_passing and self.call is None and self.books is None):
            self.noted += 1  # a call that meets it does not leave it to wait()

    def settle(self, session: Session, item: Optional[Item]) -> None:
        """The server acknowledges or refuses publishes. If there is nothing else, it is the one method of a wait()."""
        assert item is not None
        books = self.books
        if books is None:
            self.keep(session, item)  # not for a client: wait() says so
            return
        sig, args, _ = item
        session.spent.append(books.settle(args[0], args[1], sig == ACK))
        if books.reports:
            self.remind(session, item)
        elif (self.waiting or session.draining or session.raw is not None) and not self.inbox:
            self.store(session, item)

    def remind(self, session: Session, item: Item) -> None:
        """Have wait() call functions of the program: one reminder stands in the inbox, however much is to tell."""
        if self.reminder is None:
            self.reminder = item
            self.store(session, item)

    def agree(self, session: Session, item: Optional[Item]) -> None:
        """The peer has closed the channel: answer, and keep why. Its number is free once the answer is on its way."""
        assert item is not None
        self._told_why(session, item)
        session.free(self)
        self.regate(session)
        self.store(session, item)  # what came before it is handled first

    def agree_crossing(self, session: Session, item: Optional[Item]) -> None:
        """The same while our own close is on its way, whose answer is still to come."""
        self._told_why(session, item)
        self.regate(session)

    def _told_why(self, session: Session, item: Optional[Item]) -> None:
        assert item is not None
        reply_code, reply_text, class_id, method_id = item[1]
        if self.ending is None:
            sig = session.dialect.sig(class_id, method_id)
            self.ending = Ending(BY_PEER, reply_code, reply_text, sig)
            session.object(self.number, self.ending)
        session.offer(session.sender.method(self.number, session.dialect["channel.close_ok"], ()))

    def ask_to_close(self, session: Session, item: Optional[Item]) -> None:
        """Tell the peer that the channel is over on this side."""
        words = self.ending.words[:SHORT] if self.ending else ""
        if self.batch is not None:
            self.batch.take()  # it will never leave
        session.owe(session.sender.method(self.number, session.dialect["channel.close"], (0, words, 0, 0)))
        self.regate(session)

    def part(self, session: Session, item: Optional[Item]) -> None:
        """The peer agrees with our close."""
        if self.ending is None:
            self.ending = CHANNEL_PARTED
        session.free(self)
        self.regate(session)

    def regate(self, session: Session, item: Optional[Item] = None) -> None:
        """Choose the gate by what is the case."""
        if self.state is CLOSING or self.state in OVER:
            self.gate = SHUT
        elif session.blocked is not None:
            self.gate = BLOCKED
        else:
            self.gate = self.batch or self.books

    def succeed(self, other: Port) -> None:
        """Be used in the place of another one, of a session that is gone, by the same program."""
        self.keep_returned, self.wants_ack, self.consumers = other.keep_returned, other.wants_ack, other.consumers
        self.expects, self.give_back = other.expects, other.give_back
        self.returnable = max(other.returnable, 0)
        self.waiting, self.taking, self.noted = other.waiting, other.taking, other.noted

    def let_go(self) -> None:
        """The program has been told that it is over: drop what belongs to it, and most likely has the channel."""
        self.keep_returned = self.expects = self.give_back = self.wants_ack = None
        self.inbox.clear()
        self.left_out.clear()
        if self.books is not None:
            self.books.on_ack = self.books.on_nack = None

    # --- waits

    def next(self, allowed: Optional[Collection[Sig]] = None) -> Optional[Item]:
        """The oldest method that has arrived, among those allowed."""
        inbox = self.inbox
        if not inbox:
            return None
        if allowed is None:
            try:
                return inbox.popleft()
            except IndexError:
                return None
        while True:
            try:
                for item in inbox:
                    if item[0] in allowed:
                        inbox.remove(item)
                        return item
                return None
            except (RuntimeError, ValueError):
                pass  # wait() has taken one meanwhile, which it may without the lock: begin anew

    def deliveries(self) -> List[Tuple[Any, ...]]:
        """The arguments of all deliveries that wait."""
        return [item[1] for item in list(self.inbox) if item[0] is DELIVER]

    def withdraw(self, wanted: Callable[[Tuple[Any, ...]], bool], up_to: int = 0) -> List[Item]:
        """Take deliveries out that nobody will handle: those with arguments that are wanted, up to a tag (0: all)."""
        while True:
            found: List[Item] = []
            try:
                for item in self.inbox:
                    if item[0] is DELIVER:
                        if up_to and item[1][1] > up_to:
                            break  # they come by rising tags
                        if wanted(item[1]):
                            found.append(item)
                break
            except RuntimeError:
                pass  # as in next()
        withdrawn: List[Item] = []
        for item in found:
            try:
                self.inbox.remove(item)
                withdrawn.append(item)
            except (RuntimeError, ValueError):
                pass  # wait() has it
        return withdrawn

    def next_noted(self) -> bool:
        """Count one returned message, if there is one to count."""
        if not self.noted:
            return False
        self.noted -= 1
        return True

    # --- confirm mode

    def begin_to_count(self, session: Session) -> None:
        """Publishes are counted from here on: confirm.select goes now."""
        if self.books is None:
            self.books = session.new_books(self.number)
            if self.batch is not None:
                self.batch.books = self.books
            self.regate(session)

    def count_no_more(self, session: Session) -> None:
        """confirm.select could not be sent, and nothing has been counted."""
        self.books = None
        if self.batch is not None:
            self.batch.books = None
        self.regate(session)
