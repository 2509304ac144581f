"""Private RabbitMQ nodes for the tests: no root, no docker, and nothing left behind.

    with Nodes() as nodes:                                # a directory, an epmd, a cookie, all its own
        node = nodes.start(install("bookworm"))           # ready: it answers AMQP on node.port
        node.ctl("set_vm_memory_high_watermark", "0.0")   # connection.blocked
        node.kill(); node.run(); node.wait_ready()        # a crash, and a restart on the same data and port

As a program it runs a command against a node that exists only for as long as the command does:

    python3 tests/brokers.py [--suite bookworm] -- COMMAND ARGS...

COMMAND finds the node in AMQPLIB_TEST_URL, and its HOST:PORT in place of an argument `{host}`.

Everything listens on 127.0.0.1 only. Whatever is started here is told to a small process of its own, reaper.py,
which ends it and removes the directory, also when this process is killed before it can clean up.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Dict, List, Optional, Sequence, Set, Type, Union

SUITES = ("bookworm", "trixie", "bullseye", "forky")  # Debian's, in the order in which a default is looked for
HERE = Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"

TLS_CONF = """
listeners.ssl.default = %(address)s
ssl_options.cacertfile = %(directory)s/ca.pem
ssl_options.certfile = %(directory)s/server.pem
ssl_options.keyfile = %(directory)s/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
"""
EXTERNAL_CONF = """
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
"""


class BrokerError(Exception):
    """A node, or a tool that it needs, did not do what it should; says which, and what it printed."""


# --- where RabbitMQ is ---------------------------------------------------------------------------------------


def cache() -> Path:
    return Path(os.environ.get("AMQPLIB_TEST_CACHE") or Path.home() / ".cache" / "amqplib-tests")


def installed(suite: str) -> Optional[Path]:
    """Where install_rabbitmq.sh has unpacked the RabbitMQ of this Debian suite, or None."""
    directory = cache() / ("rabbitmq-" + suite)
    return directory if directory.is_dir() else None


def system_install() -> Optional[Path]:
    """The RabbitMQ that is installed on this machine, or None."""
    return Path("/") if _sbin(Path("/")) and shutil.which("erl") else None


def install(suite: str) -> Path:
    """The RabbitMQ of this Debian suite, downloaded if it is not there yet (ten seconds)."""
    command = ["sh", str(HERE / "install_rabbitmq.sh"), suite]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BrokerError("no RabbitMQ of %s:\n%s" % (suite, done.stdout))
    return Path(done.stdout.splitlines()[-1])


def any_install() -> Path:
    """The first RabbitMQ to be found here."""
    for found in [installed(suite) for suite in SUITES] + [system_install()]:
        if found:
            return found
    raise BrokerError("there is no RabbitMQ here: run tests/install_rabbitmq.sh bookworm")


def _sbin(root: Path) -> Optional[Path]:
    return next(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"), None)


# --- ports ---------------------------------------------------------------------------------------------------

_given: Set[int] = set()


def free_port() -> int:
    """A free port below those that the kernel gives to outgoing connections: a node that is restarted has to find
    its port free again, whatever the tests connect to meanwhile."""
    pick = random.SystemRandom()  # the shared generator is seeded alike in test runs that go on side by side
    while True:
        port = pick.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


def answers(port: int) -> bool:
    """Whether a listener answers the protocol header with a method frame (connection.start)."""
    try:
        with socket.create_connection((LOOPBACK, port), 1) as probe:
            probe.settimeout(1)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
    except OSError:
        return False


# --- nodes ---------------------------------------------------------------------------------------------------


class Nodes:
    """Some nodes that share a directory, an epmd and a cookie; all end with the `with` block."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="amqplib-brokers-"))
        self.cookie = secrets.token_hex(12)
        self.epmd_port = free_port()
        self.nodes: List[Node] = []
        self._epmd: Optional[subprocess.Popen[bytes]] = None
        # When this process dies, however it does, the pipe closes; that is what the reaper waits for.
        command = [sys.executable, "-I", "-S", str(HERE / "reaper.py"), str(self.base)]
        self._reaper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def start(
        self,
        install: Optional[Path] = None,
        conf: str = "",
        tls: bool = False,
        plugins: Sequence[str] = (),
    ) -> Node:
        """A new node of the RabbitMQ in `install`, with these lines in its rabbitmq.conf; it answers."""
        node = self._run(install, conf, tls, plugins)
        node.wait_ready()
        return node

    def cluster(self, install: Optional[Path] = None, size: int = 3, conf: str = "") -> List[Node]:
        """Nodes that belong together; all answer."""
        first = self.start(install, conf)  # alone: nodes that form a cluster together race, and take longer
        conf += "cluster_formation.peer_discovery_backend = classic_config\n"
        conf += "cluster_formation.classic_config.nodes.1 = %s\n" % first.name
        nodes = [first, *(self._run(install, conf) for _ in range(size - 1))]
        for node in nodes:
            node.wait_ready()
        first.ctl("await_online_nodes", str(size), "--timeout", "60")
        return nodes

    def _run(self, install: Optional[Path], conf: str, tls: bool = False, plugins: Sequence[str] = ()) -> Node:
        node = Node(self, install or any_install(), conf, tls, plugins)
        self.nodes.append(node)
        node.run()
        return node

    def certificates(self, openssl: str) -> Path:
        """The directory with what certificates.py makes."""
        directory = self.base / "tls"
        if not directory.exists():
            from tests.certificates import make  # not above: as a program, this file has no package around it

            directory.mkdir()
            make(directory, openssl)
        return directory

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        if self._epmd:
            self._end(self._epmd)
            self._epmd = None
        if self._reaper.stdin and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
        self._reaper.wait()

    def _start_epmd(self, bin_path: str) -> None:
        """Port mapper of all nodes here: that of any RabbitMQ serves the nodes of the others too."""
        if self._epmd:
            return
        epmd = shutil.which("epmd", path=bin_path)
        if not epmd:
            raise BrokerError("there is no epmd in %s" % bin_path)
        with (self.base / "epmd.log").open("wb") as log:
            command = [epmd, "-port", str(self.epmd_port), "-address", LOOPBACK]
            self._epmd = self._spawn(command, self.base, {"PATH": bin_path}, log)

    def _spawn(
        self, command: Sequence[str], directory: Path, environment: Dict[str, str], output: Union[int, IO[bytes]]
    ) -> subprocess.Popen[bytes]:
        """A process in a group of its own, which the reaper knows of."""
        process = subprocess.Popen(
            command,
            cwd=str(directory),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._tell_reaper("+%d\n" % process.pid)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._tell_reaper("-%d\n" % process.pid)  # its number may soon be another's

    def _tell_reaper(self, line: str) -> None:
        assert self._reaper.stdin
        self._reaper.stdin.write(line.encode())
        self._reaper.stdin.flush()


class Node:
    """One node. It is made by Nodes.start()."""

    def __init__(self, nodes: Nodes, install: Path, conf: str, tls: bool, plugins: Sequence[str]) -> None:
        sbin = _sbin(install)
        if not sbin:
            raise BrokerError("there is no RabbitMQ in %s" % install)
        self._nodes = nodes
        self._sbin = sbin
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._log_begins, self._complete = 0, False  # of the time that it runs now
        self.version = sbin.parent.name.split("-")[1]
        self.port = free_port()
        self._dist_port = free_port()
        self.host = "%s:%d" % (LOOPBACK, self.port)
        self.url = "amqp://guest:guest@%s/" % self.host
        self.tls_port: Optional[int] = None
        self.certificates: Optional[Path] = None
        self.name = "n%d@localhost" % self.port
        self.directory = nodes.base / self.name
        self.directory.mkdir()
        self._path = os.environ.get("PATH", os.defpath)
        if install != Path("/"):
            self._path = os.pathsep.join([str(install / "usr/lib/erlang/bin"), self._path, str(install / "usr/bin")])
        nodes._start_epmd(self._path)
        if tls:
            openssl = shutil.which("openssl", path=self._path)
            if not openssl:
                raise BrokerError("TLS needs the program openssl, and there is none in %s" % self._path)
            self.certificates = nodes.certificates(openssl)
            self.tls_port = free_port()
            conf += TLS_CONF % {"address": "%s:%d" % (LOOPBACK, self.tls_port), "directory": self.certificates}
        if "rabbitmq_auth_mechanism_ssl" in plugins:
            conf += EXTERNAL_CONF
        self._file("rabbitmq.conf").write_text(conf)
        self._file("plugins").write_text("[%s].\n" % ",".join(plugins))
        self._file(".erlang.cookie").write_text(nodes.cookie)
        self._file(".erlang.cookie").chmod(0o400)

    def run(self) -> None:
        """Start it, for the first time or again on the same data and ports."""
        if self.running():
            raise BrokerError("%s runs already" % self.name)
        command = [str(self._sbin / "rabbitmq-server"), "-noinput"]
        with self._file("output").open("ab") as log:
            self._log_begins, self._complete = log.tell(), False
            self._process = self._nodes._spawn(command, self.directory, self._environment(), log)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not (self._is_complete() and answers(self.port)):
            if not self._process:
                raise self._error("does not run")
            if not self.running():
                raise self._error("ended with code %d before it answered" % self._process.returncode)
            if time.monotonic() > deadline:
                raise self._error("does not answer on port %d after %g s" % (self.port, timeout))
            time.sleep(0.05)

    def _is_complete(self) -> bool:
        """Has it started, with all that belongs to it? A node answers a moment before it counts itself as running, and
        until then takes its own queues for dead: it deletes one that is in use, or forgets to."""
        if self._process and not self._complete:
            with self._file("output").open("rb") as log:
                log.seek(self._log_begins)
                self._complete = b"Server startup complete" in log.read()
        return self._complete

    def ctl(self, *arguments: str, timeout: float = 120) -> str:
        """What rabbitmqctl prints."""
        command = [str(self._sbin / "rabbitmqctl"), "-q", "-n", self.name, *arguments]
        with self._nodes._spawn(command, self.directory, self._environment(), subprocess.PIPE) as process:
            try:
                output = process.communicate(timeout=timeout)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                raise self._error("rabbitmqctl %s took over %g s" % (" ".join(arguments), timeout)) from None
            finally:
                self._nodes._end(process)
        if process.returncode:
            raise self._error("rabbitmqctl %s failed:\n%s" % (" ".join(arguments), output))
        return output

    def log(self) -> str:
        """All that the node has printed and logged."""
        return self._file("output").read_text(errors="replace")

    def stop(self, timeout: float = 60) -> None:
        """End it in good order."""
        if self._process and self.running():
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise self._error("did not stop within %g s" % timeout) from None
            finally:
                self.kill()

    def kill(self) -> None:
        """A crash: it gets no time to write or to say anything."""
        if self._process:
            self._nodes._end(self._process)
            self._process = None

    def freeze(self) -> None:
        """Alive but silent: no heartbeats, no acknowledgements, though TCP stays up."""
        process = self._signal(signal.SIGSTOP)
        # all of its threads stand still only a moment later
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        if not self._process or not self.running():
            raise self._error("does not run")
        os.killpg(self._process.pid, number)
        return self._process

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _environment(self) -> Dict[str, str]:
        loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": self._path,
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._nodes.epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self._file("data")),
            "RABBITMQ_LOG_BASE": str(self._file("log")),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self._file("rabbitmq.conf")),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._file("plugins")),
            "RABBITMQ_PID_FILE": str(self._file("pid")),
            # one scheduler: a node of the tests is small, and busy waiting would take the test's own processor
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only + " -start_epmd false +S 1:1",
            "RABBITMQ_CTL_ERL_ARGS": loopback_only + " -start_epmd false",
            # with this the start script becomes the broker, instead of waiting for it: our child is what to kill
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    def _error(self, what: str) -> BrokerError:
        return BrokerError(
            "RabbitMQ %s, %s, %s\n--- its log ends with\n%s" % (self.version, self.name, what, self.log()[-3000:])
        )


# --- as a program --------------------------------------------------------------------------------------------


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="Run a command against a RabbitMQ of its own.")
    parser.add_argument("--suite", choices=SUITES, help="of which Debian (default: the first that is here)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --; {host} becomes HOST:PORT")
    options = parser.parse_args(arguments)
    try:
        with Nodes() as nodes:
            node = nodes.start(install(options.suite) if options.suite else None)
            command = [node.host if word == "{host}" else word for word in options.command]
            code = subprocess.run(command, env=dict(os.environ, AMQPLIB_TEST_URL=node.url)).returncode
    except (BrokerError, OSError) as error:
        print("brokers.py: %s" % error, file=sys.stderr)
        return 1
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
