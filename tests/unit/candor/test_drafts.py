from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.store.drafts import draft

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_doubted_draft_says_since_when_and_marks_nothing() -> None:
    words = [{"text": "a", "confidence": 0.99, "badge": "high"}]
    payload = {"text": "a b", "segments": [{"confidence": 0.97, "badge": "high", "words": words}, {"confidence": 0.5, "words": []}]}
    shown = draft(payload=payload)
    doubted = shown.doubted(NOON)
    told = doubted.as_wire()
    assert (told["confidence_status"], told["unverified_since"]) == ("unverified", "2026-11-24T12:00:00+00:00")
    assert (doubted.id, doubted.calibration, doubted.confidence) == (shown.id, shown.calibration, shown.confidence)
    first, second = told["segments"]
    assert "badge" not in first
    assert "badge" not in first["words"][0]
    assert (first["confidence"], first["words"][0]["confidence"]) == (0.97, 0.99)
    assert second == {"confidence": 0.5, "words": []}
    assert shown.payload == payload
    assert (shown.as_wire()["confidence_status"], shown.as_wire()["unverified_since"]) == ("calibrated", None)
    assert words[0]["badge"] == "high"


WORDS = [{"text": "a", "confidence": 0.3, "raw": {"score": 0.4}}]


@pytest.mark.parametrize(
    ("task", "payload", "blank"),
    [
        ("transcription", {"text": "a", "no_speech": False, "segments": [{"text": "a", "words": WORDS}]}, {"text": "", "segments": []}),
        ("classification", {"image_size": [1, 1], "labels": [{"label": "cat", "confidence": 0.1, "raw": {"score": 0.2}}]}, {"labels": []}),
        ("detection", {"image_size": [1, 1], "labels": [{"label": "cat", "confidence": 0.1, "raw": {"score": 0.2}}]}, {"labels": []}),
    ],
)
def test_a_draft_to_be_made_from_scratch_is_stored_whole_and_shown_without_its_labels(
    task: str, payload: dict[str, Any], blank: dict[str, Any]
) -> None:
    stored = draft(task=task, payload={**payload, "route": "from_scratch", "priority": 0.9})
    told = stored.as_wire()
    assert (told["route"], told["priority"]) == ("from_scratch", 0.9)
    assert {**told, **blank} == told
    assert all(told[name] == payload[name] for name in payload if name not in blank)
    assert {**stored.as_wire(raw=True), **payload} == stored.as_wire(raw=True)
    reviewed = draft(task=task, payload={**payload, "route": "review", "priority": 0.9}).as_wire()
    assert all(reviewed[name] for name in blank)
    assert stored.for_item("drf_2", "b", None, NOON).payload["route"] == "from_scratch"


def test_a_draft_that_is_older_than_policies_goes_to_review() -> None:
    told = draft().as_wire()
    assert (told["route"], told["priority"]) == ("review", None)
