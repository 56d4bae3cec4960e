"""The section `review` of projects, what is shown of a withheld draft, and who may read arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from candor.drafts import Draft
from candor.policy import Policy
from candor.predictions import TASKS
from review import arms
from serving.projects.body import ProjectBody, view_of
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import image, is_problem, running
from tests.unit.store.drafts import draft


@pytest.mark.parametrize(
    ("review", "told"),
    [
        ({"contorl": 0.1}, "no field 'contorl': did you mean 'control'?"),
        ({"control": 0.01}, "control is 0.01: withhold 0.05 to 0.5"),
        ({"honeypot": 0.3}, "raised not below honeypot"),
        ({"stakes": "some"}, "'normal' or 'high'"),
        ({"strict_confidence": 2}, "between 0 and 1"),
        ({"on_alarm": "shout"}, "'notify', 'withhold' or 'second_review'"),
        ({"notify": [{"url": "file:///etc/passwd"}]}, "should match pattern"),
    ],
)
def test_a_policy_that_can_not_be_is_refused(review: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProjectBody.model_validate({"review": review})
    assert told in str(refused.value)


def test_a_project_without_the_section_draws_nothing() -> None:
    assert view_of({"labels": None}, Policy()).review is None
    assert view_of({"review": None}, Policy()).review is None
    assert view_of({"review": {"control": 0.3, "price_of_second": 1.0}}, Policy()).review == arms.Policy(control=0.3)


def test_high_stakes_hide_the_badge_and_whatever_is_not_surely_right() -> None:
    policy = view_of({"review": {"stakes": "high", "strict_confidence": 0.95}}, Policy(from_scratch_below={"detection": 0.99})).policy
    assert (policy.badge, policy.needs_confidence) == (False, True)
    assert policy.from_scratch_below == {task: 0.99 if task == "detection" else 0.95 for task in TASKS}


WITHHELD: list[Draft] = [
    draft(payload={"image_size": [4, 4], "labels": [{"label": "dog", "raw": {}}], "route": "review", "priority": 0.7}, arm="withheld"),
    draft(
        task="classification",
        confidence=0.9,
        payload={"image_size": [4, 4], "badge": "high", "labels": [{"label": "dog"}], "route": "from_scratch", "priority": 0.1},
        arm="withheld",
    ),
    draft(
        task="transcription",
        confidence=None,
        payload={"language": "en", "text": "a", "no_speech": False, "segments": [{"words": []}], "route": "review", "priority": None},
        arm="withheld",
    ),
]


@pytest.mark.parametrize("one", WITHHELD)
@pytest.mark.parametrize("raw", [True, False])
def test_a_withheld_draft_is_shown_as_one_that_found_nothing(one: Draft, raw: bool) -> None:
    told = one.as_wire(raw=raw)
    blank = {"text": "", "segments": [], "no_speech": True} if one.task == "transcription" else {"labels": []}
    assert {name: told[name] for name in blank} == blank
    assert (told["confidence"], told["route"]) == (None, "review")
    assert told["priority"] == (None if one.payload["priority"] is None else 0.0)
    assert not {"badge", "arm"} & set(told)
    assert one.payload != {}  # and stored whole


async def test_who_reviews_may_not_read_arms(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        lead, reviewer = await caller(server, "birds", "register", "draft"), await caller(server, "birds", "draft", "review")
        other = await caller(server, "fish", "register", "admin")
        body = {"review": {"control": 0.5}}
        assert (await server.client.put("/v1/projects/p", json=body, headers=lead)).status_code == 200
        (one,) = await server.drafts([image("a")], project="p", headers=reviewer)
        (row,) = (await server.client.get("/v1/projects/p/arms", headers=lead)).json()["arms"]
        assert (row["item"], row["draft"], row["propensity"]) == ("a", one["id"], 0.5)
        is_problem(await server.client.get("/v1/projects/p/arms", headers=reviewer), 403, "forbidden")
        is_problem(await server.client.get("/v1/projects/p/arms", headers=other), 404, "unknown_project")
