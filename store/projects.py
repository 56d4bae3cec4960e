"""Projects in the store: as they are now, and every revision that they had. A body is JSON that `serving.projects` has checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, UnknownProject
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.tables import project_revisions as revisions
from store.tables import projects


@dataclass(frozen=True, slots=True)
class Project:
    """One project as it is now."""

    team: str
    name: str
    revision: int
    body: Mapping[str, Any]
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Revision:
    """What a project was from a moment on; without a body it was deleted. `by` is the id of an API key, `operator` or `none`."""

    revision: int
    body: Mapping[str, Any] | None
    by: str
    at: datetime


class Projects:
    """The projects of one store. A team sees its own alone."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def put(self, actor: Actor, name: str, body: Mapping[str, Any], expected: int | None = None) -> Project:
        """Make a project of the actor's team, or change it. The same body again is no new revision.

        `expected` is the revision that the caller has seen: 0 where there must be none.

        Raises:
            Conflict: it has another revision.
        """

        async def work(connection: AsyncConnection) -> Project:
            now = self._clock()
            before = await _locked(connection, actor.team, name)
            _check(name, before, expected)
            if before is not None and before.body == body:
                return before
            number = await _last_revision(connection, actor.team, name) + 1
            created = before.created_at if before else now
            project = Project(actor.team, name, number, dict(body), created, now)
            values = {column.name: getattr(project, column.name) for column in projects.columns}
            change = sa.insert(projects) if before is None else sa.update(projects).where(*_of(projects, actor.team, name))
            await connection.execute(change.values(values))
            await _remember(connection, actor, name, number, project.body, now)
            fields = sorted(field for field in body if before is None or before.body.get(field) != body[field])
            detail = {"revision": number, "fields": fields}
            await record(connection, actor, "project.changed" if before else "project.created", name, detail)
            return project

        return await self._store.run(work)

    async def delete(self, actor: Actor, name: str, expected: int | None = None) -> None:
        """Delete a project of the actor's team; its history stays, and drafts keep its name.

        Raises:
            UnknownProject: there is none of that name.
            Conflict: it has another revision than `expected`.
        """

        async def work(connection: AsyncConnection) -> None:
            before = await _locked(connection, actor.team, name)
            if before is None:
                raise _unknown(name)
            _check(name, before, expected)
            number = await _last_revision(connection, actor.team, name) + 1
            await connection.execute(sa.delete(projects).where(*_of(projects, actor.team, name)))
            await _remember(connection, actor, name, number, None, self._clock())
            await record(connection, actor, "project.deleted", name, {"revision": number})

        await self._store.run(work)

    async def get(self, team: str, name: str) -> Project:
        """Return one project.

        Raises:
            UnknownProject: the team has none of that name.
        """
        found = await self._store.read(sa.select(projects).where(*_of(projects, team, name)))
        if not found:
            raise _unknown(name)
        return Project(**found[0]._mapping)

    async def of_team(self, team: str, *, after: str | None = None, limit: int = 100) -> list[Project]:
        """Return a team's projects by name; `after` is the last name of the page before."""
        chosen = sa.select(projects).where(projects.c.team == team).order_by(projects.c.name).limit(limit)
        if after is not None:
            chosen = chosen.where(projects.c.name > after)
        return [Project(**row._mapping) for row in await self._store.read(chosen)]

    async def history(self, team: str, name: str) -> list[Revision]:
        """Return all revisions, the newest first; also those of a project that was deleted.

        Raises:
            UnknownProject: the team never had one of that name.
        """
        columns = [revisions.c[field] for field in Revision.__slots__]
        found = await self._store.read(sa.select(*columns).where(*_of(revisions, team, name)).order_by(revisions.c.revision.desc()))
        if not found:
            raise _unknown(name)
        return [Revision(**row._mapping) for row in found]

    async def changes(self) -> int:
        """Return how many changes there were, of all teams: a number that grows."""
        (row,) = await self._store.read(sa.select(sa.func.count().label("number")).select_from(revisions))
        return int(row.number)

    async def everything(self) -> Sequence[Project]:
        """Return the projects of all teams."""
        return [Project(**row._mapping) for row in await self._store.read(sa.select(projects))]


def _of(table: sa.Table, team: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.team == team, table.c.name == name


async def _locked(connection: AsyncConnection, team: str, name: str) -> Project | None:
    """Return a project, which nobody else changes until the transaction ends; None where there is none."""
    row = (await connection.execute(sa.select(projects).where(*_of(projects, team, name)).with_for_update())).first()
    return None if row is None else Project(**row._mapping)


def _check(name: str, before: Project | None, expected: int | None) -> None:
    found = before.revision if before else 0
    if expected in (None, found):
        return
    if before is None:
        raise Conflict(f"there is no project {name!r} any more: leave If-Match out to make it")
    if expected == 0:
        raise Conflict(f"there is a project {name!r} already, revision {found}: change it with PUT /v1/projects/{name}")
    raise Conflict(f"project {name!r} has revision {found}, not {expected}: read it again and repeat your change")


async def _last_revision(connection: AsyncConnection, team: str, name: str) -> int:
    """Also of one that was deleted: a number is given once."""
    return (await connection.execute(sa.select(sa.func.max(revisions.c.revision)).where(*_of(revisions, team, name)))).scalar() or 0


async def _remember(
    connection: AsyncConnection, actor: Actor, name: str, number: int, body: Mapping[str, Any] | None, at: datetime
) -> None:
    values = {"team": actor.team, "name": name, "revision": number, "body": body, "by": actor.key, "at": at}
    await connection.execute(sa.insert(revisions).values(values))


def _unknown(name: str) -> UnknownProject:
    return UnknownProject(f"there is no project {name!r}; GET /v1/projects lists yours")
