"""`candor review`: what is asked, and what is printed of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from client.commands.review import review
from client.connection import Connection

RATE = {"y": 18, "n": 20, "value": 0.9, "low": 0.7, "high": 0.97}
FEW = {"y": 1, "n": 3, "value": None, "low": None, "high": None}
ANN = {
    "reviewer": "ann",
    "reviews": 1200,
    "catch": RATE,
    "corrections": {"ratio": None, "low": None, "high": None},
    "false_corrections": FEW,
    "seconds": {"shown": {"n": 9, "value": None}},
    "alarm": "ral_1",
}
ALARM = {
    "id": "ral_1",
    "reviewer": "ann",
    "cleared_at": None,
    "cleared_by": None,
    "reason": None,
    "evidence": {"says": "9 of the last 10 honeypots were missed", "missed": [{"item": "a"}, {"item": "b"}]},
}
EFFECT = {
    "verdict": "not enough evidence",
    "says": "not enough evidence: 120 more control items",
    "why": "the time saved is not sure",
    "rests_on": "gold items",
    "items": {"assisted": 900, "control": 100},
    "time_ratio": {"value": 0.8, "low": 0.7, "high": 1.1},
    "errors": {"assisted": {"n": 90, "wrong": 4}, "control": {"n": 10, "wrong": 1}, "difference": None},
}
Run = Callable[..., Result]


class Site:
    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: list[Any] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return httpx.Response(200, json=self.answers.pop(0))


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("client.commands.review.Connection", partial(Connection, transport=httpx.MockTransport(site.handle)))
    return lambda *words: CliRunner().invoke(review, words, env={"COLUMNS": "200"})


def test_figures_say_how_many_and_where_there_are_too_few(site: Site, run: Run) -> None:
    site.answers = [
        {"reviewers": [ANN]},
        {**ANN, "months": [{"month": "2026-03", "reviews": 1, "catch": FEW, "corrected": RATE, **_shown()}]},
    ]
    told = run("figures", "street scenes")
    assert told.exit_code == 0, told.output
    for words in ("ann", "1,200", "0.90 (0.70 to 0.97)", "not enough (n 3)", "ral_1"):
        assert words in told.output
    assert "2026-03" in run("figures", "street scenes", "--reviewer", "ann/1").output
    assert [one.url.raw_path for one in site.asked] == [
        b"/v1/projects/street%20scenes/reviewers",
        b"/v1/projects/street%20scenes/reviewers/ann%2F1",
    ]


def _shown() -> dict[str, Any]:
    return {"seconds": {"shown": FEW}}


def test_the_effect_is_said_in_words_with_the_prices_that_were_given(site: Site, run: Run) -> None:
    site.answers = [EFFECT]
    told = run("effect", "p", "--hour", "30", "--error", "2")
    assert told.output.startswith("not enough evidence: 120 more control items\n")
    assert "4 of 90" in told.output
    assert dict(site.asked[0].url.params) == {"hour": "30.0", "error": "2.0"}


def test_agreement_alarms_and_clearing(site: Site, run: Run) -> None:
    part = {"items": 40, "measure": "kappa", "value": 0.5, "low": 0.3, "high": 0.7}
    site.answers = [
        {"tasks": {"classification": {"blind": part, "drafted": {"items": 3}, "gap": {"value": None}}}},
        {"alarms": [ALARM]},
        {"alarms": []},
        {**ALARM, "cleared_at": "2026-01-01"},
    ]
    assert "0.50 (0.30 to 0.70)" in run("agreement", "p").output
    told = run("alarms", "p").output
    assert "9 of the last 10 honeypots were missed" in told
    assert "missed in: a, b" in told
    assert run("alarms", "p", "--all").output == "none\n"
    assert run("clear", "p", "ral_1", "--reason", "a broken screen").output == "ral_1: cleared\n"
    assert [one.url.query for one in site.asked[1:3]] == [b"open=true", b"open=false"]
    assert json.loads(site.asked[3].content) == {"reason": "a broken screen"}
    assert run("clear", "p", "ral_1").exit_code == 2  # without a reason
