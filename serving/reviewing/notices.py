"""Notices of alarms: sent from a queue in the database, signed, tried again for a day, and never to where items are not fetched from.

The signature is HMAC-SHA256 of `<timestamp>.<body>` in hexadecimal. Its key follows from the project's secret, and tells nothing of it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import structlog

from candor.errors import CandorError, StorageUnavailable
from serving.config import MediaSettings
from serving.media import MediaFetcher
from store import Store
from store.draws import Draws
from store.review_alarms import Notice, ReviewAlarms

_log = structlog.get_logger(__name__)

EVERY = 5.0  # seconds between looks at the queue
ATTEMPTS = 13  # about a day, with what comes next
_FIRST, _LONGEST = timedelta(seconds=10), timedelta(hours=4)
_ANSWER_BYTES = 64 * 1024
_PURPOSE = b"candor notices 1"


async def signing_key(store: Store, team: str, project: str) -> str:
    """Return the key that a project's notices are signed with: HMAC-SHA256 of a fixed text under the project's secret."""
    return hmac.digest((await Draws(store).secret(team, project)).key, _PURPOSE, "sha256").hex()


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what `Candor-Signature` holds. The key's hexadecimal digits are the key, as they are."""
    return hmac.digest(key.encode(), timestamp.encode() + b"." + body, "sha256").hex()


def body_of(notice: Notice) -> dict[str, Any]:
    """Return what is sent: the alarm, or one line of text for a chat."""
    if notice.form != "slack":
        return {**notice.body, "id": notice.id, "project": notice.project}
    alarm = notice.body["alarm"]
    if notice.event == "cleared":
        who, where, why = _plain(alarm["reviewer"]), _plain(notice.project), _plain(alarm["reason"])
        return {"text": f"Candor: the alarm about {who} in {where} was cleared: {why}"}
    says = f"{alarm['evidence']['says']} (alarm {alarm['id']})"
    return {"text": f"Candor: an alarm about reviewer {_plain(alarm['reviewer'])} in {_plain(notice.project)}: {says}"}


def wait(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts; None: give it up."""
    return None if attempts >= ATTEMPTS else min(_FIRST * 3 ** (attempts - 1), _LONGEST)


def as_json(notice: Notice) -> dict[str, Any]:
    """Return a notice and what became of it, without its body. Of the address only the host: the rest may be a secret."""
    state = "waiting" if notice.ended_at is None else "sent" if notice.error is None else "given up"
    ended = notice.ended_at and notice.ended_at.isoformat()
    told = {name: getattr(notice, name) for name in ("id", "alarm", "event", "form", "attempts", "error")}
    return {**told, "host": httpx.URL(notice.url).host, "state": state, "created_at": notice.created_at.isoformat(), "ended_at": ended}


class Notifier:
    """Sends what waits. One for each process; belongs to one event loop; `close` it."""

    def __init__(self, store: Store, settings: MediaSettings, fetcher: MediaFetcher | None = None) -> None:
        self._store = store
        self._settings = settings
        self._fetcher = fetcher
        self._alarms = ReviewAlarms(store)
        self._tending: asyncio.Task[None] | None = None

    def keep_tending(self) -> None:
        """Look at the queue every few seconds until `close`."""
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend_on(), name="candor-notices")

    async def close(self) -> None:
        """Stop. What was being sent is sent again by whoever comes next: receivers know it by its id."""
        if self._tending is not None:
            self._tending.cancel()
            with suppress(asyncio.CancelledError):
                await self._tending
        if self._fetcher is not None:
            await self._fetcher.close()

    async def tend(self) -> int:
        """Send what is due; return how many notices were tried."""
        found = await self._alarms.due()
        for notice in found:
            error = await self._send(notice)
            again = None if error is None else wait(notice.attempts + 1)
            await self._alarms.told(notice.id, error, again)
            if error is not None:
                _log.warning("notice_not_sent", notice=notice.id, alarm=notice.alarm, error=error, given_up=again is None)
        return len(found)

    async def _tend_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.tend()
            except StorageUnavailable as gone:
                _log.warning("notices_not_tended", detail=gone.detail)

    async def _send(self, notice: Notice) -> str | None:
        """Return what went wrong, None where the receiver took it."""
        if self._fetcher is None:  # made late: most servers have nothing to tell
            self._fetcher = MediaFetcher(self._settings, _ANSWER_BYTES)
        body = json.dumps(body_of(notice), ensure_ascii=False).encode()
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "Candor-Timestamp": stamp, "Candor-Notice": notice.id}
        if notice.form != "slack":
            key = await signing_key(self._store, notice.team, notice.project)
            headers["Candor-Signature"] = signature(key, stamp, body)
        try:
            status = await self._fetcher.post(notice.url, body, headers)
        except CandorError as error:
            return error.detail
        return None if 200 <= status < 300 else f"it answered {status}"


def _plain(text: str) -> str:
    """Return a name in a chat's words: nothing in it is a link or a call."""
    return str(text)[:200].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
