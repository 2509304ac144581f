"""Plain text, as in docs/*.txt and docstrings, to reStructuredText: they are read as they are, and shown by Sphinx.

Titles and lists are alike in both. What is indented is code or a table, and becomes a literal block. What would be
markup by accident (*args, name_) is escaped.
"""

from __future__ import annotations

import re
from typing import List

_QUOTED = re.compile(r"(`[^`\n]+`)")
_MARKUP = re.compile(r"[\\*`|]|_(?!\w)")


def to_rst(text: str) -> str:
    """The same text in reStructuredText."""
    out: List[str] = []
    literal = False
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text.expandtabs().strip("\n")):
        lines = paragraph.split("\n")
        if lines[0].startswith(" "):
            out += [*([] if literal else ["::", ""]), *("    " + line for line in lines), ""]
            literal = True
        else:
            out += [*_paragraph(lines), ""]
            literal = False
    return "\n".join(out)


def _paragraph(lines: List[str]) -> List[str]:
    """A title with what follows at once, a list, or text."""
    if len(lines) > 1 and re.fullmatch(r"(=|-){3,}", lines[1]):
        title = _escaped(lines[0])
        return [title, lines[1][0] * len(title), "", *(to_rst("\n".join(lines[2:])).split("\n") if lines[2:] else [])]
    if re.match(r"[-*] |\d+\. ", lines[0]):
        return [line[:2] + _escaped(line[2:]) for line in lines]
    hanging = [line.startswith("    ") for line in lines]
    if not any(hanging):
        return [_escaped(line) for line in lines]
    if all(hanging[hanging.index(True) :]):  # text, and an indented block right behind it
        first = hanging.index(True)
        if first > 1 or not re.match(r"\w[\w, ]*:", lines[0]):
            return [*(_escaped(line) for line in lines[:first]), "", *to_rst("\n".join(lines[first:])).split("\n")]
    return [("  " if hangs else "- ") + _escaped(line.strip()) for line, hangs in zip(lines, hanging)]


def _escaped(line: str) -> str:
    parts = _QUOTED.split(line)
    parts[::2] = [_MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = ["`%s`" % part for part in parts[1::2]]
    return "".join(parts)
