"""SASL: which mechanism is used to log in, and what is sent for it (0-9-1, section 1.4.2.2; RFC 4422).

A Login serves all the connections that one Connection tries: another dialect, another host, a redirect. Each of them
begins with begin(), which asks the program for its credentials if it has said how, and goes on with answer() for as
long as the server has questions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from ...wire.codecs import encode_longstr
from ..exceptions import AuthenticationError
from .secret import SecretBytes, SecretStr, hide

__all__ = ["SENDS_PASSWORD", "Credentials", "Login", "Responder"]

#: Called without arguments before each login; userid and password, or token.
Credentials = Callable[[], Tuple[str, str]]

#: Called with None for the first response, then with each challenge of the server's.
Responder = Callable[[Optional[bytes]], Union[bytes, str]]

#: A server that asks this often asks for ever.
_MAX_CHALLENGES = 20

_ACCESS_REFUSED = 403


# Both are put together by `+`: with a secret in it, all of it is one.


def _amqplain(userid: str, password: str) -> bytes:
    """A field table without its length: RabbitMQ's and the first specifications' own mechanism."""
    return b"\x05LOGINS" + encode_longstr(userid) + b"\x08PASSWORDS" + encode_longstr(password)


def _plain(userid: str, password: str) -> bytes:
    """RFC 4616, which separates the parts with NUL."""
    return b"\0" + userid.encode("utf-8") + b"\0" + password.encode("utf-8")


def _nothing(userid: str, password: str) -> bytes:
    """EXTERNAL: whoever the client certificate says (RFC 4422, appendix A). ANONYMOUS: no trace (RFC 4505)."""
    return b""


_MECHANISMS: Dict[str, Callable[[str, str], bytes]] = {
    "AMQPLAIN": _amqplain,
    "PLAIN": _plain,
    "EXTERNAL": _nothing,
    "ANONYMOUS": _nothing,
}

#: Mechanisms that let anybody read the password who can read the connection.
SENDS_PASSWORD = ("AMQPLAIN", "PLAIN")


class Login:
    """How to log in.

    method: the mechanism, or several in order of preference: the first that the server offers is used.
    response: what is sent for it, and again for each challenge, or a Responder. None makes it from userid and password.
    userid, password: the user.
    credentials: asked for both before each login.

    ValueError for a mechanism that cannot do without a response, and for values that cannot be sent.
    """

    def __init__(
        self,
        method: Union[str, Sequence[str]],
        response: Union[bytes, str, Responder, None],
        userid: str,
        password: str,
        credentials: Optional[Credentials] = None,
    ) -> None:
        self.mechanism = ""
        self._wanted: List[str] = [method] if isinstance(method, str) else _listed(method)
        self._given = response if callable(response) else hide(response)
        self._of_user = response is None
        self._userid, self._password = userid, hide(password)
        self._credentials = credentials
        self._response = SecretBytes()
        self._challenges = 0
        if not self._wanted or not all(isinstance(name, str) and 0 < len(name) < 256 for name in self._wanted):
            raise ValueError("login_method: the name of a SASL mechanism, or a list of such names")
        if credentials is not None and not callable(credentials):
            raise ValueError("credentials: a function that returns userid and password")
        if response is not None:
            if credentials is not None:
                raise ValueError("credentials: nobody would ask for them: the login_response is what is sent")
            if not callable(response):
                _encoded(self._given)
            return
        for name in self._wanted:
            if name.upper() not in _MECHANISMS:
                raise ValueError(
                    "login_method: %r: a login_response has to be given with it; without one there are %s"
                    % (name, ", ".join(sorted(_MECHANISMS)))
                )
        if credentials is None:
            self._check(userid, self._password)

    @staticmethod
    def _check(userid: Any, password: Any) -> None:
        for name, value in (("userid", userid), ("password", password)):
            if not _sendable(value):
                raise ValueError("%s: not a str that can be sent as UTF-8, without NUL" % name)  # and it is not shown

    @property
    def who(self) -> str:
        """Whose login this is, for error messages."""
        known = self._credentials is None or self.mechanism
        if known and self._of_user and any(name.upper() in SENDS_PASSWORD for name in self._wanted):
            return "user %r" % self._userid
        return "login by %s" % (self.mechanism or ", ".join(self._wanted))

    def secret(self) -> SecretStr:
        """A new password or token from the `credentials`; ValueError where there are none to ask."""
        if self._credentials is None:
            raise ValueError("update_secret: without `credentials` the new secret has to be given")
        self._ask()
        return SecretStr(self._password)

    def forget(self) -> None:
        """Let go of the password, what was made of it, and the program's functions: there will be no more logins."""
        self._credentials = self._given = None
        self._password, self._response = SecretStr(), SecretBytes()

    def _ask(self) -> None:
        if self._credentials is None:
            return
        userid, password = _hidden_pair(self._credentials())
        if not _sendable(userid) or not _sendable(password):
            raise ValueError("credentials: it has to return userid and password, two strings without NUL")
        self._userid, self._password = userid, password

    def begin(self, offered: Sequence[str], where: str) -> SecretBytes:
        """The response for connection.start-ok; `mechanism` is the one chosen. AuthenticationError when the server
        offers none that is wanted."""
        self._challenges = 0
        self.mechanism = self._choose(offered, where)
        if callable(self._given):
            self._response = _encoded(self._given(None))
        elif self._given is not None:
            self._response = _encoded(self._given)
        else:
            self._ask()
            self._response = SecretBytes(_MECHANISMS[self.mechanism.upper()](self._userid, self._password))
        return self._response

    def _choose(self, offered: Sequence[str], where: str) -> str:
        known = {name.upper(): name for name in offered}
        for name in self._wanted:
            if name.upper() in known:
                return known[name.upper()]
        text = "the server offers no login by %s; it offers %s" % (
            " or ".join(self._wanted),
            ", ".join(offered) or "none at all",
        )
        if "EXTERNAL" in map(str.upper, self._wanted):
            text += " (RabbitMQ offers EXTERNAL over TLS only, to clients with a certificate; see its plugin "
            text += "rabbitmq_auth_mechanism_ssl)"
        raise AuthenticationError(_ACCESS_REFUSED, text, where=where)

    def answer(self, challenge: str, where: str) -> SecretBytes:
        """The response for connection.secure-ok. Where no function was given for it, the first response again."""
        self._challenges += 1
        if self._challenges > _MAX_CHALLENGES:
            text = "the server has asked %d times, and lets nobody in" % _MAX_CHALLENGES
            raise AuthenticationError(_ACCESS_REFUSED, text, where=where)
        if callable(self._given):
            return _encoded(self._given(challenge.encode("utf-8", "surrogateescape")))
        return self._response


def _listed(names: Any) -> List[str]:
    return list(names) if isinstance(names, (list, tuple)) else []


def _hidden_pair(given: Any) -> Tuple[Any, Any]:
    try:
        userid, password = given
    except (TypeError, ValueError):
        return None, None
    return userid, hide(password)


def _encoded(response: Any) -> SecretBytes:
    response = hide(response)
    if isinstance(response, str) and _sendable(response, nul=True):
        return SecretBytes(response.encode("utf-8"))
    if isinstance(response, (bytes, bytearray)):
        return SecretBytes(response)
    raise ValueError("login_response: bytes, or a str that can be sent as UTF-8; or a function that returns one")


def _sendable(value: Any, nul: bool = False) -> bool:
    if isinstance(value, str) and (nul or "\0" not in value):
        with suppress(UnicodeEncodeError):
            value.encode("utf-8")
            return True
    return False
