"""URLs: amqp://user:password@host:port/vhost?parameter=value, and amqps:// for TLS.

    https://www.rabbitmq.com/docs/uri-spec                  the scheme, and what an absent or empty part means
    https://www.rabbitmq.com/docs/uri-query-parameters      the parameters' names and units; some are our own

Several hosts stand in one URL with commas between them, and share all the rest. An '@' may stand before the hosts and
nowhere else: so the parts of a password that was not percent-encoded are never taken for a host or a vhost, and
no error shows them.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional
from urllib.parse import unquote_to_bytes

from ...wire import frames
from .address import DEFAULT_PORT, DEFAULT_TLS_PORT, Address, parse_host, parse_hosts
from .secret import SecretStr, hide, plain

__all__ = ["Target", "parse_target"]

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_STRAY_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


class Target(NamedTuple):
    """What the host argument of Connection says."""

    addresses: List[Address]
    tls: bool = False
    #: Other arguments of Connection, as far as it says something of them.
    arguments: Mapping[str, Any] = {}
    #: Options for its `ssl`.
    tls_options: Mapping[str, Any] = {}
    #: Whether Connection is to recover, where it says something of that; and what of a Recovery it says.
    recover: Optional[bool] = None
    recovery: Mapping[str, Any] = {}

    def ssl(self, given: Any) -> Any:
        """Connection's `ssl`, with what the URL says of it: amqps:// asks for TLS, amqp:// never forbids it. ValueError
        for what is empty and was not meant to say no: a variable that was not set."""
        if not given and given is not None and not isinstance(given, (int, Mapping)):
            raise ValueError(
                "ssl: it is True, a dict or an ssl.SSLContext, not a thing of type %s" % type(given).__name__
            )
        if not self.tls:
            return False
        if not self.tls_options:
            return given or True
        if isinstance(given, Mapping):
            return {**given, **self.tls_options}
        return dict(self.tls_options) if given in (None, False, True) else {"context": given, **self.tls_options}


def parse_target(text: str, tls: bool = False) -> Target:
    """A URL, or one host or several as in `address`; `tls` says whether TLS is asked for anyway. ValueError says what
    is wrong, and shows nothing that may be secret."""
    text = hide(text)
    try:
        return _parse(plain(text), tls)
    except BaseException as exc:  # a mistake in it; but also a Python without ssl, or Ctrl-C
        problem = exc.with_traceback(None)
        problem.__cause__ = problem.__context__ = None
    # Not in there: the frames of a traceback would hold the parts, the password among them.
    raise problem


def _parse(text: str, tls: bool) -> Target:
    if not isinstance(text, str) or "://" not in text:
        return Target(parse_hosts(text, DEFAULT_TLS_PORT if tls else DEFAULT_PORT), tls)
    scheme, _, rest = text.strip(" ").partition("://")
    if scheme.lower() not in ("amqp", "amqps"):
        raise ValueError("host: a URL begins with amqp:// or amqps://")
    tls = tls or scheme.lower() == "amqps"
    before_fragment, fragment, _ = rest.partition("#")
    before_query, _, query = before_fragment.partition("?")
    authority, slash, path = before_query.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    if fragment or "@" in path or "@" in query or "@" in userinfo:
        raise ValueError(
            "host: the URL has a # or an @ where there can be none; in a user, password or vhost, characters such as"
            " # @ : / ? % are written %23 %40 %3a %2f %3f %25"
        )
    if "/" in path:
        raise ValueError(
            "host: the URL has another / after the vhost's first; within a vhost it is written %2f, so the vhost '/' is"
            " amqp://HOST/%2f, or just amqp://HOST"
        )
    default_port = DEFAULT_TLS_PORT if tls else DEFAULT_PORT
    userid, colon, password = userinfo.partition(":")
    # before the parameters: where the hosts were forgotten, what seems to be one may be a part of the password
    addresses = [_host(host, default_port) for host in hosts.split(",")] if hosts else []
    # what seems to be the query may be the end of a password, where there is one: before the '@', or, without that, in
    # the place of a port
    said = _parameters(query, tls, show=":" not in authority)
    options = {name: said.pop(name) for name in _TLS_OPTIONS if name in said}
    recovery = {_RECOVERY[name]: said.pop(name) for name in _RECOVERY if name in said}
    recover = said.pop("recover", True if recovery else None)
    if at:
        said["userid"] = _decoded(userid, "user")
    if colon:
        said["password"] = SecretStr(_decoded(password, "password"))
    if slash:
        said["virtual_host"] = _decoded(path, "vhost")
    if not rest[-1:].isprintable():  # in a host it was refused; elsewhere it would be a part of a name or a value
        raise ValueError("host: the URL ends in a NUL, a control character, or another one that no URL has")
    return Target(addresses or [Address("localhost", default_port)], tls, said, options, recover, recovery)


def _decoded(text: str, what: str) -> str:
    """Percent-decoded, as UTF-8 (RFC 3986, section 2.5)."""
    problem = "holds a % that no two hexadecimal digits follow"
    if not _STRAY_ESCAPE.search(text):
        try:
            return unquote_to_bytes(text).decode("utf-8")
        except UnicodeError:  # also where it has lone surrogates
            problem = "is not UTF-8 once it is percent-decoded"
    raise ValueError("host: the %s in the URL %s" % (what, problem))


def _host(text: str, default_port: int) -> Address:
    if text.startswith(":"):  # a port alone
        text = "localhost" + text
    if not text.startswith("[") and text.count(":") > 1:
        raise ValueError("host: an IPv6 address in a URL is written [::1] or [::1]:5672")
    host = _decoded(text, "host")
    if not host.isprintable():
        raise ValueError(
            "host: the host in the URL holds a NUL, a control character, or another one that none can have"
        )
    return parse_host(host, default_port)


# --- parameters --------------------------------------------------------------------------------------------


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
            raise ValueError("a whole number from %d to %d" % (low, high))
        return int(text)

    return read


def _milliseconds(text: str) -> float:
    return _number(1, 10**9)(text) / 1000


def _truth(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text]
    except KeyError:
        raise ValueError("true or false") from None


def _seconds(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("a number of seconds, such as 30 or 0.5")
    return float(text)


def _verify(text: str) -> Any:
    from ssl import CERT_NONE, CERT_REQUIRED  # no sooner than TLS is asked for

    try:
        return {"verify_peer": CERT_REQUIRED, "verify_none": CERT_NONE}[text]
    except KeyError:
        raise ValueError("verify_peer or verify_none") from None


def _text(text: str) -> str:
    if not text:
        raise ValueError("something")
    return text


class _Parameter(NamedTuple):
    argument: str  # of Connection, or an option of its `ssl`
    read: Callable[[str], Any]  # ValueError says what is wanted


_PARAMETERS = {
    "heartbeat": _Parameter("heartbeat", _number(0, 65535)),
    "connection_timeout": _Parameter("connect_timeout", _milliseconds),
    "channel_max": _Parameter("channel_max", _number(1, 65535)),
    "frame_max": _Parameter("frame_max", _number(frames.MIN_SIZE, 2**32 - 1)),
    "auth_mechanism": _Parameter("login_method", _text),
    "cacertfile": _Parameter("ca_certs", _text),
    "certfile": _Parameter("certfile", _text),
    "keyfile": _Parameter("keyfile", _text),
    "password": _Parameter("password", SecretStr),
    "verify": _Parameter("cert_reqs", _verify),
    "server_name_indication": _Parameter("server_hostname", _text),
    # not RabbitMQ's names: arguments of Connection, in the units that they have there
    "reply_timeout": _Parameter("reply_timeout", _seconds),
    "write_timeout": _Parameter("write_timeout", _seconds),
    "blocked_timeout": _Parameter("blocked_timeout", _seconds),
    "close_timeout": _Parameter("close_timeout", _seconds),
    "recover": _Parameter("recover", _truth),
    "recover_first": _Parameter("recover_first", _truth),
    "recover_idle": _Parameter("recover_idle", _truth),
    "recover_time": _Parameter("recover_time", _seconds),
    "recover_attempts": _Parameter("recover_attempts", _number(1, 10**9)),
}

#: What the parameters say of Connection's `recover`, beside whether to.
_RECOVERY = {"recover_first": "first", "recover_idle": "idle", "recover_time": "time", "recover_attempts": "attempts"}

_TLS_OPTIONS = ("ca_certs", "certfile", "keyfile", "password", "cert_reqs", "server_hostname")


def _parameters(query: str, tls: bool, show: bool) -> Dict[str, Any]:
    """Arguments and options by their own names. auth_mechanism may be given several times, and makes a list. `show`:
    may errors name a parameter that is unknown?"""
    found: Dict[str, Any] = {}
    for part in query.split("&") if query else ():
        quoted, _, value = part.partition("=")
        name = _decoded(quoted, "query")
        if name not in _PARAMETERS:
            unknown = "an unknown parameter" + (", %r" % name if show else "")
            raise ValueError("host: the URL has %s; there are %s" % (unknown, ", ".join(_PARAMETERS)))
        argument, read = _PARAMETERS[name]
        if argument in _TLS_OPTIONS and not tls:
            raise ValueError("host: the URL's parameter %s is for amqps:// only" % name)
        text = _decoded(value, "query")
        try:
            said = read(text)
        except ValueError as exc:
            raise ValueError("host: the URL's parameter %s has to be %s" % (name, exc)) from None
        if argument == "login_method":
            found.setdefault(argument, []).append(said)
        elif argument in found:
            raise ValueError("host: the URL has the parameter %s twice" % name)
        else:
            found[argument] = said
    return found
