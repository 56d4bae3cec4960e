"""What is done with confidences: who looks first, what is withheld."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.policy import FROM_SCRATCH_BELOW, Policy, decided, priority, route
from candor.predictions import TASKS, Task

shares = st.floats(0, 1)
many = st.lists(shares, min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("task", "confidences", "expected"),
    [
        ("classification", [0.19], "from_scratch"),
        ("classification", [0.2], "review"),
        ("transcription", [0.9, 0.4], "from_scratch"),
        ("transcription", [0.9, 0.6], "review"),
        ("transcription", [], "review"),  # no speech: there is nothing to correct
        ("detection", [0.01, 0.02], "review"),
    ],
)
def test_a_draft_that_is_not_worth_correcting_is_made_from_scratch(task: Task, confidences: list[float], expected: str) -> None:
    assert route(task, confidences, Policy()) == expected


@pytest.mark.parametrize("task", TASKS)
def test_without_a_calibration_all_drafts_go_to_review_in_no_order(task: Task) -> None:
    assert route(task, None, Policy(from_scratch_below=dict.fromkeys(TASKS, 1.0))) == "review"
    assert priority(task, None) is None


def test_a_project_sets_its_own_bounds() -> None:
    assert route("detection", [0.3, 0.5], Policy(from_scratch_below={"detection": 0.45})) == "from_scratch"
    assert route("classification", [0.0], Policy(from_scratch_below={})) == "review"


def test_the_priority_is_what_is_expected_to_be_wrong() -> None:
    assert priority("classification", [0.8]) == 0.2
    assert priority("detection", [0.5, 0.5]) == 0.5  # one wrong box to be expected
    assert priority("transcription", [0.9] * 40) == 0.8  # four words
    assert priority("detection", []) == 0


@given(many, shares)
def test_what_is_less_sure_comes_first_and_nothing_leaves_the_range(confidences: list[float], less: float) -> None:
    for task in TASKS:
        some = confidences[:1] if task == "classification" else confidences
        lower = [min(some[0], less), *some[1:]]
        first, second = priority(task, lower), priority(task, some)
        assert first is not None
        assert second is not None
        assert 0 <= second <= first <= 1


@given(many)
def test_more_labels_hold_more_errors(confidences: list[float]) -> None:
    found = [priority("transcription", confidences[:n]) or 0.0 for n in range(len(confidences) + 1)]
    assert all(one <= two for one, two in pairwise(found))


def test_long_drafts_can_still_be_told_apart() -> None:
    assert (priority("transcription", [0.9] * 2000) or 0) < (priority("transcription", [0.9] * 2010) or 0) < 1


def test_what_is_decided_is_stored_with_the_draft() -> None:
    words = [{"confidence": 0.6}, {"confidence": 0.5}]
    payload: dict[str, Any] = {"text": "a b c", "segments": [{"words": words}, {"words": [{"confidence": 0.7}]}]}
    assert decided("transcription", payload, Policy(), calibrated=True) == {**payload, "route": "from_scratch", "priority": 0.545455}
    assert decided("transcription", payload, Policy(), calibrated=False) == {**payload, "route": "review", "priority": None}
    classes = {"labels": [{"confidence": 0.1}, {"confidence": 0.9}]}  # the draft is its first label
    assert decided("classification", classes, Policy(), calibrated=True)["priority"] == 0.9
    assert decided("detection", {"labels": []}, Policy(), calibrated=True) == {"labels": [], "route": "review", "priority": 0.0}
    assert decided("detection", {"labels": []}, Policy(), calibrated=False)["priority"] is None


def test_the_defaults_are_those_of_the_documents() -> None:
    assert FROM_SCRATCH_BELOW == {"classification": 0.2, "transcription": 0.7}
    assert Policy() == Policy(True, {"classification": 0.2, "transcription": 0.7})
