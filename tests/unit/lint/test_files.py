"""
Lint of a stack's file: each line that is said about it, with the file and the line in it.
"""

# ruff: noqa: E501 - lines as they are said

from __future__ import annotations

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.lint import files, report

SHARED = "exchanges:\n  e: {}\n  lonely: {}\nqueues:\n  q: {dead_letter: true}\nbindings:\n  - {source: e, queue: q}\n"
CASES = [
    (
        "- a\n",
        [
            "dev:1:1: error: config: missing: a stack's file has the stack's config in it; write it under `config:`, with rabbit-topology:topology in it [shape]",
        ],
    ),
    (
        "config: 5\n",
        [
            "dev:1:1: error: config: \"int\": a stack's file has the stack's config in it; write it under `config:`, with rabbit-topology:topology in it [shape]",
        ],
    ),
    (
        "config:\n",
        [
            "dev:1:1: error: config: missing: a stack's file has the stack's config in it; write it under `config:`, with rabbit-topology:topology in it [shape]",
        ],
    ),
    (
        "config:\n  a: b: c\n",
        [
            "dev:1:1: error: config: dev: line 2: mapping values are not allowed in this context; correct the file [shape]",
        ],
    ),
    (
        "config:\n  rabbit-topology:base: gone.yaml\n  rabbit-topology:topolgy: {}\n",
        [
            'dev:3:3: warning: rabbit-topology:topolgy: "rabbit-topology:topolgy": there is no such key; did you mean "rabbit-topology:topology"? [unknown-key]',
            'dev:2:3: error: base: "gone.yaml": there is no such file; names are relative to FOLDER [base]',
        ],
    ),
    (
        "config:\n  rabbit-topology:topology: {secure: v1:x}\n",
        [
            "dev:2:3: note: topology: [secret]: it is encrypted as a whole; encrypt only what is secret: pulumi config set --secret --path [encrypted]",
        ],
    ),
    (
        "config:\n  rabbit-topology:topology:\n    vhost: v\n    users: {u: }\n    services: {s: }\n",
        [
            "dev:1:1: error: seed: missing: the passwords of topology.services.s, topology.users.u are derived from it; pulumi config set --secret rabbit-topology:seed $(openssl rand -hex 32) [seed]",
        ],
    ),
    (
        "config:\n  rabbit-topology:seed: short\n  rabbitmq:password: hunter2\n  rabbit-topology:topology:\n    vhost: v\n    users: {u: }\n",
        [
            "dev:2:3: warning: seed: [not shown]: a password stands there in plain text; pulumi config set --secret rabbit-topology:seed [plain-secret]",
            "dev:3:3: warning: rabbitmq:password: [not shown]: a password stands there in plain text; pulumi config set --secret rabbitmq:password [plain-secret]",
            "dev:2:3: error: seed: [not shown]: a seed has 16 characters or more; pulumi config set --secret rabbit-topology:seed $(openssl rand -hex 32) [seed]",
        ],
    ),
    (
        "config:\n  rabbit-topology:seed: {secure: v1:x}\n  rabbitmq:username: admin\n  rabbit-topology:topology:\n    vhost: v\n    users:\n      admin: {tags: [administrator]}\n",
        [
            'dev:7:7: error: topology.users.admin: "admin": the stack connects as this user (rabbitmq:username), and would overwrite its password and its tags; set `exists: true`, or connect as another user [own-user]',
        ],
    ),
    (
        "config:\n  rabbit-topology:topology:\n    vhosts:\n      a:\n        services: {s: {password: hunter2}}\n        federation_upstreams: {f: {uri: 'amqp://u:hunter2@h'}, g: {uri: 'amqp://h'}, h: {uri: 'amqp://[hunter2'}}\n",
        [
            "dev:5:24: warning: topology.vhosts.a.services.s.password: [not shown]: a password stands there in plain text; pulumi config set --secret --path 'rabbit-topology:topology.vhosts.a.services.s.password' [plain-secret]",
            "dev:6:36: warning: topology.vhosts.a.federation_upstreams.f.uri: [not shown]: a password stands there in plain text; pulumi config set --secret --path 'rabbit-topology:topology.vhosts.a.federation_upstreams.f.uri' [plain-secret]",
        ],
    ),
    (
        "config:\n  rabbit-topology:base: shared.yaml\n  rabbit-topology:expect:\n    - queue: q\n      only_from: []\n  rabbit-topology:topology:\n    vhost: v\n    queues:\n      q: {max_length: 5}\n",
        [
            'dev:5:7: error: expect[0].only_from: []: exchange e leads to q too, for example with ""; correct the bindings, or what is expected [expectation]',
            "shared.yaml:3:3: warning: topology.exchanges.lonely: no binding: nothing that is published to it arrives anywhere; bind a queue, set `alternate` or `unroutable`, or name it in a service's `binds` [unbound-exchange]",
        ],
    ),
    (
        "config:\n  rabbit-topology:topology:\n    vhost: v\n    exchanges: {x: }\n  rabbit-topology:lint:\n    ignore:\n      - {rule: nothing, path: topology, reason: r}\n      - {rule: shape, path: topology, reason: r}\n      - {rule: unbound-exchange, path: topology.exchanges.y, reason: r}\n",
        [
            "dev:4:17: warning: topology.exchanges.x: no binding: nothing that is published to it arrives anywhere; bind a queue, set `alternate` or `unroutable`, or name it in a service's `binds` [unbound-exchange]",
            'dev:7:10: error: lint.ignore[0].rule: "nothing": there is no such rule; known are: alternate-twice, argument-of-consumers, argument-of-type, argument-twice, argument-value, at-least-once, base, binding-shape, broken-pattern, broker-address and 82 more [wrong-ignore]',
            'dev:8:10: error: lint.ignore[1].rule: "shape": what it finds fails a deployment, whoever ignores it; correct what it finds, and remove this [wrong-ignore]',
            'dev:9:9: note: lint.ignore[2]: "topology.exchanges.y": unbound-exchange finds nothing there; remove it, or correct its path [unused-ignore]',
        ],
    ),
]


@pytest.mark.parametrize(("text", "said"), CASES)
def test_each_finding_is_said_with_its_place(tmp_path, text, said):
    (tmp_path / "shared.yaml").write_text(SHARED)
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    told = report.lines(files.check(tmp_path / "Pulumi.dev.yaml", "dev"))
    assert [line.replace(str(tmp_path), "FOLDER") for _, line in told] == said
    assert all(f": {severity}: " in line for severity, line in told)


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (CASES[0][0], "1 error"),
        (CASES[7][0], "1 error, 2 warnings"),
        (CASES[-1][0], "2 errors, 1 warning, 1 note"),
        ("config: {rabbit-topology:topology: {vhost: v}}", "nothing found"),
    ],
)
def test_how_many_there_are(tmp_path, text, summary):
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    assert report.summary(files.check(tmp_path / "Pulumi.dev.yaml", "dev")) == summary


def test_what_is_silenced_is_counted_and_not_said(tmp_path):
    silent = "[{rule: unbound-exchange, path: topology.exchanges, reason: later}]"
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config:\n  rabbit-topology:topology: {vhost: v, exchanges: {x: , y: }}\n"
        f"  rabbit-topology:lint: {{ignore: {silent}}}\n"
    )
    told = files.check(tmp_path / "Pulumi.dev.yaml", "dev")
    assert report.lines(told) == []
    assert report.summary(told) == "2 silenced"


def test_the_files_of_stacks_are_found_by_name(tmp_path):
    with pytest.raises(TopologyError, match="name files, or go there"):
        files.stack_files(tmp_path)
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yml", "other.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "Pulumi.folder.yaml").mkdir()
    dev, prod = tmp_path / "Pulumi.dev.yaml", tmp_path / "Pulumi.prod.yml"
    assert files.stack_files(tmp_path) == [dev, prod]
    assert files.stack_files(tmp_path, ["prod"]) == [prod]
    assert files.stack_files(tmp_path, ["prod", "dev"]) == [prod, dev]
    with pytest.raises(TopologyError, match=r'no Pulumi.pord.yaml in .*; did you mean "prod"\?'):
        files.stack_files(tmp_path, ["dev", "pord"])
