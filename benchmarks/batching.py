"""The device-paced batcher against one that seals batches on a timer: `python -m benchmarks.batching`, under a minute.

The device is a stub: a batch of n takes 30 + 2.5 n ms, sleeping, at most 16 units: 229 units/s at best. Units come by the clock with
random gaps (Poisson), whatever became of the earlier ones. The timer's batcher does what Ray Serve 2.60's `@serve.batch` does with a
model that runs in a thread: when its time is over it seals what has come as a batch, and the sealed batch then waits for the device.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import percentile
from serving.batching import Batcher, BatchReport

BASE, EACH, MAX_BATCH = 0.030, 0.0025, 16
LOADS = (5.0, 80.0, 160.0)  # units/s
_SECONDS = 4.5  # of each cell


@dataclass
class Device:
    """A device that sleeps. Remembers the sizes of its batches."""

    sizes: list[int] = field(default_factory=list)

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Take the time that a batch takes."""
        self.sizes.append(len(units))
        time.sleep(BASE + EACH * len(units))
        return list(units)


class Submits(Protocol):
    """What both batchers do."""

    async def submit(self, unit: Any) -> Any:
        """Queue one unit and wait for its answer."""

    async def close(self) -> None:
        """Stop."""


class TimerBatcher:
    """Seals a batch when it is full, or `wait` seconds after its first unit; sealed batches wait in line for the device."""

    def __init__(self, device: Device, wait: float) -> None:
        self._device = device
        self._wait = wait
        self._queue: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
        self._permit = asyncio.Semaphore(1)
        self._running: set[asyncio.Task[None]] = set()
        self._sealing = asyncio.create_task(self._seal())

    async def submit(self, unit: Any) -> Any:
        """Queue one unit and wait for its answer."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(future)
        return await future

    async def close(self) -> None:
        """Drop what has not begun."""
        for task in (self._sealing, *self._running):
            task.cancel()
        await asyncio.gather(self._sealing, *self._running, return_exceptions=True)

    async def _seal(self) -> None:
        while True:
            batch = [await self._queue.get()]
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait):
                    while len(batch) < MAX_BATCH:
                        batch.append(await self._queue.get())
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[asyncio.Future[Any]]) -> None:
        async with self._permit:
            await asyncio.to_thread(self._device.infer, batch)
        for future in batch:
            if not future.done():
                future.set_result(None)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one batcher did under one load. A unit that was not done at the end counts with its age, which is less than it waited."""

    done: float  # units/s
    p50: float
    p99: float
    batch: float


async def run(make: Callable[[Device], Submits], load: float, seconds: float, seed: int = 0) -> Cell:
    """Run one batcher under one load."""
    device = Device()
    batcher = make(device)
    due = np.cumsum(np.random.default_rng(seed).exponential(size=int(load * seconds)))
    due *= seconds / due[-1]
    start, finished = time.perf_counter(), list[float]()

    async def one(at: float) -> None:
        await asyncio.sleep(max(start + at - time.perf_counter(), 0))
        await batcher.submit(at)
        finished.append(time.perf_counter() - start - at)

    tasks = [asyncio.create_task(one(float(at))) for at in due]
    await asyncio.wait(tasks, timeout=float(due[-1]) + 2 * (BASE + EACH * MAX_BATCH))
    end, done = time.perf_counter() - start, len(finished)
    pending = [float(at) for at, task in zip(due, tasks, strict=True) if not task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await batcher.close()
    waits = [*finished[:done], *(end - at for at in pending)]
    return Cell(done / end, percentile(waits, 0.5), percentile(waits, 0.99), sum(device.sizes) / max(len(device.sizes), 1))


def _ignore(_report: BatchReport) -> None:
    pass


BATCHERS: dict[str, Callable[[Device], Submits]] = {
    "device-paced": lambda device: Batcher(device.infer, max_batch=MAX_BATCH, report=_ignore),
    "timer, 10 ms": lambda device: TimerBatcher(device, 0.010),
    "timer, 50 ms": lambda device: TimerBatcher(device, 0.050),
}


def main() -> None:
    """Print the table."""
    table = Table(
        title=f"Batches of at most {MAX_BATCH}, {BASE * 1000:.0f} + {EACH * 1000:.1f} n ms, {_SECONDS:g} s each", title_justify="left"
    )
    for column in ("units/s come", "batcher", "units/s done", "p50 ms", "p99 ms", "mean batch"):
        table.add_column(column, justify="left" if column == "batcher" else "right")
    console = Console(width=100)
    for load in LOADS:
        for name, make in BATCHERS.items():
            console.print(f"{name} at {load:.0f}/s", style="dim", highlight=False)
            cell = asyncio.run(run(make, load, _SECONDS))
            cells = (f"{cell.done:.1f}", f"{cell.p50 * 1000:.0f}", f"{cell.p99 * 1000:.0f}", f"{cell.batch:.1f}")
            table.add_row(f"{load:.0f}", name, *cells, end_section=name == list(BATCHERS)[-1])
    console.print(table)


if __name__ == "__main__":
    main()
