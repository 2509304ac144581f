"""The judgement of benchmarks/check.py, on figures that are made up; nothing is measured here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from benchmarks import check, python
from benchmarks.clients.python_part import Part
from benchmarks.drivers import DriverError
from benchmarks.measure import Figures, Results
from benchmarks.python import Figure
from benchmarks.work import BY_NAME, FLOOR, OURS, REFERENCE, Row

PUBLISH, CONSUME, BATCH = BY_NAME["publish"], BY_NAME["consume"], BY_NAME["batch"]
COUNTS = {"instructions": 200.0, "C calls": 10.0}
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
    assert check.worse(PUBLISH, {"publish": found}, RECORDED, 1.25) is worse


def test_a_row_without_a_record_fails() -> None:
    assert check.worse(BATCH, {"batch": ratios(1.0)}, RECORDED, 1.25)


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
    assert check.judge([PUBLISH, CONSUME], RECORDED, measure, 1.25) == {}
    assert measure.asked == [["publish", "consume"], ["consume"]]


def test_what_fails_twice_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    measure = Measurements({"publish": 1.4, "consume": 1.3}, {"publish": 1.0, "consume": 1.3})
    assert check.judge([PUBLISH, CONSUME], RECORDED, measure, 1.25) == {"consume": ratios(1.3)}
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


def test_the_record_has_every_row_or_none_of_its_kind() -> None:
    record = json.loads(check.RECORD.read_text())
    beside, alone = {row.name for row in check.ROWS}, {line.name for line in check.PYTHON_LINES}
    assert any(beside & set(rows) for rows in record.values())
    assert any(alone & set(rows) for rows in record.values())
    for version, rows in record.items():
        assert beside & set(rows) in (beside, set()), version
        assert alone & set(rows) in (alone, set()), version
        for name, found in rows.items():
            assert set(found) == ({check.LOOP, *check.COUNTED} if name in alone else {REFERENCE, FLOOR}), (
                version,
                name,
            )


def test_another_python_is_compared_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest that has such rows."""
    rows = {"publish": ratios(1.0)}, {"python publish": {check.LOOP: 1.0}}
    monkeypatch.setattr(check, "RECORD", tmp_path / "recorded.json")
    for version, found in (("3.8", rows[0]), ("3.9", rows[0]), ("3.10", rows[1]), ("3.9", rows[1])):
        check.write_record(version, found)
    assert check.read_record("3.11", [PUBLISH, CONSUME]) == {**rows[0], **rows[1]}
    assert "nothing is recorded for Python 3.11; compared with Python 3.9\n" in capsys.readouterr().out
    assert check.read_record("3.11", check.PYTHON_LINES) == rows[1]
    assert "compared with Python 3.10\n" in capsys.readouterr().out


def test_the_record_is_the_worst_of_each() -> None:
    assert check.worst([{"publish": ratios(1.0, 1.2)}, {"publish": ratios(1.1)}]) == {"publish": ratios(1.1, 1.2)}
    assert check.worst([{"publish": ratios(1.0)}, {"publish": {}}]) == {"publish": {}}


class PythonPart:
    """Stands in for what measures the Python part: so many times what is recorded, round by round."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(check, "RECORD", tmp_path / "recorded.json")
        monkeypatch.setattr(python, "measure", self.measure)
        monkeypatch.setattr(python, "count", self.count)
        self.factors: Dict[str, List[float]] = {}
        self.asked: List[List[str]] = []
        #: Those that are not what is recorded.
        self.counts: Dict[str, python.Counts] = {}

    def measure(self, parts: Sequence[Part], rounds: int) -> python.Figures:
        self.asked.append([part.name for part in parts])
        return {part.name: [Figure(self._next(part.name) * 3.0, 2.0, 9.9)] * rounds for part in parts}

    def _next(self, name: str) -> float:
        factors = self.factors.get(name)
        return factors.pop(0) if factors else 1.0

    def count(self, parts: Sequence[Part]) -> Dict[str, python.Counts]:
        return {part.name: {**COUNTS, **self.counts.get(part.name, {})} for part in parts}


@pytest.fixture
def python_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PythonPart:
    """With a record."""
    part = PythonPart(monkeypatch, tmp_path)
    assert check.main(["--python", "--record"]) == 0
    assert json.loads(check.RECORD.read_text()) == {
        "%d.%d" % sys.version_info[:2]: {line.name: {check.LOOP: 1.5, **COUNTS} for line in check.PYTHON_LINES}
    }
    assert len(part.asked) == check.RECORD_TIMES
    part.asked.clear()
    return part


@pytest.mark.parametrize("counts", [{}, {"instructions": 205.0}, {"C calls": 3.0}])
def test_what_is_counted_is_judged(
    counts: python.Counts, python_part: PythonPart, capsys: pytest.CaptureFixture[str]
) -> None:
    python_part.counts["publish"] = counts
    assert check.main(["--python"]) == 0
    assert "\ndoes no more than recorded\n" in capsys.readouterr().out


@pytest.mark.parametrize("counts", [{"instructions": 207.0}, {"C calls": 10.4}])
def test_what_does_more_fails(
    counts: python.Counts, python_part: PythonPart, capsys: pytest.CaptureFixture[str]
) -> None:
    python_part.counts["publish"] = counts
    assert check.main(["--python"]) == 1
    assert "\ndoes more than recorded, which fails: python publish\n" in capsys.readouterr().out


def test_without_counts_for_this_python_nothing_is_judged(
    python_part: PythonPart, capsys: pytest.CaptureFixture[str]
) -> None:
    check.RECORD.write_text(json.dumps({"3.1": json.loads(check.RECORD.read_text()).popitem()[1]}))
    python_part.counts["publish"] = {"instructions": 2000.0}
    assert check.main(["--python"]) == 0
    assert "not judged: no counts are recorded for Python" in capsys.readouterr().out


def test_the_time_it_takes_only_warns(python_part: PythonPart, capsys: pytest.CaptureFixture[str]) -> None:
    python_part.factors = {"publish": [1.19], "routing": [1.21, 1.19]}
    assert check.main(["--python"]) == 0
    assert python_part.asked[1:] == [["routing"]]
    assert capsys.readouterr().out.endswith("as fast as recorded\n")
    python_part.factors = {"publish": [1.21, 1.21]}
    assert check.main(["--python"]) == 0
    out = capsys.readouterr().out
    assert "worse by more than 20 %: python publish\n" in out
    assert out.endswith("warning, which fails nothing: slower than recorded: python publish\n")


@pytest.mark.parametrize("what", ["measure", "count"])
def test_a_python_part_that_cannot_be_measured_fails(
    what: str, python_part: PythonPart, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(parts: Sequence[Part], rounds: int = 1) -> python.Figures:
        raise DriverError("no way")

    monkeypatch.setattr(python, what, fail)
    before = json.loads(check.RECORD.read_text())
    assert check.main(["--python"]) == 1
    assert check.main(["--python", "--record"]) == 1
    assert json.loads(check.RECORD.read_text()) == before
    assert "failed: no way" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        (ratios(1.0), 0, "as fast as recorded\n"),
        (ratios(9.0), 0, "warning, which fails nothing: slower than recorded: publish\n"),
        ({}, 1, "could not be measured, which fails: publish\n"),
    ],
)
def test_rows_beside_other_libraries_only_warn(
    found: check.Ratios,
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = {"publish": ratios(1.0)}
    assert check.judge_times([PUBLISH], recorded, lambda rows, rounds: {"publish": found}, 1.25) == code
    assert capsys.readouterr().out.endswith(says)
