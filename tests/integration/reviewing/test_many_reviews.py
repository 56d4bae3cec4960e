"""Ten thousand reviews in one call, and the same events sent to two servers at once, on both databases."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from candor.manifest import Manifest
from serving.api.reviews import MOST
from serving.config import Settings
from store import Store
from store.outcomes import Outcomes
from store.reviews import Reviews
from store.tables import draws, outcomes, reviews
from tests.integration.store.test_server_on_postgres import settings_on
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.reviewing.drawn import drafted, drew, reviewed, save
from tests.unit.serving.served import Server, audio, running, settings_in

SECONDS = 60.0  # far above what it takes here: a sign of work that grows with the square


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        return settings_in(tmp_path)
    return settings_on(request.getfixturevalue("postgres_empty_url"), tmp_path)


async def many(store: Store, namer: Manifest, number: int, project: str) -> list[Any]:
    """Store drafts, a tenth of them withheld."""
    drafts = [drafted(namer, f"i{n}", project) for n in range(number)]
    await store.save(drafts)
    rows = [asdict(drew(one, "withheld" if n % 10 == 0 else "assisted")) for n, one in enumerate(drafts)]
    await store.run(lambda connection: connection.execute(sa.insert(draws), rows))
    return drafts


async def post(server: Server, entries: Sequence[Any]) -> list[dict[str, Any]]:
    answer = await server.client.post("/v1/reviews", json={"reviews": list(entries)}, timeout=120)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["reviews"]
    return found


async def test_ten_thousand_reviews_in_one_call(settings: Settings, record_property: Any) -> None:
    async with running(settings) as server:
        await server.ready()
        store, namer = server.services.store, manifest_of(settings, "namer")
        drafts = await many(store, namer, MOST, "much")
        entries = [reviewed(one, "cat" if n % 3 else "dog", minute=n / 100) for n, one in enumerate(drafts)]
        begun = time.monotonic()
        found = await post(server, entries)
        took = time.monotonic() - begun
        record_property("seconds", took)
        assert took < SECONDS
        assert {one["status"] for one in found} == {"stored"}
        assert [one["draft"] for one in found] == [one.id for one in drafts]
        assert {one["status"] for one in await post(server, entries)} == {"already"}
        ((counted,),) = await store.read(sa.select(sa.func.count()).select_from(outcomes))
        assert counted == MOST
        blind = await Outcomes(store).of_version(namer.version, ["blind"])
        assert len(blind) == MOST // 10
        exported = await server.client.get("/v1/projects/much/export")
        assert exported.status_code == 404  # nobody made the project
        await server.client.put("/v1/projects/much", json={})
        assert len((await server.client.get("/v1/projects/much/export")).text.splitlines()) == MOST


async def test_two_servers_that_are_told_the_same_at_once_count_it_once(settings: Settings) -> None:
    async with running(settings) as first, running(settings) as second:
        await asyncio.gather(first.ready(), second.ready())
        store, namer = first.services.store, manifest_of(settings, "namer")
        drafts = await many(store, namer, 40, "twice")
        events = [reviewed(one, label, f"e{one.id}", minute) for one in drafts for minute, label in ((1, "dog"), (2, "cat"))]
        rng = random.Random(5)  # noqa: S311 - a test repeats itself
        calls = [post(server, rng.sample(events, len(events))) for server in (first, second) for _ in range(4)]
        await asyncio.gather(*calls)
        ((stored,),) = await store.read(sa.select(sa.func.count()).select_from(reviews))
        assert stored == len(events)
        found = await Reviews(store).current("default", "twice")
        assert [(row.final, row.verdict) for row in found if row.arm == "assisted"] == [({"label": "cat"}, "accepted")] * 36
        judged = await Outcomes(store).of_version(namer.version, ["blind", "review"])
        assert sorted((one.draft, one.correct) for one in judged) == sorted((one.id, True) for one in drafts)


async def test_gold_that_is_corrected_while_reviews_come_ends_in_its_last_truth(settings: Settings) -> None:
    async with running(settings) as server:
        await server.ready()
        store, namer = server.services.store, manifest_of(settings, "namer")
        drafts = [drafted(namer, f"g{n}", "turning") for n in range(12)]
        await save(store, *drafts, *(drew(one, gold=True) for one in drafts))
        await server.client.put("/v1/projects/turning", json={"labels": ["cat", "dog"]})

        async def gild(label: str) -> None:
            items = [{"item": one.item, "truth": {"label": label}} for one in drafts]
            answer = await server.client.post("/v1/projects/turning/gold", json={"items": items})
            assert answer.status_code == 200, answer.text

        await gild("dog")
        await asyncio.gather(*(post(server, [reviewed(one)]) for one in drafts), gild("cat"))
        await gild("cat")
        judged = await Outcomes(store).of_version(namer.version, ["gold"])
        assert sorted((one.draft, one.correct) for one in judged) == sorted((one.id, True) for one in drafts)


async def test_one_entry_of_odd_characters_fails_alone_or_is_kept(settings: Settings) -> None:
    async with running(settings) as server:
        await server.ready()
        await server.client.put("/v1/projects/odd", json={})
        (words,) = await server.drafts([audio("b", b'{"units": 3}')], "/v1/transcription/drafts", project="odd")
        texts = ["\0 zero", "\u202e 🦆 ń", "x" * 100_000]
        entries = [reviewed(words["id"], event=f"e{n}", labels=..., text=text) for n, text in enumerate(texts)]
        found = await post(server, [*entries, reviewed(words["id"], event="\0", labels=..., text="")])
        assert ["error" in one for one in found] == [False, False, False, True]
        kept = await Reviews(server.services.store).current("default", "odd")
        assert [row.final for row in sorted(kept, key=lambda row: row.event_id)] == [{"text": text} for text in texts]
