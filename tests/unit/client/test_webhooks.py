"""`candor webhooks` against a fake server."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.connection import Connection

AT = "2026-01-01T00:00:00+00:00"
WEBHOOK = {
    "id": "whk_1",
    "url": "https://example.org/h?key=s3cret",
    "events": ["job.done"],
    "project": None,
    "created_at": AT,
}
DELIVERY = {
    "id": "dlv_1",
    "event": "ping",
    "about": "png_1",
    "attempts": 1,
    "status": 500,
    "created_at": AT,
    "next_at": None,
}
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[tuple[str, str, Any]]:
    return []


@pytest.fixture
def states() -> list[dict[str, Any]]:
    """What the ping's delivery is, each time that it is asked for."""
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, Any]], states: list[dict[str, Any]]) -> Run:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked.append((request.method, request.url.raw_path.decode(), json.loads(request.content or b"null")))
        if request.method == "DELETE":
            return httpx.Response(204)
        if path.endswith("/deliveries"):
            return httpx.Response(200, json={"deliveries": [{**DELIVERY, "state": "dead", "error": "it answered [500]"}], "next": None})
        if path.endswith("/replay"):
            return httpx.Response(202, json={"replayed": 7})
        if "/deliveries/" in path or path.endswith("/test"):
            return httpx.Response(200, json={**DELIVERY, **(states.pop(0) if request.method == "GET" else {"state": "waiting"})})
        if request.method == "GET" and path == "/v1/webhooks":
            return httpx.Response(200, json={"webhooks": [WEBHOOK]})
        return httpx.Response(200, json={**WEBHOOK, "secret": "whsec_new"})

    made = partial(Connection, transport=httpx.MockTransport(answer), wait=lambda seconds: None)
    monkeypatch.setattr("client.commands.webhooks.Connection", made)
    return lambda *words: CliRunner().invoke(app, ["webhooks", *words], env={"COLUMNS": "200"})


def test_a_new_secret_alone_is_on_standard_output(run: Run, asked: list[tuple[str, str, Any]]) -> None:
    made = run("create", "https://example.org/h", "--events", "job.done, job.failed", "--project", "street")
    assert (made.exit_code, made.stdout) == (0, "whsec_new\n")
    body = {"url": "https://example.org/h", "events": ["job.done", "job.failed"], "project": "street"}
    assert asked == [("POST", "/v1/webhooks", body)]
    assert run("rotate", "whk_1").stdout == "whsec_new\n"
    assert asked[-1] == ("POST", "/v1/webhooks/whk_1/rotate", None)


@pytest.mark.parametrize(
    ("words", "sent", "told"),
    [
        (("list",), ("GET", "/v1/webhooks"), "example.org"),
        (("show", "a/b"), ("GET", "/v1/webhooks/a%2Fb"), '"id": "whk_1"'),
        (("delete", "whk_1"), ("DELETE", "/v1/webhooks/whk_1"), "deleted"),
        (("deliveries", "whk_1", "--state", "dead"), ("GET", "/v1/webhooks/whk_1/deliveries?limit=50&state=dead"), "it answered [500]"),
        (("replay", "whk_1"), ("POST", "/v1/webhooks/whk_1/replay"), "7 sent again"),
        (("replay", "whk_1", "dlv_1"), ("POST", "/v1/webhooks/whk_1/deliveries/dlv_1/replay"), "1 sent again"),
    ],
)
def test_commands_ask_and_tell(
    run: Run, asked: list[tuple[str, str, Any]], words: tuple[str, ...], sent: tuple[str, str], told: str
) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert asked == [(*sent, None)]
    assert told in result.output
    assert words[0] == "show" or "s3cret" not in result.output


def test_a_ping_is_watched_until_something_came_of_it(run: Run, states: list[dict[str, Any]]) -> None:
    states += [{"state": "waiting", "error": None}, {"state": "delivered", "error": None, "status": 204}]
    assert "it was taken: 204" in run("test", "whk_1").output
    states += [{"state": "waiting", "error": "it answered 500"}]
    failed = run("test", "whk_1")
    assert (failed.exit_code, "it answered 500" in failed.stderr) == (2, True)
