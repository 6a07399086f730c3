"""
One run over a queue that stands in for the broker's: what is replayed, held, and given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from pika import spec

from rabbit_topology.broker.amqp import AMQPError
from rabbit_topology.broker.transfer import Delivery, Outcome
from rabbit_topology.broker.verbatim import Verbatim
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import replay_run
from rabbit_topology.messages.delivery_limit import Taking
from rabbit_topology.messages.replay_run import Run
from rabbit_topology.messages.state import QueueState
from rabbit_topology.replays.destination import Destination, Target
from rabbit_topology.replays.ledger import Ledger, Left, Mode
from rabbit_topology.replays.message import REPLAYS
from rabbit_topology.replays.request import Request
from rabbit_topology.replays.selection import Selection

WORK = Destination(queue="work")


def dead(number: int, reason: str = "rejected", queue: str = "work", **more: Any) -> Verbatim:
    """Return the properties of a message that died in a queue."""
    death = {"queue": queue, "reason": reason, "routing-keys": ["k"]}
    headers = {"x-death": [death], **more.pop("headers", {})}
    given = spec.BasicProperties(message_id=str(number), headers=headers, **more)
    return Verbatim(b"".join(given.encode()))


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """A queue, and a consumer of it with a prefetch count."""

    def __init__(self, clock: Clock, messages: list[Verbatim]) -> None:
        self.clock = clock
        self.here = deque(messages)
        self.held: dict[int, Verbatim] = {}
        self.buffer: deque[Delivery] = deque()
        self.delivered = self.prefetch = 0
        self.published: list[tuple[str, str, Verbatim]] = []
        self.answer: Callable[[Verbatim], tuple[Outcome, str]] = lambda _raw: (
            Outcome.CONFIRMED,
            "",
        )
        self.given_back: list[bool] = []

    # As a queue:

    def ready(self) -> int:
        return len(self.here)

    # As a transfer:

    def begin(self, prefetch: int) -> None:
        self.prefetch, self.delivered = prefetch, 0
        self.given_back.clear()
        self._deliver()

    def _deliver(self) -> None:
        while self.here and len(self.held) < self.prefetch:
            self.delivered += 1
            properties = self.held[self.delivered] = self.here.popleft()
            self.buffer.append(
                Delivery(
                    tag=self.delivered,
                    exchange="dlx",
                    routing_key="k",
                    redelivered=False,
                    properties=properties,
                    body=b"",
                    at=self.clock.now,
                )
            )

    def next(self, patience: float) -> Delivery | None:
        self._deliver()
        if not self.buffer:
            self.clock.now += patience
            return None
        return self.buffer.popleft()

    def pause(self, seconds: float) -> None:
        self.clock.now += seconds
        self._deliver()

    @property
    def waiting(self) -> int:
        return len(self.buffer)

    @property
    def oldest(self) -> float | None:
        return self.buffer[0].at if self.buffer else None

    def publish(self, exchange: str, key: str, raw: bytes, _body: bytes) -> tuple[Outcome, str]:
        properties = Verbatim(raw)
        answer = self.answer(properties)
        if answer[0] is Outcome.CONFIRMED:
            self.published.append((exchange, key, properties))
        return answer

    def acknowledge(self, delivery: Delivery) -> None:
        del self.held[delivery.tag]

    def give_back(self, *, nack: bool) -> bool:
        self.given_back.append(nack)
        self.here.extendleft(reversed(self.held.values()))
        self.held.clear()
        return True

    @property
    def numbers(self) -> list[int]:
        """The messages that are in the queue, in order."""
        return [int(properties.message_id) for properties in self.here]


class Places:
    """Targets that take everything, but for what is said."""

    def __init__(self) -> None:
        self.full: set[str] = set()

    def obstacle(self, goes: Destination, _size: int) -> tuple[Left, str] | None:
        return (Left.NO_ROOM, "it is full") if goes.queue in self.full else None

    def address(self, goes: Destination) -> tuple[str, str]:
        return goes.exchange or f"to {goes.queue}", goes.routing_key

    def sent(self, _goes: Destination, _size: int) -> None:
        pass


@contextmanager
def stopping_after(runs: int) -> Iterator[Callable[[], bool]]:
    asked = iter([False] * runs)
    yield lambda: next(asked, True)


class Broker:
    """What a run asks of the broker besides messages."""

    def __init__(self, tags: list[str]) -> None:
        self.management = SimpleNamespace(username="admin", get=lambda _path: {"tags": tags})

    def bindings(self, _kind: str, _vhost: str, _name: str) -> list[dict[str, str]]:
        return [{"source": "dlx"}]

    def rules(self, _vhost: str) -> list[Any]:
        return []

    def path(self, *parts: str) -> str:
        return "/".join(parts)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (replay_run, replay_run.delivery_limit):
        monkeypatch.setattr(module, "time", clock)
    return clock


def run(
    source: Source,
    request: Request | None = None,
    *,
    places: Places | None = None,
    taking: Taking | None = None,
    tags: tuple[str, ...] = (),
    stopping: Callable[[], bool] = lambda: False,
    show: Callable[[Any], None] = lambda _peeked: None,
    report: Callable[[str], None] = lambda _line: None,
) -> Ledger:
    """Run once over a queue named ``errors``; the ledger adds up."""
    request = request or Request()
    ledger = Ledger(queue="errors", mode=request.mode, ready=source.ready())
    job = SimpleNamespace(
        access=Broker(list(tags)),
        vhost="v",
        queue="errors",
        request=request,
        report=report,
        show=show,
        stopping=stopping,
        of_queue=source,
    )
    state = QueueState({"name": "errors", "type": "quorum"})
    Run(job, ledger, taking or Taking(), places or Places(), source, state).go()
    assert ledger.adds_up, ledger
    assert source.given_back, "what was taken was not given back"
    return ledger


def of_reasons(*reasons: str) -> Selection:
    return Selection(reasons=reasons)


def test_all_go_back_in_order_with_one_more_header(clock):
    source = Source(clock, [dead(number, headers={"n": 1}) for number in range(5)])
    ledger = run(source)
    assert [to for to, _, _ in source.published] == ["to work"] * 5
    assert [key for _, key, _ in source.published] == ["k"] * 5
    assert [int(one.message_id) for _, _, one in source.published] == [0, 1, 2, 3, 4]
    assert {one.headers[REPLAYS] for _, _, one in source.published} == {1}
    assert {one.headers["x-death"][0]["queue"] for _, _, one in source.published} == {"work"}
    assert (ledger.replayed, ledger.taken, source.numbers) == ({WORK: 5}, 5, [])
    assert ledger.is_complete


def test_the_counts_of_the_queue_stay_behind_and_that_of_replays_goes_up(clock):
    headers = {REPLAYS: 4, "x-delivery-count": 9, "x-acquired-count": 9, "kept": 1}
    source = Source(clock, [dead(0, headers=headers)])
    ledger = run(source)
    sent = source.published[0][2].headers
    assert {name: value for name, value in sent.items() if name != "x-death"} == {
        "kept": 1,
        REPLAYS: 5,
    }
    assert ledger.again == 1


def test_what_is_not_selected_stays_in_order_and_is_taken_once(clock):
    reasons = ["rejected", "expired", "maxlen", "rejected", "expired"]
    source = Source(clock, [dead(number, reason) for number, reason in enumerate(reasons)])
    ledger = run(source, Request(selection=of_reasons("rejected")))
    assert source.numbers == [1, 2, 4]
    assert source.delivered == 5
    assert ledger.left == {Left.NOT_SELECTED: 3}
    assert ledger.is_complete


@pytest.mark.parametrize(
    ("outcome", "left"),
    [(Outcome.RETURNED, Left.RETURNED), (Outcome.REFUSED, Left.REFUSED)],
)
def test_what_was_not_confirmed_stays(clock, outcome, left):
    source = Source(clock, [dead(number) for number in range(4)])
    source.answer = lambda raw: (
        (outcome, "why") if raw.message_id in "13" else (Outcome.CONFIRMED, "")
    )
    ledger = run(source)
    assert source.numbers == [1, 3]
    assert ledger.left == {left: 2}
    assert ledger.reasons[left] == {"queue work: why": 2}
    assert not ledger.is_complete


def test_a_connection_that_breaks_loses_nothing_and_is_told(clock):
    source = Source(clock, [dead(number) for number in range(5)])

    def answer(raw: Verbatim) -> tuple[Outcome, str]:
        if raw.message_id == "2":
            raise AMQPError("gone")
        return Outcome.CONFIRMED, ""

    source.answer = answer
    ledger = run(source)
    assert source.numbers == [2, 3, 4]
    assert ledger.left == {Left.UNCERTAIN: 1, Left.NOT_REACHED: 2}
    assert ledger.failed is not None
    assert "gone" in ledger.failed


def test_an_acknowledgement_that_fails_is_no_loss(clock):
    source = Source(clock, [dead(number) for number in range(3)])

    def acknowledge(_delivery: Delivery) -> None:
        raise AMQPError("gone")

    source.acknowledge = acknowledge
    ledger = run(source)
    assert source.numbers == [0, 1, 2]
    assert len(source.published) == 1
    assert "both there and here" in (ledger.failed or "")


def test_a_second_interrupt_in_the_middle_gives_back_all_the_same(clock):
    source = Source(clock, [dead(number) for number in range(3)])

    def answer(_raw: Verbatim) -> tuple[Outcome, str]:
        raise KeyboardInterrupt

    source.answer = answer
    ledger = run(source)
    assert source.numbers == [0, 1, 2]
    assert ledger.left[Left.UNCERTAIN] == 1


def test_an_interrupt_ends_the_run_between_two_messages(clock):
    source = Source(clock, [dead(number) for number in range(5)])
    with stopping_after(2) as stopping:
        ledger = run(source, stopping=stopping)
    assert ledger.stopped == "interrupted"
    assert source.numbers == [2, 3, 4]
    assert ledger.left == {Left.NOT_REACHED: 3}


def test_a_limit_counts_what_is_replayed(clock):
    reasons = ["expired", "rejected"] * 5
    source = Source(clock, [dead(number, reason) for number, reason in enumerate(reasons)])
    ledger = run(source, Request(limit=2, selection=of_reasons("rejected")))
    assert ledger.replayed == {WORK: 2}
    assert source.numbers == [0, 2, 4, 5, 6, 7, 8, 9]
    assert ledger.stopped is None


def test_without_a_selection_no_more_are_taken_than_the_limit(clock):
    source = Source(clock, [dead(number) for number in range(10)])
    ledger = run(source, Request(limit=2))
    # One that was acknowledged makes room for another.
    assert (ledger.replayed, source.delivered) == ({WORK: 2}, 4)
    assert source.numbers == list(range(2, 10))


def test_a_rate_is_kept(clock):
    source = Source(clock, [dead(number) for number in range(10)])
    began, times = clock.now, []

    def answer(_raw: Verbatim) -> tuple[Outcome, str]:
        times.append(clock.now - began)
        return Outcome.CONFIRMED, ""

    source.answer = answer
    run(source, Request(rate=4))
    assert times == pytest.approx([number / 4 for number in range(10)])


def test_beyond_what_is_held_nothing_is_looked_at_and_that_is_said(clock):
    reasons = ["expired"] * 4 + ["rejected"] * 4
    source = Source(clock, [dead(number, reason) for number, reason in enumerate(reasons)])
    ledger = run(source, Request(hold=3, selection=of_reasons("rejected")))
    assert ledger.replayed == {}
    assert source.delivered == 3
    assert source.numbers == list(range(8))
    assert "--hold" in (ledger.stopped or "")
    ledger = run(source, Request(hold=5, selection=of_reasons("rejected")))
    assert ledger.replayed == {WORK: 4}
    assert source.numbers == [0, 1, 2, 3]


def test_nothing_is_held_for_so_long_that_the_broker_takes_it_back(clock):
    messages = [dead(0, "expired"), *(dead(number) for number in range(1, 100))]
    source = Source(clock, messages)
    request = Request(rate=0.05, selection=of_reasons("rejected"))
    ledger = run(source, request)
    assert "run again" in (ledger.stopped or "")
    assert clock.now < 1000 + 1300
    assert source.numbers[0] == 0


def test_what_waits_here_for_its_turn_counts_as_held(clock):
    source = Source(clock, [dead(number) for number in range(100)])
    ledger = run(source, Request(rate=0.05, selection=of_reasons("rejected")))
    assert "run again" in (ledger.stopped or "")
    assert clock.now < 1000 + 1300
    assert source.numbers == list(range(len(source.published), 100))


def test_without_a_selection_a_slow_rate_takes_few_at_a_time_and_goes_on(clock):
    source = Source(clock, [dead(number) for number in range(100)])
    ledger = run(source, Request(rate=0.05))
    assert ledger.stopped is None
    assert ledger.replayed == {WORK: 100}


def test_what_comes_back_is_not_replayed_again_and_ends_the_run(clock):
    source = Source(clock, [dead(number) for number in range(6)])

    def answer(raw: Verbatim) -> tuple[Outcome, str]:
        if raw.message_id == "1":  # another consumer gives it back to the front of the queue
            source.buffer.appendleft(
                Delivery(
                    tag=99,
                    exchange="dlx",
                    routing_key="k",
                    redelivered=True,
                    properties=raw,
                    body=b"",
                    at=clock.now,
                )
            )
            source.held[99] = raw
            source.delivered += 1
        return Outcome.CONFIRMED, ""

    source.answer = answer
    ledger = run(source)
    assert [int(one.message_id) for _, _, one in source.published] == [0, 1]
    assert "came back" in (ledger.stopped or "")
    assert ledger.left[Left.CAME_BACK] == 1


def test_what_comes_back_behind_the_others_is_not_taken_again_but_counted(clock):
    source = Source(clock, [dead(number) for number in range(3)])

    def answer(raw: Verbatim) -> tuple[Outcome, str]:
        source.here.append(raw)
        return Outcome.CONFIRMED, ""

    source.answer = answer
    ledger = run(source)
    assert ledger.replayed == {WORK: 3}
    assert ledger.came_back == 3
    assert sorted(source.numbers) == [0, 1, 2]
    assert not ledger.is_complete


def test_what_comes_in_meanwhile_is_not_taken(clock):
    source = Source(clock, [dead(number) for number in range(3)])

    def answer(raw: Verbatim) -> tuple[Outcome, str]:
        source.here.append(dead(100 + int(raw.message_id)))
        return Outcome.CONFIRMED, ""

    source.answer = answer
    ledger = run(source)
    assert ledger.replayed == {WORK: 3}
    assert source.numbers == [100, 101, 102]
    assert ledger.is_complete


def test_a_queue_that_gets_as_many_as_leave_it_is_not_replayed_on_and_on(clock):
    source = Source(clock, [dead(number) for number in range(500)])

    def answer(raw: Verbatim) -> tuple[Outcome, str]:
        source.here.append(dead(1000 + int(raw.message_id)))
        return Outcome.CONFIRMED, ""

    source.answer = answer
    ledger = run(source, Request(rate=10, hold=50))
    assert "they come back" in (ledger.stopped or "")
    assert ledger.replayed[WORK] < 60


def test_others_may_take_the_rest(clock):
    source = Source(clock, [dead(number) for number in range(4)])
    source.answer = lambda _raw: (source.here.clear(), (Outcome.CONFIRMED, ""))[1]
    ledger = run(source, Request(hold=1))
    assert ledger.replayed == {WORK: 1}
    assert ledger.stopped is None
    assert "3 of those that were ready" in ledger.notes[0]


def test_a_queue_that_delivers_nothing_is_not_waited_for_without_end(clock):
    source = Source(clock, [dead(0)])
    source._deliver = lambda: None
    ledger = run(source)
    assert "single active consumer" in (ledger.stopped or "")
    assert clock.now < 1020


def test_nothing_is_published_in_a_dry_run(clock):
    messages = [dead(0), dead(1, "expired"), dead(2)]
    source = Source(clock, messages)
    ledger = run(source, Request(mode=Mode.DRY_RUN, selection=of_reasons("rejected")))
    assert source.published == []
    assert source.numbers == [0, 1, 2]
    assert (ledger.replayed, ledger.left) == ({WORK: 2}, {Left.NOT_SELECTED: 1})


def test_a_peek_shows_so_many_and_takes_no_more(clock):
    source, shown = Source(clock, [dead(number) for number in range(9)]), []
    ledger = run(source, Request(mode=Mode.PEEK, limit=3), show=shown.append)
    assert [(one.number, str(one.destination)) for one in shown] == [
        (number, "queue work") for number in (1, 2, 3)
    ]
    assert (source.delivered, source.numbers) == (3, list(range(9)))
    assert ledger.taken == 3


def test_a_target_in_the_place_of_the_origin_and_one_that_is_full(clock):
    source, places = Source(clock, [dead(0), dead(1)]), Places()
    ledger = run(source, Request(target=Target(exchange="x"), limit=1), places=places)
    assert [(to, key) for to, key, _ in source.published] == [("x", "k")]
    places.full.add("work")
    ledger = run(source, places=places)
    assert ledger.left == {Left.NO_ROOM: 1}
    assert source.numbers == [1]


@pytest.mark.parametrize(
    ("user", "tags", "goes"),
    [
        ("admin", (), True),
        ("shop.web", (), False),
        ("shop.web", ("administrator",), False),
        ("shop.web", ("administrator", "impersonator"), True),
    ],
)
def test_what_another_user_published_needs_a_tag(clock, user, tags, goes):
    source = Source(clock, [dead(0, user_id=user), dead(1)])
    ledger = run(source, tags=tags)
    assert ledger.left == ({} if goes else {Left.USER: 1})
    assert source.numbers == ([] if goes else [0])
    assert source.published[-1][2].message_id == "1"


def test_what_nobody_knows_the_origin_of_stays(clock):
    nowhere = Verbatim(b"".join(spec.BasicProperties(message_id="0").encode()))
    source = Source(clock, [nowhere, dead(1)])
    ledger = run(source)
    assert ledger.left == {Left.NO_ORIGIN: 1}
    assert source.numbers == [0]


def test_an_expiration_of_its_own_is_kept_and_counted(clock):
    source = Source(clock, [dead(0, expiration="5000")])
    ledger = run(source)
    assert source.published[0][2].expiration == "5000"
    assert ledger.expiring == 1


def test_what_cannot_be_read_stays(clock):
    broken = dead(0)
    broken.readable = False
    source = Source(clock, [broken])
    assert run(source).left == {Left.UNREADABLE: 1}
    assert source.published == []


@pytest.mark.parametrize(("nack", "highest"), [(False, 8), (True, 7)])
def test_how_often_what_stays_was_given_back_is_noted(clock, monkeypatch, nack, highest):
    back = []
    monkeypatch.setattr(
        replay_run.delivery_limit,
        "wait_until_back",
        lambda _queue, *counts, certain: back.append((*counts, certain)) or True,
    )
    counted = dead(1, "expired", headers={"x-delivery-count": 7})
    source = Source(clock, [dead(0), counted, dead(2, "expired")])
    taking = Taking(limit=20, nack=nack)
    run(source, Request(selection=of_reasons("rejected")), taking=taking)
    assert (taking.highest, taking.all_seen, taking.back) == (highest, True, True)
    assert source.given_back == [nack]
    assert back == [(0, 2, True)]


def test_without_proof_that_all_is_back_that_is_noted(clock):
    source, taking = Source(clock, [dead(0, "expired")]), Taking(limit=20)

    def give_back(*, nack: bool) -> None:
        source.given_back.append(nack)
        raise BrokerError("e", "the connection broke")

    source.give_back = give_back
    ledger = run(source, Request(selection=of_reasons("rejected")), taking=taking)
    assert not taking.back
    assert ledger.failed == "the connection broke"


def test_what_the_broker_gives_back_by_itself_is_not_known_to_be_back(clock):
    source, taking = Source(clock, [dead(0, "expired")]), Taking(limit=20)
    plainly = source.give_back
    source.give_back = lambda *, nack: not plainly(nack=nack)
    run(source, Request(selection=of_reasons("rejected")), taking=taking)
    assert not taking.back


def test_progress_is_told(clock):
    source, told = Source(clock, [dead(number) for number in range(30)]), []
    run(source, Request(rate=10), report=told.append)
    assert told[0].startswith("queue errors: 21 of 30 looked at, 21 replayed")
