"""Tasks of Label Studio: what each was shown stays, and what waits is worked on by one server at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from store import Store
from store.label_studio_tasks import Ended, Tasks, Waiting
from store.moments import utc_now

LEASE = timedelta(minutes=5)


async def test_what_tasks_were_shown_is_kept_and_an_error_takes_no_draft_away(store: Store) -> None:
    tasks = Tasks(store)
    await tasks.shown("con_a", [Ended("1", "7:1", "v1", {"source": "x"}, "drf_1"), Ended("2", "7:2", "v1", error="it is broken")])
    await tasks.shown("con_b", [Ended("1", "9:1", "v1", None, "drf_9")])
    await tasks.shown("con_a", [Ended("1", "7:1", "v2", error="it is broken now")])
    found = await tasks.of("con_a", ["1", "2", "3"])
    assert {task: (row.state, row.draft, row.model_version, row.error) for task, row in found.items()} == {
        "1": ("failed", "drf_1", "v2", "it is broken now"),
        "2": ("failed", None, "v1", "it is broken"),
    }
    await tasks.shown("con_a", [Ended("2", "7:2", "v2", {"source": "y"}, "drf_2")])
    row = (await tasks.of("con_a", ["2"]))["2"]
    assert (row.state, row.draft, row.data, row.error) == ("done", "drf_2", {"source": "y"}, None)
    assert [row.task for row in await tasks.failures("con_a")] == ["1"]
    assert await tasks.counts("con_a") == {"done": 1, "failed": 1}


async def test_what_waits_is_claimed_once_until_its_lease_ends(store: Store) -> None:
    now = utc_now()
    tasks = Tasks(store, lambda: now)
    await tasks.shown("con_a", [Ended("1", "7:1", "v1", {"source": "x"}, "drf_1")])
    await tasks.queue("con_a", [Waiting(str(n), f"7:{n}", {"value": "a"}) for n in range(1, 6)])
    await tasks.queue("con_b", [Waiting("1", "9:1")])
    claimed = await asyncio.gather(*(tasks.claim(3, LEASE) for _ in range(4)))
    while some := await tasks.claim(3, LEASE):
        claimed.append(some)
    taken = [(row.connection, row.task) for rows in claimed for row in rows]
    assert sorted(taken) == [*(("con_a", str(n)) for n in range(1, 6)), ("con_b", "1")]
    assert all(len({row.connection for row in rows}) == 1 for rows in claimed if rows)
    assert (await tasks.of("con_a", ["1"]))["1"].draft == "drf_1"
    await tasks.queue("con_a", [Waiting("2", "7:2")])  # asked for again while it is worked on
    assert await tasks.claim(9, LEASE) == []
    await tasks.shown("con_a", [Ended("1", "7:1", "v1", None, "drf_2")])
    await tasks.again("con_a", {"1": "late", "2": "not there"}, now + timedelta(seconds=10))
    assert await tasks.counts("con_a") == {"done": 1, "processing": 3, "queued": 1}
    now += timedelta(seconds=10)
    assert [(row.task, row.attempts, row.error) for row in await tasks.claim(9, LEASE)] == [("2", 1, "not there")]
    now += LEASE
    assert {row.task for rows in (await tasks.claim(9, LEASE), await tasks.claim(9, LEASE)) for row in rows} == {"1", "2", "3", "4", "5"}


async def test_a_long_queue_of_one_holds_up_no_other(store: Store) -> None:
    now = utc_now()
    tasks = Tasks(store, lambda: now)
    await tasks.queue("con_a", [Waiting(str(n), f"7:{n}") for n in range(16)])
    now += timedelta(seconds=1)
    await tasks.queue("con_b", [Waiting("1", "9:1")])
    claimed = [(await tasks.claim(1, LEASE))[0].connection for _ in range(16)]
    assert "con_b" in claimed  # one that came later, by chance of 1 : 65,536 not
