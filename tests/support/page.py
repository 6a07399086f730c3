"""
The page of `docs`: what a strict HTML parser reads in it, and its script in a JavaScript engine.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import quickjs
from justhtml import JustHTML

from rabbit_topology.compiler import patterns
from rabbit_topology.compiler.context import Context
from rabbit_topology.config.stack import Stack
from rabbit_topology.describe.page import build, html
from rabbit_topology.describe.page.vhost import Config
from rabbit_topology.lint.reading import read
from rabbit_topology.model import Topology
from rabbit_topology.routing.network import Network
from tests.support.repository import ROOT

_FOLDER = ROOT / "rabbit_topology" / "describe" / "page"
SCRIPT = (_FOLDER / "page.js").read_text(encoding="utf-8")
STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")


def config(topology, **other):
    """Return a config, given as YAML has it."""
    stack = read(topology, **other)
    stack.check()
    return Config(name="dev", stack=stack)


def bare(topology, name="dev"):
    """Return a config in which rules may find something wrong."""
    stack = replace(read(topology), errors=())
    return Config(name=name, stack=stack)


def unchecked(config, patch=None):
    """Return a vhost as it is, be it right or not."""
    one = Topology.model_validate_json(json.dumps(config))
    context = Context(written=one, whole=patterns.expand(one), version=None)
    return Network(context, patch=patch)


def written(*configs, **chosen):
    """Return the HTML of configs: stacks, or `Config`."""
    named = [
        Config(name=f"s{number}", stack=one) if isinstance(one, Stack) else one
        for number, one in enumerate(configs)
    ]
    return html.render(build.page(named, **chosen))


def parsed(text):
    """Return a document; its syntax has to be without a fault."""
    document = JustHTML(text, sanitize=False, collect_errors=True)
    assert not document.errors, document.errors
    return document


def card(document, anchor):
    """Return all text of a section of the page, with single spaces."""
    (one,) = (card for card in document.query("article") if card.attrs["id"] == anchor)
    return re.sub(r" (?=[,.:;)])", "", " ".join(one.to_text().split()))


def data(document):
    """Return what the page gives its script: the ways of each vhost."""
    (one,) = (script for script in document.query("script") if script.attrs.get("id") == "data")
    return json.loads(one.to_text())


@cache
def _context():
    context = quickjs.Context()
    context.set_max_stack_size(4 * 2**20)
    context.eval(SCRIPT)
    context.eval("let net; const take = (data) => { net = network(JSON.parse(data)); };")
    context.eval("const ask = (exchange, key) => JSON.stringify(route(net, exchange, key));")
    return context


def script(data):
    """Return what the page's script says of a message by its exchange and routing key."""
    context = _context()
    context.eval("take")(json.dumps(data))
    ask = context.eval("ask")
    return lambda exchange, key: json.loads(ask(exchange, key))


def visible(text):
    """Return text as the page's script shows it."""
    return _context().eval("visible")(text)
