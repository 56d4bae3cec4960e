"""Tasks of Label Studio that drafts were asked for: which draft each was shown, and which ones wait for a draft that is pushed to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from store import dialects
from store.moments import utc_now
from store.store import Store
from store.tool_tables import label_studio_tasks as tasks

State: TypeAlias = Literal["queued", "processing", "done", "failed"]

_AT_ONCE = 500  # tasks of one SELECT


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. `draft` is what it was shown last. `data` is the digest of its source, or what is needed to draft it while it waits."""

    connection: str
    task: str
    item: str
    draft: str | None
    model_version: str | None
    state: State
    data: Mapping[str, Any] | None
    attempts: int
    error: str | None
    next_at: datetime
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """What a task was answered with; with an error, that there is no draft for it and why."""

    task: str
    item: str
    model_version: str
    data: Mapping[str, Any] | None = None
    draft: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task whose draft is still to be made and pushed."""

    task: str
    item: str
    data: Mapping[str, Any] | None = None


class Tasks:
    """Reads and writes of tasks. A task that waits is claimed by one server at a time, for as long as it says."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def of(self, connection: str, wanted: Iterable[str]) -> dict[str, TaskRow]:
        """Return what is known of a connection's tasks, by their ids; those that nothing is known of are absent."""
        names, found = list(dict.fromkeys(wanted)), dict[str, TaskRow]()
        for start in range(0, len(names), _AT_ONCE):
            some = tasks.c.connection == connection, tasks.c.task.in_(names[start : start + _AT_ONCE])
            found |= {row.task: TaskRow(**row._mapping) for row in await self._store.read(sa.select(tasks).where(*some))}
        return found

    async def counts(self, connection: str) -> dict[State, int]:
        """Return how many tasks are in each state; a state that none is in is absent."""
        number = sa.func.count().label("number")
        chosen = sa.select(tasks.c.state, number).where(tasks.c.connection == connection).group_by(tasks.c.state)
        return {row.state: int(row.number) for row in await self._store.read(chosen)}

    async def failures(self, connection: str, limit: int = 100) -> list[TaskRow]:
        """Return the tasks that got no draft, the newest first."""
        chosen = sa.select(tasks).where(tasks.c.connection == connection, tasks.c.state == "failed")
        return [TaskRow(**row._mapping) for row in await self._store.read(chosen.order_by(tasks.c.changed_at.desc()).limit(limit))]

    async def shown(self, connection: str, ended: Sequence[Ended]) -> None:
        """Keep what tasks are answered with. An error does not take away the draft that a task was shown before."""
        now = self._clock()
        rows = [
            {
                "task": one.task,
                "item": one.item,
                "model_version": one.model_version,
                "state": "failed" if one.error else "done",
                "data": None if one.data is None else dict(one.data),
                "error": one.error,
                **({} if one.error else {"draft": one.draft}),
            }
            for one in ended
        ]
        # two statements of many rows each: every row of one has the same columns
        for some in ([row for row in rows if row["error"]], [row for row in rows if not row["error"]]):
            await self._put(connection, some, now, ())

    async def queue(self, connection: str, waiting: Sequence[Waiting]) -> None:
        """Let tasks wait for their drafts, from now on; one that is worked on stays as it is."""
        now = self._clock()
        rows = [
            {
                "task": one.task,
                "item": one.item,
                "state": "queued",
                "data": None if one.data is None else dict(one.data),
                "attempts": 0,
                "error": None,
                "next_at": now,
            }
            for one in waiting
        ]
        await self._put(connection, rows, now, (tasks.c.state != "processing",))

    async def claim(self, limit: int, lease: timedelta) -> list[TaskRow]:
        """Take tasks of one connection that are due: nobody else gets them until `lease` has passed. Empty: nothing is due."""
        now = self._clock()
        due = tasks.c.state.in_(("queued", "processing")), tasks.c.next_at <= now
        waiting = [row.connection for row in await self._store.read(sa.select(tasks.c.connection).where(*due).distinct())]
        if not waiting:  # as most looks find: they take no lock
            return []
        mine = random.choice(waiting)  # noqa: S311 - by chance, so that a long queue of one holds up no other's

        async def work(connection: AsyncConnection) -> list[TaskRow]:
            chosen = sa.select(tasks).where(*due, tasks.c.connection == mine).order_by(tasks.c.next_at, tasks.c.task)
            locked = await connection.execute(chosen.limit(limit).with_for_update(skip_locked=True))
            found = [TaskRow(**row._mapping) for row in locked]
            taken = {"state": "processing", "next_at": now + lease, "attempts": tasks.c.attempts + 1, "changed_at": now}
            names = tasks.c.task.in_([row.task for row in found])
            await connection.execute(sa.update(tasks).where(tasks.c.connection == mine, names).values(taken))
            return found

        return await self._store.run(work)

    async def again(self, connection: str, errors: Mapping[str, str | None], at: datetime) -> None:
        """Let tasks that were claimed wait until a moment, since they failed, each with its error, or were given back."""
        now = self._clock()
        rows = [{"b_task": task, "b_error": error} for task, error in errors.items()]
        if not rows:
            return
        mine = tasks.c.connection == connection, tasks.c.task == sa.bindparam("b_task"), tasks.c.state == "processing"
        values = {"state": "queued", "error": sa.bindparam("b_error"), "next_at": at, "changed_at": now}

        async def work(on: AsyncConnection) -> None:
            await on.execute(sa.update(tasks).where(*mine).values(values), rows)

        await self._store.run(work)

    async def _put(
        self, connection: str, rows: Sequence[Mapping[str, Any]], now: datetime, only: tuple[sa.ColumnElement[bool], ...]
    ) -> None:
        """Insert rows, or change those that are there where `only` holds. All rows have the same columns."""
        if not rows:
            return
        fresh = {"connection": connection, "draft": None, "model_version": None, "attempts": 0, "next_at": now, "created_at": now}
        changed = [name for name in rows[0] if name != "task"]
        values = {**{name: sa.bindparam(f"b_{name}", type_=tasks.c[name].type) for name in changed}, "changed_at": now}
        mine = tasks.c.connection == connection, tasks.c.task == sa.bindparam("b_task")

        async def work(on: AsyncConnection) -> None:
            await on.execute(dialects.insert_ignoring(on.dialect, tasks), [{**fresh, **row, "changed_at": now} for row in rows])
            bound = [{f"b_{name}": value for name, value in row.items()} for row in rows]
            await on.execute(sa.update(tasks).where(*mine, *only).values(values), bound)

        await self._store.run(work)
