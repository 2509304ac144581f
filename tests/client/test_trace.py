"""Connection(trace=...): a record of each method, both ways; what the program's function may do, and cannot break."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import weakref
from typing import Any, List, Tuple

import pytest

import amqplib.client_0_8 as amqp8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import heartbeat, trace
from amqplib.client.net.transport import Transport
from amqplib.client.trace import TellingLock, TraceRecord

from .exposed import exposed
from .peer import Peer
from .threads import Threads
from .tls_peer import TLSPeer

Records = List[TraceRecord]

GREETING = [
    ("->", "protocol header"),
    ("<-", "connection.start"),
    ("->", "connection.start_ok"),
    ("<-", "connection.tune"),
    ("->", "connection.tune_ok"),
    ("->", "connection.open"),
    ("<-", "connection.open_ok"),
]
PARTING = [("->", "connection.close"), ("<-", "connection.close_ok")]


def ways(records: Records) -> List[Tuple[str, str]]:
    return [(record.direction, record.method) for record in records if record.method != "heartbeat"]


@pytest.mark.parametrize("module", [amqp8, amqp], ids=["0-8", "0-9-1"])
def test_all_of_a_session(broker: Broker, module: Any) -> None:
    records: Records = []
    with module.Connection(broker.address, trace=records.append) as conn, conn.channel() as ch:
        ch.queue_declare("work", auto_delete=False)
        ch.basic_publish(module.Message("x" * 100, priority=3), routing_key="work", mandatory=True)
        msg = ch.basic_get("work")
        ch.basic_ack(msg.delivery_tag)
    assert ways(records) == [
        *GREETING,
        ("->", "channel.open"),
        ("<-", "channel.open_ok"),
        ("->", "queue.declare"),
        ("<-", "queue.declare_ok"),
        ("->", "basic.publish"),
        ("->", "basic.get"),
        ("<-", "basic.get_ok"),
        ("->", "basic.ack"),
        ("->", "channel.close"),
        ("<-", "channel.close_ok"),
        *PARTING,
    ]
    published = next(record for record in records if record.method == "basic.publish")
    assert published.channel == 1
    assert published.arguments["routing_key"] == "work"
    assert published.arguments["mandatory"] is True
    assert published.properties == {"content_encoding": "UTF-8", "priority": 3}
    assert (published.size, published.body, published.missing) == (100, b"x" * 64, 0)
    assert [record.time for record in records] == sorted(record.time for record in records)
    assert {record.connection for record in records} == {records[0].connection}
    assert records[0].connection.startswith(broker.address + "#")


def test_lines(broker: Broker) -> None:
    lines: List[str] = []
    with amqp.Connection(broker.address, trace=lambda record: lines.append(str(record))) as conn, conn.channel() as ch:
        ch.queue_declare("\x1b[31mred\nline", exclusive=True, arguments={"x-max-length": 9})
        headers = {"long": "y" * 1000, "b": b"\xff"}
        ch.basic_publish(amqp.Message(b"\x00\x1b[0m" * 90, application_headers=headers), routing_key="none")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1000
    (declared,) = (line.partition(" -> ")[2] for line in lines if "queue.declare " in line)
    assert declared == "1 queue.declare queue='\\x1b[31mred\\nline' exclusive=True arguments={'x-max-length': 9}"
    (published,) = (line.partition(" -> ")[2] for line in lines if "basic.publish" in line)
    assert published.startswith("1 basic.publish exchange='' routing_key='none' {application_headers={'long': 'yyyyy")
    assert published.endswith("...} 450 octets %r..." % (b"\x00\x1b[0m" * 13)[:64])


def test_a_line_of_a_content_that_was_cut() -> None:
    record = TraceRecord(0.25, "host:5672#1", "<-", 2, "basic.deliver", {}, {}, 5, b"ab", 3)
    assert str(record).split(" ", 1)[1] == "host:5672#1 <- 2 basic.deliver 5 octets (cut, 3 missing) b'ab'..."
    assert str(record)[8:15] == ".250000"


def test_true_logs(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "amqplib.trace"), amqp.Connection(broker.address, trace=True):
        pass
    lines = [record.getMessage() for record in caplog.records if record.name == "amqplib.trace"]
    assert len(lines) == len(GREETING) + len(PARTING)
    assert " <- 0 connection.tune channel_max=2047 " in lines[3]


@pytest.mark.parametrize("off", [{}, {"trace": None}, {"trace": False}])
def test_off(broker: Broker, off: Any) -> None:
    with amqp.Connection(broker.address, **off) as conn:
        assert type(conn.transport) is Transport
        assert type(conn._amqplib.driver.lock) is type(threading.RLock())


def test_what_cannot_be_called() -> None:
    with pytest.raises(ValueError, match="trace: 'yes' cannot be called"):
        amqp.Connection("127.0.0.1:1", trace="yes")  # type: ignore[arg-type]


def test_the_transport_is_what_it_was(broker: Broker) -> None:
    with amqp.Connection(broker.address, trace=len) as conn:
        assert isinstance(conn.transport, Transport)
        assert type(conn.transport).__name__ == "Transport"
        with amqp.Connection(broker.address, trace=len) as other:
            assert type(other.transport) is type(conn.transport)


# --- secrets


def test_logins(broker: Broker) -> None:
    broker.add_user("alice", "open-sesame")
    records: Records = []
    options: List[Any] = [
        {"login_method": "PLAIN"},
        {"login_method": "AMQPLAIN"},
        {"credentials": lambda: ("alice", "open-sesame")},
        {"login_method": "PLAIN", "login_response": b"\0alice\0open-sesame"},
    ]
    for login in options:
        with amqp.Connection(broker.address, "alice", "open-sesame", trace=records.append, **login) as conn:
            conn.update_secret("open-sesame-2")
    with amqp.Connection("amqp://alice:open-sesame@" + broker.address, trace=records.append):
        pass
    assert [record.method for record in records].count("connection.start_ok") == len(options) + 1
    assert [record.method for record in records].count("connection.update_secret") == len(options)
    assert "sesame" not in "".join(map(str, records)) + repr(records)


def test_an_answer_to_a_challenge(broker: Broker) -> None:
    records: Records = []
    broker.faults.ask_secure("who-are-you")
    responses = {None: b"\0guest\0guest"}
    answer = lambda challenge: responses.get(challenge, b"\0guest\0guest")  # noqa: E731
    with amqp.Connection(broker.address, login_response=answer, trace=records.append):
        pass
    assert ("->", "connection.secure_ok") in ways(records)
    text = "".join(map(str, records)) + repr(records)
    assert "who-are-you" not in text
    assert "guest" not in text


def test_a_traceback_shows_no_secret_either(broker: Broker) -> None:
    def fail(record: TraceRecord) -> None:
        if record.method == "connection.start_ok":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        amqp.Connection(broker.address, "guest", "open-sesame", trace=fail)
    assert "sesame" not in exposed(caught.value)


# --- the function


def test_no_lock_is_held(broker: Broker, threads: Threads) -> None:
    """While the function is at work in one thread, others use the connection."""
    inside, leave, held = threading.Event(), threading.Event(), []

    def look(record: TraceRecord) -> None:
        if conns:
            held.append(conns[0]._amqplib.driver.lock._is_owned() or conns[0]._amqplib.driver.receiving)
            if record.arguments.get("routing_key") == "slow":
                inside.set()
                assert leave.wait(60)

    conns: List[amqp.Connection] = []
    with amqp.Connection(broker.address, trace=look, heartbeat=0) as conn:
        conns.append(conn)
        one, two = conn.channel(), conn.channel()
        one.queue_declare("work", auto_delete=False)
        threads.start(one.basic_publish, amqp.Message("y"), "", "slow")
        assert inside.wait(60)
        two.basic_publish(amqp.Message("x"), routing_key="work")
        assert two.queue_declare("work", passive=True).message_count == 1
        with two.batch():
            for _ in range(10):
                two.basic_publish(amqp.Message("x" * 50_000), routing_key="work")
        for msg in two.consume("work", no_ack=True, timeout=5):
            if len(msg.body) == 50_000:
                break
        leave.set()
        threads.results()
    assert len(held) > 20
    assert not any(held)


def test_no_lock_is_held_by_a_call(broker: Broker, threads: Threads) -> None:
    """The thread that reads for all is in the function: others wait for what it reads, but send what they want."""
    inside, leave = threading.Event(), threading.Event()

    def slow(record: TraceRecord) -> None:
        if record.method == "queue.purge":
            inside.set()
            assert leave.wait(60)

    with amqp.Connection(broker.address, trace=slow, heartbeat=0) as conn:
        one, two = conn.channel(), conn.channel()
        one.queue_declare("work")
        threads.start(one.queue_purge, "work")
        assert inside.wait(60)
        for _ in range(100):
            two.basic_publish(amqp.Message("x"), routing_key="nowhere")
        assert conn.stats().messages_out == 100
        leave.set()
        threads.results()


def test_a_function_that_raises(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: TraceRecord) -> None:
        raise RuntimeError("it is broken")

    with amqp.Connection(broker.address, trace=fail) as conn, conn.channel() as ch:
        assert ch.queue_declare("work").message_count == 0
    (said,) = (record for record in caplog.records if record.exc_info)
    assert "the function for the trace, raised" in said.getMessage()


def test_ctrl_c_in_the_function(broker: Broker) -> None:
    seen: List[str] = []

    def interrupt(record: TraceRecord) -> None:
        seen.append(record.method)
        if seen.count(record.method) == 1 and record.method in ("basic.publish", "queue.purge_ok"):
            raise KeyboardInterrupt

    with amqp.Connection(broker.address, trace=interrupt) as conn, conn.channel() as ch:
        ch.queue_declare("work", auto_delete=False)
        with pytest.raises(KeyboardInterrupt):
            ch.basic_publish(amqp.Message("x"), routing_key="work")
        with pytest.raises(KeyboardInterrupt):
            ch.queue_purge("work")
        with conn.channel() as another:
            another.basic_publish(amqp.Message("y"), routing_key="work")
            assert another.queue_declare("work", passive=True).message_count == 1
    assert seen.count("basic.publish") == 2


def test_a_function_that_publishes(broker: Broker) -> None:
    """What it sends is not traced, so there is an end to it."""
    records: Records = []

    def publish(record: TraceRecord) -> None:
        records.append(record)
        if channels and record.method != "channel.close":
            channels[0].basic_publish(amqp.Message(str(record)), routing_key="log")

    channels: List[amqp.Channel] = []
    with amqp.Connection(broker.address, trace=publish, heartbeat=0) as conn, conn.channel() as ch:
        log = conn.channel()
        log.queue_declare("log", auto_delete=False)
        channels.append(log)
        for _ in range(3):
            ch.basic_publish(amqp.Message("x"), routing_key="nowhere")
        channels.clear()
        assert log.queue_declare("log", passive=True)[1] == 3  # an answer behind the publishes, which have none
    assert [record.method for record in records].count("basic.publish") == 3


def test_threads_take_turns(broker: Broker, threads: Threads, hurried: None) -> None:
    inside: List[int] = []
    records: Records = []

    def look(record: TraceRecord) -> None:
        inside.append(1)
        assert len(inside) == 1
        records.append(record)
        inside.pop()

    def publish(ch: amqp.Channel) -> None:
        for number in range(200):
            ch.basic_publish(amqp.Message("%d" % number), routing_key="nowhere")

    with amqp.Connection(broker.address, trace=look) as conn:
        channels = [conn.channel() for _ in range(3)]
        for ch in channels:
            threads.start(publish, ch)
        threads.results()
    for number in 1, 2, 3:
        sent = [record.body for record in records if record.method == "basic.publish" and record.channel == number]
        assert sent == [b"%d" % position for position in range(200)]
    assert ways(records)[-2:] == PARTING


def test_more_than_can_be_kept(broker: Broker, threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_MOST", 5)
    inside, leave = threading.Event(), threading.Event()
    records: Records = []

    def slow(record: TraceRecord) -> None:
        records.append(record)
        if record.method == "queue.purge":
            inside.set()
            assert leave.wait(60)

    with amqp.Connection(broker.address, trace=slow, heartbeat=0) as conn:
        one, two = conn.channel(), conn.channel()
        one.queue_declare("work")
        threads.start(one.queue_purge, "work")
        assert inside.wait(60)
        for _ in range(20):
            two.basic_publish(amqp.Message("x"), routing_key="nowhere")
        leave.set()
        threads.results()
        two.queue_declare("work", passive=True)
    (left,) = (record for record in records if record.method == "left out")
    assert left.arguments["records"] >= 15
    assert [record.method for record in records].count("basic.publish") <= 5
    assert ways(records)[-2:] == PARTING


def test_heartbeats(broker: Broker) -> None:
    """Both ways, and it is never their thread that calls the function."""
    callers = set()
    records: Records = []

    def look(record: TraceRecord) -> None:
        callers.add(threading.current_thread().name)
        records.append(record)

    with amqp.Connection(broker.address, trace=look, heartbeat=1) as conn:
        while {record.direction for record in records if record.method == "heartbeat"} != {"->", "<-"}:
            with pytest.raises(amqp.AMQPTimeoutError):
                conn.drain_events(timeout=0.3)
        assert not heartbeat.is_beating()
    assert callers == {threading.current_thread().name}
    assert " -> 0 heartbeat" in "".join(str(record) + "\n" for record in records)


# --- what it is on


def test_large_bodies_in_pieces(broker: Broker) -> None:
    records: Records = []
    body = os.urandom(3_000_000)
    with amqp.Connection(broker.address, trace=records.append) as conn, conn.channel() as ch:
        ch.queue_declare("work")
        for _ in range(3):
            ch.basic_publish(amqp.Message(body), routing_key="work")
        for _ in range(3):
            msg = ch.basic_get("work", no_ack=True)
            assert msg is not None
            assert msg.body == body
    bodies = [(record.direction, record.size, record.body) for record in records if record.size]
    assert bodies == [("->", len(body), body[:64])] * 3 + [("<-", len(body), body[:64])] * 3


def test_tls(tls_peer: TLSPeer, trusting: Any) -> None:
    records: Records = []
    tls_peer.welcome()
    conn = amqp8.Connection("localhost:%d" % tls_peer.port, ssl=trusting, trace=records.append)
    assert type(conn.transport).__name__ == "TLSTransport"
    tls_peer.part()
    conn.close()
    assert ways(records) == GREETING + PARTING


def test_each_connection_of_one_that_comes_back(broker: Broker) -> None:
    records: Records = []
    with amqp.Connection(broker.address, trace=records.append, recover=True) as conn, conn.channel() as ch:
        broker.restart()
        ch.queue_declare("work")
        ch.basic_publish(amqp.Message("x"), routing_key="none")
        assert records[-1].method == "basic.publish"  # told as soon as it is sent
    names = sorted({record.connection for record in records})
    assert len(names) == 2
    assert [ways([record for record in records if record.connection == name])[:7] for name in names] == [GREETING] * 2
    assert ways(records)[-2:] == PARTING


def test_a_peer_that_speaks_something_else(peer: Peer) -> None:
    records: Records = []
    peer.accept()
    peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.drain()
    with pytest.raises(amqp.ConnectionLostError):
        amqp.Connection(peer.address, trace=records.append)
    assert ways(records) == [("->", "protocol header"), ("<-", "no AMQP"), ("->", "connection.close")]
    assert "octets=b'HTTP/1.1 400 Bad Request" in str(records[1])


def test_what_the_peer_says_last(broker: Broker) -> None:
    records: Records = []
    with amqp.Connection(broker.address, trace=records.append, heartbeat=0) as conn:
        ch = conn.channel()
        ch.basic_publish(amqp.Message(""), routing_key="none")
        assert str(records[-1]).endswith(" 0 octets")
        with pytest.raises(amqp.NotFound):
            ch.queue_declare("none", passive=True)
        assert ("<-", "channel.close") in ways(records)
        assert ways(records)[-1] == ("->", "channel.close_ok")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="nothing dies by reference count here")
def test_it_dies_with_its_last_reference(broker: Broker) -> None:
    gc.collect()
    gc.disable()
    try:
        conn = amqp.Connection(broker.address, trace=len, heartbeat=0)
        refs: List[Any] = [weakref.ref(conn), weakref.ref(conn.transport)]
        conn.close()
        del conn
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


def test_who_lets_go_of_the_lock_for_good_tells(broker: Broker) -> None:
    records: Records = []
    with amqp.Connection(broker.address, trace=records.append, heartbeat=0) as conn, conn.channel() as ch:
        with conn._amqplib.driver.lock:
            ch.basic_publish(amqp.Message("x"), routing_key="none")  # takes it once more
            assert records[-1].method == "channel.open_ok"
        assert records[-1].method == "basic.publish"


def test_a_child_process_has_a_lock_that_tells_nobody() -> None:
    lock = TellingLock()
    with lock, lock:
        assert lock._is_owned()
    assert not lock._is_owned()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork(broker: Broker) -> None:
    records: Records = []
    with amqp.Connection(broker.address, trace=records.append) as conn, conn.channel() as ch:
        child = os.fork()
        if not child:
            code = 1
            try:
                before = len(records)
                ch.queue_declare("work")
            except amqp.ConnectionLostError:
                code = int(len(records) != before)
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        ch.queue_declare("work")
    assert ways(records)[-2:] == PARTING
