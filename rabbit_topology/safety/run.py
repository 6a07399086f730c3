"""
One run of the engine, as far as decisions have to know it: is it a preview, and who is told what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import OnRefusal, SafetySettings


class PreviewError(TopologyError):
    """An update would be refused, and the settings say that a preview fails then."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What decisions are made for, and how they are passed on."""

    is_preview: bool
    settings: SafetySettings
    report: Callable[[str], None]
    """Tells the user what happens."""
    warn: Callable[[str], None]

    def announce(self, text: str) -> None:
        """Say in a preview what an update would be refused for.

        Raises:
            PreviewError: The settings say that the preview fails then.
        """
        if self.settings.preview is OnRefusal.ERROR:
            raise PreviewError(text)
        self.warn(text)

    def foresee(self, error: TopologyError) -> None:
        """Say in a preview that an update would be refused for ``error``; raises as `announce`."""
        self.announce(f"{error}; `pulumi up` will refuse")

    def refuse(self, error: TopologyError) -> None:
        """Raise ``error``; in a preview, say that an update would."""
        if not self.is_preview:
            raise error
        self.foresee(error)

    def judge(self, check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Refuse by what ``check`` raises; in a preview, say that an update would."""
        try:
            check(*args, **kwargs)
        except (UnreachableError, PreviewError):
            raise  # nothing is known, or it was said
        except TopologyError as error:
            self.refuse(error)
