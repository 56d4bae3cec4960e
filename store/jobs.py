"""Jobs in the store: long work that a process of its own does. One of a kind runs at a time; its heartbeat says that it lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import UnknownJob
from candor.ids import new_id
from store import dialects
from store.moments import utc_now
from store.store import Store
from store.tables import jobs
from store.webhooks import Event, announce

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `request` is what was asked for, `result` what came of it, `error` the problem that it failed with."""

    id: str
    kind: str
    state: State
    progress: float  # 0 to 1
    step: str
    request: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    ended_at: datetime | None
    team: str = "default"


class Jobs:
    """The jobs of one store. What ends is never changed again."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, kind: str, request: Mapping[str, Any], team: str = "default") -> Job:
        """Store a queued job and return it."""
        job = Job(new_id("job"), kind, "queued", 0.0, "waiting", dict(request), None, None, self._clock(), None, None, None, team)
        await self._store.execute(sa.insert(jobs).values({name: getattr(job, name) for name in Job.__slots__}))
        return job

    async def get(self, job_id: str, team: str | None = None) -> Job:
        """Return one job; with `team` only if it is that team's.

        Raises:
            UnknownJob: there is none of that id.
        """
        own = () if team is None else (jobs.c.team == team,)
        found = await self._store.read(sa.select(jobs).where(jobs.c.id == job_id, *own))
        if not found:
            raise UnknownJob(f"there is no job {job_id!r}")
        return Job(**found[0]._mapping)

    async def newest(self, limit: int, team: str | None = None) -> list[Job]:
        """Return the newest jobs, newest first; with `team` only that team's."""
        own = () if team is None else (jobs.c.team == team,)
        chosen = sa.select(jobs).where(*own).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        return [Job(**row._mapping) for row in await self._store.read(chosen)]

    async def waiting(self) -> list[str]:
        """Return the ids of the queued jobs, oldest first."""
        chosen = sa.select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.created_at, jobs.c.id)
        return [row.id for row in await self._store.read(chosen)]

    async def running(self) -> list[Job]:
        """Return the jobs that run, or whose process died without a word."""
        return [Job(**row._mapping) for row in await self._store.read(sa.select(jobs).where(jobs.c.state == "running"))]

    async def claim(self, job_id: str) -> bool:
        """Let a queued job run if none other of its kind does; False where it may not."""
        now = self._clock()
        others = jobs.alias("others")
        other = sa.select(others.c.id).where(others.c.state == "running", others.c.kind == jobs.c.kind).correlate(jobs).exists()
        values = {"state": "running", "started_at": now, "heartbeat_at": now, "step": "starting"}

        async def work(connection: AsyncConnection) -> bool:
            await dialects.take_turns(connection, "jobs")
            changed = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued", ~other).values(values)
            result: sa.CursorResult[Any] = await connection.execute(changed)
            return bool(result.rowcount)

        return await self._store.run(work)

    async def beat(self, job_id: str, progress: float, step: str) -> bool:
        """Say that a running job lives, and how far it is; False where it runs no more: it was cancelled, or given up for dead."""
        return await self._change(job_id, {"heartbeat_at": self._clock(), "progress": min(max(progress, 0.0), 1.0), "step": step})

    async def finish(self, job_id: str, result: Mapping[str, Any]) -> bool:
        """End a running job well; False where it runs no more."""
        now = self._clock()
        values = {"state": "done", "progress": 1.0, "step": "done", "result": dict(result), "heartbeat_at": now, "ended_at": now}
        return await self._end(job_id, values, "job.done")

    async def fail(self, job_id: str, error: Mapping[str, Any], *, silent_for: timedelta | None = None) -> bool:
        """End a running job with a problem; False where it runs no more, or was heard of within `silent_for`."""
        now = self._clock()
        heard = () if silent_for is None else (jobs.c.heartbeat_at <= now - silent_for,)
        return await self._end(job_id, {"state": "failed", "error": dict(error), "ended_at": now}, "job.failed", *heard)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended, and return it as it is then.

        Raises:
            UnknownJob: there is none of that id.
        """
        values = {"state": "cancelled", "ended_at": self._clock()}
        waits_or_runs = jobs.c.state.in_(("queued", "running"))
        await self._store.execute(sa.update(jobs).where(jobs.c.id == job_id, waits_or_runs).values(values))
        return await self.get(job_id)

    async def _change(self, job_id: str, values: Mapping[str, Any]) -> bool:
        return bool(await self._store.execute(_of_running(job_id, values)))

    async def _end(self, job_id: str, values: Mapping[str, Any], event: Event, *further: sa.ColumnElement[bool]) -> bool:
        async def work(connection: AsyncConnection) -> bool:
            ended = (await connection.execute(_of_running(job_id, values).where(*further))).rowcount
            if ended:
                job = Job(**(await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).one()._mapping)
                await announce(connection, event, job_id, {"job": _told(job)}, values["ended_at"], team=job.team)
            return bool(ended)

        return await self._store.run(work)


def _of_running(job_id: str, values: Mapping[str, Any]) -> sa.Update:
    return sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state == "running").values(dict(values))


def _told(job: Job) -> dict[str, Any]:
    """Return what webhooks are told of a job that ended; its result may be large, and is asked for."""
    told = {name: getattr(job, name) for name in ("id", "kind", "state", "error", "created_at", "started_at", "ended_at")}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
