"""Two gateways and two replicas on one database: whatever interleaves, no move is lost and nobody sees a half-registered version.

A thousand operations run at once. Set CANDOR_TEST_SEED to the seed that a failure prints to draw the same ones again.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from serving.api.services import Services
from serving.composition import local_drafters, opened_store, router
from serving.config import Settings
from serving.http.app import create_app
from serving.jobs.runner import JobRunner
from serving.loading import install_all
from serving.requests import Drafter
from store import Blobs, Store, migrate
from store.registry import Registry
from store.tables import alias_moves, aliases, audit, drafts, versions
from tests.unit.serving.registering import manifest_of, no_tending, settle
from tests.unit.serving.served import image, settings_in

OPERATIONS = 1_000
AT_ONCE = 24
MODELS = ("fox", "owl")
ALIASES = ("production", "canary")
FRESH = 0.2  # seconds that a replica may be behind, here
SLACK = timedelta(seconds=FRESH + 1.0)  # from a move's time to its commit, on a busy machine


@dataclass(slots=True)
class Drafted:
    """One draft that was answered: of which alias, by which version, and when it was asked for."""

    draft: str
    model: str
    alias: str
    version: str
    start: datetime
    end: datetime


@dataclass(slots=True)
class World:
    """What the operations share, and what they saw."""

    gateways: list[httpx.AsyncClient]
    worker: tuple[Store, Blobs]
    uploads: list[str]
    chance: random.Random
    drafted: list[Drafted] = field(default_factory=list)
    moved: list[tuple[str, str, int, str | None]] = field(default_factory=list)
    settling: dict[str, datetime] = field(default_factory=dict)  # versions, by when they were about to be ready
    known: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[str] = field(default_factory=Counter)

    def gateway(self) -> httpx.AsyncClient:
        return self.chance.choice(self.gateways)

    def counted(self, what: str, answer: httpx.Response, *expected: int) -> httpx.Response:
        self.answers[f"{what} {answer.status_code}"] += 1
        assert answer.status_code in expected, f"{what}: {answer.status_code} {answer.text}"
        return answer

    def version(self, model: str) -> str:
        return self.chance.choice(self.known[model] or ["sha256:" + "0" * 64])


async def register(world: World, model: str) -> None:
    """Register one of a few contents, so that the same comes again, and settle it as a worker would; some fail."""
    number = world.chance.randrange(len(world.uploads))
    body = {"manifest": manifest_of(labels=(f"label-{number}",)), "artifact": {"upload": world.uploads[number]}}
    answer = world.counted("register", await world.gateway().post(f"/v1/models/{model}/versions", json=body), 202)
    version_id = answer.json()["id"]
    await asyncio.sleep(world.chance.random() * 0.05)
    if world.chance.random() < 0.2:
        await Registry(world.worker[0]).fail(version_id, {"passed": False, "problem": None})
        return
    before = datetime.now(UTC)
    ready = await settle(*world.worker, version_id)
    assert ready.version is not None
    world.settling.setdefault(ready.version, before)
    world.known[model].append(ready.version.partition("@")[2])


async def move(world: World, model: str) -> None:
    alias, body = world.chance.choice(ALIASES), {"version": world.version(model)}
    other = world.version(model)
    if world.chance.random() < 0.3 and other != body["version"]:
        body |= {"canary": {"version": other, "share": 0.5}}  # type: ignore[dict-item]
    headers = {"If-Match": str(world.chance.randrange(20))} if world.chance.random() < 0.1 else {}
    answer = await world.gateway().put(f"/v1/models/{model}/aliases/{alias}", json=body, headers=headers)
    _moved(world, model, alias, world.counted("move", answer, 200, 404, 409))


async def roll_back(world: World, model: str) -> None:
    alias = world.chance.choice(ALIASES)
    answer = await world.gateway().post(f"/v1/models/{model}/aliases/{alias}/rollback")
    _moved(world, model, alias, world.counted("roll back", answer, 200, 404, 409))


def _moved(world: World, model: str, alias: str, answer: httpx.Response) -> None:
    if answer.status_code == 200:
        world.moved.append((model, alias, answer.json()["revision"], answer.json()["version"]))


async def remove(world: World, model: str) -> None:
    answer = await world.gateway().delete(f"/v1/models/{model}/aliases/canary")
    world.counted("remove alias", answer, 204, 404)


async def retire(world: World, model: str) -> None:
    answer = await world.gateway().post(f"/v1/models/{model}/versions/{world.version(model)}/retire")
    world.counted("retire", answer, 200, 404, 409)


async def delete(world: World, model: str) -> None:
    answer = await world.gateway().delete(f"/v1/models/{model}/versions/{world.version(model)}")
    world.counted("delete", answer, 204, 404, 409)


async def draft(world: World, model: str) -> None:
    alias = world.chance.choice(ALIASES)
    items = [image(f"{secrets.token_hex(8)}") for _ in range(3)]
    start = datetime.now(UTC)
    answer = await world.gateway().post("/v1/drafts", json={"items": items, "model": f"{model}@{alias}"})
    end = datetime.now(UTC)
    world.counted("draft", answer, 200, 404, 503)
    if answer.status_code != 200:
        assert answer.json()["code"] in ("unknown_model", "unknown_alias", "model_unavailable"), answer.text
        return
    for entry in answer.json()["drafts"]:
        if "error" in entry:  # its version was deleted between two looks at the registry
            assert entry["error"]["code"] in ("unknown_model", "model_unavailable"), entry
            world.answers["item without its version"] += 1
        else:
            world.drafted.append(Drafted(entry["id"], model, alias, entry["model_version"], start, end))


MIX: list[tuple[int, Callable[[World, str], Awaitable[None]]]] = [
    (16, register),
    (24, move),
    (8, roll_back),
    (2, remove),
    (6, retire),
    (6, delete),
    (38, draft),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    made = settings_in(tmp_path, server={"auth": "none"}, tasks={"detection": {"model": "finder"}})
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        return made.model_copy(update={"storage": made.storage.model_copy(update={"database_url": url})})
    migrate(made.storage.database_url)
    return made


@asynccontextmanager
async def replica(settings: Settings) -> AsyncIterator[Drafter]:
    async with opened_store(settings) as (store, blobs), local_drafters(settings, ["detection"], store, blobs) as made:
        yield made["detection"]


@asynccontextmanager
async def gateway(settings: Settings, drafter: Drafter) -> AsyncIterator[httpx.AsyncClient]:
    @asynccontextmanager
    async def start() -> AsyncIterator[Services]:
        async with opened_store(settings) as (store, blobs):
            yield Services(settings, router(settings, {"detection": drafter}, store), store, blobs)

    app = create_app(start, settings.limits.body_bytes)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
        yield client


async def test_nothing_is_lost_and_nothing_half_done_is_seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobRunner, "tend", no_tending)
    monkeypatch.setattr("serving.registry.book.FRESH_SECONDS", FRESH)
    seed = int(os.environ.get("CANDOR_TEST_SEED") or secrets.randbits(32))
    print(f"CANDOR_TEST_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    install_all(settings)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica(settings)) for _ in range(2)]
        gateways = [await stack.enter_async_context(gateway(settings, drafter)) for drafter in replicas]
        worker = await stack.enter_async_context(opened_store(settings))
        uploads = [(await gateways[0].post("/v1/uploads", content=b"%d" % n)).json()["id"] for n in range(12)]
        world = World(gateways, worker, uploads, random.Random(seed))  # noqa: S311 - no secret
        await _run(world)
        print(dict(sorted(world.answers.items())))  # noqa: T201
        await _check(world, worker[0])


async def _run(world: World) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    weights = [weight for weight, _ in MIX]

    async def one(work: Callable[[World, str], Awaitable[None]], model: str) -> None:
        async with places:
            await work(world, model)

    for model in MODELS:
        await register(world, model)
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        for _ in range(OPERATIONS):
            tasks.create_task(one(world.chance.choices(MIX, weights)[0][1], world.chance.choice(MODELS)))


async def _check(world: World, store: Store) -> None:
    moves: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in await store.read(sa.select(alias_moves).order_by(alias_moves.c.revision)):
        moves[row.model, row.alias].append(row)
    standing = {(row.model, row.alias): row for row in await store.read(sa.select(aliases))}
    assert moves.keys() >= standing.keys()
    for where, made in moves.items():
        assert [row.revision for row in made] == list(range(1, len(made) + 1)), where
        now = standing.get(where)
        last = made[-1]
        told = None if now is None else (now.version, now.canary, now.share, now.revision)
        assert told == (None if last.version is None else (last.version, last.canary, last.share, last.revision)), where
    assert len({(model, alias, revision) for model, alias, revision, _ in world.moved}) == len(world.moved)
    for model, alias, revision, version in world.moved:
        assert moves[model, alias][revision - 1].version == version
    audited = (await store.read(sa.select(sa.func.count()).where(audit.c.action.like("alias.%"))))[0][0]
    assert audited == sum(map(len, moves.values()))
    ready = {row.version for row in await store.read(sa.select(versions.c.version).where(versions.c.state == "ready"))}
    assert {row.version for row in standing.values()} | {row.canary for row in standing.values() if row.canary} <= ready
    stored = {row.id for row in await store.read(sa.select(drafts.c.id))}
    assert {one.draft for one in world.drafted} <= stored
    assert len(world.drafted) > OPERATIONS / 4
    for one in world.drafted:
        assert world.settling[one.version] <= one.end, f"{one} was drafted by a version that was not ready"
        assert _pointed(moves[one.model, one.alias], one), f"{one} by a version that its alias did not point to then"


def _pointed(made: list[Any], one: Drafted) -> bool:
    """Whether the alias pointed to the draft's version at some moment while it was asked for, or just before."""
    for row, following in zip(made, [*made[1:], None], strict=True):
        until = following.at + SLACK if following else datetime.max.replace(tzinfo=UTC)
        if one.version in (row.version, row.canary) and row.at <= one.end and one.start <= until:
            return True
    return False
