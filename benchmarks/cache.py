"""Many models on one machine: `python -m benchmarks.cache`. Twenty versions, room for six, and traffic as Zipf has it.

An engine without a server: its cache, its batchers, and real loads of a real classifier under twenty names, each load from the disk as a
replica does it. Requests come at times drawn beforehand, whether or not earlier ones are answered. The same times are then sent to one
model alone: what the busiest models lose by sharing the machine is the ratio of the two.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import structlog
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.figures import percentile
from candor.errors import CandorError
from candor.families import LoadedModel
from candor.predictions import Floats, Ints
from models.catalog import Installed
from models.samples import samples
from serving.config import Settings, cache_home, load_settings
from serving.engine import Engine, EngineOptions
from serving.loading import build_catalog, engine_options, engine_settings, load_version, media_limits

SEED = 20261126
VERSIONS, ROOM, HOT = 20, 6, 3
EXPONENT = 1.0  # the n-th model is asked for 1 / n times as often as the first
BUDGET = 20.0  # seconds that a request may take, its model's load included


@dataclass(frozen=True, slots=True)
class Phase:
    """One run. Times in seconds; `hits` is the share of requests whose model was loaded when they came."""

    requests: int
    failed: int
    loads: int
    hits: float
    hot_p50: float
    hot_p99: float
    cold_p99: float | None


def main(
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 8.0,
    seconds: Annotated[float, typer.Option(help="Length of each run.")] = 60.0,
    config: Annotated[Path, typer.Option(help="Configuration whose classifier is taken.")] = Path("configs/default.yaml"),
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
) -> None:
    """Measure hit rate, latencies and failures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # hundreds of loads and evictions
    settings = load_settings(config)
    rng = np.random.default_rng(SEED)
    at = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    weights = 1 / np.arange(1, VERSIONS + 1) ** EXPONENT
    asked = rng.choice(VERSIONS, len(at), p=weights / weights.sum())
    installed = build_catalog(settings).install(settings.tasks["classification"].model)
    alone = asyncio.run(_run(settings, installed, at, np.zeros(len(at), np.int64)))
    shared = asyncio.run(_run(settings, installed, at, asked))
    best = float(weights[:ROOM].sum() / weights.sum())
    _show(alone, shared, best)
    if out is not None:
        figures = {"alone": asdict(alone), "shared": asdict(shared), "hits_of_a_fixed_choice": best, "rate": rate, "seconds": seconds}
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


async def _run(settings: Settings, installed: Installed, at: Floats, asked: Ints) -> Phase:
    how = engine_settings(settings, "classification")
    model = load_version(installed, how)
    room = int(model.memory() * (ROOM + 0.5))
    model.close()
    loads = 0

    def load(_version: str) -> LoadedModel:
        nonlocal loads
        loads += 1
        return load_version(installed, how)

    options = engine_options(how, media_limits(settings))
    engine = Engine(load, EngineOptions(options.limits, options.max_batch, options.prepare_threads, room))
    pictures = [sample.path.read_bytes() for sample in samples(cache_home(settings)) if sample.kind == "image"]
    try:
        await engine.warm(_name(0))
        loads = 0
        return _told(await _sent(engine, pictures, at, asked), asked, loads)
    finally:
        await engine.close()


@dataclass(slots=True)
class _Answer:
    seconds: float
    hit: bool
    failed: bool = False


async def _sent(engine: Engine, pictures: Sequence[bytes], at: Floats, asked: Ints) -> list[_Answer]:
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(number: int) -> _Answer:
        await asyncio.sleep(start + at[number] - loop.time())
        began, version = loop.time(), _name(int(asked[number]))
        answer = _Answer(0.0, engine.state(version)[0] == "ready")
        try:
            async with asyncio.timeout(BUDGET):
                await engine.predict(version, pictures[number % len(pictures)])
        except (CandorError, TimeoutError):
            answer.failed = True
        answer.seconds = loop.time() - began
        return answer

    return list(await asyncio.gather(*(one(number) for number in range(len(at)))))


def _told(answers: Sequence[_Answer], asked: Ints, loads: int) -> Phase:
    hot = [answer.seconds for answer, which in zip(answers, asked, strict=True) if which < HOT and answer.hit]
    cold = [answer.seconds for answer in answers if not answer.hit]
    return Phase(
        requests=len(answers),
        failed=sum(answer.failed for answer in answers),
        loads=loads,
        hits=sum(answer.hit for answer in answers) / len(answers),
        hot_p50=percentile(hot, 0.5),
        hot_p99=percentile(hot, 0.99),
        cold_p99=percentile(cold, 0.99) if cold else None,
    )


def _name(number: int) -> str:
    return f"model-{number:02d}@sha256:{number:064x}"


def _show(alone: Phase, shared: Phase, best: float) -> None:
    table = Table(title=f"{VERSIONS} versions, room for {ROOM}, Zipf {EXPONENT:g}", title_justify="left")
    for column in ("run", "requests", "failed", "loads", "hit rate", f"{HOT} busiest: p50", "p99", "cold p99"):
        table.add_column(column)
    for name, phase in (("one model", alone), ("twenty models", shared)):
        cold = "-" if phase.cold_p99 is None else f"{phase.cold_p99:.2f} s"
        hot = (f"{1000 * phase.hot_p50:.0f} ms", f"{1000 * phase.hot_p99:.0f} ms")
        table.add_row(name, str(phase.requests), str(phase.failed), str(phase.loads), f"{phase.hits:.1%}", *hot, cold)
    console = Console(width=110)
    console.print(table)
    ratio = shared.hot_p99 / alone.hot_p99
    console.print(f"The {ROOM} busiest, held for ever, would be hit {best:.1%}. p99 of the busiest: {ratio:.2f} times one model's.")


if __name__ == "__main__":
    typer.run(main)
