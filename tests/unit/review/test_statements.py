"""
What the program says in a preview is read as it is meant: those who say it say it here.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pulumi
import pytest

from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.broker.marker import TwoBrokersError
from rabbit_topology.compiler.effective import Live
from rabbit_topology.deploy import admission, hooks, preflight, unfinished
from rabbit_topology.deploy.guard import VhostGuard
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.inventory.adoption import Adoption
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import OnDelete, OnRefusal, QueueType, SafetySettings, Topology
from rabbit_topology.review import preview, statements
from rabbit_topology.review.statements import Held, Loss, Says
from rabbit_topology.safety.deletion import Deletions, Reason, RefusedError
from rabbit_topology.safety.destruction import Destruction
from rabbit_topology.safety.exchange_replacement import ExchangeReplacement
from rabbit_topology.safety.obstacles import Obstacles
from rabbit_topology.safety.run import PreviewError, Run
from tests.support import previews
from tests.unit.safety.test_policy_changes import changes, inputs

FULL = Contents(
    kind=QueueType.QUORUM, ready=1204, unacknowledged=3, consumers=2, delayed=7, unknown=1
)
NAMES = ["orders", "a b", "with (parentheses): and more", "größe", "queue x is replaced (y)"]
ENDPOINT = "http://mq:15672"


class Said:
    """A run whose preview is read as soon as it says anything."""

    def __init__(self, *, fails=False):
        self.notes = []
        verdict = OnRefusal.ERROR if fails else OnRefusal.WARN
        self.run = Run(
            is_preview=True,
            settings=SafetySettings(preview=verdict),
            report=lambda text: self.notes.append(previews.said("info", text)),
            warn=lambda text: self.notes.append(previews.said("warning", text)),
        )

    @property
    def one(self):
        (statement,) = read(*self.notes)
        return statement


def read(*notes):
    return statements.read(preview.parse(previews.preview(notes=notes), "p").notes)


@pytest.fixture
def warned(monkeypatch):
    """What is said to the engine directly, in a preview."""
    notes = []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(pulumi, "warn", lambda text: notes.append(previews.said("warning", text)))
    monkeypatch.setattr(pulumi, "info", lambda text: notes.append(previews.said("info", text)))
    return notes


def about(statement):
    return [(one.kind, one.name) for one in statement.objects]


def deletions(said):
    access = SimpleNamespace(totals=SimpleNamespace(plan=lambda *_: None))
    topology = Topology(vhost="v")
    return Deletions(access=access, topology=topology, run=said.run, leaving=list)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fails", [False, True])
def test_a_queue_that_would_go_with_messages(monkeypatch, name, fails):
    monkeypatch.setattr(BrokerQueue, "read", lambda _: FULL)
    monkeypatch.setattr("rabbit_topology.safety.deletion.survey.expect", lambda *_: None)
    said = Said(fails=fails)
    if fails:
        with pytest.raises(PreviewError) as caught:
            deletions(said).check(name, Reason.REMOVED)
        said.notes.append(previews.raised(str(caught.value)))
    else:
        deletions(said).check(name, Reason.REMOVED)
    statement = said.one
    assert statement.says is Says.REFUSED
    assert statement.ended is fails
    (one,) = statement.objects
    assert (one.kind, one.name, one.reason) == ("queue", name, Reason.REMOVED.value)
    assert one.held == Held(messages=1204 + 3 + 7 + 1, consumers=2, text=str(FULL))


def test_a_vhost_that_is_replaced_with_queues_in_use():
    said = Said()
    one = Contents(kind=QueueType.CLASSIC, ready=1, unacknowledged=0, consumers=1)
    said.run.foresee(RefusedError(Reason.REPLACED, {"a": FULL, "b c": one}, "vhost v is replaced"))
    assert about(said.one) == [("queue", "a"), ("queue", "b c")]
    assert [each.held.messages for each in said.one.objects] == [1215, 1]


def of_guard(said, name, held=FULL, reason=Reason.REMOVED):
    async def why(*_):
        return reason

    async def off_loop(function, *args):
        return function(*args)

    return SimpleNamespace(
        run=said.run,
        topology=SimpleNamespace(
            vhost="v", queues={name: SimpleNamespace(declaration=dict, renamed_from="former")}
        ),
        _successors={"former": name},
        _former_exchanges={"events"},
        _reason=why,
        _off_loop=off_loop,
        _queue=lambda _: SimpleNamespace(quick=lambda: held),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_that_is_deleted_as_on_delete_says(name):
    said = Said()
    asyncio.run(VhostGuard.before_discarded_queue(of_guard(said, name), {"name": name}))
    assert said.one.says is Says.DISCARDED
    (one,) = said.one.objects
    assert (one.name, one.loss, one.held.consumers) == (name, Loss(messages=1215), 2)


@pytest.mark.parametrize("held", [FULL, None])
def test_a_queue_that_is_replaced(held):
    said = Said()
    guard = of_guard(said, "orders", held)

    async def begin(_kind, _name, foreseen):
        said.run.report(foreseen)

    guard._begin = begin
    settings = {"durable": True, "arguments": {"x-queue-type": "classic"}}
    old = {"name": "orders", "settings": settings}
    asyncio.run(VhostGuard._replace_queue(guard, old))
    assert said.one.says is Says.REPLACED
    (one,) = said.one.objects
    assert (one.kind, one.name) == ("queue", "orders")
    assert "x-queue-type: classic -> none" in one.reason
    assert (one.held and one.held.text) == (held and str(held))


def renamed(said, known):
    """Return what a preview says of a queue that is renamed to orders."""
    guard = of_guard(said, "orders")

    async def begin(_kind, _name, foreseen):
        said.run.report(foreseen)

    guard._begin, guard._renamed = begin, {}
    guard._of_queue, guard.deployed = lambda _: SimpleNamespace(), lambda: known
    asyncio.run(VhostGuard.before_renamed_queue(guard, {"name": "orders"}))
    return said.one


@pytest.mark.parametrize("known", [None, {("queue", "v", "another one")}])
def test_a_queue_that_would_be_renamed_and_is_of_others(known):
    said = Said()
    assert renamed(said, known).says is Says.REFUSED
    assert about(said.one) == [("queue", "former")]


def test_an_exchange_that_would_be_replaced_while_it_is_renamed():
    said = Said()
    VhostGuard._refuse_to_replace_former(of_guard(said, "q"), "events")
    assert (said.one.says, about(said.one)) == (Says.REFUSED, [("exchange", "events")])


def test_a_queue_that_is_renamed():
    said = Said()
    renamed(said, {("queue", "v", "former")})
    assert said.one.says is Says.REPLACED
    (one,) = said.one.objects
    assert (one.name, one.reason) == ("former", "renamed to orders")
    assert one.held.text == str(FULL)


def test_an_exchange_that_is_replaced():
    said = Said()
    guard = of_guard(said, "e", reason=Reason.REPLACED)
    guard.topology = SimpleNamespace(exchanges={"e": SimpleNamespace(declaration=dict)})

    async def begin(_kind, _name, foreseen):
        said.run.report(foreseen)

    async def check(*_):
        return None

    guard._begin, guard._check_exchange = begin, check
    old = {"name": "e", "settings": {"type": "topic"}}
    asyncio.run(VhostGuard._exchange(guard, old, Reason.REPLACED))
    assert said.one.says is Says.REPLACED
    assert about(said.one) == [("exchange", "e")]


def test_what_stays_with_a_queue():
    said = Said()
    VhostGuard._say_stays(of_guard(said, "q"), "queue dead letters")
    assert (said.one.says, about(said.one)) == (Says.STAYS, [("queue", "dead letters")])


LIMITS = [
    ("max-length: none -> 10: it holds 1,204 messages, the oldest 1,194 would go", 1194, True),
    ("message-ttl: none -> 5: it holds 1,204 messages, what is older would be lost", 1204, False),
    ("expires: none -> 5: unused for so long, it would go with its 1,204 messages", 1204, False),
    ("max-length-bytes: none -> 5: it holds 90 bytes, the oldest 85 would go", None, True),
    ("max-age: none -> 5: it holds messages, what is older would be lost", None, True),
]


@pytest.mark.parametrize(("reason", "messages", "exact"), LIMITS)
def test_how_many_messages_settings_would_take(reason, messages, exact):
    assert statements.loss(reason) == Loss(messages=messages, exact=exact)


def losing(on_delete, monkeypatch):
    monkeypatch.setattr(BrokerQueue, "read", lambda *_: FULL)
    said = Said()
    queues = {"a": {"max_length": 10, "on_delete": on_delete}}
    deciding, _ = changes(queues, is_preview=True, tell=said.run.warn)
    deciding.check_change({}, inputs("a", "a", max_length="10"), OnDelete(on_delete))
    return said.one


def test_settings_that_take_messages_are_refused(monkeypatch):
    statement = losing("refuse", monkeypatch)
    assert (statement.says, about(statement)) == (Says.REFUSED, [("queue", "a")])
    assert statement.objects[0].reason.startswith("max-length: none -> 10: it holds ")


def test_settings_that_may_take_messages_say_how_many(monkeypatch):
    statement = losing("discard", monkeypatch)
    assert (statement.says, about(statement)) == (Says.DISCARDED, [("queue", "a")])
    # Consumers hold three, which a limit does not count.
    assert statement.objects[0].loss == Loss(messages=FULL.undelivered - 10)


def obstacles(name="s t"):
    access = SimpleNamespace(management=SimpleNamespace(endpoint=ENDPOINT))
    return Obstacles(
        access=access,
        vhost="v",
        name=name,
        helpers=[f"rabbit-topology.holding.{name}"],
        patience=1.0,
        report=print,
        by_name=SafetySettings().published_by_name,
    )


def refusal(error):
    said = Said()
    said.run.refuse(error)
    assert said.one.says is Says.REFUSED
    return about(said.one)


def raised_by(function, *args):
    with pytest.raises(TopologyError) as caught:
        function(*args)
    return caught.value


def test_what_stands_in_the_way_of_a_replacement(monkeypatch):
    monkeypatch.setattr(BrokerQueue, "read", lambda _: FULL)
    assert refusal(raised_by(obstacles().check_empty_stream)) == [("queue", "s t")]
    assert refusal(obstacles()._published_by_name(3.0)) == [("queue", "s t")]
    monkeypatch.setattr(
        "rabbit_topology.safety.obstacles.survey.dead_lettering", lambda *_: [("theirs", None)]
    )
    assert refusal(raised_by(obstacles().check_dead_letters)) == [("queue", "s t")]


def test_an_operator_policy_that_could_drop_what_is_held():
    ours = obstacles()
    policy = Live(pattern="", apply_to="queues", priority=0, definition={"max-length": 5})
    ours.access.live = lambda *_, **__: {"p": policy}
    ours.access.like = ((4, 3),)
    assert refusal(raised_by(ours.check_operator_policy, QueueType.CLASSIC)) == [("queue", "s t")]


def test_a_vhost_that_holds_what_others_keep():
    of = SimpleNamespace(
        topology=Topology(vhost="shop"),
        access=SimpleNamespace(management=SimpleNamespace(endpoint=ENDPOINT)),
    )
    error = Destruction._others_error(of, [("queue", "theirs"), ("exchange", "e")])
    assert refusal(error) == [("vhost", "shop")]


def test_what_is_refused_for_the_whole_run(warned):
    hooks.refuse(SafetySettings(), "refused, since it is so")
    (one,) = read(*warned)
    assert (one.says, one.objects, one.ended) == (Says.REFUSED, (), False)
    with pytest.raises(pulumi.RunError) as caught:
        hooks.refuse(SafetySettings(preview=OnRefusal.ERROR), "refused, since it is so")
    (one,) = read(previews.said("error", str(caught.value)))
    assert (one.says, one.ended) == (Says.REFUSED, True)


def test_a_queue_that_was_imported_and_never_deployed(warned):
    record = SimpleNamespace(
        unfinished=lambda _: [
            ("queue", {"name": "q r", "vhost": "v", "settings": {}}),
            ("vhost", {"name": "old"}),
        ]
    )
    unfinished.check(record, "topology", [Topology(vhost="v")], SafetySettings())
    (one,) = read(*warned)
    assert (one.says, about(one)) == (Says.REFUSED, [("queue", "q r"), ("vhost", "old")])


def test_objects_of_others_that_differ_and_those_that_are_adopted(warned):
    wanted = SimpleNamespace(title="queue a b", vhost="v", can_be_taken_over=False)
    seen = Adoption(equal=[wanted] * 57, different=[(wanted, ["x-max-length: 10 -> none"])])
    admission._say(seen, SafetySettings())
    adopted, refused = read(*warned)
    assert (adopted.says, adopted.number) == (Says.ADOPTS, 57)
    assert (refused.says, about(refused)) == (Says.REFUSED, [("queue", "a b")])
    assert refused.objects[0].reason == "x-max-length: 10 -> none"


def test_a_broker_that_cannot_be_asked(warned, monkeypatch):
    def unreachable(*_):
        raise UnreachableError(ENDPOINT, "it does not answer")

    access = SimpleNamespace(management=SimpleNamespace(check_administrator=unreachable))
    monkeypatch.setattr(preflight, "advise", lambda *_, **__: None)
    preflight.check(access, [], SimpleNamespace(), secret=False)
    (one,) = read(*warned)
    assert one.says is Says.UNKNOWN


def test_a_hook_that_cannot_ask(warned, monkeypatch):
    kept = {}

    class Hook:
        def __init__(self, _name, run, _options):
            kept["run"] = run

    monkeypatch.setattr(pulumi, "ResourceHook", Hook)

    async def unreachable(_):
        raise UnreachableError(ENDPOINT, "it does not answer")

    of = SimpleNamespace(_prefix="p:", _all=[])
    hooks.Hooks._hook(of, "queue", unreachable, on_dry_run=True)
    asyncio.run(kept["run"](SimpleNamespace(name="topology/v/queue/q")))
    (one,) = read(*warned)
    assert one.says is Says.UNKNOWN


def test_two_brokers_are_a_refusal_of_all():
    ways = ("one (AMQP)", "another (management API)")
    assert refusal(TwoBrokersError(ENDPOINT, ways, "v", "name one broker")) == []


OTHERS = {
    "exchange": "exchange e f keeps messages itself, which would go with it: 3",
    "shovel": "shovel m takes from exchange e by way of a queue of its own, which goes",
    "policy": "policy p changes what applies to exchange e, which stops the running link",
    "federation upstream": "federation upstream u changes, which stops the running link",
}


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_other_objects_are_named_by_what_a_refusal_begins_with(kind):
    ((named, _),) = refusal(BrokerError(ENDPOINT, OTHERS[kind]))
    assert named == kind


def test_an_exchange_that_cannot_be_replaced():
    of = SimpleNamespace(name="e f", access=obstacles().access)
    error = ExchangeReplacement._refused(of, "queue theirs sends on to it what is dead-lettered")
    assert refusal(error) == [("exchange", "e f")]


def test_settings_that_cannot_change_in_one_step():
    said = Said()
    text = (
        "the settings of a, b c cannot change in one step with the exchange that they name, since "
        "others have it as well"
    )
    said.run.refuse(TopologyError(text))
    assert about(said.one) == [("queue", "a"), ("queue", "b c")]


def test_a_resource_that_stands_elsewhere_in_the_program():
    said = Said()
    old, new = (previews.urn("queue", vhost, "orders") for vhost in ("v", "w"))

    async def other_urn(*_):
        return new

    async def component():
        return "urn:pulumi:test::p::rabbit_topology:index:Topology::topology"

    parent = SimpleNamespace(urn=SimpleNamespace(future=component))
    of = SimpleNamespace(
        _children=SimpleNamespace(other_urn=other_urn, parent=parent), _run=said.run
    )
    args = SimpleNamespace(type="rabbitmq:index/queue:Queue", urn=old)
    inputs_ = {"vhost": "v", "name": "orders"}
    assert asyncio.run(hooks.Hooks._stays_elsewhere(of, args, inputs_))
    assert (said.one.says, about(said.one)) == (Says.REFUSED, [("queue", "orders")])


def test_what_is_not_understood_is_still_refused():
    assert refusal(TopologyError("something new that nobody has thought of")) == []


def test_texts_that_only_warn_or_tell():
    warning = "binding e -[k]-> q is removed while 3.1 messages/s are published to its exchange"
    one, other = read(previews.said("warning", warning), previews.said("info", "moved nothing"))
    assert (one.says, other.says) == (Says.WARNED, Says.TOLD)
    # The same, where a preview is to fail: it is an error then, of which nothing says a refusal.
    assert read(previews.raised(warning))[0].says is Says.FAILED
    assert read(previews.raised(warning))[0].note.text == warning


def test_what_ends_a_preview_is_one_refusal_however_often_it_is_said():
    text = f"would lose 1,215 messages in queue q ({FULL}): it is gone; `pulumi up` will refuse"
    assert len(read(previews.raised(text), previews.said("error", text))) == 1
    assert len(read(previews.said("warning", text), previews.said("warning", text))) == 2


def test_no_path_of_the_program_is_left_in_what_a_hook_raises():
    text = "would lose messages, `pulumi up` will refuse:\n  - queue q: x: y"
    (one,) = read(previews.thrown(text))
    assert "File" not in one.note.text
    assert about(one) == [("queue", "q")]
