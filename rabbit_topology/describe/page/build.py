"""
The page of some configs, as plain values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rabbit_topology.config.words import show, suggest
from rabbit_topology.describe.page import view
from rabbit_topology.describe.page.places import safe
from rabbit_topology.describe.page.vhost import Config
from rabbit_topology.describe.page.vhost import vhost as vhost_of
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.network import Network


def page(
    configs: Sequence[Config], *, vhost: str | None = None, service: str | None = None
) -> view.Page:
    """Return the page of some configs.

    Args:
        configs: Them, each with a name.
        vhost: Only the vhosts of this name.
        service: Only what this service has to do with them.

    Raises:
        TopologyError: There is no such vhost or service.
    """
    every = [
        (config, network) for config in configs for network in Network.every(config.stack).values()
    ]
    chosen = [(config, network) for config, network in every if vhost in (None, network.vhost)]
    if not chosen:
        known = (network.vhost for _, network in every)
        raise TopologyError(f"{show(vhost)} is not a vhost here; {suggest(str(vhost), known)}")
    if service is not None:
        chosen = _having(chosen, service)
    alone = len(chosen) == 1
    vhosts = tuple(
        vhost_of(config, network, service, begin)
        for (config, network), begin in zip(chosen, _beginnings(chosen), strict=True)
    )
    names = ", ".join(dict.fromkeys(config.name for config, _ in chosen))
    what = f"vhost {vhosts[0].name}" if alone else f"{len(vhosts)} vhosts"
    title = f"{what}, {names}" if service is None else f"service {service}, {what}, {names}"
    return view.Page(title=title, vhosts=vhosts, service=service)


def _having(chosen: list[tuple[Config, Network]], service: str) -> list[tuple[Config, Network]]:
    """Return those with a service.

    Raises:
        TopologyError: There is none.
    """
    known = {name for _, network in chosen for name in network.context.written.services}
    if service not in known:
        raise TopologyError(f"{show(service)} is not a service here; {suggest(service, known)}")
    return [one for one in chosen if service in one[1].context.written.services]


def _beginnings(chosen: list[tuple[Config, Network]]) -> Iterator[str]:
    """Yield what all anchors of each vhost begin with; nothing where there is only one."""
    names = [safe(config.name, network.vhost) for config, network in chosen]
    for number, name in enumerate(names):
        if len(names) == 1:
            yield ""
        elif name in names[:number]:  # two files of one name
            yield f"{name}/{number}/"
        else:
            yield f"{name}/"
