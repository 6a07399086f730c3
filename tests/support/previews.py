"""
Previews as the engine's `pulumi preview --json` writes them.
"""

from __future__ import annotations

import json

PREFIXES = {"warning": "warning: ", "error": "error: "}
TYPES = {"vhost": "VHost", "queue": "Queue", "exchange": "Exchange", "binding": "Binding"}
FILE = "/home/user/project/rabbit_topology/deploy/hooks.py"


def urn(kind, vhost, name, stack="test"):
    type_ = f"rabbitmq:index/{kind}:{TYPES.get(kind, kind)}"
    parent = "rabbit_topology:index:Topology"
    return f"urn:pulumi:{stack}::rabbit-topology::{parent}${type_}::topology/{vhost}/{kind}/{name}"


def step(op, kind, name, vhost="v", hook=None, stack="test", **inputs):
    """Return one step; ``hook`` is what looks after the deletion, as the state names it."""
    hooks = {"BeforeDelete": [f"rabbit-topology:topology:{hook}"]} if hook else {}
    state = {
        "urn": urn(kind, vhost, name, stack),
        "custom": True,
        "type": f"rabbitmq:index/{kind}:{TYPES.get(kind, kind)}",
        "inputs": {"name": name, "vhost": vhost, **inputs},
        **({"resourceHooks": hooks} if hooks else {}),
    }
    sides = {"create": ["newState"], "delete": ["oldState"]}.get(op, ["oldState", "newState"])
    return {"op": op, "urn": state["urn"], "detailedDiff": None, **dict.fromkeys(sides, state)}


def root(stack="test"):
    type_ = "pulumi:pulumi:Stack"
    at = f"urn:pulumi:{stack}::rabbit-topology::{type_}::rabbit-topology-{stack}"
    state = {"urn": at, "custom": False, "type": type_}
    return {"op": "same", "urn": at, "detailedDiff": None, "oldState": state, "newState": state}


def said(severity, text):
    """Return one diagnostic: the engine puts the severity before it, and a line break behind."""
    return {"message": f"{PREFIXES.get(severity, '')}{text}\n", "severity": severity}


def raised(text, hook="queue"):
    """Return the diagnostic of what a hook raises in a preview that is to fail then."""
    before = f'Preview failed: before hook "rabbit-topology:topology:{hook}" failed'
    return said("error", f"{before}: {text}")


def thrown(text):
    """Return the same as the SDK tells of any other function that the engine calls back."""
    trace = f'  File "{FILE}", line 312, in run\n    await function(args)\n'
    callback = f"Invoke callback 6d0e7a4e-4ccd-4f3b-8b0f-c0f4e7a0f5f0 error: {text}:\n{trace}"
    return raised(f"rpc error: code = Unknown desc = {callback}")


def preview(*steps, notes=(), stack="test", counts=None):
    """Return the whole document."""
    made = {}
    for one in steps:
        made[one["op"]] = made.get(one["op"], 0) + 1
    digest = {
        "config": {"rabbitmq:password": "[secret]"},
        "steps": [root(stack), *steps],
        "diagnostics": list(notes),
        "duration": 1_000_000_000,
        "changeSummary": {"same": 3, **made} if counts is None else counts,
    }
    return json.dumps({key: value for key, value in digest.items() if value}, indent=4)
