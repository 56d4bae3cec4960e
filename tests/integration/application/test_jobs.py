"""`POST /v1/calibrations/fits` and `/v1/jobs` over the wire. A command that only waits stands for the worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.access import WITHOUT_KEYS
from serving.config import Settings
from serving.jobs.runner import JobRunner
from store import open_store
from store.jobs import Job, Jobs
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.served import Server, calibration_of, is_problem, running


@pytest.fixture(autouse=True)
def _only_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(_self: JobRunner, _job: Job, _folder: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("sleep", "60")

    monkeypatch.setattr(JobRunner, "_spawn", wait)


async def fit(server: Server, source: Any, **more: Any) -> dict[str, Any]:
    answer = await server.client.post("/v1/calibrations/fits", json={"model": "namer", "from": source, **more})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


async def test_a_fit_is_a_job_that_can_be_read_listed_and_cancelled(server: Server) -> None:
    upload = (await server.client.post("/v1/uploads", content=b"zip")).json()["id"]
    first = await fit(server, {"upload": upload, "name": "zoo", "split": "test"})
    second = await fit(server, {"outcomes": {"streams": ["gold", "blind"], "after": "2026-01-01T00:00:00Z"}}, promote="if_better")
    assert (first["state"], first["progress"], first["error"], first["result"]) == ("running", 0.0, None, None)
    assert first["request"]["from"] == {"upload": upload, "name": "zoo", "split": "test"}
    assert first["request"]["model"].startswith("namer@sha256:")
    assert second["state"] == "queued"
    assert second["request"]["from"] == {"outcomes": {"streams": ["gold", "blind"], "after": "2026-01-01T00:00:00Z"}}
    assert second["request"]["promote"] == "if_better"
    read = (await server.client.get(f"/v1/jobs/{first['id']}")).json()["job"]
    assert read["started_at"].endswith("+00:00")
    assert [job["id"] for job in (await server.client.get("/v1/jobs")).json()["jobs"]] == [second["id"], first["id"]]
    assert len((await server.client.get("/v1/jobs?limit=1")).json()["jobs"]) == 1
    cancelled = (await server.client.delete(f"/v1/jobs/{first['id']}")).json()["job"]
    assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
    assert cancelled["ended_at"]


async def test_an_application_that_stops_ends_its_fit_while_its_store_is_open(settings: Settings) -> None:
    async with running(settings) as server:
        job = await fit(server, {"outcomes": {}})
        assert job["state"] == "running"
    store = await open_store(settings.storage.database_url, migrate=False)
    ended = await Jobs(store).get(job["id"])
    await store.close()
    assert ended.state == "failed"
    assert ended.error is not None
    assert "server stopped" in ended.error["detail"]


WRONG: list[tuple[Any, int, str]] = [
    ({"model": "nobody", "from": {"outcomes": {}}}, 404, "unknown_model"),
    ({"model": "namer@staging", "from": {"outcomes": {}}}, 404, "unknown_alias"),
    ({"model": "namer", "from": {"upload": "upl_none"}}, 404, "unknown_upload"),
    ({"model": "namer", "from": {"outcomes": {"streams": ["review"]}}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {"streams": ["honeypot"]}}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {"streams": []}}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {"after": "2026-01-01T00:00:00"}}}, 422, "invalid_request"),
    ({"model": "namer", "from": {}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {}, "upload": "upl_1"}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {}, "name": "zoo"}}, 422, "invalid_request"),
    ({"model": "namer", "from": {"upload": "upl_1"}, "promote": "if_better"}, 422, "invalid_request"),
    ({"model": "namer", "from": {"outcomes": {}}, "promote": "always"}, 422, "invalid_request"),
    ({"from": {"outcomes": {}}}, 422, "invalid_request"),
]


async def test_what_can_not_be_asked_makes_no_job(server: Server) -> None:
    for body, status, code in WRONG:
        is_problem(await server.client.post("/v1/calibrations/fits", json=body), status, code)
    assert (await server.client.get("/v1/jobs")).json() == {"jobs": []}


async def test_a_job_that_is_not_there(server: Server) -> None:
    is_problem(await server.client.get("/v1/jobs/job_none"), 404, "unknown_job")
    is_problem(await server.client.delete("/v1/jobs/job_none"), 404, "unknown_job")
    is_problem(await server.client.get("/v1/jobs?limit=0"), 422, "invalid_request")


async def test_the_document_describes_outcomes_entry_by_entry(server: Server) -> None:
    document = server.app.openapi()
    body = document["paths"]["/v1/outcomes"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/OutcomesRequest"}
    schemas = document["components"]["schemas"]
    entry = schemas["OutcomesRequest"]["properties"]["outcomes"]["items"]
    assert entry["required"] == ["draft", "stream", "source", "truth"]
    assert entry["properties"]["stream"]["enum"] == ["gold", "blind", "audit", "review", "honeypot"]
    assert entry["properties"]["truth"] == {"$ref": "#/components/schemas/TruthBody"}
    assert set(schemas["TruthBody"]["properties"]) == {"label", "boxes", "classes", "text"}


async def test_a_stored_calibration_is_compared_with_the_one_in_force(server: Server) -> None:
    record = calibration_of(manifest_of(server.services.settings, "namer").version)
    await server.services.calibrations.add(record, "import", WITHOUT_KEYS)
    found = (await server.client.get(f"/v1/calibrations/{record.id}/shadow")).json()
    assert found["decision"] == "not_compared"
    assert "when more have come in" in found["reason"]
    is_problem(await server.client.get("/v1/calibrations/cal_none/shadow"), 404, "unknown_calibration")
