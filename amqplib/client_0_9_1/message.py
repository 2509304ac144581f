"""Message whose timestamps are aware."""

from __future__ import annotations

from datetime import datetime
from typing import Union

from ..client import message
from ..wire.tables import RawTimestamp, utc_time

__all__ = ["Message"]


class Message(message.Message):
    __doc__ = message.Message.__doc__

    @staticmethod
    def _to_time(seconds: int) -> Union[datetime, RawTimestamp]:
        return utc_time(seconds)
