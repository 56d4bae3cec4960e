"""Looks after the reviews of connected Label Studios: deals with what they reported, and asks for what they did not report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from candor.errors import StorageUnavailable
from serving.api.services import Services
from serving.outgoing import Tending
from serving.protocols.label_studio.connected import TOOL
from serving.protocols.label_studio.events import Reports
from serving.protocols.label_studio.people import People
from serving.protocols.label_studio.polling import Poller
from serving.protocols.label_studio.remote import Remotes
from store.connections import Connection, Connections
from store.moments import utc_now

_log = structlog.get_logger(__name__)

REPORTS_EVERY = 2.0  # seconds between looks at the queue
POLLS_EVERY = 5.0  # seconds between looks at which connection is due
_AT_ONCE = 8  # connections that are polled


class ReviewTender:
    """Tends one store's connections. Belongs to one event loop; `close` it."""

    def __init__(self, services: Services, remotes: Remotes, clock: Callable[[], datetime] = utc_now) -> None:
        self._connections = Connections(services.store)
        self._reports = Reports(services, People(remotes), clock)
        self._poller = Poller(services, remotes, clock)
        self._polling: dict[str, asyncio.Task[int]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        # Two loops: a Label Studio that is slow to answer holds up no review that is here already.
        self._loops = (
            Tending(self._report, REPORTS_EVERY, "label_studio_reports"),
            Tending(self._poll, POLLS_EVERY, "label_studio_polls"),
        )

    def keep_tending(self) -> None:
        """Look every few seconds until `close`."""
        for loop in self._loops:
            loop.start()

    def wake(self) -> None:
        """Look at what was reported now."""
        self._loops[0].wake()

    async def close(self) -> None:
        """Stop. What was being dealt with is dealt with again by whoever comes next, and changes nothing the second time."""
        for loop in self._loops:
            await loop.close()
        under_way = list(self._polling.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def tend(self) -> None:
        """Poll what is due, and deal with all that is in the queue."""
        await self._poll()
        await asyncio.gather(*self._polling.values())
        await self._report()

    async def _report(self) -> None:
        while await self._reports.work():
            pass

    async def _poll(self) -> None:
        """Begin to poll those that are not being polled: one with many annotations takes minutes, and holds up no other."""
        for connection in await self._connections.active(TOOL):
            if connection.id not in self._polling:
                task = asyncio.create_task(self._poll_one(connection), name=f"candor-poll-{connection.id}")
                self._polling[connection.id] = task

    async def _poll_one(self, connection: Connection) -> int:
        try:
            async with self._places:
                return await self._poller.poll(connection)
        except StorageUnavailable as gone:
            _log.warning("label_studio_not_polled", connection=connection.id, error=gone.detail)
            return 0
        except Exception:  # noqa: BLE001 - a bug about one connection must not end the polling of all
            _log.exception("label_studio_poll_broke", connection=connection.id)
            return 0
        finally:
            del self._polling[connection.id]
