"""A version that is not loaded: who asks waits as long as they said, is told when to come back, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from candor.errors import CandorError
from candor.fake import FakeFamily
from serving.jobs.runner import JobRunner
from tests.unit.serving.registering import no_tending, ready
from tests.unit.serving.served import Server, image, is_problem, running, settings_in

DETECTION = "/v1/detection/drafts"


class Loads:
    """Holds the loads of models whose names begin with `cold` until they are let through; those of `bad` fail."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.opened = threading.Event()

    def of(self, name: str) -> None:
        if name.startswith(("cold", "bad")):
            self.begun.append(name)
            assert self.opened.wait(10)
        if name.startswith("bad"):
            raise CandorError("told to fail")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    made, load = Loads(), FakeFamily.load

    def held(self: FakeFamily, manifest: Any, artifact: Any, device: Any) -> Any:
        made.of(manifest.name)
        return load(self, manifest, artifact, device)

    monkeypatch.setattr(FakeFamily, "load", held)
    monkeypatch.setattr(JobRunner, "tend", no_tending)
    yield made
    made.opened.set()


@pytest.fixture
async def server(folder: Path, loads: Loads) -> AsyncIterator[Server]:
    async with running(settings_in(folder, limits={"queued_items": 8})) as made:
        await made.ready()
        yield made
        loads.opened.set()


async def asked(server: Server, model: str, seconds: float = 50, **more: Any) -> Any:
    return await server.draft([image()], DETECTION, model=model, headers={"x-request-timeout-seconds": str(seconds)}, **more)


async def test_who_does_not_wait_is_told_when_to_come_back_and_then_served(server: Server, loads: Loads) -> None:
    version = await ready(server, "cold")
    answer = await asked(server, "cold", 0.3)
    assert "being loaded" in is_problem(answer, 503, "not_ready")
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    loads.opened.set()
    answer = await asked(server, "cold")
    assert answer.json()["drafts"][0]["model_version"] == version
    assert loads.begun == ["cold"]  # it went on, and served the next one


async def test_a_cold_model_takes_half_of_the_room_and_hot_ones_are_served_meanwhile(server: Server) -> None:
    await ready(server, "cold")
    waiting = [asyncio.create_task(asked(server, "cold")) for _ in range(4)]
    await asyncio.sleep(0.05)
    is_problem(await asked(server, "cold"), 503, "not_ready")
    found = await asyncio.gather(*(server.drafts([image(f"{n}")]) for n in range(4)))
    assert all("id" in entry for (entry,) in found)
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_broken_version_is_not_loaded_again_by_every_request(server: Server, loads: Loads) -> None:
    loads.opened.set()
    await ready(server, "bad")
    for _ in range(5):
        (entry,) = (await asked(server, "bad")).json()["drafts"]
        assert entry["error"]["detail"] == "told to fail"
    assert loads.begun == ["bad"]


async def test_more_models_than_fit_are_all_served_and_few_are_held(folder: Path, loads: Loads) -> None:
    room = 3 << 20
    async with running(settings_in(folder, engine={"device": "cpu", "prepare_threads": 2, "cache_bytes": room})) as server:
        await server.ready()
        names = [f"model-{n}" for n in range(6)]
        for name in names:
            await ready(server, name)
        asked = [server.drafts([image(f"{n}")], model=names[n % 6]) for n in range(18)]
        found = await asyncio.gather(*asked)
        assert {entry["model_version"].partition("@")[0] for (entry,) in found} == set(names)
        states = [server.drafters["detection"]._engine.state(one["version"])[0] for one in await listed(server)]
        assert states.count("ready") <= 3


async def listed(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await server.client.get("/v1/models")).json()["models"]
    return [one for one in found if one["task"] == "detection"]
