"""The drafts of a project for data sets: the newest of each item, and none of an item by which people are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from candor.drafts import Draft
from store.outcomes import Outcomes
from store.store import Store
from store.tables import drafts


@dataclass(frozen=True, slots=True)
class DraftPage:
    """Some drafts, by item. `next` is the item after which the next page begins; None where this is the last."""

    drafts: list[Draft]
    next: str | None


class ProjectDrafts:
    """The drafts of the projects of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, team: str, project: str, after: str | None = None, limit: int = 100) -> DraftPage:
        """Return the newest draft of each item behind one.

        An item is left out whole where any of its drafts is not `assisted`: one that was withheld from anybody must not come to that
        person through a data set, and neither must a honeypot, nor what tells it from others.
        """
        own = [drafts.c.team == team, drafts.c.project == project]
        if after is not None:
            own.append(drafts.c.item > after)
        hidden = sa.func.sum(sa.case((drafts.c.arm == "assisted", 0), else_=1))
        chosen: sa.Select[Any] = (
            sa.select(drafts.c.item, sa.func.max(drafts.c.id).label("id"))
            .where(*own)
            .group_by(drafts.c.item)
            .having(hidden == 0)
            .order_by(drafts.c.item)
            .limit(limit + 1)
        )
        rows = await self._store.read(chosen)
        found = await Outcomes(self._store).drafts([row.id for row in rows[:limit]])
        return DraftPage([found[row.id] for row in rows[:limit]], rows[limit - 1].item if len(rows) > limit else None)
