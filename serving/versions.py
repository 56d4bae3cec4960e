"""Loaded model versions: bounded by bytes, reference-counted, loaded before anything is evicted, one load per version at a time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import structlog

_log = structlog.get_logger(__name__)

State: TypeAlias = Literal["ready", "loading", "failed", "available"]
FAILED_SECONDS = 5.0  # how long a load that failed is not tried again, so that a flood of requests is not one of loads
_FIRST_LOAD = 5.0  # seconds that a load is taken to last before any was seen


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


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    at: float


class VersionCache(Generic[L]):
    """Holds loaded versions, least recently used first.

    A version in use is never evicted, and a load that fails evicts nothing: room is made only after the new one is there. The budget
    can thus be exceeded by one load, and for as long as everything that is loaded is in use; who leaves then makes room.
    """

    def __init__(self, load: Callable[[str], Awaitable[L]], max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._clock = clock
        self._held: OrderedDict[str, _Held[L]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Held[L]]] = {}
        self._since: dict[str, float] = {}  # when what is loading began to
        self._seconds: dict[str, float] = {}  # of each version's newest load
        self._failures: dict[str, _Failure] = {}
        self._clearing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, version: str) -> AsyncIterator[L]:
        """Hold a version loaded; the first caller's load serves all who come meanwhile.

        Raises:
            CandorError: it can't be loaded. A call after FAILED_SECONDS tries again.
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
            if not held.users and self._excess():
                clearing = asyncio.create_task(self._make_room(keep=version))
                self._clearing.add(clearing)
                clearing.add_done_callback(self._clearing.discard)

    def state(self, version: str) -> tuple[State, str]:
        """Return where a version stands, and what went wrong if it failed."""
        if version in self._held:
            return "ready", ""
        if version in self._loading:
            return "loading", ""
        if version in self._failures:
            return "failed", str(self._failures[version].error)
        return "available", ""

    def expected_seconds(self, version: str) -> float:
        """Return how long a version that is loading probably still takes: by its load before, else by the others'; at least a second."""
        known = self._seconds.values()
        usual = self._seconds.get(version, max(known) if known else _FIRST_LOAD)
        return max(1.0, usual - (self._clock() - self._since.get(version, self._clock())))

    async def close(self) -> None:
        """Unload everything."""
        await asyncio.gather(*self._clearing)
        while self._held:
            _, held = self._held.popitem()
            await held.loaded.close()

    async def _loaded(self, version: str) -> _Held[L]:
        task = self._loading.get(version)
        if task is None:
            failure = self._failures.get(version)
            if failure is not None and self._clock() - failure.at < FAILED_SECONDS:
                raise failure.error.with_traceback(None)
            task = asyncio.create_task(self._load_one(version))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # one who waits for it raises it
            self._loading[version] = task
        return await asyncio.shield(task)

    async def _load_one(self, version: str) -> _Held[L]:
        start = self._since[version] = self._clock()
        try:
            held = _Held(await self._load(version))
        except Exception as error:
            self._failures[version] = _Failure(error, self._clock())
            raise
        finally:
            del self._loading[version], self._since[version]
        self._seconds[version] = self._clock() - start
        self._failures.pop(version, None)
        self._held[version] = held
        await self._make_room(keep=version)
        return held

    async def _make_room(self, keep: str) -> None:
        for version in list(self._held):
            if not self._excess():
                return
            held = self._held.get(version)  # another may be making room too
            if held is not None and version != keep and not held.users:
                del self._held[version]
                held.evicted = True
                _log.info("version_evicted", version=version)
                await held.loaded.close()

    def _excess(self) -> bool:
        return len(self._held) > 1 and sum(held.loaded.memory() for held in self._held.values()) > self._max_bytes
