"""Arms as a whole server draws them: once for each item, as often as was said, and safe however it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from candor.errors import StorageUnavailable
from serving.arms.assigning import Arms, Desk
from serving.config import StorageSettings
from store.tables import drafts, draws
from tests.unit.serving.arms.armed import OFTEN, ask, draws_of, make_gold, put
from tests.unit.serving.served import Server, image, is_problem, running, settings_in


@pytest.fixture(params=["sqlite", "postgresql"])
async def server(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr("serving.arms.assigning.KNOWN_SECONDS", 0.0)
    monkeypatch.setattr("serving.arms.assigning.MATERIAL_SECONDS", 0.0)
    async with running(settings_on(folder, url_of(request))) as made:
        yield made


def url_of(request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None


def settings_on(folder: Path, url: str | None) -> Any:
    settings = settings_in(folder)
    if url is None:
        return settings
    storage = settings.storage.model_dump() | {"database_url": url}
    return settings_in(folder, storage=StorageSettings(**storage))


async def test_of_fifty_requests_at_once_all_get_one_draft(server: Server) -> None:
    await put(server, "p", OFTEN)
    items = [image(f"{n}") for n in range(4)]
    answers = await asyncio.gather(*(server.drafts(items, project="p") for _ in range(50)))
    for position in range(len(items)):
        seen = [{**one[position], "timings": {**one[position]["timings"], "cached": True}} for one in answers]
        assert all(one == seen[0] for one in seen)
        assert sum(not one[position]["timings"]["cached"] for one in answers) <= 1
    stored = {row.id for row in await server.services.store.read(sa.select(drafts.c.id))}
    assert stored == {row.draft for row in (await draws_of(server)).values()}


async def test_an_item_twice_in_one_request_draws_once(server: Server) -> None:
    await put(server, "p", OFTEN)
    first, second = await server.drafts([image("a"), image("a")], project="p")
    assert first["id"] == second["id"]


async def test_each_reviewer_draws_and_draws_once(server: Server) -> None:
    await put(server, "p", {"control": 0.5})
    names = [f"{n}" for n in range(64)]
    by = {who: await ask(server, names, project="p", reviewer=who) for who in ("ann", "bob")}
    shown = {who: [bool(one["labels"]) for one in drafts] for who, drafts in by.items()}
    assert shown["ann"] != shown["bob"]
    assert not {one["id"] for one in by["ann"]} & {one["id"] for one in by["bob"]}
    assert all(20 <= sum(one) <= 44 for one in shown.values())
    again = await ask(server, names, project="p", reviewer="ann")
    assert [one["id"] for one in again] == [one["id"] for one in by["ann"]]


async def test_arms_come_as_often_as_their_chances_say(server: Server) -> None:
    await put(server, "p", {"control": 0.2, "honeypot": 0.05})
    first, second = [f"a{n}" for n in range(600)], [f"b{n}" for n in range(200)]
    await ask(server, first, project="p")
    await make_gold(server, await ask(server, second))
    await ask(server, second, project="p")
    rows = (await draws_of(server)).values()
    for arm in ("withheld", "honeypot", "assisted"):
        chances = [row.rates[arm] if arm != "assisted" else 1 - row.rates["withheld"] - row.rates["honeypot"] for row in rows]
        spread = sqrt(sum(chance * (1 - chance) for chance in chances))
        assert abs(sum(row.arm == arm for row in rows) - sum(chances)) < 4 * spread
    assert all(row.propensity == pytest.approx(row.rates.get(row.arm, 1 - row.rates["withheld"] - row.rates["honeypot"])) for row in rows)
    assert {row.gold for row in rows if row.arm == "honeypot"} == {True}
    assert not any(row.rates["honeypot"] for row in rows if not row.gold)
    assert all(0 < row.rates["honeypot"] <= 0.5 for row in rows if row.gold)
    # weighted by 1 / chance, the arms stand for all items alike
    assert sum(1 / row.propensity for row in rows if row.arm == "withheld") == pytest.approx(len(rows), rel=0.35)


async def test_what_is_not_stored_is_not_answered_and_loses_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(server, "p", OFTEN)
    run = server.services.store.run

    async def broken(work: Any) -> Any:
        async def cut_off(connection: Any) -> Any:
            await work(connection)
            raise StorageUnavailable("the power failed", retry_after=1.0)

        return await run(cut_off)

    monkeypatch.setattr(server.services.store, "run", broken)
    is_problem(await server.draft([image("a"), image("b")], "/v1/detection/drafts", project="p"), 503, "storage_unavailable")
    monkeypatch.setattr(server.services.store, "run", run)
    assert [await server.services.store.read(sa.select(table)) for table in (drafts, draws)] == [[], []]
    assert len(await server.drafts([image("a"), image("b")], project="p")) == 2


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_high_stakes_show_only_what_is_known_to_be_likely(server: Server) -> None:
    await put(server, "p", {"stakes": "high"})
    answers = await ask(server, [f"{n}" for n in range(100)], project="p")
    arms = await draws_of(server)
    assert {(arms[one["item"]].arm, one["route"], len(one["labels"])) for one in answers} == {
        ("assisted", "from_scratch", 0),  # nothing is calibrated here, so no confidence is known
        ("withheld", "review", 0),
    }
    assert {row.rates["withheld"] for row in arms.values()} == {0.2}


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_without_a_review_policy_nothing_is_drawn_or_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(server, "p", None)
    await server.drafts([image("warm")], project="p")
    queries: list[Any] = []
    read = server.services.store.read

    async def counted(statement: Any, values: Any = None) -> Any:
        queries.append(statement)
        return await read(statement, values)

    monkeypatch.setattr(server.services.store, "read", counted)
    monkeypatch.setattr(Arms, "shown", None)
    monkeypatch.setattr(Arms, "assign", None)
    (one,) = await server.drafts([image("a")], project="p", reviewer="ann")
    assert len(one["labels"]) == 2
    assert len(queries) <= 3  # stored drafts, and once a second whether projects or models changed
    assert await draws_of(server) == {}


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_a_reviewer_under_an_alarm_is_shown_no_draft(server: Server) -> None:
    class Alarmed:
        async def raised(self, *_names: str) -> bool:
            return True

        async def withheld_for(self, _team: str, _project: str, reviewer: str) -> bool:
            return reviewer == "ann"

    await put(server, "p", OFTEN)
    drafter = server.drafters["detection"]
    drafter._arms = Arms(server.services.store, Alarmed())
    names = [f"{n}" for n in range(40)]
    assert {len(one["labels"]) for one in await ask(server, names, project="p", reviewer="ann")} == {0}
    bobs = await ask(server, names, project="p", reviewer="bob")
    assert Counter(len(one["labels"]) for one in bobs)[2] > 15
    shown = await drafter._arms.shown(Desk("default", "p", "bob"), names)
    assert {item: one.id for item, one in shown.items()} == {one["item"]: one["id"] for one in bobs}


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_an_item_keeps_its_arm_when_the_policy_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.projects.book.FRESH_SECONDS", 0.0)
    await put(server, "p", {"control": 0.5})
    names = [f"{n}" for n in range(40)]
    before = await ask(server, names, project="p")
    await put(server, "p", None)
    after = await ask(server, names, project="p")
    assert [one["id"] for one in after] == [one["id"] for one in before]
    assert [one["labels"] for one in after] == [one["labels"] for one in before]
    anew = await ask(server, names, project="p", headers={"cache-control": "no-cache"})
    assert all(one["labels"] for one in anew)


async def test_who_may_list_arms(server: Server) -> None:
    await put(server, "p", OFTEN)
    await ask(server, ["a", "b", "c"], project="p")
    first = (await server.client.get("/v1/projects/p/arms", params={"limit": 2})).json()
    rest = (await server.client.get("/v1/projects/p/arms", params={"after": first["next"]})).json()
    assert {one["item"] for one in first["arms"] + rest["arms"]} == {"a", "b", "c"}
    assert rest["next"] is None
    is_problem(await server.client.get("/v1/projects/q/arms"), 404, "unknown_project")
