"""How pytest-xdist shares the tests out: those that run on one RabbitMQ go to one process, so that it is started once.

All others go, one by one, to whichever process has nothing to do.
"""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

__all__ = ["ByBroker"]

#: The series of a RabbitMQ among the parameters in a test's name.
_SERIES = re.compile(r"[\[-](3\.8|3\.10|4\.0|4\.3)(?=[\]-])[^/:]*\]$")


class ByBroker(LoadScopeScheduling):  # type: ignore[misc]
    """xdist's own sharing out by scopes, with other scopes."""

    def _split_scope(self, nodeid: str) -> Any:
        found = _SERIES.search(nodeid)
        return found.group(1) if found else nodeid
