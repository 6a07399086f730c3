"""Local RabbitMQ brokers on free ports of 127.0.0.1, one node or a cluster.

    with Broker.start(version="4.0", nodes=3) as broker:
        ...  # broker.endpoint, broker.hosts, broker.kill(0), broker.restart(0)

On the command line: `python -m toolchain.broker start|status|stop|clean` (see `--help`).
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from toolchain import debian, process, state
from toolchain.errors import BrokerError
from toolchain.management import answers, ready
from toolchain.node import PLUGINS, Node, plan
from toolchain.ports import free_ports, is_free
from toolchain.process import Process
from toolchain.server import Server, from_debian

__all__ = ["Broker", "BrokerError", "answers"]

_READY_SECONDS = 120

_TRIES = 3
"""With so many choices of ports: Erlang takes some seconds until it listens on them."""

_TAKEN = "eaddrinuse"

_FOLDER_PREFIX = "rabbit-topology-"


def _silent(_line: str) -> None:
    """Report nothing."""


class Broker:
    """A running local broker.

    endpoint: URL of the first node's management API.
    hosts: "127.0.0.1:PORT" of every node's AMQP listener.
    username, password: an administrator's.
    version: RabbitMQ's own, such as "4.0.5".
    nodes: name, pid, amqp_port, management_port, log of each node.
    """

    username = "guest"
    password = "guest"  # noqa: S105 -- RabbitMQ's default, which it accepts on loopback only
    version = ""

    def __init__(
        self,
        *,
        server: Server,
        folder: Path,
        nodes: Sequence[Node],
        epmd_port: int,
        keep: bool,
        detached: bool,
    ) -> None:
        """Describe a broker below `folder`; `start` makes one that runs."""
        self.nodes = nodes
        self.folder = folder
        self._server = server
        self._epmd_port = epmd_port
        self._keep = keep
        self._detached = detached
        self._temporary = False
        self._hold: IO[bytes] | None = None

    @classmethod
    def start(
        cls,
        version: str = "4.0",
        nodes: int = 1,
        state: Path | None = None,
        report: debian.Report = _silent,
        *,
        ports: tuple[int, int] | None = None,
        config: Mapping[str, str] | None = None,
        advanced: Mapping[str, int] | None = None,
        plugins: Sequence[str] = PLUGINS,
        keep: bool = False,
        detached: bool = False,
        server: Server | None = None,
    ) -> Self:
        """Start a broker and return it when it is ready.

        version: one of `server.SUITES` or a Debian suite; `server` is used instead if given.
        state: folder for data, logs and configuration, a temporary one if None. Data that an
        earlier broker of the same shape left there is used again.
        ports: AMQP and management port of the first node; all others are free ones.
        config: lines for rabbitmq.conf of every node.
        advanced: settings of the `rabbit` application that rabbitmq.conf has no lines for.
        plugins: those of every node; rabbitmq_management has to be among them.
        keep: whether `stop` leaves the data and logs.
        detached: whether the broker outlives this process; else it dies with it, however it ends.

        Raises BrokerError if the packages cannot be had, a port is in use or a node does not
        become ready; the text holds the errors in its log. Nothing is then left running.
        """
        server = server or from_debian(version, report)
        tries = 0
        while True:
            for port in ports or ():
                if not is_free(port):
                    raise BrokerError(f"port {port} of 127.0.0.1 is in use")
            epmd_port, *free = free_ports(1 + 3 * nodes, taken=ports or ())
            folder = state.absolute() if state else Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
            broker = cls(
                server=server,
                folder=folder,
                nodes=plan(folder, nodes, ports, free),
                epmd_port=epmd_port,
                keep=keep,
                detached=detached,
            )
            broker._temporary = state is None
            try:
                broker._start(config or {}, advanced or {}, plugins, report)
            except BaseException as error:
                broker.stop()
                tries += 1
                taken = isinstance(error, BrokerError) and _TAKEN in str(error)
                if not taken or tries == _TRIES:
                    raise
                report("a port was taken by somebody else meanwhile; trying others")
            else:
                return broker

    @property
    def endpoint(self) -> str:
        """The URL of the first node's management API."""
        return self.nodes[0].endpoint

    @property
    def hosts(self) -> list[str]:
        """Address and AMQP port of every node."""
        return [node.host for node in self.nodes]

    @property
    def processes(self) -> dict[str, Process]:
        """What was started, by name: epmd and the nodes."""
        started = {"epmd": Process.read(state.epmd_record(self.folder))}
        started |= {node.name: node.process for node in self.nodes}
        return {name: one for name, one in started.items() if one}

    def kill(self, node: int) -> None:
        """Kill the node of that index at once (SIGKILL) and return when it is gone."""
        if killed := self.nodes[node].process:
            process.stop([killed], grace=0)

    def restart(self, node: int) -> None:
        """Start the node of that index again; return when it is back among the running ones.

        Raises BrokerError if it runs, or if it does not become ready.
        """
        if self.nodes[node].alive():
            raise BrokerError(f"{self.nodes[node].name} is running")
        self._start_node(self.nodes[node])
        self._wait([one for one in self.nodes if one.alive()])

    def ctl(self, *arguments: str, node: int = 0) -> str:
        """Return what `rabbitmqctl` prints. Raises BrokerError if it fails."""
        done = subprocess.run(
            [str(self._server.scripts / "rabbitmqctl"), *arguments],
            env=self._environment(self.nodes[node]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop all nodes and remove the data; a second call does nothing.

        What is kept is closed in order (SIGTERM, and SIGKILL after 10 s); else SIGKILL is enough.
        """
        state.end(self.folder, grace=10 if self._keep else 0)
        self.release()
        if not self._keep:
            state.remove(self.folder)
            if self._temporary:
                shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let go of a detached broker: it holds its programs in the cache by itself."""
        if self._hold:
            self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _environment(self, node: Node) -> dict[str, str]:
        return node.environment(self._server, state.home(self.folder), self._epmd_port)

    def _start(
        self,
        config: Mapping[str, str],
        advanced: Mapping[str, int],
        plugins: Sequence[str],
        report: debian.Report,
    ) -> None:
        start = time.monotonic()
        if self._server.prefix:
            self._hold = debian.hold(self._server.prefix)
        state.write_cookie(self.folder)
        process.spawn(
            [str(self._server.epmd)],
            record=state.epmd_record(self.folder),
            output=self.folder / "epmd.output",
            environment=self._environment(self.nodes[0]),
            with_parent=not self._detached,
            inherit=self._hold.fileno() if self._hold else None,
        )
        for node in self.nodes:
            node.write([member.name for member in self.nodes], config, advanced, plugins)
            self._start_node(node)
        self._wait(self.nodes)
        report(f"RabbitMQ {self.version} is ready ({time.monotonic() - start:.0f} s)")

    def _start_node(self, node: Node) -> None:
        node.start(
            self._server,
            self._environment(node),
            with_parent=not self._detached,
            hold=self._hold.fileno() if self._hold else None,
        )

    def _wait(self, nodes: Sequence[Node]) -> None:
        """Wait until these nodes are ready and see each other running, and no other node."""
        deadline = time.monotonic() + _READY_SECONDS
        waiting = list(nodes)
        while waiting:
            first = waiting[0]
            for node in waiting:
                if not node.alive():
                    raise BrokerError(f"{node.name} ended while starting:\n{node.complaint()}")
            if version := ready(first.endpoint, self.username, self.password, len(nodes)):
                self.version = version
                waiting.pop(0)
            elif time.monotonic() > deadline:
                raise BrokerError(
                    f"{first.name} is not ready after {_READY_SECONDS} s:\n{first.complaint()}"
                )
            else:
                time.sleep(0.05)
