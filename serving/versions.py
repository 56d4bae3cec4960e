"""Loaded model versions: bounded by bytes, reference-counted, loaded before anything is evicted, one load per version at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import structlog

_log = structlog.get_logger(__name__)

State: TypeAlias = Literal["ready", "loading", "failed", "available"]


class Closable(Protocol):
    """Something loaded: it knows its size and gives it back."""

    def memory(self) -> int:
        """Bytes held."""

    async def close(self) -> None:
        """Give them back."""


L = TypeVar("L", bound=Closable)


@dataclass(slots=True)
class _Held(Generic[L]):
    loaded: L
    users: int = 0
    evicted: bool = False


class VersionCache(Generic[L]):
    """Holds loaded versions, least recently used first.

    A version in use is never evicted, and a load that fails evicts nothing: room is made only after the new one is there. The budget
    can thus be exceeded by one load, and for as long as everything that is loaded is in use.
    """

    def __init__(self, load: Callable[[str], Awaitable[L]], max_bytes: int) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, _Held[L]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Held[L]]] = {}
        self._failures: dict[str, str] = {}

    @asynccontextmanager
    async def use(self, version: str) -> AsyncIterator[L]:
        """Hold a version loaded; the first caller's load serves all who come meanwhile.

        Raises:
            CandorError: it can't be loaded. The next call tries again.
        """
        held = self._held.get(version) or await self._loaded(version)
        while held.evicted:  # between its load and this caller's turn
            held = self._held.get(version) or await self._loaded(version)
        held.users += 1
        self._held.move_to_end(version)
        try:
            yield held.loaded
        finally:
            held.users -= 1

    def state(self, version: str) -> tuple[State, str]:
        """Return where a version stands, and what went wrong if it failed."""
        if version in self._held:
            return "ready", ""
        if version in self._loading:
            return "loading", ""
        if version in self._failures:
            return "failed", self._failures[version]
        return "available", ""

    async def close(self) -> None:
        """Unload everything."""
        while self._held:
            _, held = self._held.popitem()
            await held.loaded.close()

    async def _loaded(self, version: str) -> _Held[L]:
        task = self._loading.get(version)
        if task is None:
            task = asyncio.create_task(self._load_one(version))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # one who waits for it raises it
            self._loading[version] = task
        return await asyncio.shield(task)

    async def _load_one(self, version: str) -> _Held[L]:
        try:
            held = _Held(await self._load(version))
        except Exception as error:
            self._failures[version] = str(error)
            raise
        finally:
            del self._loading[version]
        self._failures.pop(version, None)
        self._held[version] = held
        await self._make_room(keep=version)
        return held

    async def _make_room(self, keep: str) -> None:
        for version in list(self._held):
            if sum(held.loaded.memory() for held in self._held.values()) <= self._max_bytes:
                return
            held = self._held[version]
            if version != keep and not held.users:
                del self._held[version]
                held.evicted = True
                _log.info("version_evicted", version=version)
                await held.loaded.close()
