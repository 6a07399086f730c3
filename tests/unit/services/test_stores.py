"""
Manifests and commands for where secrets are kept, read by others than those who wrote them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rabbit_topology import TopologyError
from rabbit_topology.services import environment, labels, stores
from rabbit_topology.services.environment import Form, Login
from rabbit_topology.services.stores import Place

VALUES = {"AMQP_URL": "amqp://u:p@h:1/v", "AMQP_PASSWORD": "p"}
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def run(script, folder):
    """Run a script with a shell for which `vault` writes down what it was given."""
    fake = Path(folder) / "vault"
    fake.write_text(
        '#!/bin/sh\nfor one in "$@"; do printf "%s\\0" "$one"; done >>"$OUT/arguments"\n'
        'cat >>"$OUT/input"\n[ -z "$FAIL" ]\n'
    )
    fake.chmod(0o755)
    return subprocess.run(
        ["sh"],
        input=script,
        text=True,
        env={"PATH": f"{folder}:/usr/bin:/bin", "OUT": str(folder), "FAIL": ""},
        check=True,
    )


@settings(max_examples=25)
@given(value=_TEXT | st.sampled_from(["it's", "JSON\nJSON", "$HOME `id`", "\\", "ü€😀"]))
def test_vault_gets_each_value_by_standard_input(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("vault")
    place = Place(mount="kv's", path="team/$x y")
    run(stores.vault("billing", {"A": value}, place), folder)
    arguments = (folder / "arguments").read_text().split("\0")[:-1]
    assert arguments == ["kv", "put", "-mount=kv's", "team/$x y/billing", "-"]
    assert json.loads((folder / "input").read_text()) == {"A": value}


def test_no_value_is_among_the_arguments_of_vault():
    command, document, end = stores.vault("billing", {"A": "hunter2"}, Place()).splitlines()
    assert command == "vault kv put -mount=secret rabbitmq/billing - <<'JSON'"
    assert "hunter2" in document
    assert end == "JSON"


def test_vault_stops_at_the_first_command_that_fails(tmp_path):
    logins = [Login(name=name, values=VALUES) for name in ("one", "other")]
    script = environment.render_all(logins, Form.VAULT)
    run(script, tmp_path)
    assert (tmp_path / "arguments").read_text().count("put") == 2
    (tmp_path / "arguments").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        run(f"export FAIL=1\n{script}", tmp_path)
    assert (tmp_path / "arguments").read_text().count("put") == 1


@pytest.mark.parametrize("namespace", [None, "shop", "true", "123"])
def test_a_namespace_is_text_wherever_a_manifest_has_it(namespace):
    place = Place(namespace=namespace, store="vault")
    for form in (Form.KUBERNETES, Form.PUSH_SECRET, Form.EXTERNAL_SECRET):
        written = environment.render(Login(name="billing", values=VALUES), form, place)
        for document in yaml.safe_load_all(written):
            assert document["metadata"].get("namespace") == namespace
            assert document["metadata"]["name"] == "billing-amqp"


def test_a_push_secret_pushes_each_value_of_its_secret():
    place = Place(store="vault", store_kind="ClusterSecretStore", path="orders")
    secret, pushed = yaml.safe_load_all(stores.push_secret("billing", VALUES, place))
    assert secret["kind"] == "Secret"
    assert secret["stringData"] == VALUES
    assert pushed == {
        "apiVersion": "external-secrets.io/v1alpha1",
        "kind": "PushSecret",
        "metadata": {"name": "billing-amqp"},
        "spec": {
            "updatePolicy": "Replace",
            "refreshInterval": "1h0m0s",
            "secretStoreRefs": [{"name": "vault", "kind": "ClusterSecretStore"}],
            "selector": {"secret": {"name": secret["metadata"]["name"]}},
            "data": [
                {
                    "match": {
                        "secretKey": key,
                        "remoteRef": {"remoteKey": "orders/billing", "property": key},
                    }
                }
                for key in VALUES
            ],
        },
    }


def test_an_external_secret_reads_where_the_other_forms_write_and_holds_no_secret():
    place = Place(store="vault", path="orders")
    written = stores.external_secret("odd name", place)
    read = yaml.safe_load(written)
    (where,) = read["spec"]["dataFrom"]
    _, pushed = yaml.safe_load_all(stores.push_secret("odd name", VALUES, place))
    keys = {one["match"]["remoteRef"]["remoteKey"] for one in pushed["spec"]["data"]}
    assert {where["extract"]["key"]} == keys
    assert where["extract"]["key"] in stores.vault("odd name", VALUES, place)
    assert read == {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": labels.secret_name("odd name")},
        "spec": {
            "refreshInterval": "1h0m0s",
            "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
            "target": {"name": labels.secret_name("odd name"), "creationPolicy": "Owner"},
            "dataFrom": [where],
        },
    }


@pytest.mark.parametrize("name", ["Shop", "-a", "a-", "a.b", "", "x" * 64, "a\n", "ü"])
def test_what_is_no_namespace_is_refused(name):
    with pytest.raises(TopologyError, match="--namespace"):
        labels.check_namespace(name)
    labels.check_namespace("x" * 63)


def test_prefixes_of_variables_differ_where_names_do_and_are_names_for_a_shell():
    names = ["a-b", "a_b", "a.b", "A-b", "2", "-2", "ü", "x" * 80, "x" * 81]
    prefixes = [labels.variable_prefix(name) for name in names]
    assert prefixes[0] == "A_B_"
    assert prefixes[4] == "_2_"
    assert len(set(prefixes)) == len(names)
    assert all(prefix.isidentifier() and prefix.isascii() for prefix in prefixes)
