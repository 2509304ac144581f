"""Recovery: its values, its pauses, what a URL says of it, and the first connection."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
from typing import Any, Dict, List

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.recovery.policy import checked


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"delay": 0}, "delay: 0"),
        ({"delay": 2, "delay_max": 1}, "at most delay_max"),
        ({"delay": -1}, "delay: a timeout"),
        ({"delay_max": "5"}, "delay_max"),
        ({"delay_max": None}, "delay_max: a number"),
        ({"time": -1}, "time"),
        ({"time": float("nan")}, "time"),
        ({"locked": None}, "locked"),
        ({"attempts": 0}, "attempts: 0"),
        ({"attempts": "3"}, "attempts: '3'"),
        ({"unconfirmed": "drop"}, "unconfirmed: 'drop': it is 'resend' or 'report'"),
        ({"publishes": ""}, "publishes"),
        ({"stale_acks": None}, "stale_acks"),
        ({"on_lost": 7}, "on_lost: 7 cannot be called"),
        ({"wanted": "all"}, "wanted"),
        ({"hosts": [7]}, "hosts"),
    ],
)
def test_values_that_make_no_sense(values: Dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        amqp.Recovery(**values)


@pytest.mark.parametrize("module", [amqplib.client_0_8, amqp])
def test_what_is_no_recovery(module: Any) -> None:
    with pytest.raises(ValueError, match="recover: True, False, or a Recovery, not a thing of type str"):
        module.Connection("127.0.0.1", recover="yes")
    with pytest.raises(ValueError, match="host: an '@' is for URLs only"):
        module.Connection("127.0.0.1", recover=module.Recovery(hosts="me@there"))


def test_pauses_grow_with_the_time_of_being_away() -> None:
    """A tenth of it, so a broker that is back is found within a tenth of the time that it was away."""
    policy = amqp.Recovery(delay=0.1, delay_max=5)
    assert [policy.pause(away, 0) for away in (0, 0.4, 2, 10, 50, 1000)] == [0.1, 0.1, 0.2, 1, 5, 5]
    assert [policy.pause(away, 1) for away in (0, 50)] == [0.05, 2.5]


@pytest.mark.parametrize(
    ("values", "attempts", "away", "over"),
    [
        ({}, 10**6, 10.0**6, False),
        ({"attempts": 3}, 2, 1.0, False),
        ({"attempts": 3}, 3, 1.0, True),
        ({"time": 60}, 100, 59.9, False),
        ({"time": 60}, 1, 60.0, True),
        ({"time": 0}, 1, 0.0, True),
    ],
)
def test_limits(values: Dict[str, Any], attempts: int, away: float, over: bool) -> None:
    assert amqp.Recovery(**values).exhausted(attempts, away) == over


def test_what_a_url_says_goes_before() -> None:
    given = amqp.Recovery(attempts=7, message_ids=True)
    assert checked(given) is given
    assert checked(False) is None
    assert checked(given, False) is None
    both = checked(given, True, {"first": True, "time": 1.5})
    assert both is not None
    assert (both.attempts, both.message_ids, both.first, both.time) == (7, True, True, 1.5)
    assert checked(None, True) is not None


@pytest.mark.parametrize(
    ("query", "recoveries"),
    [("", 0), ("?recover=true", 1), ("?recover_first=true&recover_time=60", 1), ("?recover_attempts=5", 1)],
)
def test_urls(broker: Broker, query: str, recoveries: int) -> None:
    with amqp.Connection("amqp://guest:guest@%s/%%2f%s" % (broker.address, query)) as conn:
        broker.faults.drop()
        if recoveries:
            conn.channel()
        else:
            with pytest.raises(amqp.ConnectionLostError):
                conn.channel()
        assert conn.stats().recoveries == recoveries


def test_a_url_turns_it_off(broker: Broker) -> None:
    conn = amqp.Connection("amqp://%s?recover=false" % broker.address, recover=True)
    broker.faults.drop()
    with pytest.raises(amqp.ConnectionLostError):
        conn.channel()


@pytest.mark.parametrize(
    "query", ["recover=yes", "recover_time=1s", "recover_attempts=-1", "recover=true&recover=true"]
)
def test_urls_that_are_wrong(query: str) -> None:
    with pytest.raises(ValueError, match="parameter recover"):
        amqp.Connection("amqp://127.0.0.1?" + query)


# --- the first connection


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Heard(logging.Handler):
    """Lets a test go on when something has been logged."""

    def __init__(self, text: str) -> None:
        super().__init__(logging.INFO)
        self.text = text
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.heard.set()


@pytest.fixture
def failed() -> Any:
    """An attempt to connect has failed."""
    logger, handler = logging.getLogger("amqplib"), Heard("no connection yet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.heard
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_program_may_start_before_its_broker(failed: threading.Event) -> None:
    port = free_port()
    found: List[amqp.Connection] = []

    def connect() -> None:
        found.append(amqp.Connection("127.0.0.1:%d" % port, recover=amqp.Recovery(first=True)))

    thread = threading.Thread(target=connect)
    thread.start()
    assert failed.wait(30)
    with Broker(port=port):
        thread.join(30)
        (conn,) = found
        assert conn.stats().recoveries == 0
        conn.close()


@pytest.mark.parametrize("recover", [True, amqp.Recovery(first=False)])
def test_not_unless_asked(recover: Any) -> None:
    with pytest.raises(amqp.ConnectionLostError, match="refused"):
        amqp.Connection("127.0.0.1:%d" % free_port(), recover=recover)


@pytest.mark.parametrize("limit", [{"attempts": 3}, {"time": 0.05}])
def test_until_the_limit(limit: Dict[str, Any]) -> None:
    with pytest.raises(amqp.ConnectionLostError, match="refused"):
        amqp.Connection("127.0.0.1:%d" % free_port(), recover=amqp.Recovery(first=True, delay=0.01, **limit))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"password": "wrong"}, amqp.AuthenticationError),
        ({"virtual_host": "nowhere"}, amqp.AMQPConnectionException),
        ({"login_method": "EXTERNAL"}, amqp.AuthenticationError),
    ],
)
def test_what_does_not_heal(broker: Broker, arguments: Dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        amqp.Connection(broker.address, recover=amqp.Recovery(first=True), **arguments)


def test_a_function_of_the_program_that_fails(broker: Broker) -> None:
    """An OSError, as of a service for tokens that is away, is tried again, and anything else raised."""
    answers: List[Any] = [ConnectionError("no tokens today"), ("guest", "guest")]

    def credentials() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    recovery = amqp.Recovery(first=True)
    amqp.Connection(broker.address, credentials=credentials, recover=recovery).close()
    assert answers == []
    answers.append(KeyError("token"))
    with pytest.raises(KeyError):
        amqp.Connection(broker.address, credentials=credentials, recover=recovery)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("as_list", [True, False])
def test_other_hosts(broker: Broker, shuffle: bool, as_list: bool) -> None:
    hosts: Any = [broker.address] if as_list else broker.address
    recovery = amqp.Recovery(hosts=hosts, shuffle=shuffle)
    with amqp.Connection("127.0.0.1:%d" % free_port(), recover=recovery) as conn:
        assert conn.channel().is_open


def test_hosts_are_taken_in_their_order(broker: Broker) -> None:
    with Broker() as other:
        for _ in range(5):
            amqp.Connection(broker.address, recover=amqp.Recovery(hosts=other.address, shuffle=False)).close()
        with amqp.Connection(broker.address, recover=amqp.Recovery(hosts=other.address, shuffle=False)):
            assert (len(broker.connections()), len(other.connections())) == (1, 0)


def test_hosts_are_shuffled(broker: Broker) -> None:
    """Of 40 connections the first host has all only once in 2 ** 40 times."""
    with Broker() as other:
        recovery = amqp.Recovery(hosts=other.address)
        connections = [amqp.Connection(broker.address, recover=recovery) for _ in range(40)]
        assert 0 < len(broker.connections()) < 40
        assert len(broker.connections()) + len(other.connections()) == 40
        for conn in connections:
            conn.close()


def test_the_errors_can_be_pickled() -> None:
    error = amqp.RecoveryError(404, "gone", (50, 10), "here")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
