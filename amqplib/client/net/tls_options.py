"""The `ssl` argument of Connection, made into an ssl.SSLContext.

The default verifies: the system's trust store, the host's name, TLS 1.2 or later. Programs of ssl.wrap_socket()'s time
pass its options, in a dict; they mean what they meant then, but for one thing: leaving cert_reqs out, which meant
no verification, means verification. An option that is empty, or of another type, is an error: a variable that was not
set must not weaken anything in silence. Cipher suites without a certificate, or without encryption, are never offered.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import suppress
from functools import partial
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple, Union

from ..connect.secret import SecretStr, plain
from ..logger import LOGGER

__all__ = ["make_context"]

#: What a connection has no use for: there is always a handshake, and an end without a word is always an error.
_IGNORED = ("do_handshake_on_connect", "suppress_ragged_eofs")

_OPTIONS = "ca_certs, certfile, keyfile, password, cert_reqs, ssl_version, ciphers, server_hostname and context"

_WEAK_NAMES = re.compile("NULL|^ADH-|^AECDH-|_anon_")

#: 0 where Python's TLS library has no such option: then a peer may begin a renegotiation in TLS 1.2.
_NO_RENEGOTIATION: int = getattr(ssl, "OP_NO_RENEGOTIATION", 0)

_ANY_VERSION = ("PROTOCOL_TLS", "PROTOCOL_SSLv23", "PROTOCOL_TLS_CLIENT")
_OLD_VERSIONS = ("PROTOCOL_SSLv2", "PROTOCOL_SSLv3", "PROTOCOL_TLSv1", "PROTOCOL_TLSv1_1")


def make_context(option: Union[bool, Mapping[str, Any], ssl.SSLContext]) -> Tuple[ssl.SSLContext, Optional[str]]:
    """The context for Connection's `ssl` argument, and the host name to verify if it names one.

    True, an ssl.SSLContext, or a dict, in which None counts as absent, of
        ca_certs            file with the certificates of the authorities to trust instead of the system's, in PEM
        certfile, keyfile   the client certificate, and its key if that is in a file of its own, in PEM
        password            passphrase of the key: str, bytes, or a function that returns one
        cert_reqs           ssl.CERT_NONE turns verification off; nothing else does
        ssl_version         ssl.PROTOCOL_TLSv1_2 for nothing newer; older ones are not spoken any more
        ciphers             for TLS 1.2, as OpenSSL writes them; without those of aNULL and eNULL
        server_hostname     the name to verify, and to send as SNI, instead of the host's
        context             an ssl.SSLContext that is taken as it is, but for the suites of aNULL and eNULL, which are
                            taken out of it; only server_hostname may stand beside it
    or of server_side, do_handshake_on_connect and suppress_ragged_eofs, which change nothing.

    ValueError says which option cannot be used, and why.
    """
    if isinstance(option, ssl.SSLContext):
        option = {"context": option}
    elif isinstance(option, int) and option:  # True, and 1 of old programs
        option = {}
    elif not isinstance(option, Mapping):
        raise ValueError("ssl: it is True, a dict or an ssl.SSLContext, not a thing of type %s" % type(option).__name__)
    given = {key: value for key, value in option.items() if value is not None and key not in _IGNORED}
    server_hostname = given.pop("server_hostname", None)
    if server_hostname is not None:
        if not isinstance(server_hostname, str) or not server_hostname:
            _refuse("server_hostname", "is not the name of a host")
        if not server_hostname.isprintable():
            _refuse("server_hostname", "%r: it holds a NUL or a control character" % server_hostname)
    if given.pop("server_side", False):
        _refuse("server_side", "this is a client")
    context = _given_context(given) if "context" in given else _new_context(given)
    if given:
        raise ValueError("ssl: unknown option %s; there are %s" % (", ".join(sorted(map(str, given))), _OPTIONS))
    return context, server_hostname


def _refuse(option: str, why: str, cause: Optional[BaseException] = None) -> NoReturn:
    raise ValueError("ssl: %s: %s" % (option, why)) from cause


def _given_context(given: Dict[str, Any]) -> ssl.SSLContext:
    context = given.pop("context")
    if not isinstance(context, ssl.SSLContext) or context.protocol == ssl.PROTOCOL_TLS_SERVER:
        _refuse("context", "is not an ssl.SSLContext for a client")
    if given:
        _refuse("context", "is taken as it is: %s cannot be changed from here" % ", ".join(sorted(map(str, given))))
    _take_out_weak_suites(context)
    return context


def _new_context(given: Dict[str, Any]) -> ssl.SSLContext:
    for name in ("ca_certs", "certfile", "keyfile"):
        if name in given and not given[name]:
            _refuse(name, "%r is the name of no file; leave it out for none of your own" % (given[name],))
    ca_certs = given.pop("ca_certs", None)
    try:
        context = ssl.create_default_context(cafile=_path(ca_certs))
    except (OSError, ValueError, TypeError) as exc:
        _refuse("ca_certs", "%r: %s" % (ca_certs, _file_problem(exc, "no certificates in PEM")), exc)
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)  # the system may ask for more
    context.options |= _NO_RENEGOTIATION  # writing would have to wait for reading
    with suppress(AttributeError):  # Python says so where the TLS library cannot
        context.hostname_checks_common_name = False  # RFC 9525, section 6.3: where there is no alternative name, either
    _set_version(context, given.pop("ssl_version", None))
    _load_own_certificate(context, given)
    if "ciphers" in given:
        _set_ciphers(context, given.pop("ciphers"))
    cert_reqs = given.pop("cert_reqs", ssl.CERT_REQUIRED)
    known = (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED)
    if not isinstance(cert_reqs, int) or isinstance(cert_reqs, bool) or cert_reqs not in known:  # 0.0 equals CERT_NONE
        _refuse("cert_reqs", "%r: it is ssl.CERT_REQUIRED, or ssl.CERT_NONE for no verification" % (cert_reqs,))
    if cert_reqs == ssl.CERT_NONE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _set_ciphers(context: ssl.SSLContext, ciphers: Any) -> None:
    problem = "%r: OpenSSL knows none of them, or none that wants a certificate and encrypts" % (ciphers,)
    if not isinstance(ciphers, str):
        _refuse("ciphers", problem)
    try:
        context.set_ciphers(ciphers + ":!aNULL:!eNULL")  # '!' is for good, wherever it stands
    except (ssl.SSLError, ValueError) as exc:  # the latter for a NUL
        _refuse("ciphers", problem, exc)
    if _weak_suites(context):
        _refuse("ciphers", problem)


def _take_out_weak_suites(context: ssl.SSLContext) -> None:
    weak = _weak_suites(context)
    if weak:
        rest = ":".join(suite["name"] for suite in context.get_ciphers() if suite["name"] not in weak)
        problem = "its cipher suites want no certificate, or do not encrypt: %s" % ", ".join(weak[:5])
        try:
            context.set_ciphers(rest or "!ALL")
        except ssl.SSLError as exc:
            _refuse("context", problem, exc)
        if _weak_suites(context):
            _refuse("context", problem)
        LOGGER.info(
            "ssl: suites without a certificate or encryption were taken out of the context: %s", ", ".join(weak)
        )


def _weak_suites(context: ssl.SSLContext) -> List[str]:
    """Names of the cipher suites in it that do not say who the peer is, or do not encrypt."""
    suites = context.get_ciphers() if hasattr(context, "get_ciphers") else []  # not every TLS library can tell
    return [
        suite["name"]
        for suite in suites
        if {"Au=None", "Enc=None"}.intersection(suite.get("description", "").split())
        or _WEAK_NAMES.search(suite["name"])
    ]


def _set_version(context: ssl.SSLContext, version: Any) -> None:
    if version is None or version in _constants(*_ANY_VERSION):
        return
    if version in _constants(*_OLD_VERSIONS):
        LOGGER.warning("ssl_version: SSL and TLS before 1.2 are not spoken any more; TLS 1.2 or later is offered")
    elif version in _constants("PROTOCOL_TLSv1_2"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    else:
        _refuse("ssl_version", "%r is none that a client can ask for" % (version,))


def _constants(*names: str) -> Tuple[Any, ...]:
    return tuple(getattr(ssl, name) for name in names if hasattr(ssl, name))


def _load_own_certificate(context: ssl.SSLContext, given: Dict[str, Any]) -> None:
    certfile, keyfile, password = (given.pop(name, None) for name in ("certfile", "keyfile", "password"))
    if certfile is None:
        if keyfile is not None or password is not None:
            _refuse("keyfile, password", "there is no certfile that they are for")
        return
    passphrase = _no_passphrase if password is None else password
    if isinstance(password, SecretStr):  # OpenSSL would take it for what it shows
        passphrase = partial(plain, password)
    try:
        context.load_cert_chain(_path(certfile), _path(keyfile), passphrase)
    except (OSError, TypeError, ValueError) as exc:
        if str(exc) == _ENCRYPTED:
            raise
        files, otherwise = "%r" % (certfile,), "no certificate and key in PEM"
        if keyfile is None:
            otherwise += "; a key in a file of its own is keyfile="
        else:
            files += ", keyfile: %r" % (keyfile,)
        _refuse("certfile", "%s: %s" % (files, _file_problem(exc, otherwise, password)), exc)


def _path(file: Any) -> Any:
    """PyPy's ssl takes no pathlib.Path, and a name up to its NUL."""
    file = os.fspath(file) if isinstance(file, os.PathLike) else file
    if (isinstance(file, str) and "\0" in file) or (isinstance(file, bytes) and b"\0" in file):
        raise ValueError("embedded null byte")
    return file


def _no_passphrase() -> str:
    # otherwise OpenSSL would ask on the terminal, and wait for ever
    raise ValueError(_ENCRYPTED)


_ENCRYPTED = "ssl: keyfile: the key is encrypted: its passphrase is wanted, as `password`"


def _file_problem(exc: BaseException, otherwise: str, password: Any = None) -> str:
    if not isinstance(exc, ssl.SSLError):
        number = getattr(exc, "errno", None)
        return os.strerror(number) if number else str(exc)  # PyPy leaves strerror out
    if exc.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if "_TOO_" in (exc.reason or ""):  # small, or weak: it has been read
        return "OpenSSL refuses it (%s)" % exc.reason
    return otherwise + (", or not with this password" if password is not None else "")
