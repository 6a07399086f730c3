"""
``python -m rabbit_topology watch``: what Prometheus and Grafana need, from the config alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import yaml

from rabbit_topology.commands import configured, files, sources
from rabbit_topology.commands.configured import Configured
from rabbit_topology.commands.options import File, Stack, Vhost
from rabbit_topology.compiler import whereabouts
from rabbit_topology.compiler.urls import Address
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.network import Network
from rabbit_topology.watch import build, dashboard, metrics, rules

_watch = typer.Typer(
    no_args_is_help=True, help="Write alert rules, a dashboard and a scrape config from the config."
)
app = typer.Typer()
app.add_typer(_watch, name="watch")

_Job = Annotated[
    str | None, typer.Option(help="the name of Prometheus' job; default: rabbitmq-<stack>")
]
_Output = Annotated[Path | None, typer.Option("-o", "--output", help="a file")]


@_watch.command("rules")
def rules_(
    stack: Stack = None,
    file: File = None,
    vhost: Vhost = None,
    job: _Job = None,
    output: _Output = None,
) -> None:
    """Write alerting rules for Prometheus."""
    config = configured.read(file, stack)
    source = rules.Source(
        stack=config.name, job=_job(config, job), choice=_choice(config, stack, file)
    )
    watched = build.watched(_networks(config, vhost))
    _yaml(rules.document(source, watched), output)


@_watch.command()
def scrape(
    stack: Stack = None,
    file: File = None,
    vhost: Vhost = None,
    job: _Job = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="a node, host:port, each with one; default: the broker's hosts"),
    ] = None,
    output: _Output = None,
) -> None:
    """Write what Prometheus scrapes: the metrics of the stack's queues, from each node."""
    config = configured.read(file, stack)
    watched = build.watched(_networks(config, vhost))
    targets = target or _targets(config)
    _yaml(metrics.scrape(_job(config, job), targets, watched), output)


@_watch.command("dashboard")
def dashboard_(
    stack: Stack = None,
    file: File = None,
    vhost: Vhost = None,
    job: _Job = None,
    output: _Output = None,
) -> None:
    """Write a dashboard for Grafana: a row for each service and for each kind of queue."""
    config = configured.read(file, stack)
    networks = _networks(config, vhost)
    document = dashboard.document(
        config.name,
        _job(config, job),
        build.watched(networks),
        [*build.services(networks)],
    )
    files.write(files.as_json(document), output)


def _networks(config: Configured, vhost: str | None) -> list[Network]:
    if vhost is None:
        return [*Network.every(config.stack).values()]
    return [sources.vhost(config.stack, vhost)]


def _job(config: Configured, job: str | None) -> str:
    return job or f"rabbitmq-{config.name}"


def _choice(config: Configured, stack: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the options that lead others to the same config."""
    if file is None or (stack is None and file == Path(f"Pulumi.{config.name}.yaml")):
        return ("--stack", config.name)
    return ("--file", str(file))


def _targets(config: Configured) -> list[str]:
    """Return where the nodes' metrics are: the hosts that are said, or that of the endpoint."""
    hosts = [address.host for address in whereabouts.addresses(config.stack.broker)]
    if not config.stack.broker.hosts:
        endpoint = config.reached.get("endpoint")
        host = urlsplit(endpoint).hostname if isinstance(endpoint, str) else None
        if host is None:
            raise TopologyError(
                f"{config.file} does not say where the broker is: say --target host:"
                f"{metrics.PORT}, once for each node"
            )
        hosts = [host]
    return [str(Address(host, metrics.PORT)) for host in dict.fromkeys(hosts)]


def _yaml(document: Any, output: Path | None) -> None:
    written = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=2**20)
    files.write(written, output)
