"""
``env``: whom it hands over, in which form, to where, and what it never prints.
"""

from __future__ import annotations

import json
import stat

import pytest
import yaml

from rabbit_topology import TopologyError
from rabbit_topology.commands import app, deployed
from rabbit_topology.services.environment import Form, Login, render, variables

GATEWAY = "amqp://v.gateway:hunter2@mq:5672/v"
OPS = "amqp://ops:hunter3@mq:5672/v"
OUTPUTS = {
    "vhost": "v",
    "connection_url": "amqp://admin:root@mq:5672/v",
    "service_urls": {"gateway": GATEWAY, "theirs": "amqp://theirs@mq:5672/v"},
}
STATE = {
    "deployment": {
        "resources": [
            {
                "urn": "urn:pulumi:s::p::T$rabbitmq:index/user:User::c/v/user/ops",
                "type": "rabbitmq:index/user:User",
                "parent": "urn:pulumi:s::p::T::c",
                "inputs": {"name": "ops", "password": {"plaintext": '"hunter3"'}},
            }
        ]
    }
}


@pytest.fixture
def pulumi(mocker):
    def answer(*arguments):
        return STATE if "export" in arguments else OUTPUTS

    return mocker.patch.object(deployed, "_pulumi", side_effect=answer)


@pytest.fixture
def run(mocker, capsys):
    def run(*arguments):
        mocker.patch("sys.argv", ["rabbit_topology", "env", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def written(url, form, name="gateway"):
    return render(Login(name=name, values=variables(url)), form)


def test_a_service_is_printed_as_dotenv_and_the_state_is_not_asked_for(pulumi, run):
    assert run("gateway") == (0, written(GATEWAY, Form.DOTENV), "")
    pulumi.assert_called_once_with("stack", "output", "--json", "--show-secrets")


@pytest.mark.parametrize("form", [form for form in Form if not form.external])
def test_any_form_of_any_stack(pulumi, run, form):
    status, out, _ = run("gateway", "--stack", "prod", "--format", form)
    assert (status, out) == (0, written(GATEWAY, form))
    assert pulumi.call_args.args[-2:] == ("--stack", "prod")


def test_a_user_is_printed(pulumi, run):
    assert run("--user", "ops", "--format", "json")[1] == written(OPS, Form.JSON, "ops")
    assert pulumi.call_args.args == ("stack", "export", "--show-secrets")


def test_all_are_printed_and_those_without_a_password_are_named(pulumi, run):
    status, out, err = run("--all", "--format", "json")
    assert status == 0
    assert json.loads(out) == {"gateway": variables(GATEWAY), "ops": variables(OPS)}
    assert err.startswith("left out: service theirs has `exists: true`")
    assert "hunter" not in err


def test_an_external_secret_needs_no_password(pulumi, run):
    store = ("--format", "external-secret", "--store", "ClusterSecretStore/vault")
    status, out, err = run("--all", *store, "--namespace", "shop", "--path", "/orders/prod/")
    assert (status, err) == (0, "")
    documents = list(yaml.safe_load_all(out))
    assert [one["metadata"]["name"] for one in documents] == [
        *("gateway-amqp", "theirs-amqp", "ops-amqp")
    ]
    spec = documents[0]["spec"]
    assert spec["secretStoreRef"] == {"name": "vault", "kind": "ClusterSecretStore"}
    assert spec["dataFrom"] == [{"extract": {"key": "orders/prod/gateway"}}]
    assert "hunter" not in out


def test_a_file_gets_all_of_it_and_the_terminal_no_secret(pulumi, run, tmp_path):
    file = tmp_path / ".env"
    status, out, err = run("gateway", "-o", str(file))
    assert (status, out) == (0, "")
    assert err == f"{file}: service gateway\n"
    assert file.read_text() == written(GATEWAY, Form.DOTENV)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_is_not_written_through(pulumi, run, tmp_path):
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    status, _, err = run("gateway", "-o", str(tmp_path / "link"))
    assert status == 1
    assert "symbolic link" in err
    assert "hunter" not in err
    assert not target.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gatway"], '"gatway" is not a service of the stack; did you mean "gateway"?'),
        (["theirs"], "service theirs has `exists: true`"),
        (["--user", "gateway"], '"gateway" is not a user of the stack; known are: ops'),
        (["gateway", "--vhost", "w"], '"w" is not a vhost of the stack'),
        ([], "name a service, or --user and a user, or say --all"),
        (["gateway", "--all"], "name a service, or --user and a user, or say --all"),
        (["gateway", "--namespace", "n"], "--namespace means nothing to --format dotenv"),
        (["gateway", "--format", "kubernetes", "--namespace", "N"], "--namespace N"),
        (["gateway", "--format", "push-secret", "--path", "x"], "needs --store"),
        (["gateway", "--format", "kubernetes", "--path", "x"], "--path means nothing"),
        (["gateway", "--format", "push-secret", "--mount", "x"], "--mount means nothing"),
        (["gateway", "--format", "vault", "--store", "x"], "--store means nothing"),
        (["gateway", "--format", "vault", "--path", "/"], "--path /: a path such as"),
        (["gateway", "--format", "vault", "--mount=-x"], "--mount -x: a path such as"),
        (["gateway", "--format", "push-secret", "--store", "Store/x"], "--store Store/x"),
    ],
)
def test_an_error_says_what_is_wrong_and_no_secret(pulumi, run, arguments, words):
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert words in err
    assert "hunter" not in err


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({}, "run `pulumi up` first"),
        ({"vhost": "v", "connection_url": "", "service_urls": {}}, "none is declared"),
        ({"vhost": "v", "connection_url": ""}, "none is declared"),
    ],
)
def test_a_stack_without_services_says_so(mocker, run, outputs, words):
    mocker.patch.object(deployed, "_pulumi", return_value=outputs)
    status, _, err = run("gateway")
    assert status == 1
    assert words in err


def test_all_of_nobody_is_an_error(mocker, run):
    mocker.patch.object(deployed, "_pulumi", return_value={"vhost": "v", "connection_url": ""})
    assert "there is no service or user" in run("--all")[2]


def test_with_several_vhosts_the_vhost_is_said_only_where_it_has_to_be(mocker, run):
    vhosts = {
        "a": {"service_urls": {"gateway": GATEWAY, "worker": OPS}},
        "b": {"service_urls": {"gateway": OPS}},
    }
    mocker.patch.object(deployed, "_pulumi", return_value={"vhosts": vhosts})
    assert run("worker")[1] == written(OPS, Form.DOTENV)
    assert run("gateway", "--vhost", "b")[1] == written(OPS, Form.DOTENV)
    assert "say --vhost and one of a, b" in run("gateway")[2]
    assert "known are: gateway" in run("worker", "--vhost", "b")[2]


def test_the_accounts_of_a_stack_are_asked_for_by_kind(pulumi):
    with pytest.raises(TopologyError):
        deployed.accounts(vhost="w")
    assert [one.name for one in deployed.accounts()] == ["gateway", "theirs", "ops"]
