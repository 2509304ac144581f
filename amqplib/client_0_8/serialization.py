"""AMQPReader, AMQPWriter and GenericContent: single values to bytes and back.

The connection itself does not use these; they are for programs and tests that read or write AMQP values on their
own. The codecs are the wire's.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import IO, Any, Dict, List, Optional, Union

from ..client.message import GenericContent
from ..wire.codecs import FIELD_CODECS
from ..wire.tables import RawTimestamp, Reading, local_time

__all__ = ["AMQPReader", "AMQPWriter", "GenericContent"]


class AMQPReader:
    """Reads values from bytes, or from anything with read(n).

    EOFError where the source ends too early, ValueError where it is neither bytes nor has a read().
    """

    def __init__(self, source: Union[bytes, bytearray, memoryview, IO[bytes]]) -> None:
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._input: IO[bytes] = BytesIO(bytes(source))
        elif hasattr(source, "read"):
            self._input = source
        else:
            raise ValueError("AMQPReader: the source is bytes or has a read(n), not %r" % type(source).__name__)
        self._reading = Reading(local_time)
        self._bits = 0
        self._bits_left = 0

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def read(self, n: int) -> bytes:
        """The next n bytes."""
        self._bits_left = 0
        data = self._input.read(n)
        if len(data) < n:
            raise EOFError("AMQPReader: %d bytes wanted, %d left" % (n, len(data)))
        return data

    def read_bit(self) -> bool:
        """One bit; consecutive ones share an octet, the lowest bit first."""
        if not self._bits_left:
            self._bits = self.read(1)[0]
            self._bits_left = 8
        bit = bool(self._bits & 1)
        self._bits >>= 1
        self._bits_left -= 1
        return bit

    def read_octet(self) -> int:
        """0 to 255."""
        return self.read(1)[0]

    def read_short(self) -> int:
        """16 bits, unsigned."""
        return int.from_bytes(self.read(2), "big")

    def read_long(self) -> int:
        """32 bits, unsigned."""
        return int.from_bytes(self.read(4), "big")

    def read_longlong(self) -> int:
        """64 bits, unsigned."""
        return int.from_bytes(self.read(8), "big")

    def read_shortstr(self) -> str:
        """A string of up to 255 bytes."""
        return self.read(self.read_octet()).decode("utf-8", "surrogateescape")

    def read_longstr(self) -> str:
        """A string of up to 4 GB."""
        return self.read(self.read_long()).decode("utf-8", "surrogateescape")

    def read_table(self) -> Dict[str, Any]:
        """A field table."""
        size = self.read(4)
        data = size + self.read(int.from_bytes(size, "big"))
        table: Dict[str, Any] = FIELD_CODECS["table"].decode(data, 0, len(data), self._reading)[0]
        return table

    def read_timestamp(self) -> Union[datetime, RawTimestamp]:
        """Naive local time."""
        return local_time(self.read_longlong())


class AMQPWriter:
    """Writes values to a buffer, or to anything with write(bytes). ValueError for what does not fit its type."""

    def __init__(self, dest: Optional[IO[bytes]] = None) -> None:
        self._out: IO[bytes] = BytesIO() if dest is None else dest
        self._bits: List[bool] = []

    def _flush_bits(self) -> None:
        bits, self._bits = self._bits, []
        for start in range(0, len(bits), 8):
            octet = sum(bit << shift for shift, bit in enumerate(bits[start : start + 8]))
            self._out.write(bytes((octet,)))

    def _encode(self, kind: str, value: Any) -> None:
        data = FIELD_CODECS[kind].encode(value)
        self._flush_bits()
        self._out.write(data)

    def close(self) -> None:
        """Flush, and close the destination."""
        self.flush()
        self._out.close()

    def flush(self) -> None:
        """Write out bits that still share an unfinished octet."""
        self._flush_bits()
        if hasattr(self._out, "flush"):
            self._out.flush()

    def getvalue(self) -> bytes:
        """All that was written; for a writer without a destination of its own."""
        self._flush_bits()
        if not isinstance(self._out, BytesIO):
            raise ValueError("AMQPWriter: what is written to %r is there, not here" % type(self._out).__name__)
        return self._out.getvalue()

    def write(self, s: bytes) -> None:
        """Bytes as they are."""
        self._flush_bits()
        self._out.write(s)

    def write_bit(self, b: object) -> None:
        """One bit; consecutive ones share an octet, the lowest bit first."""
        self._bits.append(bool(b))

    def write_octet(self, n: int) -> None:
        """0 to 255."""
        self._encode("octet", n)

    def write_short(self, n: int) -> None:
        """0 to 65535."""
        self._encode("short", n)

    def write_long(self, n: int) -> None:
        """0 to 2**32 - 1."""
        self._encode("long", n)

    def write_longlong(self, n: int) -> None:
        """0 to 2**64 - 1."""
        self._encode("longlong", n)

    def write_shortstr(self, s: Union[str, bytes]) -> None:
        """At most 255 bytes; a str is encoded as UTF-8."""
        self._encode("shortstr", s)

    def write_longstr(self, s: Union[str, bytes]) -> None:
        """A string of up to 4 GB; a str is encoded as UTF-8."""
        self._encode("longstr", s)

    def write_table(self, d: Dict[str, Any]) -> None:
        """A field table."""
        self._encode("table", d)

    def write_timestamp(self, v: datetime) -> None:
        """A datetime; a naive one is local time."""
        self._encode("timestamp", v)
