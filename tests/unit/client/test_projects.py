"""`candor projects`: what is sent, what is printed, what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from client.commands.projects import projects
from client.connection import Connection
from tests.unit.client.fake_server import problem

BODY = {"labels": ["vehicle"], "label_map": {"car": "vehicle"}, "guideline": {"version": "7", "text": "tight"}, "model": None, "policy": {}}
ONE = {
    "name": "streets",
    "revision": 3,
    "created_at": "2026-01-01T00:00:00+00:00",
    "changed_at": "2026-01-02T00:00:00+00:00",
    "project": BODY,
}
Run = Callable[..., Result]
AT = "2026-01-02T00:00:00+00:00"


class Site:
    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: list[httpx.Response] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return self.answers.pop(0)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*words: str | Path, answers: list[Any]) -> Result:
        site.answers = [one if isinstance(one, httpx.Response) else httpx.Response(200, json=one) for one in answers]
        monkeypatch.setattr("client.commands.projects.Connection", partial(Connection, transport=httpx.MockTransport(site.handle)))
        return CliRunner().invoke(projects, [str(word) for word in words], env={"COLUMNS": "200"})

    return run


def test_a_file_becomes_a_project(run: Run, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "streets.yaml"
    file.write_text("labels: [vehicle]\nlabel_map: {car: vehicle}\n")
    result = run("set", "street scenes", file, "--if-revision", "2", "--key", "cdr_x", answers=[ONE])
    assert (result.exit_code, result.stderr.strip()) == (0, "street scenes: revision 3")
    (request,) = site.asked
    assert (request.method, request.url.raw_path) == ("PUT", b"/v1/projects/street%20scenes")
    assert json.loads(request.content) == {"labels": ["vehicle"], "label_map": {"car": "vehicle"}}
    assert (request.headers["if-match"], request.headers["authorization"]) == ('"2"', "Bearer cdr_x")


def test_what_is_shown_can_be_set_again(run: Run, site: Site, tmp_path: Path) -> None:
    shown = run("show", "streets", answers=[ONE])
    file = tmp_path / "again.yaml"
    file.write_text(shown.stdout)
    run("set", "streets", file, answers=[ONE])
    assert json.loads(site.asked[-1].content) == {name: BODY[name] for name in ("labels", "label_map", "guideline")}


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "when: 2026-01-01"])
def test_a_file_that_is_no_project_is_refused_before_it_is_sent(run: Run, site: Site, tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    result = run("set", "p", file, answers=[])
    assert (result.exit_code, site.asked) == (2, [])
    assert f"error: {file} is n" in result.stderr


def test_the_list_has_all_pages_and_the_history_what_changed(run: Run, site: Site) -> None:
    listed = run("list", "--json", answers=[{"projects": [ONE], "next": "a&b"}, {"projects": [ONE], "next": None}])
    assert json.loads(listed.stdout) == [ONE, ONE]
    assert site.asked[1].url.params["after"] == "a&b"
    revisions = [(3, None), (2, {**BODY, "model": "m"}), (1, BODY)]
    told = [{"revision": number, "project": body, "by": "key_1", "at": AT} for number, body in revisions]
    lines = [line.split("│")[4].strip() for line in run("history", "p", answers=[{"history": told}]).stdout.splitlines() if "key_1" in line]
    assert lines == ["deleted", "model", "labels, label_map, guideline, policy"]


def test_a_refusal_is_told_in_a_line(run: Run) -> None:
    result = run("delete", "p", answers=[problem("unknown_project", 404)])
    assert result.exit_code == 2
    assert "told: unknown_project" in result.stderr
    assert run("delete", "p", answers=[httpx.Response(204)]).stderr.strip() == "p: deleted"
