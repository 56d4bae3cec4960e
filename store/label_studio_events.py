"""What Label Studio reported and has not been dealt with yet: a queue in the database, which servers share.

An event that is claimed is its claimant's for two minutes; one whose server died then is taken up by another. What was dealt with is
gone from here, since reviews hold all of it; what can't be dealt with stays, with what was wrong last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.ids import new_id
from store import dialects
from store.moments import utc_now
from store.store import Store
from store.tool_tables import label_studio_events as events

LEASE = timedelta(minutes=2)
_ERROR = 2_000  # characters


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that Label Studio reported to a connection. `attempts` counts those that were begun."""

    id: str
    connection: str
    action: str
    body: Mapping[str, Any]
    attempts: int
    error: str | None
    received_at: datetime
    ended_at: datetime | None  # given up then


@dataclass(frozen=True, slots=True)
class New:
    """An event to be added. With an `id` of its own it is added once, however often it is told."""

    action: str
    body: Mapping[str, Any]
    id: str | None = None


class Events:
    """The events of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, connection_id: str, new: Sequence[New]) -> None:
        """Add events; all are committed when this returns."""
        now = self._clock()
        common = {"connection": connection_id, "attempts": 0, "error": None, "received_at": now, "next_at": now, "ended_at": None}
        rows = [{"id": one.id or new_id("lse"), "action": one.action, "body": dict(one.body), **common} for one in new]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(dialects.insert_ignoring(connection.dialect, events), rows)

        if rows:
            await self._store.run(work)

    async def claim(self, most: int) -> list[Event]:
        """Take events that are due, the oldest first. No other server gets them for two minutes."""
        now = self._clock()
        due = sa.select(events.c.id).where(events.c.ended_at.is_(None), events.c.next_at <= now)
        chosen = due.order_by(events.c.received_at, events.c.id).limit(most).with_for_update(skip_locked=True)

        async def work(connection: AsyncConnection) -> list[Event]:
            ids = list((await connection.execute(chosen)).scalars())
            mine = events.c.id.in_(ids)
            changed = {"attempts": events.c.attempts + 1, "next_at": now + LEASE}
            if ids:
                await connection.execute(sa.update(events).where(mine).values(changed))
            rows = (await connection.execute(_select().where(mine).order_by(events.c.received_at, events.c.id))).all() if ids else []
            return [Event(**row._mapping) for row in rows]

        # Most looks find nothing: they take no lock.
        return await self._store.run(work) if await self._store.read(due.limit(1)) else []

    async def done(self, event_id: str) -> None:
        """Forget an event that was dealt with."""
        await self._store.execute(sa.delete(events).where(events.c.id == event_id))

    async def failed(self, event_id: str, error: str, again: timedelta | None) -> None:
        """Keep what was wrong with an event; try it again after a while, or (None) no more."""
        now = self._clock()
        when = {"ended_at": now} if again is None else {"next_at": now + again}
        await self._store.execute(sa.update(events).where(events.c.id == event_id).values(error=error[:_ERROR], **when))

    async def given_up(self, connection_id: str, limit: int = 100) -> list[Event]:
        """Return a connection's events that could not be dealt with, the newest first."""
        mine = (events.c.connection == connection_id, events.c.ended_at.is_not(None))
        chosen = _select().where(*mine).order_by(events.c.received_at.desc(), events.c.id.desc()).limit(limit)
        return [Event(**row._mapping) for row in await self._store.read(chosen)]

    async def revive(self, connection_id: str) -> int:
        """Try a connection's events that were given up once more, with all their attempts anew; return how many."""
        given_up = (events.c.connection == connection_id, events.c.ended_at.is_not(None))
        change = {"attempts": 0, "next_at": self._clock(), "ended_at": None}
        return await self._store.execute(sa.update(events).where(*given_up).values(change))

    async def counts(self, connection_id: str) -> dict[str, int]:
        """Return how many of a connection's events are `waiting`, and how many `failed`."""
        failed = events.c.ended_at.is_not(None)
        chosen = sa.select(failed.label("failed"), sa.func.count().label("events")).where(events.c.connection == connection_id)
        found = {bool(row.failed): int(row.events) for row in await self._store.read(chosen.group_by(failed))}
        return {"waiting": found.get(False, 0), "failed": found.get(True, 0)}


def _select() -> sa.Select[Any]:
    return sa.select(*(events.c[name] for name in Event.__slots__))
