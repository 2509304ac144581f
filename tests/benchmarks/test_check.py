"""The judgement of benchmarks/check.py, on figures that are made up; nothing is measured here."""

from __future__ import annotations

import json
from typing import Dict, List, Sequence

import pytest

from benchmarks import check
from benchmarks.measure import Figures, Results
from benchmarks.work import BY_NAME, FLOOR, OURS, REFERENCE, Row

PUBLISH, CONSUME, BATCH = BY_NAME["publish"], BY_NAME["consume"], BY_NAME["batch"]
RECORDED = {name: {REFERENCE: 0.2, FLOOR: 3.0} for name in ("publish", "consume")}


def ratios(factor: float, floor_factor: float = 0) -> check.Ratios:
    """The recorded ratios, so many times as large."""
    return {REFERENCE: 0.2 * factor, FLOOR: 3.0 * (floor_factor or factor)}


@pytest.mark.parametrize(
    ("found", "worse"),
    [
        (ratios(1.0), False),
        (ratios(0.5), False),
        (ratios(1.24), False),
        (ratios(1.26), True),
        (ratios(1.5, 1.2), False),  # only py-amqp was in luck
        (ratios(1.2, 1.5), False),
        ({REFERENCE: 0.26}, True),  # there is no floor
        ({}, True),  # nothing could be measured
    ],
)
def test_worse_by_more_than_the_tolerance(found: check.Ratios, worse: bool) -> None:
    assert check.worse(PUBLISH, {"publish": found}, RECORDED) is worse


def test_a_row_without_a_record_fails() -> None:
    assert check.worse(BATCH, {"batch": ratios(1.0)}, RECORDED)


class Measurements:
    """Gives ratios that are a factor of the recorded ones, another each time."""

    def __init__(self, *factors: Dict[str, float]) -> None:
        self.factors = list(factors)
        self.asked: List[List[str]] = []

    def __call__(self, rows: Sequence[Row], rounds: int) -> Dict[str, check.Ratios]:
        self.asked.append([row.name for row in rows])
        factors = self.factors.pop(0)
        return {row.name: ratios(factors[row.name]) for row in rows}


def test_what_fails_is_measured_once_more() -> None:
    measure = Measurements({"publish": 1.0, "consume": 1.3}, {"consume": 1.1})
    assert check.judge([PUBLISH, CONSUME], RECORDED, measure) == []
    assert measure.asked == [["publish", "consume"], ["consume"]]


def test_what_fails_twice_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    measure = Measurements({"publish": 1.4, "consume": 1.3}, {"publish": 1.0, "consume": 1.3})
    assert check.judge([PUBLISH, CONSUME], RECORDED, measure) == [CONSUME]
    assert "worse by more than 25 %: consume" in capsys.readouterr().out


def results(ours: List[float], theirs: List[float], floor: List[float]) -> Results:
    by_library = {OURS: Figures(cpu=ours), REFERENCE: Figures(cpu=theirs), FLOOR: Figures(cpu=floor)}
    return Results({"publish": by_library, "batch": {OURS: Figures(cpu=[1.0, 1.0, 1.0])}})


def test_ratios_are_taken_round_by_round() -> None:
    """The second round was disturbed, for all alike; in the third, only for amqplib."""
    measured = results([3.0, 30.0, 9.0], [30.0, 300.0, 30.0], [1.0, 10.0, 1.0])
    assert check.ratios([PUBLISH], measured) == {"publish": {REFERENCE: 0.1, FLOOR: 3.0}}


def test_a_row_that_only_amqplib_has_is_compared_with_another_row() -> None:
    measured = results([3.0], [20.0, 10.0, 20.0], [1.0])
    assert check.ratios([BATCH], measured) == {"batch": {REFERENCE: 0.05}}


def test_the_record_has_every_row_and_both_ratios() -> None:
    record = json.loads(check.RECORD.read_text())
    assert record
    for version, rows in record.items():
        for row in check.ROWS:
            assert set(rows[row.name]) == {REFERENCE, FLOOR}, version


def test_another_python_is_compared_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    versions = sorted(json.loads(check.RECORD.read_text()), key=lambda version: int(version.split(".")[1]))
    assert check.read_record("3.99") == json.loads(check.RECORD.read_text())[versions[-1]]
    assert "nothing is recorded for Python 3.99" in capsys.readouterr().out


def test_the_record_is_the_worst_of_each() -> None:
    assert check.worst([{"publish": ratios(1.0, 1.2)}, {"publish": ratios(1.1)}]) == {"publish": ratios(1.1, 1.2)}
