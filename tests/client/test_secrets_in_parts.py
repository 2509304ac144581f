"""Proves that a part of a secret is one, and what is made of it: those who print tracebacks cut long values first."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import pprint
import string
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client.connect.login import Login
from amqplib.client.connect.secret import SecretBytes, SecretStr, hide, plain
from amqplib.client.connect.url import parse_target
from amqplib.client.net.tls_options import make_context
from tests.certificates import PASSPHRASE

from .exposed import exposed, reachable
from .peer import Peer

#: Longer than what any of them shows, and nowhere twice the same.
SECRET = "".join("%03d-" % number for number in range(100, 200))

#: Parts of it that nothing may show.
PARTS = [SECRET[at : at + 8] for at in range(0, len(SECRET) - 8, 3)]


def assert_not_in(text: str) -> None:
    shown = [part for part in PARTS if part in text]
    assert not shown, "%s is shown in %s" % (shown[0], text)


# --- those who print tracebacks -----------------------------------------------------------------------------


def with_rich(exc: BaseException, longest: int) -> str:
    console = pytest.importorskip("rich.console", reason="rich is not installed here")
    from rich.traceback import Traceback

    out = io.StringIO()
    shown = Traceback.from_exception(
        type(exc), exc, exc.__traceback__, show_locals=True, locals_max_string=longest, locals_max_length=1000
    )
    console.Console(file=out, width=10000).print(shown)
    return out.getvalue()


def with_structlog(exc: BaseException, longest: int) -> str:
    tracebacks = pytest.importorskip("structlog.tracebacks", reason="structlog is not installed here")
    info = type(exc), exc, exc.__traceback__
    shown = ""
    for rich in (True, False) if longest > 20 else (False,):
        transform = tracebacks.ExceptionDictTransformer(
            show_locals=True, locals_max_string=longest, locals_max_length=1000, use_rich=rich
        )
        shown += json.dumps(transform(info), default=repr)
    return shown


def with_loguru(exc: BaseException, longest: int) -> str:
    logger = pytest.importorskip("loguru", reason="loguru is not installed here").logger
    out = io.StringIO()
    # without those who called: the program's own variables are its own
    handler = logger.add(out, backtrace=False, diagnose=True, level=0)
    try:
        logger.opt(exception=exc).error("it failed")
    finally:
        logger.remove(handler)
    return out.getvalue()


def with_sentry(exc: BaseException, longest: int) -> str:
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # it asks what else is installed
        for name in ("eventlet", "gevent"):  # and imports these, which change what fork() does in this process
            if name not in sys.modules:
                patch.setitem(sys.modules, name, None)
        utils = pytest.importorskip("sentry_sdk.utils", reason="sentry-sdk is not installed here")
        serialize = pytest.importorskip("sentry_sdk.serializer").serialize
        options = {"include_local_variables": True, "include_source_context": True, "max_value_length": longest}
        event, _ = utils.event_from_exception(exc, client_options=options)
        return json.dumps(serialize(event, max_value_length=longest))


REPORTERS: List[Callable[[BaseException, int], str]] = [with_rich, with_structlog, with_loguru, with_sentry]


def logins(address: str) -> Dict[str, Dict[str, Any]]:
    return {
        "password": {"host": address, "userid": "bob", "password": SECRET},
        "PLAIN": {"host": address, "userid": "bob", "password": SECRET, "login_method": "PLAIN"},
        "URL": {"host": "amqp://bob:%s@%s/%%2f" % (SECRET, address)},
        "response": {"host": address, "login_method": "PLAIN", "login_response": b"\0bob\0" + SECRET.encode()},
        "function": {"host": address, "login_method": "PLAIN", "login_response": lambda challenge: SECRET},
        "credentials": {"host": address, "login_method": "PLAIN", "credentials": lambda: ("bob", SECRET)},
        "ssl": {"host": address, "ssl": {"password": SECRET, "certfile": "/nowhere"}},
        "a wrong URL": {"host": "amqp://bob:%s@%s?bogus=1" % (SECRET, address)},
        "no host": {"host": "bob:%s" % SECRET},
    }


@pytest.fixture(params=list(logins("")))
def failure(request: pytest.FixtureRequest) -> Iterator[BaseException]:
    """What a login ends in, whose arguments are no variable of the test's."""
    with Peer() as peer:
        arguments = logins(peer.address)[request.param]
        if request.param not in ("ssl", "a wrong URL", "no host"):
            peer.greet()
            peer.expect_end()
            arguments["client_properties"] = {"x": object()}

        def fail() -> None:
            amqp.Connection(**arguments)

        try:
            fail()
        except ValueError as exc:
            yield exc


@pytest.mark.parametrize("longest", [80, 10])
@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda reporter: reporter.__name__)
def test_reporters(failure: BaseException, reporter: Callable[[BaseException, int], str], longest: int) -> None:
    assert failure.__traceback__ is not None
    failure.__traceback__ = failure.__traceback__.tb_next  # without the test's own variables
    assert failure.__traceback__ is not None
    failure.__traceback__ = failure.__traceback__.tb_next
    shown = reporter(failure, longest)
    assert "amqplib" in shown
    assert "secret>" in shown or reporter is with_loguru  # it shows the variables of the lines, and no others
    assert_not_in(shown)


# --- what can be made of a str ------------------------------------------------------------------------------

TEXT = hide(SECRET)

MADE: Dict[str, Callable[[Any], Any]] = {
    "slice": lambda text: text[:80],
    "step": lambda text: text[::2],
    "item": lambda text: text[5],
    "iteration": lambda text: list(text),
    "sorted": lambda text: sorted(text),
    "unpacked": lambda text: [*text],
    "added": lambda text: text + "x",
    "added to": lambda text: "x" + text,
    "times": lambda text: text * 2,
    "times it": lambda text: 2 * text,
    "split": lambda text: text.split("-"),
    "rsplit": lambda text: text.rsplit("-", 3),
    "lines": lambda text: text.splitlines(),
    "partition": lambda text: text.partition("-"),
    "upper": lambda text: text.upper(),
    "strip": lambda text: text.strip(),
    "replace": lambda text: text.replace("-", "+"),
    "join": lambda text: text.join(["a", "b"]),
    "joined": lambda text: "".join([text, text]),
    "template": lambda text: text.format(1),
    "formatted": lambda text: f"{text} {text!s} {text!r}",
    "padded": lambda text: f"{text:>900}",
    "an f-string": lambda text: f"{text}: {text!s:.100}",
    "format()": lambda text: "{0} {0!s:>300}".format(*[text]),
    "percent": lambda text: "%s of %s" % (text, text),
    "percent alone": lambda text: "%.500s" % text,
    "template with percent": lambda text: text % (),
    "str": lambda text: str(text),
    "repr": lambda text: repr(text),
    "translate": lambda text: text.translate({}),
    "json": lambda text: json.dumps({"password": text}),
    "json in C and not": lambda text: json.dumps([text], indent=1),
    "pprint": lambda text: pprint.pformat({"password": [text]}, width=20),
    "pickle": lambda text: pickle.dumps(text),
    "copy": lambda text: copy.copy(text),
    "deepcopy": lambda text: copy.deepcopy({"a": [text]}),
    "encode": lambda text: text.encode("utf-16"),
    "vars": lambda text: [getattr(text, name) for name in dir(text)],
    "printed": lambda text: printed(text),
    "wrapped": lambda text: textwrap.wrap(text, 80) or textwrap.shorten(text, 80),
    "backwards and forwards": lambda text: "".join(reversed("".join(reversed(text)))),
    "centred": lambda text: text.center(900)[200:700],
    "a template": lambda text: string.Template(text).safe_substitute({}),
}


def printed(text: Any) -> str:
    out = io.StringIO()
    print(text, [text], file=out)
    return out.getvalue()


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_a_str(name: str) -> None:
    made = MADE[name](TEXT)
    shown = [repr(made), "%s" % (made,), f"{made}", json.dumps(made, default=repr)]
    if isinstance(made, str):
        shown += ["%r" % made[:80], json.dumps(made[3:50])]
    assert_not_in("\n".join(shown))
    assert "1-" not in "".join(shown)


BYTES_MADE: Dict[str, Callable[[Any], Any]] = {
    "slice": lambda data: data[:80],
    "item": lambda data: data[5],
    "iteration": lambda data: list(data),
    "added": lambda data: data + b"x",
    "added to": lambda data: b"x" + data,
    "times": lambda data: data * 2,
    "split": lambda data: data.split(b"-"),
    "partition": lambda data: data.partition(b"-"),
    "strip": lambda data: data.strip(),
    "upper": lambda data: data.upper(),
    "join": lambda data: data.join([b"a", b"b"]),
    "percent": lambda data: b"%s" % data,
    "hex": lambda data: data.hex(),
    "decode": lambda data: data.decode(),
    "str": lambda data: str(data),
    "bytes": lambda data: bytes(data),
    "formatted": lambda data: f"{data} {data!r}",
    "pprint": lambda data: pprint.pformat([data], width=10),
    "pickle": lambda data: pickle.dumps(data),
    "deepcopy": lambda data: copy.deepcopy([data]),
}


@pytest.mark.parametrize("name", BYTES_MADE)
def test_what_is_made_of_bytes(name: str) -> None:
    made = BYTES_MADE[name](hide(SECRET.encode()))
    text = "%r %s" % (made, made)
    assert_not_in(text)
    assert "49" not in text.replace("x", "")  # '1'
    assert SECRET.encode().hex()[:20] not in text


def test_it_means_what_it_meant() -> None:
    """And so it is sent, compared and found."""
    text, data = hide("p\u00e4ss-word"), hide(b"pass-word")
    assert (text, data) == ("p\u00e4ss-word", b"pass-word")
    assert plain(text) == "p\u00e4ss-word"
    assert type(plain(text)) is str
    assert (plain(5), plain(data)) == (5, data)
    assert (len(text), len(data), bool(hide("")), bool(hide(b""))) == (9, 9, False, False)
    assert "ss" in text
    assert "secret" not in text
    assert text in {"p\u00e4ss-word": 1}
    assert {text: 1} == {"p\u00e4ss-word": 1}
    assert (text != "x", text < "q", text > "a") == (True, True, True)
    assert text.encode() == "p\u00e4ss-word".encode()
    assert (text[1:3], text.split("-"), text.partition("-")) == (
        "\u00e4s",
        ["p\u00e4ss", "word"],
        ("p\u00e4ss", "-", "word"),
    )
    assert (text.find("w"), text.startswith("p"), text.isascii(), text.count("s")) == (5, True, False, 2)
    assert (text + "!", "!" + text, text * 2) == ("p\u00e4ss-word!", "!p\u00e4ss-word", "p\u00e4ss-word" * 2)
    assert (data[1:3], data[0], list(data)[1], data.decode()) == (b"as", 112, 97, "pass-word")
    assert (b"<" + data + b">", b"".join([data]), bytes(data)) == (b"<pass-word>", b"pass-word", b"pass-word")
    for part in (memoryview(data)[:4], bytearray(data)[:4], b"".join([data, b"x"])[:4]):  # to C they are bytes
        assert bytes(part) == b"pass"
    assert SecretStr(text) is text
    assert SecretBytes(data) == data
    for made in (text[1:], text + "x", data[1:], b"x" + data, data.decode(), text.encode(), text.split("-")[0]):
        assert isinstance(made, (SecretStr, SecretBytes))


@pytest.mark.parametrize(
    "made", [lambda: hide(SECRET + "\ud800").encode(), lambda: hide(b"\xff" + SECRET.encode()).decode()]
)
def test_what_python_says_of_one_that_cannot_be_encoded(made: Callable[[], Any]) -> None:
    """Its exception holds the whole text, and all that led to it does."""
    with pytest.raises(UnicodeError) as caught:
        made()
    assert_not_in(exposed(caught.value) + repr(caught.value.args) + repr(vars(caught.value)))


def test_an_update_that_cannot_be_encoded(newer_conn: amqp91.Connection) -> None:
    with pytest.raises(ValueError, match="new_secret: <secret> cannot be encoded") as caught:
        newer_conn.update_secret(SECRET + "\ud800")
    assert_not_in(exposed(caught.value))


# --- where it goes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["AMQPLAIN", "PLAIN"])
def test_logins_are_sent_as_they_are(peer: Peer, mechanism: str) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address, "bob", "p\u00e4ss", mechanism)
    peer.wait()
    expected = {
        "AMQPLAIN": b"\x05LOGINS\0\0\0\x03bob\x08PASSWORDS\0\0\0\x05p\xc3\xa4ss",
        "PLAIN": b"\0bob\0p\xc3\xa4ss",
    }
    assert expected[mechanism] in peer.received
    peer.part()
    conn.close()


def test_a_passphrase_reaches_openssl(certificates: Path) -> None:
    for passphrase in (PASSPHRASE, PASSPHRASE.encode()):
        options = {"certfile": str(certificates / "client.pem"), "keyfile": str(certificates / "client.secret")}
        make_context({**options, "password": hide(passphrase)})
    with pytest.raises(ValueError, match="or not with this password"):
        make_context({**options, "password": hide("<secret>")})


@pytest.mark.parametrize("url", ["amqps://bob:%s@host?verify=verify_none", "amqps://bob:%s@host?verify=verify_peer"])
def test_a_python_without_ssl(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(sys.modules, "ssl", None)
    for module in (amqp, amqp91):
        with pytest.raises(ImportError) as caught:
            module.Connection(url % SECRET)
        assert_not_in(exposed(caught.value))
        assert "host = <secret>" in exposed(caught.value)


def test_ctrl_c_while_a_url_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("amqplib.client.connect.url.parse_host", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        parse_target("amqp://bob:%s@host" % SECRET)
    assert_not_in(exposed(caught.value))


@pytest.mark.parametrize("name", ["password", "PLAIN", "URL", "response", "function", "credentials"])
def test_nothing_is_left_once_it_is_closed(peer: Peer, name: str) -> None:
    peer.welcome()
    conn = amqp.Connection(**logins(peer.address)[name])
    (login,) = (part for part in reachable(conn) if isinstance(part, Login))
    who = login.who
    peer.part()
    conn.close()
    for value in vars(login).values():
        assert plain(value) != SECRET
        assert not (isinstance(value, bytes) and SECRET.encode() in value)
        assert not callable(value)
    assert login.who == who
    with contextlib.suppress(amqp.ConnectionLostError):
        conn.channel()


def test_a_login_forgets_more_than_once() -> None:
    login = Login("PLAIN", None, "bob", SECRET)
    assert login.begin(["PLAIN"], "here") == b"\0bob\0" + SECRET.encode()
    login.forget()
    login.forget()
    assert (login._password, login._response) == ("", b"")
