"""Tables and chart of the comparison, on figures that are made up."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import chart, report
from benchmarks.measure import Figures, Results
from benchmarks.work import BY_NAME, LIBRARIES

ROWS = [BY_NAME[name] for name in ("publish", "batch", "1MB-in", "100MB-in")]


@pytest.fixture
def results() -> Results:
    return Results(
        {
            "publish": {
                "amqplib": Figures([1.5, 1.6, 9.0], [10.0, 10.0, 10.0]),
                "py-amqp": Figures([10.0, 10.0, 11.0], [30.0, 30.0, 30.0]),
                "pika": Figures([40.0] * 3, [9.7] * 3),
                "floor": Figures([1.0] * 3, [8.0] * 3),
            },
            "batch": {"amqplib": Figures([0.5] * 3, [9.0] * 3)},
            "1MB-in": {"amqplib": Figures([900.0], [2000.0]), "pika": Figures([700.0], [1000.0])},
            "100MB-in": {"amqplib": Figures([1.0], [1.0], [1.01]), "py-amqp": Figures([1.0], [1.0], [2.0])},
        },
        failures=["rabbitpy, consume: it gave no answer for 60 s"],
    )


def test_the_figure_is_the_median(results: Results) -> None:
    assert results.figure(ROWS[0], "amqplib") == 1.6
    assert results.ratio(ROWS[0]) == 0.16
    assert results.figure(ROWS[0], "rabbitpy") is None


@pytest.mark.parametrize(
    ("name", "verdict"), [("publish", "missed"), ("batch", "met"), ("1MB-in", ""), ("100MB-in", "met")]
)
def test_targets(results: Results, name: str, verdict: str) -> None:
    assert report.verdict(BY_NAME[name], results) == verdict


@pytest.mark.parametrize(("name", "fast"), [("publish", True), ("batch", True), ("1MB-in", False)])
def test_wall_time(results: Results, name: str, fast: bool) -> None:
    """Five per cent are the same; the batch is compared with how others publish."""
    assert report.fast_enough(BY_NAME[name], results) is fast


def test_text(results: Results) -> None:
    text = report.text(ROWS, list(LIBRARIES), results)
    lines = [line.split() for line in text.splitlines()]
    assert ["publish,", "each", "sent", "at", "once", "1.60", "10.0", "40.0", "-", "-", "1.00"] in lines
    assert ["publish,", "each", "sent", "at", "once", "0.16", "0.10", "4.00", "-", "-", "0.15", "missed"] in lines
    assert "amqplib is not the fastest on the wall: 1 MB bodies in" in text
    assert "failed: rabbitpy, consume: it gave no answer for 60 s" in text


def test_chart(results: Results) -> None:
    document = ElementTree.fromstring(chart.svg(ROWS, list(LIBRARIES), results, "<heading> & more"))
    words = [element.text for element in document.iter("{http://www.w3.org/2000/svg}text")]
    assert "<heading> & more" in words
    assert "1.60 us, 0.16" in words
    assert "0.50 us, 0.050" in words
