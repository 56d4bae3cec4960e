"""Aliases of registered models: movable pointers to versions. A move is one transaction, and every move is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, NothingToRollBack, UnknownAlias, UnknownModel
from store.audit import Actor, record
from store.moments import utc_now
from store.registry import Alias, changing, write_move
from store.store import Store
from store.tables import alias_moves, aliases, versions


@dataclass(frozen=True, slots=True)
class Target:
    """Where an alias is to point. Both are full names, `name@sha256:…`; the canary takes that share of the items, 0 to 1."""

    version: str
    canary: str | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move that was made. A version of None says that the alias was removed."""

    team: str
    model: str
    alias: str
    revision: int
    version: str | None
    canary: str | None
    share: float
    by: str
    at: datetime


class Aliases:
    """The aliases of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def of_model(self, team: str, model: str) -> list[Alias]:
        """Return a model's aliases, by name."""
        query = sa.select(aliases).where(aliases.c.team == team, aliases.c.model == model).order_by(aliases.c.alias)
        return [Alias(**row._mapping) for row in await self._store.read(query)]

    async def get(self, team: str, model: str, alias: str) -> Alias:
        """Return one alias.

        Raises:
            UnknownAlias: the model has none of that name.
        """
        found = await self._store.read(sa.select(aliases).where(*_is(aliases, team, model, alias)))
        if not found:
            raise _unknown(model, alias)
        return Alias(**found[0]._mapping)

    async def move(self, actor: Actor, model: str, alias: str, target: Target, *, if_revision: int | None = None) -> Alias:
        """Point an alias to a version, at once and wholly. With `if_revision` only where it is still at that revision; 0: it is not there.

        Raises:
            UnknownModel: the team has no such version of the model.
            Conflict: a version is not ready, or the alias is at another revision.
        """

        async def work(connection: AsyncConnection) -> Alias:
            await changing(connection)
            for version in (target.version, target.canary):
                if version is not None:
                    await _must_be_ready(connection, actor.team, model, version)
            standing = await _row(connection, actor.team, model, alias)
            _check_revision(model, alias, standing, if_revision)
            return await self._write(connection, actor, model, alias, target, "alias.moved")

        return await self._store.run(work)

    async def remove(self, actor: Actor, model: str, alias: str, *, if_revision: int | None = None) -> None:
        """Take an alias away; its history stays, and a later alias of the name goes on with its revisions.

        Raises:
            UnknownAlias: the model has none of that name.
            Conflict: it is at another revision.
        """

        async def work(connection: AsyncConnection) -> None:
            await changing(connection)
            standing = await _row(connection, actor.team, model, alias)
            if standing is None:
                raise _unknown(model, alias)
            _check_revision(model, alias, standing, if_revision)
            await self._write(connection, actor, model, alias, None, "alias.removed")

        await self._store.run(work)

    async def roll_back(self, actor: Actor, model: str, alias: str, *, if_revision: int | None = None) -> Alias:
        """Point an alias to where it pointed before its newest move. That is itself a move: done twice, it is back where it was.

        Raises:
            UnknownAlias: the model has none of that name.
            NothingToRollBack: it was never elsewhere, or the version that it pointed to is ready no more.
            Conflict: it is at another revision.
        """

        async def work(connection: AsyncConnection) -> Alias:
            await changing(connection)
            standing = await _row(connection, actor.team, model, alias)
            if standing is None:
                raise _unknown(model, alias)
            _check_revision(model, alias, standing, if_revision)
            before = await _before(connection, standing)
            for version in (before.version, before.canary):
                if version is not None:
                    try:
                        await _must_be_ready(connection, actor.team, model, version)
                    except (UnknownModel, Conflict) as error:
                        raise NothingToRollBack(f"{model}@{alias} can't go back: {error.detail}") from error
            return await self._write(connection, actor, model, alias, before, "alias.rolled_back")

        return await self._store.run(work)

    async def history(self, team: str, model: str, alias: str, *, before: int | None = None, limit: int = 100) -> list[AliasMove]:
        """Return the moves of an alias, the newest first, also of one that was removed; `before` is a revision.

        Raises:
            UnknownAlias: there never was one of that name.
        """
        older = () if before is None else (alias_moves.c.revision < before,)
        query = sa.select(alias_moves).where(*_is(alias_moves, team, model, alias), *older)
        found = await self._store.read(query.order_by(alias_moves.c.revision.desc()).limit(limit))
        if not found and before is None:
            raise _unknown(model, alias)
        return [AliasMove(**row._mapping) for row in found]

    async def _write(self, connection: AsyncConnection, actor: Actor, model: str, alias: str, target: Target | None, action: str) -> Alias:
        newest = sa.select(sa.func.max(alias_moves.c.revision)).where(*_is(alias_moves, actor.team, model, alias))
        revision = int((await connection.execute(newest)).scalar() or 0) + 1
        version, canary, share = (target.version, target.canary, target.share) if target else (None, None, 0.0)
        values: dict[str, Any] = {
            **{"team": actor.team, "model": model, "alias": alias, "version": version, "canary": canary},
            **{"share": share, "revision": revision, "moved_at": self._clock()},
        }
        await write_move(connection, values, actor.key)
        detail = {"version": version, "canary": canary, "share": share, "revision": revision}
        await record(connection, actor, action, f"{model}@{alias}", detail)
        return Alias(**values)


async def _before(connection: AsyncConnection, standing: Alias) -> Target:
    """Return where the alias pointed before its newest move."""
    which = _is(alias_moves, standing.team, standing.model, standing.alias)
    query = sa.select(alias_moves).where(*which, alias_moves.c.revision < standing.revision).order_by(alias_moves.c.revision.desc())
    row = (await connection.execute(query.limit(1))).first()
    if row is None or row.version is None:
        raise NothingToRollBack(f"{standing.model}@{standing.alias} pointed nowhere before {standing.version}")
    return Target(row.version, row.canary, row.share)


async def _must_be_ready(connection: AsyncConnection, team: str, model: str, version: str) -> None:
    which = (versions.c.team == team, versions.c.model == model, versions.c.version == version)
    state = (await connection.execute(sa.select(versions.c.state).where(*which))).scalar()
    if state is None:
        raise UnknownModel(f"{model} has no version {version}: GET /v1/models/{model}/versions lists them")
    if state != "ready":
        raise Conflict(f"{version} is {state}: an alias points to ready versions alone")


async def _row(connection: AsyncConnection, team: str, model: str, alias: str) -> Alias | None:
    row = (await connection.execute(sa.select(aliases).where(*_is(aliases, team, model, alias)))).first()
    return None if row is None else Alias(**row._mapping)


def _check_revision(model: str, alias: str, standing: Alias | None, wanted: int | None) -> None:
    now = standing.revision if standing else 0
    if wanted is not None and wanted != now:
        where = f"is at revision {now}" if standing else "is not there"
        raise Conflict(f"{model}@{alias} {where}, not at {wanted}: somebody moved it meanwhile. Look at it again, then decide")


def _is(table: sa.Table, team: str, model: str, alias: str) -> Sequence[sa.ColumnElement[bool]]:
    return (table.c.team == team, table.c.model == model, table.c.alias == alias)


def _unknown(model: str, alias: str) -> UnknownAlias:
    return UnknownAlias(f"{model} has no alias {alias!r}: GET /v1/models/{model}/aliases lists them")
