"""What comes of what has arrived, beside what the session does with it: what the program has to hear, and debts.

Called by the reader with the lock held, each time that it has taken something in.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..protocol.endings import BY_PEER, LOST, SHORT, Ending
from ..wire.errors import PeerError, ProtocolHeaderReceived, quote
from . import left_out
from .exceptions import ConnectionLostError, ProtocolVersionError
from .method_names import method_name

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["after_reading"]


def after_reading(driver: Driver) -> None:
    """What comes of it."""
    session = driver.session
    receiver = session.receiver
    while session.news:
        reason = session.news.popleft()
        if reason is None:
            driver.timeouts.unblock()
        else:
            driver.timeouts.block(reason)
        driver.notices.blocked(driver.where, reason)
    while session.dropped:
        number, sig = session.dropped.popleft()
        text = "%s: %s came, more often than there is room for what nobody has asked for: it is dropped"
        driver.notices.warn(text, driver.name_of(number), method_name(sig))
    if receiver.reading.undecoded:
        for name, raw, count in receiver.reading.undecoded:
            if count == 1:
                text = "%s: the field %r could not be read and is left as it came: %s"
                driver.notices.warn(text, driver.where, name, quote(raw))
            else:
                text = "%s: %d fields of a message could not be read and are left as they came, the first is %r: %s"
                driver.notices.warn(text, driver.where, count, name, quote(raw))
        receiver.reading.undecoded.clear()
    if receiver.left_out:
        left_out.warn(driver)
    if receiver.error and session.ending is None:
        _refuse(driver, receiver.error)
    if session.owed:
        driver.pay_debts()
    ending = session.control.ending
    if ending is not None and ending.by is BY_PEER:
        driver.transport.shut()


def _refuse(driver: Driver, error: PeerError) -> None:
    """With the lock held: the peer broke the protocol. Tell it so, with the code that AMQP has for it, and end."""
    session = driver.session
    if isinstance(error, ProtocolHeaderReceived):
        text = "AMQP %s was refused: %s" % (session.dialect.name, error)
        ending = Ending(LOST, error.reply_code, text, error.sig, errno.EPROTONOSUPPORT, ProtocolVersionError)
    else:
        text = "the peer broke the protocol: %s" % error
        ending = Ending(LOST, error.reply_code, text, error.sig)
        ids = session.dialect.ids(error.sig)
        args = error.reply_code, str(error)[:SHORT], *ids
        session.owe(session.sender.method(0, session.dialect["connection.close"], args))
    session.end(ending)
    try:
        driver.pay_debts()
    except ConnectionLostError:
        pass  # it is over either way, and for this reason
    driver.fail(ending)
