"""One RabbitMQ node in a folder of its own: configuration, environment, start and logs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import process, state
from toolchain.process import Process
from toolchain.server import Server

PLUGINS = (
    "rabbitmq_management",
    "rabbitmq_shovel",
    "rabbitmq_shovel_management",
    "rabbitmq_federation",
    "rabbitmq_federation_management",
)

# Every Erlang of a broker, the command-line tools too: loopback only, and none may start an epmd
# that would outlive the broker.
_ERLANG_FLAGS = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"

_ERROR = r"\[error\]|BOOT FAILED"


@dataclass(kw_only=True)
class Node:
    """A node of a local broker. Its ports are on 127.0.0.1; `folder` holds all that it writes."""

    name: str
    folder: Path
    amqp_port: int
    management_port: int
    distribution_port: int

    @property
    def process(self) -> Process | None:
        """The process of the last start, running or not; None before the first."""
        return Process.read(state.node_record(self.folder))

    @property
    def pid(self) -> int | None:
        """The process id of the last start; None before the first."""
        return self.process.pid if self.process else None

    @property
    def host(self) -> str:
        """Where AMQP clients connect: address and port."""
        return f"127.0.0.1:{self.amqp_port}"

    @property
    def endpoint(self) -> str:
        """The URL of the node's management API."""
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def log(self) -> Path:
        """The log file of the broker."""
        return self.folder / "log" / "rabbit.log"

    @property
    def output(self) -> Path:
        """The file with what the process wrote to its standard output and error."""
        return self.folder / "output"

    def alive(self) -> bool:
        """Return whether the node's process runs."""
        return self.process is not None and self.process.alive()

    def complaint(self, count: int = 20) -> str:
        """Return what the output and the log say of a failed start.

        These are `count` lines of each file from the first error on, or the last ones.
        """
        result: list[str] = []
        for file in (self.output, self.log):
            if file.exists():
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                errors = (i for i, line in enumerate(lines) if re.search(_ERROR, line))
                first = next(errors, max(len(lines) - count, 0))
                result += lines[first : first + count]
        return "\n".join(result)

    def configuration(self, cluster: Sequence[str], extra: Mapping[str, str]) -> str:
        """Return rabbitmq.conf; `cluster` are the names of all nodes, `extra` wins."""
        settings = {
            "listeners.tcp.local": self.host,
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(self.management_port),
            "log.file": self.log.name,
            "log.file.level": "info",
            "log.console": "false",
            # A developer's machine is often nearly full, and a blocked publisher looks like a bug.
            "disk_free_limit.absolute": "10MB",
            "vm_memory_high_watermark.relative": "0.8",
        }
        if len(cluster) > 1:
            settings["cluster_formation.peer_discovery_backend"] = "classic_config"
            for index, name in enumerate(cluster, start=1):
                settings[f"cluster_formation.classic_config.nodes.{index}"] = name
        settings.update(extra)
        return "".join(f"{key} = {value}\n" for key, value in settings.items())

    def environment(self, server: Server, home: Path, epmd_port: int) -> dict[str, str]:
        """Return all of the environment of the node and its tools: none of the user's leaks in."""
        folder = self.folder
        return {
            "PATH": server.path,
            "HOME": str(home),
            "ERL_CRASH_DUMP": str(folder / "log" / "erl_crash.dump"),
            "LC_ALL": "C.UTF-8",
            "ERL_AFLAGS": _ERLANG_FLAGS,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            # Each path that is not set here would be one below /etc, /var/lib or /var/log.
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PLUGINS_DIR": str(server.scripts.parent / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_MNESIA_DIR": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "rabbit.pid"),
            # The script then becomes Erlang itself, so that its pid is the broker's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def write(
        self,
        cluster: Sequence[str],
        extra: Mapping[str, str],
        advanced: Mapping[str, int],
        plugins: Sequence[str],
    ) -> None:
        """Write the node's configuration files; see `configuration`."""
        for folder in ("log", "conf.d"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text(self.configuration(cluster, extra))
        settings = ",".join(f"{{{key},{value}}}" for key, value in advanced.items())
        (self.folder / "advanced.config").write_text(f"[{{rabbit,[{settings}]}}].\n")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def start(
        self,
        server: Server,
        environment: Mapping[str, str],
        *,
        with_parent: bool,
        hold: int | None,
    ) -> None:
        """Start the process (see `process.spawn`); it is not ready yet when this returns."""
        self.output.unlink(missing_ok=True)
        process.spawn(
            [str(server.scripts / "rabbitmq-server")],
            record=state.node_record(self.folder),
            output=self.output,
            environment=environment,
            with_parent=with_parent,
            inherit=hold,
        )


def plan(
    folder: Path, count: int, ports: tuple[int, int] | None, free: Sequence[int]
) -> list[Node]:
    """Return the nodes of a broker below `folder`.

    ports: AMQP and management port of the first one; `free`: three others for each node.
    """
    spare = iter(free)
    nodes = []
    for index in range(count):
        amqp, management = ports if ports and index == 0 else (next(spare), next(spare))
        nodes.append(
            Node(
                name=f"rabbit{index + 1}@localhost",
                folder=state.node_folder(folder, index),
                amqp_port=amqp,
                management_port=management,
                distribution_port=next(spare),
            )
        )
    return nodes
