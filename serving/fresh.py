"""What a process knows of the database, read again when it is old: by one caller, while who comes meanwhile waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from candor.errors import StorageUnavailable

_READ_SECONDS = 2.0  # how long drafts wait for a database that does not answer
_log = structlog.get_logger(__name__)


class Fresh:
    """Calls `read` where that is due. `clock` counts seconds; `what` names it in the log."""

    def __init__(self, read: Callable[[], Awaitable[None]], what: str, clock: Callable[[], float]) -> None:
        self._read = read
        self._what = what
        self._clock = clock
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def age(self) -> float:
        """Seconds since it was read, or tried to."""
        return self._clock() - self._read_at

    async def refresh(self, stale: Callable[[], bool]) -> None:
        """Read where `stale` says so; where the database can't be read, what was known stays."""
        if not stale():
            return
        async with self._lock:
            if not stale():
                return
            start = self._clock()
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    await self._read()
            except (StorageUnavailable, TimeoutError) as error:
                _log.warning(f"{self._what}_not_read", detail=str(error) or "no answer", note="what was known stays")
            self._read_at = start
