"""TLS with RabbitMQ whose certificates are by an authority of the tests: who is let in, and what a refusal says."""

from __future__ import annotations

import ssl
import threading
from types import ModuleType
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.client.tls_peer import only
from tests.live.secure import Secured

MODULES = [amqp, amqp91]
TLS_1_1, TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

#: A node is started by the first test that wants one.
pytestmark = pytest.mark.timeout(120)


def connect(host: str, options: Any, **more: Any) -> amqp.Connection:
    return amqp.Connection(host, ssl=options, connect_timeout=20, **more)


def version(conn: amqp.Connection) -> str:
    """The TLS version that is spoken; the connection is closed."""
    facts = conn.tls
    assert facts is not None
    assert facts.cipher
    conn.close()
    return facts.version


# --- let in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__[8:])
def test_good(secured: Secured, module: ModuleType) -> None:
    """Also with options of the former ssl.wrap_socket() that are None, or say nothing about a client."""
    options = dict(secured.trusting, keyfile=None, certfile=None, server_side=False, cert_reqs=ssl.CERT_REQUIRED)
    with module.Connection(secured.host, ssl=options, connect_timeout=20) as conn, conn.channel() as ch:
        queue = ch.queue_declare(exclusive=True)[0]
        for size in (0, 1, 200_000, 3_000_000):
            ch.basic_publish(amqp.Message(b"x" * size), routing_key=queue)
            ch.basic_qos(0, 1, False)
            msg = ch.basic_get(queue, no_ack=True)
            assert msg is not None
            assert len(msg.body) == size
        with pytest.raises(amqp.AMQPTimeoutError):
            conn.drain_events(timeout=0.05)


def test_tls_1_3_where_both_speak_it(secured: Secured) -> None:
    assert version(connect(secured.host, secured.trusting)) == "TLSv1.3"


def test_tls_1_2(secured: Secured) -> None:
    assert version(connect(secured.host, dict(secured.trusting, ssl_version=ssl.PROTOCOL_TLSv1_2))) == "TLSv1.2"
    assert version(connect(secured.listen(versions="'tlsv1.2'"), secured.trusting)) == "TLSv1.2"


def test_a_url(secured: Secured) -> None:
    url = "amqps://guest:guest@%s/%%2f?cacertfile=%s&heartbeat=7&channel_max=5"
    with amqp.Connection(url % (secured.host, secured.certificates / "ca.pem"), "bob", "wrong") as conn:
        assert (conn.heartbeat, conn.channel_max) == (7, 5)


def test_context_of_the_programs_own(secured: Secured) -> None:
    connect(secured.host, ssl.create_default_context(cafile=secured.trusting["ca_certs"])).close()


def test_unverified_only_in_so_many_words(secured: Secured) -> None:
    for name in ("server", "expired", "wronghost"):
        connect(secured.listen(name), {"cert_reqs": ssl.CERT_NONE}).close()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__[8:])
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_client_certificate_with_external(secured: Secured, module: ModuleType, version: ssl.TLSVersion) -> None:
    """CN=guest logs guest in: the password is nobody's."""
    context = ssl.create_default_context(cafile=secured.trusting["ca_certs"])
    own = secured.own("client")
    context.load_cert_chain(own["certfile"], own["keyfile"])
    only(context, version)
    for options in (own, context):
        host = secured.host
        with module.Connection(host, "x", "y", "EXTERNAL", ssl=options, connect_timeout=20) as conn:
            with conn.channel() as ch:
                ch.queue_declare(exclusive=True)
            assert "EXTERNAL" in conn.mechanisms


def test_external_by_a_url(secured: Secured) -> None:
    own = secured.own("client")
    url = "amqps://%s?cacertfile=%s&certfile=%s&keyfile=%s&auth_mechanism=external"
    amqp91.Connection(url % (secured.host, own["ca_certs"], own["certfile"], own["keyfile"])).close()


def test_several_threads_at_once(secured: Secured) -> None:
    """Some publish while others receive, over one session: what comes is what was sent."""
    rounds, threads = 300, 4
    failures: List[BaseException] = []
    with amqp91.Connection(secured.host, ssl=secured.trusting) as conn:

        def work(number: int) -> None:
            try:
                with conn.channel() as ch:
                    queue = ch.queue_declare(exclusive=True)[0]
                    ch.basic_qos(0, 20, False)
                    for i in range(rounds):
                        ch.basic_publish(amqp91.Message(b"%d-%d" % (number, i) + b"." * (i * 50)), routing_key=queue)
                    deliveries = ch.consume(queue, timeout=30)
                    for i, msg in enumerate(deliveries):
                        assert msg.body == b"%d-%d" % (number, i) + b"." * (i * 50)
                        msg.ack()
                        if i == rounds - 1:
                            break
            except BaseException as exc:
                failures.append(exc)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    assert failures == []


# --- refused -----------------------------------------------------------------------------------------------


def refused(host: str, options: Any) -> str:
    with pytest.raises(amqp.TLSError) as caught:
        connect(host, options)
    assert "no TLS with %s: " % host in str(caught.value)
    return str(caught.value)


def test_an_unknown_authority(secured: Secured) -> None:
    assert "from an authority that is not trusted here" in refused(secured.host, True)


def test_expired(secured: Secured) -> None:
    assert "its certificate has expired" in refused(secured.listen("expired"), secured.trusting)


def test_self_signed(secured: Secured) -> None:
    assert "its certificate is self-signed" in refused(secured.listen("selfsigned"), secured.trusting)


def test_wrong_host(secured: Secured) -> None:
    text = refused(secured.listen("wronghost"), secured.trusting)
    assert "not valid for 'localhost', but for 'other.example', '::1'" in text
    text = refused(secured.host, dict(secured.trusting, server_hostname="other.example"))
    assert "not valid for 'other.example', but for 'localhost', '127.0.0.1'" in text


def test_an_old_client(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=secured.trusting["ca_certs"])
    only(context, TLS_1_1)
    assert "no TLS version" in refused(secured.listen(), context)


def test_an_old_server(secured: Secured) -> None:
    assert "no TLS version" in refused(secured.listen(versions="'tlsv1.1'"), secured.trusting)


@pytest.mark.parametrize("version", ["'tlsv1.2'", "'tlsv1.3'"])
def test_a_client_certificate_is_wanted(secured: Secured, version: str) -> None:
    """Whether its alert or its reset is first, in TLS 1.3: both tell of the certificate."""
    strict = ", {verify, verify_peer}, {fail_if_no_peer_cert, true}"
    host = secured.listen(versions=version, more=strict)
    for module in MODULES:
        with pytest.raises(amqp.ConnectionLostError, match="client certificate"):
            module.Connection(host, ssl=secured.trusting, connect_timeout=20)
    connect(host, secured.own("client")).close()
    with pytest.raises(amqp.ConnectionLostError, match="client certificate"):
        connect(host, secured.own("stranger"))


def test_external_without_a_certificate(secured: Secured) -> None:
    with pytest.raises(amqp.AuthenticationError, match="no user has the name in the client certificate") as caught:
        connect(secured.host, secured.trusting, login_method="EXTERNAL")
    assert caught.value.amqp_reply_code == 403


def test_the_wrong_port(secured: Secured) -> None:
    plain = "localhost:%d" % secured.node.port
    # RabbitMQ answers with its protocol header and resets at once, which may be faster
    assert "AMQP without TLS on that port" in refused(plain, True)
    with pytest.raises(amqp.ConnectionLostError, match="ssl=True"):
        amqp.Connection(secured.host, connect_timeout=20)


# --- the end -----------------------------------------------------------------------------------------------


def test_the_connection_is_lost(secured: Secured) -> None:
    conn = connect(secured.host, secured.trusting)
    secured.node.ctl("close_all_connections", "a test says so")
    with pytest.raises(amqp.AMQPConnectionException, match="a test says so"):
        conn.drain_events(timeout=20)
