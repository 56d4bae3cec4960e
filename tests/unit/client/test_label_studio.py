"""`candor label-studio` against a fake server: what is sent, what is told, and when it is a failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.commands import label_studio
from client.connection import Connection

MADE = {"id": "con_1", "tool": "label-studio", "remote_project": "7", "base_url": None}
GOOD, BAD = {"name": "backend", "ok": True, "told": "Connected"}, {"name": "webhook", "ok": False, "told": "there is none"}
FAILED = {"task": "5", "error": "[it] is broken"}
ROOT = "/v1/projects/ponds%20and%20lakes/connections"
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[tuple[str, str, Any]]:
    return []


@pytest.fixture
def answers() -> dict[str, Any]:
    """What the server has: its connections, what it finds of one, and the counts of tasks each time that they are asked for."""
    return {"connections": [MADE], "findings": [GOOD], "counts": [{"done": 3}]}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, Any]], answers: dict[str, Any]) -> Run:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked.append((request.method, request.url.raw_path.decode(), json.loads(request.content or b"null")))
        if path.endswith("/push"):
            return httpx.Response(202, json={"queued": 4, "counts": {"queued": 4}})
        if path.endswith("/tasks"):
            counts = answers["counts"].pop(0) if len(answers["counts"]) > 1 else answers["counts"][0]
            return httpx.Response(200, json={"counts": counts, "tasks": [FAILED], "next": None})
        if request.method == "GET":
            return httpx.Response(200, json={"connections": answers["connections"]})
        return httpx.Response(201, json={**MADE, "findings": answers["findings"]})

    monkeypatch.setattr(label_studio, "Connection", partial(Connection, transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(label_studio, "_LOOK_SECONDS", 0.0)
    return lambda *arguments: CliRunner().invoke(app, ["label-studio", *arguments], env={"COLUMNS": "200"})


def test_connect_sends_what_is_to_be_connected_and_fails_where_something_is_found(
    run: Run, asked: list[tuple[str, str, Any]], answers: dict[str, Any]
) -> None:
    where = ("--url", "http://labels", "--token", "t0ken", "--project", "7", "--server", "http://candor")
    done = run("connect", *where)
    assert (done.exit_code, "ok     backend: Connected" in done.stdout, "t0ken" in done.output) == (0, True, False), done.output
    (sent,) = asked
    body = {"tool": "label-studio", "url": "http://labels", "token": "t0ken", "remote_project": "7", "candor_url": "http://candor"}
    assert sent == ("POST", "/v1/projects/label-studio-7/connections", {**body, "gold_from_ground_truth": False})
    answers["findings"] = [GOOD, BAD]
    more = (
        "--as",
        "ponds and lakes",
        "--candor-url",
        "http://outside",
        "--model",
        "finder",
        "--task",
        "detection",
        "--gold-from-ground-truth",
    )
    done = run("connect", *where, *more)
    assert (done.exit_code, "WRONG  webhook: there is none" in done.stdout) == (1, True), done.output
    chosen = {"candor_url": "http://outside", "model": "finder", "task": "detection", "gold_from_ground_truth": True}
    assert asked[-1] == ("POST", ROOT, {**body, **chosen})


def test_push_waits_until_no_task_does_and_tells_failures(run: Run, asked: list[tuple[str, str, Any]], answers: dict[str, Any]) -> None:
    done = run("push", "--project", "ponds and lakes")
    assert (done.exit_code, "4 tasks are queued" in done.stderr) == (0, True), done.output
    assert [one[:2] for one in asked] == [("GET", ROOT), ("POST", f"{ROOT}/con_1/push")]
    answers["counts"] = [{"queued": 3, "processing": 1}, {"queued": 1, "done": 3}, {"done": 3, "failed": 1}]
    done = run("push", "--project", "ponds and lakes", "--wait")
    assert (done.exit_code, "WRONG  task 5: [it] is broken" in done.stdout, "3 done, 1 failed" in done.stderr) == (1, True, True), (
        done.output
    )
    answers["counts"] = [{"done": 4}]
    assert json.loads(run("push", "--project", "ponds and lakes", "--wait", "--json").stdout)["counts"] == {"done": 4}


def test_status_tells_of_the_one_connection_or_asks_which(run: Run, asked: list[tuple[str, str, Any]], answers: dict[str, Any]) -> None:
    done = run("status", "--project", "ponds and lakes")
    assert (done.exit_code, "tasks: 3 done" in done.stderr, asked[-1][1]) == (0, True, f"{ROOT}/con_1/check"), done.output
    answers["connections"] = [MADE, {**MADE, "id": "con_2"}, {**MADE, "id": "con_3", "tool": "other"}]
    done = run("status", "--project", "ponds and lakes")
    assert (done.exit_code, "of con_1 (project 7), con_2 (project 7)" in done.stderr) == (2, True), done.output
    assert run("status", "--project", "ponds and lakes", "--connection", "con_2").exit_code == 0
    answers["connections"] = []
    assert "is not connected" in run("status", "--project", "ponds and lakes").stderr
