"""The pages in docs/ that are reStructuredText, and their blocks of code."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import List, NamedTuple

__all__ = ["DOCS", "ROOT", "Block", "addressed", "blocks", "declared", "page"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n(?:    :caption: (.*)\n)?\n((?:    .*\n|\n)+)", re.MULTILINE)


class Block(NamedTuple):
    """A block of code; what it is said to print, '' where nothing is said; the name of its file, if it has one."""

    language: str
    code: str
    output: str
    line: int
    file: str


def page(name: str) -> str:
    return (DOCS / (name + ".rst")).read_text(encoding="utf-8")


def blocks(text: str) -> List[Block]:
    """Those of a page, in order. One of `text` right behind one of code is what that prints."""
    found: List[Block] = []
    end = -1
    for match in _BLOCK.finditer(text):
        code = textwrap.dedent(match.group(3)).strip("\n") + "\n"
        if match.group(1) == "text" and match.start() == end and found[-1].language != "text":
            found[-1] = found[-1]._replace(output=code)
        else:
            line = text.count("\n", 0, match.start(3)) + 1
            found.append(Block(match.group(1), code, "", line, match.group(2) or ""))
        end = match.end()
    return found


def addressed(code: str, host: str) -> str:
    """The same, for a broker at this host and port."""
    return re.sub(r"localhost(:5672)?(?=['/,])", host, code)


def declared(code: str) -> List[str]:
    """The names of the queues and exchanges that code declares."""
    return re.findall(r"(?:queue|exchange)_declare\('([^']+)'", code)
