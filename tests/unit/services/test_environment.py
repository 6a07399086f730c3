"""
Environment variables of a service, read back by others than those who wrote them.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from rabbit_topology.compiler import urls
from rabbit_topology.services import environment
from rabbit_topology.services.environment import Form, Login, variables
from rabbit_topology.services.labels import secret_name

ODD = [
    "plain",
    "",
    "it's",
    'say "x"',
    "a b",
    "$HOME",
    "`id`",
    "\\",
    "#x",
    "~",
    "a\\'\"$x`y`",
    "ü€😀",
]
_TEXT = st.sampled_from(ODD) | st.text(
    st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])
)


def url(password="p", *, user="u", vhost="v", host="mq", tls=False):
    address = urls.parse_host(host, tls=tls)
    return urls.amqp_url(address, vhost, tls=tls, username=user, password=password)


def render(name, values, form):
    return environment.render(Login(name=name, values=values), form)


def render_all(form, **logins):
    every = [Login(name=name, values=values) for name, values in logins.items()]
    return environment.render_all(every, form)


def from_shell(script, names=None):
    """Run a script with a POSIX shell and return the variables that it left."""
    names = list(variables(url())) if names is None else names
    shown = " ".join(f'"${name}"' for name in names)
    ended = subprocess.run(
        ["sh", "-c", f"{script}\nprintf '%s\\0' {shown}"],
        capture_output=True,
        env={"HOME": "/wrong"},
        check=True,
    )
    return dict(zip(names, ended.stdout.decode().split("\0")[:-1], strict=True))


@given(user=_TEXT, password=_TEXT, vhost=_TEXT)
def test_the_parts_are_those_of_the_url(user, password, vhost):
    result = variables([url(password, user=user, vhost=vhost, host="[::1]:99"), url(host="b")])
    assert result == {
        "AMQP_URL": url(password, user=user, vhost=vhost, host="[::1]:99"),
        "AMQP_URLS": f"{result['AMQP_URL']},{url(host='b')}",
        "AMQP_HOST": "::1",
        "AMQP_PORT": "99",
        "AMQP_VHOST": vhost,
        "AMQP_USERNAME": user,
        "AMQP_PASSWORD": password,
    }
    # No part of a URL can hold the comma that stands between two of them.
    assert result["AMQP_URLS"].count(",") == 1


def test_one_host_is_a_list_of_one():
    result = variables(url(host="mq.example", tls=True))
    assert result["AMQP_URLS"] == result["AMQP_URL"] == "amqps://u:p@mq.example:5671/v"
    assert URL(result["AMQP_URL"]).host == result["AMQP_HOST"] == "mq.example"


@settings(max_examples=60)
@given(password=_TEXT)
def test_a_shell_reads_what_was_meant(password):
    values = variables(url(password, vhost=password))
    exported = render("s", values, Form.SHELL)
    assert from_shell(exported) == values
    # Exported: a program that the shell starts has them.
    shown = subprocess.run(
        ["sh", "-c", f"{exported}\nsh -c 'printf %s \"$AMQP_PASSWORD\"'"],
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode() == password


@settings(max_examples=60)
@given(password=_TEXT)
def test_dotenv_is_read_by_a_shell_and_by_shlex(password):
    values = variables(url(password, vhost=password))
    written = render("s", values, Form.DOTENV)
    assert from_shell(written) == values
    if not set(password) & {"$", "`"}:  # which shlex takes for what they are, escaped or not
        assert dict(one.split("=", 1) for one in shlex.split(written)) == values


@pytest.mark.parametrize(
    ("password", "line"),
    [
        # Bare, since `docker run --env-file` takes quotes for a part of the value.
        ("aZ09-_", "AMQP_PASSWORD=aZ09-_"),
        ("a b", "AMQP_PASSWORD='a b'"),
        ("$x#", "AMQP_PASSWORD='$x#'"),
        ("it's", 'AMQP_PASSWORD="it\'s"'),
        ("it's $x", 'AMQP_PASSWORD="it\'s \\$x"'),
    ],
)
def test_dotenv_quotes_no_more_than_it_needs(password, line):
    assert line in render("s", variables(url(password)), Form.DOTENV).splitlines()


def test_dotenv_of_a_derived_password_needs_no_quotes_at_all():
    values = variables([url("aZ09-_" * 5, host="[::1]"), url("aZ09-_" * 5, vhost="/ü ,'")])
    assert not re.search(r"['\"\\]", render("s", values, Form.DOTENV))


@given(password=_TEXT)
def test_json_is_read_as_it_was_meant(password):
    values = variables(url(password))
    assert json.loads(render("s", values, Form.JSON)) == values


@given(
    password=st.sampled_from(ODD)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
def test_a_kubernetes_secret_is_read_as_it_was_meant(password):
    values = variables(url(password, vhost=password))
    text = render("gateway", values, Form.KUBERNETES)
    assert text.isascii()
    assert yaml.safe_load(text) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "gateway-amqp"},
        "type": "Opaque",
        "stringData": values,
    }


def test_in_a_kubernetes_secret_all_is_text():
    # Kubernetes refuses numbers and yes/no in `stringData`.
    text = render("s", variables(url("0123", user="true", vhost="null")), Form.KUBERNETES)
    assert {type(one) for one in yaml.safe_load(text)["stringData"].values()} == {str}


@given(name=st.text(max_size=300) | st.from_regex(r"[a-zA-Z0-9._-]{1,70}", fullmatch=True))
def test_the_name_of_a_secret_is_a_dns_label(name):
    result = secret_name(name)
    assert len(result) <= 63
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", result)


def test_the_names_of_two_secrets_differ_where_those_of_the_services_do():
    names = ["a-b", "a_b", "a.b", "A-b", "a--b", "-a-b", "ü", "é", "x" * 80, "x" * 81]
    assert secret_name("a-b") == "a-b-amqp"
    assert len({secret_name(name) for name in names}) == len(names)


def test_the_name_of_a_secret_is_hashed_only_where_it_would_be_too_long():
    longest = "x" * (63 - len("-amqp"))
    assert secret_name(longest) == f"{longest}-amqp"
    hashed = secret_name(longest + "x")
    assert len(hashed) == 63
    assert re.fullmatch(r"x+-[0-9a-f]{8}-amqp", hashed)


def test_json_has_a_line_for_each_variable():
    shown = render("s", {"A": "1", "B": "2"}, Form.JSON)
    assert shown == '{\n  "A": "1",\n  "B": "2"\n}\n'


@settings(max_examples=30)
@given(password=_TEXT)
def test_of_several_services_a_shell_reads_each_under_its_own_names(password):
    values = variables(url(password))
    whole = {
        f"{prefix}_{name}": values[name] for prefix in ("BILLING", "_2ND_X") for name in values
    }
    for form in (Form.SHELL, Form.DOTENV):
        written = render_all(form, **{"billing": values, "2nd-x": values})
        assert from_shell(written, [*whole]) == whole


def test_of_several_services_json_is_one_object_for_each():
    one, other = variables(url("a")), variables(url("b"))
    written = render_all(Form.JSON, **{"billing": one, "odd name": other})
    assert json.loads(written) == {"billing": one, "odd name": other}


def test_of_several_services_each_has_a_manifest():
    one, other = variables(url("a")), variables(url("b"))
    written = render_all(Form.KUBERNETES, **{"billing": one, "odd name": other})
    documents = list(yaml.safe_load_all(written))
    assert [document["stringData"] for document in documents] == [one, other]
    names = [document["metadata"]["name"] for document in documents]
    assert names == ["billing-amqp", secret_name("odd name")]


def test_the_forms_are_these():
    assert [str(one) for one in environment.Form] == [
        *("dotenv", "shell", "json", "kubernetes", "vault", "push-secret", "external-secret"),
    ]
