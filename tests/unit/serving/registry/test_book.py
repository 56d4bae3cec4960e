"""What a replica knows of registered models: at most a second behind, and never a flood of queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from candor.errors import StorageUnavailable, UnknownModel
from candor.manifest import Manifest
from serving.config import Settings
from serving.loading import build_catalog
from serving.registry.book import RegistryBook
from serving.resolving import Choice
from store import Store, open_store
from store.aliases import Aliases, Target
from store.audit import Actor
from store.registry import Registry

ANN, BOB = Actor("ann", "key_1"), Actor("bob", "key_2")


class Counted:
    """A store that counts what is read, and can be made to fail."""

    def __init__(self, store: Store) -> None:
        self.store, self.reads, self.down = store, 0, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def read(self, statement: sa.Executable, values: Any = None) -> Sequence[sa.Row[Any]]:
        self.reads += 1
        if self.down:
            raise StorageUnavailable("gone")
        return await self.store.read(statement, values)


class Desk:
    """A book with a clock, and the registry that others write to."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.counted, self.now = Counted(store), 100.0
        self.registry, self.aliases = Registry(store), Aliases(store)
        registry = Registry(self.counted)  # type: ignore[arg-type]
        self.book = RegistryBook(registry, build_catalog(settings), clock=lambda: self.now, sleep=self.passes)

    async def passes(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)  # whoever else asks now begins to wait too
        self.now = max(self.now, until)

    async def ready(self, actor: Actor, weights: str, name: str = "mine") -> str:
        added = await self.registry.add(actor, name, "detection", {"family": "fake"})
        manifest = Manifest(name, "detection", "fake", {"model.json": weights}, ("cat",), owner=actor.team)
        await self.registry.settle(added.id, manifest, {}, 1)
        return manifest.version

    async def named(self, reference: str, team: str = "ann") -> str:
        await self.book.refresh(reference, team)
        return self.book.resolve(reference, None, team).manifest.version


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    store = await open_store(settings.storage.database_url, sqlite_synchronous="normal", migrate=False)
    yield Desk(store, settings)
    await store.close()


async def test_a_move_is_seen_within_a_second_and_nothing_is_read_before(desk: Desk) -> None:
    one = await desk.ready(ANN, "a")
    assert await desk.named("mine") == one
    two = await desk.ready(ANN, "b")
    await desk.aliases.move(ANN, "mine", "production", Target(two))
    before = desk.counted.reads
    for _ in range(100):
        assert await desk.named("mine") == one
    assert desk.counted.reads == before
    desk.now += 1
    assert await desk.named("mine") == two


async def test_while_nothing_is_written_one_number_is_read_a_second(desk: Desk) -> None:
    await desk.ready(ANN, "a")
    await desk.named("mine")
    for _ in range(5):
        before = desk.counted.reads
        desk.now += 1
        await asyncio.gather(*(desk.named("mine") for _ in range(20)))
        assert desk.counted.reads == before + 1


async def test_what_is_new_is_found_at_once_and_a_flood_of_wrong_names_is_none_of_queries(desk: Desk) -> None:
    with pytest.raises(UnknownModel):
        await desk.named("mine")
    one, start = await desk.ready(ANN, "a"), desk.now
    assert await desk.named("mine") == one
    assert desk.now - start == pytest.approx(0.25)
    await desk.aliases.move(ANN, "mine", "beta", Target(one))
    assert await desk.named("mine@beta") == one
    before, start = desk.counted.reads, desk.now
    for n in range(5):
        wrong = await asyncio.gather(*(desk.named(f"wrong-{n}-{k}") for k in range(40)), return_exceptions=True)
        assert all(isinstance(one, UnknownModel) for one in wrong)
    assert desk.counted.reads - before <= 1 + (desk.now - start) / 0.25


async def test_teams_see_their_own_and_the_configuration_comes_first(desk: Desk) -> None:
    mine, theirs = await desk.ready(ANN, "a"), await desk.ready(BOB, "a")
    hidden = await desk.ready(ANN, "a", "finder")
    assert await desk.named("mine", "ann") == mine
    assert await desk.named("mine", "bob") == theirs != mine
    with pytest.raises(UnknownModel, match="there is none"):
        desk.book.resolve(theirs, None, "ann")
    assert await desk.named("finder", "ann") != hidden
    assert [model.name for model in desk.book.registered("ann")] == ["mine"]
    with pytest.raises(UnknownModel, match=r"has: finder, listener, namer$"):
        await desk.named("mine", "eve")


async def test_what_was_known_stays_while_the_database_is_away(desk: Desk) -> None:
    one = await desk.ready(ANN, "a")
    await desk.named("mine")
    desk.counted.down = True
    desk.now += 5
    assert await desk.named("mine") == one


async def test_a_retired_version_is_still_looked_at(desk: Desk) -> None:
    one, two = await desk.ready(ANN, "a"), await desk.ready(ANN, "b")
    (found,) = await desk.registry.by_digest("ann", "mine", two.partition("@")[2])
    await desk.registry.retire(ANN, found.id)
    await desk.book.refresh(two, "ann")
    assert desk.book.manifest(two, "ann").version == two
    assert desk.book.manifest("mine", "ann").version == one
    with pytest.raises(UnknownModel):
        desk.book.manifest(two, "bob")


def test_a_split_sends_an_item_the_same_way_and_splits_draw_independently() -> None:
    main, canary = (Manifest("m", "detection", "fake", {"f": weights}) for weights in "ab")
    items = [f"item-{n}" for n in range(2000)]
    first = [Choice(main, canary, 0.3, "a").of(item) is canary for item in items]
    assert first == [Choice(main, canary, 0.3, "a").of(item) is canary for item in items]
    assert 0.26 < sum(first) / 2000 < 0.34
    second = [Choice(main, canary, 0.3, "b").of(item) is canary for item in items]
    assert 0.06 < sum(map(bool.__and__, first, second)) / 2000 < 0.12
    more = [Choice(main, canary, 0.5, "a").of(item) is canary for item in items]
    assert all(now for before, now in zip(first, more, strict=True) if before)  # a growing share takes nobody's item away
    assert not any(Choice(main, canary, 0.0, "a").of(item) is canary for item in items)
    assert all(Choice(main, canary, 1.0, "a").of(item) is canary for item in items)
