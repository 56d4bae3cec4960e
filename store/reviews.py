"""Reviews in the store: what people did with drafts. Each revision of a platform's event is a row, and rows are only added.

Of an event that revision counts which was finished last, whatever the order in which they arrived. It has the greatest number: one
that arrives after a later one gets a number below all others, 0 or less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict
from candor.ids import new_id
from store import dialects, withdrawals
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.tables import reviewer_aliases as aliases
from store.tables import reviews

Status: TypeAlias = Literal["stored", "already", "conflict"]
UNDATED = "undated:"  # begins the fingerprint of what says no time of its own: it is of the moment of its arrival
_AT_ONCE = 400  # parameters of one SELECT
_UNSET = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One revision of a review. `verdict` and `edits` are about what was shown, `caught` about a honeypot's error.

    Where it was skipped, or is taken back (`deleted`), there is no final label and no verdict.
    """

    team: str
    project: str
    event_id: str
    draft: str
    item: str
    reviewer: str
    finished_at: datetime
    fingerprint: str
    arm: str = "assisted"
    deleted: bool = False
    skipped: bool = False
    seconds: float | None = None
    guideline_version: str | None = None
    final: Mapping[str, Any] | None = None
    verdict: str | None = None
    edits: Sequence[Mapping[str, Any]] | None = None
    caught: str | None = None
    revision: int = 0  # `add` sets it, and what follows
    received_at: datetime = _UNSET
    id: str = ""


class Added(NamedTuple):
    """What became of a row: `current` says whether it is what counts of its event now. A row that conflicts has neither id nor revision."""

    status: Status
    id: str = ""
    revision: int = 0
    current: bool = False


class _Kept(NamedTuple):
    """What is known of a stored revision."""

    finished_at: datetime
    revision: int
    fingerprint: str
    draft: str
    id: str


class Reviews:
    """The reviews of one store. A team sees its own alone."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, rows: Sequence[ReviewRow]) -> list[Added]:
        """Store rows of one team; all are committed when this returns what became of each, in order.

        A row whose fingerprint is that of a stored revision of its event changes nothing (`already`). Another one is a new revision,
        and where it is the newest, what the one before it said of its draft counts no more. An event is about one draft for ever: a row
        about another one is not stored (`conflict`).
        """
        if not rows:
            return []

        async def work(connection: AsyncConnection) -> list[Added]:
            await dialects.take_turns(connection, f"reviews of {rows[0].team}")
            known = await _known(connection, rows[0].team, sorted({row.event_id for row in rows}))
            now = self._clock()
            answers, new, gone = _placed(rows, known, now)
            if new:
                await connection.execute(sa.insert(reviews), new)
            await withdrawals.withdraw(connection, gone, now)
            return answers

        return await self._store.run(work)

    async def drafts_of(self, team: str, events: Sequence[str]) -> dict[str, str]:
        """Return the drafts that stored events are about."""
        found: dict[str, str] = {}
        wanted = list(dict.fromkeys(events))
        for start in range(0, len(wanted), _AT_ONCE):
            own = (reviews.c.team == team, reviews.c.event_id.in_(wanted[start : start + _AT_ONCE]))
            found |= {row.event_id: row.draft for row in await self._store.read(sa.select(reviews.c.event_id, reviews.c.draft).where(*own))}
        return found

    async def current(
        self, team: str, project: str, reviewer: str | None = None, since: datetime | None = None, *, items: Sequence[str] | None = None
    ) -> list[ReviewRow]:
        """Return what counts of each event of a project, by the moment that it was finished; without what was taken back.

        Reviewers have the names into which they were merged. Optionally only one reviewer's, what was finished since a moment, and
        what is about some items.
        """
        into = await self.merged(team, project)
        rows = []
        for some in [None] if items is None else [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]:
            found = await self._store.read(_current(team, project, since, some))
            rows += [_row(row, into) for row in found]
        rows = [row for row in rows if reviewer in (None, row.reviewer)]
        return sorted(rows, key=lambda row: (row.finished_at, row.id)) if items is not None else rows

    async def of_ids(self, team: str, project: str, ids: Sequence[str]) -> list[ReviewRow]:
        """Return rows by their ids, in the order of the ids."""
        into, found = await self.merged(team, project), dict[str, ReviewRow]()
        for start in range(0, len(ids), _AT_ONCE):
            own = (reviews.c.team == team, reviews.c.project == project, reviews.c.id.in_(ids[start : start + _AT_ONCE]))
            found |= {row.id: _row(row, into) for row in await self._store.read(sa.select(reviews).where(*own))}
        return [found[one] for one in ids if one in found]

    async def finals(self, team: str, project: str, *, every: bool = False) -> list[str]:
        """Return the ids of reviews that tell an item's final label, by item: the newest of each item, or every one. Never honeypots."""
        placed = _placed_rows(reviews.c.team == team, reviews.c.project == project)
        wanted = (placed.c.place == 1, placed.c.deleted.is_(False), placed.c.skipped.is_(False), placed.c.arm != "honeypot")
        order = (placed.c.item, placed.c.finished_at, placed.c.id)
        found = await self._store.read(sa.select(placed.c.item, placed.c.id).where(*wanted).order_by(*order))
        return [row.id for row in found] if every else list({row.item: row.id for row in found}.values())

    async def page(self, team: str, project: str, after: str | None = None, limit: int = 100) -> list[ReviewRow]:
        """Return revisions in the order of their arrival, all of them; `after` is the last id of the page before."""
        into = await self.merged(team, project)
        chosen = sa.select(reviews).where(reviews.c.team == team, reviews.c.project == project).order_by(reviews.c.id).limit(limit)
        if after is not None:
            chosen = chosen.where(reviews.c.id > after)
        return [_row(row, into) for row in await self._store.read(chosen)]

    async def merge(self, actor: Actor, project: str, reviewer: str, into: str) -> None:
        """Count a reviewer's reviews as another one's from now on; into the same name: as its own again. Rows keep their names.

        Raises:
            Conflict: the other name is counted as this one already.
        """

        async def work(connection: AsyncConnection) -> None:
            await dialects.take_turns(connection, f"reviewers of {actor.team}/{project}")
            own = (aliases.c.team == actor.team, aliases.c.project == project)
            known = {row.reviewer: row.into for row in (await connection.execute(sa.select(aliases).where(*own))).all()}
            known.pop(reviewer, None)
            if reviewer != into and resolved(known, into) == reviewer:
                raise Conflict(f"{into[:80]!r} is counted as {reviewer[:80]!r}: merge {into[:80]!r} into itself first")
            await connection.execute(sa.delete(aliases).where(*own, aliases.c.reviewer == reviewer))
            if reviewer != into:
                values = {"team": actor.team, "project": project, "reviewer": reviewer, "into": into, "at": self._clock()}
                await connection.execute(sa.insert(aliases).values(values))
            await record(connection, actor, "reviewer.merged", project, {"reviewer": reviewer, "into": into})

        await self._store.run(work)

    async def merged(self, team: str, project: str) -> dict[str, str]:
        """Return the names that are counted as others, each with the one that it ends at."""
        own = (aliases.c.team == team, aliases.c.project == project)
        known = {row.reviewer: row.into for row in await self._store.read(sa.select(aliases).where(*own))}
        return {name: resolved(known, name) for name in known}


def resolved(known: Mapping[str, str], name: str) -> str:
    """Return the name that a name is counted as, through any number of merges."""
    for _ in known:
        if name not in known:
            break
        name = known[name]
    return name


def _current(team: str, project: str, since: datetime | None, items: Sequence[str] | None) -> sa.Select[Any]:
    """Select the revision of each event that counts, where it is not deleted."""
    own = [reviews.c.team == team, reviews.c.project == project]
    if items is not None:  # all revisions of an event are about one draft, and so one item
        own.append(reviews.c.item.in_(items))
    placed = _placed_rows(*own)
    wanted = [placed.c.place == 1, placed.c.deleted.is_(False)]
    if since is not None:
        wanted.append(placed.c.finished_at >= since)
    columns = [placed.c[column.name] for column in reviews.columns]
    return sa.select(*columns).where(*wanted).order_by(placed.c.finished_at, placed.c.id)


def _placed_rows(*own: sa.ColumnElement[bool]) -> sa.Subquery:
    """Select rows with their `place` among the revisions of their event: 1 is what counts."""
    place = sa.func.row_number().over(partition_by=reviews.c.event_id, order_by=reviews.c.revision.desc())
    return sa.select(reviews, place.label("place")).where(*own).subquery()


def _row(row: sa.Row[Any], into: Mapping[str, str]) -> ReviewRow:
    values = dict(row._mapping)
    return ReviewRow(**{**values, "reviewer": into.get(values["reviewer"], values["reviewer"])})


async def _known(connection: AsyncConnection, team: str, events: Sequence[str]) -> dict[str, list[_Kept]]:
    found: dict[str, list[_Kept]] = {}
    columns = [reviews.c.event_id, *(reviews.c[name] for name in _Kept._fields)]
    for start in range(0, len(events), _AT_ONCE):
        chosen = sa.select(*columns).where(reviews.c.team == team, reviews.c.event_id.in_(events[start : start + _AT_ONCE]))
        for event_id, *kept in (await connection.execute(chosen)).all():
            found.setdefault(event_id, []).append(_Kept(*kept))
    return found


def _placed(
    rows: Iterable[ReviewRow], known: dict[str, list[_Kept]], now: datetime
) -> tuple[list[Added], list[dict[str, Any]], list[tuple[str, str]]]:
    """Return what becomes of each row, the rows to insert, and what counts no more: drafts and sources. `known` learns of them."""
    answers, new, gone = list[Added](), list[dict[str, Any]](), list[tuple[str, str]]()
    for row in rows:
        earlier = known.setdefault(row.event_id, [])
        if earlier and earlier[0].draft != row.draft:
            answers.append(Added("conflict"))
            continue
        before = max(earlier, key=lambda one: one.revision, default=None)
        undated = row.fingerprint.startswith(UNDATED)  # it means what counts now, whatever came between
        same = next((one for one in earlier if one.fingerprint == row.fingerprint and (one == before or not undated)), None)
        if same is not None:
            answers.append(Added("already", same.id, same.revision, same == before))
            continue
        newest = before is None or undated or row.finished_at >= before.finished_at
        finished_at = max(row.finished_at, before.finished_at) if before and undated else row.finished_at
        number = _next([one.revision for one in earlier], newest=newest)
        stored = replace(row, id=new_id("rev"), revision=number, finished_at=finished_at, received_at=now)
        earlier.append(_Kept(stored.finished_at, stored.revision, stored.fingerprint, stored.draft, stored.id))
        new.append({name: getattr(stored, name) for name in ReviewRow.__slots__})
        if newest and before is not None:
            gone.append((row.draft, withdrawals.of_review(row.event_id, before.revision)))
        answers.append(Added("stored", stored.id, stored.revision, newest))
    return answers, new, gone


def _next(numbers: Sequence[int], *, newest: bool) -> int:
    """Return the number of one more revision: above all others where it counts, below all others where it came too late to."""
    return max(numbers, default=0) + 1 if newest else min(numbers) - 1
