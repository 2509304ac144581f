"""Which brokers the live tests run on, and where they come from.

The tests run once for each of PEERS, a broker and a client module to try on it:

    always                          the broker in the box (amqplib.broker) with client_0_8 and client_0_9_1
    without AMQPLIB_TEST_QUICK=1    RabbitMQ 3.10 with client_0_8, which speaks 0-8 to it, and 4.0 with client_0_9_1
    AMQPLIB_TEST_FULL=1             both with the other module, too: client_0_8 falls back to 0-9-1 on 4.0
    AMQPLIB_TEST_ALL_BROKERS=1      3.8 and 4.3 as well, where install_rabbitmq.sh has unpacked them

Tests that are marked `thorough` take long, and find much the same on any broker and in any dialect; some stop a broker
and have it come back, which takes RabbitMQ ten seconds. With AMQPLIB_TEST_FULL=1 they run on RabbitMQ 3.10 with
client_0_8 and 4.0 with client_0_9_1, with AMQPLIB_TEST_THOROUGH=1 on all; otherwise only those that the broker in the
box does in no time. Full is also what runs on a broker that AMQPLIB_TEST_URL names.

The RabbitMQ is the first of these:

    AMQPLIB_TEST_URL        the broker named there, amqp://user:password@host:port/vhost, whatever its version
    a private node          of the RabbitMQ that install_rabbitmq.sh has unpacked, or of the machine's own package
    a container             through testcontainers, where that is installed and a Docker engine runs

Without any, the tests that need one are skipped; with AMQPLIB_REQUIRE_BROKER=1 they fail.

With AMQPLIB_TEST_SWITCH=0.00001 threads take turns every 10 us, here and in the programs that tests start: what is
right by luck only shows sooner.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import signal
import sys
import time
import urllib.parse
import warnings
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Deque, Dict, Generator, Iterator, List, NamedTuple, NoReturn, Optional, Union

import pytest

import amqplib.client_0_8
from amqplib.broker.handshake import PRODUCT
from amqplib.client import calling, connection, driver
from amqplib.client.timeouts import Timeouts
from tests import failures
from tests.box import Box
from tests.brokers import Node, Nodes, installed, system_install
from tests.certificates import find_openssl
from tests.certificates import make as make_certificates

#: The tests that have begun in this process.
RAN: Deque[str] = deque(maxlen=100)

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # a plain pytest: see pytest_ignore_collect
    HAS_HYPOTHESIS = False
else:
    HAS_HYPOTHESIS = True
    # a busy machine is slow, and that is no fault of what is tested
    settings.register_profile("amqplib", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("amqplib")

#: In place of a series: the broker in the box.
BOX = "box"


class Peer(NamedTuple):
    """A RabbitMQ, by the series of its version, or BOX; and the client module that is tried on it."""

    series: str
    client: str

    def __str__(self) -> str:
        return "%s-%s" % (self.series, self.client.rpartition(".")[2])


BOX_PEERS = [Peer(BOX, "amqplib.client_0_8"), Peer(BOX, "amqplib.client_0_9_1")]
#: Those that everything is tried on.
MAIN_PEERS = [Peer("3.10", "amqplib.client_0_8"), Peer("4.0", "amqplib.client_0_9_1")]
MORE_PEERS = [Peer("3.10", "amqplib.client_0_9_1"), Peer("4.0", "amqplib.client_0_8")]
RARE_PEERS = [
    Peer("3.8", "amqplib.client_0_8"),
    Peer("3.8", "amqplib.client_0_9_1"),
    Peer("4.3", "amqplib.client_0_8"),
    Peer("4.3", "amqplib.client_0_9_1"),
]

#: The Debian suite that has a RabbitMQ of the series.
SUITES = {"3.8": "bullseye", "3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}

_IMPATIENT = "consumer_timeout = 300\n"
_REFUSING = _IMPATIENT + "deprecated_features.permit.transient_nonexcl_queues = false\n"
#: The rabbitmq.conf of Brokers.strict(), by series.
STRICT = {"3.10": _IMPATIENT, "4.0": _REFUSING, "4.3": _REFUSING}


class Unavailable(Exception):
    """There is no such broker here; says why."""


@dataclass(frozen=True)
class Broker:
    """A broker that runs."""

    host: str
    version: str
    origin: str
    userid: str = "guest"
    password: str = "guest"
    virtual_host: str = "/"
    product: str = "RabbitMQ"
    #: rabbitmqctl: arguments -> what it prints; None where there is none.
    ctl: Optional[Callable[..., str]] = None
    #: What it has logged; None where that is not to be had.
    log: Optional[Callable[[], str]] = None

    @property
    def login(self) -> Dict[str, str]:
        """Arguments for Connection."""
        return {
            "host": self.host,
            "userid": self.userid,
            "password": self.password,
            "virtual_host": self.virtual_host,
        }

    def is_rabbitmq(self, *version: int) -> bool:
        """Is it RabbitMQ of this version or a later one?"""
        return self.product == "RabbitMQ" and tuple(map(int, self.version.split(".")[: len(version)])) >= version

    def __str__(self) -> str:
        return "%s %s, %s" % (self.product, self.version, self.origin)


def ask_version(**login: Any) -> str:
    """The version that a broker reports."""
    with amqplib.client_0_8.Connection(connect_timeout=10, **login) as connection:
        return str(connection.server_properties.get("version", "unknown"))


def named_broker(url: str) -> Broker:
    """The broker that AMQPLIB_TEST_URL names."""
    parts = urllib.parse.urlsplit(url)
    unquote = urllib.parse.unquote
    broker = Broker(
        "%s:%d" % (parts.hostname, parts.port or 5672),
        "unknown",
        "named by AMQPLIB_TEST_URL",
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        unquote(parts.path[1:]) or "/",
    )
    return replace(broker, version=ask_version(**broker.login))


def installation(series: str) -> Optional[Path]:
    """A RabbitMQ of the series that can be run here."""
    unpacked = installed(SUITES[series])
    if unpacked:
        return unpacked
    system = system_install()
    return system if system and installed_version(system).startswith(series + ".") else None


def installed_version(install: Path) -> str:
    return next(install.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")).name.split("-")[1]


def switched_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def is_full() -> bool:
    return switched_on("AMQPLIB_TEST_FULL") or bool(os.environ.get("AMQPLIB_TEST_URL"))


def chosen_peers() -> List[Peer]:
    peers = list(BOX_PEERS)
    if not switched_on("AMQPLIB_TEST_QUICK") or os.environ.get("AMQPLIB_TEST_URL"):
        peers += MAIN_PEERS
        if is_full():
            peers += MORE_PEERS
    if switched_on("AMQPLIB_TEST_ALL_BROKERS"):
        peers += [peer for peer in RARE_PEERS if installation(peer.series)]
    return peers


PEERS = chosen_peers()


def is_deselected(item: pytest.Item) -> bool:
    """Is it not for its peer, or a thorough test that is to be left out for it?"""
    callspec = getattr(item, "callspec", None)
    peer = callspec.params.get("peer") if callspec is not None else None
    for marker in item.iter_markers("only"):
        if peer is None:
            continue
        client, before, since = (marker.kwargs.get(name) for name in ("client", "before", "since"))
        if client and not peer.client.endswith(client):
            return True
        if peer.series == BOX:  # it does what RabbitMQ 3 does
            if since or marker.kwargs.get("rabbitmq"):
                return True
            continue
        version = tuple(map(int, peer.series.split(".")))
        if (before and version >= before) or (since and version < since):
            return True
    thorough = item.get_closest_marker("thorough")
    if not thorough or switched_on("AMQPLIB_TEST_THOROUGH"):
        return False
    if peer is not None and peer.series == BOX and thorough.kwargs.get("box"):
        return False
    if switched_on("AMQPLIB_TEST_QUICK") or not is_full():
        return True
    return peer is not None and peer not in MAIN_PEERS


def pytest_addoption(parser: pytest.Parser) -> None:
    try:
        parser.addini("timeout", "of pytest-timeout, without which nothing ends a test that hangs")
    except ValueError:
        pass  # it is here


def pytest_ignore_collect(collection_path: Path) -> Optional[bool]:
    """Without hypothesis, what needs it is left out; pytest_report_header says so."""
    if not HAS_HYPOTHESIS and collection_path.suffix == ".py":
        text = collection_path.read_text(encoding="utf-8")
        return True if "hypothesis import" in text or "from .helpers import" in text else None  # as tests/wire has them
    return None


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # as in what a script runs in the background; the programs that tests interrupt would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    switch = os.environ.get("AMQPLIB_TEST_SWITCH")
    if switch:
        sys.setswitchinterval(float(switch))
        paths = [str(Path(__file__).parent / "hurry"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    config.addinivalue_line(
        "markers",
        "only(client, before, since, rabbitmq, reason): true of this client, of brokers before a version, of RabbitMQ "
        "since a version, of any RabbitMQ",
    )
    config.addinivalue_line(
        "markers", "thorough(box): takes long, and finds the same on any broker; on the one in the box not"
    )
    config.addinivalue_line("markers", "timeout(seconds): of pytest-timeout")
    config.addinivalue_line("markers", "soak: proves reliability, in minutes; -m soak runs it, docs/reliability.txt")


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    out = [item for item in items if is_deselected(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not is_deselected(item)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.sharing_out import ByBroker

    return ByBroker(config, log)


def contained_broker(series: str, stack: ExitStack) -> Broker:
    """A broker in a container, which ends with the stack."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these packages think of each other is not ours to mend
        reason = ""
        try:
            from testcontainers.core.container import DockerContainer

            container = DockerContainer("rabbitmq:" + series).with_exposed_ports(5672)
            stack.enter_context(container)
        except ImportError:
            reason = "no testcontainers to run one in a container"
        except Exception as exc:  # of docker, requests, urllib3 or the system
            reason = "no Docker engine to run one in a container (%s)" % exc
        if reason:
            gc.collect()  # the sockets that they have left open, before anybody is warned of them
            raise Unavailable(reason)
        host = "%s:%s" % (container.get_container_host_ip(), container.get_exposed_port(5672))

        def ctl(*arguments: str) -> str:
            code, output = container.exec(["rabbitmqctl", "-q", *arguments])
            assert code == 0, output
            return str(output.decode(errors="replace"))

        deadline = time.monotonic() + 90
        while True:
            try:
                return Broker(host, ask_version(host=host), "in a container", ctl=ctl)
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise Unavailable("the container of RabbitMQ %s does not answer: %s" % (series, exc)) from None
                time.sleep(0.5)


class Brokers:
    """The brokers of a test run: each is started when it is first asked for, and all end with the run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._nodes: Optional[Nodes] = None
        self._found: Dict[str, Union[Broker, Unavailable]] = {}
        self._mortals: Dict[str, Union[Node, Box]] = {}
        self._strict: Dict[str, Node] = {}

    def shared(self, series: str) -> Broker:
        """The broker that tests share."""
        url = os.environ.get("AMQPLIB_TEST_URL") if series != BOX else None
        key = url or series
        if key not in self._found:
            try:
                self._found[key] = named_broker(url) if url else self._find(series)
            except Unavailable as exc:
                self._found[key] = exc
        found = self._found[key]
        if isinstance(found, Unavailable):
            raise found
        return found

    def mortal(self, series: str) -> Union[Node, Box]:
        """A node for tests that end it: started, or started again, as the case may be."""
        node = self._mortals.get(series)
        if node is None:
            node = self._mortals[series] = self._box() if series == BOX else self._start(series)
        elif not node.running():
            node.run()
        node.wait_ready()
        return node

    def strict(self, series: str) -> Node:
        """A RabbitMQ with little patience (consumer_timeout), that refuses what later ones will."""
        if series not in self._strict:
            node = self._start(series, STRICT[series])
            # else it looks once a minute
            node.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 200).")
            self._strict[series] = node
        return self._strict[series]

    def _box(self) -> Box:
        box = Box()
        self._stack.callback(box.end)
        return box

    def _find(self, series: str) -> Broker:
        if series == BOX:
            box = self._box()
            return Broker(box.host, box.version, "in this process", product=PRODUCT, ctl=box.ctl)
        try:
            node = self._start(series)
        except Unavailable as no_node:
            try:
                return contained_broker(series, self._stack)
            except Unavailable as no_container:
                raise Unavailable("%s, and %s" % (no_node, no_container)) from None
        return Broker(node.host, node.version, "a private node", ctl=node.ctl, log=node.log)

    def _start(self, series: str, conf: str = "") -> Node:
        install = installation(series)
        if install is None:
            raise Unavailable("no RabbitMQ %s here (run tests/install_rabbitmq.sh %s)" % (series, SUITES[series]))
        if self._nodes is None:
            self._nodes = self._stack.enter_context(Nodes())
        return self._nodes.start(install, conf)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with how to run it again, what ran before it, and what the broker has to say of it."""
    report = yield
    if report.when == "setup":
        RAN.append(item.nodeid)
    if report.failed:
        report.sections += failures.logs(getattr(item, "funcargs", {}))
        report.sections.append(("the tests before it in this process", failures.before_it(RAN)))
        report.sections.append(("to run it again", failures.run_again(item)))
    return report


def pytest_report_header(config: pytest.Config) -> List[str]:
    lines = ["amqplib %s on Python %s" % (amqplib.__version__, platform.python_version())]
    if not HAS_HYPOTHESIS:
        lines.append("hypothesis is not installed: the tests that need it are left out")
    url = os.environ.get("AMQPLIB_TEST_URL")
    if url:
        try:
            return [*lines, "live tests: %s" % named_broker(url)]
        except (OSError, ValueError) as exc:
            return [*lines, "live tests: %s" % exc]
    for series in dict.fromkeys(peer.series for peer in PEERS if peer.series != BOX):
        install = installation(series)
        version = installed_version(install) if install else series + ", if a container can be had"
        lines.append("live tests: RabbitMQ %s" % version)
    return lines


def give_up(reason: str) -> NoReturn:
    """There is no broker for this test."""
    if os.environ.get("AMQPLIB_REQUIRE_BROKER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with what certificates.py makes."""
    openssl = find_openssl()
    if openssl is None:
        give_up("no openssl here to make certificates with")
    directory = tmp_path_factory.mktemp("tls")
    make_certificates(directory, openssl)
    return directory


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    with ExitStack() as stack:
        yield Brokers(stack)


@pytest.fixture(scope="session", params=PEERS, ids=str)
def peer(request: pytest.FixtureRequest) -> Peer:
    """The pair of broker and client that a test runs on: all live tests depend on this."""
    chosen: Peer = request.param
    return chosen


@pytest.fixture(scope="session")
def broker(peer: Peer, brokers: Brokers) -> Broker:
    """The broker, which tests share: whatever they make there has a name of its own."""
    try:
        return brokers.shared(peer.series)
    except Unavailable as exc:
        give_up(str(exc))


@pytest.fixture(scope="session")
def amqp(peer: Peer) -> ModuleType:
    """The client module."""
    return importlib.import_module(peer.client)


@pytest.fixture(scope="session")
def ctl(broker: Broker) -> Callable[..., str]:
    """rabbitmqctl for the broker."""
    if broker.ctl is None:
        pytest.skip("there is no rabbitmqctl for the broker %s" % broker.origin)
    return broker.ctl


@pytest.fixture
def mortal(peer: Peer, brokers: Brokers) -> Union[Node, Box]:
    """A node that the test may stop, kill and freeze."""
    try:
        return brokers.mortal(peer.series)
    except Unavailable as exc:
        give_up(str(exc))


@pytest.fixture
def strict(peer: Peer, brokers: Brokers) -> Node:
    """A RabbitMQ that bears with less: see Brokers.strict()."""
    try:
        return brokers.strict(peer.series)
    except Unavailable as exc:
        give_up(str(exc))


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who waits looks again of its own accord: it goes on when it is woken, and at its deadline."""
    for module in (calling, driver):
        monkeypatch.setattr(module, "LOOK_AGAIN", 3600.0)


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> List[Timeouts]:
    """Those of each connection that the test makes: what has to be short must be so only when its time has come, not
    for all that the peer answers before."""
    made: List[Timeouts] = []

    class Kept(Timeouts):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(connection, "Timeouts", Kept)
    return made
