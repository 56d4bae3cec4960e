"""Models, health, readiness, metrics, what a problem means, and the pages about the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from candor import errors
from candor.errors import CandorError, StorageUnavailable
from serving import metrics
from serving.config import Settings
from serving.http.app import build_routes, create_app, openapi_document
from tests.unit.serving.served import MODELS, Server, image, is_problem, model, running, settings_in


async def test_models_are_listed(server: Server) -> None:
    await server.ready()
    found = {one["name"]: one for one in (await server.client.get("/v1/models")).json()["models"]}
    assert {name: one["task"] for name, one in found.items()} == {name: task for task, name in MODELS.items()}
    for name, one in found.items():
        assert one["version"].startswith(f"{name}@sha256:")
        assert (one["state"], one["default"], one["family"], one["aliases"]) == ("ready", True, "fake", ["production"])
        assert (one["confidence_status"], one["calibration"]) == ("uncalibrated", None)
    assert found["finder"]["labels"] == 2


async def test_a_model_that_is_no_default_is_loaded_when_it_is_asked_for(folder: Path) -> None:
    models = {**settings_in(folder).models, "other": model("detection", aliases=())}
    async with running(settings_in(folder, models=models)) as server:
        await server.ready()

        async def state() -> tuple[str, str]:
            (one,) = [one for one in (await server.client.get("/v1/models")).json()["models"] if one["name"] == "other"]
            assert one["default"] is False
            return one["state"], one["detail"]

        assert await state() == ("available", "it is not installed yet")
        is_problem(await server.draft([image()], model="other"), 503, "model_unavailable")
        server.drafters["detection"]._catalog.install("other")
        assert (await state())[0] == "available"
        assert (await server.draft([image()], model="other")).status_code == 200
        assert (await state())[0] == "ready"


async def test_the_process_answers_before_its_models_do(folder: Path) -> None:
    broken = {**settings_in(folder).models, "finder": model("detection", options_fail=True)}
    async with running(settings_in(folder, models=broken)) as server:
        assert (await server.client.get("/livez")).json() == {"live": True}
        await server.ready()
        answer = await server.client.get("/readyz")
        assert answer.status_code == 503
        told = answer.json()
        assert told["ready"] is False
        states = {one["model"]: one for one in told["models"]}
        assert {name: one["state"] for name, one in states.items()} == {"finder": "failed", "listener": "ready", "namer": "ready"}
        assert states["finder"]["detail"] == "told to fail in load"
        (entry,) = await server.drafts([image()])
        assert entry["error"]["code"] == "internal"
        assert await server.drafts([image()], "/v1/classification/drafts")


async def test_readiness_says_why_a_model_was_not_installed(folder: Path) -> None:
    missing = {**settings_in(folder).models, "finder": model("detection", source=f"file:{folder}/none.pt")}
    async with running(settings_in(folder, models=missing)) as server:
        await server.ready()
        answer = await server.client.get("/readyz")
        assert answer.status_code == 503
        (finder,) = [one for one in answer.json()["models"] if one["model"] == "finder"]
        assert finder["state"] == "failed"
        assert "none.pt, which is not there" in finder["detail"]
        assert "none.pt, which is not there" in is_problem(await server.draft([image()], model="finder"), 503, "model_unavailable")


async def test_a_model_that_loads_is_not_ready_yet(server: Server) -> None:
    states = {one["state"] for one in (await server.client.get("/readyz")).json()["models"]}
    assert states <= {"ready", "loading", "available"}
    await server.ready()
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert {one["version"].partition("@")[0] for one in answer.json()["models"]} == set(MODELS.values())


async def test_a_server_whose_database_is_gone_is_not_ready(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.ready()

    async def gone() -> None:
        raise StorageUnavailable("the database is gone")

    monkeypatch.setattr(server.services.store, "ping", gone)
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert (await server.client.get("/livez")).status_code == 200


def count(text: str, name: str, **labels: str) -> float:
    """One sample of Prometheus' text."""
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return 0.0


async def test_what_is_counted_moves(server: Server) -> None:
    async def counts() -> list[float]:
        answer = await server.client.get("/metrics")
        assert answer.headers["content-type"] == metrics.CONTENT_TYPE
        text = answer.text
        return [
            count(text, "candor_requests_total", route="/v1/detection/drafts", method="POST", status="200"),
            count(text, "candor_drafts_total", task="detection", confidence_status="uncalibrated", cached="false"),
            count(text, "candor_drafts_total", task="detection", confidence_status="uncalibrated", cached="true"),
            count(text, "candor_item_errors_total", task="detection", code="unreadable_item"),
            count(text, "candor_item_step_seconds_count", task="detection", step="infer"),
            count(text, "candor_batch_size_sum", task="detection"),
            count(text, "candor_request_seconds_count", route="/v1/detection/drafts"),
            count(text, "candor_held_items", task="detection"),
        ]

    before = await counts()
    await server.drafts([image("a"), image("b"), image("c", b"")])
    await server.drafts([image("a")])
    assert [now - then for now, then in zip(await counts(), before, strict=True)] == [2, 2, 1, 1, 2, 2, 2, 0]


async def test_addresses_do_not_become_series(server: Server) -> None:
    for name in ("zebra", "okapi"):
        await server.client.get(f"/v1/drafts/{name}")
        await server.client.get(f"/{name}")
        await server.client.request(name.upper(), "/livez")
    text = (await server.client.get("/metrics")).text
    assert "zebra" not in text.lower()
    assert "okapi" not in text.lower()
    assert count(text, "candor_requests_total", route="/v1/drafts/{draft_id}", status="404") >= 2
    assert count(text, "candor_requests_total", route="other", status="404") >= 2


def kinds(root: type[CandorError] = CandorError) -> set[type[CandorError]]:
    return {root} | {kind for child in root.__subclasses__() for kind in kinds(child)}


@pytest.mark.parametrize("kind", sorted(kinds() - {CandorError}, key=str))
async def test_every_problem_explains_itself(kind: type[CandorError], bare: httpx.AsyncClient) -> None:
    answer = await bare.get(f"/problems/{kind.code}")
    assert answer.status_code == 200
    assert answer.json() == {
        "code": kind.code,
        "title": kind.title,
        "status": kind.status,
        "retryable": kind.retryable,
        "meaning": kind.__doc__,
    }


def test_problems_have_codes_of_their_own() -> None:
    own = [kind for kind in kinds() - {CandorError} if kind.__module__ == errors.__name__]
    assert len({kind.code for kind in own}) == len(own)


async def test_an_unknown_problem_is_one(bare: httpx.AsyncClient) -> None:
    is_problem(await bare.get("/problems/none"), 404, "not_found")


@pytest.fixture(scope="module")
def unstarted() -> FastAPI:
    return create_app(_never, 1000)


def _never() -> Any:
    raise AssertionError("not started")


@pytest.fixture
def bare(unstarted: FastAPI) -> httpx.AsyncClient:
    """A client of an application that was not started: enough for what needs no services."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(unstarted), base_url="http://candor")


async def test_the_pages_load_nothing_from_outside(bare: httpx.AsyncClient) -> None:
    for page in ("/docs", "/redoc"):
        answer = await bare.get(page)
        assert answer.status_code == 200
        addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", answer.text) + re.findall(r"""url: ['"]([^'"]+)""", answer.text)
        assert addresses
        for address in addresses:
            assert address.startswith("/"), address
            assert not address.startswith("//")
            assert (await bare.get(address)).status_code == 200, address
        assert "http" not in answer.text.replace("http-equiv", "")


async def test_the_document_is_whole_and_describes_what_is_read_by_hand(bare: httpx.AsyncClient) -> None:
    document = (await bare.get("/openapi.json")).json()
    assert document == openapi_document()
    assert not re.search(r"https?://", str(document).replace("http(s)", ""))
    for reference in set(re.findall(r"'#/components/schemas/(\w+)'", str(document))):
        assert reference in document["components"]["schemas"], reference
    body = document["paths"]["/v1/drafts"]["post"]["requestBody"]["content"]
    assert body.keys() == {"application/json", "multipart/form-data"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    assert answer["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}, path


async def test_one_tasks_deployment_serves_that_task_alone(settings: Settings) -> None:
    async with running(settings, tasks=("detection",), control=False) as server:
        assert (await server.draft([image()], "/v1/detection/drafts")).status_code == 200
        for path in ("/v1/drafts", "/v1/classification/drafts"):
            is_problem(await server.draft([image()], path), 404, "not_found")
        for path in ("/docs", "/openapi.json", "/metrics", "/livez", "/v1/models"):
            is_problem(await server.client.get(path), 404, "not_found")


@pytest.mark.parametrize("before", [True, False])
async def test_the_first_request_builds_no_routes(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(_never, 1000, ("classification",), control=False)
    if before:
        build_routes(app)
    built: list[Any] = []
    made = TypeAdapter.__init__

    def noted(*of: Any, **how: Any) -> None:
        built.append(of)
        made(*of, **how)

    monkeypatch.setattr(TypeAdapter, "__init__", noted)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.router), base_url="http://candor") as client:
        assert (await client.get("/v1/no/such/path")).status_code == 404
    assert (built == []) == before
