"""Nothing that a client sees may tell an item's arm, however it asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.loading import build_catalog, install_all
from store.draws import DrawRow
from store.outcomes import Outcomes
from tests.unit.serving.arms.armed import BEASTS, OFTEN, ask, draws_of, make_gold, put, shape
from tests.unit.serving.served import Server, calibration_of, image, is_problem, model, running, settings_in

CASES = {"detection": BEASTS, "classification": {}}
OWN = ("id", "item", "created_at", "timings")


@dataclass(frozen=True)
class Asked:
    """A server whose project has drawn all arms, with what was answered."""

    server: Server
    task: str
    answers: dict[str, dict[str, Any]]
    draws: dict[str, DrawRow]

    def of(self, arm: str) -> list[dict[str, Any]]:
        return [answer for item, answer in self.answers.items() if self.draws[item].arm == arm]

    @property
    def draws_version(self) -> str:
        return str(next(iter(self.answers.values()))["model_version"])

    @property
    def path(self) -> str:
        return f"/v1/{self.task}/drafts"


@pytest.fixture(params=list(CASES))
async def asked(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    """Drafts with raw scores: of 64 items that nothing is known of, and of as many whose right label is what the model says."""
    for name in ("KNOWN_SECONDS", "MATERIAL_SECONDS"):
        monkeypatch.setattr(f"serving.arms.assigning.{name}", 0.0)
    settings, task = settings_in(folder), request.param
    names = {
        "finder": model("detection", options_labels=["cat", "dog", "cow"]),
        "namer": model("classification", options_labels=list("abcdef")),
    }
    settings = settings_in(folder, models={**settings.models, **names})
    install_all(settings)
    version = build_catalog(settings).resolve("namer").manifest.version
    path = folder / "calibration.json"
    path.write_text(json.dumps(calibration_of(version).as_json()))
    names["namer"] = names["namer"].model_copy(update={"calibration": path})
    async with running(settings_in(folder, models={**settings.models, **names})) as server:
        await put(server, "p", OFTEN, **CASES[task], policy={"from_scratch_below": {"classification": None}})
        await put(server, "plain", None, **CASES[task], policy={"from_scratch_below": {"classification": None}})
        first, second = [f"first {n}" for n in range(80)], [f"gold {n}" for n in range(80)]
        where = f"/v1/{task}/drafts"
        answers = await ask(server, first, where, project="p", include=["raw"])
        await make_gold(server, await ask(server, second, where, project="plain", headers={"cache-control": "no-cache"}))
        answers += await ask(server, second, where, project="p", include=["raw"], headers={"cache-control": "no-cache"})
        yield Asked(server, task, {one["item"]: one for one in answers}, await draws_of(server))


async def test_no_answer_tells_its_arm(asked: Asked) -> None:
    shapes = {arm: {shape(one) for one in asked.of(arm)} for arm in ("assisted", "honeypot", "withheld")}
    assert all(len(asked.of(arm)) > 10 for arm in shapes)
    assert shapes["honeypot"] <= shapes["assisted"]
    for one in asked.answers.values():
        assert [label["id"] for label in one["labels"]] == [f"{one['id']}.{n}" for n in range(len(one["labels"]))]
        assert one["timings"]["cached"] is False
        assert not any(word in json.dumps(one) for word in ("arm", "honeypot", "withheld", "planted", 'gold"', "propensity"))
    for one in asked.of("honeypot"):
        natural = await asked.server.services.store.get(asked.draws[one["item"]].natural)
        assert natural.as_wire(raw=True)["labels"] != one["labels"]  # the model was right: what is shown is not
        for label in one["labels"]:  # what a box was called is one of its label's classes
            assert label.get("raw", {}).get("class") in {"beast": ("cat",), "ox": ("cow",)}.get(label["label"], (None,))
    await _withheld_are_empty(asked, shapes)
    await _readings_tell_nothing(asked)
    await _asked_again_all_are_alike(asked)
    await _lent_drafts_tell_nothing(asked)
    await _outcomes_tell_nothing(asked)


async def _withheld_are_empty(asked: Asked, shapes: dict[str, set[Any]]) -> None:
    empty = [{name: value for name, value in one.items() if name not in OWN} for one in asked.of("assisted") if not one["labels"]]
    for one in asked.of("withheld"):
        assert (one["labels"], one["confidence"], one["route"]) == ([], None, "review")
        stored = await asked.server.services.store.get(one["id"])
        assert stored.arm == "withheld"
        if asked.task == "detection":
            assert {name: value for name, value in one.items() if name not in OWN} in empty
            assert shape(one) in shapes["assisted"]
        else:
            assert stored.payload["labels"]
            assert one["priority"] == 0.0


async def _readings_tell_nothing(asked: Asked) -> None:
    """Each draft by its id, and each twin."""
    for item, one in asked.answers.items():
        draw = asked.draws[item]
        read = await asked.server.client.get(f"/v1/drafts/{one['id']}", params={"include": "raw"})
        assert read.text == json.dumps(one, separators=(",", ":"), ensure_ascii=False) or read.json() == one
        if draw.natural != draw.draft:
            detail = is_problem(await asked.server.client.get(f"/v1/drafts/{draw.natural}"), 404, "unknown_draft")
            assert detail == f"there is no draft '{draw.natural}'"


async def _asked_again_all_are_alike(asked: Asked) -> None:
    """The same draft, from the store, whether or not the model is to be asked anew."""
    for headers in ({}, {"cache-control": "no-cache"}):
        again = await ask(asked.server, list(asked.answers), asked.path, project="p", include=["raw"], headers=headers)
        for one in again:
            first = asked.answers[one["item"]]
            assert one == {**first, "timings": {**first["timings"], "cached": True}}
    (other,) = await asked.server.drafts([image(next(iter(asked.answers)), b"other bytes")], asked.path, project="p")
    assert other["error"]["code"] == "conflict"


async def _lent_drafts_tell_nothing(asked: Asked) -> None:
    """The same bytes as another item, in this project and in another: a natural draft, from the store, whatever was shown of the first."""
    for project in ("plain", "p"):
        copies = [{"id": f"copy of {item}", "image": image(item)["image"]} for item in asked.answers]
        for start in range(0, len(copies), 64):
            for one in await asked.server.drafts(copies[start : start + 64], asked.path, project=project):
                assert one["timings"]["cached"] is True
                origin = asked.draws[one["item"].removeprefix("copy of ")]
                natural = (await asked.server.services.store.get(origin.natural)).payload["labels"]
                if project == "plain":
                    assert [label["label"] for label in one["labels"]] == [label["label"] for label in natural]


async def _outcomes_tell_nothing(asked: Asked) -> None:
    """A truth that is told of a draft is judged by what was shown, and none of a withheld or planted one reaches a calibration."""
    truths = {"detection": {"boxes": [{"label": "ox", "xyxy": [1, 2, 30, 40]}]}, "classification": {"label": "a"}}
    entries = [{"draft": one["id"], "stream": "gold", "source": "s", "truth": truths[asked.task]} for one in asked.answers.values()]
    told = (await asked.server.client.post("/v1/outcomes", json={"outcomes": entries})).json()["outcomes"]
    for answer, one in zip(told, asked.answers.values(), strict=True):
        judged = one["labels"] if asked.task == "detection" else one["labels"][:1]
        assert (answer["status"], answer["labels"]) == ("stored", len(judged))
    table = Outcomes(asked.server.services.store)
    stored = await table.of_version(asked.draws_version, ["gold", "blind", "audit", "review"])
    arms = {one["id"]: asked.draws[item].arm for item, one in asked.answers.items()}
    assert {arms[one.draft] for one in stored} <= {"assisted"}
    twins = [draw.natural for draw in asked.draws.values() if draw.natural != draw.draft]
    entry = {"draft": twins[0], "stream": "gold", "source": "s", "truth": truths[asked.task]}
    (answer,) = (await asked.server.client.post("/v1/outcomes", json={"outcomes": [entry]})).json()["outcomes"]
    assert answer["error"]["code"] == "unknown_draft"


async def test_a_replay_is_the_answer_to_the_letter(asked: Asked) -> None:
    items, headers = [image(f"new {n}") for n in range(40)], {"Idempotency-Key": "k"}
    first = await asked.server.draft(items, asked.path, project="p", headers=headers)
    again = await asked.server.draft(items, asked.path, project="p", headers=headers)
    assert (first.content, again.headers["Idempotency-Replayed"]) == (again.content, "true")
    other = await asked.server.draft(items, asked.path, project="p", headers=headers, reviewer="ann")
    is_problem(other, 409, "conflict")


async def test_an_error_is_the_same_for_every_arm(asked: Asked) -> None:
    bad = [{"id": item, "image": {"base64": ""}} for item in asked.answers]
    for start in range(0, len(bad), 64):
        for one in await asked.server.drafts(bad[start : start + 64], asked.path, project="p"):
            assert (one["error"]["code"], set(one)) == ("conflict", {"item", "error"})
