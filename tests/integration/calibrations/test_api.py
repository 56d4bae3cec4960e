"""Calibrations over the API: imported, listed, promoted, rolled back; and what drafts say from then on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from calibration.record import CalibrationRecord
from candor.errors import StorageUnavailable
from candor.predictions import Task
from serving.calibrations import book
from serving.config import Settings
from serving.loading import build_catalog
from store.calibrations import Calibrations, EventKind
from tests.unit.serving.calibrations.synthetic import full_record
from tests.unit.serving.served import MODELS, Server, calibration_of, image, is_problem, running, settings_in

NAMER = "/v1/classification/drafts"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in force is read for each request, so that no test waits two seconds."""
    monkeypatch.setattr(book, "FRESH_SECONDS", 0.0)


@pytest.fixture
def version(settings: Settings) -> str:
    found = build_catalog(settings).installed("namer")
    assert found is not None
    return found.manifest.version


@pytest.fixture
def record(version: str) -> CalibrationRecord:
    return calibration_of(version, reason="one")


@pytest.fixture
def other(version: str) -> CalibrationRecord:
    return calibration_of(version, reason="other", parameters={"temperature": 3.0})


async def taken(server: Server, *records: CalibrationRecord) -> None:
    for one in records:
        answer = await server.client.post("/v1/calibrations", json=one.as_json())
        assert answer.status_code == 201, answer.text
        assert answer.json()["id"] == one.id


async def promoted(server: Server, record: CalibrationRecord, **body: Any) -> dict[str, Any]:
    answer = await server.client.post(f"/v1/calibrations/{record.id}/promote", json=body or None)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def now(server: Server, version: str = "production") -> dict[str, Any]:
    answer = await server.client.get(f"/v1/models/namer/versions/{version}/calibration")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def back(server: Server, **body: Any) -> httpx.Response:
    return await server.client.post("/v1/models/namer/versions/production/calibration/rollback", json=body or None)


async def drafted(server: Server, name: str = "a", **more: Any) -> dict[str, Any]:
    (draft,) = await server.drafts([image(name)], NAMER, **more)
    return draft


# --- import and list


async def test_an_imported_record_is_stored_and_not_in_force(server: Server, record: CalibrationRecord) -> None:
    answer = await server.client.post("/v1/calibrations", json=record.as_json())
    assert answer.status_code == 201
    told = answer.json()
    assert told["record"] == json.loads(json.dumps(record.as_json()))
    assert (told["id"], told["in_force"], told["misfit"], told["origin"]) == (record.id, False, None, "import")
    assert (told["task"], told["method"], told["status"], told["badge"]) == ("classification", "temperature", "calibrated", False)
    assert (await server.client.get(f"/v1/calibrations/{record.id}")).json() == told
    assert (await server.client.post("/v1/calibrations", json=record.as_json())).json() == told  # the same one
    assert (await drafted(server))["calibration"] is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"parameters": {"temperature": 2.5}}, "changed after it was made"),
        ({"status": "unverified"}, "changed after it was made"),
        ({"fitted_items": ["0" * 16]}, "changed after it was made"),
        ({"id": "cal_" + "a" * 26}, "changed after it was made"),
        ({"parameters": {"temperature": -1}}, "not above 0"),
        ({"method": "isotonic"}, "method 'isotonic'"),
        ({"schema": 99}, "schema 99"),
        ({"more": 1}, "not valid"),
        ({"model_version": 7}, "not valid"),
        ({"badge": {"threshold": 0.9}}, "not valid"),
    ],
)
async def test_an_edited_or_wrong_record_is_refused(server: Server, record: CalibrationRecord, changed: dict[str, Any], told: str) -> None:
    answer = await server.client.post("/v1/calibrations", json={**record.as_json(), **changed})
    assert told in is_problem(answer, 422, "invalid_request")
    assert (await server.client.get("/v1/calibrations")).json() == {"calibrations": [], "next": None}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'"cal_a"', b"\xff", b'{"id": NaN}', b"[" * 100_000, b'{"id": "\\ud800"}', b"{}" * 40_000]
)
async def test_no_record_at_all_is_refused(server: Server, body: bytes) -> None:
    is_problem(await server.client.post("/v1/calibrations", content=body), 422, "invalid_request")


async def test_a_record_of_a_version_that_is_not_here_is_kept_and_says_why_it_cant_be_used(server: Server) -> None:
    stranger = calibration_of("namer@sha256:" + "0" * 64)
    await taken(server, stranger)
    told = (await server.client.get(f"/v1/calibrations/{stranger.id}")).json()
    assert told["in_force"] is False
    assert "not installed here" in told["misfit"]
    (listed,) = (await server.client.get("/v1/calibrations", params={"model": "namer", "version": "sha256:" + "0" * 64})).json()[
        "calibrations"
    ]
    assert listed["id"] == stranger.id
    assert "record" not in listed


async def test_lists_are_pages_of_one_model_or_version(
    server: Server, version: str, record: CalibrationRecord, other: CalibrationRecord
) -> None:
    stranger = calibration_of("finder@sha256:" + "0" * 64)
    await taken(server, record, stranger, other)
    await promoted(server, record)

    async def page(**query: Any) -> tuple[list[str], str | None]:
        told = (await server.client.get("/v1/calibrations", params=query)).json()
        return [one["id"] for one in told["calibrations"]], told["next"]

    assert await page() == ([other.id, stranger.id, record.id], None)
    assert await page(limit=2) == ([other.id, stranger.id], stranger.id)
    assert await page(limit=2, after=stranger.id) == ([record.id], None)
    assert await page(model="namer") == ([other.id, record.id], None)
    assert await page(model="namer", version="production") == ([other.id, record.id], None)
    assert await page(model="namer", version=version.partition("@")[2][:20]) == ([other.id, record.id], None)
    assert await page(model="nobody") == ([], None)
    marks = {one["id"]: one["in_force"] for one in (await server.client.get("/v1/calibrations")).json()["calibrations"]}
    assert marks == {record.id: True, other.id: False, stranger.id: False}


async def test_lists_of_what_is_not_there(server: Server) -> None:
    assert "version needs model" in is_problem(await server.client.get("/v1/calibrations?version=production"), 422, "invalid_request")
    is_problem(await server.client.get("/v1/calibrations?model=namer&version=staging"), 404, "unknown_alias")
    is_problem(await server.client.get("/v1/calibrations?model=namer&version=sha256:00000000"), 404, "unknown_model")
    is_problem(await server.client.get("/v1/calibrations?after=cal_none"), 404, "unknown_calibration")
    for limit in ("0", "201", "x"):
        is_problem(await server.client.get(f"/v1/calibrations?limit={limit}"), 422, "invalid_request")


async def test_unknown_ids(server: Server) -> None:
    for method, path in (("GET", ""), ("GET", "/report"), ("POST", "/promote")):
        answer = await server.client.request(method, f"/v1/calibrations/cal_none{path}")
        assert "cal_none" in is_problem(answer, 404, "unknown_calibration")
    for method, path in (("GET", "calibration"), ("POST", "calibration/rollback")):
        for name, version, code in (
            ("nobody", "production", "unknown_model"),
            ("namer", "staging", "unknown_alias"),
            ("namer", "sha256:00000000", "unknown_model"),
        ):
            is_problem(await server.client.request(method, f"/v1/models/{name}/versions/{version}/{path}"), 404, code)


# --- promote and roll back


async def test_a_promoted_calibration_is_what_the_next_draft_carries(server: Server, version: str, record: CalibrationRecord) -> None:
    plain = await drafted(server)
    assert (plain["calibration"], plain["confidence_status"], plain["confidence"]) == (None, "uncalibrated", None)
    await taken(server, record)
    told = await promoted(server, record, reason="the first one")
    assert (told["model_version"], told["calibration"], told["confidence_status"]) == (version, record.id, "calibrated")
    (event,) = told["history"]
    assert (event["kind"], event["calibration"], event["at"]) == ("promoted", record.id, told["since"])
    assert event["detail"] == {"by": "operator", "reason": "the first one"}
    draft = await drafted(server)
    assert (draft["calibration"], draft["confidence_status"]) == (record.id, "calibrated")
    assert draft["confidence"] is not None
    assert draft["id"] != plain["id"]
    assert (await server.client.get(f"/v1/drafts/{plain['id']}")).json()["calibration"] is None  # it keeps what it was shown with
    assert await now(server) == await now(server, version.partition("@")[2]) == told
    (model,) = [one for one in (await server.client.get("/v1/models")).json()["models"] if one["name"] == "namer"]
    assert (model["calibration"], model["confidence_status"]) == (record.id, "calibrated")


async def test_a_rollback_is_one_call(server: Server, record: CalibrationRecord, other: CalibrationRecord) -> None:
    await taken(server, record, other)
    await promoted(server, record)
    first = await drafted(server)
    await promoted(server, other)
    second = await drafted(server)
    assert second["confidence"] != first["confidence"]
    told = (await back(server, reason="worse")).json()
    assert (told["calibration"], told["history"][-1]["detail"]) == (record.id, {"from": other.id, "by": "operator", "reason": "worse"})
    again = await drafted(server)
    assert (again["id"], again["calibration"]) == (first["id"], record.id)
    assert (await server.client.get(f"/v1/drafts/{second['id']}")).json() == second
    assert (await back(server)).json()["calibration"] is None
    assert (await drafted(server))["confidence_status"] == "uncalibrated"
    assert "no calibration is promoted" in is_problem(await back(server), 409, "nothing_to_roll_back")


async def test_a_rollback_that_is_sent_twice_is_done_once(server: Server, record: CalibrationRecord, other: CalibrationRecord) -> None:
    await taken(server, record, other)
    for one in (record, other):
        await promoted(server, one)
    assert (await back(server, calibration=other.id)).json()["calibration"] == record.id
    assert record.id in is_problem(await back(server, calibration=other.id), 409, "nothing_to_roll_back")
    assert (await now(server))["calibration"] == record.id


async def test_a_promotion_that_is_sent_twice_is_done_once(server: Server, record: CalibrationRecord) -> None:
    await taken(server, record)
    assert await promoted(server, record) == await promoted(server, record)
    assert (await back(server)).json()["calibration"] is None


async def test_an_unverified_record_may_be_promoted_and_says_so(server: Server, version: str) -> None:
    small = calibration_of(version, status="unverified", reason="too few rows")
    await taken(server, small)
    assert (await promoted(server, small))["confidence_status"] == "unverified"
    draft = await drafted(server)
    assert (draft["calibration"], draft["confidence_status"]) == (small.id, "unverified")
    assert draft["confidence"] is not None


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        ("classification", {"model_version": "namer@sha256:" + "0" * 64}, "not installed here"),
        ("classification", {"model_version": "nobody@sha256:" + "0" * 64}, "there is no model 'nobody'"),
        ("classification", {"method": "vector", "parameters": {"scale": [1.0], "bias": [0.0]}}, "for 1 classes"),
        ("detection", {"display_threshold": 0.7}, "shown from score 0.7"),
        ("detection", {"task": "classification", "method": "temperature", "parameters": {"temperature": 1.0}}, "made for classification"),
    ],
)
async def test_what_does_not_fit_is_not_promoted(
    server: Server, settings: Settings, task: Task, changes: dict[str, Any], told: str
) -> None:
    found = build_catalog(settings).installed(MODELS[task])
    assert found is not None
    values = {"display_threshold": None, **changes} if changes.get("task") else changes
    wrong = calibration_of(values.pop("model_version", found.manifest.version), **{"task": task, **values})
    await taken(server, wrong)
    answer = await server.client.post(f"/v1/calibrations/{wrong.id}/promote")
    assert told in is_problem(answer, 409, "calibration_misfit")
    (draft,) = await server.drafts([image()], f"/v1/{task}/drafts")
    assert draft["calibration"] is None


@pytest.mark.parametrize("body", [{"reason": 7}, {"reason": "x" * 2001}, {"why": "x"}, []])
async def test_reasons_are_short_texts(server: Server, record: CalibrationRecord, body: Any) -> None:
    await taken(server, record)
    is_problem(await server.client.post(f"/v1/calibrations/{record.id}/promote", json=body), 422, "invalid_request")
    assert (await now(server))["calibration"] is None


# --- the configuration's own


@pytest.fixture
async def configured(folder: Path, record: CalibrationRecord) -> AsyncIterator[Server]:
    plain = settings_in(folder)
    (folder / "c.json").write_text(json.dumps(record.as_json()))
    namer = plain.models["namer"].model_copy(update={"calibration": folder / "c.json"})
    async with running(settings_in(folder, models={**plain.models, "namer": namer})) as made:
        yield made


async def test_the_configurations_own_is_listed_and_is_what_the_last_rollback_leads_to(
    configured: Server, record: CalibrationRecord, other: CalibrationRecord
) -> None:
    (listed,) = (await configured.client.get("/v1/calibrations")).json()["calibrations"]
    assert (listed["id"], listed["origin"], listed["in_force"]) == (record.id, "configuration", True)
    assert {**await now(configured), "model_version": ""} == {
        "model_version": "",
        "calibration": record.id,
        "confidence_status": "calibrated",
        "since": None,
        "unverified_since": None,
        "history": [],
    }
    is_problem(await back(configured), 409, "nothing_to_roll_back")
    await taken(configured, other)
    await promoted(configured, other)
    assert (await drafted(configured))["calibration"] == other.id
    assert (await back(configured)).json()["calibration"] == record.id
    assert (await drafted(configured))["calibration"] == record.id


# --- alarms


async def doubted(server: Server, record: CalibrationRecord, kind: EventKind = "alarm") -> str:
    event = await Calibrations(server.services.store).record_event(record.model_version, record.id, kind, {"by": "monitor"})
    return event.at.isoformat()


def marks(draft: dict[str, Any]) -> tuple[Any, ...]:
    return draft["calibration"], draft["confidence_status"], draft["unverified_since"]


@pytest.mark.parametrize("end", ["cleared", "promoted"])
async def test_while_an_alarm_is_open_drafts_are_unverified(server: Server, record: CalibrationRecord, end: EventKind) -> None:
    await taken(server, record)
    await promoted(server, record)
    before = await drafted(server, "a")
    assert marks(before) == (record.id, "calibrated", None)
    since = await doubted(server, record)
    told = await now(server)
    assert (told["calibration"], told["confidence_status"], told["unverified_since"]) == (record.id, "unverified", since)
    assert (await server.client.get("/v1/models")).json()["models"][2]["confidence_status"] == "unverified"
    new, again, copied = await drafted(server, "b"), await drafted(server, "a"), await server.drafts([image("copy", b"a")], NAMER)
    for draft in (new, again, copied[0]):
        assert marks(draft) == (record.id, "unverified", since)
        assert draft["confidence"] is not None
    assert again["id"] == before["id"]
    assert marks((await server.client.get(f"/v1/drafts/{before['id']}")).json()) == (record.id, "unverified", since)
    await doubted(server, record)  # since the first alarm
    assert marks(await drafted(server, "b")) == (record.id, "unverified", since)
    if end == "promoted":
        assert (await promoted(server, record))["unverified_since"] is None
    else:
        await doubted(server, record, end)
    after = await drafted(server, "a")
    assert (after["id"], marks(after)) == (before["id"], (record.id, "calibrated", None))
    assert marks((await server.client.get(f"/v1/drafts/{before['id']}")).json()) == (record.id, "calibrated", None)
    fresh = await drafted(server, "b")  # what was made under the alarm does not outlive it
    assert fresh["id"] != new["id"]
    assert marks(fresh) == (record.id, "calibrated", None)


async def test_an_alarm_is_of_one_calibration(server: Server, record: CalibrationRecord, other: CalibrationRecord) -> None:
    await taken(server, record, other)
    await promoted(server, record)
    since = await doubted(server, record)
    await promoted(server, other)
    assert marks(await drafted(server)) == (other.id, "calibrated", None)
    assert (await back(server)).json()["unverified_since"] == since  # it is no better than it was
    assert marks(await drafted(server)) == (record.id, "unverified", since)


async def test_an_uncalibrated_version_has_nothing_to_doubt(server: Server, record: CalibrationRecord) -> None:
    await doubted(server, record)
    assert marks(await drafted(server)) == (None, "uncalibrated", None)


async def test_database_trouble_keeps_the_last_known(server: Server, record: CalibrationRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    await taken(server, record)
    await promoted(server, record)
    await drafted(server)

    async def refused(_: Calibrations) -> Any:
        raise StorageUnavailable("database is locked", retry_after=1.0)

    monkeypatch.setattr(Calibrations, "standing", refused)
    assert (await drafted(server, "b"))["calibration"] == record.id
    assert (await server.client.get("/v1/models")).status_code == 200
    is_problem(await server.client.get("/v1/models/namer/versions/production/calibration"), 503, "storage_unavailable")


# --- reports


async def test_a_report_has_several_forms(server: Server, record: CalibrationRecord) -> None:
    await taken(server, record)
    path = f"/v1/calibrations/{record.id}/report"
    answer = await server.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert record.id in answer.text
    assert (await server.client.get(path, params={"format": "json"})).json() == json.loads(json.dumps(record.as_json()))
    for form in ("svg", "png"):
        assert "no figures for a plot" in is_problem(await server.client.get(path, params={"format": form}), 422, "invalid_request")
    is_problem(await server.client.get(path, params={"format": "pdf"}), 422, "invalid_request")


async def test_a_report_has_plots(server: Server) -> None:
    full = full_record()
    await taken(server, full)
    path = f"/v1/calibrations/{full.id}/report"
    for form, plot, kind, begins in (
        ("svg", "reliability", "image/svg+xml", b"<?xml"),
        ("svg", "slices", "image/svg+xml", b"<?xml"),
        ("png", "methods", "image/png", b"\x89PNG"),
    ):
        answer = await server.client.get(path, params={"format": form, "plot": plot})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.content.startswith(begins)
    assert "reliability, methods" in is_problem(
        await server.client.get(path, params={"format": "svg", "plot": "x"}), 422, "invalid_request"
    )
