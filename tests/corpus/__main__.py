"""
Adopt whole brokers that others have defined: ``python -m tests.corpus FOLDER``.

Every definitions file of a folder is imported into an empty broker of each version, adopted,
deployed with the real engine, refreshed, and the broker's own export compared with what it was.
Results go to a file of JSON lines, one for each file and version, and the page from it beside it;
``--page`` writes only that. Files of others are not part of this project: bring your own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from rabbit_topology.broker.management import Management
from rabbit_topology.errors import BrokerError
from tests.corpus.page import write
from tests.support.stacks import EngineFailedError, Stack, command, definitions, management
from toolchain import engine
from toolchain.broker import Broker
from toolchain.node import PLUGINS

VERSIONS = ("3.10", "4.0", "newest")
EXCHANGES = tuple(
    f"rabbitmq_{type_}_exchange" for type_ in ("consistent_hash", "random", "recent_history")
)
"""Plugins whose exchange types others use; RabbitMQ brings them along."""
NAME, PASSWORD = "rabbit-topology-corpus", "corpus"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file on one version.

    ``outcome`` is ``refused`` by the broker, ``nothing`` to manage, ``adopted`` or ``failed``.
    """

    file: str
    version: str
    outcome: str
    reason: str = ""
    adopted: int = 0
    """Objects that the stack manages afterwards."""
    left: tuple[str, ...] = ()
    """What is left alone, a line each, with the reason."""
    seconds: float = 0.0


def own_user(broker: Broker) -> None:
    """Have an administrator that no file knows, and use it from now on."""
    management(broker).request(
        "PUT", f"/users/{NAME}", {"password": PASSWORD, "tags": "administrator"}
    )
    broker.username, broker.password = NAME, PASSWORD


def empty(api: Management) -> None:
    """Leave nothing on the broker but the vhost ``/``, the user guest and the run's own."""
    for vhost in api.get("/vhosts"):
        name = quote(vhost["name"], safe="")
        if vhost.get("protected_from_deletion"):
            api.request("DELETE", f"/vhosts/{name}/deletion/protection")
        api.request("DELETE", f"/vhosts/{name}")
    for user in api.get("/users"):
        if user["name"] != NAME:
            api.request("DELETE", f"/users/{quote(user['name'], safe='')}")
    # Files count on the one that each broker begins with.
    api.request("PUT", "/users/guest", {"password": "guest", "tags": "administrator"})
    for parameter in api.get("/global-parameters"):
        if parameter["name"] not in ("internal_cluster_id", "cluster_name", "cluster_tags"):
            api.request("DELETE", f"/global-parameters/{quote(parameter['name'], safe='')}")
    api.request("PUT", "/vhosts/%2F", {})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    api.request("PUT", f"/permissions/%2F/{NAME}", everything)


def send(broker: Broker, content: bytes) -> None:
    """Import definitions as they are written: what is JSON is for the broker to say.

    Raises:
        HTTPError: It does not take them.
    """
    try:
        given = json.loads(content)
    except ValueError:
        given = {"vhosts": []}
    given = given if isinstance(given, dict) else {"vhosts": []}
    lists = [value for value in given.values() if isinstance(value, list)]
    named = {
        one["vhost"] for value in lists for one in value if isinstance(one, dict) and "vhost" in one
    }
    of_one_vhost = "vhosts" not in given and not named
    if not given.get("vhosts"):  # its reader is to have them
        for vhost in named:
            management(broker).request("PUT", f"/vhosts/{quote(vhost, safe='')}", {})
    path = "/definitions/%2F" if of_one_vhost else "/definitions"
    own = b64encode(f"{broker.username}:{broker.password}".encode()).decode()
    headers = {"Authorization": f"Basic {own}", "Content-Type": "application/json"}
    with urlopen(Request(f"{broker.endpoint}/api{path}", content, headers)):
        pass


def adopted(stack: Stack, file: Path) -> Outcome:
    """Import a file, adopt and deploy what it has made, and compare."""
    broker, version = stack.broker, stack.broker.version
    api = management(broker)
    try:
        send(broker, file.read_bytes())
    except HTTPError as error:
        answer = f"{error.code}: {error.read().decode(errors='replace')}"
        return Outcome(file=file.name, version=version, outcome="refused", reason=answer)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    for vhost in api.get("/vhosts"):
        api.request("PUT", f"/permissions/{quote(vhost['name'], safe='')}/{NAME}", everything)
    time.sleep(1)  # queues of a definitions file are declared in the background
    before = definitions(broker)
    ended = command(stack, "adopt", "--force")
    topology = stack.folder / "topology.yaml"
    if not topology.exists():
        outcome = "failed" if ended.returncode else "nothing"
        reason = (ended.stdout + ended.stderr).strip()
        return Outcome(file=file.name, version=version, outcome=outcome, reason=reason)
    try:
        compare(stack, before)
    except (AssertionError, EngineFailedError, subprocess.TimeoutExpired) as error:
        return Outcome(file=file.name, version=version, outcome="failed", reason=str(error))
    managed = [
        resource
        for resource in json.loads(stack.pulumi("stack", "export", "--stack", stack.name).output)[
            "deployment"
        ]["resources"]
        if resource["type"].startswith("rabbitmq:")
    ]
    head = topology.read_text().partition("Left alone on the broker:\n")[2]
    left = [line[4:] for line in head.splitlines() if line.startswith("#   ")]
    return Outcome(
        file=file.name, version=version, outcome="adopted", adopted=len(managed), left=tuple(left)
    )


def compare(stack: Stack, before: dict[str, list[str]]) -> None:
    """Deploy, refresh and preview; raise where anything changes."""
    stack.configure_base()
    stack.up()
    stack.up("--refresh", "--expect-no-changes")
    stack.preview("--refresh", "--expect-no-changes")
    after = definitions(stack.broker)
    for kind, entries in before.items():
        gone, new = set(entries) - set(after[kind]), set(after[kind]) - set(entries)
        assert not gone | new, f"{kind} changed: {sorted(gone)} became {sorted(new)}"


def run(
    version: str, files: list[Path], env: dict[str, str], tell: Callable[[str], None]
) -> Iterator[Outcome]:
    """Yield what becomes of each file on a broker of a version."""
    waiting = deque(files)
    while waiting:
        with (
            Broker.start(version=version, report=tell, plugins=(*PLUGINS, *EXCHANGES)) as broker,
            TemporaryDirectory() as folder,
        ):
            own_user(broker)
            while waiting:
                try:
                    empty(management(broker))
                except BrokerError as error:  # 4.0 cannot delete what it took without a flag
                    tell(f"a new broker, since this one cannot be emptied: {error}")
                    break
                begun, file = time.monotonic(), waiting.popleft()
                stack = Stack(Path(folder) / file.name, env, broker, timeout=1800)
                outcome = adopted(stack, file)
                seconds = round(time.monotonic() - begun, 1)
                yield Outcome(**{**asdict(outcome), "seconds": seconds})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("folder", type=Path, help="with definitions files, *.json")
    parser.add_argument("--results", type=Path, default=Path("docs/adopted.jsonl"))
    parser.add_argument("--only", nargs="*", default=[], help="files whose name begins so")
    parser.add_argument(
        "--versions",
        nargs="*",
        default=VERSIONS,
        help="default: all, side by side",
    )
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if not given.page:
        files = sorted(given.folder.glob("*.json"))
        if given.only:
            files = [file for file in files if file.name.startswith(tuple(given.only))]
        env = engine.ensure(print)
        with given.results.open("a") as results, ThreadPoolExecutor() as threads:

            def every(version: str) -> None:
                for outcome in run(version, files, env, print):
                    became = f"{outcome.outcome} {outcome.reason[:300]}"
                    print(f"{outcome.version} {outcome.file}: {became}")
                    results.write(json.dumps(asdict(outcome)) + "\n")
                    results.flush()

            list(threads.map(every, given.versions))
    write(given.results, given.results.with_suffix(".md"))


if __name__ == "__main__":
    main()
