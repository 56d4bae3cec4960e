from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from candor.errors import CandorError, Internal, UnreadableItem
from candor.fake import FakeFamily, FakeModel
from candor.families import Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Transcript
from serving.engine import Engine, EngineOptions

OPTIONS = EngineOptions(MediaLimits(), max_batch=4, prepare_threads=2, cache_bytes=10 << 20)


def manifest(**values: Any) -> Manifest:
    return Manifest(**{"name": "m", "task": "detection", "family": "fake", "files": {}, "labels": ("cat", "dog"), **values})


def fake(**values: Any) -> FakeModel:
    return FakeFamily().load(manifest(**values), Path(), Device())


@asynccontextmanager
async def engine(model: FakeModel, options: EngineOptions = OPTIONS) -> AsyncIterator[Engine]:
    made = Engine(lambda version: model, options)
    try:
        yield made
    finally:
        await made.close()


async def test_items_of_different_callers_share_batches_and_get_their_own_answers() -> None:
    model = fake(input={"base": 0.002})
    async with engine(model) as made:
        items = [b"item %d" % i for i in range(20)]
        together = await asyncio.gather(*(made.predict("m@1", item) for item in items))
        assert max(model.batches) > 1
        for item, (prediction, timings) in zip(items, together, strict=True):
            alone, _ = await made.predict("m@1", item)
            assert (alone.logit == prediction.logit).all()  # type: ignore[union-attr]
            assert timings.batch_size >= 1
            assert timings.infer > 0


async def test_an_item_of_many_units_is_answered_in_order() -> None:
    async with engine(fake(task="transcription", labels=())) as made:
        prediction, timings = await made.predict("m@1", json.dumps({"units": 50}).encode())
    assert isinstance(prediction, Transcript)
    assert [word.text for word in prediction.segments[0].words] == [f"word{i}" for i in range(50)]
    assert timings.batch_size >= 1


async def test_an_item_without_units_is_still_finished() -> None:
    async with engine(fake(task="transcription", labels=())) as made:
        prediction, timings = await made.predict("m@1", json.dumps({"units": 0}).encode())
    assert isinstance(prediction, Transcript)
    assert prediction.segments == ()
    assert timings.batch_size == 0


@pytest.mark.parametrize(
    ("step", "expected"), [("prepare", UnreadableItem), ("infer", UnreadableItem), ("batch", Internal), ("finish", Internal)]
)
async def test_one_bad_item_fails_alone(step: str, expected: type[CandorError]) -> None:
    async with engine(fake()) as made:
        items = [b"a", json.dumps({"fail": step}).encode(), b"c"]
        results = await asyncio.gather(*(made.predict("m@1", item) for item in items), return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["tuple", expected.__name__, "tuple"]
        for _ in range(40):  # more failures than there are slots: none was lost
            with pytest.raises(expected):
                await made.predict("m@1", items[1])
        await made.predict("m@1", b"still alive")


async def test_memory_ahead_of_the_device_is_bounded() -> None:
    made_units = 0

    class Lazy(FakeModel):
        most_ahead = 0

        def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
            def units() -> Iterator[Any]:
                nonlocal made_units
                for i in range(500):
                    made_units += 1
                    self.most_ahead = max(self.most_ahead, made_units - sum(self.batches))
                    yield (i, {})

            return PreparedItem(units=units(), context={})

    model = Lazy(manifest(task="transcription", labels=()))
    async with engine(model) as made:
        await made.predict("m@1", b"long")
    assert made_units == 500
    assert model.most_ahead <= 2 * OPTIONS.max_batch + 2 + OPTIONS.max_batch


async def test_leaving_callers_do_not_leak_slots() -> None:
    model = fake(input={"base": 0.002})
    async with engine(model) as made:
        for _ in range(30):
            task = asyncio.create_task(made.predict("m@1", b"x"))
            await asyncio.sleep(0.0005)
            task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*(made.predict("m@1", b"%d" % i) for i in range(30)))


async def test_a_version_that_fails_to_load_says_so_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    def load(version: str) -> FakeModel:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise CandorError("no weights")
        return fake()

    made = Engine(load, OPTIONS)
    with pytest.raises(CandorError, match="no weights"):
        await made.predict("m@1", b"x")
    assert made.state("m@1") == ("failed", "no weights")
    with pytest.raises(CandorError, match="no weights"):  # told again, and not tried again at once
        await made.predict("m@1", b"x")
    assert attempts == 1
    monkeypatch.setattr("serving.versions.FAILED_SECONDS", 0.0)
    await made.predict("m@1", b"x")
    assert made.state("m@1") == ("ready", "")
    await made.close()


async def test_a_version_is_loaded_in_a_thread_that_ends() -> None:
    """libgomp keeps threads for every thread that ran a model: one that stays would slow the device's own."""
    loading: list[threading.Thread] = []

    def load(_version: str) -> FakeModel:
        loading.append(threading.current_thread())
        return fake()

    made = Engine(load, OPTIONS)
    await made.warm("m@1")
    (thread,) = loading
    thread.join(5)
    assert thread is not threading.main_thread()
    assert not thread.is_alive()
    await made.close()


async def test_what_must_be_brought_is_brought_first_and_may_bound_the_batch() -> None:
    done: list[str] = []

    async def bring(version: str) -> int | None:
        done.append(f"brought {version}")
        return 2

    def load(version: str) -> FakeModel:
        done.append(f"loaded {version}")
        return model

    model = fake(input={"base": 0.002})
    made = Engine(load, OPTIONS, bring=bring)
    await asyncio.gather(*(made.predict("m@1", b"item %d" % n) for n in range(8)))
    assert done == ["brought m@1", "loaded m@1"]
    assert max(model.batches) == 2
    await made.close()


async def test_few_versions_load_at_once_and_none_keeps_a_loaded_one_waiting() -> None:
    loading, most, go = 0, 0, threading.Event()

    def load(version: str) -> FakeModel:
        nonlocal loading, most
        if version != "hot@1":
            loading += 1
            most = max(most, loading)
            assert go.wait(10)
            loading -= 1
        return fake()

    made = Engine(load, OPTIONS)
    await made.warm("hot@1")
    cold = [asyncio.create_task(made.predict(f"cold@{n}", b"x")) for n in range(6)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await made.predict("hot@1", b"x")
    assert most == 2
    assert not any(task.done() for task in cold)
    go.set()
    await asyncio.gather(*cold)
    assert most == 2
    await made.close()
