"""Proves what a URL says, that its mistakes are errors, and that no error shows what may be a password."""

from __future__ import annotations

import ssl
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.broker import Broker
from amqplib.client.connect.url import Target, parse_target
from amqplib.client_0_8.transport import create_transport

from .exposed import exposed
from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer
from .test_hosts import unused_port

LOCAL = [("localhost", 5672)]

#: Appendix A of the specification: what each of its examples says. What is not there is left to the arguments.
SPECIFIED: Dict[str, Tuple[List[Tuple[str, int]], Dict[str, str]]] = {
    "amqp://user:pass@host:10000/vhost": (
        [("host", 10000)],
        {"userid": "user", "password": "pass", "virtual_host": "vhost"},
    ),
    "amqp://user%61:%61pass@ho%61st:10000/v%2fhost": (
        [("hoast", 10000)],
        {"userid": "usera", "password": "apass", "virtual_host": "v/host"},
    ),
    "amqp://": (LOCAL, {}),
    "amqp://:@/": (LOCAL, {"userid": "", "password": "", "virtual_host": ""}),
    "amqp://user@": (LOCAL, {"userid": "user"}),
    "amqp://user:pass@": (LOCAL, {"userid": "user", "password": "pass"}),
    "amqp://host": ([("host", 5672)], {}),
    "amqp://:10000": ([("localhost", 10000)], {}),
    "amqp:///vhost": (LOCAL, {"virtual_host": "vhost"}),
    "amqp://host/": ([("host", 5672)], {"virtual_host": ""}),
    "amqp://host/%2f": ([("host", 5672)], {"virtual_host": "/"}),
    "amqp://host/%2F": ([("host", 5672)], {"virtual_host": "/"}),
    "amqp://[::1]": ([("::1", 5672)], {}),
    # and more
    "amqps://host": ([("host", 5671)], {}),
    "AMQPS://[fe80::1%25eth0]:1/x": ([("fe80::1%eth0", 1)], {"virtual_host": "x"}),
    " amqp://host ": ([("host", 5672)], {}),
    "amqp://u:p%40%3a%2f%3F%23%25%C3%A4@host": ([("host", 5672)], {"userid": "u", "password": "p@:/?#%\u00e4"}),
    "amqp://u:a:b@host": ([("host", 5672)], {"userid": "u", "password": "a:b"}),
    "amqp://u:p@a,b:1,[::1]:3,c/v": (
        [("a", 5672), ("b", 1), ("::1", 3), ("c", 5672)],
        {"userid": "u", "password": "p", "virtual_host": "v"},
    ),
    "amqps://a,b:1": ([("a", 5671), ("b", 1)], {}),
    "a, b:1 ,[::1]": ([("a", 5672), ("b", 1), ("::1", 5672)], {}),
}


@pytest.mark.parametrize("url", SPECIFIED)
def test_what_it_says(url: str) -> None:
    target = parse_target(url)
    assert (target.addresses, target.arguments) == SPECIFIED[url]
    assert target.tls == url.lower().startswith("amqps")
    assert target.tls_options == {}


PARAMETERS: Dict[str, Dict[str, Any]] = {
    "heartbeat=30": {"heartbeat": 30},
    "heartbeat=0&connection_timeout=2500": {"heartbeat": 0, "connect_timeout": 2.5},
    "channel_max=10&frame_max=8192": {"channel_max": 10, "frame_max": 8192},
    "auth_mechanism=plain": {"login_method": ["plain"]},
    "auth_mechanism=EXTERNAL&auth_mechanism=PLAIN": {"login_method": ["EXTERNAL", "PLAIN"]},
    "reply_timeout=30&write_timeout=0.5": {"reply_timeout": 30.0, "write_timeout": 0.5},
    "blocked_timeout=0&close_timeout=12.25": {"blocked_timeout": 0.0, "close_timeout": 12.25},
    "%68eartbeat=%33": {"heartbeat": 3},
    "": {},
}
TLS_PARAMETERS: Dict[str, Dict[str, Any]] = {
    "cacertfile=/etc/ca%20file.pem": {"ca_certs": "/etc/ca file.pem"},
    "certfile=me.pem&keyfile=me.key&password=s%26cret": {
        "certfile": "me.pem",
        "keyfile": "me.key",
        "password": "s&cret",
    },
    "verify=verify_peer": {"cert_reqs": ssl.CERT_REQUIRED},
    "verify=verify_none&server_name_indication=other": {"cert_reqs": ssl.CERT_NONE, "server_hostname": "other"},
}


@pytest.mark.parametrize("query", PARAMETERS)
def test_parameters(query: str) -> None:
    target = parse_target("amqp://host?" + query)
    assert (target.arguments, target.tls_options) == (PARAMETERS[query], {})
    assert target.addresses == [("host", 5672)]


@pytest.mark.parametrize("query", TLS_PARAMETERS)
def test_parameters_for_tls(query: str) -> None:
    for target in parse_target("amqps://host/v?" + query), parse_target("amqp://host/v?" + query, tls=True):
        assert (target.arguments, target.tls_options) == ({"virtual_host": "v"}, TLS_PARAMETERS[query])
        assert target.addresses == [("host", 5671)]
    with pytest.raises(ValueError, match=r"for amqps:// only"):
        parse_target("amqp://host/v?" + query)


MISTAKES: Dict[str, str] = {
    "http://host": "begins with amqp:// or amqps://",
    "amqp:host": "port",
    "amqp://host/a/b": "another /.*%2f",
    "amqp://host//": "another /.*the vhost '/' is amqp://HOST/%2f, or just amqp://HOST",
    "amqp://host#x": "#",
    "amqp://host:0": "port",
    "amqp://host:65536": "port",
    "amqp://host:x": "port",
    "amqp://host:99999999999999999999": "port",
    "amqp://host:": "port",
    "amqp://::1": r"written \[::1\]",
    "amqp://[::1": r"written \[::1\]",
    "amqp://a,,b": "names no host",
    "amqp://a,": "names no host",
    "amqp://ho%zzst": "the host in the URL holds a %",
    "amqp://host/%": "the vhost in the URL holds a %",
    "amqp://host/%ff": "the vhost in the URL is not UTF-8",
    "amqp://host/\udcff": "the vhost in the URL is not UTF-8",
    "amqp://host?bogus=1": "unknown parameter, 'bogus'; there are heartbeat, connection_timeout",
    "amqp://host?=1": "unknown parameter, ''",
    "amqp://host?heartbeat=1&": "unknown parameter, ''",
    "amqp://host?Heartbeat=1": "unknown parameter, 'Heartbeat'",
    "amqp://host?heartbeat": "heartbeat has to be a whole number from 0 to 65535",
    "amqp://host?heartbeat=-1": "heartbeat has to be a whole number",
    "amqp://host?heartbeat=65536": "heartbeat has to be a whole number",
    "amqp://host?heartbeat=1.5": "heartbeat has to be a whole number",
    "amqp://host?heartbeat=1&heartbeat=2": "heartbeat twice",
    "amqp://host?connection_timeout=0": "connection_timeout has to be a whole number from 1",
    "amqp://host?reply_timeout=": "reply_timeout has to be a number of seconds, such as 30 or 0.5",
    "amqp://host?reply_timeout=-1": "reply_timeout has to be a number of seconds",
    "amqp://host?write_timeout=nan": "write_timeout has to be a number of seconds",
    "amqp://host?blocked_timeout=1e3": "blocked_timeout has to be a number of seconds",
    "amqp://host?close_timeout=.5": "close_timeout has to be a number of seconds",
    "amqp://host?reply_timeout=1&reply_timeout=2": "reply_timeout twice",
    "amqp://host?channel_max=0": "channel_max has to be a whole number from 1 to 65535",
    "amqp://host?frame_max=4095": "frame_max has to be a whole number from 4096",
    "amqp://host?auth_mechanism=": "auth_mechanism has to be something",
    "amqps://host?verify=no": "verify has to be verify_peer or verify_none",
    "amqps://host?cacertfile=": "cacertfile has to be something",
    "amqps://host?heartbeat=%ff": "the query in the URL is not UTF-8",
}


@pytest.mark.parametrize("url", MISTAKES)
def test_mistakes(url: str) -> None:
    with pytest.raises(ValueError, match="^host: .*" + MISTAKES[url]):
        amqp.Connection(url)


PASSWORD = "hunter2"

#: A password that is not encoded as it has to be, and URLs that are wrong elsewhere.
LEAKS = [
    "amqp://bob:%s/x@host",
    "amqp://bob:%s?x@host",
    "amqp://bob:%s#x@host",
    "amqp://bob:/%s@host",
    "amqp://bob:?%s@host",
    "amqp://bob:?%s=1@host",
    "amqp://bob:#%s@host",
    "amqp://bob:%s@x@host",
    "amqp://bob:x@%s@host",
    "amqp://bob:%s%%zz@host",
    "amqp://bob:%s%%ff@host",
    "amqp://bob:%s\udcff@host",
    "amqp://bob:%s@host:port",
    "amqp://bob:%s@host/a/b",
    "amqp://bob:%s@host?bogus=1",
    "amqp://bob:%s@host?heartbeat=x",
    "amqp://bob:%s@::1",
    "http://bob:%s@host",
    "bob:%s@host",
    "bob:%s",
    "amqp://bob:%s",
    "amqp://bob:%s/vhost",
    "amqp://bob:%s?heartbeat=30",
    "amqp://bob:%s,host",
    "amqp://bob:x?%s",
    "amqp://bob:12@34/?%s=1",
    "amqp://bob:12@34?heartbeat=9&%s",
    "amqps://host?password=%s&bogus=1",
    "amqps://host?certfile=x&password=%s&password=1",
]


@pytest.mark.parametrize("url", LEAKS)
def test_no_mistake_shows_a_password(url: str) -> None:
    for module in (amqp, amqp91):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            module.Connection(url % PASSWORD)
        text = exposed(caught.value)
        assert PASSWORD not in text
        assert "host = <secret>" in text


@given(st.text(max_size=20), st.text(max_size=20))
@example("@", "")
@example("/", "?")
@example("", "@h?")
def test_whatever_stands_beside_a_password(before: str, after: str) -> None:
    """Of a URL in which it was not encoded, or not enough, no error shows any of it."""
    try:
        parse_target("amqp://bob:%s%s%s@host" % (before, PASSWORD, after))
    except ValueError as exc:
        assert PASSWORD not in exposed(exc)  # noqa: PT017


@given(st.text(alphabet="amqps:/@[]%25?&=#,.1ab\udcff ", max_size=40), st.booleans())
def test_whatever_is_given_as_a_host(text: str, tls: bool) -> None:
    """It is read, or it is a ValueError that says so."""
    try:
        target = parse_target(text, tls)
    except ValueError as exc:
        assert str(exc).startswith("host: ")  # noqa: PT017
    else:
        assert target.addresses
        assert all(address.host and 0 < address.port < 65536 for address in target.addresses)


def test_old_programs_may_open_a_transport_themselves(peer: Peer) -> None:
    for host in (peer.address, "amqp://bob:pw@%s/x" % peer.address):
        peer.accept()
        transport = create_transport(host, 20)
        transport.close()
        peer.expect_end()
    with pytest.raises(ValueError, match="takes one host, not 2"):
        create_transport("a,b")


def test_its_parts_are_not_shown() -> None:
    assert PASSWORD not in repr(parse_target("amqps://bob:%s@host?password=%s" % (PASSWORD, PASSWORD)))


# --- a URL and arguments -----------------------------------------------------------------------------------


def test_tls_and_the_ssl_argument() -> None:
    """amqps:// asks for TLS, and amqp:// never forbids it; parameters are put to what the argument says."""
    context = ssl.create_default_context()
    plain, tls = Target([]), Target([], True)
    sni = Target([], True, {}, {"server_hostname": "x"})
    assert plain.ssl(False) is plain.ssl(None) is False
    assert tls.ssl(False) is tls.ssl(None) is tls.ssl(True) is True
    assert tls.ssl(context) is context
    assert tls.ssl({"ca_certs": "y"}) == {"ca_certs": "y"}
    assert sni.ssl(False) == sni.ssl(True) == {"server_hostname": "x"}
    assert sni.ssl({"ca_certs": "y", "server_hostname": "z"}) == {"ca_certs": "y", "server_hostname": "x"}
    assert sni.ssl(context) == {"context": context, "server_hostname": "x"}
    assert parse_target("amqp://host", tls=True).addresses == [("host", 5671)]


def test_what_it_says_holds(peer: Peer) -> None:
    peer.greet()
    peer.expect_bytes(b"")
    peer.let_in(channel_max=100, frame_max=131072, heartbeat=60)
    peer.expect("connection.open", "a/b", "", False, channel=0)
    peer.send("connection.open_ok", "", channel=0)
    url = "amqp://bob:x%%40y@%s/a%%2fb?heartbeat=9&channel_max=7&frame_max=4096&auth_mechanism=plain"
    conn = amqp.Connection(url % peer.address, "alice", "other", virtual_host="/z", heartbeat=5, channel_max=9)
    peer.wait()
    assert b"\x05PLAIN\0\0\0\x08\0bob\0x@y" in peer.received
    assert (conn.channel_max, conn.frame_max, conn.heartbeat) == (7, 4096, 9)
    peer.part()
    conn.close()


def test_what_it_leaves_out_is_the_arguments() -> None:
    with Peer(dialect=AMQP_0_9_1) as peer:
        peer.greet()
        peer.let_in()
        peer.expect("connection.open", "/z", "", False, channel=0)
        peer.send("connection.open_ok", "", channel=0)
        conn = amqp91.Connection("amqp://" + peer.address, "alice", "pw", virtual_host="/z", heartbeat=5)
        peer.wait()
        assert b"\x05PLAIN\0\0\0\x09\0alice\0pw" in peer.received
        assert conn.heartbeat == 5
        peer.part()
        conn.close()


def test_its_timeout(peer: Peer) -> None:
    peer.accept()
    peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"no Connection.start within 0\."):
        amqp.Connection("amqp://%s?connection_timeout=200" % peer.address)


def publish_until_it_raises(ch: amqp91.Channel) -> None:
    while True:
        ch.basic_publish(amqp91.Message("x"))


def test_its_timeouts_for_calls() -> None:
    """In seconds, as the arguments of the same names."""
    with Broker() as broker:
        url = "amqp://%s?reply_timeout=0.05&blocked_timeout=0&close_timeout=1&write_timeout=2" % broker.address
        conn = amqp91.Connection(url, heartbeat=0, reply_timeout=PATIENCE, blocked_timeout=PATIENCE)
        ch = conn.channel()
        broker.faults.block("no room")
        with pytest.raises(amqp91.ConnectionBlockedError):
            publish_until_it_raises(ch)
        broker.faults.unblock()
        broker.faults.stall()
        with pytest.raises(amqp91.AMQPTimeoutError, match=r"no Channel.queue_declare_ok within 0\."):
            ch.queue_declare("q")
        broker.faults.resume()
        conn.close(timeout=PATIENCE)


# --- several hosts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["127.0.0.1:%d,%s", "amqp://127.0.0.1:%d,%s"])
def test_the_next_host_when_one_refuses(peer: Peer, form: str) -> None:
    peer.welcome()
    conn = amqp.Connection(form % (unused_port(), peer.address), connect_timeout=20)
    peer.part()
    conn.close()


def test_the_next_host_when_one_is_being_shut_down(peer: Peer) -> None:
    with Peer() as first:
        first.greet()
        first.expect("connection.start_ok", channel=0)
        first.send("connection.close", 320, "CONNECTION_FORCED - shutdown", 0, 0, channel=0)
        first.expect("connection.close_ok", channel=0)
        first.expect_end()
        peer.welcome()
        conn = amqp.Connection("%s,%s" % (first.address, peer.address))
        peer.part()
        conn.close()


def test_the_next_host_when_one_is_silent(peer: Peer) -> None:
    """Each has an equal share of the time."""
    with Peer() as first:
        first.accept()
        first.drain()
        peer.welcome()
        conn = amqp.Connection("%s,%s" % (first.address, peer.address), connect_timeout=6)
        peer.part()
        conn.close()


def test_a_refused_login_is_not_tried_elsewhere(peer: Peer) -> None:
    with Peer() as second:  # nobody comes
        peer.greet()
        peer.expect("connection.start_ok", channel=0)
        peer.send("connection.close", 403, "ACCESS_REFUSED", 10, 11, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
        with pytest.raises(amqp.AuthenticationError):
            amqp.Connection("%s,%s" % (peer.address, second.address))


def test_a_missing_vhost_is_not_tried_elsewhere(peer: Peer) -> None:
    with Peer() as second:
        peer.greet()
        peer.let_in()
        peer.expect("connection.open", channel=0)
        peer.send("connection.close", 530, "NOT_ALLOWED - vhost x not found", 10, 40, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
        with pytest.raises(amqp.AMQPConnectionException, match="vhost x not found"):
            amqp.Connection("%s,%s" % (peer.address, second.address), virtual_host="x")


def test_none_of_several_hosts() -> None:
    ports = unused_port(), unused_port()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        amqp.Connection("127.0.0.1:%d,127.0.0.1:%d" % ports)
    assert "any of 2 hosts" in str(caught.value)
    assert all("127.0.0.1:%d: " % port in str(caught.value) for port in ports)
    assert caught.value.errno == 111


def test_all_hosts_are_silent(peer: Peer) -> None:
    peer.accept()
    peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match="any of 2 hosts"):
        amqp.Connection("127.0.0.1:%d,%s" % (unused_port(), peer.address), connect_timeout=0.4)
