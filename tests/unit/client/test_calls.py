"""Every route of the client: where it goes, how its pages are followed, and that its types are those of the API."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from pydantic import BaseModel

from client import answers
from client.api import Client
from client.async_api import AsyncClient
from client.errors import ClientError, Refused, UnexpectedAnswer, Unreachable
from client.retries import Retries
from serving.api.webhook_schemas import DeliveryAnswer, NewWebhookAnswer, WebhookBody
from tests.unit.client.fake_server import problem

SECRET = "cdr_01J_verysecret"
ROOT = Path(__file__).parents[3]
# What the API's document calls them, where that is another name
SCHEMAS = {
    "Alias": "AliasBody",
    "Calibration": "CalibrationAnswer",
    "Canary": "CanaryBody",
    "Confidences": "VersionCalibrationAnswer",
    "Draw": "ArmBody",
    "AuditEntry": "EntryBody",
    "Gold": "GoldItemBody",
    "GoldPut": "GoldPutAnswer",
    "Job": "JobBody",
    "Key": "KeyBody",
    "NewKey": "NewKeyAnswer",
    "Model": "ModelBody",
    "Move": "MoveBody",
    "PartialUpload": "PartialUploadAnswer",
    "Problem": "Problem",
    "Project": "ProjectAnswer",
    "Ready": "ReadyAnswer",
    "Timings": "TimingsBody",
    "Version": "VersionDetail",
}


def answering(answer: Callable[[httpx.Request], Any], **settings: Any) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        told = answer(request)
        return told if isinstance(told, httpx.Response) else httpx.Response(200, json=told)

    return Client(transport=httpx.MockTransport(handle), wait=lambda _seconds: None, **settings)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_types_are_those_of_the_api(name: str) -> None:
    schemas = json.loads((ROOT / "docs/reference/openapi.json").read_text())["components"]["schemas"]
    assert set(get_type_hints(getattr(answers, name))) == set(schemas[SCHEMAS[name]]["properties"])


@pytest.mark.parametrize(
    ("kind", "model"),
    [(answers.Webhook, WebhookBody), (answers.NewWebhook, NewWebhookAnswer), (answers.Delivery, DeliveryAnswer)],
)
def test_the_types_of_webhooks_are_those_of_the_api(kind: type, model: type[BaseModel]) -> None:
    assert set(get_type_hints(kind)) == set(model.model_fields)


def paged(request: httpx.Request) -> Any:
    after = request.url.params.get("after")
    pages: dict[str | None, Any] = {None: ("p1", "b/c&d"), "b/c&d": ("p2", "e"), "e": ("p3", None)}
    entry, following = pages[after]
    return {"projects": [{"name": entry}], "gold": [{"item": entry}], "versions": [{"id": entry}], "next": following}


async def test_pages_are_followed_to_the_last_and_asked_for_when_needed() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> Any:
        asked.append(str(request.url))
        return paged(request)

    candor = answering(answer)
    projects = candor.projects()
    assert asked == []
    assert next(projects)["name"] == "p1"
    assert len(asked) == 1
    assert [project["name"] for project in projects] == ["p2", "p3"]
    assert [one["item"] for one in candor.gold("a b")] == ["p1", "p2", "p3"]
    assert asked[-1].endswith("/v1/projects/a%20b/gold?after=e")
    assert [one["id"] for one in candor.versions("mine")] == ["p1", "p2", "p3"]
    later = AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=paged(request))))
    assert [project["name"] async for project in later.projects()] == ["p1", "p2", "p3"]


def test_many_reviews_go_in_batches_and_come_back_in_order() -> None:
    sizes: list[int] = []

    def taken(request: httpx.Request) -> Any:
        reviews = json.loads(request.content)["reviews"]
        sizes.append(len(reviews))
        return {"reviews": [{"event_id": review["event_id"], "status": "stored"} for review in reviews]}

    reviews: list[answers.Review] = [{"event_id": str(i), "draft": "drf_1", "text": "x"} for i in range(25)]
    told = list(answering(taken).report_all(reviews, batch=10))
    assert [one["event_id"] for one in told] == [str(i) for i in range(25)]
    assert sizes == [10, 10, 5]


def test_what_can_not_be_done_twice_is_not_sent_twice() -> None:
    asked: list[httpx.Request] = []

    def broken(request: httpx.Request) -> Any:
        asked.append(request)
        raise httpx.ReadError("reset")

    def busy(request: httpx.Request) -> Any:
        asked.append(request)
        return problem("overloaded", 503, retryable=True) if len(asked) < 3 else {"id": "whk_1", "secret": "whsec_1"}

    with pytest.raises(Unreachable, match="broke"):
        answering(broken).create_key("k", ["draft"])
    with pytest.raises(Unreachable, match="broke"):
        answering(broken).create_webhook("https://a", ["job.done"])
    assert len(asked) == 2
    asked.clear()
    assert answering(busy).create_webhook("https://a", ["job.done"])["secret"] == "whsec_1"  # refused: it was not done


def test_routes_are_asked_as_they_are() -> None:
    asked: list[str] = []
    everything: dict[str, Any] = {
        name: [] for name in ("history", "deliveries", "entries", "keys", "jobs", "calibrations", "arms", "webhooks")
    }
    whole = {**everything, "job": {"id": "j"}, "removed": 2, "replayed": 3, "added": 1, "record": {}, "model_version": "m", "state": "x"}

    def answer(request: httpx.Request) -> Any:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        return {**whole, "id": "i", "secret": "s", "key": "k", "project": {}}

    candor = answering(answer)
    candor.set_project("streets", {"model": "boxes"}, if_revision=3)
    candor.put_gold("streets", {"a": {"label": "car"}})
    assert candor.remove_gold("streets", ["a&b", "c"]) == 2
    assert candor.replay_dead("whk_1") == 3
    candor.replay("whk_1", "dlv_1")
    candor.cancel_job("job_1")
    candor.confidences("mine", "sha256:4b")
    list(candor.deliveries("whk_1", "dead"))
    list(candor.audit(action="key.created"))
    list(candor.draws("streets"))
    list(candor.calibrations(model="mine"))
    assert asked == [
        "PUT /v1/projects/streets",
        "POST /v1/projects/streets/gold",
        "DELETE /v1/projects/streets/gold?item=a%26b&item=c",
        "POST /v1/webhooks/whk_1/replay",
        "POST /v1/webhooks/whk_1/deliveries/dlv_1/replay",
        "DELETE /v1/jobs/job_1",
        "GET /v1/models/mine/versions/sha256:4b/calibration",
        "GET /v1/webhooks/whk_1/deliveries?state=dead",
        "GET /v1/audit?action=key.created",
        "GET /v1/projects/streets/arms",
        "GET /v1/calibrations?model=mine",
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.8.0.1", "http://[::1]:8000", "http://localhost:1"])
def test_a_proxy_is_not_asked_for_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    for client in (Client(url), AsyncClient(url)):
        assert not client._http._mounts
    assert Client("http://candor.example")._http._mounts  # a proxy is there to be asked


@pytest.mark.parametrize(
    "fault",
    [problem("unauthenticated", 401), httpx.Response(401, text="<html>"), httpx.ReadError("reset"), httpx.UnsupportedProtocol("x")],
)
def test_a_key_is_shown_nowhere(fault: httpx.Response | Exception, caplog: pytest.LogCaptureFixture) -> None:
    def answer(_request: httpx.Request) -> Any:
        if isinstance(fault, Exception):
            raise fault
        return fault

    candor = answering(answer, key=SECRET, retries=Retries(attempts=2))
    with caplog.at_level(logging.DEBUG), pytest.raises(ClientError) as told:
        candor.models()
    shown = [repr(candor), repr(candor._http.headers), str(told.value), repr(told.value), repr(told.value.__cause__), caplog.text]
    shown += [repr(AsyncClient(key=SECRET)), repr(vars(told.value))]
    assert not any("verysecret" in text for text in shown)


@pytest.mark.parametrize("answer", [{"else": []}, [1], "text", None])
def test_another_answer_than_the_apis_is_told(answer: Any) -> None:
    candor = answering(lambda _request: httpx.Response(200, json=answer))
    for ask in (candor.models, lambda: list(candor.projects()), lambda: candor.job("j"), lambda: candor.get_draft("d")):
        with pytest.raises(UnexpectedAnswer):
            ask()


def test_a_gateways_refusal_has_all_fields_of_a_problem() -> None:
    refused = Refused({"status": 413, "code": "gateway", "detail": "too much"})
    assert set(refused.as_problem()) >= {"type", "title", "status", "code", "detail", "retryable"}
