"""Registered model versions: what each was made of, where its validation stands, and whether it may draft.

Whoever writes here or to the aliases counts one change first (`changing`): on PostgreSQL that makes writers wait for each other, as
SQLite's do anyway, so that what a transaction looked at stays so until it ends; and a reader knows by that number whether there is
anything new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, InUse, UnknownModel
from candor.ids import new_id
from candor.manifest import Manifest
from candor.predictions import Task
from store import dialects
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.tables import alias_moves, aliases, drafts, registry_changes, uploads, versions

State: TypeAlias = Literal["validating", "ready", "failed", "retired"]
STATES: tuple[State, ...] = get_args(State)
PRODUCTION = "production"  # the alias that a model's name alone stands for


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One registered version. `version` is its full name, `name@sha256:…`, known with its manifest once it was taken in."""

    id: str
    team: str
    model: str
    task: Task
    version: str | None
    state: State
    request: Mapping[str, Any]
    manifest: Mapping[str, Any] | None
    report: Mapping[str, Any] | None
    bytes: int
    job: str | None
    created_by: str
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """What the replicas read of every version; its manifest and report are read once (`Registry.contents`), for they never change."""

    id: str
    team: str
    model: str
    task: Task
    version: str | None
    state: State


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an alias points: a version, and one that takes a share of the items from it."""

    team: str
    model: str
    alias: str
    version: str
    canary: str | None
    share: float
    revision: int
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class RegistryStanding:
    """All versions and aliases at one moment."""

    versions: Sequence[VersionRow]
    aliases: Sequence[Alias]


@dataclass(frozen=True, slots=True)
class Content:
    """What a version is, and what its validation found."""

    id: str
    manifest: Manifest
    report: Mapping[str, Any]
    bytes: int


class Registry:
    """The registered versions of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, actor: Actor, model: str, task: str, request: Mapping[str, Any]) -> RegisteredVersion:
        """Store a version that is to be validated."""
        values: dict[str, Any] = {
            "id": new_id("ver"),
            "team": actor.team,
            "model": model,
            "task": task,
            "state": "validating",
            "request": dict(request),
            "bytes": 0,
            "created_by": actor.key,
            "created_at": self._clock(),
        }

        async def work(connection: AsyncConnection) -> RegisteredVersion:
            await changing(connection)
            await connection.execute(sa.insert(versions).values(values))
            detail = {"family": request.get("family"), "task": task, "artifact": request.get("artifact")}
            await record(connection, actor, "version.registered", f"{model}/{values['id']}", detail)
            return await _get(connection, values["id"])

        return await self._store.run(work)

    async def attach(self, version_id: str, job: str) -> None:
        """Remember which job validates the version."""
        await self._store.execute(sa.update(versions).where(versions.c.id == version_id).values(job=job))

    async def get(self, version_id: str, team: str | None = None) -> RegisteredVersion:
        """Return one version by its id `ver_…`; with `team` only if it is that team's.

        Raises:
            UnknownModel: there is none of that id.
        """
        own = () if team is None else (versions.c.team == team,)
        found = await self._store.read(sa.select(versions).where(versions.c.id == version_id, *own))
        if not found:
            raise UnknownModel(f"there is no version {version_id!r}")
        return _version(found[0])

    async def of_model(self, team: str, model: str, *, after: str | None = None, limit: int = 100) -> list[RegisteredVersion]:
        """Return a model's versions, the newest first; `after` is the last id of the page before."""
        query = sa.select(versions).where(versions.c.team == team, versions.c.model == model)
        if after is not None:  # ids sort by time
            query = query.where(versions.c.id < after)
        return [_version(row) for row in await self._store.read(query.order_by(versions.c.id.desc()).limit(limit))]

    async def by_digest(self, team: str, model: str, prefix: str) -> list[RegisteredVersion]:
        """Return a model's versions whose digest `sha256:…` begins so; at most two, which is enough to see that it is not one."""
        name = f"{model}@{prefix}"
        begins = sa.func.substr(versions.c.version, 1, len(name)) == name
        query = sa.select(versions).where(versions.c.team == team, versions.c.model == model, begins).limit(2)
        return [_version(row) for row in await self._store.read(query)]

    async def settle(self, version_id: str, manifest: Manifest, report: Mapping[str, Any], size: int) -> RegisteredVersion:
        """Make a validated version ready, all at once; the model's first one gets the alias `production`.

        The same content registered again is the version that there is: it is returned, ready also where it was retired, and this row
        goes.

        Raises:
            UnknownModel: the version was deleted meanwhile.
            Conflict: it is settled already.
        """
        now = self._clock()

        async def work(connection: AsyncConnection) -> RegisteredVersion:
            await changing(connection)
            own = await _get(connection, version_id)
            if own.state != "validating":
                raise Conflict(f"{version_id} is {own.state} already")
            values = {"state": "ready", "manifest": manifest.as_json(), "report": dict(report), "bytes": size, "settled_at": now}
            earlier = (await connection.execute(sa.select(versions.c.id).where(versions.c.version == manifest.version))).scalar()
            if earlier is not None:
                await connection.execute(sa.delete(versions).where(versions.c.id == version_id))
                await connection.execute(sa.update(versions).where(versions.c.id == earlier).values(values))
            else:
                named = {**values, "version": manifest.version}
                await connection.execute(sa.update(versions).where(versions.c.id == version_id).values(named))
            actor = Actor(own.team, own.created_by)
            await record(connection, actor, "version.ready", manifest.version, {"id": earlier or version_id})
            await _first_alias(connection, own, manifest.version, now)
            return await _get(connection, earlier or version_id)

        return await self._store.run(work)

    async def fail(self, version_id: str, report: Mapping[str, Any], *, only_if_validating: bool = True) -> bool:
        """End a validation that found the version wrong; False where it is settled, or gone. A failed version never drafts."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> bool:
            await changing(connection)
            which = [versions.c.id == version_id, *([versions.c.state == "validating"] if only_if_validating else [])]
            values = {"state": "failed", "report": dict(report), "settled_at": now}
            failed = bool((await connection.execute(sa.update(versions).where(*which).values(values))).rowcount)
            if failed:
                own = await _get(connection, version_id)
                problem = (report.get("problem") or {}).get("detail", "")
                await record(connection, Actor(own.team, own.created_by), "version.failed", f"{own.model}/{own.id}", {"problem": problem})
            return failed

        return await self._store.run(work)

    async def retire(self, actor: Actor, version_id: str) -> RegisteredVersion:
        """Let a version draft no more; what it drafted stays readable. Done twice, it changes nothing.

        Raises:
            UnknownModel: the team has no such version.
            InUse: aliases point to it; the detail names them.
            Conflict: it is not ready.
        """

        async def work(connection: AsyncConnection) -> RegisteredVersion:
            await changing(connection)
            own = await _get(connection, version_id, actor.team)
            if own.state == "retired":
                return own
            if own.state != "ready":
                raise Conflict(f"{version_id} is {own.state}: only a ready version can be retired; delete this one")
            await _refuse_aliased(connection, own)
            await connection.execute(sa.update(versions).where(versions.c.id == version_id).values(state="retired"))
            await record(connection, actor, "version.retired", own.version or version_id)
            return await _get(connection, version_id)

        return await self._store.run(work)

    async def delete(self, actor: Actor, version_id: str) -> list[str]:
        """Delete a version that no draft and no alias refers to. Return the SHA-256 of its files that nothing else here names.

        Drafts are counted before, for that may take long: one that is being made by the version's digest in this moment stays, without
        its version.

        Raises:
            UnknownModel: the team has no such version.
            InUse: drafts or aliases refer to it; the detail says which, or how many.
        """
        found = await self.get(version_id, actor.team)
        if found.version and (count := await self._drafts_of(found.version)):
            raise InUse(f"{found.version} made {count:,} drafts, which refer to it: retire it instead, so that it drafts no more")

        async def work(connection: AsyncConnection) -> list[str]:
            await changing(connection)
            own = await _get(connection, version_id, actor.team)
            await _refuse_aliased(connection, own)
            await connection.execute(sa.delete(versions).where(versions.c.id == version_id))
            await record(connection, actor, "version.deleted", own.version or f"{own.model}/{own.id}", {"state": own.state})
            return await _unshared(connection, (own.manifest or {}).get("files", {}).values())

        return await self._store.run(work)

    async def number(self) -> int:
        """Return how often versions and aliases were written to."""
        found = await self._store.read(sa.select(registry_changes.c.number))
        return int(found[0].number) if found else 0

    async def standing(self) -> RegistryStanding:
        """Return all versions and aliases, in one statement and so as of one moment."""
        rows = await self._store.read(_STANDING)
        found = {row.id: VersionRow(row.id, row.team, row.model, row.task, row.version, row.state) for row in rows}
        pointing = [
            Alias(row.team, row.model, row.alias, row.version, row.canary, row.share, row.revision, row.moved_at)
            for row in rows
            if row.alias is not None
        ]
        return RegistryStanding(list(found.values()), pointing)

    async def contents(self, ids: Iterable[str]) -> list[Content]:
        """Return the manifests and reports of these versions, those that have one."""
        chosen = sa.select(versions.c.id, versions.c.manifest, versions.c.report, versions.c.bytes).where(versions.c.id.in_(list(ids)))
        return [
            Content(row.id, Manifest.from_json(row.manifest), row.report or {}, row.bytes)
            for row in await self._store.read(chosen)
            if row.manifest is not None
        ]

    async def _drafts_of(self, version: str) -> int:
        counted = sa.select(sa.func.count()).select_from(drafts).where(drafts.c.model_version == version)
        return int((await self._store.read(counted))[0][0])


async def changing(connection: AsyncConnection) -> None:
    """Count one change, first thing in a transaction that writes to versions or aliases; the next one waits until it ends."""
    await connection.execute(dialects.insert_ignoring(connection.dialect, registry_changes).values(id=1, number=0))
    await connection.execute(sa.update(registry_changes).values(number=registry_changes.c.number + 1))


async def write_move(connection: AsyncConnection, values: Mapping[str, Any], by: str) -> None:
    """Put an alias where `values` say, and keep the move. A version of None removes it."""
    moved = {name: values[name] for name in ("team", "model", "alias", "revision", "version", "canary", "share")}
    await connection.execute(sa.insert(alias_moves).values(**moved, by=by, at=values["moved_at"]))
    which = [aliases.c[name] == values[name] for name in ("team", "model", "alias")]
    await connection.execute(sa.delete(aliases).where(*which))
    if values["version"] is not None:
        await connection.execute(sa.insert(aliases).values(dict(values)))


async def _first_alias(connection: AsyncConnection, own: RegisteredVersion, version: str, now: datetime) -> None:
    """Point `production` to the model's first version. A model whose alias was ever moved is its owner's to point."""
    which = (alias_moves.c.team == own.team, alias_moves.c.model == own.model, alias_moves.c.alias == PRODUCTION)
    if (await connection.execute(sa.select(alias_moves.c.revision).where(*which).limit(1))).first() is not None:
        return
    named = {"team": own.team, "model": own.model, "alias": PRODUCTION, "version": version, "canary": None, "share": 0.0}
    await write_move(connection, {**named, "revision": 1, "moved_at": now}, own.created_by)
    detail = {"version": version, "revision": 1, "first": True}
    await record(connection, Actor(own.team, own.created_by), "alias.moved", f"{own.model}@{PRODUCTION}", detail)


async def _get(connection: AsyncConnection, version_id: str, team: str | None = None) -> RegisteredVersion:
    own = () if team is None else (versions.c.team == team,)
    row = (await connection.execute(sa.select(versions).where(versions.c.id == version_id, *own))).first()
    if row is None:
        raise UnknownModel(f"there is no version {version_id!r}")
    return _version(row)


async def _refuse_aliased(connection: AsyncConnection, own: RegisteredVersion) -> None:
    if own.version is None:
        return
    points = (aliases.c.version == own.version) | (aliases.c.canary == own.version)
    found = (await connection.execute(sa.select(aliases.c.alias).where(points).order_by(aliases.c.alias))).scalars().all()
    if found:
        raise InUse(
            f"{own.version} is what {', '.join(f'{own.model}@{alias}' for alias in found)} points to: move it to another version first"
        )


async def _unshared(connection: AsyncConnection, files: Iterable[str]) -> list[str]:
    """Return those of the files that no version and no upload names. While a validation runs it may be storing the same: then none."""
    wanted = set(files)
    if not wanted:
        return []
    if (await connection.execute(sa.select(versions.c.id).where(versions.c.state == "validating").limit(1))).first() is not None:
        return []
    for (named,) in await connection.execute(sa.select(versions.c.manifest["files"]).where(versions.c.manifest.is_not(None))):
        wanted -= set((named or {}).values())
    uploaded = await connection.execute(sa.select(uploads.c.sha256).where(uploads.c.sha256.in_(wanted)))
    return sorted(wanted - set(uploaded.scalars()))


def _version(row: sa.Row[Any]) -> RegisteredVersion:
    return RegisteredVersion(**row._mapping)


def _standing_query() -> sa.Select[Any]:
    of_version = [versions.c[name] for name in ("id", "team", "model", "task", "version", "state")]
    of_alias = [aliases.c[name] for name in ("alias", "canary", "share", "revision", "moved_at")]
    joined = versions.outerjoin(aliases, aliases.c.version == versions.c.version)
    return sa.select(*of_version, *of_alias).select_from(joined).order_by(versions.c.id, aliases.c.alias)


_STANDING = _standing_query()
