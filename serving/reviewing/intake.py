"""The use case behind `POST /v1/reviews`: what people did comes in, what it makes of drafts is derived, and both are stored.

A review is committed before its outcomes. Where the process dies in between, nobody was answered: the platform sends the review again,
it changes nothing, and its outcomes are made up for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from candor.drafts import Draft
from candor.errors import CandorError, Conflict, InvalidRequest, NotFound, UnknownDraft, UnknownProject
from candor.mapping import vocabulary
from serving.calibrations.manifests import Manifests
from serving.calibrations.outcomes import Intake, Told
from serving.reviewing.derive import Final, Vocabulary, arm_of, derive, evidence, labels_of, require_boxes, written
from store import Store
from store.draws import DrawRow, Draws
from store.gold import Gold
from store.moments import utc_now
from store.outcomes import Outcomes
from store.projects import Projects
from store.reviews import UNDATED, Added, ReviewRow, Reviews

_log = structlog.get_logger(__name__)

SKEW = timedelta(minutes=5)  # that a platform's clock may be fast
CLAMPED = "finished_at lies in the future: it counts as finished when it was received"

_AT_ONCE = 1_000  # rows in one transaction
Look = Callable[[str, str, Sequence[str]], Awaitable[Any]]  # team, project, reviewers


@dataclass(frozen=True, slots=True)
class Reported:
    """What a platform reports of one draft. `error` is set where the entry's words are wrong: it is answered in its place."""

    event_id: str
    draft: str | None = None
    item: str | None = None
    project: str | None = None
    reviewer: str = ""
    final: Final | None = None
    seconds: float | None = None
    finished_at: datetime | None = None
    skipped: bool = False
    deleted: bool = False
    guideline_version: str | None = None
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one entry: the row with its number and verdict, or what is wrong. `counts`: no later revision is known."""

    event_id: str
    row: ReviewRow | None = None
    stored: bool = False  # False: it was stored before
    counts: bool = False
    note: str | None = None
    error: CandorError | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What the entries of one call need to be looked at."""

    now: datetime
    team: str
    drafts: Mapping[str, Draft]
    draws: Mapping[str, DrawRow]
    words: dict[tuple[str | None, str], Vocabulary] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    row: ReviewRow
    note: str | None


class ReviewIntake:
    """Takes reviews in, for one store. `look` is called after each intake with whose reviews of which project came."""

    def __init__(
        self, store: Store, models: Manifests, outcomes: Intake, *, look: Look | None = None, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._reviews, self._draws, self._gold = Reviews(store, clock), Draws(store), Gold(store)
        self._drafts, self._projects = Outcomes(store), Projects(store)
        self._models = models
        self._outcomes = outcomes
        self._look = look
        self._clock = clock

    async def take(self, entries: Sequence[Reported], team: str) -> list[Answer]:
        """Derive and store; one answer per entry, in order. An entry that is wrong fails alone; all others are committed on return.

        Raises:
            StorageUnavailable: reviews may be stored, but not all that they say: send them again.
        """
        entries = await self._with_drafts(entries, team)
        known = await self._known(entries, team)
        read = await asyncio.to_thread(lambda: [_read(entry, known) for entry in entries])
        added = iter(await self._add([one.row for one in read if isinstance(one, _Read)]))
        answers = [
            Answer(entry.event_id, error=one) if isinstance(one, CandorError) else _answer(one, next(added))
            for entry, one in zip(entries, read, strict=True)
        ]
        await self._tell([one.row for one in answers if one.row is not None and one.counts], team)
        await self._seen([one.row for one in answers if one.row is not None], team)
        return answers

    async def corrected(self, team: str, project: str, items: Sequence[str]) -> None:
        """Judge again what was drafted of gold items; where nothing has changed since, nothing happens."""
        drawn = await self._gold.drawn(team, project, items)  # few of many: reviews have no index by item
        rows = await self._reviews.current(team, project, items=drawn)
        await self._tell(rows, team, gold_only=True)

    async def _add(self, rows: Sequence[ReviewRow]) -> list[Added]:
        """Store rows, some at a time: others, who draft, write in between."""
        return [one for start in range(0, len(rows), _AT_ONCE) for one in await self._reviews.add(rows[start : start + _AT_ONCE])]

    async def _with_drafts(self, entries: Sequence[Reported], team: str) -> list[Reported]:
        """Return the entries with the drafts that they are about, where they name an item, or only an event that is known."""
        events = [one.event_id for one in entries if one.deleted and one.draft is None and one.item is None]
        of_event = await self._reviews.drafts_of(team, events) if events else {}
        wanted: dict[tuple[str, str], list[str]] = {}
        for one in entries:
            if one.draft is None and one.item is not None and one.project is not None:
                for reviewer in {one.reviewer, ""}:  # an item is drawn for a reviewer, or for everybody
                    wanted.setdefault((one.project, reviewer), []).append(one.item)
        drawn = {key: await self._draws.find(team, key[0], items, key[1]) for key, items in wanted.items()}

        def draft(one: Reported) -> str | None:
            if one.draft is not None or one.item is None:
                return one.draft or of_event.get(one.event_id)
            found = [drawn.get((one.project or "", reviewer), {}).get(one.item) for reviewer in (one.reviewer, "")]
            return next((row.draft for row in found if row is not None), None)

        return [replace(one, draft=draft(one)) for one in entries]

    async def _known(self, entries: Sequence[Reported], team: str) -> _Known:
        ids = [one.draft for one in entries if one.draft is not None]
        stored = await self._drafts.drafts(ids)
        drafts = {name: draft for name, draft in stored.items() if draft.team == team and draft.arm != "twin"}  # no client saw a twin
        known = _Known(self._clock(), team, drafts, await self._draws.of_draft(list(drafts)))
        own = {project: await self._labels_of_project(team, project) for project in {draft.project for draft in drafts.values()}}
        for draft in drafts.values():
            key = (draft.project, draft.model_version)
            if draft.task != "transcription" and key not in known.words:
                labels = own[draft.project] or await self._labels_of_version(draft, team)
                known.words[key] = Vocabulary(list(dict.fromkeys([*labels, *(vocabulary(draft.payload) or ())])))
        return known

    async def _labels_of_project(self, team: str, project: str | None) -> list[str]:
        try:
            return [] if project is None else labels_of((await self._projects.get(team, project)).body)
        except UnknownProject:
            return []

    async def _labels_of_version(self, draft: Draft, team: str) -> list[str]:
        """Return a version's classes; none where it can't be looked up any more: then any label is taken."""
        try:
            return list((await self._models.manifest(draft.model_version, team)).labels)
        except CandorError:
            return []

    async def _tell(self, rows: Iterable[ReviewRow], team: str, *, gold_only: bool = False) -> None:
        """Send what reviews say of drafts to where calibrations are watched and fitted."""
        rows = [row for row in rows if row.final is not None]
        draws = await self._draws.of_draft([row.draft for row in rows])
        items: dict[str, list[str]] = {}
        for draw in draws.values():
            if draw.gold:
                items.setdefault(draw.project, []).append(draw.item)
        gold = {project: await self._gold.items(team, project, some) for project, some in items.items()}
        told = [
            Told(found.draft, found.source, found.stream, found.truth, found.propensity, row.reviewer or None)
            for row in rows
            for found in evidence(row, draws.get(row.draft), gold.get(row.project, {}).get(row.item))
            if found.stream == "gold" or not gold_only
        ]
        refused = [one.error for one in await self._outcomes.take(told, team) if one.error is not None] if told else []
        if refused:  # such as a model that is gone: the review stands, and nobody is told which arm it was of
            _log.warning("outcomes_not_stored", team=team, outcomes=len(refused), first=refused[0].detail)

    async def _seen(self, rows: Sequence[ReviewRow], team: str) -> None:
        if self._look is None:
            return
        for project in sorted({row.project for row in rows}):
            await self._look(team, project, sorted({row.reviewer for row in rows if row.project == project}))


def _answer(read: _Read, added: Added) -> Answer:
    row = replace(read.row, id=added.id, revision=added.revision)
    if added.status == "conflict":
        detail = f"event {row.event_id[:80]!r} is about another draft: a review of this draft is an event of its own"
        return Answer(row.event_id, error=Conflict(detail))
    return Answer(row.event_id, row, added.status == "stored", added.current, read.note)


def _read(entry: Reported, known: _Known) -> _Read | CandorError:
    try:
        if entry.error is not None:
            raise entry.error
        return _row(entry, _draft(entry, known), known)
    except CandorError as error:
        return error


def _draft(entry: Reported, known: _Known) -> Draft:
    draft = known.drafts.get(entry.draft or "")
    if draft is not None and entry.project in (None, draft.project) and entry.item in (None, draft.item):
        return draft
    if entry.draft is not None:
        raise UnknownDraft(f"there is no draft {entry.draft[:80]!r}" + ("" if draft is None else " of this item or project"))
    if entry.item is None:
        raise NotFound(f"there is no review {entry.event_id[:80]!r} to take back: name its draft where the review may come later")
    raise UnknownDraft(
        f"no draft of item {entry.item[:80]!r} can be told by its item: name the draft; items go where a project with `review` is named too"
    )


def _row(entry: Reported, draft: Draft, known: _Known) -> _Read:
    draw = known.draws.get(draft.id)
    finished_at, note = _finished(entry, known.now)
    row = ReviewRow(
        team=known.team,
        project=draft.project or "",
        event_id=entry.event_id,
        draft=draft.id,
        item=draft.item,
        reviewer=entry.reviewer,
        finished_at=finished_at,
        fingerprint="",
        arm=arm_of(draft, draw),
        deleted=entry.deleted,
        skipped=entry.skipped and not entry.deleted,
        guideline_version=entry.guideline_version,
    )
    if entry.deleted:
        return _Read(replace(row, fingerprint=_fingerprint(entry)), note)
    row = replace(row, seconds=entry.seconds)
    if entry.skipped:
        return _Read(replace(row, fingerprint=_fingerprint(entry)), note)
    final = _final(entry, draft, known)
    found = derive(draft, draw, final)
    row = replace(row, final=final, verdict=found.verdict, edits=found.edits, caught=found.caught)
    return _Read(replace(row, fingerprint=_fingerprint(entry)), note)


def _final(entry: Reported, draft: Draft, known: _Known) -> dict[str, Any]:
    if entry.final is None:
        raise InvalidRequest("the review has no final labels: send them, or `skipped`")
    final = written(draft.task, entry.final)
    require_boxes(final, draft.payload.get("image_size"))
    return known.words.get((draft.project, draft.model_version), Vocabulary()).checked(final)


def _finished(entry: Reported, now: datetime) -> tuple[datetime, str | None]:
    """Return when a review was finished; a clock that is far ahead would let it count over all that comes after it."""
    if entry.finished_at is None:
        return now, None
    return (now, CLAMPED) if entry.finished_at > now + SKEW else (entry.finished_at, None)


def _fingerprint(entry: Reported) -> str:
    """Return the hash of what was said: the same words again are no new revision."""
    moment = entry.finished_at.astimezone(UTC).isoformat() if entry.finished_at else None
    said = [entry.reviewer, entry.seconds, moment, entry.skipped, entry.deleted, entry.guideline_version, entry.final]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode(errors="surrogatepass")).hexdigest()
    return digest if moment else UNDATED + digest
