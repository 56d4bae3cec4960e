"""Labeling tools that are connected to projects. The tool's own token is kept as it is, since it has to be sent to the tool; of the secret
in the address that the tool calls only the SHA-256 is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import NotFound
from candor.ids import new_id
from store.audit import Actor, record
from store.moments import utc_now
from store.store import Store
from store.teams import secret_hash
from store.tool_tables import connections

_SECRET_BYTES = 32
_CHANGEABLE = frozenset({"url", "token", "remote_project", "settings"})


@dataclass(frozen=True, slots=True)
class Connection:
    """One tool that is connected to one project. `settings` is what the user chose, `state` what Candor keeps of it.

    Without `url` the tool is never called: it only calls. `remote_project` is the id of the project in the tool.
    """

    id: str
    team: str
    project: str
    tool: str
    url: str | None
    token: str | None = field(repr=False)
    remote_project: str | None
    settings: Mapping[str, Any]
    state: Mapping[str, Any]
    created_by: str
    created_at: datetime
    changed_at: datetime
    ended_at: datetime | None


class Connections:
    """Reads and writes of connections. Every change that a caller makes is in the audit log, without token and secret."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(
        self,
        actor: Actor,
        project: str,
        tool: str,
        *,
        url: str | None,
        token: str | None,
        remote_project: str | None,
        settings: Mapping[str, Any],
    ) -> tuple[Connection, str]:
        """Make a connection of the actor's team; return it with its secret, which is told this once."""
        now, secret = self._clock(), _new_secret()
        of_tool = {"project": project, "tool": tool, "url": url, "token": token, "remote_project": remote_project}
        made = Connection(
            id=new_id("con"),
            team=actor.team,
            **of_tool,  # type: ignore[arg-type]
            settings=dict(settings),
            state={},
            created_by=actor.key,
            created_at=now,
            changed_at=now,
            ended_at=None,
        )

        async def work(connection: AsyncConnection) -> None:
            values = {name: getattr(made, name) for name in Connection.__slots__}
            await connection.execute(sa.insert(connections).values(**values, secret_sha256=secret_hash(secret)))
            detail = {"project": project, "tool": tool, "url": url, "remote_project": remote_project}
            await record(connection, actor, "connection.created", made.id, detail)

        await self._store.run(work)
        return made, secret

    async def by_secret(self, secret: str) -> Connection | None:
        """Return the connection whose secret this is; None where there is none, or it has ended.

        What is compared is the hash, so that the time which the look-up takes says nothing of the secret.
        """
        chosen = _select().where(connections.c.secret_sha256 == secret_hash(secret), connections.c.ended_at.is_(None))
        found = await self._store.read(chosen)
        return Connection(**found[0]._mapping) if found else None

    async def get(self, connection_id: str, team: str | None = None) -> Connection:
        """Return one connection, also one that has ended; with `team` only if it is that team's.

        Raises:
            NotFound: there is none of that id.
        """
        own = () if team is None else (connections.c.team == team,)
        found = await self._store.read(_select().where(connections.c.id == connection_id, *own))
        if not found:
            raise _unknown(connection_id)
        return Connection(**found[0]._mapping)

    async def of_project(self, team: str, project: str) -> list[Connection]:
        """Return a project's connections that have not ended, the oldest first."""
        chosen = _select().where(connections.c.team == team, connections.c.project == project, connections.c.ended_at.is_(None))
        return [Connection(**row._mapping) for row in await self._store.read(chosen.order_by(connections.c.id))]

    async def active(self, tool: str) -> list[Connection]:
        """Return the connections of all teams to a kind of tool that have not ended, the oldest first."""
        chosen = _select().where(connections.c.tool == tool, connections.c.ended_at.is_(None)).order_by(connections.c.id)
        return [Connection(**row._mapping) for row in await self._store.read(chosen)]

    async def change(self, actor: Actor, connection_id: str, **fields: Any) -> Connection:
        """Change `url`, `token`, `remote_project` or `settings` of a connection of the actor's team that has not ended.

        Raises:
            NotFound: there is none of that id.
        """
        if unknown := fields.keys() - _CHANGEABLE:
            raise ValueError(f"a connection's {', '.join(sorted(unknown))} can't be changed")

        async def work(connection: AsyncConnection) -> Connection:
            before = await _locked(connection, connection_id, actor.team)
            changed = {name: value for name, value in fields.items() if getattr(before, name) != value}
            if not changed:
                return before
            detail = {"fields": sorted(changed)} | {name: changed[name] for name in ("url", "remote_project") if name in changed}
            await record(connection, actor, "connection.changed", connection_id, detail)
            return await _update(connection, connection_id, {**changed, "changed_at": self._clock()})

        return await self._store.run(work)

    async def renew(self, actor: Actor, connection_id: str) -> str:
        """Give a connection of the actor's team another secret, and return it: the earlier one opens nothing from now on.

        Raises:
            NotFound: there is none of that id, or it has ended.
        """
        secret = _new_secret()

        async def work(connection: AsyncConnection) -> None:
            await _locked(connection, connection_id, actor.team)
            await record(connection, actor, "connection.renewed", connection_id)
            await _update(connection, connection_id, {"secret_sha256": secret_hash(secret), "changed_at": self._clock()})

        await self._store.run(work)
        return secret

    async def keep(self, connection_id: str, state: Mapping[str, Any]) -> None:
        """Merge keys into what Candor keeps of a connection; those that are not named stay. No row of the audit log.

        Raises:
            NotFound: there is none of that id.
        """

        async def work(connection: AsyncConnection) -> None:
            before = await _locked(connection, connection_id)
            await _update(connection, connection_id, {"state": {**before.state, **state}})

        await self._store.run(work)

    async def end(self, actor: Actor, connection_id: str) -> None:
        """End a connection of the actor's team: its secret opens nothing any more, and the tool's token is forgotten.

        Raises:
            NotFound: there is none of that id, or it has ended.
        """

        async def work(connection: AsyncConnection) -> None:
            await _locked(connection, connection_id, actor.team)
            now = self._clock()
            await _update(connection, connection_id, {"token": None, "ended_at": now, "changed_at": now})
            await record(connection, actor, "connection.ended", connection_id)

        await self._store.run(work)


def _select() -> sa.Select[Any]:
    return sa.select(*(connections.c[name] for name in Connection.__slots__))


async def _locked(connection: AsyncConnection, connection_id: str, team: str | None = None) -> Connection:
    """Return a connection, which nobody else changes until the transaction ends; of a team only where it has not ended."""
    own = () if team is None else (connections.c.team == team, connections.c.ended_at.is_(None))
    row = (await connection.execute(_select().where(connections.c.id == connection_id, *own).with_for_update())).first()
    if row is None:
        raise _unknown(connection_id)
    return Connection(**row._mapping)


async def _update(connection: AsyncConnection, connection_id: str, values: Mapping[str, Any]) -> Connection:
    await connection.execute(sa.update(connections).where(connections.c.id == connection_id).values(**values))
    return Connection(**(await connection.execute(_select().where(connections.c.id == connection_id))).one()._mapping)


def _new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def _unknown(connection_id: str) -> NotFound:
    return NotFound(f"there is no connection {connection_id!r}; GET /v1/projects/{{name}}/connections lists a project's")
