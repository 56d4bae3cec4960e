"""What crosses the seam between a protocol and the use cases: plain values, picklable, so that they also cross a Ray handle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from candor.drafts import Draft
from candor.errors import CandorError
from candor.predictions import Task

MediaKind: TypeAlias = Literal["image", "audio"]


@dataclass(frozen=True, slots=True)
class Media:
    """Where an item's encoded bytes are: exactly one of the three is set."""

    data: bytes | None = None
    url: str | None = None
    upload: str | None = None  # id of an earlier upload


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a request. `error` is set where the protocol already found it wrong: it is answered in its place, not drafted."""

    id: str
    kind: MediaKind | None
    media: Media
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """A well-formed request for drafts."""

    items: tuple[Item, ...]
    task: Task | None = None
    model: str | None = None  # name, name@version or name@alias
    project: str | None = None
    fresh: bool = False  # ask the model even where a stored draft would answer (Cache-Control: no-cache)
    request_id: str = ""
    fairness_key: str = ""  # whose turn it is in the queue: a team, else the request itself
    timeout: float | None = None  # seconds from now
    team: str = "default"
    reviewer: str = ""  # for whom, where the platform says it: only a project with a review policy minds


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One entry of the answer: a draft or an error."""

    item: str
    draft: Draft | None = None
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class DraftResult:
    """One result per item, in the request's order."""

    model_version: str
    results: tuple[ItemResult, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """An alias whose items go to two versions: `share` of them to the canary."""

    alias: str
    version: str
    canary: str
    share: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as GET /v1/models and /readyz show it, by the version that its name alone stands for."""

    name: str
    version: str
    task: Task
    family: str
    aliases: tuple[str, ...]
    confidence_status: str
    calibration: str | None
    state: Literal["ready", "loading", "failed", "available"]  # available: known, loaded at its first request
    detail: str = ""
    default: bool = False  # drafts its task where no model is named
    licence: str = "unknown"
    labels: int = 0
    registered: bool = False  # by the team; else it is the configuration's
    splits: tuple[Split, ...] = ()


class Drafter(Protocol):
    """The use case behind every protocol: in this process, or in a task's deployment one handle away."""

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft the items; each fails or succeeds alone.

        Raises:
            CandorError: the request as a whole can't be served (unknown model, overloaded, storage down).
        """

    async def models(self, team: str = "default") -> list[ModelStatus]:
        """Return the models that this drafter serves to a team: the configuration's, and those that the team registered."""
