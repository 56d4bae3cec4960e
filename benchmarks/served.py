"""The served side: one task's three phases against a server that runs, and what its answers say of themselves."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Bounds, mean_batch, percentile
from benchmarks.load import Done, closed_loop, open_loop
from benchmarks.machine import CpuMeter
from benchmarks.media import files_of
from benchmarks.wire import Request, Sender, draft_request
from candor.errors import CandorError
from candor.predictions import Task
from candor.tasks import SPECS

CLIENTS = 16
IN_FLIGHT = 3
BULK = {"image": 64, "audio": 16}  # items in a bulk request
_STALL_SECONDS = 120.0  # beyond a phase's longest time: then the server hangs


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase at saturation. `cpu` are cores busy: this generator, the server's parts by name, and `others`."""

    rate: float  # items/s
    batch: float  # mean size of the device's batches
    p50: float  # seconds of a request
    p99: float
    items: int
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True)
class ServedRun:
    """One served measurement of one task."""

    clients: Phase
    bulk: Phase
    latency: list[tuple[str, float]]  # of each paced file, seconds from when it was to be sent
    steps: dict[str, float] = field(default_factory=dict)  # median seconds of each step of the paced items, as their drafts say


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """What to measure. `paced` items are sent one every `period` seconds."""

    seconds: float
    least: int
    paced: int
    period: float


class Traffic:
    """One task's requests, made beforehand, sent through `connect`."""

    def __init__(self, task: Task, media: Path, connect: Callable[[], Sender], meter: CpuMeter) -> None:
        self._connect = connect
        self._meter = meter
        self._task = task
        self._files = files_of(media, task)
        self._size = min(BULK[SPECS[task].media], len(self._files))
        self.singles = [draft_request(task, [path]) for path in self._files]

    async def measure(self, plan: ServedPlan, tell: Callable[[str], None]) -> ServedRun:
        """Run all phases.

        Raises:
            CandorError: an answer was not a fresh draft of its item.
        """
        tell("first requests")
        fresh_drafts(await open_loop(self._connect, self.singles[:3], plan.period))
        tell(f"{plan.paced} requests, one every {plan.period:.1f} s")
        paced = await open_loop(self._connect, self.singles[: plan.paced], plan.period)
        drafts = fresh_drafts(paced)
        tell(f"{CLIENTS} clients")
        clients = await self.clients(plan)
        tell(f"bulk requests of {self._size}, {IN_FLIGHT} in flight")
        bulk = await self._phase(self._bulk(), plan, warm=IN_FLIGHT * self._size)
        latency = [(done.request.items[0], done.seconds) for done in paced]
        return ServedRun(clients, bulk, latency, _steps(drafts))

    async def clients(self, plan: ServedPlan) -> Phase:
        """Run the phase of single items only."""
        starts = [i * len(self.singles) // CLIENTS for i in range(CLIENTS)]
        streams = [itertools.cycle(self.singles[start:] + self.singles[:start]) for start in starts]
        return await self._phase(streams, plan, warm=CLIENTS)

    async def _phase(self, streams: Sequence[Iterator[Request]], plan: ServedPlan, warm: int) -> Phase:
        bounds = Bounds(warm, plan.seconds, plan.least, most=6 * plan.seconds + 60)
        with self._meter.running() as cpu:
            async with asyncio.timeout(bounds.most + _STALL_SECONDS):
                window, done = await closed_loop(self._connect, streams, bounds)
        fresh_drafts(done)
        counted = [one for one in done if one.counted]
        if not window.closed or not counted:
            raise CandorError(f"{self._task}: the load ended before a rate could be measured")
        sizes = [draft["timings"]["batch_size"] for draft in fresh_drafts(counted)]
        seconds = [one.seconds for one in counted]
        return Phase(window.rate(), mean_batch(sizes), percentile(seconds, 0.5), percentile(seconds, 0.99), window.items, cpu)

    def _bulk(self) -> list[Iterator[Request]]:
        """Each stream begins with a smaller request than the next one's, so that the streams do not end their requests together."""
        endless = itertools.cycle(self._files)
        streams: list[Iterator[Request]] = []
        for i in range(IN_FLIGHT):
            first = draft_request(self._task, list(itertools.islice(endless, self._size * (i + 1) // IN_FLIGHT)))
            whole = [draft_request(self._task, list(itertools.islice(endless, self._size))) for _ in range(2)]
            streams.append(itertools.chain([first], itertools.cycle(whole)))
        return streams


def fresh_drafts(answers: Sequence[Done]) -> list[dict[str, Any]]:
    """Return the drafts of all answers.

    Raises:
        CandorError: a request was refused, an item failed, or a stored draft answered.
    """
    drafts = []
    for done in answers:
        if done.response.status != 200:
            raise CandorError(f"{done.request.path} answered {done.response.status}: {done.response.body[:500].decode(errors='replace')}")
        found = json.loads(done.response.body)["drafts"]
        if [draft["item"] for draft in found] != list(done.request.items):
            raise CandorError(f"{done.request.path} was asked for {len(done.request.items)} items and answered others")
        for draft in found:
            if "error" in draft:
                raise CandorError(f"{done.request.path}, item {draft['item']}: {draft['error']['detail']}")
            if draft["timings"]["cached"]:
                raise CandorError(f"{done.request.path}, item {draft['item']}: a stored draft answered, so nothing was measured")
        drafts += found
    return drafts


def _steps(drafts: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {step: percentile([draft["timings"][step] for draft in drafts], 0.5) for step in ("prepare", "queue", "infer", "finish")}
