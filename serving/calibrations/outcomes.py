"""The use case behind `POST /v1/outcomes`: truths in, judged labels stored, monitors brought up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from calibration.streams import Stream, permitted
from candor.drafts import Draft
from candor.errors import CandorError, Conflict, InvalidRequest, StorageUnavailable, UnknownDraft
from serving.calibrations.judging import JudgedLabel, Truth, judge
from serving.calibrations.manifests import Manifests
from serving.calibrations.watch import watch
from store import Store
from store.outcomes import Added, Outcome, Outcomes

_log = structlog.get_logger(__name__)

SAMPLED: tuple[Stream, ...] = ("blind", "audit")  # drawn by chance: without the chance they can't be weighted


_Labels: TypeAlias = tuple[str, ...] | CandorError


@dataclass(frozen=True, slots=True)
class Told:
    """What the platform says of one draft. `error` is set where the entry's words are wrong: it is answered in its place."""

    draft: str
    source: str
    stream: Stream = "review"
    truth: Truth | None = None
    propensity: float | None = None
    reviewer: str | None = None
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """One entry of the answer: how many labels of the draft count, and how many of them are right; or what is wrong."""

    draft: str
    source: str
    stored: bool = False  # False: it was stored before
    labels: int = 0
    correct: int = 0
    error: CandorError | None = None


class Intake:
    """Takes outcomes in, for one store."""

    def __init__(self, store: Store, models: Manifests) -> None:
        self._store = store
        self._outcomes = Outcomes(store)
        self._models = models
        self._watching = asyncio.Lock()  # so that one alarm is raised once

    async def take(self, entries: Sequence[Told], team: str, *, as_shown: bool = False) -> list[Taken]:
        """Judge and store; one answer per entry, in order. An entry that is wrong fails alone, also one about another team's draft.

        All others are committed on return. `as_shown`: the entries come from somebody who must not learn what drafts were before
        labels were withheld or errors planted, and who can't tell such drafts from others.

        Raises:
            StorageUnavailable: nothing was stored.
        """
        found = await self._outcomes.drafts([entry.draft for entry in entries])
        drafts = {draft.id: draft for draft in found.values() if draft.team == team}
        labels = await self._label_sets(drafts.values(), team)
        judge_one = _judged_as_shown if as_shown else _judged
        judged = await asyncio.to_thread(lambda: [judge_one(entry, drafts, labels) for entry in entries])
        groups = [one for one in judged if not isinstance(one, CandorError)]
        added = iter(await self._outcomes.add(groups))
        answers = [
            Taken(entry.draft, entry.source, error=one) if isinstance(one, CandorError) else _taken(entry, one, next(added))
            for entry, one in zip(entries, judged, strict=True)
        ]
        await self._watch([one for one, answer in zip(judged, answers, strict=True) if answer.stored and not isinstance(one, CandorError)])
        return answers

    async def _label_sets(self, drafts: Iterable[Draft], team: str) -> dict[str, _Labels]:
        """Return the labels of the versions of drafts that are judged by them, or why they can't be told."""
        found: dict[str, _Labels] = {}
        for version in {draft.model_version for draft in drafts if draft.task != "transcription"}:
            try:
                found[version] = (await self._models.manifest(version, team)).labels
            except CandorError as error:
                found[version] = error
        return found

    async def _watch(self, stored: Sequence[Sequence[Outcome]]) -> None:
        """Bring the monitors of what was stored up to date. The outcomes are safe: what fails here is made up for by the next ones."""
        watched = {
            (one.model_version, one.calibration)
            for group in stored
            for one in group
            if permitted(one.stream) and one.calibration is not None
        }
        for version, calibration in sorted(watched):
            try:
                async with self._watching:
                    await watch(self._store, version, calibration)
            except StorageUnavailable as error:
                _log.warning("monitor_behind", model_version=version, calibration=calibration, detail=error.detail)


def _judged(entry: Told, drafts: Mapping[str, Draft], labels: Mapping[str, _Labels]) -> list[Outcome] | CandorError:
    try:
        if entry.error is not None:
            raise entry.error
        draft = drafts.get(entry.draft)
        if draft is None:
            raise UnknownDraft(f"there is no draft {entry.draft!r}")
        return _labels(entry, draft, labels.get(draft.model_version, ()))
    except CandorError as error:
        return error


def _judged_as_shown(entry: Told, drafts: Mapping[str, Draft], labels: Mapping[str, _Labels]) -> list[Outcome] | CandorError:
    """Judge what a client tells of a draft: a withheld one showed no labels, and what was planted says nothing of the model."""
    draft = drafts.get(entry.draft)
    arm = "assisted" if draft is None else draft.arm
    found = _judged(entry, {} if arm == "twin" else drafts, labels)
    if isinstance(found, CandorError):
        return found
    if arm == "withheld":
        return []
    return [replace(one, stream="honeypot") for one in found] if arm == "honeypot" else found


def _labels(entry: Told, draft: Draft, known: _Labels) -> list[Outcome]:
    propensity = _propensity(entry)
    if entry.truth is None:
        raise InvalidRequest("the entry has no truth")
    if isinstance(known, CandorError):
        raise known
    return [
        Outcome(
            draft=draft.id,
            label_index=label.position,
            stream=entry.stream,
            propensity=propensity,
            event="label" if label.as_class else "mapped",
            confidence=label.confidence,
            calibration=draft.calibration,
            model_version=draft.model_version,
            task=draft.task,
            cluster=draft.media_sha256,
            features=_features(label),
            correct=label.correct,
            source=entry.source,
            reviewer=entry.reviewer,
        )
        for label in judge(draft, entry.truth, known)
    ]


def _features(label: JudgedLabel) -> dict[str, Any]:
    found: dict[str, Any] = {"logit": label.logit, "label": label.label}
    return found if label.normaliser is None else {**found, "normaliser": list(label.normaliser)}


def _propensity(entry: Told) -> float:
    """Return the chance with which the item was drawn into its stream; 1 where all items go."""
    if entry.propensity is None:
        if entry.stream in SAMPLED:
            raise InvalidRequest(f"`propensity` is missing: stream {entry.stream} is a sample, and each outcome counts by 1 / its chance")
        return 1.0
    if not 0 < entry.propensity <= 1:
        raise InvalidRequest(f"propensity {entry.propensity} is not a chance above 0 and at most 1")
    return entry.propensity


def _taken(entry: Told, labels: Sequence[Outcome], added: Added) -> Taken:
    if added == "conflict":
        detail = f"source event {entry.source!r} said something else of draft {entry.draft} before: a correction is a new event"
        return Taken(entry.draft, entry.source, error=Conflict(detail))
    return Taken(entry.draft, entry.source, added == "stored", len(labels), sum(one.correct for one in labels))
