"""Outcomes that count no more. Rows of outcomes are only added, so that what takes one back is a row too.

Outcomes that come of reviews and of gold items have a source that says of which revision: a later one withdraws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from store import dialects
from store.tables import outcomes, withdrawals

_OWN = "candor:"  # what a platform tells by itself has a name of its own


def of_review(event_id: str, revision: int) -> str:
    """Return the source of what a review's revision says."""
    return f"{_OWN}review:{event_id}#{revision}"


def of_gold(revision: int) -> str:
    """Return the source of what a gold item's revision says of a draft of it: the same, however many people reviewed the draft."""
    return f"{_OWN}gold#{revision}"


async def withdraw(connection: AsyncConnection, pairs: Iterable[tuple[str, str]], at: datetime) -> None:
    """Let what a source said of a draft count no more, also what it may yet say. `pairs` are drafts and sources."""
    rows = [{"draft": draft, "source": source, "at": at} for draft, source in sorted(set(pairs))]
    if rows:
        await connection.execute(dialects.insert_ignoring(connection.dialect, withdrawals), rows)


def counts() -> sa.ColumnElement[bool]:
    """Return the condition that an outcome was not withdrawn."""
    return ~sa.exists().where(withdrawals.c.draft == outcomes.c.draft, withdrawals.c.source == outcomes.c.source)
