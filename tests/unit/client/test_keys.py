"""`candor keys` and `candor teams` against a fake server."""

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
from tests.unit.client.fake_server import problem

KEY = {
    "id": "key_1",
    "team": "streets",
    "name": "night [bot]",
    "scopes": ["draft", "review"],
    "created_by": "operator",
    "created_at": "2026-01-01T00:00:00+00:00",
    "expires_at": None,
    "revoked_at": None,
}
TEAM = {"name": "streets", "limits": {"items_per_minute": 5, "storage_bytes": None}, "created_at": "2026-01-01T00:00:00+00:00"}
ENTRY = {"id": "aud_1", "at": "2026-01-01T00:00:00+00:00", "key": "key_1", "action": "team.created", "target": "streets"}
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[tuple[str, str, Any]]:
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, Any]]) -> Run:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.raw_path.decode(), json.loads(request.content or b"null")))
        if request.headers.get("Authorization") != "Bearer cdr_1":
            return problem("unauthenticated", 401)
        path = request.url.path
        if path.endswith("/keys"):
            return httpx.Response(200, json={"keys": [KEY]} if request.method == "GET" else {**KEY, "key": "cdr_new"})
        if path == "/v1/audit":
            return httpx.Response(200, json={"entries": [ENTRY]})
        if "keys" in path:
            return httpx.Response(200, json=KEY)
        return httpx.Response(200, json={"teams": [TEAM]} if request.method == "GET" else TEAM)

    for module in ("keys", "teams"):
        monkeypatch.setattr(f"client.commands.{module}.Connection", partial(Connection, transport=httpx.MockTransport(answer)))

    def run(*words: str, key: str = "cdr_1") -> Result:
        return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "CANDOR_API_KEY": key})

    return run


def test_a_new_key_alone_is_on_standard_output(run: Run, asked: list[tuple[str, str, Any]]) -> None:
    result = run("keys", "create", "night [bot]", "--scopes", "draft, review", "--expires-in-days", "2", "--team", "a/b")
    assert (result.exit_code, result.stdout) == (0, "cdr_new\n")
    body = {"name": "night [bot]", "scopes": ["draft", "review"], "expires_in_seconds": 172_800}
    assert asked == [("POST", "/v1/teams/a%2Fb/keys", body)]
    assert "shown only now" in result.stderr


@pytest.mark.parametrize(
    ("words", "request_sent", "told"),
    [
        (("keys", "list"), ("GET", "/v1/keys", None), "night [bot]"),
        (("keys", "list", "--json"), ("GET", "/v1/keys", None), '"id": "key_1"'),
        (("keys", "revoke", "key_1"), ("DELETE", "/v1/keys/key_1", None), "key_1 (night [bot]) is revoked"),
        (("teams", "list"), ("GET", "/v1/teams", None), "as configured"),
        (
            ("teams", "create", "streets", "--items-per-minute", "5"),
            ("POST", "/v1/teams", {"name": "streets", "limits": {"items_per_minute": 5, "storage_bytes": None}}),
            "team streets is made",
        ),
        (
            ("teams", "limit", "streets", "--storage-bytes", "9"),
            ("PUT", "/v1/teams/streets/limits", {"items_per_minute": None, "storage_bytes": 9}),
            "limited anew",
        ),
        (("teams", "remove", "streets"), ("DELETE", "/v1/teams/streets", None), "is removed"),
        (("teams", "audit", "--action", "team.created"), ("GET", "/v1/audit?action=team.created&limit=50", None), "team.created"),
    ],
)
def test_each_command_sends_its_request_and_tells_the_answer(
    run: Run, asked: list[tuple[str, str, Any]], words: tuple[str, ...], request_sent: tuple[str, str, Any], told: str
) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert asked == [request_sent]
    assert told in result.stdout + result.stderr


def test_without_the_right_key_it_is_2_and_sent_once(run: Run, asked: list[tuple[str, str, Any]]) -> None:
    result = run("keys", "create", "bot", key="cdr_other")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unauthenticated" in result.stderr
    assert len(asked) == 1
