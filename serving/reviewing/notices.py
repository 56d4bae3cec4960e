"""Notices of alarms: sent from a queue in the database, signed, tried again for a day, and never to where items are not fetched from.

The signature is HMAC-SHA256 of `<timestamp>.<body>` in hexadecimal. Its key follows from the project's secret, and tells nothing of it.
"""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

import httpx
import structlog

from serving.config import MediaSettings
from serving.media import MediaFetcher
from serving.outgoing import Poster, Tending, wait
from store import Store
from store.draws import Draws
from store.review_alarms import Notice, ReviewAlarms

_log = structlog.get_logger(__name__)

EVERY = 5.0  # seconds between looks at the queue
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
        self._poster = Poster(settings, fetcher)
        self._alarms = ReviewAlarms(store)
        self._tending = Tending(self.tend, EVERY, "notices")

    def keep_tending(self) -> None:
        """Look at the queue every few seconds until `close`."""
        self._tending.start()

    async def close(self) -> None:
        """Stop. What was being sent is sent again by whoever comes next: receivers know it by its id."""
        await self._tending.close()
        await self._poster.close()

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

    async def _send(self, notice: Notice) -> str | None:
        """Return what went wrong, None where the receiver took it."""
        body = json.dumps(body_of(notice), ensure_ascii=False).encode()
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "Candor-Timestamp": stamp, "Candor-Notice": notice.id}
        if notice.form != "slack":
            key = await signing_key(self._store, notice.team, notice.project)
            headers["Candor-Signature"] = signature(key, stamp, body)
        return (await self._poster.post(notice.url, body, headers)).error


def _plain(text: str) -> str:
    """Return a name in a chat's words: nothing in it is a link or a call."""
    return str(text)[:200].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
