"""Every request: an id in and out, a bound, a problem for everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import structlog

from candor.errors import CandorError, Overloaded, StorageUnavailable
from candor.ids import new_id
from serving.config import Settings
from serving.requests import Drafter, DraftRequest, DraftResult, ModelStatus
from tests.unit.serving.served import PROBLEM, Server, image, is_problem, running

SECRET = "postgres://candor:hunter2@db"


class Failing:
    """A drafter that raises what it is told."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def draft(self, request: DraftRequest) -> DraftResult:
        raise self._error

    async def models(self, team: str = "default") -> list[ModelStatus]:
        raise self._error


async def failing(settings: Settings, error: BaseException, path: str = "/v1/drafts") -> tuple[httpx.Response, list[Any]]:
    """Ask a server whose use case raises; return the answer and what was logged."""
    drafter: Drafter = Failing(error)
    with structlog.testing.capture_logs() as logged:
        async with running(settings, lambda _: drafter) as server:
            answer = await (server.client.get(path) if path == "/v1/models" else server.draft([image()], path))
    return answer, logged


@pytest.mark.parametrize("path", ["/v1/drafts", "/v1/models"])
@pytest.mark.parametrize(
    "error",
    [RuntimeError(SECRET), KeyError(SECRET), ExceptionGroup("two", [ValueError(SECRET), Overloaded()]), UnicodeError(SECRET)],
    ids=lambda error: type(error).__name__,
)
async def test_a_bug_leaks_nothing_but_an_id_that_the_log_knows(settings: Settings, path: str, error: Exception) -> None:
    answer, logged = await failing(settings, error, path)
    detail = is_problem(answer, 500, "internal")
    assert SECRET not in answer.text + str(answer.headers)
    incident = detail.split()[2]
    assert incident.startswith("inc_")
    (failure,) = [entry for entry in logged if entry["event"] == "request_failed"]
    assert failure["incident"] == incident
    assert failure["exc_info"] is error


async def test_errors_of_a_group_of_tasks_are_one_problem(settings: Settings) -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [StorageUnavailable("the disk is full", retry_after=1.2)]), Overloaded()])
    answer, _ = await failing(settings, group)
    assert is_problem(answer, 503, "storage_unavailable") == "the disk is full"
    assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.2, "1"), (5.0, "5"), (5.1, "6")])
async def test_a_problem_says_when_to_come_back(settings: Settings, seconds: float | None, header: str | None) -> None:
    answer, _ = await failing(settings, Overloaded("full", retry_after=seconds))
    assert is_problem(answer, 503, "overloaded") == "full"
    assert answer.headers.get("retry-after") == header
    assert answer.json().get("retry_after") == seconds
    assert answer.json()["retryable"] is True


async def test_unknown_addresses_and_methods_are_problems(server: Server) -> None:
    is_problem(await server.client.get("/nothing"), 404, "not_found")
    is_problem(await server.client.get("/v1/drafts/a/b"), 404, "not_found")
    is_problem(await server.client.post("/v1/segmentation/drafts", json={"items": [image()]}), 404, "not_found")
    for method, path, allowed in (("PUT", "/v1/drafts", "POST"), ("GET", "/v1/uploads", "POST"), ("POST", "/livez", "GET")):
        answer = await server.client.request(method, path)
        is_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/livez", "/v1/drafts", "/nothing", "/v1/models"])
async def test_a_request_keeps_the_id_that_it_came_with(server: Server, path: str) -> None:
    for given in ("a", "A-1_b.c", new_id("req"), "x" * 128):
        assert (await server.client.get(path, headers={"x-request-id": given})).headers["x-request-id"] == given
    for bad in (b"", b"a b", b"x" * 129, b"\xe4", b"a\x7f", b'"quoted"', b"a,b", b"{}"):
        got = (await server.client.get(path, headers={b"x-request-id": bad})).headers["x-request-id"]
        assert got.startswith("req_")
    made = {(await server.client.get(path)).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


async def test_ray_serve_puts_the_id_on_the_answer_itself(settings: Settings) -> None:
    async with running(settings, echo_id=False) as server:
        assert "x-request-id" not in (await server.client.get("/livez")).headers


async def test_the_log_tells_of_each_request_with_its_id(settings: Settings) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        async with running(settings) as server:
            await server.draft([image("a", b"")], headers={"x-request-id": "mine"}, task="detection")
            await server.client.get("/nothing")
            await server.client.get("/livez")
    told = [entry for entry in logged if entry["event"] == "request"]
    assert [(entry["method"], entry["path"], entry["status"], entry["log_level"]) for entry in told] == [
        ("POST", "/v1/drafts", 200, "info"),
        ("GET", "/nothing", 404, "info"),
        ("GET", "/livez", 200, "debug"),
    ]
    assert told[0]["request_id"] == "mine"
    assert len({entry["request_id"] for entry in told}) == 3


async def exchange(server: Server, messages: list[dict[str, Any]], path: str, **headers: str) -> list[dict[str, Any]]:
    """Speak ASGI with the application by hand; return what it sent."""
    sent: list[dict[str, Any]] = []
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("candor", 80),
    }
    await server.app(scope, receive, send)  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("path", ["/v1/drafts", "/v1/detection/drafts", "/v1/uploads"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_client_that_goes_away_while_it_sends_is_no_failure(server: Server, path: str, kind: str) -> None:
    half = {
        "type": "http.request",
        "body": b'--b\r\nContent-Disposition: form-data; name="items"; filename="a"\r\n\r\nx',
        "more_body": True,
    }
    with structlog.testing.capture_logs() as logged:
        sent = await exchange(server, [half], path, content_type=kind)
    assert sent[0]["status"] == 422
    assert json.loads(sent[1]["body"])["code"] == "invalid_request"
    assert [entry for entry in logged if entry["log_level"] == "error"] == []


async def test_a_mounted_application_knows_its_whole_path(server: Server) -> None:
    body = json.dumps({"items": [image()]}).encode()
    request = {"type": "http.request", "body": body, "more_body": False}
    sent = await exchange(server, [request], "/v1/detection/drafts", content_type="application/json")
    assert sent[0]["status"] == 200


async def test_an_answer_that_breaks_off_breaks_the_connection(settings: Settings) -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError(SECRET)

    from serving.http.middleware import RequestScope  # noqa: PLC0415

    outer = RequestScope(half, 1000, True)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://candor")
    with pytest.raises(RuntimeError):
        await client.get("/")


async def test_what_goes_wrong_outside_the_routes_is_a_problem_too() -> None:
    from serving.http.middleware import RequestScope  # noqa: PLC0415

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError(SECRET)

    client = httpx.AsyncClient(transport=httpx.ASGITransport(RequestScope(broken, 1000, True)), base_url="http://candor")
    answer = await client.get("/")
    is_problem(answer, 500, "internal")
    assert SECRET not in answer.text


async def test_a_request_that_is_cancelled_is_cancelled(settings: Settings) -> None:
    with pytest.raises(asyncio.CancelledError):
        await failing(settings, asyncio.CancelledError())


def test_every_kind_of_error_is_a_problem_of_its_status() -> None:
    from serving.http.problems import response  # noqa: PLC0415

    def kinds(root: type[CandorError]) -> list[type[CandorError]]:
        return [root] + [kind for child in root.__subclasses__() for kind in kinds(child)]

    for kind in kinds(CandorError):
        answer = response(kind())
        assert (answer.status_code, answer.headers["content-type"]) == (kind.status, PROBLEM)
        told = json.loads(bytes(answer.body))
        assert told["detail"] == told["title"] == kind.title
        assert told["retryable"] is kind.retryable
