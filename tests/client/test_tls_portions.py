"""How a long write is divided before it is encrypted."""

from __future__ import annotations

from typing import List

import pytest

from amqplib.client.tls import _PORTION, _portions


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [_PORTION],
        [_PORTION + 1],
        [3 * _PORTION],
        [25, 131064, 1, 7, 131064, 1, 7, 500, 1],  # as the frames of a long body come
        [1] * 10,
        [_PORTION - 1, 1, 0, 5],
    ],
)
def test_nothing_is_lost_or_moved(sizes: List[int]) -> None:
    data = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    portions = list(_portions(data))
    assert b"".join(portions) == b"".join(data)
    assert all(0 < len(portion) < 2 * _PORTION for portion in portions)
    assert all(len(portion) >= _PORTION for portion in portions[:-1])
    assert list(_portions(b"".join(data))) != []
    assert b"".join(_portions(b"".join(data))) == b"".join(data)
