"""`POST /v1/calibrations/fits` and `/v1/jobs` over the wire. A command that only waits stands for the worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.calibrations.fit_jobs import FitJobs
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.served import Server, calibration_of, is_problem


@pytest.fixture
def site(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    async def wait(_self: FitJobs, _job_id: str, _folder: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("sleep", "60")

    monkeypatch.setattr(FitJobs, "_spawn", wait)
    return server


async def fit(site: Server, source: Any, **more: Any) -> dict[str, Any]:
    answer = await site.client.post("/v1/calibrations/fits", json={"model": "namer", "from": source, **more})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


async def test_a_fit_is_a_job_that_can_be_read_listed_and_cancelled(site: Server) -> None:
    upload = (await site.client.post("/v1/uploads", content=b"zip")).json()["id"]
    first = await fit(site, {"upload": upload, "name": "zoo", "split": "test"})
    second = await fit(site, {"outcomes": {"streams": ["gold", "blind"], "after": "2026-01-01T00:00:00Z"}}, promote="if_better")
    assert (first["state"], first["progress"], first["error"], first["result"]) == ("running", 0.0, None, None)
    assert first["request"]["from"] == {"upload": upload, "name": "zoo", "split": "test"}
    assert first["request"]["model"].startswith("namer@sha256:")
    assert second["state"] == "queued"
    assert second["request"]["from"] == {"outcomes": {"streams": ["gold", "blind"], "after": "2026-01-01T00:00:00Z"}}
    assert second["request"]["promote"] == "if_better"
    read = (await site.client.get(f"/v1/jobs/{first['id']}")).json()["job"]
    assert read["started_at"].endswith("+00:00")
    assert [job["id"] for job in (await site.client.get("/v1/jobs")).json()["jobs"]] == [second["id"], first["id"]]
    assert len((await site.client.get("/v1/jobs?limit=1")).json()["jobs"]) == 1
    cancelled = (await site.client.delete(f"/v1/jobs/{first['id']}")).json()["job"]
    assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
    assert cancelled["ended_at"]


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


async def test_what_can_not_be_asked_makes_no_job(site: Server) -> None:
    for body, status, code in WRONG:
        is_problem(await site.client.post("/v1/calibrations/fits", json=body), status, code)
    assert (await site.client.get("/v1/jobs")).json() == {"jobs": []}


async def test_a_job_that_is_not_there(site: Server) -> None:
    is_problem(await site.client.get("/v1/jobs/job_none"), 404, "unknown_job")
    is_problem(await site.client.delete("/v1/jobs/job_none"), 404, "unknown_job")
    is_problem(await site.client.get("/v1/jobs?limit=0"), 422, "invalid_request")


async def test_the_document_describes_outcomes_entry_by_entry(site: Server) -> None:
    document = site.app.openapi()
    body = document["paths"]["/v1/outcomes"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/OutcomesRequest"}
    schemas = document["components"]["schemas"]
    entry = schemas["OutcomesRequest"]["properties"]["outcomes"]["items"]
    assert entry["required"] == ["draft", "stream", "source", "truth"]
    assert entry["properties"]["stream"]["enum"] == ["gold", "blind", "audit", "review", "honeypot"]
    assert entry["properties"]["truth"] == {"$ref": "#/components/schemas/TruthBody"}
    assert set(schemas["TruthBody"]["properties"]) == {"label", "boxes", "classes", "text"}


async def test_a_stored_calibration_is_compared_with_the_one_in_force(site: Server) -> None:
    record = calibration_of(manifest_of(site.services.settings, "namer").version)
    await site.services.calibrations.add(record, "import")
    found = (await site.client.get(f"/v1/calibrations/{record.id}/shadow")).json()
    assert found["decision"] == "not_compared"
    assert "when more have come in" in found["reason"]
    is_problem(await site.client.get("/v1/calibrations/cal_none/shadow"), 404, "unknown_calibration")
