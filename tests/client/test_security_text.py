"""Proves that each promise of SECURITY.txt has tests, and holds those promises that no other file is about."""

from __future__ import annotations

import ast
import json
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Set

import pytest

import amqplib
import amqplib.client_0_8 as amqp
from amqplib.broker import Broker
from amqplib.client.net.tls_options import make_context

from .peer import Peer
from .tls_peer import TLSPeer, server_context

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(amqplib.__file__).parent


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "SECURITY.txt").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return re.split(r"\n\n\n(?=.+\n---)", text.partition("\n%s\n---" % title)[2])[0].lstrip("-\n")


def listed(text: str) -> Dict[int, List[List[str]]]:
    """Number -> the files, each followed by its tests."""
    entries = re.findall(r"^    \[(\d+)\] +(.*(?:\n {10}.*)*)", section(text, "The tests"), re.MULTILINE)
    return {int(number): [part.split() for part in tests.split(";")] for number, tests in entries}


def test_every_number_stands_for_tests(text: str) -> None:
    said = {int(number) for number in re.findall(r"\[(\d+)\]", text.partition("\nThe tests\n")[0])}
    assert said == set(listed(text)) == set(range(1, len(said) + 1))


def test_every_test_is_there(text: str) -> None:
    for file, *names in (part for parts in listed(text).values() for part in parts):
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert names
        for name in names:
            assert re.search(r"^def %s\(" % name, source, re.MULTILINE), "%s has no %s" % (file, name)


def test_every_promise_has_a_number(text: str) -> None:
    promised = " ".join(section(text, "Promised").split())
    # not within a number such as 1.2, an abbreviation, or the name of a file
    sentences = re.split(r"(?<=[\]\w.:)])(?<!e\.g)\. (?=[A-Z])", promised)
    assert len(sentences) > 20
    assert [sentence for sentence in sentences if not re.search(r"\[\d+\]", sentence)] == []


def test_what_is_not_promised_has_numbers_too(text: str) -> None:
    """But for what no test can make happen when it wants to."""
    points = section(text, "Not promised").split("\n- ")
    assert len(points) > 10
    without = [point for point in points if not re.search(r"\[\d+\]", point)]
    assert [" ".join(point.split())[:47] for point in without] == ["Ctrl-C, or another exception from outside, that"]


# --- promises that no other file is about -------------------------------------------------------------------


def trees() -> Dict[str, ast.AST]:
    return {
        str(file.relative_to(PACKAGE)): ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")
    }


def test_no_code_is_made_of_what_came() -> None:
    """The rows of the method table, which are our own, are the one thing that code is made of."""
    makers: Set[str] = set()
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("exec", "eval", "compile", "__import__"):
                    makers.add(name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "marshal", "shelve", "runpy", "code", "importlib", "ctypes"}, name
    assert makers == {str(Path("wire", "codecs.py"))}


#: A life of a connection, in a Python that tells what it asks the system for.
LIFE = """
import json, sys
told = []
def hear(event, args):
    if event == "open":
        mode, flags = args[1], args[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & 3):
            told.append([event, str(args[0])])
    elif event.startswith(("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
                           "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "tempfile.", "shutil.")):
        told.append([event, str(args)])
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
sys.addaudithook(hear)
import amqplib.client_0_8 as amqp
conn = amqp.Connection(sys.argv[2], "bob", "pw", connect_timeout=20)
ch = conn.channel()
ch.basic_publish(amqp.Message("x"), "", "q")
got = ch.basic_get("q")
assert got.body == "x", got.body
conn.close()
try:
    amqp.Connection("no-such-host.invalid", ssl=True, connect_timeout=1)
except (OSError, amqp.AMQPException):
    pass
print(json.dumps(told))
"""


def test_no_file_is_written_and_no_process_started(peer: Peer) -> None:
    peer.welcome()
    peer.open_channel()
    peer.expect_content("basic.publish", 0, "", "q", False, False, message=({"content_encoding": "UTF-8"}, b"x"))
    peer.expect("basic.get")
    message: Any = ({"content_encoding": "UTF-8"}, b"x")
    peer.send_content("basic.get_ok", 1, False, "", "q", 0, message=message)
    peer.part()
    life = LIFE.replace('got.body == "x"', 'got.body in ("x", b"x")')
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", life, str(PACKAGE.parent), peer.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_checks_are_run() -> None:
    script = (ROOT / "tests" / "run").read_text(encoding="utf-8")
    assert re.search(r"^ +.*python\" -m bandit .* -r amqplib$", script, re.MULTILINE)


def test_revocation_is_not_asked_for() -> None:
    assert not make_context(True)[0].verify_flags & (ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN)
    own = ssl.create_default_context()
    own.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    assert make_context(own)[0].verify_flags & ssl.VERIFY_CRL_CHECK_LEAF


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "keylog_filename"), reason="this ssl module writes no keys down")
def test_keys_are_written_down_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert make_context(True)[0].keylog_filename == str(tmp_path / "keys")
    monkeypatch.delenv("SSLKEYLOGFILE")
    assert make_context(True)[0].keylog_filename is None


@pytest.mark.parametrize("name", ["wronghost", "selfsigned"])
def test_a_redirect_is_verified_as_well(tls_peer: TLSPeer, certificates: Path, trusting: Any, name: str) -> None:
    """The host that a trusted one names hears nothing before its own certificate is found to be good."""
    with TLSPeer(server_context(certificates, name)) as other:
        tls_peer.greet()
        tls_peer.let_in()
        tls_peer.expect("connection.open", channel=0)
        tls_peer.send("connection.redirect", other.address, "", channel=0)
        tls_peer.expect_end()
        other.refuse()
        if name == "wronghost":
            other.accept()  # who asks for the names
            other.expect_end()
        with pytest.raises(amqp.TLSError, match=r"no TLS with localhost:%d" % other.port):
            amqp.Connection(tls_peer.address, ssl=trusting, connect_timeout=20)


@pytest.mark.parametrize("host", ["bob:5672", "bob:5", "amqp://bob:15672"])
def test_what_can_be_read_as_a_host_is_shown(host: str) -> None:
    """It may be a user and a password of digits, of somebody who has forgotten the host."""
    with pytest.raises(OSError, match="no-bob.invalid:%s" % host.rpartition(":")[2]):
        amqp.Connection(host.replace("bob", "no-bob.invalid"), connect_timeout=5)


def test_what_can_be_read_as_a_vhost_is_shown(peer: Peer) -> None:
    """Of a password such as 12@127.0.0.1/34, which was not percent-encoded, that is what the last part is."""
    peer.welcome()
    peer.part()
    with amqp.Connection("amqp://bob:12@%s/34" % peer.address) as conn:
        assert "vhost '34'" in repr(conn)


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_everybody_can_read_the_password(peer: Peer, mechanism: str) -> None:
    peer.welcome()
    peer.part()
    amqp.Connection(peer.address, "bob", "hunter2", login_method=mechanism).close()
    peer.wait()
    assert b"hunter2" in peer.received


def test_messages_are_not_looked_into(peer: Peer, ch: amqp.Channel) -> None:
    """Who has sent it, and what is in it, is what it says of itself."""
    message: Any = ({"user_id": "root", "content_type": "application/json", "app_id": "\x1b[2J"}, b"no JSON")
    peer.expect("basic.get")
    peer.send_content("basic.get_ok", 1, False, "", "q", 0, message=message)
    got = ch.basic_get("q")
    assert got is not None
    assert (got.properties, got.body) == message


def test_the_broker_in_the_box_has_no_tls() -> None:
    with Broker() as broker, pytest.raises(amqp.TLSError, match="no TLS with"):
        amqp.Connection(broker.address, ssl={"cert_reqs": ssl.CERT_NONE}, connect_timeout=20)
