"""Annotations of Label Studio as Candor saw them last: who edited each and when, which Label Studio itself forgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from store import dialects
from store.moments import utc_now
from store.store import Store
from store.tool_tables import label_studio_annotations as table

_AT_ONCE = 400  # parameters of one SELECT
Change = Callable[["Annotation"], Mapping[str, Any]]  # what of a row is to change


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation. `edits` is by moment, and empty where no draft of Candor was what it began with.

    `updated_at` is the newest edit that was dealt with, written so that later ones compare greater; empty where none was yet.
    """

    annotation: str
    task: str
    updated_at: str = ""
    edits: Mapping[str, Mapping[str, Any]] | None = None
    gold: bool = False
    deleted: bool = False
    changed_at: datetime | None = None


class Annotations:
    """The annotations of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def change(self, connection_id: str, annotation: str, task: str, change: Change) -> Annotation:
        """Change a row, which is made where there is none, and return it. Nobody else changes it in between."""
        own = (table.c.connection == connection_id, table.c.annotation == annotation)
        new = {"connection": connection_id, "annotation": annotation, "task": task, "updated_at": "", "edits": {}}

        async def work(connection: AsyncConnection) -> Annotation:
            await dialects.take_turns(connection, f"annotation {connection_id}/{annotation}")
            made = new | {"gold": False, "deleted": False, "changed_at": self._clock()}
            await connection.execute(dialects.insert_ignoring(connection.dialect, table), made)
            before = Annotation(**(await connection.execute(_select().where(*own))).one()._mapping)
            changed = dict(change(before))
            if task and not before.task:  # its deletion was heard of first
                changed["task"] = task
            if changed:
                await connection.execute(sa.update(table).where(*own).values({**changed, "changed_at": self._clock()}))
            return Annotation(**(await connection.execute(_select().where(*own))).one()._mapping)

        return await self._store.run(work)

    async def of_tasks(self, connection_id: str, tasks: Sequence[str]) -> list[Annotation]:
        """Return what is known of the annotations of tasks, deleted ones too."""
        found: list[Annotation] = []
        for start in range(0, len(tasks), _AT_ONCE):
            own = (table.c.connection == connection_id, table.c.task.in_(tasks[start : start + _AT_ONCE]))
            found += [Annotation(**row._mapping) for row in await self._store.read(_select().where(*own))]
        return found

    async def ignored(self, connection_id: str) -> int:
        """Return how many annotations no draft of Candor was behind."""
        own = (table.c.connection == connection_id, table.c.deleted.is_(False))
        none = (sa.cast(table.c.edits, sa.Text) == "{}", table.c.updated_at != "")
        return int((await self._store.read(sa.select(sa.func.count().label("rows")).where(*own, *none)))[0].rows)


def _select() -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in Annotation.__slots__))
