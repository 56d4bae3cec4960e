"""What the server sends to addresses that its users name, from queues in the database: how it is posted, when again, and who looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import structlog

from candor.errors import CandorError, StorageUnavailable
from serving.config import MediaSettings
from serving.media import MediaFetcher

_log = structlog.get_logger(__name__)

ATTEMPTS = 13  # about a day, with what comes next
LONGEST = timedelta(hours=4)
_FIRST = timedelta(seconds=10)
_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of an attempt. `error` is None where the receiver took it; `retry_after` is what it asked for."""

    status: int | None
    error: str | None
    retry_after: timedelta | None = None


class Poster:
    """Posts to addresses that are checked as items' are; no redirect is followed. Belongs to one event loop; `close` it."""

    def __init__(self, settings: MediaSettings, fetcher: MediaFetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Send a body once. Nothing that goes wrong on the way raises."""
        if self._fetcher is None:  # made late: most servers have nothing to tell
            self._fetcher = MediaFetcher(self._settings, _ANSWER_BYTES)
        try:
            answer = await self._fetcher.call("POST", url, headers, body, most=0)
        except CandorError as error:
            return Posted(None, error.detail)
        if 200 <= answer.status < 300:
            return Posted(answer.status, None)
        why = ": redirects are not followed, name the address itself" if 300 <= answer.status < 400 else ""
        return Posted(answer.status, f"it answered {answer.status}{why}", retry_after(answer.retry_after))

    async def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            await self._fetcher.close()


class Tending:
    """Calls `tend` every few seconds, or when it is woken. `what` names the queue in the log."""

    def __init__(self, tend: Callable[[], Awaitable[Any]], every: float, what: str) -> None:
        self._tend = tend
        self._every = every
        self._what = what
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._on(), name=f"candor-{self._what}")

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def close(self) -> None:
        """Stop, also in the middle."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _on(self) -> None:
        while True:
            await asyncio.sleep(0)  # where it is woken each time, others have their turn too, and `close` ends it
            with suppress(TimeoutError):  # not `wait_for`, which swallows a cancellation that comes as it is woken (Python 3.11)
                async with asyncio.timeout(self._every):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._tend()
            except StorageUnavailable as gone:
                _log.warning(f"{self._what}_not_tended", detail=gone.detail)
            except Exception:  # noqa: BLE001 - a bug must not end all that is still to be sent
                _log.exception(f"{self._what}_tending_broke")


def wait(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts; None: give it up."""
    return None if attempts >= ATTEMPTS else min(_FIRST * 3 ** (attempts - 1), LONGEST)


def retry_after(header: str | None, now: datetime | None = None) -> timedelta | None:
    """Return what a Retry-After header asks for, as seconds or as a date, at most the longest wait; None where it can't be read."""
    if not header:
        return None
    if header.isascii() and header.isdecimal():
        return min(timedelta(seconds=int(header[:9])), LONGEST)
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max(when - (now or datetime.now(UTC)), timedelta()), LONGEST)
