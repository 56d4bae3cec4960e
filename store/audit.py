"""The audit log: who changed what, and when. A row is written in the transaction of the change that it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.ids import new_id
from store.tables import audit

if TYPE_CHECKING:
    from store.store import Store


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a team, by an API key (`none` where the server asks for none, `operator` for its own command line)."""

    team: str
    key: str
    request_id: str = ""


OPERATOR = Actor("default", "operator")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log."""

    id: str
    team: str
    key: str
    action: str
    target: str
    detail: Mapping[str, Any]
    request_id: str
    at: datetime


async def record(connection: AsyncConnection, actor: Actor, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
    """Write one row, in the transaction of `connection`. `action` is a noun and a past participle, such as `alias.moved`."""
    values = {
        "id": new_id("aud"),
        "team": actor.team,
        "key": actor.key,
        "action": action,
        "target": target,
        "detail": dict(detail or {}),
        "request_id": actor.request_id,
        "at": datetime.now(UTC),
    }
    await connection.execute(sa.insert(audit).values(values))


async def note(store: Store, actor: Actor, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
    """Write one row on its own, where what it tells of is done by another process."""

    async def work(connection: AsyncConnection) -> None:
        await record(connection, actor, action, target, detail)

    await store.run(work)


async def entries(
    store: Store, team: str | None, *, action: str | None = None, target: str | None = None, after: str | None = None, limit: int = 100
) -> list[Entry]:
    """Return rows, the newest first: of one team or of all, with an action or a target; `after` is the last id of the page before.

    Ids sort by time, so that the cursor needs no row to be there.
    """
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    for column, value in ((audit.c.team, team), (audit.c.action, action), (audit.c.target, target)):
        if value is not None:
            query = query.where(column == value)
    if after is not None:
        query = query.where(audit.c.id < after)
    return [Entry(**row._mapping) for row in await store.read(query)]
