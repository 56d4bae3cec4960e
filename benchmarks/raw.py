"""The raw side, a process of its own: `python -m benchmarks.raw --task T …` loads one model as a replica does, and runs it in a loop.

Two loops over the same files. `plain` prepares, infers and finishes one batch after another. `ahead` prepares the next batch on as many
threads as the server has for it while this one runs: the best that a loop can do, and what a server has to be held against too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Others
from benchmarks.media import files_of
from benchmarks.served import CLIENTS
from candor.errors import CandorError
from candor.families import LoadedModel, MediaLimits, PreparedItem
from candor.predictions import Prediction, Task
from serving.config import load_settings
from serving.deployments.environment import MALLOC
from serving.loading import build_catalog, engine_options, engine_settings, load_version, media_limits

_START_SECONDS = 300.0  # for loading and warming, beside what the loops take
_PACED_SECONDS = 90.0  # most for a latency phase: on a slow machine it has fewer items
_LEAST_PACED = 5
_ALONE = 5  # items run alone, one right after another, to find the pace


@dataclass(frozen=True, slots=True)
class RawRun:
    """One raw measurement of one task. `latency` has the seconds of each file alone, at the pace that the server gets too."""

    version: str
    max_batch: int
    plain: float  # items/s
    ahead: float  # items/s
    half: float  # items/s of the plain loop in batches of half the clients: the other half waits while they run
    back_to_back: float  # seconds of one item alone, median
    period: float  # seconds between the paced items
    latency: dict[str, float]
    cpu: float  # cores busy in the loops
    others: float  # cores that were busy with other work meanwhile


@dataclass(frozen=True, slots=True)
class RawPlan:
    """What to measure. `least` batches are run even if that takes longer than `seconds`."""

    seconds: float
    least: int
    paced: int


def measure_apart(config: Path, task: Task, media: Path, plan: RawPlan) -> RawRun:
    """Measure in a new process, under the allocator's settings of a replica.

    Raises:
        CandorError: the process failed; its last words are in the detail.
    """
    command = [sys.executable, "-m", "benchmarks.raw", "--config", str(config), "--task", task, "--media", str(media)]
    command += ["--seconds", str(plan.seconds), "--least", str(plan.least), "--paced", str(plan.paced)]
    limit = _START_SECONDS + 10 * plan.seconds + 30 * plan.paced
    try:
        done = subprocess.run(command, env={**os.environ, **MALLOC}, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise CandorError(f"the raw loop of {task} did not end within {limit:.0f} s: this machine is too slow, or too busy") from error
    if done.returncode:
        raise CandorError(f"the raw loop of {task} failed: {done.stderr.strip()[-2000:]}")
    return RawRun(**json.loads(done.stdout.splitlines()[-1]))


class Loop:
    """A model run by hand."""

    def __init__(self, model: LoadedModel, limits: MediaLimits, max_batch: int, threads: int) -> None:
        self._model = model
        self._limits = limits
        self._max_batch = max_batch
        self._pool = ThreadPoolExecutor(threads)

    def alone(self, data: bytes) -> float:
        """Run one item; return its seconds."""
        start = time.perf_counter()
        self._finish([self._prepare(data)])
        return time.perf_counter() - start

    def plain(self, files: Sequence[bytes], seconds: float, least: int) -> float:
        """Return items/s, whole batches."""
        chunks, start, done = self._chunks(files), time.perf_counter(), 0
        while done < least * self._max_batch or time.perf_counter() - start < seconds:
            done += len(self._finish([self._prepare(data) for data in next(chunks)]))
        return done / (time.perf_counter() - start)

    def ahead(self, files: Sequence[bytes], seconds: float, least: int) -> float:
        """Return items/s, whole batches; the first one is prepared before the clock starts, as each later one is during another."""
        chunks, done = self._chunks(files), 0
        ready = list(self._pool.map(self._prepare, next(chunks)))
        start = time.perf_counter()
        while done < least * self._max_batch or time.perf_counter() - start < seconds:
            coming = [self._pool.submit(self._prepare, data) for data in next(chunks)]
            done += len(self._finish(ready))
            ready = [one.result() for one in coming]
        return done / (time.perf_counter() - start)

    def _chunks(self, files: Sequence[bytes]) -> Iterator[list[bytes]]:
        endless = itertools.cycle(files)
        while True:
            yield list(itertools.islice(endless, self._max_batch))

    def _prepare(self, data: bytes) -> tuple[PreparedItem, list[Any]]:
        item = self._model.prepare(data, self._limits)
        return item, list(item.units)

    def _finish(self, prepared: Sequence[tuple[PreparedItem, list[Any]]]) -> list[Prediction]:
        """Infer all units of a chunk of items, in batches of the cap, and finish the items."""
        units = [unit for _, made in prepared for unit in made]
        results: list[Any] = []
        for i in range(0, len(units), self._max_batch):
            results += self._model.infer(units[i : i + self._max_batch])
        for result in results:
            if isinstance(result, CandorError):
                raise result
        found = iter(results)
        return [self._model.finish(item, list(itertools.islice(found, len(made)))) for item, made in prepared]


def measure(config: Path, task: Task, media: Path, plan: RawPlan) -> RawRun:
    """Measure in this process.

    Raises:
        CandorError: the model can't be had, or fails on a file.
    """
    settings = load_settings(config)
    engine = engine_settings(settings, task)
    options = engine_options(engine, media_limits(settings))
    installed = build_catalog(settings).install(settings.tasks[task].model.partition("@")[0])
    model = load_version(installed, engine)
    loop = Loop(model, options.limits, options.max_batch, options.prepare_threads)
    smaller = Loop(model, options.limits, min(options.max_batch, CLIENTS // 2), options.prepare_threads)
    files = {path.name: path.read_bytes() for path in files_of(media, task)}
    every = list(files.values())
    loop.plain(every, 0, 1)  # whatever is slow the first time at this batch size
    alone = sorted(loop.alone(data) for data in every[:_ALONE])
    period = pace(alone[len(alone) // 2])
    paced = max(min(plan.paced, int(_PACED_SECONDS / period)), _LEAST_PACED)
    latency = _paced(loop, dict(list(files.items())[:paced]), period)
    start, before, others = time.perf_counter(), time.process_time(), Others()
    plain = loop.plain(every, plan.seconds, plan.least)
    ahead = loop.ahead(every, plan.seconds, plan.least)
    half = smaller.plain(every, plan.seconds, plan.least)
    own = time.process_time() - before
    return RawRun(
        version=installed.manifest.version,
        max_batch=options.max_batch,
        plain=plain,
        ahead=ahead,
        half=half,
        back_to_back=alone[len(alone) // 2],
        period=period,
        latency=latency,
        cpu=own / (time.perf_counter() - start),
        others=others.cores(own),
    )


def pace(alone: float) -> float:
    """Return the seconds between items of the latency phase: one, or twice what an item takes where that is more."""
    return max(1.0, 2 * alone)


def _paced(loop: Loop, files: dict[str, bytes], period: float) -> dict[str, float]:
    """Run each file alone, one every `period` seconds: between them caches cool and threads sleep, as they do in a server."""
    found, start = {}, time.perf_counter()
    for i, (name, data) in enumerate(files.items()):
        time.sleep(max(start + i * period - time.perf_counter(), 0))
        found[name] = loop.alone(data)
    return found


def main() -> None:
    """Measure as told on the command line; print the figures as JSON in the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--least", type=int, required=True)
    parser.add_argument("--paced", type=int, required=True)
    told = parser.parse_args()
    run = measure(told.config, told.task, told.media, RawPlan(told.seconds, told.least, told.paced))
    print(json.dumps({name: getattr(run, name) for name in RawRun.__slots__}))


if __name__ == "__main__":
    main()
