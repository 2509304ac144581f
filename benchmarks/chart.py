"""The results as a chart: one group of bars a row, one bar a library, as long as its share of py-amqp's CPU time."""

from __future__ import annotations

from typing import List, Sequence
from xml.sax.saxutils import escape

from benchmarks.measure import Results
from benchmarks.report import number, share
from benchmarks.work import REFERENCE, Row

_COLOURS = {
    "amqplib": "#0b6e4f",
    "py-amqp": "#8d99ae",
    "pika": "#c9a227",
    "amqpstorm": "#b56576",
    "rabbitpy": "#6d597a",
    "floor": "#d0d5dd",
}
_WIDTH, _LEFT, _BAR, _GAP, _TOP = 900, 270, 13, 14, 70
#: The longest bar that is drawn, in times py-amqp; longer ones end there, with their figure.
_LONGEST = 3.0


def svg(rows: Sequence[Row], libraries: Sequence[str], results: Results, heading: str) -> str:
    """The chart as a document."""
    unit = (_WIDTH - _LEFT - 110) / _LONGEST
    body: List[str] = []
    y = _TOP
    for row in rows:
        if row.memory:
            continue
        bars = [(name, results.ratio(row, name), results.figure(row, name)) for name in libraries]
        bars = [bar for bar in bars if bar[1] is not None]
        middle = y + len(bars) * _BAR / 2 + 4
        body.append(_text(_LEFT - 10, middle, row.title, "end"))
        for name, ratio, microseconds in bars:
            assert ratio is not None
            length = max(1.0, min(ratio, _LONGEST) * unit)
            body.append(
                '<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>'
                % (_LEFT, y, length, _BAR - 2, _COLOURS[name])
            )
            label = "%s us, %s" % (number(microseconds), share(ratio))
            body.append(_text(_LEFT + length + 5, y + _BAR - 3, label, "start", 9))
            y += _BAR
        y += _GAP
    one = _LEFT + unit
    line = '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#555" stroke-dasharray="2,3"/>' % (one, _TOP - 6, one, y)
    head = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">' % (_WIDTH, y + 20),
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(12, 18, "Client CPU time a message, as a share of %s's (shorter is better)" % REFERENCE, "start", 14),
        _text(12, 34, heading, "start", 9),
    ]
    x = _LEFT
    for name in libraries:
        head.append('<rect x="%d" y="44" width="10" height="10" fill="%s"/>' % (x, _COLOURS[name]))
        head.append(_text(x + 14, 53, name, "start", 11))
        x += 95
    return "\n".join([*head, line, *body, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return '<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s">%s</text>' % (x, y, size, anchor, escape(text))
