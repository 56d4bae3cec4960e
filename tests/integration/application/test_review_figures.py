"""Reviewers' figures, agreement, effect and alarms on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.reviewing import agreement
from store.audit import Actor
from store.projects import Projects
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.reviewing.stored import reviewed
from tests.unit.serving.served import Server, image, is_problem, running

PATHS = ("reviewers", "reviewers/sam", "agreement", "effect", "alarms", "alarms/notices")


async def _get(server: Server, path: str, headers: Any, **query: Any) -> Any:
    answer = await server.client.get(f"/v1/projects/street/{path}", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _project(server: Server, **changes: Any) -> None:
    body = {"review": {"on_alarm": "withhold", "window_days": 5}, **changes}
    await Projects(server.services.store).put(Actor("red", "k"), "street", body)


async def test_figures_and_alarms_are_for_leads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(with_keys(folder)) as server:
        lead, worker = await caller(server, "red", "register"), await caller(server, "red", "draft", "review")
        other = await caller(server, "blue", "register", "admin")
        await _project(server)
        await reviewed(server.services.store, *["missed"] * 12)
        for path in PATHS:
            await _get(server, path, lead)
            is_problem(await server.client.get(f"/v1/projects/street/{path}", headers=worker), 403, "forbidden")
            is_problem(await server.client.get(f"/v1/projects/street/{path}", headers=other), 404, "unknown_project")
        page = await server.client.get("/projects/street/review", headers=lead)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "Not enough evidence" in page.text
        assert "sam" in page.text
        is_problem(await server.client.get("/projects/street/review", headers=worker), 403, "forbidden")
        is_problem(await server.client.get("/projects/street/review"), 401, "unauthenticated")
        summary = await _get(server, "reviewers/sam/summary", worker)
        assert (summary["reviews"], summary["too_new"], summary["items"]) == (0, 12, [])
        is_problem(await server.client.get("/v1/projects/street/alarms/signing-key", headers=lead), 403, "forbidden")
        admin = await caller(server, "red", "admin")
        assert len((await _get(server, "alarms/signing-key", admin))["key"]) == 64
        monkeypatch.setattr(agreement, "agreement", lambda _, scale: {"scale": scale})
        await _project(server, labels=["good", "poor"], ordered=True)
        assert await _get(server, "agreement", lead) == {"scale": ["good", "poor"]}


async def test_an_alarm_is_listed_shown_and_cleared_with_a_reason(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        lead = await caller(server, "red", "register")
        await _project(server)
        await reviewed(server.services.store, *["missed"] * 12, start=-60)
        await reviewed(server.services.store, *["caught"] * 12, reviewer="ann")
        told = await _get(server, "alarms", lead)  # nobody has looked yet: reading does
        (alarm,) = told["alarms"]
        assert (alarm["reviewer"], alarm["named"], told["reviewers"]) == ("sam", True, 2)
        assert (await _get(server, f"alarms/{alarm['id']}", lead))["evidence"] == alarm["evidence"]
        found = {one["reviewer"]: one["alarm"] for one in (await _get(server, "reviewers", lead))["reviewers"]}
        assert found == {"sam": alarm["id"], "ann": None}
        assert (await _get(server, "reviewers/sam", lead))["policy"] == {"withheld": True, "raised": True, "second_review": False}
        clear = f"/v1/projects/street/alarms/{alarm['id']}/clear"
        is_problem(await server.client.post(clear, json={}, headers=lead), 422, "invalid_request")
        done = await server.client.post(clear, json={"reason": "a broken screen"}, headers=lead)
        assert (done.status_code, done.json()["reason"]) == (200, "a broken screen")
        is_problem(await server.client.post(clear, json={"reason": "again"}, headers=lead), 409, "conflict")
        assert (await _get(server, "alarms", lead, open=True))["alarms"] == []
        assert len((await _get(server, "alarms", lead))["alarms"]) == 1
        assert not (await _get(server, "reviewers/sam", lead))["policy"]["withheld"]
        is_problem(await server.client.get("/v1/projects/street/alarms/ral_0", headers=lead), 404, "not_found")
        is_problem(await server.client.get("/v1/projects/street/reviewers/no/body", headers=lead), 404, "not_found")


async def test_a_reviewer_is_told_nothing_that_was_reported_within_the_window(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        worker = await caller(server, "red", "review")
        await _project(server)
        await reviewed(server.services.store, "missed", "caught", start=-10 * 24 * 60)
        told = await _get(server, "reviewers/sam/summary", worker)
        assert (told["reviews"], told["too_new"], told["window_days"]) == (0, 2, 5)  # finished long ago, but reported today


async def test_who_has_an_alarm_gets_no_drafts_where_that_is_the_policy(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        keys = await caller(server, "red", "register", "draft", "review")
        await _project(server)
        await reviewed(server.services.store, *["missed"] * 12, start=-60)

        async def empty(reviewer: str, first: int) -> int:
            items = [image(f"{reviewer} {number}") for number in range(first, first + 8)]
            found = await server.drafts(items, "/v1/classification/drafts", project="street", reviewer=reviewer, headers=keys)
            return sum(not one["labels"] for one in found)

        assert len((await _get(server, "alarms", keys))["alarms"]) == 1
        assert (await empty("sam", 0), await empty("ann", 0) < 8) == (8, True)
        told = (await _get(server, "arms", keys))["arms"]
        assert {one["propensity"] for one in told if one["reviewer"] == "sam" and one["item"].startswith("sam ")} == {1.0}
