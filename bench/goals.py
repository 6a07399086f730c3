"""What is to be reached, as ratios within one run, and whether it was."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import Results
from bench.tools import Step

OURS, NO_HOOKS, TERRAFORM = "ours", "ours, no hooks", "Terraform"
SERVICES = 200
WITH_SERVICES = f"ours, {SERVICES} services"
SMALL, MIDDLE, LARGE = 100, 1_000, 10_000


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One goal: `measured` is the ratio, None if it was not measured; at most `limit`."""

    text: str
    limit: float
    measured: float | None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or `not measured`."""
        if self.measured is None:
            return "not measured"
        return "met" if self.measured <= self.limit else "**not met**"


def goals(results: Results) -> list[Goal]:
    """Return every goal with what was measured for it."""
    result = [
        _against(results, MIDDLE, Step.FIRST, 0.35),
        _against(results, MIDDLE, Step.UNCHANGED, 0.8),
        _against(results, MIDDLE, Step.ADDED, 0.5),
        _against(results, MIDDLE, Step.DESTROY, 0.1),
        _against(results, SMALL, Step.FIRST, 1.8),
    ]
    for step in (Step.FIRST, Step.UNCHANGED, Step.DESTROY):
        grown = f"{MIDDLE:,} to {LARGE:,} resources, {step}"
        taken = [results.seconds(OURS, size, step) for size in (LARGE, MIDDLE)]
        result.append(Goal(text=f"{grown}: time", limit=11, measured=_ratio(*taken)))
        held = [results.peak(OURS, size, step) for size in (LARGE, MIDDLE)]
        result.append(Goal(text=f"{grown}: memory", limit=11, measured=_ratio(*held)))
    hooks = [results.seconds(tool, MIDDLE, Step.FIRST) for tool in (OURS, NO_HOOKS)]
    result.append(
        Goal(
            text=f"safety hooks, {Step.FIRST} of {MIDDLE:,}: with / without",
            limit=1.1,
            measured=_ratio(*hooks),
        )
    )
    taken = [results.seconds(tool, MIDDLE, Step.FIRST) for tool in (WITH_SERVICES, OURS)]
    # A user, its permissions and its topic permissions: three resources for each service.
    per_resource = _ratio(*taken)
    if per_resource is not None:
        per_resource *= MIDDLE / (MIDDLE + 3 * SERVICES)
    result.append(
        Goal(
            text=f"{SERVICES} services on top of {MIDDLE:,}, {Step.FIRST}: time per resource",
            limit=1.2,
            measured=per_resource,
        )
    )
    checked = results.rules.get(str(LARGE))
    result.append(Goal(text=f"checking {LARGE:,} objects", limit=2, measured=checked, unit=" s"))
    return result


def _against(results: Results, size: int, step: Step, limit: float) -> Goal:
    both = [results.seconds(tool, size, step) for tool in (OURS, TERRAFORM)]
    return Goal(
        text=f"{size:,} resources, {step}: ours / Terraform", limit=limit, measured=_ratio(*both)
    )


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
