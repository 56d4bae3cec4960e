from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import store.calibrations as module
from candor.errors import Conflict, NothingToRollBack, UnknownCalibration
from store import Store
from store.calibrations import Calibrations, Standing

VERSION = "namer@sha256:" + "1" * 64
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """In place of `datetime`: a clock that goes on by a second each time that it is asked."""

    asked = 0

    @classmethod
    def now(cls, _zone: Any) -> datetime:
        cls.asked += 1
        return NOON + timedelta(seconds=cls.asked)


@pytest.fixture
def kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> Calibrations:
    monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(Clock, "asked", 0)
    return Calibrations(store)


def record(name: str, version: str = VERSION) -> dict[str, Any]:
    return {"id": f"cal_{name}", "model_version": version, "task": "classification", "parameters": {"temperature": 1.5}}


async def done(kept: Calibrations, *steps: str, version: str = VERSION) -> None:
    """Do steps such as `promoted a`, `alarm a`, `rolled_back`."""
    for step in steps:
        kind, _, name = step.partition(" ")
        if kind == "rolled_back":
            await kept.roll_back(version, {})
        else:
            await kept.record_event(version, f"cal_{name}", kind, {})  # type: ignore[arg-type]


async def test_a_record_comes_back_as_it_was(kept: Calibrations) -> None:
    added = await kept.add(record("a"), "import")
    assert await kept.get("cal_a") == added
    assert (added.record, added.origin, added.created_at) == (record("a"), "import", NOON + timedelta(seconds=1))


async def test_the_same_record_again_is_the_one_that_is_stored(kept: Calibrations) -> None:
    first = await kept.add(record("a"), "import")
    assert await kept.add(record("a"), "job_1") == first
    assert len(await kept.newest()) == 1


async def test_unknown_ids(kept: Calibrations) -> None:
    with pytest.raises(UnknownCalibration, match="cal_none"):
        await kept.get("cal_none")
    with pytest.raises(UnknownCalibration):
        await kept.newest(after="cal_none")
    assert await kept.some(["cal_none"]) == {}


async def test_lists_are_newest_first_and_go_on_where_they_ended(kept: Calibrations) -> None:
    for name in "abcde":
        await kept.add(record(name), "import")
    first = await kept.newest(limit=2)
    second = await kept.newest(limit=2, after=first[-1].id)
    third = await kept.newest(limit=2, after=second[-1].id)
    assert [one.id[-1] for page in (first, second, third) for one in page] == list("edcba")


async def test_lists_of_one_moment_go_on_too(kept: Calibrations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", classmethod(lambda cls, tz=None: NOON))
    for name in "bca":
        await kept.add(record(name), "import")
    assert [one.id[-1] for one in await kept.newest(after="cal_c")] == ["b", "a"]


async def test_lists_are_of_one_model_or_one_version(kept: Calibrations) -> None:
    versions = [VERSION, "namer@sha256:" + "2" * 64, "Namer@sha256:" + "3" * 64, "namer2@sha256:" + "4" * 64, "n_mer@sha256:" + "5" * 64]
    for name, version in zip("abcde", versions, strict=True):
        await kept.add(record(name, version), "import")
    assert [one.id for one in await kept.newest(model="namer")] == ["cal_b", "cal_a"]
    assert [one.id for one in await kept.newest(model="n_mer")] == ["cal_e"]
    assert [one.id for one in await kept.newest(model_version=VERSION)] == ["cal_a"]
    assert (await kept.some(["cal_a", "cal_c"])).keys() == {"cal_a", "cal_c"}


@pytest.mark.parametrize(
    ("steps", "chosen", "alarms"),
    [
        ([], {}, {}),
        (["promoted a"], {VERSION: ("cal_a", 1)}, {}),
        (["promoted a", "promoted b"], {VERSION: ("cal_b", 2)}, {}),
        (["promoted a", "promoted b", "rolled_back"], {VERSION: ("cal_a", 3)}, {}),
        (["promoted a", "rolled_back"], {VERSION: (None, 2)}, {}),
        (["alarm a"], {}, {"cal_a": 1}),  # of the configuration's own
        (["promoted a", "alarm a", "alarm a"], {VERSION: ("cal_a", 1)}, {"cal_a": 2}),  # since the first
        (["promoted a", "alarm a", "cleared a"], {VERSION: ("cal_a", 1)}, {}),
        (["promoted a", "alarm a", "cleared a", "alarm a"], {VERSION: ("cal_a", 1)}, {"cal_a": 4}),
        (["promoted a", "alarm a", "promoted b"], {VERSION: ("cal_b", 3)}, {"cal_a": 2}),
        (["promoted a", "alarm a", "promoted b", "rolled_back"], {VERSION: ("cal_a", 4)}, {"cal_a": 2}),  # it is no better than it was
        (["promoted a", "alarm a", "promoted a"], {VERSION: ("cal_a", 3)}, {}),
        (["promoted a", "promoted b", "alarm b", "cleared a"], {VERSION: ("cal_b", 2)}, {"cal_b": 3}),
    ],
)
async def test_what_stands_follows_from_the_events(
    kept: Calibrations, steps: list[str], chosen: dict[str, tuple[str | None, int]], alarms: dict[str, int]
) -> None:
    await done(kept, *steps)
    await done(kept, "promoted x", "alarm x", version="other@sha256:" + "2" * 64)
    assert Clock.asked == len(steps) + 2
    found = await kept.standing()
    mine = Standing(
        {version: one for version, one in found.chosen.items() if version == VERSION},
        {key: at for key, at in found.alarms.items() if key[0] == VERSION},
    )
    assert mine == Standing(
        {version: (one, NOON + timedelta(seconds=second)) for version, (one, second) in chosen.items()},
        {(VERSION, one): NOON + timedelta(seconds=second) for one, second in alarms.items()},
    )
    assert len(found.chosen) == len(chosen) + 1


async def test_each_rollback_takes_one_promotion_away(kept: Calibrations) -> None:
    await done(kept, "promoted a", "promoted b", "promoted b", "promoted c")
    back = [await kept.roll_back(VERSION, {"reason": "worse"}) for _ in range(3)]
    assert [event.calibration for event in back] == ["cal_b", "cal_a", None]
    assert [event.detail for event in back] == [{"from": f"cal_{name}", "reason": "worse"} for name in "cba"]
    with pytest.raises(NothingToRollBack, match="no calibration is promoted"):
        await kept.roll_back(VERSION, {})
    assert [event.kind for event in await kept.events(VERSION)] == ["promoted"] * 4 + ["rolled_back"] * 3


async def test_a_rollback_of_what_is_no_longer_in_force_does_nothing(kept: Calibrations) -> None:
    await done(kept, "promoted a", "promoted b")

    async def back() -> str | None:
        return (await kept.roll_back(VERSION, {}, from_calibration="cal_b")).calibration

    answers: Sequence[Any] = await asyncio.gather(back(), back(), return_exceptions=True)
    assert answers[0] == "cal_a"
    assert isinstance(answers[1], NothingToRollBack)
    assert "cal_a is" in answers[1].detail


@pytest.mark.parametrize("table", ["calibrations", "calibration_events"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET model_version = 'x'", "DELETE FROM {}"])
async def test_nothing_is_changed_or_deleted(kept: Calibrations, store: Store, table: str, verb: str) -> None:
    await kept.add(record("a"), "import")
    await done(kept, "promoted a")
    with pytest.raises(Conflict) as raised:
        await store.execute(sa.text(verb.format(table)))
    assert "append-only" in str(raised.value.__cause__)
    assert [event.kind for event in await kept.events(VERSION)] == ["promoted"]
    assert len(await kept.newest()) == 1


async def test_an_alarm_is_raised_once_until_it_ends(kept: Calibrations) -> None:
    raised = await asyncio.gather(*(kept.raise_alarm(VERSION, "cal_a", {"reason": "off"}) for _ in range(3)))
    assert [event is not None for event in raised] == [True, False, False]
    assert await kept.raise_alarm(VERSION, "cal_b", {}) is not None  # another calibration's
    await done(kept, "promoted b", "promoted a", "rolled_back")  # a promotion ends it; a rollback to it does not
    assert (await kept.standing()).alarms == {}
    assert await kept.raise_alarm(VERSION, "cal_b", {}) is not None
    await done(kept, "promoted a", "rolled_back")
    assert await kept.raise_alarm(VERSION, "cal_b", {}) is None
    await done(kept, "cleared b")
    assert await kept.raise_alarm(VERSION, "cal_b", {}) is not None
