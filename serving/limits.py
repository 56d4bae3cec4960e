"""What one team may take: items a minute, and bytes in the store. Its own limits, else the configured ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from candor.errors import QuotaExceeded, RateLimited
from serving import metrics
from serving.access import Principal
from serving.config import TeamLimits
from store import Store
from store.teams import Teams


@dataclass(slots=True)
class _Bucket:
    left: float
    since: float


class Rates:
    """A bucket of items for each team, of this process: it holds a minute's items and fills evenly.

    A request takes all its items or none. One that asks for more than a whole minute's passes when the bucket is full, and leaves it
    empty for as long as its items take.
    """

    def __init__(self, configured: TeamLimits, ticks: Callable[[], float] = time.monotonic) -> None:
        self._configured = configured
        self._ticks = ticks
        self._buckets: dict[str, _Bucket] = {}

    def take(self, principal: Principal, items: int) -> None:
        """Count the items of one request.

        Raises:
            RateLimited: the team has had its minute's items; `retry_after` says when these would pass.
        """
        most = principal.limits.get("items_per_minute") or self._configured.items_per_minute
        if most is None:
            self._buckets.pop(principal.team, None)
            return
        now = self._ticks()
        bucket = self._buckets.setdefault(principal.team, _Bucket(most, now))
        bucket.left = min(float(most), bucket.left + (now - bucket.since) * most / 60)
        bucket.since = now
        short = min(items, most) - bucket.left
        if short > 1e-6:
            metrics.refused(principal.team, "rate_limited")
            raise RateLimited(
                f"the team {principal.team!r} may have {most:,} items a minute drafted: send these again later",
                retry_after=short * 60 / most,
            )
        bucket.left -= items


async def within_quota(data: AsyncIterator[bytes], store: Store, principal: Principal, configured: TeamLimits) -> AsyncIterator[bytes]:
    """Pass on the bytes of what a team stores, while it has room for them. What is refused must be left nowhere.

    It is asked for its room before the first byte, and again after the last one: what came in meanwhile by another way counts.

    Raises:
        QuotaExceeded: it has not.
    """
    room, passed = await room_for(store, principal, configured), 0
    async for chunk in data:
        passed += len(chunk)
        if room is not None and passed > room:
            raise _exceeded(principal)
        yield chunk
    room = await room_for(store, principal, configured)
    if room is not None and passed > room:
        raise _exceeded(principal)


async def room_for(store: Store, principal: Principal, configured: TeamLimits) -> int | None:
    """Return how many bytes more a team may store; None where nothing bounds it.

    Raises:
        QuotaExceeded: none.
    """
    most = principal.limits.get("storage_bytes") or configured.storage_bytes
    if most is None:
        return None
    room: int = most - await Teams(store).stored_bytes(principal.team)
    if room <= 0:
        raise _exceeded(principal)
    return room


def _exceeded(principal: Principal) -> QuotaExceeded:
    metrics.refused(principal.team, "quota_exceeded")
    return QuotaExceeded(
        f"the storage of the team {principal.team!r} is used up: delete models that are not needed, or ask the operator for more"
    )
