"""
Which RabbitMQ version a case runs on where not every one of them is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

VERSIONS = ("3.10", "4.0", "newest")


def one_version_each(cases: Sequence[tuple[Hashable, str | None]]) -> list[bool]:
    """Return for each case whether it is chosen, so that all run once and all versions alike.

    A case is what is tested, and the version that it would be tested on. What is tested on several
    versions runs on one of them, in turn; a case without a version, or with only one, always runs.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, (tested, version) in enumerate(cases):
        places[tested if version else (tested, place)].append(place)
    several = [same for same in places.values() if len(same) > 1]
    left_out = {
        place
        for turn, same in enumerate(several)
        for number, place in enumerate(same)
        if number != turn % len(same)
    }
    return [place not in left_out for place in range(len(cases))]
