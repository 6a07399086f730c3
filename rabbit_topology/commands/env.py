"""
``python -m rabbit_topology env``: what services and users connect with, handed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rabbit_topology import private_files
from rabbit_topology.commands import deployed
from rabbit_topology.errors import TopologyError
from rabbit_topology.handover import accounts
from rabbit_topology.handover.accounts import Account, Kind
from rabbit_topology.services import environment, labels
from rabbit_topology.services.environment import Form, Login
from rabbit_topology.services.stores import Place

app = typer.Typer()

_STORE_KINDS = ("SecretStore", "ClusterSecretStore")


@app.command()
def env(
    service: Annotated[str | None, typer.Argument(help="its name in the config")] = None,
    user: Annotated[str | None, typer.Option(help="or a user, of those under `users`")] = None,
    every: Annotated[bool, typer.Option("--all", help="all services and users at once")] = False,
    stack: Annotated[str | None, typer.Option(help="default: the selected stack")] = None,
    vhost: Annotated[str | None, typer.Option(help="only this one")] = None,
    form: Annotated[Form, typer.Option("--format", help="how they are written")] = Form.DOTENV,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a file that you alone can read")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="of Kubernetes, for manifests")] = None,
    path: Annotated[
        str | None, typer.Option(help="below which the store has them; default: rabbitmq")
    ] = None,
    mount: Annotated[
        str | None, typer.Option(help="of Vault's key-value engine; default: secret")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="a SecretStore, or ClusterSecretStore/NAME, for External Secrets"),
    ] = None,
) -> None:
    """Print what a service or user connects with, its password included, or all of them."""
    if (service is not None) + (user is not None) + every != 1:
        raise TopologyError("name a service, or --user and a user, or say --all")
    place = _place(form, namespace, path, mount, store)
    if every:
        text, names = _all(stack, vhost, form, place)
    else:
        text, names = _one(stack, vhost, form, place, service=service, user=user)
    if output is None:
        typer.echo(text, nl=False)
        return
    private_files.write(output, text)
    _say(f"{output}: {', '.join(names)}")


def _one(
    stack: str | None,
    vhost: str | None,
    form: Form,
    place: Place,
    *,
    service: str | None,
    user: str | None,
) -> tuple[str, list[str]]:
    kind, name = (Kind.SERVICE, service) if service is not None else (Kind.USER, user)
    known = deployed.accounts(stack, kinds=[kind], vhost=vhost)
    account = accounts.named(known, kind, name or "")
    if not account.complete and form is not Form.EXTERNAL_SECRET:
        raise TopologyError(_unknown(account))
    return environment.render(_login(account, account.name), form, place), [str(account)]


def _all(stack: str | None, vhost: str | None, form: Form, place: Place) -> tuple[str, list[str]]:
    known = deployed.accounts(stack, vhost=vhost)
    titled = zip(known, accounts.titles(known), strict=True)
    given = []
    for account, title in titled:
        if account.complete or form is Form.EXTERNAL_SECRET:
            given.append((account, title))
        else:
            _say(f"left out: {_unknown(account)}")
    if not given:
        raise TopologyError("there is no service or user with a password that is known here")
    logins: Sequence[Login] = [_login(*one) for one in given]
    return environment.render_all(logins, form, place), [title for _, title in given]


def _login(account: Account, title: str) -> Login:
    return Login(name=title, values=environment.variables(account.urls))


def _unknown(account: Account) -> str:
    if account.kind is Kind.SERVICE:
        return (
            f"{account} has `exists: true`, and its password is known to others alone: add it as "
            "its `password`, a secret, and run `pulumi up`"
        )
    return f"{account} has `exists: true`: its password is known to those who made it alone"


def _place(
    form: Form, namespace: str | None, path: str | None, mount: str | None, store: str | None
) -> Place:
    """Return where secrets are kept, of options that the form has a use for."""
    useless = {
        "--namespace": namespace is not None and not form.manifests,
        "--path": path is not None and not form.kept,
        "--mount": mount is not None and form is not Form.VAULT,
        "--store": store is not None and not form.external,
    }
    for option, wrong in useless.items():
        if wrong:
            raise TopologyError(f"{option} means nothing to --format {form}: leave it out")
    if namespace is not None:
        labels.check_namespace(namespace)
    if form.external and not store:
        raise TopologyError(f"--format {form} needs --store and the name of a SecretStore")
    kind, slash, name = (store or "").rpartition("/")
    if slash and (kind not in _STORE_KINDS or not name):
        raise TopologyError(f"--store {store}: a name, or one of {', '.join(_STORE_KINDS)}/NAME")
    return Place(
        namespace=namespace,
        mount=_below(mount, "--mount", "secret"),
        path=_below(path, "--path", "rabbitmq"),
        store=name,
        store_kind=kind or _STORE_KINDS[0],
    )


def _below(written: str | None, option: str, default: str) -> str:
    if written is None:
        return default
    below = written.strip("/")
    if not below or below.startswith("-") or not below.isprintable():
        raise TopologyError(f"{option} {written}: a path such as {default}/orders")
    return below


def _say(text: str) -> None:
    typer.echo(text, err=True)
