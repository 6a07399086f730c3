"""
What a config expects of its routes: what is none, what holds, and what does not.
"""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology import testing
from rabbit_topology.commands.app import app
from rabbit_topology.lint import files as lint_files
from rabbit_topology.lint.reading import read
from rabbit_topology.routing import expectations, tree
from tests.support.repository import commit

TOPOLOGY = {
    "vhost": "v",
    "exchanges": {"orders": {"type": "topic"}, "invoices": {}, "any": {"type": "fanout"}},
    "queues": {
        "billing": {"type": "classic", "retry": {"delays": ["5s", "1m"]}},
        "audit": {"type": "stream"},
        "brief": {"type": "classic", "message_ttl": "1m", "dead_letter": True},
    },
    "bindings": [
        {"source": "orders", "queue": "billing", "routing_key": "order.*"},
        {"source": "orders", "queue": "audit", "routing_key": "#.new"},
        {"source": "invoices", "queue": "billing", "routing_key": "invoice"},
        {"source": "any", "queue": "audit"},
        {"source": "any", "queue": "brief"},
    ],
    "services": {
        "shop": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]},
        "crm": {"publishes": ["any"]},
    },
}


def order(key="order.new", exchange="orders", **more):
    return {
        "publish": {"exchange": exchange, "routing_key": key, **more.pop("message", {})},
        **more,
    }


def failing(*expected, topology=TOPOLOGY):
    stack = read(topology, {"version": "4.0"}, expect=list(expected))
    assert not stack.errors
    return [failure.problem for failure in expectations.check(stack)]


HOLDS = [
    order(reaches=["billing"]),
    order(reaches=["billing", "audit"], reaches_only=["audit", "billing"], misses=["brief"]),
    order("order.*", reaches=["billing"]),
    order("order.#", misses=["brief"]),
    order("*.new", reaches=["audit"], dropped="never"),
    order("other", dropped="always", reaches_only=[]),
    order("a.#.b", dropped="always"),
    order("", exchange="any", dropped="never"),
    order("#", exchange="any", reaches_only=["audit", "brief"]),
    order("billing", exchange="", reaches_only=["billing"]),
    order("order.paid", ends_in=["billing.parking-lot"], within="65s"),
    order("", "any", ends_in=["audit", "brief.dead-letter"], when="expired", within="1m"),
    order(
        "",
        "any",
        message={"expiration": "1s"},
        ends_in=["audit", "brief.dead-letter"],
        when="expired",
        within="1s",
    ),
    order("x", message={"headers": {"CC": ["order.cc"]}}, reaches_only=["billing"]),
    {"queue": "billing", "only_from": ["orders", "invoices", "billing.retry.back"]},
    {"queue": "billing", "only_services": ["shop"]},
    {"queue": "brief", "only_services": ["crm"], "only_from": ["any"]},
]


@pytest.mark.parametrize("expected", HOLDS, ids=str)
def test_what_holds(expected):
    assert failing(expected) == []


FAILS = [
    (order(reaches=["brief"]), "reaches", 'with "order.new" does not get into brief'),
    (
        order("order.#", reaches=["billing"]),
        "reaches",
        'with "order", as one of "order.#" does not',
    ),
    (order(misses=["audit"]), "misses", "gets into audit"),
    (order("order.*", misses=["audit"]), "misses", 'with "order.new", as one of "order.*" gets'),
    (order(reaches_only=["billing"]), "reaches_only", "gets into audit"),
    (order(reaches_only=["billing", "audit", "brief"]), "reaches_only", "not get into brief"),
    (order("other", dropped="never"), "dropped", "gets into no queue"),
    (order("bil.*", exchange="", dropped="never"), "dropped", 'with "bil.x", as one of "bil.*"'),
    (order("order.#", dropped="never"), "dropped", 'with "order", as one of "order.#"'),
    (order(dropped="always"), "dropped", "gets into "),
    (order("order.#", dropped="always"), "dropped", "gets into "),
    (order("order.a", ends_in=["billing"]), "ends_in", "ends in billing.parking-lot"),
    (
        order("order.a", ends_in=["billing.parking-lot"], within="1m"),
        "ends_in",
        "ends in billing.parking-lot after 65s only",
    ),
    (order("", "any", ends_in=["audit"], when="expired"), "ends_in", "ends in brief.dead-letter"),
    (order("x", ends_in=["audit"]), "ends_in", "gets into no queue"),
    (
        {"queue": "billing", "only_from": ["orders"]},
        "only_from",
        'exchange invoices leads to billing too, for example with "invoice"',
    ),
    (
        {"queue": "audit", "only_services": ["crm"]},
        "only_services",
        'service shop can publish to audit too, by exchange orders, for example with "order.new"',
    ),
]


@pytest.mark.parametrize(("expected", "key", "rule"), FAILS, ids=[str(case[0]) for case in FAILS])
def test_what_does_not(expected, key, rule):
    problems = failing(expected)
    assert problems[0].path == f"expect[0].{key}"
    assert rule in problems[0].rule


WRONG = [
    ({}, "expect[0]", "it is about a message"),
    ({**order(reaches=["billing"]), "queue": "audit"}, "expect[0]", "it is about a message"),
    (order(), "expect[0]", "it expects nothing"),
    ({"queue": "audit"}, "expect[0]", "it expects nothing"),
    (order(only_from=["any"], reaches=["billing"]), "expect[0].only_from", "it goes with `queue:`"),
    (
        {"queue": "audit", "dropped": "never", "only_from": []},
        "expect[0].dropped",
        "goes with `pub",
    ),
    (order(reaches=["billing"], within="1m"), "expect[0].within", "it is about where"),
    (order(reaches=["bling"]), "expect[0].reaches[0]", "it is not a declared queue"),
    (order(exchange="orderz", dropped="never"), "expect[0].publish.exchange", "not a declared exc"),
    ({"queue": "audi", "only_from": []}, "expect[0].queue", "it is not a declared queue"),
    (
        {"queue": "audit", "only_from": ["anny"]},
        "expect[0].only_from[0]",
        "not a declared exchange",
    ),
    (
        {"queue": "audit", "only_services": ["sho"]},
        "expect[0].only_services[0]",
        "declared service",
    ),
    (order("a.*", ends_in=["audit"]), "expect[0].publish.routing_key", "told of one routing key"),
    (
        order(message={"headers": {"CC": "a"}}, reaches=["audit"]),
        "expect[0].publish.headers.CC",
        "it is a list",
    ),
    (order(vhost="w", reaches=["audit"]), "expect[0].vhost", "it is not a declared vhost"),
]


@pytest.mark.parametrize(("expected", "path", "rule"), WRONG, ids=[str(case[0]) for case in WRONG])
def test_what_is_no_expectation(expected, path, rule):
    problem, *_ = failing(expected)
    assert problem.path == path
    assert rule in problem.rule
    assert problem.fix


def test_a_shape_that_is_wrong_is_told_like_any_other():
    for expect, path, fix in (
        ([{"publish": {"exchnge": "a"}}], "expect[0].publish.exchnge", 'did you mean "exchange"?'),
        ([{"reachs": []}], "expect[0].reachs", 'did you mean "reaches"?'),
        ({"a": 1}, "expect", "see the config reference in the README"),
        ([{"dropped": "nevr"}], "expect[0].dropped", 'did you mean "never"?'),
    ):
        problems = {
            finding.problem.path: finding.problem.fix
            for finding in read(TOPOLOGY, expect=expect).errors
        }
        assert problems[path] == fix


def test_several_vhosts_are_told_apart():
    several = {"vhosts": {"v": {k: v for k, v in TOPOLOGY.items() if k != "vhost"}, "w": {}}}
    (problem,) = failing(order(reaches=["billing"]), topology=several)
    assert (problem.path, problem.fix) == ("expect[0].vhost", "write one of v, w")
    assert failing(order(reaches=["billing"], vhost="v"), topology=several) == []


def test_what_cannot_be_decided_does_not_hold(monkeypatch):
    monkeypatch.setattr(tree, "MAX_STEPS", 1)
    (problem,) = failing(order("order.#", reaches=["billing"]))
    assert problem.value == "not decided"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes the project's only stack file."""
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    monkeypatch.chdir(tmp_path)

    def write(*expected, topology=TOPOLOGY, name="dev", **keys_):
        config = {f"rabbit-topology:{key}": value for key, value in keys_.items()}
        config |= {"rabbit-topology:topology": topology, "rabbit-topology:expect": [*expected]}
        file = tmp_path / f"Pulumi.{name}.yaml"
        file.write_text(yaml.safe_dump({"config": config}))
        return file

    return write


def run(*arguments):
    return CliRunner().invoke(app, [*arguments])


def test_lint_says_what_does_not_hold_and_where(project):
    file = project(order(reaches=["billing"]), order(reaches=["brief"]))
    findings = [
        located
        for located in lint_files.check(file, "f")
        if located.finding.rule.name == "expectation"
    ]
    (one,) = findings
    assert one.finding.problem.path == "expect[1].reaches"
    assert "brief" in file.read_text().splitlines()[one.place.line]
    assert run("lint").exit_code == 1


def test_the_test_command_counts_and_shows_the_way(project):
    project(order(reaches=["billing"]))
    held = run("test")
    assert (held.exit_code, held.output) == (0, "1 of 1 expectations hold\n")
    project(order(reaches=["billing"]), order(reaches=["brief"]))
    failed = run("test")
    assert failed.exit_code == 1
    assert "expect[1].reaches" in failed.output
    assert "topology.bindings[0]" in failed.output
    assert "1 of 2 expectations hold" in failed.output
    project()
    assert "nothing is expected" in run("test").output


def test_trace_and_reach_answer_from_the_file(project):
    project()
    traced = run("trace", "orders", "order.new", "--header", "n=1", "--cc", "x.new")
    assert traced.exit_code == 0
    assert "gets into audit, billing" in traced.output
    assert yaml.safe_load(run("trace", "orders", "a", "--format", "json").output)["dropped"]
    reached = run("reach", "billing")
    assert "order.*" in reached.output
    assert "service shop" in reached.output
    answer = yaml.safe_load(run("reach", "billing", "--format", "json").output)
    assert [leading["exchange"] for leading in answer["exchanges"]] == [
        "orders",
        "invoices",
        "billing.retry.back",
    ]
    assert [source["queue"] for source in answer["dead_letters"]] == [
        "billing.retry.1",
        "billing.retry.2",
    ]


def test_reach_says_what_a_service_can_cause(project):
    project()
    shown = " ".join(run("reach", "--service", "shop").output.split())
    assert "may publish to exchange orders with order.*" in shown
    assert 'can reach queue billing, for example by exchange orders with "order.x"' in shown
    assert 'can reach queue audit, for example by exchange orders with "order.new"' in shown
    assert "can reach queue billing.parking-lot later, as dead letters" in shown
    assert "brief" not in shown
    answer = yaml.safe_load(run("reach", "--service", "shop", "--format", "json").output)
    assert answer["later"] == ["billing.parking-lot", "billing.retry.1", "billing.retry.2"]
    for arguments, message in (
        ([], "name a queue, or --service"),
        (["--service", "shp"], '"shp" is not a service or user of vhost v; did you mean "shop"?'),
    ):
        assert message in str(run("reach", *arguments).exception)


def test_a_name_that_nothing_has_is_an_error_in_words(project, capsys):
    project()
    for arguments, message in (
        (["trace", "ordrs", "k"], '"ordrs" is not an exchange of vhost v; did you mean "orders"?'),
        (["reach", "bling"], '"bling" is not a queue of vhost v; did you mean "billing"?'),
        (["trace", "orders", "k", "--vhost", "w"], '"w" is not a vhost of the stack'),
        (["trace", "orders", "k", "--header", "n"], "a header is written name=value"),
        (["trace", "orders", "k", "--expiration", "5 min"], "it is a duration such as"),
        (["diff", "git:HEAD", "dev"], "git:HEAD: "),
    ):
        result = run(*arguments)
        assert message in str(result.exception), arguments


def test_diff_compares_stacks_files_and_revisions(project, tmp_path):
    file = project()
    fewer = {**TOPOLOGY, "bindings": TOPOLOGY["bindings"][1:]}
    commit(tmp_path)
    assert run("diff", "git:HEAD", "dev").exit_code == 0
    project(topology=fewer)
    for old, new in (("git:HEAD", "dev"), (f"git:HEAD:{file.name}", str(file))):
        result = run("diff", old, new)
        assert result.exit_code == 1
        assert "order.* on exchange orders no longer reaches billing" in result.output
        assert 'for example "order.x"; now dropped' in " ".join(result.output.split())
    project(topology=TOPOLOGY, name="prod")
    result = run("diff", "dev", "prod", "--format", "json")
    answer = yaml.safe_load(result.output)["v"]
    assert [(change["queue"], change["gained"]) for change in answer["changes"]] == [
        ("billing", True)
    ]


def test_a_base_is_read_from_the_same_revision(project, tmp_path):
    project(topology={"vhost": "v"}, base="shared.yaml")
    shared = tmp_path / "shared.yaml"
    shared.write_text(yaml.safe_dump({k: v for k, v in TOPOLOGY.items() if k != "vhost"}))
    commit(tmp_path)
    shared.write_text(shared.read_text().replace("order.*", "order.new"))
    assert "no longer reaches billing" in run("diff", "git:HEAD", "dev").output


def test_pytest_shows_the_way_where_queues_are_others(project):
    reaches = testing.load(project()).publish("orders", "order.new").reaches
    assert reaches == {"billing", "audit"}
    lines = testing.pytest_assertrepr_compare("==", reaches, {"billing", "brief"})
    assert "does not get into brief" in lines
    assert "gets into audit too" in lines
    assert any("topology.bindings[0]" in line for line in lines)
    assert testing.pytest_assertrepr_compare("!=", reaches, set()) is None


def test_a_topology_that_is_encrypted_as_a_whole_cannot_be_asked(project):
    project(topology={"secure": "v1:abc"})
    assert "encrypted as a whole" in str(run("reach", "audit").exception)


def test_secrets_need_not_be_open(project):
    secret = {"secure": "v1:abc"}
    users = {"ops": {"password": secret, "permissions": {"write": "^orders$"}}}
    project(topology={**TOPOLOGY, "users": users})
    assert "user ops, for example by exchange orders" in run("reach", "audit").output
