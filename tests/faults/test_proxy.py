"""The fault proxy does what it says: without that, the tests that use it would prove nothing."""

from __future__ import annotations

import socket
import time
from contextlib import closing, suppress
from typing import Iterator, List

import pytest

from .proxy import Door, Fault, Proxy


class Servers:
    """Gives the proxy one end of a pair of sockets for each connection, and keeps the other."""

    def __init__(self) -> None:
        self.ends: List[socket.socket] = []

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        self.ends.append(ours)
        return theirs


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    for end in made.ends:
        end.close()


@pytest.fixture
def proxy(servers: Servers) -> Iterator[Proxy]:
    with Proxy(servers.connect) as running:
        yield running


def client_of(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), 10)


def server_of(servers: Servers) -> socket.socket:
    deadline = time.monotonic() + 10
    while not servers.ends:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return servers.ends[-1]


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def nothing_comes(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        sock.recv(1)
    except socket.timeout:
        return True
    finally:
        sock.settimeout(10)
    return False


def test_without_a_fault_everything_passes_both_ways(proxy: Proxy, servers: Servers) -> None:
    data = bytes(range(256)) * 4000
    with closing(client_of(proxy.door())) as client:
        server = server_of(servers)
        for source, target in ((client, server), (server, client)):
            for start in range(0, len(data), 100000):
                piece = data[start : start + 100000]
                source.sendall(piece)
                assert read(target, len(piece)) == piece
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.sendall(b"still here")
        assert read(client, 10) == b"still here"
        server.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


@pytest.mark.parametrize("after", [1, 5, 9])
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_the_end_comes_after_so_many_bytes(proxy: Proxy, servers: Servers, kind: str, after: int) -> None:
    door = proxy.door(down=Fault(kind, after))
    with closing(client_of(door)) as client:
        server_of(servers).sendall(b"0123456789"[: after + 1])
        assert read(client, after) == b"0123456789"[:after]
        if kind == "cut":
            assert client.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    assert door.suffered == {kind: 1}


def test_half_close(proxy: Proxy, servers: Servers) -> None:
    with closing(client_of(proxy.door(up=Fault("half_close", 3)))) as client:
        server = server_of(servers)
        client.sendall(b"abcdef")
        assert read(server, 10) == b"abc"
        server.sendall(b"the other way goes on")
        assert read(client, 21) == b"the other way goes on"


def test_stall_and_heal(proxy: Proxy, servers: Servers) -> None:
    door = proxy.door(up=Fault("stall", 3))
    with closing(client_of(door)) as client:
        server = server_of(servers)
        client.sendall(b"abcdef")
        assert read(server, 3) == b"abc"
        assert nothing_comes(server)
        assert door.strike() == 1
        client.sendall(b"ghi")
        assert read(server, 6) == b"defghi"


def test_shut_fills_the_window(proxy: Proxy, servers: Servers) -> None:
    door = proxy.door(up=Fault("shut", 3))
    with closing(client_of(door)) as client:
        server = server_of(servers)
        client.sendall(b"abc")
        assert read(server, 3) == b"abc"
        client.settimeout(0.2)
        sent = 0
        with suppress(socket.timeout):
            while sent < 100000000:
                sent += client.send(bytes(100000))
        assert sent < 100000000
        door.strike()
        assert read(server, sent) == bytes(sent)


def test_swallow(proxy: Proxy, servers: Servers) -> None:
    with closing(client_of(proxy.door(up=Fault("swallow", 3)))) as client:
        server = server_of(servers)
        client.sendall(b"abcdef" + bytes(1000000))
        assert read(server, 3) == b"abc"
        assert nothing_comes(server)


@pytest.mark.parametrize("kind", ["drip", "delay"])
def test_late(proxy: Proxy, servers: Servers, kind: str) -> None:
    with closing(client_of(proxy.door(up=Fault(kind, 3, seconds=0.05)))) as client:
        server = server_of(servers)
        began = time.monotonic()
        client.sendall(b"abcdef")
        assert read(server, 3) == b"abc"
        assert server.recv(10) == (b"d" if kind == "drip" else b"def")
        assert time.monotonic() - began >= 0.05
        assert kind == "delay" or read(server, 2) == b"ef"
        assert time.monotonic() - began >= (0.15 if kind == "drip" else 0.05)


@pytest.mark.parametrize("at", [0, 3, 5])
def test_corrupt(proxy: Proxy, servers: Servers, at: int) -> None:
    with closing(client_of(proxy.door(up=Fault("corrupt", at, mask=0x20)))) as client:
        server = server_of(servers)
        for piece in (b"abc", b"def", b"ghi"):
            client.sendall(piece)
            time.sleep(0.01)
        expected = bytearray(b"abcdefghi")
        expected[at] ^= 0x20
        assert read(server, 9) == expected


def test_what_is_struck_later_counts_from_there(proxy: Proxy, servers: Servers) -> None:
    door = proxy.door()
    with closing(client_of(door)) as client:
        server = server_of(servers)
        client.sendall(b"abc")
        assert read(server, 3) == b"abc"
        assert door.strike(up=Fault("cut", 2)) == 1
        client.sendall(b"def")
        assert read(server, 10) == b"de"


def test_faults_of_the_next_connections(proxy: Proxy, servers: Servers) -> None:
    door = proxy.door()
    door.up_faults.append(Fault("cut", 1))
    for expected in (b"a", b"abc"):
        servers.ends.clear()
        with closing(client_of(door)) as client:
            client.sendall(b"abc")
            server = server_of(servers)
            assert read(server, 3) == expected
            server.close()


def test_refusals(proxy: Proxy) -> None:
    door = proxy.door()
    door.refusals = 1
    with pytest.raises(ConnectionResetError), closing(client_of(door)) as client:
        client.recv(1)
    with closing(client_of(door)) as client:
        assert nothing_comes(client)
    assert (door.accepted, door.refusals) == (2, 0)
    door.close()
    with pytest.raises(ConnectionRefusedError):
        client_of(door)


def test_a_target_that_cannot_be_reached() -> None:
    def refuse() -> socket.socket:
        raise ConnectionRefusedError

    # it may be reset before connect() has returned
    with Proxy(refuse) as proxy, pytest.raises(ConnectionResetError), closing(client_of(proxy.door())) as client:
        client.recv(1)


def test_there_is_no_such_fault(proxy: Proxy) -> None:
    with pytest.raises(ValueError, match="sneeze"):
        proxy.door(up=Fault("sneeze"))
