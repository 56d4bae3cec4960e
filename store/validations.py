"""Versions whose validation ended without their knowing: what a server that died in between leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from store.store import Store
from store.tables import jobs, versions

_SETTLING = timedelta(minutes=1)  # from a job's end to its version's; from a version to its job


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A version that still says `validating`. `error` is the problem that its job ended with, if it had one."""

    version_id: str
    error: Mapping[str, Any] | None


async def abandoned(store: Store) -> list[Abandoned]:
    """Return the versions that are validating, and by no job that waits or runs."""
    before = datetime.now(UTC) - _SETTLING
    ended = jobs.c.state.in_(("done", "failed", "cancelled")) & (jobs.c.ended_at <= before)
    none = jobs.c.id.is_(None) & (versions.c.created_at <= before)
    joined = versions.outerjoin(jobs, jobs.c.id == versions.c.job)
    chosen = sa.select(versions.c.id, jobs.c.error).select_from(joined).where(versions.c.state == "validating", ended | none)
    return [Abandoned(row.id, row.error) for row in await store.read(chosen)]
