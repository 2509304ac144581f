"""docs/design.txt shows the table of states as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from amqplib.protocol import states

DESIGN = Path(__file__).parents[2] / "docs" / "design.txt"


@pytest.mark.parametrize("rows", [states.CHANNEL_ROWS, states.CONNECTION_ROWS])
def test_the_table_in_the_document(rows: str) -> None:
    shown = "".join(line.strip() + "\n" for line in DESIGN.read_text(encoding="utf-8").splitlines())
    assert rows in "\n" + shown
