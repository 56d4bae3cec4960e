"""Projects on the wire, and what drafting makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.access import WITHOUT_KEYS
from serving.projects.book import ProjectBook
from store.outcomes import Outcomes
from store.projects import Projects
from tests.unit.serving.served import Server, image, is_problem, model, running, settings_in

ANIMALS = {"labels": ["animal", "plant"], "label_map": {"cat": "animal", "dog": "animal"}, "model": "namer"}
EMPTY = {"labels": None, "ordered": False, "label_map": None, "guideline": None, "model": None, "task": None}


async def put(server: Server, name: str, body: dict[str, Any], **headers: str) -> Any:
    return await server.client.put(f"/v1/projects/{name}", json=body, headers=headers)


async def test_a_project_is_made_read_changed_and_deleted(server: Server) -> None:
    body = {
        "guideline": {"version": "7", "text": "Draw tight boxes."},
        "policy": {"badge": False, "from_scratch_below": {"detection": 0.5}},
    }
    made = await put(server, "street scenes", body)
    assert (made.status_code, made.headers["etag"]) == (200, '"1"')
    told = made.json()
    assert (told["name"], told["revision"]) == ("street scenes", 1)
    assert told["project"] == {**EMPTY, **body, "review": None}
    assert (await server.client.get("/v1/projects/street scenes")).json() == told
    is_problem(await put(server, "street scenes", {}, **{"If-Match": '"9"'}), 409, "conflict")
    is_problem(await put(server, "street scenes", {}, **{"If-Match": "x"}), 422, "invalid_request")
    assert (await put(server, "street scenes", {}, **{"If-Match": '"1"'})).json()["revision"] == 2
    await put(server, "b", {})
    listed = (await server.client.get("/v1/projects", params={"limit": 1})).json()
    assert ([one["name"] for one in listed["projects"]], listed["next"]) == (["b"], "b")
    assert (await server.client.delete("/v1/projects/street scenes")).status_code == 204
    is_problem(await server.client.get("/v1/projects/street scenes"), 404, "unknown_project")
    history = (await server.client.get("/v1/projects/street scenes/history")).json()["history"]
    told = [(one["revision"], one["project"] is None, one["by"]) for one in history]
    assert told == [
        (3, True, "none"),
        (2, False, "none"),
        (1, False, "none"),
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"lables": []}, "no field 'lables': did you mean 'labels'?"),
        ({"policy": {"bagde": True}}, "no field 'bagde': did you mean 'badge'?"),
        ({"labels": []}, "at least one"),
        ({"label_map": {}}, "at least one class"),
        ({"labels": ["Cat", "cat"]}, "'Cat' and 'cat' are one label"),
        ({"ordered": True}, "two labels or more"),
        ({"ordered": True, "labels": ["a", "b"], "task": "detection"}, "in classification alone"),
        ({"ordered": True, "labels": [str(n) for n in range(101)]}, "at most 100 labels"),
        ({"labels": ["vehicle"], "label_map": {"car": "vehicel"}}, "'vehicel' is none of the project's labels: did you mean 'vehicle'?"),
        ({"model": "nobody"}, "model: "),
        ({"model": "namer@nothing"}, "model: "),
        ({"model": "namer", "task": "detection"}, "model: "),
        ({"model": "namer", "label_map": {"dogg": "x"}}, "'dogg' is no class of namer: did you mean 'dog'?"),
        ({"model": "namer", "labels": ["bird"]}, "nothing would be drafted"),
        ({"policy": {"from_scratch_below": {"detection": 2}}}, "less than or equal to 1"),
    ],
)
async def test_what_is_wrong_is_said_before_it_is_stored(server: Server, body: dict[str, Any], told: str) -> None:
    assert told in is_problem(await put(server, "p", body), 422, "invalid_request")
    is_problem(await server.client.get("/v1/projects/p"), 404, "unknown_project")


async def test_drafts_follow_their_project(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.projects.book.FRESH_SECONDS", 0.0)
    (plain,) = await server.drafts([image()], "/v1/classification/drafts", project="zoo", include=["raw"])
    await put(server, "zoo", ANIMALS)
    (mapped,) = await server.drafts([image()], "/v1/classification/drafts", project="zoo", include=["raw"])
    assert {one["label"] for one in plain["labels"]} == {"cat", "dog"}
    (label,) = mapped["labels"]
    assert (label["label"], label["raw"]["score"]) == ("animal", 1.0)
    assert mapped["raw"] == {"vocabulary": ["animal", "plant"]}
    (again,) = await server.drafts([image()], "/v1/classification/drafts", project="zoo")
    assert (again["id"], "raw" in again) == (mapped["id"], False)
    await put(server, "zoo", {**ANIMALS, "label_map": {"cat": "plant"}})
    (changed,) = await server.drafts([image()], "/v1/classification/drafts", project="zoo")
    assert changed["id"] != mapped["id"]
    assert {one["label"] for one in changed["labels"]} == {"plant"}
    truth = {"draft": mapped["id"], "stream": "gold", "source": "s", "truth": {"label": "Animal"}}
    (judged,) = (await server.client.post("/v1/outcomes", json={"outcomes": [truth]})).json()["outcomes"]
    assert (judged["labels"], judged["correct"]) == (1, 1)
    # "animal" is another question than "cat": no fit and no monitor sees the answer
    assert await Outcomes(server.services.store).of_version(mapped["model_version"], ["gold"]) == []


async def test_a_projects_model_drafts_where_a_request_names_none(folder: Path) -> None:
    settings = settings_in(folder)
    models = {**settings.models, "other": model("classification", options_labels=["duck"])}
    async with running(settings_in(folder, models=models)) as server:
        await put(server, "ponds", {"model": "other"})
        # not installed: that it is asked for at all shows which model was chosen
        is_problem(await server.draft([image()], "/v1/classification/drafts", project="ponds"), 503, "model_unavailable")
        assert (await server.draft([image()], "/v1/classification/drafts", project="ponds", model="namer")).status_code == 200


async def test_what_another_team_has_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(server, "zoo", ANIMALS)
    monkeypatch.setattr("serving.api.projects.principal_of", lambda _request: replace(WITHOUT_KEYS, team="fish"))
    for answer in (
        await server.client.get("/v1/projects/zoo"),
        await server.client.get("/v1/projects/zoo/history"),
        await server.client.delete("/v1/projects/zoo"),
    ):
        is_problem(answer, 404, "unknown_project")
    assert (await server.client.get("/v1/projects")).json()["projects"] == []


async def test_the_configurations_projects_lie_underneath_and_are_the_operators(server: Server, folder: Path) -> None:
    settings = settings_in(folder, projects={"shy": {"policy": {"badge": False, "from_scratch_below": {"detection": 0.9}}}})
    book = ProjectBook(server.services.store, settings)
    await book.refresh()
    assert not book.view("default", "shy").policy.badge
    assert book.view("fish", "shy").policy.badge
    await Projects(server.services.store).put(WITHOUT_KEYS.actor(""), "shy", {"policy": {"badge": True}, "labels": ["a"]})
    assert not book.view("default", "shy").policy.badge  # a second old at most
    await book.read()
    view = book.view("default", "shy")
    assert (view.policy.badge, view.policy.from_scratch_below["detection"]) == (True, 0.9)
    assert view.labels is not None
    assert view.labels.to == {"a": "a"}
