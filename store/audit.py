"""The audit log: who changed what, and when. A row is written in the transaction of the change that it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.ids import new_id
from store.tables import audit


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a team, by an API key (`none` where the server asks for none, `operator` for its own command line)."""

    team: str
    key: str
    request_id: str = ""


OPERATOR = Actor("default", "operator")


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
