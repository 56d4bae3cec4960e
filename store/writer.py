"""Group commit: one task writes, and what arrives while a transaction commits goes together into the next.

A commit that survives a power cut waits for the disk, whatever it holds; so the more wait, the more share one. A single writer per
process also keeps its own writes from waiting for each other's locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from candor.errors import StorageUnavailable
from store import dialects

T = TypeVar("T")
_TURNS = 5  # that a write takes when it collides with another process's
Work = Callable[[AsyncConnection], Awaitable[T]]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    """What one caller waits for: rows to insert, or work to do in the transaction."""

    rows: list[Row]
    work: Work[Any] | None
    done: asyncio.Future[Any]


class Writer:
    """Writes to one database. `table` takes the rows of `insert`. Belongs to the event loop that made it."""

    def __init__(self, engine: AsyncEngine, table: sa.Table) -> None:
        self._engine = dialects.for_writing(engine)
        self._table = table
        self._waiting: list[_Write] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="candor-store-writer")
        self.transactions = 0  # committed

    async def insert(self, rows: list[Row]) -> None:
        """Insert rows; they are committed when this returns."""
        await self._submit(rows, None)

    async def run(self, work: Work[T]) -> T:
        """Do work in a transaction; it is committed when this returns its result. It may be done twice, the first time undone."""
        result: T = await self._submit([], work)
        return result

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _submit(self, rows: list[Row], work: Work[Any] | None) -> Any:
        if self._closing:
            raise StorageUnavailable("the store is closed")
        write = _Write(rows, work, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        self._wake.set()
        return await write.done

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            group = [write for write in self._waiting if not write.done.done()]  # a caller who left is not written for
            self._waiting.clear()
            if group:
                await self._write(group)

    async def _write(self, group: list[_Write], turn: int = 1) -> None:
        try:
            results = await self._commit(group)
        except Exception as error:  # noqa: BLE001 - each caller gets it
            if len(group) > 1 and not dialects.is_refusal(error):
                for write in group:  # one of them is at fault: find out which
                    await self._write([write])
            elif dialects.is_collision(error) and turn < _TURNS:
                await self._write(group, turn + 1)
            else:
                for write in group:
                    if not write.done.done():
                        write.done.set_exception(error)
            return
        for write, result in zip(group, results, strict=True):
            if not write.done.done():
                write.done.set_result(result)

    async def _commit(self, group: list[_Write]) -> list[Any]:
        async with self._engine.begin() as connection:
            rows = [row for write in group for row in write.rows]
            if rows:
                await connection.execute(self._table.insert(), rows)
            results = [None if write.work is None else await write.work(connection) for write in group]
        self.transactions += 1
        return results
