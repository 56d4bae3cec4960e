"""The engine: bytes of one item in, its prediction out, batched with whatever else is being drafted by the same model version.

    prepare (a thread)  ->  batcher (the device's own thread)  ->  finish (a thread)

It knows families and devices; it knows nothing of HTTP, Ray, drafts or calibration.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from candor.drafts import Timings
from candor.errors import CandorError, Internal
from candor.families import LoadedModel, MediaLimits, PreparedItem
from candor.ids import new_id
from candor.predictions import Prediction
from serving.admission import FairGate
from serving.batching import Answer, Batcher, BatchReport
from serving.versions import State, VersionCache

_log = structlog.get_logger(__name__)
_END = object()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs its models."""

    limits: MediaLimits
    max_batch: int
    prepare_threads: int
    cache_bytes: int
    lanes: int = 1  # device threads per version, where the model allows it
    loads_at_once: int = 2  # versions that load at the same time: each may need its memory twice while it does


class _Runner:
    """One loaded version with its batcher, and the gate that bounds what is prepared ahead of the device."""

    def __init__(
        self, model: LoadedModel, options: EngineOptions, max_batch: int, report: Callable[[BatchReport], None], name: str
    ) -> None:
        lanes = options.lanes if model.concurrent_infer else 1
        self.model = model
        self.batcher = Batcher(model.infer, max_batch=max_batch, cost=model.cost, lanes=lanes, report=report, name=name)
        # Enough to fill every lane's running batch and the next one, so that the device never waits for a decoder.
        self.gate = FairGate(2 * lanes * max_batch + options.prepare_threads)
        self.ahead = 2 * lanes * max_batch  # units of one item in flight

    def memory(self) -> int:
        return self.model.memory()

    async def close(self) -> None:
        await self.batcher.close()
        await asyncio.to_thread(self.model.close)


async def _here(_version: str) -> int | None:
    """The files of the configuration's models are here, and its settings say how they run."""
    return None


class Engine:
    """Runs model versions of one task on one device.

    `load` is called in a thread with a version's full name and returns it loaded and warm; it raises a CandorError if it can't. Before
    that `bring` sees to it that the version's files are here, and returns the largest batch that it runs, or None: as the options say.
    """

    def __init__(
        self,
        load: Callable[[str], LoadedModel],
        options: EngineOptions,
        report: Callable[[str, BatchReport], None] = lambda version, report: None,
        bring: Callable[[str], Awaitable[int | None]] = _here,
    ) -> None:
        self._load_model = load
        self._bring = bring
        self._loads = asyncio.Semaphore(options.loads_at_once)
        self._options = options
        self._report = report
        self._threads = ThreadPoolExecutor(options.prepare_threads, thread_name_prefix="prepare")
        self._versions: VersionCache[_Runner] = VersionCache(self._load, options.cache_bytes)

    async def predict(self, version: str, data: bytes, *, key: str = "") -> tuple[Prediction, Timings]:
        """Run one item.

        Raises:
            CandorError: this item failed, or its version can't be loaded. A family's own bug comes out as Internal.
        """
        async with self._versions.use(version) as runner:
            try:
                return await _Passage(runner, self._threads, self._options.limits, key).run(data)
            except CandorError:
                raise
            except Exception as error:
                incident = new_id("inc")
                _log.exception("item_failed", version=version, incident=incident)
                raise Internal(f"the model failed on this item; look up {incident} in the log") from error

    async def warm(self, version: str) -> None:
        """Load a version ahead of its first request.

        Raises:
            CandorError: it can't be loaded.
        """
        async with self._versions.use(version):
            pass

    def state(self, version: str) -> tuple[State, str]:
        """Return where a version stands: ready, loading, failed (and why), or available."""
        return self._versions.state(version)

    def expected_seconds(self, version: str) -> float:
        """Return how long a version that is loading probably still takes."""
        return self._versions.expected_seconds(version)

    async def close(self) -> None:
        """Finish what is running, then unload everything."""
        await self._versions.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _load(self, version: str) -> _Runner:
        most = await self._bring(version)
        async with self._loads:
            model = await self._loaded(version)
        max_batch = min(self._options.max_batch, most or self._options.max_batch)
        return _Runner(model, self._options, max_batch, lambda report: self._report(version, report), name=version.partition("@")[0])

    async def _loaded(self, version: str) -> LoadedModel:
        start = time.perf_counter()
        # In a thread that ends: libgomp keeps a team of threads for each thread that ever ran a model, and while there are more of them
        # than cores it no longer lets them wait actively, which costs small models nearly half of their speed on a CPU.
        alone = ThreadPoolExecutor(1, thread_name_prefix="load")
        try:
            model = await asyncio.get_running_loop().run_in_executor(alone, self._load_model, version)
        finally:
            alone.shutdown(wait=False)
        _log.info("version_loaded", version=version, seconds=round(time.perf_counter() - start, 2), bytes=model.memory())
        return model


class _Passage:
    """One item's way through a runner. Holds its figures as they come."""

    def __init__(self, runner: _Runner, threads: ThreadPoolExecutor, limits: MediaLimits, key: str) -> None:
        self._runner = runner
        self._threads = threads
        self._limits = limits
        self._key = key
        self._prepare_seconds = 0.0
        self._item = PreparedItem(units=iter(()))

    async def run(self, data: bytes) -> tuple[Prediction, Timings]:
        answers = await self._answers(data)
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        results = [answer.result for answer in answers]
        prediction = await loop.run_in_executor(self._threads, self._runner.model.finish, self._item, results)
        return prediction, self._timings(answers, time.perf_counter() - start)

    async def _answers(self, data: bytes) -> list[Answer]:
        """Make the item's units one after another, each only when the gate lets it in; return their answers in order."""
        waiting: deque[asyncio.Task[Answer]] = deque()
        answers: list[Answer] = []
        make: Callable[[], tuple[Any, bool]] = partial(self._first, data)
        more = True
        try:
            while more:
                unit, more = await self._made(make)
                make = self._next
                if unit is not _END:
                    waiting.append(asyncio.create_task(self._runner.batcher.submit(unit)))
                    waiting[-1].add_done_callback(self._release)
                while waiting and (len(waiting) >= self._runner.ahead or not more):
                    answers.append(await waiting.popleft())
        finally:
            for task in waiting:
                task.cancel()
        return answers

    async def _made(self, make: Callable[[], tuple[Any, bool]]) -> tuple[Any, bool]:
        """Make one unit on a thread, under a slot of the gate that is kept until the unit is answered."""
        await self._runner.gate.acquire(self._key)
        unit: Any = _END
        try:
            unit, more = await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, make)
        finally:
            if unit is _END:
                self._runner.gate.release()
        return unit, more

    def _release(self, answered: asyncio.Task[Answer]) -> None:
        self._runner.gate.release()
        if not answered.cancelled():
            answered.exception()  # whoever awaits it raises it; where an earlier unit failed first, nobody does

    def _timed(self, make: Callable[[], tuple[Any, bool]]) -> tuple[Any, bool]:
        start = time.perf_counter()
        try:
            return make()
        finally:
            self._prepare_seconds += time.perf_counter() - start

    def _first(self, data: bytes) -> tuple[Any, bool]:
        self._item = self._runner.model.prepare(data, self._limits)
        return self._next()

    def _next(self) -> tuple[Any, bool]:
        """Return the next unit (or _END), and whether there may be another: a list's iterator knows, a generator does not."""
        unit = next(self._item.units, _END)
        return unit, unit is not _END and operator.length_hint(self._item.units, 1) > 0

    def _timings(self, answers: list[Answer], finish: float) -> Timings:
        batches = {answer.batch: answer for answer in answers}
        return Timings(
            prepare=self._prepare_seconds,
            queue=max((answer.queue_seconds for answer in answers), default=0.0),
            infer=sum(answer.infer_seconds for answer in batches.values()),
            finish=finish,
            batch_size=max((answer.batch_size for answer in answers), default=0),
        )
