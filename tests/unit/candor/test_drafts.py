from __future__ import annotations

from datetime import UTC, datetime

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
