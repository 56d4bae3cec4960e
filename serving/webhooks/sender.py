"""Sends what webhooks are to be told: signed, again after a while where it fails, and never to where items are not fetched from.

Few are under way to one receiver at a time, and fewer still where its last answer was no, so that one which is slow or down takes no
place from the others. Each server has a sender; of those on one database one claims each delivery.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from candor.errors import StorageUnavailable
from serving.config import MediaSettings
from serving.outgoing import Posted, Poster, Tending, wait
from serving.webhooks.signing import headers
from store import Store
from store.deliveries import Claimed, Deliveries
from store.moments import utc_now

_log = structlog.get_logger(__name__)

EVERY = 2.0  # seconds between looks at the queue
PRUNED_EVERY = 900.0  # seconds between looks at what was delivered long ago
SECONDS = 15.0  # most that a receiver may take to answer
AT_ONCE = 24
PER_RECEIVER = 4
FAILING_AT_ONCE = 8  # receivers whose last answer was no; each has one place then
_GONE = 410
_ENDS_WITHIN = 2.0  # seconds that what is under way gets when the server stops


class Sender:
    """Sends from one store. Belongs to one event loop; `close` it. `chance` gives a number between two others."""

    def __init__(
        self,
        store: Store,
        settings: MediaSettings,
        clock: Callable[[], datetime] = utc_now,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._deliveries = Deliveries(store, clock)
        self._poster = Poster(settings.model_copy(update={"timeout_seconds": min(settings.timeout_seconds, SECONDS)}))
        self._clock = clock
        self._chance = chance
        self._sending: dict[asyncio.Task[None], str] = {}
        self._failing: set[str] = set()
        self._tending = Tending(self.tend, EVERY, "webhooks")
        self._pruning = Tending(self._deliveries.prune, PRUNED_EVERY, "deliveries")

    def keep_tending(self) -> None:
        """Look at the queue every few seconds until `close`, and at once when a place comes free; now and then forget old deliveries."""
        self._tending.start()
        self._pruning.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._tending.wake()

    async def close(self) -> None:
        """Stop. What is still being sent then is sent again by whoever comes next: receivers know it by its id."""
        await self._tending.close()
        await self._pruning.close()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_ENDS_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._poster.close()

    async def tend(self) -> int:
        """Begin to send what is due and has a place; return how many that are."""
        claimed = await self._deliveries.claim(self._places, AT_ONCE - len(self._sending))
        for one in claimed:
            task = asyncio.create_task(self._send(one), name=f"candor-{one.delivery.id}")
            self._sending[task] = one.webhook.id
            task.add_done_callback(self._ended)
        return len(claimed)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._tending.wake()

    def _places(self, due: Sequence[str]) -> dict[str, int]:
        """Return how many more may be under way to each of these webhooks."""
        under_way = Counter(self._sending.values())
        left = FAILING_AT_ONCE - sum(webhook in self._failing for webhook in under_way)
        places = {}
        for webhook in due:
            if webhook not in self._failing:
                places[webhook] = PER_RECEIVER - under_way[webhook]
            elif not under_way[webhook] and left > 0:
                places[webhook], left = 1, left - 1
        return places

    async def _send(self, claimed: Claimed) -> None:
        delivery, webhook = claimed.delivery, claimed.webhook
        posted = await self._posted(claimed)
        (self._failing.discard if posted.error is None else self._failing.add)(webhook.id)
        try:
            if posted.error is None:
                await self._deliveries.taken(delivery, posted.status or 0)
                return
            again = self._again(delivery.attempts, posted)
            await self._deliveries.failed(delivery, posted.error, posted.status, again)
        except StorageUnavailable as gone:  # whoever finds it after two minutes sends it again
            _log.warning("webhook_delivery_not_settled", delivery=delivery.id, detail=gone.detail)
            return
        told = {"delivery": delivery.id, "webhook": webhook.id, "team": webhook.team, "error": posted.error}
        if again is None:
            _log.error("webhook_delivery_dead", **told)
        else:
            _log.warning("webhook_not_delivered", **told, again_in=again.total_seconds())

    async def _posted(self, claimed: Claimed) -> Posted:
        delivery, webhook = claimed.delivery, claimed.webhook
        try:
            body = json.dumps(delivery.body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")  # half a character
            return await self._poster.post(webhook.url, body, headers(webhook, delivery.id, body, self._clock()))
        except Exception as error:  # noqa: BLE001 - a bug counts as an attempt, else the same would be tried for ever
            _log.exception("webhook_delivery_broke", delivery=delivery.id, webhook=webhook.id)
            return Posted(None, f"it could not be sent: {type(error).__name__}")

    def _again(self, attempts: int, posted: Posted) -> timedelta | None:
        """Return how long to wait: longer each time, by chance a little more or less, and not less than the receiver asks for."""
        usual = None if posted.status == _GONE else wait(attempts)
        if usual is None:
            return None
        return max(usual * self._chance(0.8, 1.2), posted.retry_after or timedelta())
