"""Alarms about reviewers, and the notices of them that wait for their receivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, NotFound
from candor.ids import new_id
from store.audit import Actor, record
from store.dialects import insert_ignoring, take_turns
from store.moments import utc_now
from store.store import Store
from store.tables import notices, review_alarms
from store.webhooks import announce

LEASE = timedelta(minutes=2)  # a notice whose sender died is taken up by another after that


@dataclass(frozen=True, slots=True)
class ReviewAlarm:
    """An alarm about a reviewer; it is open until somebody clears it. `honeypots` is the one of theirs, counted, at which it was raised."""

    id: str
    team: str
    project: str
    reviewer: str
    evidence: Mapping[str, Any]
    raised_at: datetime
    honeypots: int
    cleared_at: datetime | None
    cleared_by: str | None
    reason: str | None

    @property
    def open(self) -> bool:
        """Whether nobody has cleared it."""
        return self.cleared_at is None


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is to be told of alarms: an address, and in which form."""

    url: str
    form: str = "candor"


@dataclass(frozen=True, slots=True)
class Notice:
    """What somebody is to be told, and how far that has got."""

    id: str
    team: str
    project: str
    alarm: str
    event: str
    url: str
    form: str
    body: Mapping[str, Any]
    attempts: int
    next_at: datetime
    ended_at: datetime | None
    error: str | None
    created_at: datetime


class ReviewAlarms:
    """The alarms of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def raise_once(
        self, team: str, project: str, reviewer: str, honeypots: int, evidence: Mapping[str, Any], receivers: Sequence[Receiver] = ()
    ) -> ReviewAlarm | None:
        """Raise an alarm and put down whom to tell of it; None where one about the reviewer is open, or this one was raised before."""
        values = {"team": team, "project": project, "reviewer": reviewer, "honeypots": honeypots, "evidence": dict(evidence)}

        async def work(connection: AsyncConnection) -> ReviewAlarm | None:
            await take_turns(connection, f"review_alarms {team} {project} {reviewer}")
            standing = await connection.execute(_of(team, project).where(review_alarms.c.reviewer == reviewer, _is_open()).limit(1))
            if standing.first() is not None:
                return None
            alarm_id, now = new_id("ral"), self._clock()
            insert = insert_ignoring(connection.dialect, review_alarms).values(id=alarm_id, raised_at=now, **values)
            if not (await connection.execute(insert)).rowcount:
                return None
            alarm = ReviewAlarm(alarm_id, team, project, reviewer, dict(evidence), now, honeypots, None, None, None)
            await _put_down(connection, alarm, "raised", receivers, now)
            return alarm

        return await self._store.run(work)

    async def clear(
        self, actor: Actor, team: str, project: str, alarm_id: str, reason: str, receivers: Sequence[Receiver] = ()
    ) -> ReviewAlarm:
        """Clear an alarm: who did and why is kept.

        Raises:
            NotFound: the project has no such alarm.
            Conflict: it was cleared before.
        """

        async def work(connection: AsyncConnection) -> ReviewAlarm:
            now = self._clock()
            change = {"cleared_at": now, "cleared_by": actor.key, "reason": reason}
            mine = (review_alarms.c.team == team, review_alarms.c.project == project, review_alarms.c.id == alarm_id)
            done = await connection.execute(sa.update(review_alarms).where(*mine, _is_open()).values(change))
            row = (await connection.execute(sa.select(review_alarms).where(*mine))).one_or_none()
            if row is None:
                raise NotFound(f"project {project!r} has no alarm {alarm_id!r}")
            alarm = ReviewAlarm(**row._mapping)
            if not done.rowcount:
                raise Conflict(f"the alarm was cleared by {alarm.cleared_by}: {alarm.reason}")
            detail = {"project": project, "reviewer": alarm.reviewer, "reason": reason}
            await record(connection, actor, "review_alarm.cleared", alarm_id, detail)
            await _put_down(connection, alarm, "cleared", receivers, now)
            return alarm

        return await self._store.run(work)

    async def of_project(self, team: str, project: str, *, reviewer: str | None = None, only_open: bool = False) -> list[ReviewAlarm]:
        """Return the alarms of a project, the newest first."""
        chosen = _of(team, project).order_by(review_alarms.c.raised_at.desc(), review_alarms.c.id.desc())
        if reviewer is not None:
            chosen = chosen.where(review_alarms.c.reviewer == reviewer)
        if only_open:
            chosen = chosen.where(_is_open())
        return [ReviewAlarm(**row._mapping) for row in await self._store.read(chosen)]

    async def get(self, team: str, project: str, alarm_id: str) -> ReviewAlarm | None:
        """Return one alarm of a project; None where it has no such."""
        found = await self._store.read(_of(team, project).where(review_alarms.c.id == alarm_id))
        return ReviewAlarm(**found[0]._mapping) if found else None

    # --- notices

    async def notices_of(self, team: str, project: str, limit: int = 100) -> list[Notice]:
        """Return the notices of a project, the newest first, with what became of them."""
        mine = (notices.c.team == team, notices.c.project == project)
        chosen = sa.select(notices).where(*mine).order_by(notices.c.id.desc()).limit(limit)
        return [Notice(**row._mapping) for row in await self._store.read(chosen)]

    async def due(self, limit: int = 20) -> list[Notice]:
        """Take notices that are due; no other sender gets them for two minutes."""

        async def work(connection: AsyncConnection) -> list[Notice]:
            await take_turns(connection, "notices")
            now = self._clock()
            chosen = (
                sa.select(notices).where(notices.c.ended_at.is_(None), notices.c.next_at <= now).order_by(notices.c.next_at).limit(limit)
            )
            found = [Notice(**row._mapping) for row in await connection.execute(chosen)]
            if found:
                mine = notices.c.id.in_([one.id for one in found])
                await connection.execute(sa.update(notices).where(mine).values(attempts=notices.c.attempts + 1, next_at=now + LEASE))
            return found

        if not await self._store.read(
            sa.select(notices.c.id).where(notices.c.ended_at.is_(None), notices.c.next_at <= self._clock()).limit(1)
        ):
            return []  # the usual case, without a write
        return await self._store.run(work)

    async def told(self, notice_id: str, error: str | None = None, again_in: timedelta | None = None) -> None:
        """Put down what became of an attempt: sent (no error), to be tried again, or given up."""
        now = self._clock()
        change = {"error": error, **({"ended_at": now} if again_in is None else {"next_at": now + again_in})}
        await self._store.execute(sa.update(notices).where(notices.c.id == notice_id).values(change))


def as_json(alarm: ReviewAlarm) -> dict[str, Any]:
    """Return an alarm as JSON values."""
    found = {one.name: getattr(alarm, one.name) for one in fields(alarm) if one.name != "team"}
    return {**found, "raised_at": alarm.raised_at.isoformat(), "cleared_at": alarm.cleared_at and alarm.cleared_at.isoformat()}


async def _put_down(connection: AsyncConnection, alarm: ReviewAlarm, event: str, receivers: Sequence[Receiver], now: datetime) -> None:
    data = {"project": alarm.project, "alarm": as_json(alarm)}
    await announce(connection, f"alarm.{event}", alarm.id, data, now, team=alarm.team, project=alarm.project)
    for one in receivers:
        body = {"event": f"review_alarm.{event}", "alarm": as_json(alarm)}
        values: dict[str, Any] = {
            "id": new_id("ntc"),
            "team": alarm.team,
            "project": alarm.project,
            "alarm": alarm.id,
            "event": event,
            "body": body,
        }
        values |= {"url": one.url, "form": one.form, "attempts": 0, "next_at": now, "created_at": now}
        await connection.execute(insert_ignoring(connection.dialect, notices).values(values))


def _of(team: str, project: str) -> sa.Select[Any]:
    return sa.select(review_alarms).where(review_alarms.c.team == team, review_alarms.c.project == project)


def _is_open() -> sa.ColumnElement[bool]:
    return review_alarms.c.cleared_at.is_(None)
