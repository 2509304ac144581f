"""Names that are nearly right: what was most likely meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Collection, Dict

__all__ = ["meant", "suggested"]

#: Arguments of Connection as other libraries and old programs call them -> what to write.
_ARGUMENTS = {
    "port": "host='name:port'",
    "hostname": "host='name:port'",
    "server": "host='name:port'",
    "hosts": "host='name:port,name:port'",
    "url": "host='amqp://...'",
    "uri": "host='amqp://...'",
    "user": "userid",
    "username": "userid",
    "user_id": "userid",
    "login": "userid",
    "passwd": "password",  # nosec B105: names of arguments
    "passcode": "password",  # nosec B105
    "vhost": "virtual_host",
    "timeout": "connect_timeout",
    "connection_timeout": "connect_timeout",
    "socket_timeout": "connect_timeout",
    "read_timeout": "reply_timeout",
    "blocked_connection_timeout": "blocked_timeout",
    "heartbeat_interval": "heartbeat",
    "tls": "ssl",
    "use_ssl": "ssl",
    "use_tls": "ssl",
    "ssl_options": "ssl",
    "ssl_context": "ssl",
    "auth_mechanism": "login_method",
    "mechanism": "login_method",
}


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def meant(name: str, names: Collection[str], others: Dict[str, str]) -> str:
    """Which of the names was meant, '' when there is no telling. `others`: what names mean that are no mistypings."""
    if name in others:
        return others[name]
    plain = {_plain(each): each for each in [*others, *names]}
    found = get_close_matches(_plain(name), plain, 1, 0.8)
    if not found:
        return ""
    return others.get(plain[found[0]], plain[found[0]])


def suggested(name: str, names: Collection[str]) -> str:
    """An argument that Connection does not have, and what to write. `names`: those that it has."""
    right = meant(name, names, _ARGUMENTS)
    return "%s: write %s" % (name, right) if right else name
