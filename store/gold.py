"""Gold items in the store: what is right for them now, and everything that was held to be right before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from store import dialects, withdrawals
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.tables import draws, gold
from store.tables import gold_revisions as revisions

T = TypeVar("T")
_AT_ONCE = 400  # parameters of one SELECT


@dataclass(frozen=True, slots=True)
class GoldItem:
    """One gold item as it is now. `truth` holds `label`, `boxes` or `text`."""

    item: str
    revision: int
    truth: Mapping[str, Any]
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class GoldRevision:
    """What was held to be right from a moment on; without a truth the item was gold no more. `by` is the id of an API key."""

    revision: int
    truth: Mapping[str, Any] | None
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Put:
    """How many items a call made gold, corrected, and found as they were."""

    added: int
    corrected: int
    unchanged: int


class Gold:
    """The gold items of one store. A team sees its own alone."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def put(self, actor: Actor, project: str, truths: Mapping[str, Mapping[str, Any]]) -> Put:
        """Make items gold, or correct what is right for them. The same truth again is no new revision.

        What was judged by a truth that is corrected counts no more.
        """

        async def work(connection: AsyncConnection) -> Put:
            await dialects.take_turns(connection, f"gold of {actor.team}/{project}")
            before = await _known(connection, actor.team, project, list(truths))
            changed = {item: truth for item, truth in truths.items() if item not in before or before[item].truth != truth}
            corrected = {item: before[item] for item in changed if item in before}
            if changed:
                await self._change(connection, actor, project, changed, corrected)
            done = Put(len(changed) - len(corrected), len(corrected), len(truths) - len(changed))
            if changed:
                await record(connection, actor, "gold.put", project, {"added": done.added, "corrected": done.corrected})
            return done

        return await self._store.run(work)

    async def remove(self, actor: Actor, project: str, items: Sequence[str]) -> int:
        """Let items be gold no more, and return how many were; their history stays."""

        async def work(connection: AsyncConnection) -> int:
            await dialects.take_turns(connection, f"gold of {actor.team}/{project}")
            before = await _known(connection, actor.team, project, items)
            if before:
                await self._change(connection, actor, project, dict.fromkeys(before), before)
                await record(connection, actor, "gold.removed", project, {"items": len(before)})
            return len(before)

        return await self._store.run(work)

    async def find(self, team: str, project: str, items: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return what is right for those of the items that are gold."""
        return {one.item: one.truth for one in (await self.items(team, project, items)).values()}

    async def items(self, team: str, project: str, items: Sequence[str]) -> dict[str, GoldItem]:
        """Return those of the items that are gold, with their revisions."""
        found: dict[str, GoldItem] = {}
        for some in _parts(list(dict.fromkeys(items))):
            for row in await self._store.read(_of_items(team, project, some)):
                found[row.item] = _item(row)
        return found

    async def drawn(self, team: str, project: str, items: Sequence[str]) -> list[str]:
        """Return those of the items that drew an arm as gold: what is right for them says something of a draft."""
        found: dict[str, None] = {}
        for some in _parts(items):
            own = (draws.c.team == team, draws.c.project == project, draws.c.item.in_(some), draws.c.gold.is_(True))
            found |= dict.fromkeys(row.item for row in await self._store.read(sa.select(draws.c.item).where(*own)))
        return list(found)

    async def page(self, team: str, project: str, after: str | None = None, limit: int = 100) -> list[GoldItem]:
        """Return gold items by name; `after` is the last item of the page before."""
        chosen = sa.select(gold).where(gold.c.team == team, gold.c.project == project).order_by(gold.c.item).limit(limit)
        if after is not None:
            chosen = chosen.where(gold.c.item > after)
        return [_item(row) for row in await self._store.read(chosen)]

    async def count(self, team: str, project: str) -> int:
        """Return how many gold items a project has."""
        chosen = sa.select(sa.func.count().label("number")).select_from(gold).where(gold.c.team == team, gold.c.project == project)
        (row,) = await self._store.read(chosen)
        return int(row.number)

    async def history(self, team: str, project: str, item: str) -> list[GoldRevision]:
        """Return what was held to be right for an item, the newest first; nothing where it never was gold."""
        columns = [revisions.c[field] for field in GoldRevision.__slots__]
        own = (revisions.c.team == team, revisions.c.project == project, revisions.c.item == item)
        found = await self._store.read(sa.select(*columns).where(*own).order_by(revisions.c.revision.desc()))
        return [GoldRevision(**row._mapping) for row in found]

    async def _change(
        self,
        connection: AsyncConnection,
        actor: Actor,
        project: str,
        truths: Mapping[str, Mapping[str, Any] | None],
        before: Mapping[str, GoldItem],
    ) -> None:
        """Write new revisions; an item without a truth is gold no more. `before` are those of the items that are gold."""
        now, own = self._clock(), {"team": actor.team, "project": project}
        last = await _last_revisions(connection, actor.team, project, list(truths))
        rows = [
            {**own, "item": item, "revision": last.get(item, 0) + 1, "truth": truth, "changed_at": now} for item, truth in truths.items()
        ]
        told = [{**own, **{name: row[name] for name in ("item", "revision", "truth")}, "by": actor.key, "at": now} for row in rows]
        await connection.execute(sa.insert(revisions), told)
        for some in _parts(list(before)):
            await connection.execute(sa.delete(gold).where(gold.c.team == actor.team, gold.c.project == project, gold.c.item.in_(some)))
        if standing := [row for row in rows if row["truth"] is not None]:
            await connection.execute(sa.insert(gold), standing)
        await _withdraw(connection, actor.team, project, before, now)


async def _withdraw(connection: AsyncConnection, team: str, project: str, before: Mapping[str, GoldItem], now: datetime) -> None:
    pairs: list[tuple[str, str]] = []
    for some in _parts(list(before)):
        own = (draws.c.team == team, draws.c.project == project, draws.c.item.in_(some), draws.c.gold.is_(True))
        chosen = sa.select(draws.c.item, draws.c.natural).where(*own)
        drawn = (await connection.execute(chosen)).all()
        pairs += [(row.natural, withdrawals.of_gold(before[row.item].revision)) for row in drawn]
    await withdrawals.withdraw(connection, pairs, now)


async def _known(connection: AsyncConnection, team: str, project: str, items: Sequence[str]) -> dict[str, GoldItem]:
    found: dict[str, GoldItem] = {}
    for some in _parts(items):
        for row in (await connection.execute(_of_items(team, project, some))).all():
            found[row.item] = _item(row)
    return found


async def _last_revisions(connection: AsyncConnection, team: str, project: str, items: Sequence[str]) -> dict[str, int]:
    """Also of items that are gold no more: a number is given once."""
    found: dict[str, int] = {}
    for some in _parts(items):
        own = (revisions.c.team == team, revisions.c.project == project, revisions.c.item.in_(some))
        chosen = sa.select(revisions.c.item, sa.func.max(revisions.c.revision).label("last")).where(*own).group_by(revisions.c.item)
        found |= {row.item: row.last for row in (await connection.execute(chosen)).all()}
    return found


def _of_items(team: str, project: str, items: Sequence[str]) -> sa.Select[Any]:
    return sa.select(gold).where(gold.c.team == team, gold.c.project == project, gold.c.item.in_(items))


def _item(row: sa.Row[Any]) -> GoldItem:
    return GoldItem(row.item, row.revision, row.truth, row.changed_at)


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
