"""The results in text, to be read by people and to be put into the documentation."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

from benchmarks.measure import Results
from benchmarks.work import FLOOR, OURS, PEERS, REFERENCE, Row

#: Medians of wall time this close are taken for the same.
SAME_WALL = 1.05

_TITLE = 38


def text(rows: Sequence[Row], libraries: Sequence[str], results: Results) -> str:
    """All tables."""
    timed = [row for row in rows if not row.memory]
    parts = [
        "CPU time of the client, microseconds a message",
        _table(rows, libraries, results.figure),
    ]
    if REFERENCE in libraries:
        parts += [
            "",
            "The same as a share of py-amqp's, and what amqplib is to reach",
            _shares(rows, libraries, results),
        ]
    parts += ["", "Time on the wall, microseconds a message", _table(timed, libraries, results.wall)]
    slower = [row for row in timed if not fast_enough(row, results)]
    for row in slower:
        parts.append("amqplib is not the fastest on the wall: %s" % row.title)
    if not slower and any(peer in libraries for peer in PEERS):
        parts.append("On the wall no library is faster than amqplib by more than %d %%." % round(SAME_WALL * 100 - 100))
    parts += ["", *("failed: " + failure for failure in results.failures)]
    return "\n".join(parts).rstrip()


def fast_enough(row: Row, results: Results) -> bool:
    """Is no Python library faster on the wall?"""
    ours = results.wall(row, OURS)
    name = row.against or row.name
    others = results.figures.get(name, {})
    walls = [results.wall(row._replace(name=name), peer) for peer in PEERS if peer in others]
    return ours is None or all(wall is None or ours <= wall * SAME_WALL for wall in walls)


def number(value: Optional[float]) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    return "%.0f" % value if value >= 100 else "%.1f" % value if value >= 10 else "%.2f" % value


def share(value: Optional[float]) -> str:
    return "-" if value is None else "%.3f" % value if value < 0.1 else "%.2f" % value


def _table(rows: Sequence[Row], libraries: Sequence[str], value: Callable[[Row, str], Optional[float]]) -> str:
    lines = [_line("", libraries)]
    for row in rows:
        lines.append(_line(row.title, [number(value(row, library)) for library in libraries]))
    return "\n".join(lines)


def _shares(rows: Sequence[Row], libraries: Sequence[str], results: Results) -> str:
    others = [library for library in libraries if library not in (OURS, REFERENCE, FLOOR)]
    columns = [name for name in [OURS, FLOOR, *others] if name in libraries]
    lines = [_line("", [*columns, "target"])]
    for row in rows:
        if row.memory:
            cells = [number(results.figure(row, name)) for name in columns]
        else:
            cells = [share(results.ratio(row, name)) for name in columns]
        lines.append(_line(row.title, [*cells, share(row.target)]) + "  " + verdict(row, results))
    return "\n".join(lines)


def verdict(row: Row, results: Results) -> str:
    reached = results.verdict(row)
    if row.target is None or reached is None:
        return ""
    return "met" if round(reached, 3) <= row.target else "missed"


def _line(title: str, cells: Sequence[str]) -> str:
    return (title.ljust(_TITLE) + "".join(cell.rjust(10) for cell in cells)).rstrip()
