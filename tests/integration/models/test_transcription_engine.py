"""Recordings through the engine: windows of different requests share a batch, and a long recording is not held whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from candor.conformance import differences, predict
from candor.families import LoadedModel, MediaLimits, PreparedItem
from candor.predictions import Transcript
from models.audio import RATE
from serving.engine import Engine, EngineOptions
from tests.integration.models.speech import clip, decoded
from tests.unit.models.recordings import float_wav

NAME = "whisper-tiny.en"


class Watched:
    """A loaded model whose units are watched: who made them, with whom they shared a batch, how many were held at once."""

    def __init__(self, model: LoadedModel, infer: Callable[[Sequence[Any]], list[Any]] | None = None) -> None:
        self._model = model
        self._infer = infer or model.infer
        self._owner: dict[int, int] = {}
        self._items = 0
        self.batches: list[list[int]] = []  # the item of each unit
        self.held = self.most_held = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        item = self._model.prepare(data, limits)
        self._items += 1
        return PreparedItem(self._watched(item.units, self._items), item.context)

    def _watched(self, units: Iterator[Any], number: int) -> Iterator[Any]:
        for unit in units:
            self._owner[id(unit)] = number
            self.held += 1
            self.most_held = max(self.most_held, self.held)
            yield unit

    def infer(self, units: Sequence[Any]) -> list[Any]:
        self.batches.append([self._owner[id(unit)] for unit in units])
        answers = self._infer(units)
        self.held -= len(units)
        return answers

    def close(self) -> None:
        """The session's model stays."""


@pytest.fixture(scope="module")
def model(loaded: Callable[[str], LoadedModel]) -> LoadedModel:
    return loaded(NAME)


def engine(model: Watched, max_batch: int) -> Engine:
    return Engine(lambda version: model, EngineOptions(MediaLimits(), max_batch, prepare_threads=2, cache_bytes=2**31))


def repeated(times: int) -> bytes:
    return float_wav(np.concatenate([decoded(clip()), np.zeros(RATE, np.float32)] * times))


async def test_windows_of_different_requests_share_a_batch(model: LoadedModel) -> None:
    recordings = [clip(), repeated(3), float_wav(decoded(clip())[: 5 * RATE])]
    watched = Watched(model)
    running = engine(watched, max_batch=4)
    await running.warm(NAME)
    answers = await asyncio.gather(*(running.predict(NAME, data, key=str(i)) for i, data in enumerate(recordings)))
    await running.close()
    assert any(len(set(batch)) > 1 for batch in watched.batches), watched.batches
    assert max(timings.batch_size for _, timings in answers) > 1
    for (found, _), alone in zip(answers, predict(model, recordings, batch=1), strict=True):
        assert isinstance(found, Transcript)
        assert differences(found, alone) == ""
        assert found.duration == pytest.approx(alone.duration)  # type: ignore[union-attr]


async def test_a_long_recording_is_made_as_the_device_takes_it(model: LoadedModel) -> None:
    from models.families._whisper_window import Transcribed  # noqa: PLC0415 - imports torch

    def slow(units: Sequence[Any]) -> list[Any]:
        time.sleep(0.3)
        return [Transcribed((), "en") for _ in units]

    watched = Watched(model, slow)
    running = engine(watched, max_batch=1)
    long = asyncio.create_task(running.predict(NAME, repeated(16)))
    while not watched.batches:
        await asyncio.sleep(0.01)
    begun = time.perf_counter()
    await running.predict(NAME, clip())
    waited = time.perf_counter() - begun
    assert not long.done()
    await long
    await running.close()
    windows = [number for batch in watched.batches for number in batch]
    assert len(windows) >= 7
    assert watched.most_held <= 5  # two ahead of a batch of one, two being made, and the short one
    assert windows.index(2) <= 5, windows  # the short one does not wait for the long one's end
    assert waited < 0.3 * len(windows)
