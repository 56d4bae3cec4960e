"""Outcomes: added once, in order of arrival, and never changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from candor.errors import Conflict
from store import Store
from store.outcomes import Outcome, Outcomes
from store.tables import outcomes as table
from tests.unit.store.drafts import draft

START = datetime(2026, 1, 1, tzinfo=UTC)


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "draft": "drf_1",
        "label_index": 0,
        "stream": "blind",
        "propensity": 0.1,
        "event": "label",
        "confidence": 0.75,
        "calibration": "cal_1",
        "model_version": "m@1",
        "task": "detection",
        "cluster": "sha",
        "features": {"logit": 1.25, "label": "cat"},
        "correct": True,
        "source": "evt_1",
        "reviewer": "ann",
    }
    return Outcome(**{**values, **changes})


def of(draft_id: str, *correct: bool, **changes: Any) -> list[Outcome]:
    return [outcome(draft=draft_id, label_index=i, correct=right, **changes) for i, right in enumerate(correct)]


@pytest.fixture
def clock() -> Callable[[], datetime]:
    ticks = iter(range(1000))
    return lambda: START + timedelta(seconds=next(ticks))


async def all_of(outcomes: Outcomes, *streams: str, **more: Any) -> list[Outcome]:
    return await outcomes.of_version("m@1", streams or ("blind", "gold", "review"), **more)


async def test_outcomes_come_back_as_they_went_in_and_in_order(store: Store, clock: Any) -> None:
    outcomes = Outcomes(store, clock)
    # ids that sort the other way round: arrival is what counts
    assert await outcomes.add([of("drf_9", True, False), of("drf_5", False)]) == ["stored", "stored"]
    assert await outcomes.add([of("drf_1", True)]) == ["stored"]
    found = await all_of(outcomes)
    assert [(one.draft, one.label_index, one.correct) for one in found] == [
        ("drf_9", 0, True),
        ("drf_9", 1, False),
        ("drf_5", 0, False),
        ("drf_1", 0, True),
    ]
    first = found[0]
    assert (first.features, first.confidence, first.propensity, first.reviewer) == ({"logit": 1.25, "label": "cat"}, 0.75, 0.1, "ann")
    assert first.id.startswith("out_")
    assert START <= first.created_at < found[2].created_at < found[3].created_at


async def test_the_same_event_again_changes_nothing_and_another_word_of_it_is_a_conflict(store: Store) -> None:
    outcomes = Outcomes(store)
    group = of("drf_1", True, False)
    assert await outcomes.add([group, group]) == ["stored", "already"]
    assert await outcomes.add([group]) == ["already"]
    assert await outcomes.add([of("drf_1", True, True)]) == ["conflict"]
    assert await outcomes.add([of("drf_1", True, False, stream="gold")]) == ["conflict"]
    assert await outcomes.add([of("drf_1", True, True, source="evt_2"), of("drf_2", True)]) == ["stored", "stored"]
    assert len(await all_of(outcomes)) == 5
    assert await outcomes.add([[]]) == ["stored"]  # a draft without labels has nothing to remember
    assert await outcomes.add([]) == []


async def test_only_what_is_asked_for_comes_back(store: Store, clock: Any) -> None:
    outcomes = Outcomes(store, clock)
    await outcomes.add([of("drf_1", True), of("drf_2", True, stream="review"), of("drf_3", True, model_version="m@2")])
    await outcomes.add([of("drf_4", True, calibration="cal_2"), of("drf_5", True, event="no_edit"), of("drf_6", True, stream="gold")])
    assert [one.draft for one in await all_of(outcomes)] == ["drf_1", "drf_2", "drf_4", "drf_6"]
    assert [one.draft for one in await all_of(outcomes, "blind", "gold")] == ["drf_1", "drf_4", "drf_6"]
    shown = await outcomes.shown("m@1", "cal_1", ["blind", "gold"])
    assert [one.draft for one in shown] == ["drf_1", "drf_6"]
    assert shown[0] == ("drf_1", "evt_1", "sha", "blind", 0.1, 0.75, True)
    assert await outcomes.shown("m@1", "cal_1", ["blind", "gold"], after=START + timedelta(seconds=1.5)) == []
    assert [one.draft for one in await all_of(outcomes, after=START + timedelta(seconds=0.5))] == ["drf_4", "drf_6"]
    assert [one.draft for one in await outcomes.shown("m@1", "cal_2", ["blind"])] == ["drf_4"]


async def test_rows_are_append_only(store: Store) -> None:
    await Outcomes(store).add([of("drf_1", True)])
    for change in (sa.update(table).values(correct=False), sa.delete(table)):
        with pytest.raises(Conflict):
            await store.execute(change)
    assert [one.correct for one in await all_of(Outcomes(store))] == [True]


async def test_many_drafts_are_read_at_once(store: Store) -> None:
    made = [draft() for _ in range(5)]
    await store.save(made)
    found = await Outcomes(store).drafts([*(one.id for one in made), "drf_none", made[0].id])
    assert found == {one.id: one for one in made}
