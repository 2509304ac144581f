"""Verdict: 64 KB at once into the session, because of memory; a long body given to it whole costs a fifth more time,
and a 100 MB one 4.0 times its size in memory instead of 1.0. Out of the session it makes no difference how it is read.

How much to give to, and take from, a TLS session over memory at once. Python 3.11, November 2026, microseconds of CPU
for 1 MB:

    out, so much at once    1 MB 318    256 KB 261    128 KB 253    64 KB 257    32 KB 269    16 KB 280
    in                      read(65536) and a join 329, read(16384) and a join 356, read into one buffer 331
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Callable, Tuple

from benchmarks.experiments.harness import in_turn, timed
from tests.certificates import make

SIZE, COUNT = 1_000_000, 40


class Pair:
    """A client's and a server's session, the bytes carried over by hand."""

    def __init__(self, directory: Path) -> None:
        context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.load_cert_chain(str(directory / "server.pem"), str(directory / "server.key"))
        self.in_, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.in_, self.out, server_hostname="localhost")
        self.server_in, self.server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = other.wrap_bio(self.server_in, self.server_out, server_side=True)
        for _ in range(4):
            for session in (self.client, self.server):
                try:
                    session.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                self.server_in.write(self.out.read())
                self.in_.write(self.server_out.read())


def main(directory: Path) -> None:
    body = bytes(SIZE)
    view = memoryview(body)

    def write(at_once: int) -> Callable[[], float]:
        def run() -> float:
            pair = Pair(directory)

            def work() -> None:
                for _ in range(COUNT):
                    for start in range(0, SIZE, at_once):
                        pair.client.write(view[start : start + at_once])
                        pair.out.read()

            return timed(work)

        return run

    def read(chunk: int, method: Callable[[Pair], bytes]) -> Callable[[], float]:
        """The encrypted bytes come in chunks."""

        def run() -> float:
            pair, seconds = Pair(directory), 0.0
            for _ in range(COUNT):
                pair.server.write(body)
                encrypted = pair.server_out.read()
                chunks = [encrypted[start : start + chunk] for start in range(0, len(encrypted), chunk)]

                def work(chunks: Tuple[bytes, ...] = tuple(chunks)) -> None:
                    for piece in chunks:
                        pair.in_.write(piece)
                        method(pair)

                seconds += timed(work)
            return seconds

        return run

    def pieces(at_once: int) -> Callable[[Pair], bytes]:
        def method(pair: Pair) -> bytes:
            got = []
            try:
                while True:
                    got.append(pair.client.read(at_once))
            except ssl.SSLWantReadError:
                return b"".join(got)

        return method

    def into(room: int) -> Callable[[Pair], bytes]:
        buf = memoryview(bytearray(room))

        def method(pair: Pair) -> bytes:
            held = 0
            try:
                while True:
                    held += pair.client.read(room, buf[held:])  # type: ignore[operator]
            except ssl.SSLWantReadError:
                return bytes(buf[:held])

        return method

    print("out, 1 MB")
    in_turn({"%d at once" % n: write(n) for n in (SIZE, 262144, 131072, 65536, 49152, 32768, 16384)}, per=COUNT)
    for chunk in (262144, 65536):
        print("in, 1 MB in chunks of %d" % chunk)
        variants = {"read(%d), joined" % n: read(chunk, pieces(n)) for n in (65536, 16384)}
        variants["read into a buffer"] = read(chunk, into(1 << 19))
        in_turn(variants, per=COUNT)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        make(Path(directory))
        main(Path(directory))
