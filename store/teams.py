"""Teams and their API keys. Of a key's secret only the SHA-256 is kept: it has 256 random bits, which no dictionary holds, so that a slow
hash would protect nothing and would cost every request its time."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, InUse, UnknownKey, UnknownTeam
from candor.ids import new_id
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.tables import api_keys, drafts, jobs, partial_uploads, projects, teams, uploads, versions
from store.tool_tables import connections, webhooks

PREFIX = "cdr"
_SECRET_BYTES = 32
_OWNING = (drafts, uploads, partial_uploads, jobs, projects, versions, connections, webhooks)


@dataclass(frozen=True, slots=True)
class Team:
    """One team. `limits` holds those limits that are its own: items_per_minute and storage_bytes."""

    name: str
    limits: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret. It is valid until `expires_at`, and until it is revoked."""

    id: str
    team: str
    name: str
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def valid(self, now: datetime) -> bool:
        """Whether the key opens anything at a moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Found:
    """What a key is checked with: the key, the hash of its secret, and its team's own limits."""

    key: ApiKey
    secret_sha256: str
    limits: Mapping[str, Any]


def secret_hash(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Teams:
    """Reads and writes of teams and keys. Every write is in the audit log."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, actor: Actor, name: str, limits: Mapping[str, Any]) -> Team:
        """Make a team.

        Raises:
            Conflict: there is one of that name.
        """
        made = Team(name, dict(limits), self._clock())

        async def work(connection: AsyncConnection) -> Team:
            if (await connection.execute(sa.select(teams.c.name).where(teams.c.name == name))).first():
                raise Conflict(f"there is a team {name!r} already; PATCH /v1/teams/{name} changes its limits")
            await connection.execute(sa.insert(teams).values(name=name, limits=made.limits, created_at=made.created_at))
            await record(connection, actor, "team.created", name, {"limits": made.limits})
            return made

        return await self._store.run(work)

    async def get(self, name: str) -> Team:
        """Return one team.

        Raises:
            UnknownTeam: there is none of that name.
        """
        found = await self._store.read(sa.select(teams).where(teams.c.name == name))
        if not found:
            raise _no_team(name)
        return Team(**found[0]._mapping)

    async def all(self) -> list[Team]:
        """Return all teams, by name."""
        return [Team(**row._mapping) for row in await self._store.read(sa.select(teams).order_by(teams.c.name))]

    async def limit(self, actor: Actor, name: str, limits: Mapping[str, Any]) -> Team:
        """Give a team limits of its own; what they do not name is as configured.

        Raises:
            UnknownTeam: there is none of that name.
        """

        async def work(connection: AsyncConnection) -> Team:
            before = await _locked(connection, name)
            await connection.execute(sa.update(teams).where(teams.c.name == name).values(limits=dict(limits)))
            await record(connection, actor, "team.limited", name, {"limits": dict(limits), "before": before.limits})
            return Team(name, dict(limits), before.created_at)

        return await self._store.run(work)

    async def remove(self, actor: Actor, name: str) -> None:
        """Remove a team that has nothing but keys, which go with it. Were there more, a new team of that name would inherit it.

        Raises:
            UnknownTeam: there is none of that name.
            InUse: it has drafts, uploads, jobs, projects or models.
        """

        async def work(connection: AsyncConnection) -> None:
            await _locked(connection, name)
            owned = [table.name for table in _OWNING if (await connection.execute(_any_of(table, name))).first()]
            if owned:
                raise InUse(f"the team {name!r} has {', '.join(owned)}, which outlast it: revoke its keys instead, and nobody gets in")
            await connection.execute(sa.delete(api_keys).where(api_keys.c.team == name))
            await connection.execute(sa.delete(teams).where(teams.c.name == name))
            await record(connection, actor, "team.removed", name)

        await self._store.run(work)

    async def add_key(self, actor: Actor, team: str, name: str, scopes: Sequence[str], expires_at: datetime | None) -> tuple[ApiKey, str]:
        """Make a key, and return it with the whole text that a client sends, which nobody can look up later.

        Raises:
            UnknownTeam: there is no such team.
        """
        key_id, secret = new_id("key"), secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(key_id, team, name, tuple(scopes), actor.key, self._clock(), expires_at, None)
        values = {field: getattr(key, field) for field in ApiKey.__slots__}

        async def work(connection: AsyncConnection) -> None:
            await _locked(connection, team)
            await connection.execute(sa.insert(api_keys).values({**values, "scopes": list(scopes), "secret_sha256": secret_hash(secret)}))
            detail = {"team": team, "name": name, "scopes": list(scopes), "expires_at": expires_at.isoformat() if expires_at else None}
            await record(connection, actor, "key.created", key_id, detail)

        await self._store.run(work)
        return key, f"{PREFIX}_{key_id.partition('_')[2]}_{secret}"

    async def keys(self, team: str) -> list[ApiKey]:
        """Return a team's keys, the newest first, revoked ones too.

        Raises:
            UnknownTeam: there is no such team.
        """
        await self.get(team)
        chosen = sa.select(*_KEY).where(api_keys.c.team == team).order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
        return [_key(row) for row in await self._store.read(chosen)]

    async def revoke(self, actor: Actor, team: str, key_id: str, *, keep_admin: bool) -> ApiKey:
        """Revoke a key for good; a revoked one stays as it is. With `keep_admin` the team's last valid one with `admin` is not.

        Raises:
            UnknownKey: the team has no such key.
            InUse: it is the last one.
        """

        async def work(connection: AsyncConnection) -> ApiKey:
            await _locked(connection, team)  # two who revoke the last two keys at once take turns
            own = [_key(row) for row in await connection.execute(sa.select(*_KEY).where(api_keys.c.team == team))]
            key = next((one for one in own if one.id == key_id), None)
            if key is None:
                raise UnknownKey(f"the team {team!r} has no API key {key_id!r}")
            if key.revoked_at is not None:
                return key
            now = self._clock()
            if keep_admin and "admin" in key.scopes and not any(_admits(one, now) for one in own if one.id != key_id):
                raise InUse(f"{key_id} is the last key with the scope admin of the team {team!r}: make another one first")
            await connection.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now))
            await record(connection, actor, "key.revoked", key_id, {"team": team, "name": key.name})
            return ApiKey(**{**{field: getattr(key, field) for field in ApiKey.__slots__}, "revoked_at": now})

        return await self._store.run(work)

    async def find(self, key_id: str) -> Found | None:
        """Return what a key is checked with; None where there is no such key, or no such team any more."""
        query = sa.select(*_KEY, api_keys.c.secret_sha256, teams.c.limits).join(teams, teams.c.name == api_keys.c.team)
        found = await self._store.read(query.where(api_keys.c.id == key_id))
        return Found(_key(found[0]), found[0].secret_sha256, found[0].limits) if found else None

    async def administered(self, team: str) -> bool:
        """Whether a team has a valid key with `admin`."""
        found = await self._store.read(sa.select(*_KEY).where(api_keys.c.team == team))
        return any(_admits(_key(row), self._clock()) for row in found)

    async def stored_bytes(self, team: str) -> int:
        """Return how much a team stores: its uploads, whole and announced ones, and the files of its models."""
        query = sa.select(*(_sum(table, team) for table in (uploads, partial_uploads, versions)))
        return int(sum((await self._store.read(query))[0]))  # PostgreSQL adds up to decimals


_KEY = tuple(api_keys.c[field] for field in ApiKey.__slots__)


def _key(row: sa.Row[Any]) -> ApiKey:
    values = {field: row._mapping[field] for field in ApiKey.__slots__}
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})


def _admits(key: ApiKey, now: datetime) -> bool:
    return "admin" in key.scopes and key.valid(now)


def _no_team(name: str) -> UnknownTeam:
    return UnknownTeam(f"there is no team {name!r}")


def _any_of(table: sa.Table, team: str) -> sa.Select[Any]:
    return sa.select(sa.literal(1)).select_from(table).where(table.c.team == team).limit(1)


def _sum(table: sa.Table, team: str) -> sa.ScalarSelect[Any]:
    return sa.select(sa.func.coalesce(sa.func.sum(table.c.bytes), 0)).where(table.c.team == team).scalar_subquery()


async def _locked(connection: AsyncConnection, name: str) -> Team:
    """Return a team whose row nobody else changes until this transaction ends."""
    found = (await connection.execute(sa.select(teams).where(teams.c.name == name).with_for_update())).first()
    if found is None:
        raise _no_team(name)
    return Team(**found._mapping)
