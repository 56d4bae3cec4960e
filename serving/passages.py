"""One request's items on their way through drafting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candor.drafts import Draft
from candor.errors import CandorError, Conflict, NotReady
from candor.manifest import Manifest
from serving.arms.assigning import Desk
from serving.calibrations.book import InForce
from serving.projects.views import ProjectView
from serving.requests import DraftRequest, DraftResult, Item, ItemResult


@dataclass(frozen=True, slots=True)
class Got:
    """One item's bytes, with their SHA-256 and the seconds that it took to get them; or what went wrong."""

    item: Item
    data: bytes = b""
    sha256: str = ""
    seconds: float = 0.0
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One item's entry of the answer, and whether its draft is still to be stored."""

    result: ItemResult
    new: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """What those items of one request share that one version drafts."""

    request: DraftRequest
    manifest: Manifest
    calibration: InForce
    project: ProjectView
    deadline: float  # on the event loop's clock

    @property
    def desk(self) -> Desk | None:
        """For whom arms are drawn; None where the project wants none."""
        request = self.request
        if self.project.review is None or request.project is None:
            return None
        return Desk(request.team, request.project, request.reviewer)

    def as_now(self, draft: Draft) -> Draft:
        """Return an earlier draft as it is shown now: unverified while an alarm about its calibration is open."""
        since = self.calibration.unverified_since
        return draft.doubted(since) if since and draft.calibration == self.calibration.calibration else draft


def answering(stored: Sequence[Draft], calibration: InForce) -> list[Draft]:
    """Return the stored drafts that may answer again, as they are shown now. One that was made under an alarm ends with it."""
    if calibration.unverified_since is not None:
        return [draft.doubted(calibration.unverified_since) for draft in stored]
    return [draft for draft in stored if draft.unverified_since is None]


def shown_again(item: str, draft: Draft, sha256: str) -> Answer:
    """Answer an item from the draft that it has drawn; new bytes would make it another item, whose draft is nobody's yet."""
    if draft.media_sha256 != sha256:
        return Answer(
            ItemResult(item, error=Conflict(f"item {item[:80]!r} was drafted with other bytes: give changed content an id of its own"))
        )
    return Answer(ItemResult(item, draft))


def if_any_was_ready(result: DraftResult) -> DraftResult:
    """Return the result, or raise where no item could even be tried, for the version is still loading: the whole request comes too soon."""
    errors = [one.error for one in result.results]
    if isinstance(errors[0], NotReady) and all(isinstance(error, NotReady) for error in errors):
        raise errors[0]
    return result
