"""Webhooks: addresses that a team wants told of what happens. What each is to be told is in `store.deliveries`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import InvalidRequest, NotFound
from candor.ids import new_id
from store.audit import Actor, record
from store.dialects import insert_ignoring, take_turns
from store.moments import utc_now
from store.store import Store
from store.tool_tables import deliveries, webhooks

Event: TypeAlias = Literal["drafts.ready", "job.done", "job.failed", "alarm.raised", "alarm.cleared", "calibration.alarm"]
EVENTS: tuple[Event, ...] = get_args(Event)
PING = "ping"  # nobody asks for it beforehand
MOST = 32  # webhooks of one team


@dataclass(frozen=True, slots=True)
class Webhook:
    """One address, and what it is told of. Without a project: of all of the team's."""

    id: str
    team: str
    project: str | None
    url: str = field(repr=False)  # it may hold somebody's secret
    events: Sequence[str]
    secret: str = field(repr=False)
    earlier_secret: str | None = field(repr=False)
    rotated_at: datetime | None
    created_by: str
    created_at: datetime
    ended_at: datetime | None

    def wants(self, event: str, project: str | None) -> bool:
        """Say whether it is to be told of an event in a project; None: one that belongs to none."""
        return event in self.events and self.project in (None, project)


class Webhooks:
    """The webhooks of one store. A team sees its own alone."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, actor: Actor, url: str, events: Sequence[str], project: str | None, secret: str) -> Webhook:
        """Make a webhook of the actor's team.

        Raises:
            InvalidRequest: the team has as many as it may.
        """

        async def work(connection: AsyncConnection) -> Webhook:
            await take_turns(connection, f"webhooks of {actor.team}")
            if len((await connection.execute(sa.select(webhooks.c.id).where(*_standing(actor.team)))).all()) >= MOST:
                raise InvalidRequest(f"a team may have {MOST} webhooks: delete one that is not needed, or let one hear more events")
            now = self._clock()
            made = Webhook(new_id("whk"), actor.team, project, url, list(events), secret, None, None, actor.key, now, None)
            values = {column.name: getattr(made, column.name) for column in webhooks.columns}
            await connection.execute(sa.insert(webhooks).values(values))
            await record(connection, actor, "webhook.created", made.id, {"events": list(events), "project": project})
            return made

        return await self._store.run(work)

    async def of_team(self, team: str) -> list[Webhook]:
        """Return a team's webhooks, the newest first."""
        return [_webhook(row) for row in await self._store.read(sa.select(webhooks).where(*_standing(team)).order_by(webhooks.c.id.desc()))]

    async def hearing(self, event: str) -> list[Webhook]:
        """Return the webhooks of all teams that want to be told of an event."""
        found = await self._store.read(sa.select(webhooks).where(webhooks.c.ended_at.is_(None)))
        return [one for one in map(_webhook, found) if event in one.events]

    async def get(self, team: str, webhook_id: str) -> Webhook:
        """Return one webhook of a team.

        Raises:
            NotFound: it has none of that id, or deleted it.
        """
        found = await self._store.read(sa.select(webhooks).where(*_standing(team), webhooks.c.id == webhook_id))
        if not found:
            raise _unknown(webhook_id)
        return _webhook(found[0])

    async def rotate(self, actor: Actor, webhook_id: str, secret: str) -> Webhook:
        """Give a webhook another secret; the one before is kept beside it.

        Raises:
            NotFound: the actor's team has none of that id.
        """
        change = {"earlier_secret": webhooks.c.secret, "secret": secret, "rotated_at": self._clock()}

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, actor, webhook_id, change)
            await record(connection, actor, "webhook.rotated", webhook_id)

        await self._store.run(work)
        return await self.get(actor.team, webhook_id)

    async def delete(self, actor: Actor, webhook_id: str) -> None:
        """End a webhook. What waited for it is not sent any more, and its secrets are forgotten.

        Raises:
            NotFound: the actor's team has none of that id.
        """

        async def work(connection: AsyncConnection) -> None:
            now = self._clock()
            await _change(connection, actor, webhook_id, {"ended_at": now, "secret": "", "earlier_secret": None})
            waiting = (deliveries.c.webhook == webhook_id, deliveries.c.ended_at.is_(None))
            given_up = {"ended_at": now, "error": "the webhook was deleted"}
            await connection.execute(sa.update(deliveries).where(*waiting).values(given_up))
            await record(connection, actor, "webhook.deleted", webhook_id)

        await self._store.run(work)

    async def announce(self, event: str, about: str, data: Mapping[str, Any], *, team: str, project: str | None = None) -> int:
        """Put down what is to be told, in a transaction of its own; see `announce`."""
        now = self._clock()
        return await self._store.run(lambda connection: announce(connection, event, about, data, now, team=team, project=project))


async def announce(
    connection: AsyncConnection,
    event: str,
    about: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    team: str | None,
    project: str | None = None,
) -> int:
    """Put down what is to be told of something, in the transaction of what happens; return to how many webhooks.

    `about` is the id of what it tells of: of the same event about the same a webhook is told once. Without a team all teams are told.
    """
    own = (webhooks.c.ended_at.is_(None),) if team is None else _standing(team)
    found = [_webhook(row) for row in await connection.execute(sa.select(webhooks).where(*own))]
    hearing = [one for one in found if one.wants(event, project)]
    for one in hearing:
        await put_down(connection, one, event, about, data, now)
    return len(hearing)


async def put_down(connection: AsyncConnection, webhook: Webhook, event: str, about: str, data: Mapping[str, Any], now: datetime) -> str:
    """Put down one delivery, to be sent at once, and return its id."""
    delivery_id = new_id("dlv")
    values: dict[str, Any] = {"id": delivery_id, "webhook": webhook.id, "team": webhook.team, "event": event, "about": about}
    body = {"type": event, "timestamp": now.isoformat(), "data": dict(data)}
    values |= {"body": body, "attempts": 0, "created_at": now, "next_at": now}
    await connection.execute(insert_ignoring(connection.dialect, deliveries).values(values))
    return delivery_id


async def _change(connection: AsyncConnection, actor: Actor, webhook_id: str, values: Mapping[str, Any]) -> None:
    changed = sa.update(webhooks).where(*_standing(actor.team), webhooks.c.id == webhook_id).values(dict(values))
    if not (await connection.execute(changed)).rowcount:
        raise _unknown(webhook_id)


def _standing(team: str) -> tuple[sa.ColumnElement[bool], ...]:
    return webhooks.c.team == team, webhooks.c.ended_at.is_(None)


def _webhook(row: sa.Row[Any]) -> Webhook:
    return Webhook(**row._mapping)


def _unknown(webhook_id: str) -> NotFound:
    return NotFound(f"there is no webhook {webhook_id!r}; GET /v1/webhooks lists them")
