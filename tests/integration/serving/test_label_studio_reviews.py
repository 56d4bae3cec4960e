"""Reviews from Label Studio, as a real one reported them: who did what, for how long, and nothing lost, twice or of somebody else."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from serving.api.services import Services
from serving.composition import opened_store
from serving.protocols.label_studio.events import Reports, received
from serving.protocols.label_studio.people import People
from serving.protocols.label_studio.remote import Remotes
from serving.protocols.label_studio.tending import ReviewTender
from serving.requests import Drafter
from store import Store, schema
from store.audit import OPERATOR
from store.connections import Connection, Connections
from store.draws import Draws
from store.gold import Gold
from store.label_studio_annotations import Annotations
from store.label_studio_events import Events
from store.moments import utc_now
from store.projects import Projects
from store.reviews import ReviewRow, Reviews
from store.tool_tables import label_studio_events
from tests.unit.serving.protocols.label_studio_recorded import (
    INVITE,
    TOKEN,
    FakeLabelStudio,
    box,
    connected,
    drafted,
    hook,
    shown,
    tasks,
)
from tests.unit.serving.reviewing.drawn import drew
from tests.unit.serving.served import settings_in

CAR, DOG = (0, "car", [20, 10, 80, 50]), (1, "dog", [120, 20, 160, 50])
SMALL, MIDDLE = (0, "car", [10, 5, 30, 15]), (0, "car", [40, 20, 80, 40])


class Died(BaseException):
    """As a process ends that is killed: nobody takes it."""


class Clock:
    def __init__(self) -> None:
        self.now = utc_now() + timedelta(minutes=1)  # reports are put down by the real one

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    found = f"sqlite+aiosqlite:///{tmp_path}/candor.db"
    schema.migrate(found)
    return found


@pytest.fixture
async def services(url: str, tmp_path: Path) -> AsyncIterator[Services]:
    settings = settings_in(tmp_path)
    settings = settings.model_copy(update={"storage": settings.storage.model_copy(update={"database_url": url})})
    async with opened_store(settings) as (store, blobs):
        await Projects(store).put(OPERATOR, "street", {"labels": ["car", "dog"]})
        yield Services(settings, cast(Drafter, None), store, blobs)


@pytest.fixture
async def site(services: Services) -> AsyncIterator[tuple[FakeLabelStudio, ReviewTender, Clock]]:
    tool, clock = FakeLabelStudio(), Clock()
    tender = ReviewTender(services, Remotes(tool), clock)
    yield tool, tender, clock
    await tender.close()


async def stored(store: Store, connection: Connection) -> None:
    """The drafts of the recorded tasks 4 to 9: that of 6 is withheld."""
    labels = {0: (CAR, DOG), 2: (CAR,), 3: (MIDDLE,)}
    drafts = [
        drafted("street", number, number + 4, *(box(f"drf_01example0{number}", *one) for one in labels.get(number, (SMALL,))))
        for number in range(6)
    ]
    draws = [drew(one, "withheld" if one.item == "2:6" else "assisted", item=one.item) for one in drafts]
    await Draws(store).add(draws, drafts)
    await shown(store, connection, *drafts)


async def reviews(store: Store, **more: Any) -> dict[str, ReviewRow]:
    """What counts, by the event without the connection's id."""
    rows = await Reviews(store).current("default", "street", **more)
    return {row.event_id.partition(":")[2].partition(":")[2]: row for row in rows}


async def test_what_a_real_one_reported_becomes_reviews(services: Services, site: tuple[FakeLabelStudio, ReviewTender, Clock]) -> None:
    _, tender, _ = site
    connection = await connected(services.store, "street")
    await stored(services.store, connection)
    said = ("created", "updated_by_another", "ground_truth", "skipped", "withheld", "rotated", "bulk_created", "project_updated")
    for name in said:
        await received(services.store, connection, hook(name))
    rows = await services.store.read(sa.select(label_studio_events))
    assert len(rows) == 8
    assert INVITE not in str([row.body for row in rows])
    await tender.tend()
    found = await reviews(services.store)
    assert {name: (row.reviewer, row.item, row.verdict, row.seconds, row.skipped) for name, row in found.items()} == {
        "3:1": ("lead@example.org", "2:4", "corrected", 9.006, False),  # a box resized, one left, one drawn
        "3:2": ("second@example.org", "2:4", "corrected", 6.928, False),  # 15.934 in all; a star took none
        "4:2": ("second@example.org", "2:5", None, 3.2, True),
        "5:1": ("lead@example.org", "2:6", "corrected", 12.5, False),
        "6:1": ("lead@example.org", "2:7", "rejected", 4.0, False),
        "7:1": ("lead@example.org", "2:8", "accepted", None, False),  # in bulk: nobody looked
        "8:1": ("lead@example.org", "2:9", "accepted", None, False),
    }
    assert found["3:1"].finished_at == datetime(2026, 1, 5, 7, 50, 13, 477734, UTC)
    assert [edit["kind"] for edit in found["3:1"].edits or ()] == ["moved", "kept", "added"]
    assert found["5:1"].arm == "withheld"
    assert found["5:1"].final == {"boxes": [{"label": "car", "xyxy": [100.0, 0.0, 150.0, 100.0]}]}
    assert found["6:1"].final == {"boxes": [{"label": "car", "xyxy": [80.0, 40.0, 100.0, 80.0]}]}  # turned by 90 degrees
    assert await Events(services.store).counts(connection.id) == {"waiting": 0, "failed": 0}

    before = await Reviews(services.store).page("default", "street")
    for name in (*said, "deleted", "bulk_deleted", "deleted"):
        await received(services.store, connection, hook(name))
    await tender.tend()
    assert set(await reviews(services.store)) == {"3:1", "3:2", "4:2", "5:1"}
    after = await Reviews(services.store).page("default", "street")
    assert len(after) == len(before) + 3  # those that were taken back


async def test_what_webhooks_did_not_tell_is_found_by_asking(services: Services, site: tuple[FakeLabelStudio, ReviewTender, Clock]) -> None:
    tool, tender, clock = site
    connection = await connected(services.store, "street", settings={"gold_from_ground_truth": True})
    await stored(services.store, connection)
    await received(services.store, connection, hook("created"))  # and nothing else comes through
    tool.tasks = {task["id"]: copy.deepcopy(task) for task in tasks()}
    await tender.tend()
    found = await reviews(services.store)
    assert {name: (row.verdict, row.seconds) for name, row in found.items()} == {
        **{"3:1": ("corrected", 9.006), "3:2": ("corrected", 6.928), "4:2": (None, 3.2), "5:1": ("corrected", 12.5)},
        **{"7:1": ("accepted", None), "8:1": ("accepted", None)},
    }
    assert [one.item for one in await Gold(services.store).page("default", "street")] == ["2:4"]
    assert set(tool.tokens) == {f"Token {TOKEN}"}

    async def again(minutes: float) -> list[str]:
        clock.now += timedelta(minutes=minutes)
        tool.told.clear()
        await tender.tend()
        return list(tool.told)

    assert len(await again(0.5)) == 0
    assert len([path for path in await again(1.5) if path == "GET /api/tasks"]) == 2
    assert await again(1) == ["GET /api/tasks"]  # nothing changed: one question
    task = tool.touch(5, "2026-01-05T08:00:00.000000Z")
    task["annotations"][0] |= {"was_cancelled": False, "updated_at": "2026-01-05T08:00:00.000000Z", "lead_time": 5.0}
    tool.touch(8, "2026-01-05T08:00:01.000000Z")["annotations"].clear()
    await again(1)
    tool.tasks[6]["annotations"].clear()  # deleted without a trace
    await again(1)
    now = await reviews(services.store)
    assert ((now["4:2"].verdict, now["4:2"].seconds), "7:1" in now, "5:1" in now) == (("accepted", 5.0), False, True)
    await again(60)
    assert "5:1" not in await reviews(services.store)
    tool.down = True
    await again(2)
    state = (await Connections(services.store).get(connection.id)).state
    assert state["poll"]["error"] == "it can't be reached"
    tool.down = False
    del tool.tasks[9]  # a whole task: what was done with it stands
    await again(99)
    assert "8:1" in await reviews(services.store)


async def test_what_does_not_go_waits_and_holds_up_nothing(
    services: Services, site: tuple[FakeLabelStudio, ReviewTender, Clock], caplog: pytest.LogCaptureFixture
) -> None:
    tool, tender, clock = site
    connection = await connected(services.store, "street", remote_project=None)  # so it is not polled
    await stored(services.store, connection)
    wrong = hook("created")
    wrong["annotation"]["result"][0]["value"]["rectanglelabels"] = ["ship"]
    no_words = hook("skipped")
    no_words["annotation"] |= {"id": 99, "task": None, "updated_at": "soon"}
    for body in (wrong, no_words, hook("withheld"), {"action": "START_TRAINING"}, {"action": "ANNOTATION_CREATED"}, {}):
        await received(services.store, connection, body)
    tool.people.clear()
    await tender.tend()
    found = await reviews(services.store)
    assert {name: row.reviewer for name, row in found.items()} == {"5:1": "user 1"}  # Label Studio knows nobody of that number
    assert await Events(services.store).counts(connection.id) == {"waiting": 2, "failed": 0}
    await Projects(services.store).put(OPERATOR, "street", {"labels": ["car", "dog", "ship"]})
    clock.now += timedelta(minutes=1)
    await tender.tend()
    assert "3:1" in await reviews(services.store)
    for _ in range(15):
        clock.now += timedelta(hours=5)
        await tender.tend()
    (given_up,) = await Events(services.store).given_up(connection.id)
    assert (given_up.body["annotation"]["id"], "no annotation as Label Studio tells it" in (given_up.error or "")) == (99, True)
    assert TOKEN not in caplog.text
    assert INVITE not in caplog.text


async def test_what_did_not_begin_with_a_draft_is_not_counted(
    services: Services, site: tuple[FakeLabelStudio, ReviewTender, Clock]
) -> None:
    _, tender, _ = site
    connection = await connected(services.store, "street", url=None, token=None)
    await stored(services.store, connection)
    other = hook("created")  # of a project that another connection is for
    other["project"]["id"] = 3
    from_scratch, of_another_model = hook("withheld"), hook("rotated")
    from_scratch["annotation"]["parent_prediction"] = None
    of_another_model["annotation"]["result"][0]["id"] = "theirs"
    moved = hook("skipped")  # regions of another task's draft, in a task that no draft was asked for
    moved["annotation"]["task"] = 77
    for body in (other, from_scratch, of_another_model, moved):
        await received(services.store, connection, body)
    await tender.tend()
    assert await reviews(services.store) == {}
    assert await Annotations(services.store).ignored(connection.id) == 3
    emptied = hook("rotated")  # all that was drafted is gone: the row of the task says what it was
    emptied["annotation"] |= {"result": [], "updated_at": "2026-01-05T09:00:00Z"}
    await received(services.store, connection, emptied)
    await tender.tend()
    assert {name: (row.reviewer, row.verdict) for name, row in (await reviews(services.store)).items()} == {"6:1": ("user 1", "rejected")}


async def test_a_honeypot_that_was_passed_on_is_missed(services: Services, site: tuple[FakeLabelStudio, ReviewTender, Clock]) -> None:
    _, tender, _ = site
    connection = await connected(services.store, "street", url=None)
    at = [20, 10, 80, 50]
    shown_as, truth = {"label": "car", "xyxy": at}, {"label": "dog", "xyxy": at}
    planted = {"kind": "class_swap", "label": "drf_01example01.0", "shown": shown_as, "truth": truth, "at": None, "natural": False}
    trap = drafted("street", 1, 5, box("drf_01example01", *CAR), arm="honeypot")
    natural = drafted("street", 8, 5, box("drf_01example08", 0, "dog", at))
    await Gold(services.store).put(OPERATOR, "street", {"2:5": {"boxes": [truth]}})
    await Draws(services.store).add([drew(trap, "honeypot", natural, item="2:5", planted=planted)], [trap, natural])
    await shown(services.store, connection, trap)
    body = hook("skipped")
    body["annotation"]["was_cancelled"] = False
    body["annotation"]["result"][0]["value"] |= {"x": 10, "y": 10, "width": 30, "height": 40}
    await received(services.store, connection, body)
    await tender.tend()
    (row,) = (await reviews(services.store)).values()
    assert (row.draft, row.arm, row.verdict, row.caught) == (trap.id, "honeypot", "accepted", "missed")


async def test_a_server_that_dies_in_between_loses_nothing_and_counts_nothing_twice(services: Services) -> None:
    clock = Clock()
    connection = await connected(services.store, "street", url=None)
    await stored(services.store, connection)
    await received(services.store, connection, hook("created"))
    dying = Reports(services, People(Remotes(FakeLabelStudio())), clock)

    async def dead(event_id: str) -> None:
        raise Died

    dying._events.done = dead  # type: ignore[method-assign]
    with pytest.raises(Died):
        await dying.work()
    other = Reports(services, People(Remotes(FakeLabelStudio())), clock)
    assert await other.work() == 0
    clock.now += timedelta(minutes=2)
    assert await other.work() == 1
    assert len(await Reviews(services.store).page("default", "street")) == 1
