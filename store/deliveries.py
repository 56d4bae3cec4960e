"""What webhooks are to be told: a queue in the database, and what became of each entry.

What was delivered is forgotten in time; dead ones stay.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import NotFound
from candor.ids import new_id
from store.audit import Actor, record
from store.dialects import take_turns
from store.moments import utc_now
from store.store import Store
from store.tool_tables import deliveries, webhooks
from store.webhooks import PING, Webhook, put_down

State: TypeAlias = Literal["waiting", "delivered", "dead"]
STATES: tuple[State, ...] = get_args(State)
KEPT = timedelta(days=30)  # how long what was delivered is listed
_PRUNED_AT_ONCE = 500  # rows of one transaction: others write in between
LEASE = timedelta(minutes=2)  # one whose sender died is taken up by another after that


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one webhook is to be told once, and how far that has got."""

    id: str
    webhook: str
    team: str
    event: str
    about: str
    body: Mapping[str, Any]
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    next_at: datetime
    ended_at: datetime | None

    @property
    def state(self) -> State:
        """Whether it is still to be sent, was taken, or given up."""
        if self.ended_at is None:
            return "waiting"
        return "delivered" if self.error is None else "dead"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that its claimant alone sends for two minutes, and where to."""

    delivery: Delivery
    webhook: Webhook


class Deliveries:
    """The deliveries of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    # --- for whoever looks after a webhook

    async def of_webhook(
        self, webhook_id: str, *, state: State | None = None, after: str | None = None, limit: int = 100
    ) -> list[Delivery]:
        """Return what a webhook was and is to be told, the newest first; `after` is the last id of the page before."""
        chosen = sa.select(deliveries).where(deliveries.c.webhook == webhook_id, *_in(state)).order_by(deliveries.c.id.desc()).limit(limit)
        if after is not None:
            chosen = chosen.where(deliveries.c.id < after)
        return [Delivery(**row._mapping) for row in await self._store.read(chosen)]

    async def get(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Return one delivery.

        Raises:
            NotFound: the webhook has none of that id.
        """
        mine = (deliveries.c.webhook == webhook_id, deliveries.c.id == delivery_id)
        found = await self._store.read(sa.select(deliveries).where(*mine))
        if not found:
            raise NotFound(f"webhook {webhook_id!r} has no delivery {delivery_id!r}")
        return Delivery(**found[0]._mapping)

    async def ping(self, webhook: Webhook) -> Delivery:
        """Put down a delivery that tells of nothing, to see whether it arrives."""
        data = {"webhook": webhook.id}
        delivery_id = await self._store.run(lambda connection: put_down(connection, webhook, PING, new_id("png"), data, self._clock()))
        return await self.get(webhook.id, delivery_id)

    async def replay(self, actor: Actor, webhook_id: str, delivery_id: str | None = None) -> int:
        """Let a delivery, whatever became of it, be sent now, with all its attempts anew; without an id all dead ones. Return how many.

        The caller has made sure that the webhook is the actor's.
        """
        chosen = _in("dead") if delivery_id is None else (deliveries.c.id == delivery_id,)
        change = {"attempts": 0, "next_at": self._clock(), "ended_at": None}

        async def work(connection: AsyncConnection) -> int:
            done = await connection.execute(sa.update(deliveries).where(deliveries.c.webhook == webhook_id, *chosen).values(change))
            if done.rowcount:
                await record(connection, actor, "webhook.replayed", webhook_id, {"delivery": delivery_id, "deliveries": done.rowcount})
            return done.rowcount

        return await self._store.run(work)

    # --- for whoever sends

    async def claim(self, places: Callable[[Sequence[str]], Mapping[str, int]], most: int) -> list[Claimed]:
        """Take deliveries that are due, at most `most`: `places` says how many of each webhook, in an order that is left to chance.

        No other sender gets them for two minutes.
        """
        due = [row.id for row in await self._store.read(_with_due(self._clock()))]  # the usual case is none, without a write
        room = {webhook_id: free for webhook_id, free in places(random.sample(due, len(due))).items() if free > 0}
        if not room or most <= 0:
            return []

        async def work(connection: AsyncConnection) -> list[Claimed]:
            await take_turns(connection, "deliveries")
            found: list[Claimed] = []
            for webhook_id, free in room.items():
                if len(found) < most:
                    found += await _claimed(connection, webhook_id, min(free, most - len(found)), self._clock())
            return found

        return await self._store.run(work)

    async def taken(self, delivery: Delivery, status: int) -> None:
        """Put down that the receiver took it."""
        values = {"status": status, "error": None, "ended_at": self._clock()}
        await self._store.execute(sa.update(deliveries).where(deliveries.c.id == delivery.id).values(values))

    async def failed(self, delivery: Delivery, error: str, status: int | None, again_in: timedelta | None) -> None:
        """Put down what went wrong, and when it is tried again; None: never. Nothing where somebody else has claimed it meanwhile."""
        now = self._clock()
        values = {"status": status, "error": error, **({"ended_at": now} if again_in is None else {"next_at": now + again_in})}
        still = (deliveries.c.id == delivery.id, deliveries.c.attempts == delivery.attempts, deliveries.c.ended_at.is_(None))
        await self._store.execute(sa.update(deliveries).where(*still).values(values))

    async def prune(self) -> int:
        """Forget what was delivered 30 days ago, and what deleted webhooks were to be told, which nobody can ask for; return how many."""
        before, forgotten = self._clock() - KEPT, 0
        for webhook in await self._store.read(sa.select(webhooks.c.id, webhooks.c.ended_at)):  # each by its part of the index
            gone = webhook.ended_at is not None and webhook.ended_at < before
            old = deliveries.c.webhook == webhook.id, deliveries.c.ended_at < before, *(() if gone else (deliveries.c.error.is_(None),))
            while ids := [row.id for row in await self._store.read(sa.select(deliveries.c.id).where(*old).limit(_PRUNED_AT_ONCE))]:
                forgotten += await self._store.execute(sa.delete(deliveries).where(deliveries.c.id.in_(ids), *old))
        return forgotten


def _in(state: State | None) -> tuple[sa.ColumnElement[bool], ...]:
    ended, wrong = deliveries.c.ended_at.is_not(None), deliveries.c.error.is_not(None)
    return {None: (), "waiting": (~ended,), "delivered": (ended, ~wrong), "dead": (ended, wrong)}[state]


def _due(webhook: sa.ColumnElement[str] | str, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return deliveries.c.webhook == webhook, deliveries.c.ended_at.is_(None), deliveries.c.next_at <= now


def _with_due(now: datetime) -> sa.Select[Any]:
    """Select the webhooks for which something is due: one look at the index for each, however long its queue is."""
    some = sa.select(deliveries.c.id).where(*_due(webhooks.c.id, now)).correlate(webhooks).exists()
    return sa.select(webhooks.c.id).where(webhooks.c.ended_at.is_(None), some)


async def _claimed(connection: AsyncConnection, webhook_id: str, most: int, now: datetime) -> Sequence[Claimed]:
    standing = sa.select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.ended_at.is_(None))
    webhook = (await connection.execute(standing)).one_or_none()
    if webhook is None:
        return []
    first = sa.select(deliveries.c.id).where(*_due(webhook_id, now)).order_by(deliveries.c.next_at, deliveries.c.id).limit(most)
    ids = list((await connection.execute(first)).scalars())
    change = {"attempts": deliveries.c.attempts + 1, "next_at": now + LEASE}
    await connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(ids)).values(change))
    rows = await connection.execute(sa.select(deliveries).where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id))
    return [Claimed(Delivery(**row._mapping), Webhook(**webhook._mapping)) for row in rows]
