"""Proves that functions of the program are called where nothing is locked: another thread can use the connection
meanwhile. A __del__ is in test_finalizers, a function of Recovery in test_recovery."""

from __future__ import annotations

import codecs
import logging
import threading
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import message
from amqplib.client.codec_names import CodecNames

from .peer import PATIENCE


class Meanwhile:
    """What is called by the name of a function of the program: has another thread send something, and waits for it."""

    def __init__(self) -> None:
        self.called: Set[str] = set()
        self.held_up: List[str] = []
        self.other: Any = None

    def __call__(self, name: str) -> None:
        if self.other is None or name in self.called:
            return
        self.called.add(name)
        thread = threading.Thread(target=self.other.basic_recover, args=(True,), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            self.held_up.append(name)

    def named(self, name: str) -> Callable[..., None]:
        return lambda *args: self(name)


class Headers(Dict[str, Any]):
    meanwhile: Meanwhile

    def items(self) -> Any:
        self.meanwhile("headers")
        return super().items()


class Handler(logging.Handler):
    def __init__(self, meanwhile: Meanwhile) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def emit(self, record: logging.LogRecord) -> None:
        self.meanwhile("log of %s" % record.levelname)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    meanwhile = Headers.meanwhile = Meanwhile()

    def encode(text: str, errors: str = "strict") -> Tuple[bytes, int]:
        meanwhile("encode")
        return text.encode("ascii"), len(text)

    def decode(data: Any, errors: str = "strict") -> Tuple[str, int]:
        meanwhile("decode")
        return bytes(data).decode("ascii"), len(data)

    def find(name: str) -> Any:
        return codecs.CodecInfo(encode, decode, name=name) if name == "meanwhile" else None

    for names in "_ENCODERS", "_DECODERS":  # they remember what is none, and that other tests had many of these
        monkeypatch.setattr(message, names, CodecNames())
    codecs.register(find)
    handler = Handler(meanwhile)
    logger = logging.getLogger("amqplib")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)  # not by the attribute: loggers remember what they are enabled for
    yield meanwhile
    logger.setLevel(before)
    logger.removeHandler(handler)
    if hasattr(codecs, "unregister"):
        codecs.unregister(find)


def credentials_of(meanwhile: Meanwhile) -> Callable[[], Tuple[str, str]]:
    def credentials() -> Tuple[str, str]:
        meanwhile("credentials")
        return "guest", "guest"

    return credentials


def test_another_thread_can_go_on(broker: Broker, meanwhile: Meanwhile) -> None:
    conn = amqp.Connection(
        broker.address,
        credentials=credentials_of(meanwhile),
        on_blocked=meanwhile.named("on_blocked"),
        on_unblocked=meanwhile.named("on_unblocked"),
    )
    meanwhile.other = conn.channel()
    ch = conn.channel()
    ch.queue_declare("q")
    conn.update_secret()
    ch.on_return = meanwhile.named("on_return")
    ch.confirm_select(on_ack=meanwhile.named("on_ack"), on_nack=meanwhile.named("on_nack"))
    msg = amqp.Message("x", content_encoding="meanwhile", application_headers=Headers(a=1))
    ch.basic_publish(msg, routing_key="q")
    ch.basic_publish(msg, routing_key="nobody", mandatory=True)
    ch.wait_for_confirms()
    broker.faults.nack_every(1)
    with pytest.raises(amqp.UnconfirmedError):
        ch.basic_publish_confirm(msg, routing_key="q")
    ch.basic_consume("q", callback=meanwhile.named("callback"), on_cancel=meanwhile.named("on_cancel"), no_ack=True)
    ch.wait(timeout=PATIENCE)
    broker.faults.block()
    ch.basic_publish(msg, routing_key="nobody")
    while not conn.blocked:
        conn.drain_events(timeout=PATIENCE)
    broker.faults.unblock()
    while conn.blocked:
        conn.drain_events(timeout=PATIENCE)
    broker.faults.cancel_consumers()
    while ch.callbacks:
        ch.wait(timeout=PATIENCE)
    functions = {"callback", "credentials", "decode", "encode", "headers", "log of DEBUG", "log of WARNING"}
    functions |= {"on_" + name for name in ("ack", "blocked", "cancel", "nack", "return", "unblocked")}
    assert meanwhile.called == functions
    assert not meanwhile.held_up
    conn.close()
