"""What one team may take: items a minute, and bytes in the store. Its own limits, else the configured ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from candor.errors import QuotaExceeded, RateLimited
from serving import metrics
from serving.access import Principal
from serving.config import TeamLimits
from store import Store
from store.teams import Teams

_ROW_SECONDS = 5.0  # within which the row of what came in whole is in the store


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


@dataclass(slots=True)
class _Pending:
    """What this process is about to store of a team: bytes that come in now, and where the sum in the store will be soon."""

    running: int = 0
    soon: int = 0
    since: float = float("-inf")

    def used(self, stored: int) -> int:
        """Return what counts as stored: what came in whole a moment ago may not have its row yet."""
        return max(stored, self.soon) if time.monotonic() - self.since < _ROW_SECONDS else stored

    def comes(self, used: int, size: int) -> None:
        self.soon, self.since = used + size, time.monotonic()


_pending: WeakKeyDictionary[Store, dict[str, _Pending]] = WeakKeyDictionary()


async def within_quota(data: AsyncIterator[bytes], store: Store, principal: Principal, configured: TeamLimits) -> AsyncIterator[bytes]:
    """Pass on the bytes of what a team stores, while it has room for them. What is refused must be left nowhere.

    The store is asked before the first byte, and again after the last one: what came in meanwhile by another way counts. What other
    requests of this process store at the same time counts too; those of another process may pass the quota once.

    Raises:
        QuotaExceeded: it has not.
    """
    most = _most(principal, configured)
    if most is None:
        async for chunk in data:
            yield chunk
        return
    stored, passed = await Teams(store).stored_bytes(principal.team), 0
    pending = _pending_of(store, principal)
    try:
        _require(pending.used(stored) + pending.running, 1, most, principal)
        async for chunk in data:
            passed += len(chunk)
            pending.running += len(chunk)
            _require(pending.used(stored), pending.running, most, principal)
            yield chunk
        used = pending.used(await Teams(store).stored_bytes(principal.team))
        _require(used, pending.running, most, principal)
        pending.comes(used, passed)
    finally:
        pending.running -= passed


async def reserve(store: Store, principal: Principal, configured: TeamLimits, size: int) -> None:
    """See to it that a team has room for what it announces; the row that says so must follow at once.

    Raises:
        QuotaExceeded: it has not.
    """
    most = _most(principal, configured)
    if most is None:
        return
    pending = _pending_of(store, principal)
    used = pending.used(await Teams(store).stored_bytes(principal.team))
    _require(used + pending.running, size, most, principal)
    pending.comes(used, size)


def _most(principal: Principal, configured: TeamLimits) -> int | None:
    return principal.limits.get("storage_bytes") or configured.storage_bytes


def _pending_of(store: Store, principal: Principal) -> _Pending:
    return _pending.setdefault(store, {}).setdefault(principal.team, _Pending())


def _require(used: int, more: int, most: int, principal: Principal) -> None:
    if used + more > most:
        metrics.refused(principal.team, "quota_exceeded")
        raise QuotaExceeded(
            f"the team {principal.team!r} may store {max(0, most - used):,} more bytes, which is too little for this: delete models "
            "that are not needed, or ask the operator"
        )
