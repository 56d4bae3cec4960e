"""Device-paced batching: the device takes its next batch when it is free, never on a timer.

Ray Serve's own batcher seals batches on its timer while the device is still busy, which collapses under load (docs/adr/0001 has the
figures). Here the thread that runs the model pulls: while one batch runs, the next one grows in the queue, and it is taken whole
the moment the device is free. An idle device takes a single unit at once, so batching adds no waiting at low load.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from candor.errors import CandorError, Internal, NotReady
from candor.ids import new_id

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one unit got: its result, and how it went."""

    result: Any
    queue_seconds: float
    infer_seconds: float
    batch_size: int
    batch: int  # serial number of the batch within this batcher


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One device call, for the metrics."""

    size: int
    seconds: float
    dropped: int  # units skipped because their callers had gone


@dataclass(slots=True)
class _Entry:
    unit: Any
    cost: float
    future: asyncio.Future[Answer]
    since: float


class Batcher:
    """One queue in front of one model version on one device.

    Units are taken in order of arrival, as many as `max_batch` units and `max_cost` allow (at least one). A batch that raises is
    tried again unit by unit, so that a poison unit fails alone; a unit whose caller has gone is skipped and counted.

    `lanes` device threads run at once, each with a batch of its own; more than one needs a model whose `infer` allows it.
    """

    def __init__(
        self,
        infer: Callable[[Sequence[Any]], list[Any]],
        *,
        max_batch: int,
        max_cost: float | None = None,
        cost: Callable[[Any], float] = lambda unit: 1.0,
        lanes: int = 1,
        report: Callable[[BatchReport], None] = lambda report: None,
        name: str = "batcher",
    ) -> None:
        self._infer = infer
        self._max_batch = max_batch
        self._max_cost = max_cost if max_cost is not None else float(max_batch)
        self._cost = cost
        self._report = report
        self._queue: deque[_Entry] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._serial = itertools.count(1)
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{lane}", daemon=True) for lane in range(lanes)]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    async def submit(self, unit: Any) -> Answer:
        """Queue one unit and wait for its answer.

        Raises:
            CandorError: the unit failed (alone), or the batcher is closed.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        entry = _Entry(unit, self._cost(unit), future, time.perf_counter())
        with self._ready:
            if self._closed:
                raise NotReady("the model is being unloaded", retry_after=1)
            self._queue.append(entry)
            self._ready.notify()
        return await future

    async def close(self) -> None:
        """Finish what is queued, then stop the device threads."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        while True:
            batch, dropped = self._take()
            if batch:
                self._serve(batch, dropped)
            elif self._closed:
                return

    def _take(self) -> tuple[list[_Entry], int]:
        """Wait until there is something to do; return the next batch and how many entries were skipped."""
        batch: list[_Entry] = []
        total, dropped = 0.0, 0
        with self._ready:
            while not self._queue and not self._closed:
                self._ready.wait()
            while self._queue and len(batch) < self._max_batch:
                if self._queue[0].future.done():  # its caller has gone
                    self._queue.popleft()
                    dropped += 1
                    continue
                if batch and total + self._queue[0].cost > self._max_cost:
                    break
                total += self._queue[0].cost
                batch.append(self._queue.popleft())
        return batch, dropped

    def _serve(self, batch: list[_Entry], dropped: int) -> None:
        serial, start = next(self._serial), time.perf_counter()
        results = self._results([entry.unit for entry in batch])
        seconds = time.perf_counter() - start
        answers = [
            (entry.future, Answer(result, start - entry.since, seconds, len(batch), serial))
            for entry, result in zip(batch, results, strict=True)
        ]
        self._report(BatchReport(len(batch), seconds, dropped))
        try:
            batch[0].future.get_loop().call_soon_threadsafe(_deliver, answers)
        except RuntimeError:  # the loop was closed under us: nobody waits any more
            _log.warning("batch_undelivered", units=len(batch))

    def _results(self, units: list[Any]) -> list[Any]:
        try:
            return self._checked(units)
        except Exception as error:  # noqa: BLE001 - whatever a family raises must not stop the device thread
            _log.warning("batch_failed", units=len(units), error=repr(error))
        return [self._alone(unit) for unit in units]

    def _alone(self, unit: Any) -> Any:
        try:
            return self._checked([unit])[0]
        except CandorError as error:
            return error
        except Exception:  # noqa: BLE001
            incident = new_id("inc")
            _log.exception("unit_failed", incident=incident)
            return Internal(f"the model failed on this item; look up {incident} in the log")

    def _checked(self, units: list[Any]) -> list[Any]:
        results = self._infer(units)
        if len(results) != len(units):
            raise RuntimeError(f"infer was given {len(units)} units and answered {len(results)} results")
        return results


def _deliver(answers: Sequence[tuple[asyncio.Future[Answer], Answer]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer.result, CandorError):
            future.set_exception(answer.result)
        else:
            future.set_result(answer)
