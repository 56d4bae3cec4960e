"""Room for what is fetched: shares, debts, turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.room import Room
from store import Blobs
from tests.unit.serving.served import Gate, cancelled, running, settings_in


async def waits(task: asyncio.Task[Any]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_a_room_that_is_full_lets_in_one_for_another() -> None:
    room = Room(64)
    for _ in range(32):
        assert await room.take(100) == 2
    second, third = (asyncio.create_task(room.take(100)) for _ in range(2))
    assert await waits(second)
    room.change(-2)
    assert not await waits(second)
    assert await waits(third)
    await cancelled(third)


async def test_what_was_more_than_its_share_is_paid_back_before_others_come() -> None:
    room = Room(64)
    held = await room.take(100)
    held += room.change(100 - held)
    assert held == 100
    next_one = asyncio.create_task(room.take(100))
    assert await waits(next_one)
    held += room.change(-50)
    assert not await waits(next_one)
    assert held == 50


async def test_small_items_hold_what_they_are() -> None:
    room = Room(64)
    for _ in range(64):
        held = await room.take(1)
        assert held == 1
    last = asyncio.create_task(room.take(1))
    assert await waits(last)
    await cancelled(last)


async def test_a_caller_that_left_keeps_no_room() -> None:
    room = Room(32)
    for _ in range(32):
        await room.take(1)
    left, just_left, stays = (asyncio.create_task(room.take(1)) for _ in range(3))
    assert await waits(stays)
    await cancelled(left)
    room.change(-1)  # goes to the second, who leaves before it knows
    await cancelled(just_left)
    assert not await waits(stays)


async def test_a_short_request_for_many_bytes_is_read_piece_by_piece(folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, get = [], Blobs.get

    async def counted(self: Blobs, *named: Any) -> bytes:
        reads.append(named[0])
        return await get(self, *named)

    monkeypatch.setattr(Blobs, "get", counted)
    async with running(settings_in(folder, limits={"queued_bytes": 4_000, "item_bytes": 2_000})) as server:
        await server.ready()
        upload = (await server.client.post("/v1/uploads", content=b"x" * 2_000)).json()["id"]
        items = [{"id": str(n), "image": {"upload": upload}} for n in range(100)]
        asked = asyncio.create_task(server.drafts(items))
        await gate.waited_for()
        assert 0 < len(reads) <= 32  # and not 100: what had begun, until it is drafted
        gate.opened.set()
        found = await asked
        assert [entry["item"] for entry in found] == [str(n) for n in range(100)]
        assert not [entry for entry in found if "error" in entry]
        assert server.drafters["detection"]._room._free == 4_000


async def test_small_items_are_fetched_ahead_of_the_model(folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    read, get = 0, Blobs.get
    everything = asyncio.Event()

    async def counted(self: Blobs, *named: Any) -> bytes:
        nonlocal read
        read += 1
        if read == 100:
            everything.set()
        return await get(self, *named)

    monkeypatch.setattr(Blobs, "get", counted)
    async with running(settings_in(folder, limits={"queued_bytes": 4_000, "item_bytes": 2_000})) as server:
        upload = (await server.client.post("/v1/uploads", content=b"x")).json()["id"]
        asked = asyncio.create_task(server.drafts([{"id": str(n), "image": {"upload": upload}} for n in range(100)]))
        try:
            async with asyncio.timeout(10):
                await everything.wait()  # and not 32 at a time: each holds the one byte that it is
        finally:
            gate.opened.set()
        assert len(await asked) == 100


async def test_items_that_found_no_room_in_time_say_so(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, limits={"queued_bytes": 1_000, "item_bytes": 1_000})) as server:
        upload = (await server.client.post("/v1/uploads", content=b"x" * 1_000)).json()["id"]
        items = [{"id": str(n), "image": {"upload": upload}} for n in range(40)]
        found = await server.drafts(items, headers={"x-request-timeout-seconds": "0.05"})
        assert {entry["error"]["code"] for entry in found} == {"deadline_exceeded"}
        gate.opened.set()
        assert server.drafters["detection"]._room._free == 1_000
