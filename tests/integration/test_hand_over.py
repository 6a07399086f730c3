"""
What `env` hands over opens the broker: of services and users, as deployed and not as configured.
"""

from __future__ import annotations

import json
import stat
import subprocess
from copy import deepcopy
from typing import Any

import pika
import pytest
import yaml
from pika.exceptions import ProbableAuthenticationError

from tests.support.stacks import Stack, command, management

SEED = "a seed of the tests"


def topology(vhost: str) -> dict[str, Any]:
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": {
            vhost: {
                "queues": {"jobs": {"type": "classic"}},
                "services": {"worker": {"consumes": ["jobs"]}, "gateway": {}},
                "users": {
                    f"{vhost}-ops": {"permissions": everything, "tags": ["monitoring"]},
                    f"{vhost}-said": {"permissions": everything, "password": "p@s/\"' $ü"},
                    f"{vhost}-theirs": {"permissions": everything, "exists": True},
                },
            },
            f"{vhost}-two": {
                "services": {"gateway": {}},
                "users": {f"{vhost}-ops": {"permissions": everything, "exists": True}},
            },
        }
    }


def env(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(stack, "env", *arguments, "--stack", stack.name)


def opens(values: dict[str, str]) -> None:
    pika.BlockingConnection(pika.URLParameters(values["AMQP_URL"])).close()
    parts = pika.ConnectionParameters(
        host=values["AMQP_HOST"],
        port=int(values["AMQP_PORT"]),
        virtual_host=values["AMQP_VHOST"],
        credentials=pika.PlainCredentials(values["AMQP_USERNAME"], values["AMQP_PASSWORD"]),
    )
    pika.BlockingConnection(parts).close()


def test_all_services_and_users_open_what_they_were_given(stack: Stack, vhost: str) -> None:
    theirs = f"{vhost}-theirs"
    api = management(stack.broker)
    api.request("PUT", f"/users/{theirs}", {"password": "known to others", "tags": ""})
    stack.configure(topology(vhost), seed=SEED)
    stack.up()
    file = stack.folder / "all.json"
    ended = env(stack, "--all", "--format", "json", "-o", str(file))
    assert not ended.returncode, ended.stderr
    assert not ended.stdout
    assert f"left out: user {theirs}" in ended.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    given = json.loads(file.read_text())
    both = (vhost, f"{vhost}-two")
    assert given.keys() == {
        "worker",
        *(f"{where}/gateway" for where in both),
        *(f"{where}/{vhost}-ops" for where in both),
        f"{vhost}-said",
    }
    for values in given.values():
        opens(values)
        assert values["AMQP_PASSWORD"] not in ended.stderr
    said = env(stack, "--user", f"{vhost}-said", "--format", "json").stdout
    assert json.loads(said) == given[f"{vhost}-said"]
    assert given[f"{vhost}-said"]["AMQP_PASSWORD"] == "p@s/\"' $ü"
    two = env(stack, "--all", "--vhost", f"{vhost}-two", "--format", "kubernetes").stdout
    secrets = {one["metadata"]["name"]: one["stringData"] for one in yaml.safe_load_all(two)}
    assert secrets["gateway-amqp"] == given[f"{vhost}-two/gateway"]
    assert secrets[f"{vhost}-ops-amqp"] == given[f"{vhost}-two/{vhost}-ops"]
    stack.destroy()
    api.request("DELETE", f"/users/{theirs}")


def test_a_password_is_the_one_that_is_deployed(one_stack: Stack, vhost: str) -> None:
    described = topology(vhost)
    inside = described["vhosts"][vhost]
    del inside["users"][f"{vhost}-theirs"]
    one_stack.configure(described, seed=SEED)
    one_stack.up()
    ops = ("--user", f"{vhost}-ops", "--vhost", vhost, "--format", "json")
    before = json.loads(env(one_stack, *ops).stdout)
    later = deepcopy(described)
    later["vhosts"][vhost]["users"][f"{vhost}-ops"]["rotation"] = 2
    one_stack.configure(later, seed=SEED)
    assert json.loads(env(one_stack, *ops).stdout) == before
    opens(before)
    one_stack.up()
    after = json.loads(env(one_stack, *ops).stdout)
    opens(after)
    with pytest.raises(ProbableAuthenticationError):
        opens(before)
    one_stack.destroy()


def test_the_file_of_a_service_is_read_by_a_shell(one_stack: Stack, vhost: str) -> None:
    one_stack.configure({"vhost": vhost, "services": {"gateway": {}}}, seed=SEED)
    one_stack.up()
    file = one_stack.folder / "gateway.env"
    assert not env(one_stack, "gateway", "-o", str(file)).returncode
    shown = subprocess.run(
        ["sh", "-c", f'. "{file}" && printf %s "$AMQP_URL"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == one_stack.outputs()["service_urls"]["gateway"]
    one_stack.destroy()
