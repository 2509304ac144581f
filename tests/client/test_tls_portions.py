"""How a long write is divided before it is encrypted."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest

from amqplib.client.connect.address import Address
from amqplib.client.deadline import Deadline
from amqplib.client.net.opening import open_transport

from .peer import PATIENCE
from .tls_peer import server_context

#: Octets that are encrypted at a time, or nearly as many again.
PORTION = 65536


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "in many goes"])
@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [PORTION],
        [PORTION + 1],
        [3 * PORTION],
        [25, 131064, 1, 7, 131064, 1, 7, 500, 1],  # as the frames of a long body come
        [1] * 10,
        [PORTION - 1, 1, 0, 5],
        [3000000, 1, 0, 1, 3000000],
    ],
)
def test_nothing_is_lost_or_moved(
    certificates: Path, trusting: Dict[str, Any], monkeypatch: pytest.MonkeyPatch, sizes: List[int], cut: bool
) -> None:
    """Whatever the system takes at a time; and nothing is encrypted twice."""
    data = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    size = sum(sizes)
    written: List[int] = []
    goes: List[int] = []

    class Recording(ssl.SSLObject):
        def write(self, data: Any) -> int:
            written.append(len(data))
            return super().write(data)

    context = ssl.create_default_context(cafile=trusting["ca_certs"])
    context.sslobject_class = Recording
    server = server_context(certificates)
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def read() -> None:
            with server.wrap_socket(listener.accept()[0], server_side=True) as session:
                while len(received) < size:
                    received.extend(session.recv(65536))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        transport = open_transport(Address("localhost", listener.getsockname()[1]), context, Deadline(20))
        if cut:
            send = socket.socket.send
            takes = itertools.cycle([0, 1, 20000, 7, 0, 40000])

            def take_some(sock: socket.socket, data: Any, *flags: int) -> int:
                goes.append(next(takes))
                return send(sock, memoryview(data)[: goes[-1]], *flags) if goes[-1] else 0

            monkeypatch.setattr(socket.socket, "send", take_some)
        left = [memoryview(piece) for piece in data]
        while left:
            taken = transport.send(left)
            if not taken:
                transport.ready(1, writing=True)
            while left and taken >= len(left[0]):
                taken -= len(left.pop(0))
            if taken:
                left[0] = left[0][taken:]
        reader.join(PATIENCE)
        assert bytes(received) == b"".join(data)
        transport.close()
    assert sum(written) == size
    assert bool(goes) is cut
    assert all(0 < portion < 2 * PORTION for portion in written)
    if not cut:
        assert len(written) <= size // PORTION + 1
