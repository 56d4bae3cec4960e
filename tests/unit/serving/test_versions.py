from __future__ import annotations

import asyncio

import pytest

from serving.versions import VersionCache


class Loaded:
    def __init__(self, version: str, size: int = 1) -> None:
        self.version, self.size, self.closed = version, size, False

    def memory(self) -> int:
        return self.size

    async def close(self) -> None:
        self.closed = True


class Shelf:
    def __init__(self) -> None:
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, version: str) -> Loaded:
        self.loads.append(version)
        await self.gate.wait()
        if version.startswith("bad"):
            raise RuntimeError("no such file")
        return Loaded(version)


async def test_one_load_serves_all_who_come_meanwhile() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    cache = VersionCache(shelf.load, max_bytes=10)

    async def use() -> str:
        async with cache.use("a") as loaded:
            return loaded.version

    tasks = [asyncio.create_task(use()) for _ in range(5)]
    await asyncio.sleep(0)
    assert cache.state("a") == ("loading", "")
    shelf.gate.set()
    assert await asyncio.gather(*tasks) == ["a"] * 5
    assert shelf.loads == ["a"]


async def test_least_recently_used_goes_first_and_only_when_unused() -> None:
    cache = VersionCache(Shelf().load, max_bytes=2)
    async with cache.use("a") as a:
        async with cache.use("b") as b:
            pass
        async with cache.use("c"):
            assert b.closed  # older than c, and unused
            assert not a.closed  # the oldest, but in use
    assert cache.state("a")[0] == "ready"


async def test_who_leaves_makes_room_for_what_could_not_be_made_before() -> None:
    cache = VersionCache(Shelf().load, max_bytes=1)
    async with cache.use("a") as a, cache.use("b") as b:
        assert [a.closed, b.closed] == [False, False]  # both in use: the budget is exceeded
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [a.closed, b.closed].count(True) == 1
    await cache.close()
    assert a.closed
    assert b.closed


async def test_a_load_that_fails_evicts_nothing() -> None:
    cache = VersionCache(Shelf().load, max_bytes=1)
    async with cache.use("a"):
        pass
    with pytest.raises(RuntimeError):
        async with cache.use("bad"):
            pass
    assert cache.state("a") == ("ready", "")
    assert cache.state("bad") == ("failed", "no such file")
    assert cache.state("never") == ("available", "")


async def test_a_caller_who_leaves_does_not_stop_the_load() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    cache = VersionCache(shelf.load, max_bytes=10)

    async def use() -> None:
        async with cache.use("a"):
            pass

    leaves = asyncio.create_task(use())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    shelf.gate.set()
    await use()
    assert shelf.loads == ["a"]


async def test_many_versions_in_little_room_never_hand_out_a_closed_one() -> None:
    cache = VersionCache(Shelf().load, max_bytes=2)

    async def use(version: str) -> None:
        async with cache.use(version) as loaded:
            await asyncio.sleep(0)
            assert not loaded.closed

    await asyncio.gather(*(use(str(i % 7)) for i in range(200)))


async def test_a_load_that_failed_is_tried_again_only_after_a_while() -> None:
    shelf, now = Shelf(), [100.0]
    cache = VersionCache(shelf.load, max_bytes=1, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no such file"):
            async with cache.use("bad"):
                pass
    assert shelf.loads == ["bad"]
    now[0] += 5
    with pytest.raises(RuntimeError):
        async with cache.use("bad"):
            pass
    assert shelf.loads == ["bad", "bad"]


async def test_how_long_a_load_still_takes_follows_from_earlier_ones() -> None:
    shelf, now = Shelf(), [100.0]
    cache = VersionCache(shelf.load, max_bytes=10, clock=lambda: now[0])

    async def loading(version: str) -> asyncio.Task[Loaded]:
        shelf.gate.clear()
        task = asyncio.create_task(use(version))
        while version not in shelf.loads:
            await asyncio.sleep(0)
        return task

    async def use(version: str) -> Loaded:
        async with cache.use(version) as loaded:
            return loaded

    assert cache.expected_seconds("a") == 5
    first = await loading("a")
    now[0] += 8
    shelf.gate.set()
    await first
    second = await loading("b")
    now[0] += 3
    assert cache.expected_seconds("b") == 5
    now[0] += 100
    assert cache.expected_seconds("b") == 1
    shelf.gate.set()
    await second
