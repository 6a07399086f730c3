"""
Queues and exchanges that get another name, with what they hold, while they are used.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.safety import settled
from tests.safety.killing import Moment, Run, queue_boundaries, reach
from tests.support.clients import Publisher
from tests.support.stacks import Stack, connect, drain, fill, management, untouched, wait_for

MESSAGES = 200
SEED = "for derived passwords"


def topology(vhost: str, source: str, name: str, **renamed: Any) -> dict[str, Any]:
    """Return an exchange that leads to a queue with retries, and a service for each end."""
    return {
        "vhost": vhost,
        "exchanges": {source: {"type": "topic", "unroutable": True, **renamed.get("exchange", {})}},
        "queues": {
            name: {"retry": {"delays": ["1s", "1h"]}, **renamed.get("queue", {})},
            "other": {"type": "classic", "dead_letter": {"exchange": source}},
        },
        "bindings": [
            {"source": source, "queue": name, "routing_keys": ["order.*", "#.paid"]},
            {"source": source, "queue": "other", "routing_key": "other"},
        ],
        "services": {
            "shop": {"publishes": [{"exchange": source, "routing_key": "order.*"}]},
            "billing": {"consumes": [name]},
        },
    }


def names(stack: Stack, vhost: str) -> set[str]:
    return {*settled.queues(stack.broker, vhost), *settled.exchanges(stack.broker, vhost)}


def test_a_queue_and_an_exchange_are_renamed_under_traffic(stack: Stack, vhost: str) -> None:
    stack.configure(topology(vhost, "events", "orders"), seed=SEED)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "orders.parking-lot", 3)
        fill(channel, "orders.retry.2", 2)
        channel.queue_bind("orders", "amq.direct", "by others")
        after = topology(
            *(vhost, "shop.events", "shop.orders"),
            exchange={"renamed_from": "events"},
            queue={"renamed_from": "orders", "type": "classic"},
        )
        with Publisher(
            broker=stack.broker, vhost=vhost, exchange="events", routing_key="order.paid"
        ) as old:
            wait_for(lambda: len(old.confirmed) > MESSAGES, "messages are published")
            stack.configure(after, seed=SEED)
            foreseen = stack.preview().text
            assert "queue orders is renamed to shop.orders; kept through it: " in foreseen
            assert "refuse" not in foreseen, foreseen
            said = stack.up().text
            assert "queue orders is renamed to shop.orders" in said
            count = len(old.confirmed)
            wait_for(lambda: len(old.confirmed) > count + MESSAGES, "both names work")
        channel.basic_publish("amq.direct", "by others", b"-1")
        channel.queue_unbind("shop.orders", "amq.direct", "by others")
        settled.check(stack, after)
        assert not {"orders", "orders.parking-lot", "orders.retry.2"} & names(stack, vhost)
        assert drain(channel, "shop.orders.parking-lot") == untouched(3)
        assert [one for one, _ in drain(channel, "shop.orders.retry.2")] == [0, 1]
        channel.basic_publish("shop.events", "order.new", b"-2")
        wait_for(
            lambda: (
                channel.queue_declare("shop.orders", passive=True).method.message_count
                >= len(old.confirmed) + 2
            ),
            "all is there",
        )
        there = [number for number, _ in drain(channel, "shop.orders")]
    assert set(there) == {*old.confirmed, -1, -2}
    assert len(there) - len(set(there)) <= 20  # while publishers are led elsewhere
    permissions = management(stack.broker).get(f"/permissions/{vhost}/{vhost}.billing")
    assert permissions["read"] == r"^(orders|shop\.orders)$"
    last = topology(vhost, "shop.events", "shop.orders", queue={"type": "classic"})
    stack.configure(last, seed=SEED)
    stack.up()
    assert "events" not in names(stack, vhost)


def test_a_consumer_of_the_former_name_finishes_what_it_has(stack: Stack, vhost: str) -> None:
    stack.configure(topology(vhost, "e", "q"), seed=SEED)
    stack.up()
    taken: list[int] = []
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "q", MESSAGES)
        channel.basic_qos(prefetch_count=10)
        cancelled: list[object] = []
        channel.add_on_cancel_callback(cancelled.append)

        def take(channel: Any, method: Any, _properties: object, body: bytes) -> None:
            taken.append(int(body))
            if len(taken) > 5:
                connection.call_later(2, lambda: channel.basic_ack(method.delivery_tag))
            else:
                channel.basic_ack(method.delivery_tag)

        channel.basic_consume("q", take)
        stack.configure(topology(vhost, "e", "p", queue={"renamed_from": "q"}), seed=SEED)
        with ThreadPoolExecutor() as threads:
            up = threads.submit(stack.up)
            while not up.done():
                connection.process_data_events(0.1)
            up.result()
        assert cancelled
        left = [number for number, _ in drain(connection.channel(), "p")]
    assert sorted({*taken, *left}) == [*range(MESSAGES)]
    assert not {*taken} & {*left}
    settled.check(stack, topology(vhost, "e", "p", queue={"renamed_from": "q"}))


def test_what_others_have_made_is_not_renamed(stack: Stack, vhost: str) -> None:
    stack.configure({"vhost": vhost, "queues": {"mine": {}}})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("theirs", durable=True)
        fill(channel, "theirs", 3)
        stack.configure({"vhost": vhost, "queues": {"mine": {}, "new": {"renamed_from": "theirs"}}})
        assert "this stack has not made it" in stack.preview().text
        refused = stack.up(check=False)
        assert "queue theirs would be renamed, and this stack has not made it" in refused.text
        assert drain(channel, "theirs") == untouched(3)


def test_a_former_name_that_is_nowhere_does_nothing(one_stack: Stack, vhost: str) -> None:
    after = topology(
        *(vhost, "e", "q"), exchange={"renamed_from": "d"}, queue={"renamed_from": "p"}
    )
    one_stack.configure(after, seed=SEED)
    one_stack.up()
    settled.check(one_stack, after)
    assert "p" not in names(one_stack, vhost)


def test_a_queue_that_is_there_by_both_names_is_not_renamed(stack: Stack, vhost: str) -> None:
    stack.configure({"vhost": vhost, "queues": {"old": {}, "new": {}}})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "old", 3)
        stack.configure({"vhost": vhost, "queues": {"new": {"renamed_from": "old"}}})
        assert "would lose 3 messages in queue old" in stack.preview().text
        refused = stack.up(check=False)
        assert "queue old holds 3 ready" in refused.text
        assert drain(channel, "old") == untouched(3)


def test_a_queue_is_renamed_while_the_exchange_that_leads_to_it_is_replaced(
    stack: Stack, vhost: str
) -> None:
    def config(kind: str, name: str, **settings: Any) -> dict[str, Any]:
        return {
            "vhost": vhost,
            "exchanges": {"e": {"type": kind}},
            "queues": {name: settings},
            "bindings": [{"source": "e", "queue": name, "routing_key": "k"}],
        }

    stack.configure(config("direct", "q"))
    stack.up()
    after = config("topic", "p", renamed_from="q")
    with Publisher(broker=stack.broker, vhost=vhost, rate=300) as publisher:
        wait_for(lambda: len(publisher.confirmed) > MESSAGES, "messages are published")
        stack.configure(after)
        stack.up()
        count = len(publisher.confirmed)
        wait_for(lambda: len(publisher.confirmed) > count + MESSAGES, "it goes on")
    settled.check(stack, after)
    with connect(stack.broker, vhost) as connection:
        there = {number for number, _ in drain(connection.channel(), "p")}
    assert there == {*publisher.confirmed}


def test_an_exchange_that_is_renamed_keeps_its_type_at_first(stack: Stack, vhost: str) -> None:
    def config(kind: str, name: str, **settings: Any) -> dict[str, Any]:
        return {
            "vhost": vhost,
            "exchanges": {name: {"type": kind, **settings}},
            "queues": {"q": {}},
            "bindings": [{"source": name, "queue": "q", "routing_key": "k"}],
        }

    stack.configure(config("direct", "old"))
    stack.up()
    stack.configure(config("topic", "new", renamed_from="old"))
    assert "rename it as it is, run `pulumi up`, and change its type" in stack.preview().text
    refused = stack.up(check=False)
    assert "rename it as it is, run `pulumi up`, and change its type" in refused.text
    assert ("old", "queue", "q", "k", "[]") in settled.bindings(stack.broker, vhost), refused.text
    for after in (config("direct", "new", renamed_from="old"), config("topic", "new")):
        stack.configure(after)
        stack.up()
        settled.check(stack, after)


def test_a_killed_rename_of_what_expires_into_a_new_exchange_goes_on(
    one_stack: Stack, vhost: str
) -> None:
    stack, waiting = one_stack, "retry.2"
    stack.configure(topology(vhost, "e", "q"), seed=SEED)
    stack.up()
    after = topology(vhost, "e", "p", queue={"renamed_from": "q"})
    steps = queue_boundaries(f"q.{waiting}", "q.retry.step", "quorum", f"p.{waiting}")
    moment = Moment(name="gone", condition=steps["new queue declared"])
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, f"q.{waiting}", MESSAGES)
        fill(channel, "q", 1)
        method, _, _ = channel.basic_get("q")  # as long as that is held, nothing leads to p
        stack.configure(after, seed=SEED)
        run = Run(stack)
        assert reach(run, moment, stack.broker, vhost), run.text
        run.kill()
        channel.basic_ack(method.delivery_tag)
        stack.pulumi("cancel", "--yes", "--stack", stack.name)
        assert f"queue q.{waiting}: completing what an earlier run began" in stack.up().text
        settled.check(stack, after)
        assert sorted(number for number, _ in drain(channel, f"p.{waiting}")) == [*range(MESSAGES)]
