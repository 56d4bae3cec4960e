"""A month of twelve people over HTTP, the server killed twice on the way: exactly the right alarms, a verdict, and every review once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.config import Settings, StorageSettings
from serving.loading import install_all
from store import open_store
from store.review_alarms import ReviewAlarms
from tests.integration.reviewing.month import DAYS, LABELS, PEOPLE, PER_DAY, Person, Platform, items_of, truth_of
from tests.integration.reviewing.site import Site
from tests.unit.serving.served import image, model, settings_in

POLICY = {
    "control": 0.2,
    "honeypot": 0.4,
    "raised": 0.5,
    "on_alarm": "second_review",
    "price_of_second": 0.01,
    "price_of_error": 0.02,
    "window_days": 5,
}
ENDS = (6, 11)  # days on which the server is killed in the midst of its work


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    made = settings_in(tmp_path)
    made = settings_in(tmp_path, models={**made.models, "namer": model("classification", options_labels=LABELS)})
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        made = made.model_copy(update={"storage": StorageSettings(**{**made.storage.model_dump(), "database_url": url})})
    install_all(made)
    return made


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[Site]:
    made = Site(settings, tmp_path)
    yield made
    made.close()


async def _put_up(server: httpx.AsyncClient) -> None:
    body = {"labels": LABELS, "model": "namer", "task": "classification", "review": POLICY}
    answer = await server.put("/v1/projects/beasts", json=body)
    assert answer.status_code == 200, answer.text
    items = [item for person in PEOPLE for day in range(DAYS) for item in items_of(person, day)]
    gold = {"items": [{"item": item, "truth": {"label": truth_of(item)}} for item in items]}
    answer = await server.post("/v1/projects/beasts/gold", json=gold)
    assert answer.status_code == 200, answer.text


async def _drafted(server: httpx.AsyncClient, person: Person, day: int) -> list[dict[str, Any]]:
    items = [image(item) for item in items_of(person, day)]
    body = {"project": "beasts", "reviewer": person.name, "items": items}
    answer = await server.post("/v1/classification/drafts", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["drafts"]
    return found


async def _told(server: httpx.AsyncClient, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = await server.post("/v1/reviews", json={"reviews": events})
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["reviews"]
    assert all("error" not in one for one in told), told
    return told


async def _day(server: httpx.AsyncClient, platform: Platform, day: int, begun: asyncio.Event | None = None) -> None:
    async def one(person: Person) -> None:
        await _told(server, platform.work(person, day, await _drafted(server, person, day)))
        if begun is not None:
            begun.set()

    await asyncio.gather(*(one(person) for person in PEOPLE))


async def _cut_off(server: httpx.AsyncClient, site: Site, platform: Platform, day: int) -> None:
    """Begin a day, and kill the server in the midst: some drafts are drawn and never come, some reviews are stored and never answered."""
    begun = asyncio.Event()
    working = asyncio.create_task(_day(server, platform, day, begun))
    await begun.wait()
    site.kill()
    with pytest.raises(httpx.HTTPError):
        await working


async def _get(server: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await server.get(f"/v1/projects/beasts/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_month_ends_with_the_right_alarms_and_every_review_counted_once(settings: Settings, site: Site) -> None:
    platform, bounds = Platform(), [0, *ENDS, DAYS]
    raised: list[str] = []
    async with httpx.AsyncClient(base_url=site.url, timeout=60) as server:
        for first, last in pairwise(bounds):
            await asyncio.to_thread(site.start)
            if first == 0:
                await _put_up(server)
            for day in range(first, last):
                await _day(server, platform, day)
            before = {one["id"] for one in (await _get(server, "alarms"))["alarms"]}
            assert set(raised) <= before  # an alarm stays, whatever ended
            raised = sorted(before)
            if last < DAYS:
                await _cut_off(server, site, platform, last)
        await _ended(server, platform)
    store = await open_store(settings.storage.database_url, migrate=False)
    assert len(await ReviewAlarms(store).of_project("default", "beasts")) == 2
    await store.close()


async def _ended(server: httpx.AsyncClient, platform: Platform) -> None:
    everything = list(platform.events.values())
    assert len(everything) == len(PEOPLE) * DAYS * PER_DAY
    again = await _told(server, everything)  # the platform tells of all of it once more
    assert {one["status"] for one in again} == {"already"}
    people = {one["reviewer"]: one for one in (await _get(server, "reviewers"))["reviewers"]}
    assert {name: one["reviews"] for name, one in people.items()} == {person.name: DAYS * PER_DAY for person in PEOPLE}
    told = await _get(server, "alarms")
    assert sorted(one["reviewer"] for one in told["alarms"]) == ["from-mid-month", "stamper"]
    assert {one["reviewer"] for one in told["alarms"] if one["named"]} >= {"stamper"}
    for alarm in told["alarms"]:
        assert alarm["evidence"]["misses"] >= 6
        assert all(one["item"].startswith(alarm["reviewer"]) for one in alarm["evidence"]["missed"])
    late = next(one for one in told["alarms"] if one["reviewer"] == "from-mid-month")
    assert int(late["evidence"]["missed"][0]["item"].split("-")[-2]) >= DAYS // 2 - 3
    await _figures(server, people)


async def _figures(server: httpx.AsyncClient, people: dict[str, Any]) -> None:
    assert people["over-corrector"]["false_corrections"]["value"] > 0.1 > people["honest-0"]["false_corrections"]["value"]
    assert people["over-corrector"]["catch"]["value"] > 0.9
    assert people["stamper"]["over_reliance"]["low"] > 0.5
    assert people["stamper"]["catch"]["high"] < 0.3 < people["weak"]["catch"]["low"]
    effect = await _get(server, "effect")
    assert effect["verdict"] == "assist pays"
    assert effect["time_ratio"]["low"] < 0.6 < effect["time_ratio"]["high"] + 0.05
    dear = await _get(server, "effect", hour=36, error=100)
    assert dear["verdict"] in ("assist hurts", "not enough evidence")
    (stamper,) = [one for one in (await _get(server, "reviewers"))["reviewers"] if one["reviewer"] == "stamper"]
    assert stamper["alarm"]
    assert (await _get(server, "reviewers/stamper"))["policy"]["second_review"]
    page = await server.get("/projects/beasts/review")
    assert "<strong>Assist pays</strong>" in page.text
