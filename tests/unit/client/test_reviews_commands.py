"""`candor reviews` and `candor gold`: what is sent, what is printed, what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from client.commands.reviews import gold, reviews
from client.connection import Connection

Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[httpx.Request]:
    return []


@pytest.fixture
def run(asked: list[httpx.Request], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(command: typer.Typer, *words: str | Path, answer: Callable[[Any], Any]) -> Result:
        def handle(request: httpx.Request) -> httpx.Response:
            request.read()
            asked.append(request)
            return httpx.Response(200, json=answer(request))

        monkeypatch.setattr("client.commands.reviews.Connection", partial(Connection, transport=httpx.MockTransport(handle)))
        return CliRunner().invoke(command, [str(word) for word in words], env={"COLUMNS": "200"})

    return run


def _stored(request: httpx.Request) -> Any:
    return {"reviews": [{"event_id": one["event_id"], "status": "stored"} for one in json.loads(request.content)["reviews"]]}


def test_reviews_go_in_batches(run: Run, asked: list[httpx.Request], tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text("".join(f'{{"event_id": "e{n}"}}\n\n' for n in range(1001)))
    result = run(reviews, "import", file, "--json", answer=_stored)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"stored": 1001, "already": 0, "refused": 0, "errors": []}
    assert [len(json.loads(one.content)["reviews"]) for one in asked] == [1000, 1]


def test_a_table_becomes_reviews(run: Run, asked: list[httpx.Request], tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("\ufeffevent_id,draft,reviewer,seconds,finished_at,skipped,label\ne1,d1,ann,2.5,T,,cat\ne2,d2,,,,no,\ne3,d3,,,,true,\n")
    assert run(reviews, "import", file, answer=_stored).exit_code == 0
    assert json.loads(asked[0].content)["reviews"] == [
        {"event_id": "e1", "draft": "d1", "reviewer": "ann", "finished_at": "T", "seconds": 2.5, "labels": [{"label": "cat"}]},
        {"event_id": "e2", "draft": "d2", "skipped": False, "labels": []},
        {"event_id": "e3", "draft": "d3", "skipped": True},
    ]
    file.write_text("event_id,text\ne1,\n")
    run(reviews, "import", file, answer=_stored)
    assert json.loads(asked[1].content)["reviews"] == [{"event_id": "e1", "text": ""}]


def test_refused_reviews_are_told_and_end_in_an_exit_code(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"event_id": "e1"}')
    refused = {"reviews": [{"event_id": "e1", "error": {"detail": "there is no draft"}}]}
    result = run(reviews, "import", file, answer=lambda _: refused)
    assert (result.exit_code, "error: e1: there is no draft" in result.output, "1 refused" in result.output) == (1, True, True)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.jsonl", "{}\nx\n", "line 2"),
        ("r.jsonl", "1", "an object"),
        ("r.csv", "event_id,lable\n", "'lable'"),
        ("r.csv", "event_id,seconds\ne,x\n", "line 2"),
        ("r.csv", "event_id,skipped\ne,maybe\n", "true or false"),
    ],
)
def test_a_wrong_file_is_told(run: Run, tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    result = run(reviews, "import", tmp_path / name, answer=_stored)
    assert (result.exit_code, told in result.output) == (2, True)


def test_gold_goes_as_it_is(run: Run, asked: list[httpx.Request], tmp_path: Path) -> None:
    file = tmp_path / "gold.csv"
    file.write_text("item,label\na,cat\n")
    answer = {"added": 1, "corrected": 0, "unchanged": 0, "errors": [{"item": "b", "detail": "no label"}]}
    result = run(gold, "import", "my streets", file, answer=lambda _: answer)
    assert (result.exit_code, "1 added" in result.output, "b: no label" in result.output) == (1, True, True)
    (request,) = asked
    assert (request.url.raw_path, request.headers["content-type"]) == (b"/v1/projects/my%20streets/gold", "text/csv")
    assert request.content == file.read_bytes()
    assert run(gold, "import", "p", tmp_path / "gold.xml", answer=lambda _: answer).exit_code == 2
    removed = run(gold, "remove", "p", "a b", "c", answer=lambda _: {"removed": 2})
    assert (removed.exit_code, str(asked[-1].url.query)) == (0, "b'item=a%20b&item=c'")
