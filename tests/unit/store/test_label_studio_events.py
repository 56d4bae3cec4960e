"""What Label Studio reported: claimed by one of two servers, taken up again after a death, kept where it can't be dealt with."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from store import Store
from store.label_studio_annotations import Annotations
from store.label_studio_events import LEASE, Events, New
from store.moments import utc_now


class Clock:
    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


async def test_an_event_is_one_servers_until_its_lease_ends(store: Store) -> None:
    clock = Clock()
    one, other = Events(store, clock), Events(store, clock)
    await one.add("con_1", [New("ANNOTATION_CREATED", {"n": place}) for place in range(20)])
    taken = await asyncio.gather(*(events.claim(7) for events in (one, other, one, other)))
    numbers = [event.body["n"] for some in taken for event in some]
    assert sorted(numbers) == list(range(20))  # each once
    first = taken[0][0]
    await one.done(first.id)
    assert await other.claim(99) == []
    clock.now += LEASE  # whoever claimed them is dead
    again = await other.claim(99)
    assert {event.attempts for event in again} == {2}
    assert {event.id for event in again} == {event.id for some in taken for event in some} - {first.id}


async def test_an_event_that_fails_waits_and_then_stays_with_its_error(store: Store) -> None:
    clock = Clock()
    events = Events(store, clock)
    await events.add("con_1", [New("SEEN", {}, "lse_x"), New("SEEN", {}, "lse_y")])
    await events.add("con_1", [New("SEEN", {"other": 1}, "lse_x")])  # told once more
    failing, fine = await events.claim(9)
    await events.done(fine.id)
    await events.failed(failing.id, "no such label", timedelta(minutes=1))
    clock.now += timedelta(seconds=59)
    assert await events.claim(9) == []
    clock.now += timedelta(seconds=1)
    assert [event.error for event in await events.claim(9)] == ["no such label"]
    await events.failed(failing.id, "no such label!", None)
    clock.now += timedelta(days=9)
    assert await events.claim(9) == []
    assert [(event.id, event.error) for event in await events.given_up("con_1")] == [(failing.id, "no such label!")]
    assert (await events.counts("con_1"), await events.counts("con_2")) == ({"waiting": 0, "failed": 1}, {"waiting": 0, "failed": 0})
    assert (await events.revive("con_2"), await events.revive("con_1")) == (0, 1)
    assert [event.attempts for event in await events.claim(9)] == [1]


async def test_an_annotation_is_changed_by_one_at_a_time(store: Store) -> None:
    annotations = Annotations(store)

    async def edit(person: str) -> None:
        await annotations.change("con_1", "7", "4", lambda row: {"edits": {**(row.edits or {}), person: {"by": person}}})

    await asyncio.gather(*(edit(person) for person in "abcdef"))
    (row,) = await annotations.of_tasks("con_1", ["4"])
    assert sorted(row.edits or {}) == list("abcdef")
    await annotations.change("con_1", "8", "", lambda _: {"deleted": True})  # heard of before it was made
    await annotations.change("con_1", "8", "5", lambda _: {})
    assert [(row.annotation, row.deleted) for row in await annotations.of_tasks("con_1", ["5"])] == [("8", True)]
    await annotations.change("con_1", "9", "4", lambda _: {"updated_at": "2026"})
    assert (await annotations.ignored("con_1"), await annotations.ignored("con_2")) == (1, 0)
