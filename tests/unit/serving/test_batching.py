from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from candor.errors import CandorError, Internal, NotReady, UnreadableItem
from serving.batching import Answer, Batcher, BatchReport


class Device:
    """Infers only when it is let; records its batches."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.may_run = threading.Event()
        self.entered = threading.Event()
        if not held:
            self.may_run.set()

    def infer(self, units: Sequence[Any]) -> list[Any]:
        self.entered.set()
        assert self.may_run.wait(5)
        self.batches.append(list(units))
        if "poison" in units:
            raise RuntimeError("poison")
        return [UnreadableItem("bad") if unit == "bad" else f"{unit}!" for unit in units]


@asynccontextmanager
async def batcher(device: Device, **options: Any) -> AsyncIterator[Batcher]:
    made = Batcher(device.infer, **{"max_batch": 4, **options})
    try:
        yield made
    finally:
        device.may_run.set()
        await made.close()


async def entered(device: Device) -> None:
    assert await asyncio.to_thread(device.entered.wait, 5)


async def queued(made: Batcher, n: int) -> None:
    async with asyncio.timeout(5):
        while len(made) < n:
            await asyncio.sleep(0)


async def test_idle_device_takes_a_single_unit_at_once() -> None:
    device = Device()
    async with batcher(device) as made:
        answer = await made.submit("a")
    assert (answer.result, answer.batch_size) == ("a!", 1)


async def test_what_arrives_while_the_device_is_busy_is_one_batch() -> None:
    device = Device(held=True)
    async with batcher(device) as made:
        first = asyncio.create_task(made.submit("a"))
        await entered(device)
        rest = [asyncio.create_task(made.submit(unit)) for unit in "bcdef"]
        await queued(made, 5)
        device.may_run.set()
        answers = await asyncio.gather(first, *rest)
    assert device.batches == [["a"], ["b", "c", "d", "e"], ["f"]]
    assert [answer.result for answer in answers] == ["a!", "b!", "c!", "d!", "e!", "f!"]
    assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 1]
    assert all(answer.queue_seconds >= 0 for answer in answers)


async def test_cost_bounds_a_batch_but_never_starves_a_large_unit() -> None:
    device = Device(held=True)
    async with batcher(device, cost=len, max_cost=3.0, max_batch=10) as made:
        tasks = [asyncio.create_task(made.submit("x"))]
        await entered(device)
        tasks += [asyncio.create_task(made.submit(unit)) for unit in ("aa", "b", "cccccc", "d")]
        await queued(made, 4)
        device.may_run.set()
        await asyncio.gather(*tasks)
    assert device.batches[1:] == [["aa", "b"], ["cccccc"], ["d"]]


async def test_poison_is_tried_alone_once_and_fails_alone() -> None:
    device = Device(held=True)
    async with batcher(device) as made:
        tasks: list[asyncio.Task[Answer]] = [asyncio.create_task(made.submit("x"))]
        await entered(device)
        tasks += [asyncio.create_task(made.submit(unit)) for unit in ("a", "poison", "b")]
        await queued(made, 3)
        device.may_run.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert device.batches[1:] == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]
    assert [getattr(answer, "result", None) for answer in answers] == ["x!", "a!", None, "b!"]
    assert isinstance(answers[2], Internal)
    assert "poison" not in answers[2].detail  # nothing of the inside leaks


async def test_a_result_that_is_an_error_fails_its_unit_alone() -> None:
    async with batcher(Device()) as made:
        with pytest.raises(UnreadableItem):
            await made.submit("bad")
        assert (await made.submit("good")).result == "good!"


async def test_units_of_callers_who_left_are_skipped_and_counted() -> None:
    device, reports = Device(held=True), list[BatchReport]()
    async with batcher(device, report=reports.append) as made:
        first = asyncio.create_task(made.submit("a"))
        await entered(device)
        gone = asyncio.create_task(made.submit("gone"))
        stays = asyncio.create_task(made.submit("stays"))
        await queued(made, 2)
        gone.cancel()
        await asyncio.sleep(0)
        device.may_run.set()
        await asyncio.gather(first, stays)
    assert device.batches == [["a"], ["stays"]]
    assert [report.dropped for report in reports] == [0, 1]


async def test_wrong_number_of_results_is_the_models_fault_not_the_callers_loss() -> None:
    made = Batcher(lambda units: [], max_batch=2)
    with pytest.raises(CandorError):
        await made.submit("a")
    await made.close()


async def test_close_finishes_what_is_queued_and_refuses_more() -> None:
    device = Device(held=True)
    made = Batcher(device.infer, max_batch=1)
    tasks = [asyncio.create_task(made.submit(unit)) for unit in "abc"]
    await entered(device)
    await queued(made, 2)
    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0)
    device.may_run.set()
    assert [answer.result for answer in await asyncio.gather(*tasks)] == ["a!", "b!", "c!"]
    await closing
    with pytest.raises(NotReady):
        await made.submit("d")


async def test_two_lanes_run_at_once() -> None:
    both = threading.Barrier(2, timeout=5)

    def infer(units: Sequence[Any]) -> list[Any]:
        both.wait()
        return list(units)

    made = Batcher(infer, max_batch=1, lanes=2)
    assert [answer.result for answer in await asyncio.gather(made.submit(1), made.submit(2))] == [1, 2]
    await made.close()
