"""The arms that items drew, stored with the drafts that are shown under them: in one transaction, before anything is answered."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.drafts import Draft, Timings
from store import dialects
from store.store import Store
from store.tables import drafts, draws, review_secrets

_AT_ONCE = 400  # values in one statement
_FIRST_EPOCH = "1"


@dataclass(frozen=True, slots=True)
class DrawRow:
    """What one item drew, for one reviewer where the platform named one (else empty).

    `draft` is the one that is shown, `natural` the one that the model made; they differ for honeypots alone. `rates` holds what the arm
    was drawn with: the chances of `withheld` and `honeypot`, whether the natural draft has the `badge`, and the shares that were known.
    """

    id: str
    team: str
    project: str
    item: str
    reviewer: str
    epoch: str
    arm: str
    propensity: float
    rates: Mapping[str, Any]
    draft: str
    natural: str
    planted: Mapping[str, Any] | None
    gold: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Secret:
    """What a project's arms are drawn with."""

    key: bytes
    epoch: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one earlier draw of a project, to tell how frequent gold and the badge are."""

    gold: bool
    badge: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A draw and the draft that is shown under it."""

    draw: DrawRow
    draft: Draft


class Draws:
    """The draws of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def secret(self, team: str, project: str) -> Secret:
        """Return what a project's arms are drawn with; made when it is first asked for."""
        of_project = sa.select(review_secrets).where(review_secrets.c.team == team, review_secrets.c.project == project)

        async def work(connection: AsyncConnection) -> sa.Row[Any]:
            made = {"secret": secrets.token_bytes(32), "epoch": _FIRST_EPOCH, "created_at": datetime.now(UTC)}
            insert = dialects.insert_ignoring(connection.dialect, review_secrets)
            await connection.execute(insert.values(team=team, project=project, **made))
            return (await connection.execute(of_project)).one()

        found = await self._store.read(of_project)
        row = found[0] if found else await self._store.run(work)
        return Secret(bytes(row.secret), row.epoch)

    async def add(self, rows: Sequence[DrawRow], new: Sequence[Draft]) -> set[str]:
        """Store draws with their drafts, and return the ids of the draws that count.

        Where an item has drawn already, in the same epoch and for the same reviewer, the earlier draw counts, and neither this one nor its
        drafts are stored. All that counts is committed when this returns.
        """
        by_id = {draft.id: draft for draft in new}
        ordered = sorted(rows, key=lambda row: (row.item, row.id))  # one order for all, or two transactions wait for each other

        async def work(connection: AsyncConnection) -> set[str]:
            won = set[str]()
            for start in range(0, len(ordered), _AT_ONCE):
                some = ordered[start : start + _AT_ONCE]
                insert = dialects.insert_ignoring(connection.dialect, draws)
                await connection.execute(insert.values([asdict(row) for row in some]))
                stored = sa.select(draws.c.id).where(draws.c.id.in_([row.id for row in some]))
                won.update((await connection.execute(stored)).scalars())
            named = {name for row in ordered if row.id in won for name in (row.draft, row.natural)}
            if kept := [_values(by_id[name]) for name in sorted(named)]:
                await connection.execute(sa.insert(drafts), kept)
            return won

        return await self._store.run(work) if rows else set()

    async def find(self, team: str, project: str, items: Sequence[str], reviewer: str = "") -> dict[str, DrawRow]:
        """Return what items have drawn, the newest epoch's; those that have not are absent."""
        found: dict[str, DrawRow] = {}
        for some in _parts(items):
            chosen = sa.select(draws).where(*_of(team, project, reviewer), draws.c.item.in_(some)).order_by(draws.c.id)
            found |= {row.item: DrawRow(**row._mapping) for row in await self._store.read(chosen)}
        return found

    async def shown(self, team: str, project: str, items: Sequence[str], reviewer: str, epoch: str) -> dict[str, Shown]:
        """Return the draws of items in one epoch, each with the draft that is shown."""
        found: dict[str, Shown] = {}
        for some in _parts(items):
            chosen = (
                sa.select(*(column.label(f"draw_{column.name}") for column in draws.c), *drafts.c)
                .join_from(draws, drafts, draws.c.draft == drafts.c.id)
                .where(*_of(team, project, reviewer), draws.c.item.in_(some), draws.c.epoch == epoch)
            )
            for row in await self._store.read(chosen):
                draw = DrawRow(**{column.name: row._mapping[f"draw_{column.name}"] for column in draws.c})
                found[draw.item] = Shown(draw, _draft({column.name: row._mapping[column.name] for column in drafts.c}))
        return found

    async def of_draft(self, draft_ids: Sequence[str]) -> dict[str, DrawRow]:
        """Return the draws under which drafts are shown, by the drafts' ids; drafts that nothing was drawn for are absent."""
        found: dict[str, DrawRow] = {}
        for some in _parts(draft_ids):
            rows = await self._store.read(sa.select(draws).where(draws.c.draft.in_(some)))
            found |= {row.draft: DrawRow(**row._mapping) for row in rows}
        return found

    async def page(self, team: str, project: str, after: str | None = None, limit: int = 100) -> Sequence[DrawRow]:
        """Return a project's draws in the order of their ids, from after one on."""
        chosen = sa.select(draws).where(draws.c.team == team, draws.c.project == project, draws.c.id > (after or ""))
        return [DrawRow(**row._mapping) for row in await self._store.read(chosen.order_by(draws.c.id).limit(limit))]

    async def recent(self, team: str, project: str, limit: int) -> list[Seen]:
        """Return what is known of a project's newest draws."""
        chosen = sa.select(draws.c.gold, draws.c.rates).where(draws.c.team == team, draws.c.project == project)
        rows = await self._store.read(chosen.order_by(draws.c.id.desc()).limit(limit))
        return [Seen(row.gold, bool(row.rates.get("badge"))) for row in rows]

    async def naturals(self, team: str, project: str, model_version: str, limit: int, *, of_gold: bool = False) -> list[Draft]:
        """Return the newest drafts that a version made by itself for a project, whatever was shown of them."""
        chosen = (
            sa.select(drafts)
            .join_from(draws, drafts, draws.c.natural == drafts.c.id)
            .where(draws.c.team == team, draws.c.project == project, drafts.c.model_version == model_version)
            .order_by(draws.c.id.desc())
            .limit(limit)
        )
        rows = await self._store.read(chosen.where(draws.c.gold) if of_gold else chosen)
        return [_draft(row._mapping) for row in rows]


def _of(team: str, project: str, reviewer: str) -> tuple[sa.ColumnElement[bool], ...]:
    return draws.c.team == team, draws.c.project == project, draws.c.reviewer == reviewer


def _parts(names: Sequence[str]) -> list[list[str]]:
    wanted = list(dict.fromkeys(names))
    return [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]


def _values(draft: Draft) -> dict[str, Any]:
    values = {column.name: getattr(draft, column.name) for column in drafts.columns}
    return {**values, "payload": dict(draft.payload), "timings": asdict(draft.timings)}


def _draft(row: Mapping[Any, Any]) -> Draft:
    return Draft(**{**row, "timings": Timings(**row["timings"])})
