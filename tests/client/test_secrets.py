"""Proves that the library logs under one name only, and that nothing secret is in a log, a repr, an exception, or among
the local variables of its functions in a traceback."""

from __future__ import annotations

import contextlib
import logging
import sys
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client.connect.secret import hide, hide_in, hide_made_of
from amqplib.client.net.transport import Transport

from .exposed import exposed, reachable
from .frozen import AMQP_0_8, AMQP_0_9_1
from .peer import Peer

PASSWORD = "hunter2"


class Recorder(logging.Handler):
    """Keeps all records of all loggers."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: List[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    handler, root = Recorder(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def play_everything(peer: Peer) -> List[BaseException]:
    """A connection's life with all that may be logged in it; the exceptions on the way."""
    raised: List[BaseException] = []

    @contextlib.contextmanager
    def caught() -> Iterator[None]:
        try:
            yield
        except (amqp.AMQPException, OSError, ValueError) as exc:
            raised.append(exc)

    for mechanism in ("AMQPLAIN", "PLAIN"):
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.send("connection.close", 403, "ACCESS_REFUSED", 10, 11, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
        with caught():
            amqp.Connection(peer.address, "bob", PASSWORD, mechanism)
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.close()
        with caught():
            amqp.Connection(peer.address, "bob", PASSWORD, mechanism)
    peer.greet()
    peer.expect_end()
    with caught():
        amqp.Connection(peer.address, "bob", PASSWORD, "EXTERNAL")
    peer.welcome()
    conn = amqp.Connection(peer.address, "bob", PASSWORD)
    peer.open_channel()
    ch = conn.channel()
    raised.append(ValueError(repr(conn) + repr(ch) + repr(conn.transport)))
    peer.send("basic.cancel", "who?", True)
    ch.wait()
    peer.send("basic.ack", 1, False)
    ch.wait()
    peer.send("basic.deliver", "tag", 1, False, "", "")
    peer.send_bytes(b"\x02\0\x01\0\0\0\x17\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\x05\x01zz\1\2\xce")
    ch.wait()
    peer.send("channel.close", 404, "gone", 50, 10)
    peer.expect("channel.close_ok")
    with caught():
        ch.wait()
    with caught():
        ch.wait()
    peer.expect("channel.open")
    peer.close()
    with caught():
        conn.channel()
    with caught():
        conn.channel()
    return raised


def test_one_logger(peer: Peer, recorder: Recorder) -> None:
    """A handler that publishes over AMQP leaves this name out, or it would feed itself."""
    play_everything(peer)
    assert recorder.records
    assert {record.name for record in recorder.records} == {"amqplib"}


def test_no_password(peer: Peer, recorder: Recorder) -> None:
    raised = play_everything(peer)
    assert len(raised) >= 9
    for exc in raised:
        assert PASSWORD not in exposed(exc)
    for record in recorder.records:
        assert PASSWORD not in record.getMessage()
        assert PASSWORD not in repr(record.args)


def test_messages_say_who_and_where(peer: Peer, recorder: Recorder) -> None:
    raised = play_everything(peer)
    refused = [exc for exc in raised if isinstance(exc, amqp.AuthenticationError) and "EXTERNAL" not in str(exc)]
    assert len(refused) == 4
    for exc in refused:
        assert "'bob'" in str(exc)
        assert "127.0.0.1:%d" % peer.port in str(exc)


def test_quiet_by_default(peer: Peer, recorder: Recorder) -> None:
    """An ordinary life gives nothing above DEBUG."""
    peer.welcome()
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        with conn.channel() as ch:
            peer.answer("tx.select", "tx.select_ok")
            ch.tx_select()
            ch.basic_publish(amqp.Message("x"))
            peer.expect_content("basic.publish", 0, "", "", False, False, message=({"content_encoding": "UTF-8"}, b"x"))
            peer.answer("channel.close", "channel.close_ok")
        peer.part()
    assert [record for record in recorder.records if record.levelno > logging.DEBUG] == []


# --- every way to log in, and every way in which it can fail -----------------------------------------------


def logins(address: str) -> Dict[str, Dict[str, Any]]:
    """Arguments of Connection; PASSWORD is somewhere in them."""
    return {
        "password": {"host": address, "userid": "bob", "password": PASSWORD},
        "PLAIN": {"host": address, "userid": "bob", "password": PASSWORD, "login_method": "PLAIN"},
        "URL": {"host": "amqp://bob:%s@%s/%%2f" % (PASSWORD, address)},
        "response": {"host": address, "login_method": "PLAIN", "login_response": b"\0bob\0" + PASSWORD.encode()},
        "str response": {"host": address, "login_method": "PLAIN", "login_response": PASSWORD},
        "function": {"host": address, "login_method": "PLAIN", "login_response": lambda challenge: PASSWORD},
        "credentials": {"host": address, "login_method": "PLAIN", "credentials": lambda: ("bob", PASSWORD)},
        "ssl": {"host": address, "ssl": {"password": PASSWORD, "certfile": "/nowhere"}},
    }


LOGINS = list(logins(""))


def refuse(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.close", 403, "ACCESS_REFUSED", 10, 11, channel=0)
    peer.expect("connection.close_ok", channel=0)
    return {}


def go(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.reset()
    return {}


def be_silent(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.expect_end()
    return {"connect_timeout": 0.5}


def ask_and_go(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send("connection.secure", "who?", channel=0)
    peer.expect("connection.secure_ok", channel=0)
    peer.close()
    return {}


def offer_another(peer: Peer) -> Dict[str, Any]:
    peer.greet(mechanisms="GSSAPI")
    peer.expect_end()
    return {}


def send_rubbish(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.send_bytes(b"rubbish!")
    peer.drain()
    return {}


def refuse_the_vhost(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    peer.send("connection.close", 530, "NOT_ALLOWED", 10, 40, channel=0)
    peer.expect("connection.close_ok", channel=0)
    return {}


def take_no_locale(peer: Peer) -> Dict[str, Any]:
    """What is wrong is found when the response has been encoded already."""
    peer.greet()
    peer.expect_end()
    return {"locale": "x" * 256}


def take_no_properties(peer: Peer) -> Dict[str, Any]:
    peer.greet()
    peer.expect_end()
    return {"client_properties": {"x": object()}}


def take_no_limit(peer: Peer) -> Dict[str, Any]:
    return {"frame_max": 1}


def take_no_timeout(peer: Peer) -> Dict[str, Any]:
    return {"connect_timeout": "soon"}


ENDINGS: List[Callable[[Peer], Dict[str, Any]]] = [
    refuse,
    go,
    be_silent,
    ask_and_go,
    offer_another,
    send_rubbish,
    refuse_the_vhost,
    take_no_locale,
    take_no_properties,
    take_no_limit,
    take_no_timeout,
]


@pytest.mark.parametrize("module", [amqp, amqp91], ids=lambda module: module.__name__[8:])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
@pytest.mark.parametrize("login", LOGINS)
def test_no_secret_in_a_failed_login(
    recorder: Recorder, module: ModuleType, ending: Callable[[Peer], Dict[str, Any]], login: str
) -> None:
    with Peer(dialect=AMQP_0_9_1 if module is amqp91 else AMQP_0_8) as peer:
        more = {} if login == "ssl" else ending(peer)
        with pytest.raises((amqp.AMQPException, OSError, ValueError)) as caught:
            module.Connection(**{**logins(peer.address)[login], **more})
        text = exposed(caught.value)
        assert "self = <" in text, "no local variables to be looked at"
        assert PASSWORD not in text
        assert_not_logged(recorder)


def assert_not_logged(recorder: Recorder) -> None:
    for record in recorder.records:
        assert PASSWORD not in record.getMessage()
        assert PASSWORD not in repr(record.args)


def test_no_secret_among_unknown_arguments(peer: Peer, recorder: Recorder) -> None:
    peer.greet(mechanisms="GSSAPI")
    peer.expect_end()
    unknown: Dict[str, Any] = {"passwd": PASSWORD}
    with pytest.raises(amqp.AuthenticationError) as caught:
        amqp.Connection(peer.address, **unknown)
    assert PASSWORD not in exposed(caught.value)
    assert any("passwd" in record.getMessage() for record in recorder.records)
    assert_not_logged(recorder)


def test_ctrl_c_while_the_login_is_answered(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback that a user sees of it shows nothing either."""
    peer.greet()
    peer.expect("connection.start_ok", channel=0)
    peer.expect_end()
    original = Transport.readable
    calls: List[float] = []

    def interrupted(self: Transport, seconds: float) -> bool:
        calls.append(seconds)
        if len(calls) > 1:  # the first is for connection.start
            raise KeyboardInterrupt
        return original(self, seconds)

    monkeypatch.setattr(Transport, "readable", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        amqp.Connection(peer.address, "bob", PASSWORD)
    text = exposed(caught.value)
    assert "frame = <secret>" in text
    assert PASSWORD not in text


def test_no_secret_in_an_update_of_it(recorder: Recorder) -> None:
    with Peer(dialect=AMQP_0_9_1) as peer:
        peer.welcome()
        conn = amqp91.Connection(peer.address, heartbeat=0, reply_timeout=0.3)
        with pytest.raises(ValueError, match="reason") as caught:
            conn.update_secret(PASSWORD, "x" * 256)
        assert PASSWORD not in exposed(caught.value)
        peer.expect("connection.update_secret", channel=0)
        peer.expect_end()
        with pytest.raises(amqp.AMQPTimeoutError) as late:
            conn.update_secret(PASSWORD)
        text = exposed(late.value)
        assert "frame = <secret>" in text
        assert PASSWORD not in text
        with pytest.raises(amqp.ConnectionLostError) as closed:
            conn.update_secret(PASSWORD)
        assert PASSWORD not in exposed(closed.value)
        assert_not_logged(recorder)


def test_no_secret_in_an_update_that_there_is_not(conn: amqp.Connection) -> None:
    with pytest.raises(amqp.DialectError) as caught:
        conn.update_secret(PASSWORD)
    assert PASSWORD not in exposed(caught.value)


def test_a_connection_keeps_no_secret_in_sight(peer: Peer) -> None:
    """Neither do its parts, as far as a debugger shows them."""
    peer.welcome()
    conn = amqp.Connection("amqp://bob:%s@%s" % (PASSWORD, peer.address))
    classes: Set[str] = set()
    for part in reachable(conn):
        assert PASSWORD not in repr(part)
        assert PASSWORD not in repr(getattr(part, "__dict__", {}))
        classes.add(type(part).__name__)
    assert classes >= {"Connection", "Driver", "Session", "Sender", "Receiver", "Transport", "Login", "socket"}
    peer.part()
    conn.close()


@pytest.mark.parametrize("argument", ["host", "password", "login_response", "credentials"])
def test_what_may_hold_a_secret_and_is_refused(argument: str) -> None:
    """A list or a tuple with the secret in it, say."""
    for module in (amqp, amqp91):
        for value in ([PASSWORD], ("bob", PASSWORD), {"password": PASSWORD}):
            arguments: Dict[str, Any] = {"host": "127.0.0.1:1", argument: value}
            with pytest.raises(ValueError, match="^%s: " % argument) as caught:
                module.Connection(**arguments)
            assert PASSWORD not in exposed(caught.value)


@pytest.mark.parametrize("value", [PASSWORD, PASSWORD.encode(), [PASSWORD]])
def test_a_passphrase_under_a_misspelt_name(value: Any) -> None:
    with pytest.raises(ValueError, match="ssl: unknown option pasword") as caught:
        amqp.Connection("127.0.0.1:1", ssl={"certfile": None, "pasword": value})
    assert PASSWORD not in exposed(caught.value)


def test_a_secret_that_fits_no_frame(newer_conn: amqp91.Connection) -> None:
    with pytest.raises(ValueError, match="a frame holds at most") as caught:
        newer_conn.update_secret(PASSWORD * 20000)
    assert PASSWORD not in exposed(caught.value)


def test_an_update_that_is_refused(newer_conn: amqp91.Connection) -> None:
    update: Any = newer_conn.update_secret
    with pytest.raises(ValueError, match="new_secret: <secret> is not a string") as caught:
        update(("bob", PASSWORD))
    assert PASSWORD not in exposed(caught.value)


def test_what_is_hidden_is_still_what_it_is() -> None:
    """It is sent as it is, and compares as it is; only its repr says nothing."""
    for hidden, plain in ((hide("p\u00e4"), "p\u00e4"), (hide(b"x"), b"x"), (hide(hide("x")), "x"), (hide(None), None)):
        assert hidden == plain
        assert hash(hidden) == hash(plain)
    formatted = "x" if sys.implementation.name == "cpython" else "<secret>"  # PyPy's % does not ask a str what it is
    assert "%s" % hide("x") == formatted
    assert (str(hide("x")), bytes(hide(b"x")), repr(hide("x"))) == ("x", b"x", "<secret>")
    assert (repr(hide(b"x")), str(hide(b"x"))) == ("<secret>", "<secret>")
    shown = {"certfile": "a", "server_side": False}
    assert repr(hide_in({**shown, "password": "x", "pasword": "y"})) == (
        "{'certfile': 'a', 'server_side': False, 'password': <secret>, 'pasword': <secret>}"
    )
    assert hide_in(True) is True
    assert repr(hide_made_of((1, hide("x")), b"x")) == "<secret>"
    assert repr(hide_made_of((1, "x"), b"x")) == "b'x'"
