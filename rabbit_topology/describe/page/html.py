"""
The page as HTML: one file that loads nothing.

Jinja2 escapes every value; the script's data is JSON with everything escaped that could end it.
A policy in the page allows its own script and style by their hashes, and nothing else: should a
name get into it as HTML in spite of all, it could not run. It needs requirements-pictures.txt.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from rabbit_topology.describe import looks
from rabbit_topology.describe.page import picture, words
from rabbit_topology.describe.page.origins import Origin
from rabbit_topology.describe.page.view import Page, Vhost

_TEMPLATE = "page.html.jinja"


def render(page: Page) -> str:
    """Return the page as an HTML document."""
    style, script = _read("page.css"), _read("page.js")
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_read),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": looks.visible, "plain": words.plain}
    environment.globals |= {"Origin": Origin, "setting_words": words.setting}
    return (
        environment.get_template(_TEMPLATE)
        .render(
            page=page,
            # Our own files, as they are shipped.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            policy=_policy(style, script),
            data=[vhost.ways for vhost in page.vhosts],
            pictures=_pictures(page.vhosts),
        )
        .rstrip("\n")
        + "\n"
    )


def _pictures(vhosts: Sequence[Vhost]) -> list[Markup | None]:
    return [
        picture.render(vhost.graph, vhost.anchors) if vhost.graph.nodes else None
        for vhost in vhosts
    ]


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
