"""What drafting needs to know of a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from candor.mapping import LabelMap
from candor.policy import Policy
from review import arms


@dataclass(frozen=True, slots=True)
class ProjectView:
    """One project as it is now. `model` drafts where a request names none; `labels` is None where the model's classes are its labels.

    `review` says how its items are shared out over the arms; None: all are shown their drafts, and nothing is drawn.
    """

    policy: Policy
    labels: LabelMap | None = None
    model: str | None = None
    review: arms.Policy | None = None

    @property
    def label_map(self) -> str | None:
        """The digest of the mapping, as drafts carry it."""
        return self.labels.digest if self.labels else None


class ProjectViews(Protocol):
    """Where drafting looks projects up."""

    async def refresh(self) -> None:
        """See to it that what `view` returns is at most seconds old. Raises nothing: what was known stays."""

    def view(self, team: str, project: str | None) -> ProjectView:
        """Return a project; one that nobody made has the defaults."""
