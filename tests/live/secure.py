"""RabbitMQ nodes that let in over TLS, and by more mechanisms than PLAIN: one of each series for a whole test run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Optional

from tests.brokers import Node, Nodes, free_port
from tests.conftest import SUITES, give_up, installation

__all__ = ["SERIES", "SecureNodes", "Secured"]

SERIES = ("3.10", "4.0")

_PLUGINS = ("rabbitmq_auth_mechanism_ssl", "rabbitmq_auth_backend_oauth2")
# RABBIT-CR-DEMO is RabbitMQ's own example of a mechanism with a challenge. 3.10 passes over ANONYMOUS, which it lacks.
_CONF = """
auth_mechanisms.4 = RABBIT-CR-DEMO
auth_mechanisms.5 = ANONYMOUS
auth_backends.1 = internal
auth_backends.2 = rabbit_auth_backend_oauth2
"""

_KEY = b"0123456789abcdef0123456789abcdef"

_OAUTH2 = (
    'application:set_env(rabbitmq_auth_backend_oauth2, resource_server_id, <<"rabbitmq">>),'
    "application:set_env(rabbitmq_auth_backend_oauth2, key_config, "
    '[{default_key, <<"k">>}, {signing_keys, #{<<"k">> => {map, '
    '#{<<"kty">> => <<"oct">>, <<"alg">> => <<"HS256">>, <<"k">> => <<"%s">>}}}}]).'
)
_LISTENER = (
    'rabbit_networking:start_ssl_listener({"127.0.0.1", %d, inet}, [{cacertfile, "%s/ca.pem"}, '
    '{certfile, "%s.pem"}, {keyfile, "%s.key"}, {versions, [%s]}%s], 2).'
)


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Secured:
    """A node. Its first listener for TLS has the certificate `server`; more can be asked for."""

    def __init__(self, node: Node) -> None:
        assert node.certificates
        self.node = node
        self.certificates: Path = node.certificates
        self.host = "localhost:%d" % (node.tls_port or 0)
        self.trusting: Dict[str, Any] = {"ca_certs": str(self.certificates / "ca.pem")}
        self._listeners: Dict[Any, str] = {}
        node.ctl("eval", _OAUTH2 % _base64url(_KEY).decode())

    def own(self, name: str) -> Dict[str, Any]:
        """Options that trust the authority, and show this certificate."""
        directory = self.certificates
        return dict(self.trusting, certfile=str(directory / (name + ".pem")), keyfile=str(directory / (name + ".key")))

    def listen(self, name: str = "server", versions: str = "'tlsv1.2', 'tlsv1.3'", more: str = "") -> str:
        """Another listener: a certificate, Erlang's names of TLS versions and more options in Erlang. Its host."""
        key = name, versions, more
        if key not in self._listeners:
            port, files = free_port(), self.certificates / name
            self.node.ctl("eval", _LISTENER % (port, self.certificates, files, files, versions, more))
            self._listeners[key] = "localhost:%d" % port
        return self._listeners[key]

    @staticmethod
    def token(seconds: float) -> str:
        """A JSON Web Token (RFC 7519) for the user bob, good for so long."""
        claims = {
            "aud": ["rabbitmq"],
            "scope": ["rabbitmq.%s:*/*" % verb for verb in ("configure", "read", "write")],
            "sub": "bob",
            "exp": int(time.time() + seconds),
        }
        parts = [{"alg": "HS256", "typ": "JWT", "kid": "k"}, claims]
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
        return (signed + b"." + _base64url(hmac.new(_KEY, signed, hashlib.sha256).digest())).decode()


class SecureNodes:
    """The nodes of a test run, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._nodes: Optional[Nodes] = None
        self._found: Dict[str, Secured] = {}

    def get(self, series: str) -> Secured:
        """The node of this series."""
        if series not in self._found:
            install = installation(series)
            if install is None:
                give_up("no RabbitMQ %s here (run tests/install_rabbitmq.sh %s)" % (series, SUITES[series]))
            if self._nodes is None:
                self._nodes = self._stack.enter_context(Nodes())
            self._found[series] = Secured(self._nodes.start(install, _CONF, True, _PLUGINS))
        return self._found[series]
