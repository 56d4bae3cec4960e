"""Parts are put together from settings, and taken apart whatever goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from candor.errors import InvalidRequest, StorageUnavailable
from candor.fake import FakeModel
from serving.composition import local_drafters, opened_store, read_calibrations
from serving.config import Settings
from tests.unit.serving.served import calibration_of, image, running, settings_in


def with_calibration(settings: Settings, path: Path) -> Settings:
    finder = settings.models["finder"].model_copy(update={"calibration": path})
    return settings.model_copy(update={"models": {**settings.models, "finder": finder}})


def test_configured_calibrations_are_read(settings: Settings, folder: Path) -> None:
    record = calibration_of("finder@sha256:" + "0" * 64, "detection")
    (folder / "c.json").write_text(json.dumps(record.as_json()))
    assert read_calibrations(settings) == {}
    assert read_calibrations(with_calibration(settings, folder / "c.json")) == {"finder": record}


@pytest.mark.parametrize(("content", "told"), [(None, "can't be read"), ("{", "is not JSON"), ('{"id": "cal_x"}', "not valid")])
async def test_a_wrong_calibration_stops_the_start(settings: Settings, folder: Path, content: str | None, told: str) -> None:
    path = folder / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRequest, match=told):
        async with running(with_calibration(settings, path)):
            pass


async def test_a_calibration_that_does_not_fit_is_told_in_the_log(settings: Settings, folder: Path) -> None:
    record = calibration_of("finder@sha256:" + "0" * 64, "detection")
    (folder / "c.json").write_text(json.dumps(record.as_json()))
    with structlog.testing.capture_logs() as logged:
        async with running(with_calibration(settings, folder / "c.json")) as server:
            await server.ready()
    (told,) = [entry for entry in logged if entry["event"] == "calibration_not_applied"]
    assert told["calibration"] == record.id
    assert "it was made for finder@sha256:000" in told["reason"]


async def test_a_stop_unloads_the_models(settings: Settings, loaded: dict[str, FakeModel], monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[FakeModel] = []

    def close(self: FakeModel) -> None:
        closed.append(self)

    monkeypatch.setattr(FakeModel, "close", close)
    async with running(settings) as server:
        await server.ready()
        assert closed == []
    assert sorted(map(id, closed)) == sorted(map(id, loaded.values()))
    assert len(closed) == 3


async def test_a_stop_while_models_load_ends(settings: Settings) -> None:
    async with running(settings):
        pass


async def test_only_the_tasks_of_this_process_have_drafters(settings: Settings) -> None:
    async with opened_store(settings) as (store, blobs), local_drafters(settings, ["detection"], store, blobs) as drafters:
        assert drafters.keys() == {"detection"}
        assert {status.task for status in await drafters["detection"].models()} == {"detection"}


async def test_a_database_that_can_not_be_opened_stops_the_start(settings: Settings, folder: Path) -> None:
    (folder / "file").touch()
    storage = settings.storage.model_copy(update={"database_url": f"sqlite+aiosqlite:///{folder}/file/candor.db"})
    with pytest.raises(StorageUnavailable):
        async with running(settings.model_copy(update={"storage": storage})):
            pass


async def test_engine_settings_of_a_task_reach_its_engine(folder: Path) -> None:
    tasks: dict[str, Any] = {"detection": {"model": "finder", "engine": {"max_batch": 1}}}
    async with running(settings_in(folder, tasks=tasks)) as server:
        found = await server.drafts([image(name) for name in "abc"])
        assert {entry["timings"]["batch_size"] for entry in found} == {1}


async def test_drafts_outlive_the_server(settings: Settings) -> None:
    async with running(settings) as server:
        (draft,) = await server.drafts([image()])
    async with running(settings) as server:
        assert (await server.client.get(f"/v1/drafts/{draft['id']}")).json() == draft
