"""Draws: one for each item, reviewer and epoch, stored with its drafts or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from candor.drafts import Draft
from candor.errors import Conflict, UnknownDraft
from candor.ids import new_id
from store import Store
from store.draws import DrawRow, Draws
from store.tables import drafts, draws
from tests.unit.store.drafts import draft


def drawn(item: str = "a", **changes: Any) -> tuple[DrawRow, Draft]:
    made = draft(item=item, arm=changes.get("arm", "assisted"))
    values: dict[str, Any] = {
        "id": new_id("drw"),
        "team": "birds",
        "project": "ponds",
        "item": item,
        "reviewer": "",
        "epoch": "1",
        "arm": "assisted",
        "propensity": 0.88,
        "rates": {"withheld": 0.1, "honeypot": 0.02, "badge": True},
        "draft": made.id,
        "natural": made.id,
        "planted": None,
        "gold": False,
        "at": datetime.now(UTC),
    }
    return DrawRow(**{**values, **changes}), made


async def test_a_draw_is_stored_with_what_is_shown(store: Store) -> None:
    table, (row, made) = Draws(store), drawn()
    twin = draft(item="h", arm="twin")
    trap, shown = drawn("h", arm="honeypot", natural=twin.id, planted={"kind": "box_missing"}, gold=True)
    assert await table.add([trap, row], [made, twin, shown]) == {row.id, trap.id}
    assert await table.find("birds", "ponds", ["h", "a", "x"]) == {"a": row, "h": trap}
    found = await table.shown("birds", "ponds", ["a", "h", "x"], "", "1")
    assert {item: (one.draw, one.draft) for item, one in found.items()} == {"a": (row, made), "h": (trap, shown)}
    assert await table.of_draft([made.id, shown.id, twin.id, "drf_x"]) == {made.id: row, shown.id: trap}
    assert [one.id for one in await table.naturals("birds", "ponds", made.model_version, 9)] == [twin.id, made.id]
    assert [one.id for one in await table.naturals("birds", "ponds", made.model_version, 9, of_gold=True)] == [twin.id]
    assert [(one.gold, one.badge) for one in await table.recent("birds", "ponds", 9)] == [(True, True), (False, True)]
    for other in (("fish", "ponds"), ("birds", "lakes")):
        assert await table.find(*other, ["a"]) == {}
        assert await table.shown(*other, ["a"], "", "1") == {}
        assert await table.recent(*other, 9) == []
        assert await table.page(*other) == []


async def test_pages_follow_each_other(store: Store) -> None:
    table, made = Draws(store), [drawn(f"{n}") for n in range(5)]
    await table.add([row for row, _ in made], [one for _, one in made])
    first = await table.page("birds", "ponds", limit=3)
    rest = await table.page("birds", "ponds", first[-1].id, limit=3)
    assert [one.id for one in (*first, *rest)] == sorted(row.id for row, _ in made)
    assert len(rest) == 2


async def test_the_first_draw_of_an_item_counts_and_no_other_leaves_a_trace(store: Store) -> None:
    table, (row, made), (late, lost), (other, kept) = Draws(store), drawn(), drawn(), drawn("b")
    assert await table.add([row], [made]) == {row.id}
    assert await table.add([late, other], [lost, kept]) == {other.id}
    assert (await table.find("birds", "ponds", ["a"]))["a"] == row
    with pytest.raises(UnknownDraft):
        await store.get(lost.id)
    for again in (drawn(reviewer="ann"), drawn(epoch="2")):  # these are other draws
        assert await table.add([again[0]], [again[1]]) == {again[0].id}


async def test_of_fifty_at_once_one_draw_counts(store: Store) -> None:
    tables, many = [Draws(store) for _ in range(50)], [drawn() for _ in range(50)]
    won = await asyncio.gather(*(table.add([row], [made]) for table, (row, made) in zip(tables, many, strict=True)))
    (winner,) = [row for row, _ in many if {row.id} in won]
    assert (await tables[0].find("birds", "ponds", ["a"]))["a"] == winner
    assert [row.id for row in await store.read(sa.select(drafts.c.id))] == [winner.draft]


async def test_a_draw_without_its_draft_is_not_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table, (row, made) = Draws(store), drawn()
    await store.save([made])  # so that its row is refused, after the draw's was written
    with pytest.raises(Conflict):
        await table.add([row], [made])
    assert await table.find("birds", "ponds", ["a"]) == {}


async def test_draws_are_never_changed(store: Store) -> None:
    row, made = drawn()
    await Draws(store).add([row], [made])
    for change in (sa.update(draws).values(arm="withheld"), sa.delete(draws)):
        with pytest.raises(Conflict):
            await store.execute(change)


async def test_a_projects_secret_is_made_once(store: Store) -> None:
    found = await asyncio.gather(*(Draws(store).secret("birds", "ponds") for _ in range(8)))
    assert len({one.key for one in found}) == 1
    assert (len(found[0].key), found[0].epoch) == (32, "1")
    assert await Draws(store).secret("birds", "lakes") != found[0]
    assert replace(found[0]) == await Draws(store).secret("birds", "ponds")
