"""What is in force: the newest choice, else the configuration's; never what does not fit; and at most two seconds old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import structlog

from calibration.record import Badge, CalibrationRecord
from candor.confidences import UNCALIBRATED
from candor.errors import StorageUnavailable
from candor.manifest import Manifest
from candor.predictions import Classification, Task
from serving.calibrations.book import FRESH_SECONDS, Book, InForce, unfit
from serving.config import Settings
from store import Store, open_store
from store.calibrations import Calibrations, Standing
from tests.unit.serving.served import calibration_of


def manifest(task: Task = "classification", **changes: Any) -> Manifest:
    return Manifest(**{"name": "namer", "task": task, "family": "fake", "files": {}, "labels": ("cat", "dog"), **changes})


NAMER = manifest()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await open_store(settings.storage.database_url, migrate=False)
    yield opened
    await opened.close()


@pytest.fixture
def kept(store: Store) -> Calibrations:
    return Calibrations(store)


def record(reason: str = "", **changes: Any) -> CalibrationRecord:
    return calibration_of(NAMER.version, **{"reason": reason, **changes})


async def promote(kept: Calibrations, made: CalibrationRecord, version: str = NAMER.version) -> None:
    await kept.add(made.as_json(), "import")
    await kept.record_event(version, made.id, "promoted", {})


async def test_without_any_a_version_is_uncalibrated(kept: Calibrations) -> None:
    book = Book(kept, {})
    await book.read()
    assert book.current(NAMER) == InForce(None)
    assert (book.current(NAMER).status, book.current(NAMER).calibration) == ("uncalibrated", None)


async def test_the_configurations_own_holds_until_another_is_promoted_and_again_after_a_rollback(kept: Calibrations) -> None:
    own, other = record("own"), record("other")
    book = Book(kept, {"namer": own})
    await book.read()
    assert book.current(NAMER) == InForce(own)
    await promote(kept, other)
    assert book.current(NAMER) == InForce(own)  # not read yet
    await book.read()
    (event,) = await kept.events(NAMER.version)
    assert book.current(NAMER) == InForce(other, since=event.at)
    back = await kept.roll_back(NAMER.version, {})
    await book.read()
    assert book.current(NAMER) == InForce(own, since=back.at)


@pytest.mark.parametrize("status", ["calibrated", "unverified"])
async def test_an_open_alarm_makes_it_unverified_since_then(kept: Calibrations, status: Any) -> None:
    own = record(status=status)
    book = Book(kept, {"namer": own})
    alarm = await kept.record_event(NAMER.version, own.id, "alarm", {})
    await kept.record_event(NAMER.version, own.id, "alarm", {})
    await kept.record_event(NAMER.version, "cal_another", "alarm", {})
    await book.read()
    assert book.current(NAMER) == InForce(own, alarm.at)
    assert book.current(NAMER).status == "unverified"
    await kept.record_event(NAMER.version, own.id, "cleared", {})
    await book.read()
    assert book.current(NAMER) == InForce(own)
    assert book.current(NAMER).status == status


def test_under_an_alarm_no_label_is_marked() -> None:
    badge = Badge(threshold=0.5, epsilon=0.05, delta=0.1, unit="label", rows={}, figures={})
    prediction = Classification((1, 1), np.array([3.0, 0.0]))
    plain = InForce(record(badge=badge)).confidences(prediction, NAMER)
    assert (plain.status, None if plain.badges is None else plain.badges.tolist()) == ("calibrated", [True, False])
    doubted = InForce(record(badge=badge), unverified_since=datetime.now(UTC)).confidences(prediction, NAMER)
    assert (doubted.status, doubted.calibration, doubted.badges) == ("unverified", plain.calibration, None)
    assert doubted.labels is not None
    assert plain.labels is not None
    assert doubted.labels.tolist() == plain.labels.tolist()
    assert InForce(None, unverified_since=datetime.now(UTC)).confidences(prediction, NAMER) == UNCALIBRATED


@pytest.mark.parametrize(
    ("made", "of", "told"),
    [
        (calibration_of("namer@sha256:" + "0" * 64), NAMER, "it was made for namer@sha256:000"),
        (calibration_of(NAMER.version, "transcription"), NAMER, "it was made for transcription"),
        (
            calibration_of(NAMER.version, method="vector", parameters={"scale": [1.0], "bias": [0.0]}),
            NAMER,
            "1 classes, and the model has 2",
        ),
    ],
)
async def test_what_does_not_fit_is_never_applied(kept: Calibrations, made: CalibrationRecord, of: Manifest, told: str) -> None:
    book = Book(kept, {"namer": made})
    await book.read()
    assert book.current(of) == InForce(None)
    passed_over = book.passed_over(of)
    assert passed_over is not None
    assert passed_over[0] == made.id
    assert told in passed_over[1]


async def test_another_threshold_does_not_fit(kept: Calibrations) -> None:
    finder = manifest("detection", display_threshold=0.25)
    fits = calibration_of(finder.version, "detection", display_threshold=0.25)
    assert unfit(fits, finder) == ""
    moved = calibration_of(finder.version, "detection", display_threshold=0.5)
    assert "from score 0.5, and they are shown from 0.25" in unfit(moved, finder)
    await promote(kept, moved, finder.version)
    book = Book(kept, {"namer": fits})
    await book.read()
    assert book.current(finder).record is None  # and not the one before it: what was chosen is not what is applied
    assert book.passed_over(finder) is not None


async def test_a_record_that_is_gone_or_was_edited_in_the_database_is_not_applied(kept: Calibrations) -> None:
    edited = {**record().as_json(), "parameters": {"temperature": 0.1}}
    await kept.add(edited, "import")
    for chosen in (edited["id"], "cal_gone"):
        await kept.record_event(NAMER.version, chosen, "promoted", {})
        book = Book(kept, {"namer": record("own")})
        with structlog.testing.capture_logs() as logged:
            await book.read()
            await book.read()
        assert book.current(NAMER).record is None
        assert [entry["calibration"] for entry in logged] == [chosen]  # told once


async def test_it_is_read_at_most_every_two_seconds(kept: Calibrations, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, reads = Clock(), 0
    standing = kept.standing

    async def counted() -> Standing:
        nonlocal reads
        reads += 1
        return await standing()

    monkeypatch.setattr(Calibrations, "standing", lambda _: counted())
    book = Book(kept, {}, clock)
    await asyncio.gather(*(book.refresh() for _ in range(20)))
    assert reads == 1
    await promote(kept, record())
    clock.now += FRESH_SECONDS - 0.01
    await book.refresh()
    assert (reads, book.current(NAMER).record) == (1, None)
    clock.now += 0.01
    await asyncio.gather(*(book.refresh() for _ in range(20)))
    assert (reads, book.current(NAMER).record) == (2, record())


async def test_what_was_known_stays_while_the_database_is_in_trouble(kept: Calibrations, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    book = Book(kept, {}, clock)
    await promote(kept, record())
    await book.refresh()

    async def refused() -> Standing:
        raise StorageUnavailable("database is locked")

    monkeypatch.setattr(Calibrations, "standing", lambda _: refused())
    clock.now += FRESH_SECONDS
    with structlog.testing.capture_logs() as logged:
        await book.refresh()
        await book.refresh()
    assert book.current(NAMER).record == record()
    assert [(entry["event"], entry["detail"]) for entry in logged] == [("calibrations_not_read", "database is locked")]
    with pytest.raises(StorageUnavailable):
        await book.read()
    monkeypatch.undo()
    await kept.roll_back(NAMER.version, {})
    clock.now += FRESH_SECONDS
    await book.refresh()
    assert book.current(NAMER).record is None


async def test_a_database_that_does_not_answer_holds_nobody_up_for_long(kept: Calibrations, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    book = Book(kept, {"namer": record()}, clock)
    monkeypatch.setattr("serving.fresh._READ_SECONDS", 0.01)
    monkeypatch.setattr(Calibrations, "standing", lambda _: asyncio.get_running_loop().create_future())
    with structlog.testing.capture_logs() as logged:
        await asyncio.gather(*(book.refresh() for _ in range(3)))
    assert [entry["detail"] for entry in logged] == ["no answer"]
    assert book.current(NAMER).record == record()


async def test_two_processes_see_the_same(kept: Calibrations, settings: Settings) -> None:
    other = await open_store(settings.storage.database_url, migrate=False)
    book = Book(Calibrations(other), {})
    await promote(kept, record())
    await book.read()
    await other.close()
    assert book.current(NAMER).record == record()
