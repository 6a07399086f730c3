"""
What is checked, and then mended, on the broker before the first resource is registered.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.broker.marker import TwoBrokersError
from rabbit_topology.config.stack import Stack, hide
from rabbit_topology.errors import BrokerError, ConfigError
from rabbit_topology.findings import Finding, Severity
from rabbit_topology.lint import check as lint
from rabbit_topology.model import OnRefusal, Topology, versions
from rabbit_topology.safety import recovery

_NAMED = 3
"""Places that a warning names of those that a rule was broken at."""


def check(access: Access, topologies: Sequence[Topology], stack: Stack, *, secret: bool) -> bool:
    """Check that the broker answers and that the user may manage it; return whether it answers.

    A preview does without a broker, so that CI can run one: there it only warns.

    Args:
        access: The broker.
        topologies: Of each vhost.
        stack: What the config says.
        secret: The config holds encrypted values: nothing shows any value.

    Raises:
        pulumi.RunError: The broker's version denies what the config says.
        pulumi.RunError: The broker is out of reach (in an update), the credentials are wrong, the
            user lacks the administrator tag.
    """
    try:
        access.management.check_administrator()
        version, denied = access.management.stated_version(), access.management.denied_features()
        advise(stack, version, denied, secret=secret)
        _check_addresses(access, topologies, stack)
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.warn(f"{error}; this preview goes by the stack's state alone")
        advise(stack, None, secret=secret)
        return False
    except BrokerError as error:
        raise pulumi.RunError(f"{error}; nothing was changed") from None
    return True


def recover(access: Access, topologies: Sequence[Topology]) -> None:
    """Complete what killed runs have left on the broker; in a preview say what there is.

    Raises:
        pulumi.RunError: It cannot be completed, or another run is at work.
    """
    try:
        for topology in topologies:
            _complete(access, topology)
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.warn(f"{error}; what earlier runs have left is not known")
    except BrokerError as error:
        raise pulumi.RunError(f"{error}; nothing else was changed") from None


def advise(
    stack: Stack, version: str | None, denied: frozenset[str] = frozenset(), *, secret: bool
) -> None:
    """Warn of what is risky, and refuse what the broker, or its version, denies.

    Raises:
        pulumi.RunError: With all that is denied.
    """
    said = stack.broker.version
    if version and said and versions.parse(said) != versions.parse(version):
        pulumi.warn(f"broker.version says {said}, the broker says {version}")
    findings = lint.check(stack, versions.parse(version) if version else None, denied)
    refused = [finding.problem for finding in lint.unsilenced(findings, Severity.ERROR)]
    if refused:
        shown = [hide(problem) for problem in refused] if secret else refused
        raise pulumi.RunError(str(ConfigError(shown)))
    by_rule: dict[str, list[Finding]] = {}
    for finding in lint.unsilenced(findings, Severity.WARNING):
        by_rule.setdefault(finding.rule.name, []).append(finding)
    for name, those in by_rule.items():
        first = hide(those[0].problem) if secret else those[0].problem
        others = [finding.problem.path for finding in those[1:_NAMED]]
        more = f" and {len(those) - _NAMED:,} more" if len(those) > _NAMED else ""
        also = f" (also {', '.join(others)}{more})" if others else ""
        pulumi.warn(f"{first}{also} [{name}; see `python -m rabbit_topology lint`]")


def _check_addresses(access: Access, topologies: Sequence[Topology], stack: Stack) -> None:
    """Warn of AMQP addresses that cannot be used, before anything depends on one.

    Raises:
        TwoBrokersError: One of them is another broker's; a preview only says so.
    """
    try:
        silent = access.silent(topologies[0].vhost)
    except TwoBrokersError as error:
        if not pulumi.runtime.is_dry_run() or stack.safety.preview is OnRefusal.ERROR:
            raise
        pulumi.warn(f"{error}; `pulumi up` will refuse")
        return
    if silent:
        all_are = len(silent) == len(set(access.addresses))
        what_if = "until one answers" if all_are else "if the others do not answer either"
        pulumi.warn(
            f"AMQP cannot be used from here: {access.unanswered(silent)}. Nothing that could hold "
            f"a message can be replaced or removed {what_if}"
        )


def _complete(access: Access, topology: Topology) -> None:
    if pulumi.runtime.is_dry_run():
        left = recovery.find(access, topology)
        if left:
            pulumi.warn(f"the next update completes what an earlier one left: {_list(left)}")
    else:
        left = recovery.complete(access, topology, pulumi.info)
        if left:
            pulumi.warn(
                f"an earlier run left {_list(left)}, and what it belongs to is no longer in "
                "the config; look at what it holds, then delete it"
            )


def _list(names: list[str]) -> str:
    return ", ".join(sorted(names))
