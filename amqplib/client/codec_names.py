"""Which Python codec a content_encoding names.

Python keeps every name that it was ever asked for, whether it is a codec or not, and looks on the disk for each new
one. Names come from strangers here, as many and as various as they like. So Python is asked for the codecs that it
has under one spelling each, and for a limited number of others, which the program may have registered.
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import Any, Dict, FrozenSet, Optional

__all__ = ["MOST_STRANGERS", "CodecNames"]

#: Names that Python has no codec of its own for, and is asked about; later ones are taken for none.
MOST_STRANGERS = 256

#: Spellings that are remembered.
_SPELLINGS = 512

_OTHERS = re.compile("[^a-z0-9.]+")


@lru_cache(maxsize=None)
def _shipped() -> FrozenSet[str]:
    """Names of the modules that Python's codecs are in."""
    import encodings  # no sooner than somebody uses an unusual one
    import pkgutil

    return frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__))


class CodecNames:
    """What was found out. Senders and receivers have one each: what strangers use up is not the program's own."""

    def __init__(self) -> None:
        self._strangers: Dict[str, Optional[str]] = {}
        #: The name to ask Python by; None if there is no such codec.
        self.find = lru_cache(maxsize=_SPELLINGS)(self._find)

    def _find(self, name: Any) -> Optional[str]:
        if not (isinstance(name, str) and name.isascii() and name.isprintable()):
            return None
        # as Python does it: letters and digits count, whatever separates them
        plain = _OTHERS.sub("_", name.lower()).strip("_")
        known = aliases.get(plain) or aliases.get(plain.replace(".", "_"))
        if known or plain in _shipped():
            return known or plain
        if plain not in self._strangers:
            if len(self._strangers) >= MOST_STRANGERS:
                return None
            self._strangers[plain] = name if _is_codec(name) else None
        return self._strangers[plain]


def _is_codec(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError, Warning):  # codecs warn, and the program may have warnings made errors
        return False
    return True
