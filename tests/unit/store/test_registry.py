from __future__ import annotations

import pytest
import sqlalchemy as sa

from candor.errors import Conflict, InUse, NothingToRollBack, UnknownAlias, UnknownModel
from candor.manifest import Manifest
from store import Store
from store.aliases import Aliases, Target
from store.audit import Actor
from store.registry import RegisteredVersion, Registry
from store.tables import audit
from tests.unit.store.drafts import draft

ANN = Actor("ann", "key_1", "req_1")
BOB = Actor("bob", "key_2", "req_2")
REPORT = {"passed": True, "checks": [], "problem": None}


def manifest(weights: str, team: str = "ann", name: str = "mine") -> Manifest:
    return Manifest(name, "detection", "fake", {"model.json": weights}, ("cat",), owner=team)


async def ready(registry: Registry, weights: str, actor: Actor = ANN) -> RegisteredVersion:
    added = await registry.add(actor, "mine", "detection", {"family": "fake"})
    return await registry.settle(added.id, manifest(weights, actor.team), REPORT, 10)


def name_of(version: RegisteredVersion) -> str:
    assert version.version
    return version.version


async def test_the_first_ready_version_gets_production_and_later_ones_do_not(store: Store) -> None:
    registry, aliases = Registry(store), Aliases(store)
    added = await registry.add(ANN, "mine", "detection", {"family": "fake"})
    assert (added.state, added.version, await aliases.of_model("ann", "mine")) == ("validating", None, [])
    first = await registry.settle(added.id, manifest("a"), REPORT, 10)
    assert (first.id, first.state, first.version, first.bytes) == (added.id, "ready", manifest("a").version, 10)
    await ready(registry, "b")
    assert [(one.alias, one.version, one.revision) for one in await aliases.of_model("ann", "mine")] == [("production", first.version, 1)]
    assert await aliases.of_model("bob", "mine") == []


async def test_the_same_content_again_is_the_version_that_there_is(store: Store) -> None:
    registry, aliases = Registry(store), Aliases(store)
    first, other = await ready(registry, "a"), await ready(registry, "b")
    again = await ready(registry, "a")
    assert again.id == first.id
    assert [one.id for one in await registry.of_model("ann", "mine")] == [other.id, first.id]
    await aliases.move(ANN, "mine", "production", Target(name_of(other)))
    await registry.retire(ANN, first.id)
    assert (await ready(registry, "a")).state == "ready"
    assert (await ready(registry, "a", BOB)).version != first.version  # another team's is its own


async def test_what_is_settled_is_not_settled_again(store: Store) -> None:
    registry = Registry(store)
    done = await ready(registry, "a")
    assert not await registry.fail(done.id, {"passed": False})
    with pytest.raises(Conflict, match="is ready already"):
        await registry.settle(done.id, manifest("c"), REPORT, 1)
    added = await registry.add(ANN, "mine", "detection", {})
    assert await registry.fail(added.id, {"passed": False, "problem": {"detail": "no"}})
    assert (await registry.get(added.id)).state == "failed"
    with pytest.raises(UnknownModel):
        await registry.get(added.id, "bob")


async def test_moves_count_on_and_keep_their_history(store: Store) -> None:
    registry, aliases = Registry(store), Aliases(store)
    one, two = name_of(await ready(registry, "a")), name_of(await ready(registry, "b"))
    moved = await aliases.move(ANN, "mine", "production", Target(two, one, 0.25), if_revision=1)
    assert (moved.version, moved.canary, moved.share, moved.revision) == (two, one, 0.25, 2)
    with pytest.raises(Conflict, match="is at revision 2, not at 1"):
        await aliases.move(ANN, "mine", "production", Target(one), if_revision=1)
    back = await aliases.roll_back(ANN, "mine", "production")
    assert (back.version, back.canary, back.revision) == (one, None, 3)
    await aliases.remove(ANN, "mine", "production")
    with pytest.raises(UnknownAlias):
        await aliases.get("ann", "mine", "production")
    assert (await aliases.move(ANN, "mine", "production", Target(one), if_revision=0)).revision == 5
    with pytest.raises(NothingToRollBack):
        await aliases.roll_back(ANN, "mine", "production")
    assert [move.revision for move in await aliases.history("ann", "mine", "production")] == [5, 4, 3, 2, 1]
    assert (await store.read(sa.select(sa.func.count()).where(audit.c.action == "alias.moved")))[0][0] == 3


async def test_an_alias_points_to_ready_versions_of_its_team_alone(store: Store) -> None:
    registry, aliases = Registry(store), Aliases(store)
    first, second = await ready(registry, "a"), await ready(registry, "b")
    theirs = await ready(registry, "a", BOB)
    with pytest.raises(UnknownModel):
        await aliases.move(ANN, "mine", "canary", Target(name_of(theirs)))
    with pytest.raises(InUse, match="mine@production"):
        await registry.retire(ANN, first.id)
    with pytest.raises(UnknownModel):
        await registry.retire(BOB, first.id)
    await registry.retire(ANN, second.id)
    with pytest.raises(Conflict, match="is retired"):
        await aliases.move(ANN, "mine", "production", Target(name_of(first), name_of(second), 0.5))


async def test_deleting_minds_drafts_aliases_and_shared_files(store: Store) -> None:
    registry = Registry(store)
    first, second, third = [await ready(registry, weights) for weights in ("a", "b", "c")]
    with pytest.raises(InUse, match="mine@production"):
        await registry.delete(ANN, first.id)
    await store.save([draft(model_version=name_of(second))])
    with pytest.raises(InUse, match="made 1 drafts"):
        await registry.delete(ANN, second.id)
    theirs = await ready(registry, "c", BOB)
    assert await registry.delete(ANN, third.id) == []  # the other team's has the same file
    with pytest.raises(UnknownModel):
        await registry.get(third.id)
    assert theirs.version
    other = await registry.add(BOB, "mine", "detection", {})
    more = await registry.settle(other.id, manifest("d", "bob"), REPORT, 1)
    assert await registry.delete(BOB, more.id) == ["d"]


async def test_standing_is_one_moment_with_a_number_that_each_change_raises(store: Store) -> None:
    registry, aliases = Registry(store), Aliases(store)
    assert (await registry.number(), (await registry.standing()).versions) == (0, [])
    first = await ready(registry, "a")
    before = await registry.number()
    moved = await aliases.move(ANN, "mine", "canary", Target(name_of(first)))
    standing = await registry.standing()
    assert await registry.number() == before + 1
    assert [(row.id, row.state) for row in standing.versions] == [(first.id, "ready")]
    assert moved in standing.aliases
    assert len(standing.aliases) == 2
    (content,) = await registry.contents([first.id])
    assert (content.manifest, content.report) == (manifest("a"), REPORT)
