from __future__ import annotations

import asyncio

import pytest

from benchmarks import batching, calibration
from benchmarks.batching import BATCHERS, Device, run
from calibration.methods import METHODS, Method
from candor.predictions import Task
from serving.batching import Batcher


@pytest.fixture(autouse=True)
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BASE", 0.0)
    monkeypatch.setattr(batching, "EACH", 0.0)


@pytest.mark.parametrize("name", BATCHERS)
async def test_both_kinds_of_batcher_answer_every_unit_in_batches_of_the_cap(name: str) -> None:
    device = Device()
    batcher = BATCHERS[name](device)
    async with asyncio.timeout(10):
        await asyncio.gather(*(batcher.submit(i) for i in range(40)))
    await batcher.close()
    assert sum(device.sizes) == 40
    assert max(device.sizes) <= batching.MAX_BATCH


async def test_units_that_were_not_done_count_with_their_age() -> None:
    class Stuck:
        async def submit(self, unit: float) -> None:
            await asyncio.Event().wait()

        async def close(self) -> None:
            pass

    cell = await run(lambda _device: Stuck(), load=1000, seconds=0.02)
    assert cell.done == 0
    assert cell.p99 > 0


async def test_the_device_paced_one_is_the_servers_own() -> None:
    batcher = BATCHERS["device-paced"](Device())
    assert isinstance(batcher, Batcher)
    await batcher.close()


@pytest.mark.parametrize(("task", "method"), [(task, method) for task, methods in METHODS.items() for method in methods])
def test_a_calibration_is_really_applied_while_it_is_timed(task: Task, method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_CALLS", 1)
    assert calibration.seconds_of(task, method) > 0
    monkeypatch.setattr(calibration, "_VERSION", "other@sha256:" + "1" * 64)
    record = calibration.record_for(task, method)
    monkeypatch.setattr(calibration, "record_for", lambda _task, _method: record)
    monkeypatch.setattr(calibration, "_VERSION", "stub@sha256:" + "0" * 64)
    with pytest.raises(RuntimeError, match="not applied"):
        calibration.seconds_of(task, method)
