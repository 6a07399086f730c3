"""
Live publishers and consumers with a ledger of every message, beside whatever a test does.

    with Traffic(folder, urls, publications, consumptions, rate=3300) as traffic:
        traffic.flow()
        ...
        report = traffic.finish()

Publishers and consumers are processes of their own (`clients`), so that neither waits for the
other, nor for the test.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.safety import ledger
from tests.safety.ledger import Report
from tests.safety.messages import Publication
from tests.support.repository import ROOT

__all__ = ["Consumption", "Publication", "Report", "Traffic", "TrafficError", "amqp_urls"]

HEARTBEAT_SECONDS = 10


class TrafficError(AssertionError):
    """The traffic itself went wrong, so that nothing is known about messages."""


@dataclass(frozen=True, kw_only=True)
class Consumption:
    """How one queue is consumed."""

    queue: str
    consumers: int = 1
    """With none, what the queue holds is read by `Traffic.finish`."""
    prefetch: int = 300
    work_seconds: float = 0.0
    """What a consumer needs for each message; one at a time."""


def amqp_urls(hosts: Sequence[str], vhost: str) -> list[str]:
    """Return the URLs of a vhost at several ``host:port``, for the administrator of a test."""
    return [
        f"amqp://guest:guest@{host}/{quote(vhost, safe='')}?heartbeat={HEARTBEAT_SECONDS}"
        for host in hosts
    ]


class Traffic:
    """Publishers and consumers of one vhost.

    ``rate`` is in messages per second, over all publishers; None is as fast as confirms come.
    ``count`` ends each publisher after so many messages. ``window`` is the most messages of a
    publisher that wait for their confirm. ``expiration`` is in milliseconds.
    """

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str],
        publications: Sequence[Publication],
        consumptions: Sequence[Consumption] = (),
        *,
        rate: float | None = 3300,
        count: int | None = None,
        publishers: int = 1,
        body_bytes: int = 200,
        window: int = 1000,
        expiration: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.publications = publications
        reached = [queue for publication in publications for queue in publication.queues]
        consumed = {consumption.queue for consumption in consumptions}
        self.consumptions = [
            *consumptions,
            *(
                Consumption(queue=fromkey, consumers=0)
                for fromkey in dict.fromkeys(reached)
                if fromkey not in consumed
            ),
        ]
        self.queues = [consumption.queue for consumption in self.consumptions]
        self._publishers = publishers
        self._common = {
            "folder": str(folder),
            "urls": list(urls),
            "publications": [asdict(publication) for publication in publications],
            "body_bytes": body_bytes,
            "expiration": expiration,
        }
        self._pace = {"rate": rate and rate / publishers, "count": count, "window": window}
        self._numbers = itertools.count(1)
        self._publishing: list[subprocess.Popen[bytes]] = []
        self._consuming: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.consume()
        self.publish()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (*self._publishing, *self._consuming):
            process.kill()
            process.wait()
            process.stdin.close()

    def publish(self) -> None:
        """Start the publishers."""
        for number in range(self._publishers):
            settings = {"role": "publisher", "publisher": number, **self._pace}
            self._publishing.append(self._start(settings))

    def consume(self) -> None:
        """Start the consumers, those of queues that have any."""
        self._consume([consumption for consumption in self.consumptions if consumption.consumers])

    def pause(self) -> None:
        """Let consumers take no further message, up to their prefetch."""
        self._tell(self._consuming, "pause")

    def resume(self) -> None:
        self._tell(self._consuming, "resume")

    @property
    def confirmed(self) -> int:
        """Answers to publishers so far, the few that were no confirm included."""
        return ledger.count(self.folder.glob("published-*.bin"))

    @property
    def delivered(self) -> int:
        """Acknowledged deliveries so far, repeats included."""
        return ledger.count(self.folder.glob("delivered-*.bin"))

    def flow(self, messages: int = 1000, seconds: float = 30) -> None:
        """Return once so many further messages have been confirmed and delivered."""
        consumed = any(consumption.consumers for consumption in self.consumptions)
        confirmed, delivered = self.confirmed + messages, self.delivered + messages
        self._wait(
            lambda: self.confirmed >= confirmed and (not consumed or self.delivered >= delivered),
            seconds,
            f"{messages} messages",
        )

    def publish_all(self, seconds: float = 300) -> None:
        """Return once every publisher has reached its count, all of it confirmed."""
        self._wait(
            lambda: all(one.poll() is not None for one in self._publishing), seconds, "publishers"
        )

    def finish(self, patience: float = 10) -> Report:
        """Stop publishing, let everything arrive, stop consuming, and compare.

        ``patience`` is how many seconds may pass without anything confirmed or delivered before
        what is still missing counts as such. Queues without consumers are now read as well.
        """
        self._tell(self._publishing, "stop")
        self._until_still(
            patience, lambda: all(one.poll() is not None for one in self._publishing), 0.0
        )
        for process in self._publishing:
            process.kill()
            process.wait()
        self.resume()
        self._consume(
            [consumption for consumption in self.consumptions if not consumption.consumers]
        )
        share = [
            1 if publication.any_of else len(publication.queues)
            for publication in self.publications
        ]
        due = sum(
            share[one.sequence % len(share)]
            for one in ledger.read(self.folder.glob("published-*.bin"))
            if one.what == ledger.Outcome.CONFIRMED
        )
        self._until_still(patience, lambda: self.delivered >= due, 0.5)
        self._tell(self._consuming, "stop")
        for process in self._consuming:
            process.wait(timeout=30)
        return ledger.compare(self.folder, self.queues, self.publications)

    def _consume(self, consumptions: Sequence[Consumption]) -> None:
        subscriptions = [
            {
                "consumer": next(self._numbers),
                "index": self.queues.index(consumption.queue),
                "queue": consumption.queue,
                "prefetch": consumption.prefetch,
                "work_seconds": consumption.work_seconds if consumption.consumers else 0.0,
            }
            for consumption in consumptions
            for _ in range(max(consumption.consumers, 1))
        ]
        if subscriptions:
            settings = {"role": "consumers", "publishers": self._publishers}
            self._consuming.append(self._start({**settings, "subscriptions": subscriptions}))

    def _start(self, settings: dict[str, object]) -> subprocess.Popen[bytes]:
        name = str(next(self._numbers))
        with self._errors(name).open("wb") as errors:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.safety.clients"),
                    json.dumps({**self._common, **settings, "name": name}),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

    def _errors(self, name: str) -> Path:
        return self.folder / f"errors-{name}"

    def _tell(self, processes: Sequence[subprocess.Popen[bytes]], word: str) -> None:
        for process in processes:
            if process.poll() is None:
                # It may end by itself at this very moment.
                with suppress(BrokenPipeError):
                    process.stdin.write(f"{word}\n".encode())
                    process.stdin.flush()

    def _check(self) -> None:
        for process in (*self._publishing, *self._consuming):
            if process.poll():
                told = "".join(file.read_text()[-2000:] for file in self.folder.glob("errors-*"))
                raise TrafficError(f"a client ended with {process.returncode}:\n{told}")

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise TrafficError(
                    f"{what} did not get through in {seconds} s: "
                    f"{self.confirmed} confirmed, {self.delivered} delivered"
                )
            time.sleep(0.02)

    def _until_still(self, patience: float, done: Callable[[], bool], settle: float) -> None:
        """Return when ``done`` and then still for ``settle`` seconds, or still for ``patience``."""
        last, since = None, time.monotonic()
        while True:
            self._check()
            now = self.confirmed, self.delivered
            if now != last:
                last, since = now, time.monotonic()
            still = time.monotonic() - since
            if still > patience or (done() and still >= settle):
                return
            time.sleep(0.02)
