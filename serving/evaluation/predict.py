"""Run a labelled folder through the engine that serves drafts, and show how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from candor.drafts import Timings
from candor.errors import CandorError, UnreadableItem
from candor.predictions import Prediction
from serving.evaluation.examples import Example
from serving.evaluation.rows import Outcome

_EVERY = 10.0  # seconds between lines where there is no terminal


class Predictor(Protocol):
    """What serves predictions: `serving.engine.Engine`, or something like it in tests."""

    async def predict(self, version: str, data: bytes, *, key: str = "") -> tuple[Prediction, Timings]:
        """Run one item."""


async def predict_all(
    predictor: Predictor, version: str, examples: Sequence[Example], *, at_once: int, done: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """Return one prediction or error per example, in order. At most `at_once` items are in memory."""
    outcomes: list[Outcome | None] = [None] * len(examples)
    waiting = iter(range(len(examples)))

    async def work() -> None:
        for index in waiting:
            try:
                data = await asyncio.to_thread(examples[index].path.read_bytes)
                outcomes[index], _ = await predictor.predict(version, data, key="evaluation")
            except CandorError as error:
                outcomes[index] = error
            except OSError as error:
                outcomes[index] = UnreadableItem(f"the file can't be read: {error.strerror}")
            done()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(examples))):
            group.create_task(work())
    return [outcome for outcome in outcomes if outcome is not None]


@contextmanager
def progress_bar(total: int, what: str, console: Console) -> Iterator[Callable[[], None]]:
    """Yield a function to call once per finished item: a bar on a terminal, else a line every ten seconds."""
    if not console.is_terminal:
        yield _lines(total, what, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance() -> None:
            finished = progress.tasks[0].completed + 1
            progress.update(task, advance=1, rate=f"{finished / (time.monotonic() - start):.1f}/s")

        yield advance


def _lines(total: int, what: str, console: Console) -> Callable[[], None]:
    start = last = time.monotonic()
    finished = 0

    def advance() -> None:
        nonlocal last, finished
        finished += 1
        now = time.monotonic()
        if now - last >= _EVERY:
            last = now
            rate = finished / (now - start)
            console.print(f"{what}: {finished} of {total}, {rate:.1f}/s, {(total - finished) / rate:.0f} s left", highlight=False)

    return advance
