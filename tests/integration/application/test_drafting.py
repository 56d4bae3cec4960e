"""The use case: stored drafts answer, what is answered is stored, time and room run out, calibrations are applied."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from calibration.record import CalibrationRecord
from candor.drafts import Draft
from candor.errors import CandorError, StorageUnavailable, TooManyItems, UnreadableItem
from candor.fake import FakeModel
from candor.predictions import Task
from serving.config import Settings
from serving.engine import Engine
from serving.loading import build_catalog
from serving.requests import DraftRequest, Item, Media
from tests.unit.serving.served import MODELS, Gate, Server, audio, calibration_of, cancelled, image, is_problem, running, settings_in

DETECTION = "/v1/detection/drafts"


# --- stored drafts


async def test_the_same_item_again_is_answered_by_its_stored_draft(server: Server) -> None:
    (first,) = await server.drafts([image("a")], project="p")
    (again,) = await server.drafts([image("a")], project="p")
    assert server.inferred() == 1
    assert again["timings"].pop("cached") is True
    assert first["timings"].pop("cached") is False
    assert again == first


async def test_another_item_of_the_same_bytes_gets_a_draft_of_its_own(server: Server) -> None:
    (first,) = await server.drafts([image("a", b"x")], include=["raw"])
    (other,) = await server.drafts([image("b", b"x")], include=["raw"])
    assert server.inferred() == 1
    assert other["item"] == "b"
    assert other["id"] != first["id"]
    assert [label["id"] for label in other["labels"]] == [f"{other['id']}.{n}" for n in range(len(other["labels"]))]
    for label in (*first["labels"], *other["labels"]):
        del label["id"]
    assert other["labels"] == first["labels"]
    assert other["timings"]["cached"] is True
    assert (await server.client.get(f"/v1/drafts/{other['id']}")).json()["item"] == "b"
    (again,) = await server.drafts([image("b", b"x")])
    assert again["id"] == other["id"]


async def test_another_project_gets_a_draft_of_its_own(server: Server) -> None:
    ids = set()
    for project in (None, "p", "q", "p"):
        (draft,) = await server.drafts([image("a")], project=project)
        assert draft["project"] == project
        ids.add(draft["id"])
    assert len(ids) == 3
    assert server.inferred() == 1


async def test_a_client_may_ask_the_model_anew(server: Server) -> None:
    (first,) = await server.drafts([image("a")])
    for asked, header in enumerate(("no-cache", "No-Cache", "max-age=0, no-cache"), start=2):
        (fresh,) = await server.drafts([image("a")], headers={"cache-control": header})
        assert fresh["timings"]["cached"] is False
        assert fresh["id"] != first["id"]
        assert server.inferred() == asked
    (again,) = await server.drafts([image("a")], headers={"cache-control": "max-age=60"})
    assert again["id"] == fresh["id"]  # the newest one answers


async def test_one_request_mixes_stored_new_and_bad_items(server: Server) -> None:
    (stored,) = await server.drafts([image("stored")])
    found = await server.drafts([image("new"), image("bad", b""), image("stored"), image("copy", b"stored"), image("last")])
    assert [entry["item"] for entry in found] == ["new", "bad", "stored", "copy", "last"]
    assert found[1]["error"]["code"] == "unreadable_item"
    assert found[2]["id"] == stored["id"]
    assert [entry["timings"]["cached"] for entry in found if "id" in entry] == [False, True, True, False]
    assert server.inferred() == 3


async def test_bytes_that_are_equal_are_one_for_every_way_that_they_come(server: Server) -> None:
    upload = (await server.client.post("/v1/uploads", content=b"bytes")).json()["id"]
    (sent,) = await server.drafts([image("a", b"bytes")])
    (uploaded,) = await server.drafts([{"id": "a", "image": {"upload": upload}}])
    form = await server.client.post(DETECTION, files=[("items", ("a", b"bytes"))])
    assert {sent["id"], uploaded["id"], form.json()["drafts"][0]["id"]} == {sent["id"]}
    assert server.inferred() == 1


async def test_another_version_is_asked(folder: Path, loaded: dict[str, FakeModel]) -> None:
    async with running(settings_in(folder)) as server:
        (first,) = await server.drafts([image("a")])
    other = settings_in(folder).models["finder"].model_copy(update={"options": {"task": "detection", "labels": ["cow", "pig"]}})
    changed = settings_in(folder, models={**settings_in(folder).models, "finder": other})
    build_catalog(changed).install("finder")
    async with running(changed) as server:
        (second,) = await server.drafts([image("a")])
        assert second["model_version"] != first["model_version"]
        assert second["timings"]["cached"] is False
        (old,) = await server.drafts([image("a")], model=first["model_version"])
        assert old["id"] == first["id"]


# --- what is answered is stored


def refuse(monkeypatch: pytest.MonkeyPatch, server: Server, method: str) -> None:
    async def refused(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("the disk is full", retry_after=1.0)

    monkeypatch.setattr(server.services.store, method, refused)


@pytest.mark.parametrize("method", ["save", "find"])
async def test_nothing_is_answered_that_can_not_be_stored(server: Server, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    refuse(monkeypatch, server, method)
    answer = await server.draft([image("a"), image("b", b"")], DETECTION)
    assert is_problem(answer, 503, "storage_unavailable") == "the disk is full"
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert len(await server.drafts([image("a")])) == 1


@pytest.mark.parametrize("method", ["save", "find"])
async def test_the_use_case_raises_the_error_itself(server: Server, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Another process must know it: a group of errors would arrive there as a bug."""
    refuse(monkeypatch, server, method)
    with pytest.raises(StorageUnavailable):
        await server.drafters["detection"].draft(DraftRequest((Item("a", "image", Media(b"a")),)))


async def test_drafts_are_committed_before_they_are_answered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    save = server.services.store.save
    events: list[list[str]] = []

    async def saved(drafts: Sequence[Draft]) -> None:
        assert not events
        await save(drafts)
        events.append([draft.item for draft in drafts])

    monkeypatch.setattr(server.services.store, "save", saved)
    await server.drafts([image("a"), image("bad", b""), image("b")])
    assert events == [["a", "b"]]


async def test_nothing_is_saved_where_nothing_is_new(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.drafts([image("a")])
    refuse(monkeypatch, server, "save")
    assert len(await server.drafts([image("a"), image("bad", b"")])) == 2


# --- room and time


async def test_a_full_queue_says_when_to_come_back(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, limits={"queued_items": 2})) as server:
        first = asyncio.create_task(server.draft([image("a"), image("b")], DETECTION))
        await gate.waited_for()
        answer = await server.draft([image("c")], DETECTION)
        assert "come back later" in is_problem(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["retryable"] is True
        other = asyncio.create_task(server.draft([image("c")], "/v1/classification/drafts"))  # has room of its own
        gate.opened.set()
        assert [one.status_code for one in await asyncio.gather(first, other)] == [200, 200]
        assert (await server.draft([image("c")], DETECTION)).status_code == 200


async def test_bytes_fill_a_queue_too(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, limits={"queued_bytes": 100})) as server:
        first = asyncio.create_task(server.draft([image("a", b"x" * 90)], DETECTION))
        await gate.waited_for()
        is_problem(await server.draft([image("b", b"y" * 11)], DETECTION), 503, "overloaded")
        gate.opened.set()
        assert (await first).status_code == 200


async def test_a_request_larger_than_the_queue_is_taken_when_it_is_alone(folder: Path) -> None:
    async with running(settings_in(folder, limits={"queued_items": 1})) as server:
        assert len(await server.drafts([image(name) for name in "abc"])) == 3


async def test_items_that_are_done_in_time_are_answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast, shift = Gate(), asyncio.Event(), 0.0
    infer, predict, loop = FakeModel.infer, Engine.predict, asyncio.get_running_loop()

    def held(self: FakeModel, units: Sequence[Any]) -> Any:
        if any(orders.get("slow") for _, orders in units):
            slow()
        return infer(self, units)

    async def told(self: Engine, version: str, data: bytes, **more: Any) -> Any:
        found = await predict(self, version, data, **more)
        fast.set()
        return found

    now = loop.time
    monkeypatch.setattr(FakeModel, "infer", held)
    monkeypatch.setattr(Engine, "predict", told)
    monkeypatch.setattr(loop, "time", lambda: now() + shift)
    async with running(settings_in(folder, engine={"device": "cpu", "max_batch": 1})) as server:
        items = [image("fast"), image("slow", b'{"slow": true}'), {"id": "bad"}]
        asked = asyncio.create_task(server.drafts(items, headers={"x-request-timeout-seconds": "50"}))
        await fast.wait()
        await slow.waited_for()
        shift = 51.0  # and so much time has passed
        found = await asked
        slow.opened.set()
    assert [entry["item"] for entry in found] == ["fast", "slow", "bad"]
    assert "error" not in found[0]
    assert (found[1]["error"]["code"], found[1]["error"]["status"]) == ("deadline_exceeded", 504)
    assert found[1]["error"]["retryable"] is True
    assert found[2]["error"]["code"] == "invalid_request"


async def test_the_servers_own_time_is_the_longest(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, server={"request_seconds": 0.02})) as server:
        (entry,) = await server.drafts([image()], headers={"x-request-timeout-seconds": "1000"})
        assert entry["error"]["code"] == "deadline_exceeded"
        gate.opened.set()


async def test_a_client_that_goes_away_frees_its_room(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, limits={"queued_items": 2})) as server:
        await server.ready()
        left = asyncio.create_task(server.draft([image("a"), image("b")], DETECTION))
        await gate.waited_for()
        await cancelled(left)
        admission = server.drafters["detection"]._admission
        assert (admission.items, admission.bytes) == (0, 0)
        gate.opened.set()
        assert len(await server.drafts([image("c"), image("d")])) == 2


# --- calibrations


def version_of(settings: Settings, name: str) -> tuple[str, float | None]:
    found = build_catalog(settings).installed(name)
    assert found is not None
    return found.manifest.version, found.manifest.display_threshold


def calibrated(folder: Path, task: Task, make: Callable[[str], CalibrationRecord]) -> tuple[Settings, CalibrationRecord]:
    """Settings whose model of a task has a calibration, which `make` makes for its version."""
    plain, name = settings_in(folder), MODELS[task]
    record = make(version_of(plain, name)[0])
    path = folder / "calibration.json"
    path.write_text(json.dumps(record.as_json()))
    model = plain.models[name].model_copy(update={"calibration": path})
    return settings_in(folder, models={**plain.models, name: model}), record


@pytest.mark.parametrize("status", ["calibrated", "unverified"])
async def test_a_calibration_of_this_version_is_applied(folder: Path, status: str) -> None:
    settings, record = calibrated(folder, "classification", lambda version: calibration_of(version, status=status))
    async with running(settings) as server:
        (draft,) = await server.drafts([image()], "/v1/classification/drafts", include=["raw"])
        assert (draft["confidence_status"], draft["calibration"]) == (status, record.id)
        confidences = [label["confidence"] for label in draft["labels"]]
        assert sum(confidences) == pytest.approx(1, abs=1e-5)
        assert draft["confidence"] == confidences[0] == max(confidences)
        assert confidences != [label["raw"]["score"] for label in draft["labels"]]
        await server.ready()
        (told,) = [one for one in (await server.client.get("/v1/models")).json()["models"] if one["name"] == "namer"]
        assert (told["confidence_status"], told["calibration"]) == (status, record.id)


async def test_words_are_calibrated(folder: Path) -> None:
    settings, record = calibrated(folder, "transcription", lambda version: calibration_of(version, "transcription"))
    async with running(settings) as server:
        (draft,) = await server.drafts([audio("a", b'{"units": 2}')], "/v1/transcription/drafts", include=["raw"])
        assert draft["route"] == "from_scratch"  # so it is shown because raw scores are asked for
        assert draft["calibration"] == record.id
        assert draft["confidence"] is None
        (segment,) = draft["segments"]
        assert segment["confidence"] is None
        assert [word["confidence"] for word in segment["words"]] == [pytest.approx(0.524979), pytest.approx(0.524979)]


@pytest.mark.parametrize(
    "make",
    [
        lambda version: calibration_of("finder@sha256:" + "0" * 64, "detection"),
        lambda version: calibration_of(version, "detection", display_threshold=0.5),
        lambda version: calibration_of(version, "detection"),  # fitted from a threshold of 0, and this model has none
    ],
)
async def test_a_calibration_of_something_else_is_not_applied(folder: Path, make: Callable[[str], CalibrationRecord]) -> None:
    settings, _ = calibrated(folder, "detection", make)
    async with running(settings) as server:
        (draft,) = await server.drafts([image()])
        assert (draft["confidence_status"], draft["calibration"], draft["confidence"]) == ("uncalibrated", None, None)
        assert {label["confidence"] for label in draft["labels"]} == {None}
        (told,) = [one for one in (await server.client.get("/v1/models")).json()["models"] if one["name"] == "finder"]
        assert (told["confidence_status"], told["calibration"]) == ("uncalibrated", None)


async def test_another_calibration_asks_the_model_again(folder: Path, loaded: dict[str, FakeModel]) -> None:
    async with running(settings_in(folder)) as server:
        (plain,) = await server.drafts([image()], "/v1/classification/drafts")
    settings, record = calibrated(folder, "classification", calibration_of)
    async with running(settings) as server:
        (draft,) = await server.drafts([image()], "/v1/classification/drafts")
        assert draft["timings"]["cached"] is False
        assert draft["calibration"] == record.id
        (again,) = await server.drafts([image()], "/v1/classification/drafts")
        assert again["id"] == draft["id"]
    async with running(settings_in(folder)) as server:
        (back,) = await server.drafts([image()], "/v1/classification/drafts")
        assert back["id"] == plain["id"]


# --- the use case itself, as other protocols call it


async def test_requests_that_no_protocol_should_send(folder: Path) -> None:
    async with running(settings_in(folder, limits={"items": 1, "item_bytes": 4})) as server:
        drafter = server.drafters["detection"]

        async def error(*items: Item, **more: Any) -> CandorError:
            with pytest.raises(CandorError) as raised:
                await drafter.draft(DraftRequest(items, **more))
            return raised.value

        one = Item("a", "image", Media(b"x"))
        assert (await error()).code == "no_items"
        assert isinstance(await error(one, one), TooManyItems)
        assert (await error(one, task="classification")).code == "invalid_request"
        found = await drafter.draft(DraftRequest((Item("a", None, Media(b"x" * 5)),)))
        assert found.results[0].error.code == "media_too_large"
        wrong = UnreadableItem("told by the protocol")
        found = await drafter.draft(DraftRequest((Item("a", None, Media(), wrong),)))
        assert found.results[0].error is wrong
        found = await drafter.draft(DraftRequest((Item("a", None, Media()),)))
        assert found.results[0].error.code == "unknown_upload"


async def test_a_large_item_is_hashed_alike(server: Server) -> None:
    (draft,) = await server.drafts([image("a", b"x" * (1 << 20))])
    stored = await server.services.store.get(draft["id"])
    assert stored.media_sha256 == hashlib.sha256(b"x" * (1 << 20)).hexdigest()
