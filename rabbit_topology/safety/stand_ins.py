"""
What replacements leave on the broker while they are under way, and where bindings lead meanwhile.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from rabbit_topology.broker.access import LOCK_QUEUE, Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.names import PREFIX, own_name


def way_in(access: Access, vhost: str, queue: str) -> tuple[str, str]:
    """Return where a binding to ``queue`` should lead now: to it, or to its stand-in.

    As kind, ``q`` or ``e``, and name.
    """
    stand_in = own_name("stand-in", queue)
    return ("e", stand_in) if access.exists("exchanges", vhost, stand_in) else ("q", queue)


def leftovers(access: Access, vhost: str) -> list[str]:
    """Return the names of the exchanges and queues that an unfinished run has left in a vhost.

    A run that is at work has some as well; its marks among them.
    """
    pattern = quote(f"^{re.escape(PREFIX)}")
    query = f"?name={pattern}&use_regex=true&page_size=500&disable_stats=true"
    leftovers: list[str] = []
    for kind in ("exchanges", "queues"):
        page, pages = 1, 1
        while page <= pages:
            try:
                answer = access.management.get(f"{access.path(kind, vhost)}{query}&page={page}")
            except NotFoundError:
                return []
            leftovers += [queue["name"] for queue in answer["items"] if queue["name"] != LOCK_QUEUE]
            page, pages = page + 1, answer.get("page_count", 1)
    return leftovers
