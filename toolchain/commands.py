"""The command line of `toolchain.broker`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import debian, detached
from toolchain.errors import BrokerError
from toolchain.ports import free_ports


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 1 after an error, 3 if `status` finds none."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except BrokerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.broker", description="Local RabbitMQ brokers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start a broker, or say that it runs already")
    stop = commands.add_parser("stop", help="end it and remove its data")
    status = commands.add_parser("status", help="say whether it runs")
    commands.add_parser("clean", help="remove RabbitMQ from the cache folder")
    for command in (start, stop, status):
        command.add_argument("--state", type=Path, required=True, metavar="DIR")
    start.add_argument("--version", help="3.10, 4.0, newest or a Debian suite")
    start.add_argument("--nodes", type=int, default=1)
    start.add_argument("--amqp-port", type=int, help="default: a free one")
    start.add_argument("--management-port", type=int, help="default: a free one")
    start.add_argument(
        "--source",
        choices=["auto", "path", "docker", "debian"],
        default="auto",
        help="rabbitmq-server on PATH, Docker, Debian's packages, or the first that is there",
    )
    stop.add_argument("--keep", action="store_true", help="leave the data for the next start")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "clean":
        debian.clean(_report)
    elif options.command == "stop":
        detached.stop(options.state, _report, keep=options.keep)
    elif options.command == "status":
        record = detached.read(options.state)
        if not record or not detached.is_running(record):
            _report(f"no broker runs in {options.state}")
            return 3
        _report(f"running: {detached.describe(record)}")
    else:
        record = detached.start(
            options.state,
            _report,
            version=options.version,
            nodes=options.nodes,
            ports=_ports(options.amqp_port, options.management_port),
            source=options.source,
        )
    return 0


def _ports(amqp: int | None, management: int | None) -> tuple[int, int] | None:
    if amqp is None and management is None:
        return None
    free = free_ports(2, taken=[port for port in (amqp, management) if port])
    return amqp or free[0], management or free[1]


def _report(line: str) -> None:
    # At once: a build takes seconds.
    print(line, flush=True)
