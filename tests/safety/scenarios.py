"""
What the safety tests do to a topology, and the traffic that goes through it meanwhile.

A `Change` is data: a config, the config that it becomes, and where messages are published and
consumed. The functions below deploy it, under traffic or with messages at rest, undisturbed or
killed, and return the ledger's report. How much of everything is one `Scale`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from pika.exceptions import AMQPError

from tests.safety import ledger, settled
from tests.safety.killing import Moment, Run, reach
from tests.safety.traffic import Consumption, Publication, Report, Traffic, amqp_urls
from tests.support.stacks import EngineFailedError, Result, Stack, connect
from toolchain.broker import Broker

Config = dict[str, Any]

DEAD_LETTER_SECONDS = 2
BY_NAME_SECONDS = 0.2
"""What is published to a queue by its name, and on its way while the queue is deleted, the broker
confirms and discards. It is on its way for less than that."""

MEANWHILE_MESSAGES = 500
"""So many messages flow before and after each change."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything: one place for all counts and rates."""

    rate: float
    """Messages per second."""
    top_rate: float
    """Messages per second where a figure is about many messages."""
    replacements: int
    """In a row, under ``top_rate``."""
    minimum_rate: float
    """What comes of ``top_rate`` at least: a figure that is published, where it is measured."""
    kill_rate: float
    """Messages per second where runs and brokers are killed: one figure is then one kill."""
    at_rest: int
    """Messages in a queue that nobody consumes."""
    queues_at_once: int
    random_kills: int
    """Of the whole `pulumi up`, at random moments, for each version."""
    broker_kills: int
    """Of the broker or of a node, at random moments, for each version and the cluster."""
    every_boundary: bool
    """Kill at each step of a replacement, or at two of them."""
    objects: int
    """On a broker that is adopted."""


FAST = Scale(
    rate=500,
    top_rate=3300,
    minimum_rate=0,
    replacements=2,
    kill_rate=500,
    at_rest=10_000,
    queues_at_once=5,
    random_kills=2,
    broker_kills=1,
    every_boundary=False,
    objects=300,
)
FULL = Scale(
    rate=1000,
    top_rate=3500,
    minimum_rate=3000,
    replacements=20,
    kill_rate=500,
    at_rest=100_000,
    queues_at_once=20,
    random_kills=6,
    broker_kills=3,
    every_boundary=True,
    objects=3000,
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A config, what it becomes, and the messages that flow through it."""

    before: Config
    after: Config
    publications: Sequence[Publication]
    consumptions: Sequence[Consumption] = ()
    rest: int = 0
    """So many messages are published before the change, and none meanwhile; 0: live traffic."""
    rate: float | None = None
    """Messages per second, if not the scale's."""
    expiration: int | None = None
    """Milliseconds."""
    arrived: Mapping[str, int] = field(default_factory=dict)
    """How many messages must be in which queue, where that is known."""
    made: str = "replaced"
    """What the engine says that it did."""
    by_name: bool = False
    """Messages are published to the queue by its name: nothing can catch them while it is away,
    and the config accepts that."""

    @property
    def safety(self) -> Mapping[str, Any]:
        """The config's safety settings."""
        return {"published_by_name": "accept"} if self.by_name else {}


def config(
    vhost: str,
    queues: Mapping[str, Any],
    exchanges: Mapping[str, Any] | None = None,
    bindings: Sequence[Mapping[str, Any]] | None = None,
) -> Config:
    """Return a topology's config; by default a direct exchange `e` leads to each queue by name."""
    if bindings is None:
        bindings = [{"source": "e", "queue": queue, "routing_key": queue} for queue in queues]
    return {
        "vhost": vhost,
        "exchanges": {"e": {}} if exchanges is None else dict(exchanges),
        "queues": dict(queues),
        "bindings": list(bindings),
    }


def queue_change(vhost: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    """Return the change of one queue, `q`, under live traffic."""
    return Change(
        before=config(vhost, {"q": dict(before)}),
        after=config(vhost, {"q": dict(after)}),
        publications=[Publication(exchange="e", routing_key="q", queues=["q"])],
        consumptions=[Consumption(queue="q")],
    )


def renaming(vhost: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    """Return the change of a queue's name, from `q` to `p`, under live traffic; back as well."""

    def called(name: str, queue: Mapping[str, Any]) -> Config:
        former = "p" if name == "q" else "q"
        bindings = [{"source": "e", "queue": name, "routing_keys": ["k", "#.k"]}]
        queues = {name: {**queue, "renamed_from": former}}
        return config(vhost, queues, {"e": {"type": "topic"}}, bindings)

    return Change(
        before=called("q", before),
        after=called("p", after),
        publications=[Publication(exchange="e", routing_key="k", queues=["q", "p"], any_of=True)],
        consumptions=[Consumption(queue="q"), Consumption(queue="p")],
        made="deleted",
    )


def exchange_change(vhost: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    """Return the change of one exchange, `e`, under live traffic.

    Its bindings match by key on one type and by header on another.
    """
    arguments = {"x-match": "all", "kind": "order"}
    bindings = [
        {"source": "e", "queue": one, "routing_key": "k", "arguments": arguments} for one in "qr"
    ]
    queues = {"q": {"type": "quorum"}, "r": {"type": "classic"}}
    return Change(
        before=config(vhost, queues, {"e": dict(before)}, bindings),
        after=config(vhost, queues, {"e": dict(after)}, bindings),
        publications=[
            Publication(exchange="e", routing_key="k", headers={"kind": "order"}, queues=["q", "r"])
        ],
        consumptions=[Consumption(queue="q"), Consumption(queue="r")],
    )


def changes(vhost: str, scale: Scale) -> dict[str, Change]:
    """Return every change by what it is called in the results."""
    classic, quorum = {"type": "classic"}, {"type": "quorum"}
    return {
        "classic to quorum": queue_change(vhost, classic, quorum),
        "quorum to classic": queue_change(vhost, quorum, classic),
        "durable": queue_change(vhost, {**classic, "durable": False}, classic),
        "x-max-priority": queue_change(
            vhost, classic, {**classic, "arguments": {"x-max-priority": 5}}
        ),
        "x-max-length": queue_change(
            vhost, quorum, {**quorum, "arguments": {"x-max-length": 1_000_000}}
        ),
        "exchange direct to topic": exchange_change(vhost, {"type": "direct"}, {"type": "topic"}),
        "exchange topic to fanout": exchange_change(vhost, {"type": "topic"}, {"type": "fanout"}),
        "exchange topic to headers": exchange_change(vhost, {"type": "topic"}, {"type": "headers"}),
        "exchange durable": exchange_change(vhost, {"durable": False}, {}),
        "renamed": renaming(vhost, classic, quorum),
        "many ways in": _many_ways(vhost, classic, quorum),
        "several exchanges": _several_exchanges(vhost),
        "exchange in the middle": _many_ways(vhost, classic, classic, {"type": "topic"}),
        "queue and exchange": _many_ways(vhost, quorum, classic, {"type": "topic"}),
        "expiring to a dead-letter queue": _expiring(vhost, {"q": quorum}),
        "dead-letter queue": _expiring(vhost, {"dead": quorum}),
        "over its length": _over_length(vhost, scale.at_rest // 10),
        "priorities at rest": Change(
            before=config(vhost, {"q": {**classic, "arguments": {"x-max-priority": 5}}}),
            after=config(vhost, {"q": {**classic, "arguments": {"x-max-priority": 10}}}),
            publications=[Publication(exchange="e", routing_key="q", queues=["q"])],
            rest=scale.at_rest // 10,
        ),
        "at rest, classic to quorum": _at_rest(vhost, classic, quorum, scale.at_rest),
        "at rest, quorum to classic": _at_rest(vhost, quorum, classic, scale.at_rest),
        "no bindings": Change(
            before=config(vhost, {"q": classic}, {}, []),
            after=config(vhost, {"q": quorum}, {}, []),
            publications=[Publication(exchange="", routing_key="q", queues=["q"])],
            consumptions=[Consumption(queue="q")],
            by_name=True,
        ),
        "slow consumers": Change(
            before=config(vhost, {"q": classic}),
            after=config(vhost, {"q": quorum}),
            publications=[Publication(exchange="e", routing_key="q", queues=["q"])],
            consumptions=[Consumption(queue="q", consumers=3, prefetch=10, work_seconds=0.1)],
            rate=50,
        ),
        "many queues": _many_queues(vhost, [f"q{one}" for one in range(scale.queues_at_once)]),
        "odd names": _many_queues(vhost, ODD_NAMES),
    }


ODD_NAMES = (
    " leading and trailing ",
    "naïve ☕ 待ち行列",
    "%2F%",
    "a#b*c",
    "?x=1&y=2",
    "+",
    "'\"`",
    ":;,.|\\",
    "${HOME} $(x)",
    "^.*$",
    "~" + "x" * 230,
    "~" + "x" * 229 + "y",
)
"""Each holds characters that a name may have and that something on the way could mistake."""


def _many_ways(
    vhost: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    middle: Mapping[str, Any] | None = None,
) -> Change:
    """Several bindings of several exchanges, one of them bound to another; two queues at once."""
    exchanges = {
        "front": {"type": "topic"},
        "middle": {"type": "direct"},
        "side": {"type": "fanout"},
        "head": {"type": "headers"},
    }
    bindings = [
        {"source": "front", "queue": "q", "routing_keys": ["a.*", "b.#", "*.1"]},
        {"source": "front", "queue": "other", "routing_key": "a.*"},
        {"source": "front", "exchange": "middle", "routing_key": "m.*"},
        {"source": "middle", "queue": "q", "routing_key": "m.2"},
        {"source": "side", "queue": "q"},
        {"source": "head", "queue": "q", "arguments": {"x-match": "any", "kind": "order", "n": 1}},
    ]
    other = {"type": "quorum"}
    return Change(
        before=config(vhost, {"q": dict(before), "other": other}, exchanges, bindings),
        after=config(
            vhost,
            {"q": dict(after), "other": other},
            {**exchanges, "middle": dict(middle or exchanges["middle"])},
            bindings,
        ),
        publications=[
            Publication(exchange="front", routing_key="a.1", queues=["q", "other"]),
            Publication(exchange="front", routing_key="b.x.y", queues=["q"]),
            Publication(exchange="front", routing_key="m.2", queues=["q"]),
            Publication(exchange="side", queues=["q"]),
            Publication(exchange="head", headers={"kind": "order"}, queues=["q"]),
        ],
        consumptions=[Consumption(queue="q"), Consumption(queue="other")],
    )


def _several_exchanges(vhost: str) -> Change:
    """Exchanges that lead to the same queues, replaced side by side."""
    names = [f"e{number}" for number in range(5)]
    queues = {"q": {"type": "quorum"}, "r": {"type": "classic"}}
    bindings = [
        {"source": name, "queue": queue, "routing_key": "k"} for name in names for queue in queues
    ]

    def of(kind: str) -> Config:
        return config(vhost, queues, {key: {"type": kind} for key in names}, bindings)

    return Change(
        before=of("direct"),
        after=of("topic"),
        publications=[
            Publication(exchange=name, routing_key="k", queues=list(queues)) for name in names
        ],
        consumptions=[Consumption(queue=name) for name in queues],
    )


def _expiring(vhost: str, after: Mapping[str, Any]) -> Change:
    """Messages wait in `q`, which nobody consumes, and expire into `dead`, which is consumed."""
    expiring = {
        "x-message-ttl": DEAD_LETTER_SECONDS * 1000,
        "x-dead-letter-exchange": "dlx",
    }
    queues = {"q": {"type": "classic", "arguments": expiring}, "dead": {"type": "classic"}}
    exchanges = {"e": {}, "dlx": {"type": "fanout"}}
    bindings = [
        {"source": "e", "queue": "q", "routing_key": "k"},
        {"source": "dlx", "queue": "dead"},
    ]
    changed = {name: {**one, **after.get(name, {})} for name, one in queues.items()}
    return Change(
        before=config(vhost, queues, exchanges, bindings),
        after=config(vhost, changed, exchanges, bindings),
        publications=[
            Publication(exchange="e", routing_key="k", queues=["q", "dead"], any_of=True)
        ],
        consumptions=[Consumption(queue="dead")],
    )


def _over_length(vhost: str, length: int) -> Change:
    """A queue that is full: the oldest half of what was published is in the dead-letter queue."""
    limited = {"x-max-length": length, "x-dead-letter-exchange": "dlx"}
    exchanges = {"e": {}, "dlx": {"type": "fanout"}}
    bindings = [
        {"source": "e", "queue": "q", "routing_key": "k"},
        {"source": "dlx", "queue": "dead"},
    ]

    def of(kind: str) -> Config:
        queues = {"q": {"type": kind, "arguments": limited}, "dead": {"type": "classic"}}
        return config(vhost, queues, exchanges, bindings)

    return Change(
        before=of("classic"),
        after=of("quorum"),
        publications=[
            Publication(exchange="e", routing_key="k", queues=["q", "dead"], any_of=True)
        ],
        rest=2 * length,
        arrived={"q": length, "dead": length},
    )


def _at_rest(
    vhost: str, before: Mapping[str, Any], after: Mapping[str, Any], messages: int
) -> Change:
    return Change(
        before=config(vhost, {"q": dict(before)}),
        after=config(vhost, {"q": dict(after)}),
        publications=[Publication(exchange="e", routing_key="q", queues=["q"])],
        rest=messages,
        expiration=3_600_000,
        arrived={"q": messages},
    )


def _many_queues(vhost: str, names: Sequence[str]) -> Change:
    return Change(
        before=config(vhost, {name: {"type": "classic"} for name in names}),
        after=config(vhost, {name: {"type": "quorum"} for name in names}),
        publications=[Publication(exchange="e", routing_key=name, queues=[name]) for name in names],
        consumptions=[Consumption(queue=name, prefetch=50) for name in names],
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a scenario came to."""

    report: Report
    up_seconds: float
    """Of the `pulumi up` that made the change; of all of them, if there were several."""
    notes: str = ""


def traffic(
    folder: Path, broker: Broker, change: Change, rate: float | None, **settings: Any
) -> Traffic:
    """Return the traffic of a change, not started yet."""
    return Traffic(
        folder,
        amqp_urls(broker.hosts, change.before["vhost"]),
        change.publications,
        settings.pop("consumptions", change.consumptions),
        rate=rate,
        expiration=change.expiration,
        **settings,
    )


def deploy(stack: Stack, change: Change, folder: Path, rate: float) -> Outcome:
    """Deploy a change while messages flow, or rest, and check what is left on the broker."""
    stack.configure(change.before, safety=change.safety)
    stack.up()
    if change.rest:
        flowing = traffic(folder, stack.broker, change, None, count=change.rest)
    else:
        flowing = traffic(folder, stack.broker, change, change.rate or rate)
    with flowing:
        if change.rest:
            flowing.publish_all()
        else:
            flowing.flow(_meanwhile(change, rate))
        result, seconds = timed_up(stack, change.after, safety=change.safety)
        assert result.changes.get(change.made), result.text
        if not change.rest:
            flowing.flow(_meanwhile(change, rate))
        report = flowing.finish(patience=_patience(change))
    settled.check(stack, change.after)
    return Outcome(report=report, up_seconds=seconds)


def deploy_in_turn(
    stack: Stack,
    change: Change,
    folder: Path,
    rate: float,
    times: int,
    *,
    before_turn: Callable[[int], None] = lambda _turn: None,
    after_failure: Callable[[int], None] | None = None,
) -> Outcome:
    """Deploy the one and the other config in turn under one flow of messages.

    Both functions get the number of the turn. A turn that fails is an error, unless there is an
    ``after_failure``: then it is called, and the turn deployed again.
    """
    stack.configure(change.before)
    stack.up()
    total, failed, spans = 0.0, 0, []
    with traffic(folder, stack.broker, change, rate) as flowing:
        flowing.flow()
        for turn in range(times):
            before_turn(turn)
            since = time.monotonic()
            wanted = change.before if turn % 2 else change.after
            result, seconds = timed_up(stack, wanted, check=after_failure is None)
            total += seconds
            if after_failure and result.status:
                failed += 1
                after_failure(turn)
                begin = time.monotonic()
                up_until_done(stack)
                total += time.monotonic() - begin
            flowing.flow(seconds=60)
            spans.append((since, time.monotonic()))
        report = flowing.finish(patience=20)
    settled.check(stack, change.before if times % 2 == 0 else change.after)
    gaps = ledger.gaps(folder, spans)
    notes = (
        f"{times} in a row, median gap {median(gaps[::2]):.2f} s there and "
        f"{median(gaps[1::2]):.2f} s back"
        + (f", {failed} runs failed and were repeated" if failed else "")
    )
    return Outcome(report=report, up_seconds=total, notes=notes)


def kill_and_complete(
    stack: Stack,
    change: Change,
    wanted: Config,
    moment: Moment,
    folder: Path,
    rate: float,
    *,
    consumed: bool,
    victim: Callable[[Run], None] = Run.kill,
) -> tuple[Outcome, bool]:
    """Deploy, strike at a moment, deploy again; return also whether the run was still going.

    Without ``consumed`` messages pile up, and are read in the end. ``victim`` strikes: it kills
    the run, and the very next one has to succeed; or a node, and waits until it is back.
    """
    consumptions = change.consumptions if consumed else ()
    vhost = wanted["vhost"]
    with traffic(folder, stack.broker, change, rate, consumptions=consumptions) as flowing:
        flowing.flow(200)
        stack.configure(wanted)
        run = Run(stack)
        struck = reach(run, moment, stack.broker, vhost)
        victim(run)
        run.wait()
        left = settled.leftovers(stack.broker, vhost)
        begin = time.monotonic()
        if victim is Run.kill:
            stack.pulumi("cancel", "--yes", "--stack", stack.name)
            result = stack.up()
        else:
            result = up_until_done(stack)
        seconds = time.monotonic() - begin
        if any("rabbit-topology.stand-in" in name for name in left):
            assert "completing what an earlier run began" in result.text, result.text
        flowing.flow(200, seconds=60)
        report = flowing.finish(patience=20)
    settled.check(stack, wanted)
    notes = f"{len(left)} leftovers" if left else "nothing left over"
    return Outcome(report=report, up_seconds=seconds, notes=notes), struck


def timed_up(
    stack: Stack, wanted: Config, *, safety: Mapping[str, Any] | None = None, check: bool = True
) -> tuple[Result, float]:
    """Configure and run `pulumi up`; return its result and the seconds that it took."""
    stack.configure(wanted, safety=safety)
    begin = time.monotonic()
    result = stack.up(check=check)
    return result, time.monotonic() - begin


def up_until_done(stack: Stack, seconds: float = 120) -> Result:
    """Run `pulumi up` until it succeeds: a broker or node may still be on its way back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.pulumi("cancel", "--yes", "--stack", stack.name, check=False)
        with suppress(EngineFailedError):
            return stack.up()
    return stack.up()


@dataclass(kw_only=True)
class Load:
    """Messages in a queue: some ready, some with a consumer that never acknowledges them."""

    broker: Broker
    vhost: str
    queue: str
    ready: int
    held: int

    def __enter__(self) -> Self:
        self._connection = connect(self.broker, self.vhost)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        for number in range(self.ready + self.held):
            self._channel.basic_publish("", self.queue, str(number).encode(), mandatory=True)
        self._channel.basic_qos(prefetch_count=self.held)
        if self.held:
            self._channel.basic_consume(self.queue, lambda *_: None)
            self._connection.process_data_events(0.5)
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(AMQPError):  # the broker may have been killed
            self._connection.close()

    @property
    def numbers(self) -> str:
        """What a refusal must say."""
        consumers = 1 if self.held else 0
        plural = "" if consumers == 1 else "s"
        return f"{self.ready:,} ready, {self.held:,} unacknowledged, {consumers} consumer{plural}"

    def count(self) -> int:
        """Return how many messages are in the queue now, whoever held them gone."""
        self.__exit__()
        with connect(self.broker, self.vhost) as connection:
            deadline = time.monotonic() + 5
            while True:
                declared = connection.channel().queue_declare(self.queue, passive=True)
                result: int = declared.method.message_count
                if result == self.ready + self.held or time.monotonic() > deadline:
                    return result
                time.sleep(0.05)


def _meanwhile(change: Change, rate: float) -> int:
    return min(MEANWHILE_MESSAGES, int(change.rate or rate))


def _patience(change: Change) -> float:
    return (
        10
        + DEAD_LETTER_SECONDS
        + max((consumption.work_seconds for consumption in change.consumptions), default=0)
    )
