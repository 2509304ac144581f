"""What becomes of publishes, transactions and calls when a connection is lost and comes back."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

#: Bounds a hang.
LONG = 30


def connect(broker: Broker, **policy: Any) -> amqp.Connection:
    return amqp.Connection(broker.address, recover=amqp.Recovery(**policy), reply_timeout=LONG)


@pytest.fixture
def conn(broker: Broker) -> Iterator[amqp.Connection]:
    connection = connect(broker)
    yield connection
    try:
        connection.close()
    except amqp.ConnectionLostError:
        pass  # the test has lost it in the end


@pytest.fixture
def ch(conn: amqp.Connection) -> amqp.Channel:
    """In confirm mode, with a queue q that survives."""
    channel = conn.channel()
    channel.queue_declare("q", durable=True, auto_delete=False)
    channel.confirm_select()
    return channel


def message(body: str) -> amqp.Message:
    return amqp.Message(body, delivery_mode=2)


def publish(ch: amqp.Channel, *bodies: str, mandatory: bool = False, key: str = "q") -> List[Any]:
    return [ch.basic_publish(message(body), routing_key=key, mandatory=mandatory) for body in bodies]


def contents(broker: Broker) -> List[Any]:
    """What is in the queue, taken out."""
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        found = []
        for msg in iter(lambda: ch.basic_get("q", no_ack=True), None):
            assert msg is not None
            found.append(msg.body)
        return found


def unanswered(broker: Broker) -> None:
    """From now on confirms come so late that none comes before the connection is lost."""
    broker.faults.delay_confirms(3600)


def lose(broker: Broker) -> None:
    broker.down(crash=True)
    broker.faults.clear()
    broker.up()


# --- in confirm mode


def test_unconfirmed_ones_are_sent_again_in_order(broker: Broker, ch: amqp.Channel) -> None:
    assert publish(ch, "1") == [1]
    ch.wait_for_confirms(LONG)
    unanswered(broker)
    assert publish(ch, "2", "3", "4") == [2, 3, 4]
    ch.queue_declare("q", passive=True)  # the broker has them
    assert list(ch.unconfirmed) == [2, 3, 4]
    lose(broker)
    assert publish(ch, "5")[0] == 5
    ch.wait_for_confirms(LONG)
    assert ch.unconfirmed == {}
    assert contents(broker) == ["1", "2", "3", "4", "2", "3", "4", "5"]


def test_those_that_the_broker_never_got(broker: Broker, ch: amqp.Channel) -> None:
    broker.down(crash=True)
    broker.up()  # the first write meets the end, or the second: those are in the books by then
    assert publish(ch, "1", "2", "3") == [1, 2, 3]
    ch.wait_for_confirms(LONG)
    assert contents(broker) == ["1", "2", "3"]


@pytest.mark.parametrize("size", [10, 300_000])
def test_tags_go_on_over_many_losses(broker: Broker, ch: amqp.Channel, size: int) -> None:
    told: List[int] = []
    ch.confirm_select(on_ack=lambda tag, msg: told.append(tag))
    tags: List[Any] = []
    for number in range(1, 6):
        tags += publish(ch, *("%d" % number * size for _ in range(3)))
        lose(broker)
    ch.wait_for_confirms(LONG)
    assert tags == list(range(1, 16))
    assert sorted(told) == tags
    assert len(told) == len(set(told))
    found = contents(broker)
    assert [body[0] for body in sorted(set(found))] == ["1", "2", "3", "4", "5"]
    assert len(found) >= 15


def test_a_late_confirm_settles_no_other(broker: Broker) -> None:
    """Of five the second to last session had confirmed two: three are left, and have other tags on the wire."""
    conn = connect(broker, nacked=0)
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.confirm_select()
    publish(ch, "1", "2")
    ch.wait_for_confirms(LONG)
    unanswered(broker)
    publish(ch, "3", "4", "5")
    ch.queue_declare("q", passive=True)
    lose(broker)
    broker.faults.nack_every(2)  # of what comes now every second one is refused: 4, and the second of the others
    ch.queue_declare("q", passive=True)
    publish(ch, "6", "7", "8")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(LONG)
    assert [msg.body for msg in caught.value.nacked.values()] == ["%d" % tag for tag in caught.value.nacked]
    assert list(caught.value.nacked) == [4, 6, 8]
    assert contents(broker) == ["1", "2", "3", "4", "5", "3", "5", "7"]
    conn.close()


def test_basic_publish_confirm_rides_through(broker: Broker, ch: amqp.Channel) -> None:
    unanswered(broker)
    timer = Later(lambda: lose(broker))
    assert ch.basic_publish_confirm(message("x"), routing_key="q", timeout=LONG) == 1
    timer.join()
    assert contents(broker) in (["x"], ["x", "x"])  # it was lost before the publish, or after it


class Later:
    """Does something in a thread, which begins now."""

    def __init__(self, what: Callable[[], Any]) -> None:
        import threading

        self._thread = threading.Thread(target=what)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(LONG)
        assert not self._thread.is_alive()


def test_a_window_that_is_full(broker: Broker, conn: amqp.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.confirm_select(window=3)
    unanswered(broker)
    publish(ch, "1", "2", "3")
    timer = Later(lambda: lose(broker))
    assert publish(ch, "4", "5") == [4, 5]
    timer.join()
    ch.wait_for_confirms(LONG)
    assert contents(broker)[-5:] == ["1", "2", "3", "4", "5"]


def test_what_came_back_is_not_sent_again(broker: Broker, ch: amqp.Channel) -> None:
    """The broker has said that no queue takes it; one that it has not answered for comes back from the next."""
    unanswered(broker)
    publish(ch, "1", mandatory=True, key="nowhere")
    ch.queue_declare("q", passive=True)
    assert ch.returned_messages.qsize() == 1
    lose(broker)
    publish(ch, "2", mandatory=True, key="nowhere")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(LONG)
    assert {tag: msg.body for tag, msg in caught.value.returned.items()} == {1: "1", 2: "2"}
    assert broker.connections()[0].channels == 1


def test_reported_instead(broker: Broker) -> None:
    conn = connect(broker, unconfirmed="report")
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    told: List[int] = []
    ch.confirm_select(on_nack=lambda tag, msg: told.append(tag))
    unanswered(broker)
    publish(ch, "1", "2")
    ch.queue_declare("q", passive=True)
    lose(broker)
    ch.queue_declare("q", passive=True)
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(LONG)
    assert list(caught.value.nacked) == told == [1, 2]
    assert publish(ch, "3") == [3]
    ch.wait_for_confirms(LONG)
    assert contents(broker) == ["1", "2", "3"]
    conn.close()


def test_message_ids(broker: Broker) -> None:
    conn = connect(broker, message_ids=True)
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.confirm_select()
    unanswered(broker)
    publish(ch, "1")
    own = amqp.Message("2", message_id="mine")
    ch.basic_publish(own, routing_key="q")
    ch.queue_declare("q", passive=True)
    lose(broker)
    ch.wait_for_confirms(LONG)
    found = [ch.basic_get("q", no_ack=True) for _ in range(3)]
    ids = [msg.message_id if msg is not None else None for msg in found]
    assert ids[0] == ids[1]
    assert len(ids[0] or "") == 36
    assert ids[2] == "mine"
    conn.close()


def test_message_ids_are_not_set_unless_asked(broker: Broker, ch: amqp.Channel) -> None:
    publish(ch, "1")
    msg = ch.basic_get("q", no_ack=True)
    assert msg is not None
    assert "message_id" not in msg.properties


def test_inside_a_batch(broker: Broker, ch: amqp.Channel) -> None:
    with ch.batch():
        assert publish(ch, "1", "2") == [1, 2]
        lose(broker)
        assert publish(ch, "3") == [3]
        ch.queue_declare("q", passive=True)
        assert publish(ch, "4") == [4]
    ch.wait_for_confirms(LONG)
    assert contents(broker) == ["1", "2", "3", "4"]
    with ch.batch():
        publish(ch, "5")
        lose(broker)
    ch.wait_for_confirms(LONG)
    assert contents(broker) == ["5"]


def test_a_long_message_is_cut_for_another_broker(broker: Broker) -> None:
    with Broker(frame_max=8192) as other:
        conn = connect(broker, hosts=other.address, shuffle=False)
        ch = conn.channel()
        ch.queue_declare("q", durable=True, auto_delete=False)
        ch.confirm_select()
        unanswered(broker)
        body = "".join("%d" % number for number in range(30000))
        publish(ch, body)
        ch.queue_declare("q", passive=True)
        broker.down(crash=True)
        ch.wait_for_confirms(LONG)
        assert conn.frame_max == 8192
        assert contents(other) == [body]
        publish(ch, body)
        ch.wait_for_confirms(LONG)
        conn.close()
        assert contents(other) == [body]


def test_a_publish_that_has_no_exchange_any_more(broker: Broker) -> None:
    """What is sent again closes its channel, as it does the first time."""
    conn = connect(broker, wanted=lambda what: what.kind != "exchange")
    ch = conn.channel()
    ch.exchange_declare("e", "fanout", auto_delete=False)
    ch.confirm_select()
    unanswered(broker)
    ch.basic_publish(message("x"), "e")
    ch.exchange_declare("e", passive=True)
    broker.down(durable=False, crash=True)
    broker.faults.clear()
    broker.up()
    with pytest.raises(amqp.UnconfirmedChannelError, match="404") as caught:
        ch.wait_for_confirms(LONG)
    assert [msg.body for msg in caught.value.unconfirmed.values()] == ["x"]
    assert conn.channel().is_open
    conn.close()


# --- without confirms


def test_they_wait(broker: Broker, conn: amqp.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    lose(broker)
    ch.queue_declare("q", durable=True, auto_delete=False)
    broker.down(crash=True)
    timer = Later(broker.up)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.0)
    publish(ch, "1", "2")
    timer.join()
    ch.queue_declare("q", passive=True)
    assert contents(broker) == ["1", "2"]


def test_they_raise(broker: Broker) -> None:
    conn = connect(broker, publishes="raise")
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)
    with pytest.raises(
        amqp.ConnectionLostError, match="nothing was published: there is no connection for the time being"
    ):
        publish(ch, "1")
    assert ch.is_open
    broker.up()
    ch.queue_declare("q", passive=True)
    publish(ch, "2")
    ch.queue_declare("q", passive=True)
    assert contents(broker) == ["2"]
    conn.close()


def test_a_batch_that_is_lost(broker: Broker, conn: amqp.Connection) -> None:
    """Nobody knows which of its messages have arrived, so it is said."""
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)

    def in_a_batch(then: Callable[[], Any]) -> None:
        with ch.batch():
            publish(ch, "1")
            broker.faults.drop(reset=True)
            then()

    for then in (lambda: None, lambda: ch.queue_declare("q", passive=True), lambda: publish(ch, "x" * 100_000)):
        with pytest.raises(amqp.InterruptedCallError, match="messages in it are lost"):
            in_a_batch(then)
        ch.queue_declare("q", passive=True)
    with ch.batch():
        publish(ch, "3")
    ch.queue_declare("q", passive=True)
    assert "3" in contents(broker)


def test_a_batch_of_acknowledgements_is_not(broker: Broker, conn: amqp.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    publish(ch, "1")
    msg = ch.basic_get("q")
    assert msg is not None
    with ch.batch():
        msg.ack()
        lose(broker)
        ch.queue_declare("q", passive=True)
    assert contents(broker) == ["1"]


# --- transactions


@pytest.mark.parametrize("module", [amqp08, amqp])
def test_a_transaction_that_was_open_is_an_error(broker: Broker, module: Any) -> None:
    conn = module.Connection(broker.address, recover=True, reply_timeout=LONG)
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.tx_select()
    publish(ch, "1")
    lose(broker)
    ch.queue_declare("q", passive=True)
    publish(ch, "2")
    with pytest.raises(module.TransactionLostError, match="the transaction is void"):
        ch.tx_commit()
    assert contents(broker) == []
    publish(ch, "3")
    ch.tx_commit()
    assert contents(broker) == ["3"]
    lose(broker)
    ch.tx_rollback()  # which is what has happened
    publish(ch, "4")
    ch.tx_commit()
    assert contents(broker) == ["4"]
    conn.close()


def test_a_commit_that_is_cut_off(broker: Broker, conn: amqp.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.tx_select()
    publish(ch, "1")
    broker.faults.drop(after_frames=0)
    with pytest.raises(amqp.InterruptedCallError, match="tx_commit was waiting"):
        cut(broker, ch.tx_commit)


# --- calls


def cut(broker: Broker, call: Callable[[], Any]) -> Any:
    """Make a call whose answer is cut off, once."""
    broker.faults.drop(after_octets=0)
    timer = Later(lambda: clear_when_lost(broker))
    try:
        return call()
    finally:
        timer.join()


def clear_when_lost(broker: Broker) -> None:
    import time

    deadline = time.monotonic() + LONG
    while broker.connections():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    broker.faults.clear()


CALLS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "queue_declare": lambda ch: ch.queue_declare("other"),
    "queue_declare passive": lambda ch: ch.queue_declare("q", passive=True),
    "exchange_declare": lambda ch: ch.exchange_declare("e", "fanout"),
    "queue_bind": lambda ch: ch.queue_bind("q", "amq.topic", "k"),
    "queue_unbind": lambda ch: ch.queue_unbind("q", "amq.topic", "k"),
    "exchange_bind": lambda ch: ch.exchange_bind("amq.fanout", "amq.topic", "k"),
    "exchange_unbind": lambda ch: ch.exchange_unbind("amq.fanout", "amq.topic", "k"),
    "basic_qos": lambda ch: ch.basic_qos(prefetch_count=1),
    "basic_consume": lambda ch: ch.basic_consume("q", "tag"),
    "basic_cancel": lambda ch: ch.basic_cancel("tag"),
    "basic_get": lambda ch: ch.basic_get("q"),
    "confirm_select": lambda ch: ch.confirm_select(),
    "tx_select": lambda ch: ch.tx_select(),
    "close": lambda ch: ch.close(),
    "open": lambda ch: ch.connection.channel() if ch.connection else None,
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_are_made_again(broker: Broker, conn: amqp.Connection, call: str) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    cut(broker, lambda: CALLS[call](ch))
    assert conn.stats().recoveries >= 1
    other = conn.channel()
    other.queue_declare("q", passive=True)
    assert broker.queues()["q"].consumers == (call == "basic_consume")


REFUSED: Dict[str, Callable[[amqp.Channel], Any]] = {
    "queue_purge": lambda ch: ch.queue_purge("q"),
    "queue_delete": lambda ch: ch.queue_delete("q"),
    "exchange_delete": lambda ch: ch.exchange_delete("e"),
    "basic_get": lambda ch: ch.basic_get("q", no_ack=True),
    "tx_commit": lambda ch: ch.tx_commit(),
}


@pytest.mark.parametrize("call", REFUSED)
def test_calls_that_are_not(broker: Broker, conn: amqp.Connection, call: str) -> None:
    """They raise, and all is usable; the connection is an error to whoever catches those, too."""
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.exchange_declare("e", "fanout", durable=True, auto_delete=False)
    if call.startswith("tx"):
        ch.tx_select()
    with pytest.raises(
        amqp.InterruptedCallError, match="the connection was lost while Channel.%s was waiting" % call
    ) as caught:
        cut(broker, lambda: REFUSED[call](ch))
    assert isinstance(caught.value, OSError)
    assert ch.is_open
    ch.queue_declare("q", passive=True)


def test_calls_that_were_never_sent_are_made(broker: Broker, conn: amqp.Connection) -> None:
    """Whatever they are: the connection was known to be lost."""
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    publish(ch, "1")
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)
    timer = Later(broker.up)
    assert ch.queue_purge("q") == 1
    timer.join()


def test_methods_without_an_answer(broker: Broker, conn: amqp.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)
    timer = Later(broker.up)
    ch.queue_declare("other", nowait=True)
    ch.basic_consume("other", "tag", nowait=True)
    ch.confirm_select(nowait=True)
    ch.basic_recover(requeue=True)
    timer.join()
    lose(broker)
    ch.queue_declare("q", passive=True)
    assert broker.queues()["other"].consumers == 1
    assert publish(ch, "x") == [1]
    ch.wait_for_confirms(LONG)


def test_the_secret_of_a_connection(broker: Broker, conn: amqp.Connection) -> None:
    with pytest.raises(amqp.InterruptedCallError, match=r"Connection\.update_secret"):
        cut(broker, lambda: conn.update_secret("guest"))
    conn.update_secret("guest")


def test_blocked_and_lost(broker: Broker) -> None:
    """The broker that had blocked is gone: nobody waits for its word."""
    heard: List[str] = []
    conn = amqp.Connection(
        broker.address,
        recover=True,
        reply_timeout=LONG,
        on_blocked=lambda reason: heard.append("blocked"),
        on_unblocked=lambda: heard.append("unblocked"),
    )
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.confirm_select()
    broker.faults.block()
    publish(ch, "1")
    while not heard:
        try:
            ch.wait(timeout=0.01)
        except amqp.AMQPTimeoutError:
            pass
    lose(broker)
    assert publish(ch, "2") == [2]
    ch.wait_for_confirms(LONG)
    assert heard == ["blocked", "unblocked"]
    assert conn.stats().recoveries == 1
    assert contents(broker)[-1] == "2"
    conn.close()
