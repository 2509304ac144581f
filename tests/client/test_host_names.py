"""Proves that a name is used as it stands or not at all, wherever it is from, and that no refusal shows a password."""

from __future__ import annotations

from typing import Any

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.connect.address import parse_host
from amqplib.client.connect.url import parse_target

from .exposed import exposed
from .peer import Peer

PASSWORD = "hunter2"

CONTROLS = [
    "\0",
    "\n",
    "\r",
    "\t",
    "\x1b",
    "\x7f",
    "\x9b",
    "\u2028",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\udcff",
    "\xad",
    "\u2066",
]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "form",
    [
        "127.0.0.1%s.example.com",
        "127.0.0.1%s:%%d",
        "lo%scalhost",
        "[::1%s]:5672",
        "127.0.0.1%s",
        "%s127.0.0.1",
        "127.0.0.1:%%d%s",
        "127.0.0.1:%%d %s ",
        "localhost,%s127.0.0.1:%%d",
        "[::1]%s",
        "[::1]:5672%s",
        "%s",
    ],
)
def test_control_characters(peer: Peer, control: str, form: str) -> None:
    """The system reads a name up to a NUL: of '127.0.0.1\\0.example.com' it would take the address."""
    host = (form % control).replace("%d", str(peer.port))
    with pytest.raises(ValueError, match=r"^host: .*a NUL, a control character") as caught:
        amqp.Connection(host, connect_timeout=5)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("code", ["%00", "%0a", "%0D", "%1b", "%C2%9b", "%E2%80%AE"])
@pytest.mark.parametrize(
    "form",
    [
        "amqp://127.0.0.1%s",
        "amqp://%slocalhost",
        "amqp://b:pw@a,127.0.0.1%s.example.com:%d",
        "amqp://b:pw@127.0.0.1:%d%s",
        "amqp://b:pw@127.0.0.1%s,a/v",
    ],
)
def test_control_characters_in_a_url(peer: Peer, code: str, form: str) -> None:
    with pytest.raises(ValueError, match=r"^host: the host in the URL holds a NUL, a control character"):
        amqp.Connection(form.replace("%s", code).replace("%d", str(peer.port)), connect_timeout=5)


@pytest.mark.parametrize("control", [control for control in CONTROLS if control != "\udcff"])
@pytest.mark.parametrize(
    "form",
    ["amqp://b:pw@127.0.0.1:%d{}", "amqp://127.0.0.1:%d/{}", "amqp://127.0.0.1:%d/v?heartbeat=5{}", "{}amqp://a"],
)
def test_control_characters_around_a_url(peer: Peer, control: str, form: str) -> None:
    """As a line of a file has one: it would be a part of the vhost's name, say."""
    with pytest.raises(ValueError, match=r"^host: "):
        amqp.Connection(form.format(control).replace("%d", str(peer.port)), connect_timeout=5)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1\0.example.com:%d",
        "127.0.0.1:%d\0",
        "evil\x1b[2J:%d",
        "a:b:%d",
        "a,b:%d",
        ",:%d",
        "127.0.0.1:%d\n",
        "\t127.0.0.1:%d",
        "127.0.0.1%%zone:%d",
        "",
        "127.0.0.1:99999%d",
        "bob@127.0.0.1:%d",
        "amqp://127.0.0.1:%d",
        "[127.0.0.1]:%d",
        "[::1",
    ],
)
def test_a_redirect(peer: Peer, host: str) -> None:
    """What a server names is looked at by the same function; it is not connected to."""
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    host = host.replace("%d", str(peer.port)).replace("%%", "%")
    peer.send("connection.redirect", host, "", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match=r"redirected to '.*', which is not a host") as caught:
        amqp.Connection(peer.address)
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match=r"^host: "):
        parse_host(host)


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".example", "a" * 255, "..", "a..b", "xn--\u00e9", "\u2025", "-", "1" * 255]
)
def test_a_redirect_to_what_cannot_be_looked_up(peer: Peer, host: str) -> None:
    """Python's codec of host names has errors of its own."""
    peer.greet()
    peer.let_in()
    peer.expect("connection.open", channel=0)
    peer.send("connection.redirect", host[:250], "", channel=0)
    peer.expect_end()
    with pytest.raises((amqp.ConnectionLostError, amqp.AMQPTimeoutError)) as caught:
        amqp.Connection(peer.address, connect_timeout=20)
    assert str(caught.value).isprintable()


def test_spaces_around_it_do_not_matter() -> None:
    """Programs of old have them; and they make no other host of it."""
    assert parse_host("  broker:1 ") == ("broker", 1)
    assert parse_target(" a , b:1 ").addresses == [("a", 5672), ("b", 1)]
    assert parse_target("  amqp://bob:pw@broker:1/v ").addresses == [("broker", 1)]
    assert parse_target("  amqp://bob:pw@broker:1/v ").arguments["virtual_host"] == "v"


@pytest.mark.parametrize("host", ["name%x", "1.2.3.4%eth0", "good.example%.evil.example", "%", "%00", "a%2e%2eb:5672"])
def test_a_zone_is_for_ipv6_only(host: str) -> None:
    """A certificate is for a host without its zone; so what is looked up must not be another name than that."""
    with pytest.raises(ValueError, match=r"^host: it holds a %, which only an IPv6 address has"):
        amqp.Connection(host, connect_timeout=5)
    with pytest.raises(ValueError, match=r"^host: "):
        amqp.Connection("amqp://" + host.replace("%", "%25"), connect_timeout=5)


@pytest.mark.parametrize(
    "host", ["no:such:name", "1:2:3", "::1:x:", "[broker]", "[broker]:5672", "[1.2.3.4]", "a:[::1]"]
)
@pytest.mark.parametrize("form", ["%s", "amqp://%s", "amqp://[%s]:5672"])
def test_colons_are_for_ipv6_only(form: str, host: str) -> None:
    """What has some, and is no address, is not looked up as if it were one, without a deadline."""
    with pytest.raises(ValueError, match=r"^host: "):
        amqp.Connection(form % host, connect_timeout=5)


#: URLs, and what was meant for some, without a host.
HOSTLESS = [
    "bob:%s",
    "bob:x:%s",
    "amqp:/bob:%s",
    "amqp:bob:%s",
    "amqps//bob:%s:x",
    "//bob:%s",
    "amqp://bob:x:%s",
    "amqp://bob:%s:x",
    "amqp://bob:x,%s:y",
    "amqp://bob:5,%s:y",
    "amqp://bob:5,[%s",
    "amqp://bob:5,%s\0",
    "amqp://bob:5,[%s]",
    "amqp://bob:5?%s",
    "amqp://bob:5?%s=x",
    "amqp://bob:12@34?%s=1",
    "amqp://bob:12@34/?%s",
    "amqp://bob:12@34?heartbeat=1&%s=1",
    "amqp://bob:12@34?heartbeat=%s",
    "amqp://bob:12@34%%%s",
    "bob:5%%%s",
    "amqp://bob:5@host\n%s",
    "amqp://bob:[%s",
    "amqp://[bob:%s",
    "amqp://:%s",
    "bob:5,[%s",
    "bob:5,%s:x",
    "bob:5,%s\x1b",
]


@pytest.mark.parametrize("url", HOSTLESS)
def test_no_part_of_a_password_where_the_host_was_forgotten(url: str) -> None:
    with pytest.raises(ValueError, match=r"^host: ") as caught:
        amqp.Connection(url % PASSWORD, connect_timeout=5)
    assert PASSWORD not in exposed(caught.value)


@pytest.mark.parametrize("host", ["::1", "[fe80::1%eth0]:5672", "fe80::1%1", "::ffff:1.2.3.4"])
def test_addresses_are_still_read(host: Any) -> None:
    assert parse_host(host).port == 5672
    assert parse_target(host).addresses == [parse_host(host)]
