"""
``python -m rabbit_topology adopt``: a broker that is there, as a config.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rabbit_topology.adopt import (
    definitions,
    express,
    numbers,
    proof,
    proposals,
    text,
    watch,
)
from rabbit_topology.adopt.definitions import Definitions
from rabbit_topology.adopt.express import Expressed, Place
from rabbit_topology.broker.inventory import Inventory
from rabbit_topology.broker.management import Management
from rabbit_topology.commands import brokers
from rabbit_topology.config import provider_settings
from rabbit_topology.config.stack import Stack
from rabbit_topology.config.words import printable
from rabbit_topology.errors import TopologyError
from rabbit_topology.model.units import milliseconds

app = typer.Typer()

_NOUNS = {
    "exchanges": "exchanges",
    "queues": "queues",
    "policies": "policies",
    "operator_policies": "operator policies",
    "users": "users, with their passwords and tags as they are",
}

_SHOWN = 20
"""So many lines of what is left alone are shown; the file has all."""


@app.command()
def adopt(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="a definitions file, a Terraform state, or the Kubernetes operator's YAML; "
            "default: the broker itself"
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="its management API; default: RABBITMQ_ENDPOINT")
    ] = None,
    username: Annotated[
        str | None, typer.Option(help="default: RABBITMQ_USERNAME; the password is asked for")
    ] = None,
    vhost: Annotated[list[str] | None, typer.Option(help="only this one; repeatable")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="the topology file")] = Path(
        "topology.yaml"
    ),
    stack: Annotated[
        str | None, typer.Option(help="write Pulumi.STACK.yaml as well, if there is none")
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="say what could be shorter, and what that would cost")
    ] = False,
    watch_: Annotated[
        str | None,
        typer.Option("--watch", help="propose services by who is at work for so long: 10m"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite the topology file")] = False,
) -> None:
    """Write the config of a broker that is there. What it has stays as it is."""
    if output.exists() and not force:
        raise TopologyError(f"{output} is there already: name another -o FILE, or say --force")
    if watch_ is not None and file is not None:
        raise TopologyError("--watch needs a broker, and not a file")
    seconds = 0.0 if watch_ is None else _seconds(watch_)
    api: Management | None = None
    if file is None:
        api = brokers.management(endpoint, username, _ask)
        had = _with_numbers(api, definitions.live(api, brokers.progress), vhost or ())
    else:
        had = definitions.from_file(file, str(file), vhost[0] if vhost else None)
    own_user = api.username if api else username
    said, config, equal = _proven(had, vhost or (), own_user, api)
    if config is None:
        _echo(f"nothing to manage on {had.source}; no file is written", _left(said))
        return
    _write(output, text.document(said.topology, _comments(had, said)))
    typer.echo(f"{output}: {equal:,} objects of {had.source}, each as it is there")
    for line in _summary(said):
        typer.echo(f"  {line}")
    if fold:
        _echo("could be said otherwise; nothing of it is written:", _folds(config))
    if api and seconds:
        seen = watch.watch(api, said.topologies, seconds, brokers.progress)
        _echo(f"services that would do, by what was seen in {watch_}:", _services(seen))
    _echo("next:", _next(output, stack, api))


def _echo(title: str, lines: Iterable[str]) -> None:
    typer.echo(f"\n{title}")
    for line in lines:
        typer.echo(f"  {line}")


def _folds(config: Stack) -> Iterator[str]:
    whole = config.whole.items()
    proposed = [str(one) for root, topology in whole for one in proposals.propose(root, topology)]
    yield from proposed or ["nothing"]


def _seconds(watched: str) -> float:
    try:
        asked = milliseconds(watched)
    except ValueError as error:
        raise TopologyError(f"--watch {watched}: {error}") from None
    return asked / 1000 if isinstance(asked, int) else 0.0


def _services(seen: watch.Seen) -> Iterator[str]:
    yield from watch.proposed(seen)
    if seen:
        yield (
            "each keeps its password; take it out of `users`, where it is until now, and once it "
            "is a service, what was not seen is refused"
        )
    else:
        yield "nobody published or consumed"


def _with_numbers(api: Management, had: Definitions, vhosts: Sequence[str]) -> Definitions:
    within = dict(had.within)
    for vhost in definitions.of_vhosts(had, vhosts):
        bindings = numbers.mark(api, vhost, within[vhost]["bindings"])
        within[vhost] = {**within[vhost], "bindings": bindings}
    return replace(had, within=within)


def _ask(username: str) -> str:
    return str(typer.prompt(f"password of {username}", hide_input=True, err=True))


def _proven(
    had: Definitions, vhosts: Sequence[str], own_user: str | None, api: Management | None
) -> tuple[Expressed, Stack | None, int]:
    """Return what is said, as a config too, and how many objects are as it declares them.

    All are, by what `pulumi up` will look at: what the config would change is left alone. The
    config is None where there is nothing to manage.
    """
    there = None
    if api:
        # Only here: it loads what speaks AMQP.
        from rabbit_topology.broker.access import Access

        there = Inventory(Access(management=api, addresses=[]))
    unequal: dict[Place, str] = {}
    while True:
        chosen = definitions.of_vhosts(had, vhosts)
        said = express.express(had, chosen, own_user, unequal=unequal)
        if not said.topologies:
            return said, None, 0
        config = brokers.config(had, said)
        config.check()
        seen = proof.prove(config.whole.values(), had, there)
        if not seen.different:
            return said, config, seen.equal
        if seen.changed.keys() <= unequal.keys():
            raise TopologyError(
                "nothing was written, since the config would differ from the broker:\n"
                + "\n".join(f"  - {line}" for line in seen.different)
            )
        unequal |= seen.changed


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise TopologyError(f"{file}: {error.strerror}") from None


def _comments(had: Definitions, said: Expressed) -> Iterator[str]:
    version = f", RabbitMQ {had.version}" if had.version else ""
    yield f"What is on {had.source}{version}, as it is there: to deploy it changes nothing."
    if said.left:
        yield ""
        yield "Left alone on the broker:"
        yield from _left(said)


def _left(said: Expressed) -> Iterator[str]:
    for one in said.left:
        where = f" of vhost {one.vhost}" if one.vhost else ""
        yield printable(f"  {one.title}{where}: {one.reason}")


def _summary(said: Expressed) -> Iterator[str]:
    counted: Counter[str] = Counter()
    for topology in said.topologies.values():
        for key, noun in _NOUNS.items():
            counted[noun] += len(topology.get(key, ()))
        counted["bindings"] += sum(
            len(one.get("routing_keys", ("",))) for one in topology.get("bindings", ())
        )
    for noun, count in counted.items():
        if count:
            yield f"{count:,} {noun}"
    for what, count in said.brokers_own.items():
        yield f"{count:,} {what} left out: they are the broker's own"
    if said.left:
        yield f"{len(said.left):,} left alone:"
        lines = [*_left(said)]
        yield from (f"  {line}" for line in lines[:_SHOWN])
        if len(lines) > _SHOWN:
            yield f"    and {len(lines) - _SHOWN:,} more, at the head of the file"


def _next(output: Path, stack: str | None, api: Management | None) -> Iterator[str]:
    """Yield what to do then; write the stack's file where that is asked for."""
    endpoint = api.endpoint if api else "http://localhost:15672"
    username = api.username if api else "NAME"
    keys = {one.argument: one.path for one in provider_settings.NEEDED}
    config = {
        keys["endpoint"]: endpoint,
        keys["username"]: username,
        "rabbit-topology:base": output.as_posix(),
    }
    own = Path(f"Pulumi.{stack}.yaml")
    named = f" {stack}" if stack else " NAME"
    if stack and not own.exists():
        lines = [f"  {key}: {text.flow(value)}" for key, value in config.items()]
        _write(own, "\n".join(["config:", *lines]) + "\n")
        yield f"pulumi stack init{named}    # {own} is written"
    else:
        yield f"pulumi stack init{named}"
        yield from (f"pulumi config set {key} {value}" for key, value in config.items())
    yield f"pulumi config set --secret {keys['password']}"
    yield "pulumi preview    # says how many objects it adopts"
    yield "pulumi up"
