"""
The page of `docs` as an HTML document: sound, complete, and harmless whatever the names are.
"""

from __future__ import annotations

import itertools
import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support import page
from tests.support.pictures import examples, many

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'`>&<!--",
    "]]> &lt; &amp;",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "ünï.コード.🐇",
    "a\u202eb\u200bc",
    "__proto__",
    "with space",
    "%2F/#?",
)
HIDDEN = "hunter2"


def topology():
    """Return one with everything that a page shows."""
    return {
        "vhost": "shop",
        "vhost_settings": {"description": "sells things", "limits": {"max_queues": 9}},
        "exchanges": {
            "orders": {"type": "topic", "unroutable": True},
            "by-headers": {"type": "headers"},
            "audit": {"type": "fanout"},
        },
        "queues": {
            "orders.new": {
                "max_length": 100,
                "overflow": "reject-publish",
                "retry": {"delays": ["5s", "1m"]},
            },
            "log": {"type": "stream", "max_age": "7d"},
            "plain": {"type": "classic", "arguments": {"x-message-ttl": 60000}},
        },
        "bindings": [
            {"source": "orders", "queue": "orders.new", "routing_key": "order.*"},
            {"source": "orders", "exchange": "audit", "routing_key": "#"},
            {"source": "audit", "queue": "log"},
            {"source": "by-headers", "queue": "plain", "arguments": {"x-match": "any", "a": "b"}},
        ],
        "policies": {"short": {"pattern": "^plain$", "definition": {"message-ttl": 1000}}},
        "operator_policies": {"cap": {"pattern": "", "definition": {"max-length": 1000}}},
        "services": {
            "gateway": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]},
            "billing": {"consumes": ["orders.new"], "replies": True},
        },
        "users": {
            "ops": {
                "password": "something-long-for-this",
                "tags": ["monitoring"],
                "permissions": {"read": ".*", "write": "^orders$"},
                "topic_permissions": {"orders": {"write": "^order"}},
            }
        },
        "shovels": {
            "move": {
                "source_uri": "amqp://a:b@one.example",
                "destination_uri": "amqp://two.example",
                "source_queue": "plain",
                "destination_queue": "plain",
            }
        },
        "federation_upstreams": {"far": {"uri": "amqp://far.example", "max_hops": 2}},
    }


@pytest.fixture(scope="module")
def shop():
    return page.parsed(page.written(page.config(topology())))


def every_page():
    """Yield the HTML of every example, of all that a page shows, and of a large vhost."""
    stacks = {stem: stack for stem, stack, _ in examples()}
    for stem, stack in stacks.items():
        yield stem, page.written(stack)
    yield "all of them", page.written(*stacks.values())
    yield "shop", page.written(page.config(topology()))
    yield "one service", page.written(page.config(topology()), service="billing")
    yield "large", page.written(page.config({"vhost": "large", **many(100)}))
    yield "nothing", page.written(page.config({"vhost": "empty"}))


def test_each_page_is_sound():
    for name, text in every_page():
        document = page.parsed(text)
        sound(document, name)
        alone(text, document)


def sound(document, name):
    """Assert what keyboards and screen readers need."""
    assert document.query("html")[0].attrs["lang"] == "en"
    assert document.query("title")[0].to_text()
    assert [len(document.query(one)) for one in ("h1", "main", "nav")] == [1, 1, 1], name
    levels = [
        int(one.name[1]) for one in document.query("main h1, main h2, main h3, main h4, main h5")
    ]
    assert levels[0] == 1
    assert all(after <= level + 1 for level, after in itertools.pairwise(levels)), name
    ids = [one.attrs["id"] for one in document.query("[id]")]
    assert len(set(ids)) == len(ids)
    assert not [one for one in ids if re.search(r"\s", one)]
    labelled = {one.attrs["for"] for one in document.query("label")}
    fields = [*document.query("input"), *document.query("select")]
    assert {one.attrs["id"] for one in fields} == labelled
    for attribute in ("aria-labelledby", "aria-describedby"):
        for one in document.query(f"[{attribute}]"):
            assert one.attrs[attribute] in ids
    for button in document.query("button"):
        assert button.attrs["type"] in ("button", "submit")
        assert button.to_text().strip()
    for table in document.query("table"):
        assert table.query("caption")
        assert all(cell.attrs["scope"] == "col" for cell in table.query("thead th"))
    for svg in document.query("svg"):
        assert svg.attrs["role"] == "img"
        assert svg.attrs["aria-label"]
    for card in document.query("article"):
        assert card.query("h4")[0].to_text().strip()


def alone(text, document):
    """Assert that nothing is loaded, and that what is linked is there."""
    ids = {one.attrs["id"] for one in document.query("[id]")}
    for one in document.query("[href]"):
        assert one.attrs["href"].startswith("#")
        assert one.attrs["href"][1:] in ids, one.attrs["href"]
    assert not document.query("[src]")
    assert not document.query("link, base, iframe, object, embed, img")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = (
        one.attrs["content"]
        for one in document.query("meta")
        if one.attrs.get("http-equiv") == "Content-Security-Policy"
    )
    script = document.query("script")[-1].to_text()
    style = document.query("style")[0].to_text()
    for part, kind in ((page.SCRIPT, "script"), (page.STYLE, "style")):
        digest = b64encode(sha256(part.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert f">{part}</{kind}>" in text
    assert policy.startswith("default-src 'none'; ")
    assert script.split() == page.SCRIPT.split()
    assert style.split() == page.STYLE.split()
    assert [one.attrs.get("type") for one in document.query("script")] == ["application/json", None]
    assert not [name for one in document.query("*") for name in one.attrs if name.startswith("on")]


def test_a_queue_says_what_applies_and_where_it_comes_from(shop):
    plain = page.card(shop, "queue/plain")
    assert "message-ttl 1s (1,000 ms) policy short topology.policies.short" in plain
    assert "does not count: 1m (60,000 ms), its argument x-message-ttl" in plain
    assert "max-length 1000 operator policy cap" in plain
    new = page.card(shop, "queue/orders.new")
    assert "max-length 100 its key max_length, on the broker by policy rabbit-topology-" in new
    assert "does not count: 1000, operator policy cap" in new
    assert "dead-letter-exchange orders.new.retry its key retry" in new
    assert "if it is rejected: it stays in orders.new.parking-lot, after 1m 5s" in new
    waiting = page.card(shop, "queue/orders.new.retry.1")
    assert 'message-ttl 5s (5,000 ms) the pattern topology.queues["orders.new"].retry' in waiting
    assert "messages are kept for ever" not in page.card(shop, "queue/log")


def test_who_may_do_what_stands_at_each_object_and_at_each_user(shop):
    orders = page.card(shop, "exchange/orders")
    assert "service gateway: publish (with order.*)" in orders
    assert "user ops: publish, bind queues to it (with keys that ^order takes)" in orders
    new = page.card(shop, "queue/orders.new")
    assert "service billing: consume and purge" in new
    assert "user ops: consume and purge" in new
    assert "service gateway, for example by orders with" in new
    gateway = page.card(shop, "service/gateway")
    assert "as user shop.gateway" in gateway
    assert "write ^(orders)$" in gateway
    assert r"routing keys on orders to publish ^(order\.[^.]*)\z" in gateway
    assert "queue orders.new, for example by orders with" in gateway
    by_name = page.card(shop, "exchange/")
    assert "service billing: publish to any queue by its name" in by_name
    assert "monitoring" in page.card(shop, "user/ops")


def test_ways_policies_and_connections(shop):
    orders = page.card(shop, "exchange/orders")
    assert 'queue orders.new routing key "order.*" topology.bindings[0]' in orders
    assert "exchange orders.unroutable what no binding takes: alternate exchange" in orders
    assert 'headers {"x-match": "any", "a": "b"}' in page.card(shop, "exchange/by-headers")
    assert "Applies to queue plain." in page.card(shop, "policy/short")
    assert "queue orders.new.retry.1" in page.card(shop, "operator-policy/cap")
    assert "source_queue plain" in page.card(shop, "shovel/move")
    assert "max_hops 2" in page.card(shop, "federation-upstream/far")
    assert "sells things" in shop.query("dl")[0].to_text()


def test_the_picture_names_what_it_shows_and_where_it_stands(shop):
    (svg,) = shop.query("svg")
    assert svg.attrs["aria-label"].startswith("Picture of vhost shop: 8 exchanges, ")
    anchors = {node.attrs["data-anchor"] for node in svg.query("g.node")}
    assert {"queue/orders.new", "exchange/orders", "service/billing"} <= anchors
    titles = [title.to_text() for title in svg.query("title")]
    assert "queue orders.new" in titles
    assert "orders → orders.new" in titles


def test_a_page_for_a_service_has_what_concerns_it_and_nothing_else():
    text = page.written(page.config(topology()), service="gateway")
    document = page.parsed(text)
    assert [one.attrs["id"] for one in document.query("article")] == [
        "service/gateway",
        "exchange/orders",
    ]
    assert "operator policy cap" not in text
    assert "by-headers" not in text
    (data,) = page.data(document)
    assert data["start"] == ["orders"]
    assert page.script(data)("orders", "order.x")["reaches"] == ["log", "orders.new"]


def test_several_stacks_stand_side_by_side():
    one, other = topology(), {**topology(), "vhost": "a/b c"}
    document = page.parsed(page.written(page.config(one).stack, page.config(other).stack))
    ids = {card.attrs["id"] for card in document.query("article")}
    assert {"s0/shop/queue/plain", "s1/a%2Fb%20c/queue/plain"} <= ids
    assert len(page.data(document)) == 2
    twice = page.parsed(page.written(page.config(one), page.config(one)))
    sound(twice, "two of one name")


def hostile():
    names = [*HOSTILE]
    return {
        "vhost": HOSTILE[0],
        "vhost_settings": {"description": HOSTILE[1]},
        "exchanges": {name: {"type": "topic"} for name in names},
        "queues": {
            name: {"type": "classic", "arguments": {"x-message-ttl": 5, "x-odd": name}}
            for name in names
        },
        "bindings": [
            {"source": name, "queue": name, "routing_key": name, "arguments": {name: name}}
            for name in names
        ],
        "policies": {name: {"pattern": name, "definition": {name: name}} for name in names},
        "operator_policies": {
            name: {"pattern": name, "definition": {"max-length": 5}} for name in names
        },
        "services": {
            name: {
                "publishes": [{"exchange": name, "routing_key": name}],
                "consumes": [name],
                "declares": [name],
            }
            for name in names
        },
        "users": {
            f"u{name}": {"permissions": {"read": ".*"}, "tags": [name], "password": HIDDEN * 3}
            for name in names
        },
        "shovels": {
            name: {
                "source_uri": "amqp://",
                "destination_uri": "amqp://",
                "source_queue": name,
                "destination_queue": name,
            }
            for name in names
        },
    }


@pytest.mark.parametrize("service", [None, HOSTILE[0], HOSTILE[2]])
def test_names_are_text_whatever_is_in_them(service):
    whole = page.bare(hostile(), name=HOSTILE[2])
    text = page.written(whole, service=service)
    document = page.parsed(text)
    alone(text, document)
    sound(document, "hostile")
    names = HOSTILE if service is None else [service]
    titles = " ".join(one.to_text() for one in document.query("h4"))
    for name in names:
        shown = name.replace("\u202e", "\\u202e").replace("\u200b", "\\u200b")
        assert shown in titles
    assert "\u202e" not in text
    (data,) = page.data(document)
    says = page.script(data)
    for name in names:
        assert name in says(name, name)["mayReach"]


def test_no_secret_gets_into_a_page():
    uri = f"amqp://user:{HIDDEN}/x@host.example"
    given = topology()
    given["vhost_settings"]["description"] = f"from {uri}"
    given["services"]["gateway"]["password"] = f"service-{HIDDEN}"
    given["users"]["ops"]["password"] = f"user-{HIDDEN}"
    given["shovels"]["move"] |= {
        "source_uri": uri,
        "destination_uri": f"amqps://:{HIDDEN}@host.example",
        "destination_publish_properties": {"reply_to": uri},
    }
    given["federation_upstreams"]["far"]["uri"] = uri
    given["queues"]["plain"]["arguments"] |= {"x-from": uri, "x-deep": {"password": HIDDEN}}
    given["policies"]["short"]["definition"]["federation-upstream"] = uri
    given["bindings"][3]["arguments"]["a"] = uri
    text = page.written(page.bare(given))
    assert HIDDEN not in text
    assert text.count("[not shown]") > 5
    assert "host.example" in text


def test_nothing_of_a_page_depends_on_when_it_is_written():
    assert page.written(page.config(topology())) == page.written(page.config(topology()))
