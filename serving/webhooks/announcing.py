"""Puts down for webhooks that drafts are ready: after their commit, beside their answer, and at no cost where nobody wants to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from candor.drafts import Draft
from candor.errors import CandorError
from serving.fresh import Fresh
from store import Store
from store.webhooks import Webhook, Webhooks

FRESH_SECONDS = 2.0
_MOST_UNDER_WAY = 1_000
_log = structlog.get_logger(__name__)


class Announcer:
    """Announces the drafts of one process. Belongs to one event loop; `close` it while the store is open. `clock` counts seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._webhooks = Webhooks(store)
        self._hearing: list[Webhook] = []
        self._fresh = Fresh(self._read, "webhooks", clock)
        self._under_way: set[asyncio.Task[None]] = set()

    def drafts_ready(self, made: Iterable[Draft]) -> None:
        """Announce drafts that are stored, of one team, project and version. Returns at once: nobody waits for it."""
        if not self._hearing and self._fresh.age < FRESH_SECONDS:
            return
        drafts = list({draft.id: draft for draft in made}.values())
        if not drafts:
            return
        if len(self._under_way) >= _MOST_UNDER_WAY:  # the database takes nothing
            _log.error("drafts_not_announced", drafts=len(drafts), first=drafts[0].id, detail="too many wait to be put down")
            return
        # not the drafts themselves, which are large, and may wait for the database
        task = asyncio.create_task(self._announce(drafts[0], told(drafts)), name="candor-announcing")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Put down what is under way."""
        await asyncio.gather(*self._under_way)

    async def _announce(self, first: Draft, data: dict[str, Any]) -> None:
        try:
            await self._fresh.refresh(lambda: self._fresh.age >= FRESH_SECONDS)
            if any(one.team == first.team and one.wants("drafts.ready", first.project) for one in self._hearing):
                await self._webhooks.announce("drafts.ready", first.id, data, team=first.team, project=first.project)
        except CandorError as error:
            _log.error("drafts_not_announced", drafts=len(data["drafts"]), first=first.id, detail=error.detail)

    async def _read(self) -> None:
        self._hearing = await self._webhooks.hearing("drafts.ready")


def told(drafts: list[Draft]) -> dict[str, Any]:
    """Return what a webhook is told of drafts: which they are, and nothing that they say. So an arm shows in none of it."""
    first = drafts[0]
    return {
        "project": first.project,
        "task": first.task,
        "model_version": first.model_version,
        "created_at": max(draft.created_at for draft in drafts).isoformat(),
        "drafts": [{"id": draft.id, "item": draft.item} for draft in drafts],
    }
