"""Gold items and reviews: revisions, what counts of them in any order of arrival, nothing of other teams."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa

from candor.errors import Conflict
from store import Store, withdrawals
from store.audit import Actor, entries
from store.gold import Gold, Put
from store.outcomes import Outcomes
from store.reviews import UNDATED, Added, ReviewRow, Reviews
from store.tables import draws, gold_revisions, reviews
from store.tables import withdrawals as withdrawn
from tests.unit.store.test_outcomes import of

ME, OTHER = Actor("birds", "key_1", "req_1"), Actor("fish", "key_2")
START = datetime(2026, 1, 1, tzinfo=UTC)
CAT, DOG = {"label": "cat"}, {"label": "dog"}


def review(event: str = "e", minute: int = 0, **changes: Any) -> ReviewRow:
    values: dict[str, Any] = {
        "team": "birds",
        "project": "ponds",
        "event_id": event,
        "draft": f"drf_{event}",
        "item": f"item_{event}",
        "reviewer": "ann",
        "finished_at": START + timedelta(minutes=minute),
        "fingerprint": f"{event}/{minute}",
        "final": {"label": str(minute)},
        "verdict": "accepted",
        "edits": [{"kind": "kept"}],
        "seconds": 1.5,
    }
    return ReviewRow(**{**values, **changes})


async def draw(store: Store, item: str, natural: str, team: str = "birds") -> None:
    names = {"team": team, "project": "ponds", "item": item, "reviewer": "", "epoch": "1", "id": f"drw_{team}_{item}", "arm": "assisted"}
    rest = {"propensity": 0.9, "rates": {}, "draft": natural, "natural": natural, "gold": True, "at": START}
    await store.execute(sa.insert(draws).values(**names, **rest))


async def pairs(store: Store) -> set[tuple[str, str]]:
    return {(row.draft, row.source) for row in await store.read(sa.select(withdrawn))}


async def test_gold_is_added_corrected_and_removed_and_all_of_it_is_remembered(store: Store) -> None:
    gold = Gold(store)
    await draw(store, "a", "drf_1")
    assert await gold.put(ME, "ponds", {"a": CAT, "b": DOG}) == Put(2, 0, 0)
    assert (await gold.drawn("birds", "ponds", ["b", "a"]), await gold.drawn("fish", "ponds", ["a"])) == (["a"], [])
    assert await gold.put(ME, "ponds", {"a": CAT, "b": DOG}) == Put(0, 0, 2)
    assert await pairs(store) == set()
    assert await gold.put(ME, "ponds", {"a": DOG, "b": DOG, "c": CAT}) == Put(1, 1, 1)
    assert await gold.find("birds", "ponds", ["a", "b", "c", "d"]) == {"a": DOG, "b": DOG, "c": CAT}
    assert await gold.remove(ME, "ponds", ["a", "z"]) == 1
    assert await gold.put(ME, "ponds", {"a": CAT}) == Put(1, 0, 0)
    assert [(one.revision, one.truth, one.by) for one in await gold.history("birds", "ponds", "a")] == [
        (4, CAT, "key_1"),
        (3, None, "key_1"),
        (2, DOG, "key_1"),
        (1, CAT, "key_1"),
    ]
    assert (await gold.items("birds", "ponds", ["a"]))["a"].revision == 4
    # what the first two truths said of the draft counts no more, what the last says does
    assert await pairs(store) == {("drf_1", withdrawals.of_gold(1)), ("drf_1", withdrawals.of_gold(2))}
    assert {one.action for one in await entries(store, "birds")} == {"gold.put", "gold.removed"}
    with pytest.raises(Conflict):
        await store.execute(sa.delete(gold_revisions))


async def test_gold_pages_by_item_and_is_a_team_s_own(store: Store) -> None:
    gold = Gold(store)
    await gold.put(ME, "ponds", {f"i{n:04}": CAT for n in range(900)})
    assert len(await gold.find("birds", "ponds", [f"i{n:04}" for n in range(1000)])) == 900
    assert [one.item for one in await gold.page("birds", "ponds", limit=2)] == ["i0000", "i0001"]
    assert [one.item for one in await gold.page("birds", "ponds", after="i0898")] == ["i0899"]
    assert (await gold.count("birds", "ponds"), await gold.count("birds", "lakes"), await gold.count("fish", "ponds")) == (900, 0, 0)
    assert await gold.find("fish", "ponds", ["i0001"]) == {}
    assert await gold.remove(OTHER, "ponds", ["i0001"]) == 0
    assert await gold.history("fish", "ponds", "i0001") == []


async def test_the_revision_that_was_finished_last_counts_in_any_order_of_arrival(store: Store) -> None:
    said = [review(minute=0), review(minute=1), review(minute=3), review(minute=2, deleted=True, final=None, verdict=None)]
    for number, order in enumerate(permutations(range(4))):
        mine = [review(**{**_values(said[n]), "event_id": f"e{number}", "draft": f"d{number}", "item": "x"}) for n in order]
        for place, row in enumerate(mine):
            ((status, _, _, current),) = await Reviews(store).add([row])
            assert (status, current) == ("stored", row.finished_at == max(one.finished_at for one in mine[: place + 1]))
        assert [one.status for one in await Reviews(store).add(mine)] == ["already"] * 4
    found = await Reviews(store).current("birds", "ponds")
    assert len(found) == 24
    assert {(one.final["label"], one.finished_at) for one in found if one.final} == {("3", START + timedelta(minutes=3))}
    # who only looks at numbers finds the same: a late one is below all others
    numbers = sa.select(reviews.c.event_id, sa.func.max(reviews.c.revision).label("most")).group_by(reviews.c.event_id)
    assert {one.event_id: one.revision for one in found} == {row.event_id: row.most for row in await store.read(numbers)}
    sources = await pairs(store)
    assert not any((one.draft, withdrawals.of_review(one.event_id, one.revision)) in sources for one in found)


def _values(row: ReviewRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ReviewRow.__slots__}


async def test_of_two_that_were_finished_at_once_the_one_that_came_last_counts(store: Store) -> None:
    first, second = review(fingerprint="1", final=CAT), review(fingerprint="2", final=DOG)
    assert [one.current for one in await Reviews(store).add([first, second, first])] == [True, True, False]
    assert [row.final for row in await Reviews(store).current("birds", "ponds")] == [DOG]


async def test_deletions_end_a_review_and_a_later_word_brings_it_back(store: Store) -> None:
    of_store = Reviews(store)
    gone = review(minute=5, deleted=True, final=None, verdict=None, fingerprint=f"{UNDATED}1")
    await of_store.add([review(minute=0), gone])
    assert await of_store.current("birds", "ponds") == []
    assert [one.status for one in await of_store.add([gone])] == ["already"]
    await of_store.add([review(minute=6)])
    assert [one.revision for one in await of_store.current("birds", "ponds")] == [3]
    later = review(**{**_values(gone), "finished_at": START + timedelta(minutes=7)})
    assert [one.status for one in await of_store.add([later])] == ["stored"]
    assert await of_store.current("birds", "ponds") == []
    assert [one.revision for one in await of_store.page("birds", "ponds")] != []
    with pytest.raises(Conflict):
        await store.execute(sa.delete(reviews))


async def test_an_event_stays_about_one_draft_and_teams_events_are_their_own(store: Store) -> None:
    of_store = Reviews(store)
    first, second, third = await of_store.add([review("a"), review("a", 1, draft="drf_z"), review("b", deleted=True)])
    assert (first.status, second, third.current) == ("stored", Added("conflict"), True)
    assert [one.status for one in await of_store.add([review("a", 1, team="fish", draft="drf_y")])] == ["stored"]
    assert [one.event_id for one in await of_store.current("birds", "ponds")] == ["a"]
    assert [one.draft for one in await of_store.current("fish", "ponds")] == ["drf_y"]
    assert await of_store.drafts_of("birds", ["a", "b", "c"]) == {"a": "drf_a", "b": "drf_b"}
    assert await of_store.add([]) == []


async def test_reviews_come_back_by_reviewer_time_and_item(store: Store) -> None:
    of_store = Reviews(store)
    await of_store.add([review("b", 2), review("a", 1, reviewer="ben"), review("c", 3, project="lakes")])
    assert [one.event_id for one in await of_store.current("birds", "ponds")] == ["a", "b"]
    assert [one.event_id for one in await of_store.current("birds", "ponds", "ben")] == ["a"]
    assert [one.event_id for one in await of_store.current("birds", "ponds", since=START + timedelta(minutes=2))] == ["b"]
    assert [one.event_id for one in await of_store.current("birds", "ponds", items=["item_b", "item_c"])] == ["b"]
    both = await of_store.page("birds", "ponds")
    assert [one.id for one in await of_store.page("birds", "ponds", after=both[0].id)] == [both[1].id]
    assert await of_store.of_ids("birds", "ponds", [both[1].id, "rev_none", both[0].id]) == [both[1], both[0]]


async def test_reviewers_are_merged_and_parted_again_and_rows_keep_their_names(store: Store) -> None:
    of_store = Reviews(store)
    await of_store.add([review("a", reviewer="ann"), review("b", reviewer="Ann"), review("c", reviewer="anne")])
    await of_store.merge(ME, "ponds", "Ann", "ann")
    await of_store.merge(ME, "ponds", "ann", "anne")
    assert [one.reviewer for one in await of_store.current("birds", "ponds", "anne")] == ["anne"] * 3
    with pytest.raises(Conflict, match="counted as"):
        await of_store.merge(ME, "ponds", "anne", "Ann")
    await of_store.merge(ME, "ponds", "ann", "ann")
    assert await of_store.merged("birds", "ponds") == {"Ann": "ann"}
    assert [row.reviewer for row in await store.read(sa.select(reviews).order_by(reviews.c.event_id))] == ["ann", "Ann", "anne"]
    assert [one.action for one in await entries(store, "birds")] == ["reviewer.merged"] * 3


async def test_what_was_withdrawn_reaches_no_fit_and_no_monitor(store: Store) -> None:
    of_store, outcomes = Reviews(store), Outcomes(store)
    await of_store.add([review("e", 0, draft="drf_1"), review("e", 1, draft="drf_1")])
    for number, right in ((1, True), (2, False)):  # also where the first comes late
        await outcomes.add([of("drf_1", right, source=withdrawals.of_review("e", number))])
    assert [one.correct for one in await outcomes.of_version("m@1", ["blind"])] == [False]
    assert [one.correct for one in await outcomes.shown("m@1", "cal_1", ["blind"])] == [False]


async def test_the_final_label_of_an_item_is_its_newest_review_s_and_never_a_honeypot_s(store: Store) -> None:
    of_store = Reviews(store)
    rows = [
        review("a", 1, item="x"),
        review("b", 3, item="x"),
        review("c", 9, item="x", arm="honeypot"),
        review("d", 9, item="x", skipped=True, final=None),
        review("e", 9, item="x", deleted=True, final=None),
        review("f", 0, item="w"),
    ]
    ids = {row.event_id: one.id for row, one in zip(rows, await of_store.add(rows), strict=True)}
    assert await of_store.finals("birds", "ponds") == [ids["f"], ids["b"]]
    assert await of_store.finals("birds", "ponds", every=True) == [ids["f"], ids["a"], ids["b"]]
    assert await of_store.finals("fish", "ponds") == []
