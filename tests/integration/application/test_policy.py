"""Policy on the wire: badges under a guarantee, drafts that are not worth correcting, the order of the rest, by project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calibration.record import Badge, CalibrationRecord
from candor.fake import FakeModel
from candor.predictions import Task
from serving.config import Settings
from serving.loading import build_catalog
from tests.unit.serving.served import MODELS, audio, calibration_of, image, running, settings_in

CLASSIFICATION, TRANSCRIPTION = "/v1/classification/drafts", "/v1/transcription/drafts"
MARKS_ALL, MARKS_NONE = Badge(0.0, 0.05, 0.05, "label", {}, {}), Badge(1.0, 0.05, 0.05, "label", {}, {})
SPEECH = audio("a", b'{"units": 3}')  # its words have confidence 0.525


def calibrated(folder: Path, task: Task, badge: Badge | None = None, **changes: Any) -> tuple[Settings, CalibrationRecord]:
    plain, name = settings_in(folder), MODELS[task]
    installed = build_catalog(plain).installed(name)
    assert installed is not None
    record = calibration_of(installed.manifest.version, task, badge=badge)
    path = folder / "calibration.json"
    path.write_text(json.dumps(record.as_json()))
    models = {**plain.models, name: plain.models[name].model_copy(update={"calibration": path})}
    return settings_in(folder, models=models, **changes), record


async def test_a_label_has_the_badge_under_a_guarantee_alone(folder: Path) -> None:
    for badge, expected in ((MARKS_ALL, "high"), (MARKS_NONE, None), (None, None)):
        settings, _ = calibrated(folder, "classification", badge)
        async with running(settings) as server:
            (draft,) = await server.drafts([image()], CLASSIFICATION)
            stored = (await server.client.get(f"/v1/drafts/{draft['id']}")).json()
        for one in (draft, stored):
            assert one.get("badge") == expected
            assert [label.get("badge") for label in one["labels"]] == [expected, None]


async def test_words_have_badges_of_their_own(folder: Path) -> None:
    settings, _ = calibrated(folder, "transcription", MARKS_ALL, policy={"from_scratch_below": {}})
    async with running(settings) as server:
        (draft,) = await server.drafts([SPEECH], TRANSCRIPTION)
    assert "badge" not in draft
    assert [word["badge"] for word in draft["segments"][0]["words"]] == ["high"] * 3
    assert draft["route"] == "review"
    assert draft["priority"] == pytest.approx(3 * 0.475021 / (1 + 3 * 0.475021), abs=1e-5)


async def test_a_project_has_its_own_policy_and_drafts_of_its_own(folder: Path, loaded: dict[str, FakeModel]) -> None:
    projects = {"shy": {"policy": {"badge": False}}}
    settings, _ = calibrated(folder, "classification", MARKS_ALL, projects=projects)
    async with running(settings) as server:
        server.loaded = loaded
        (first,) = await server.drafts([image()], CLASSIFICATION, project="bold")
        (other,) = await server.drafts([image()], CLASSIFICATION, project="shy")
        assert (first["badge"], other.get("badge")) == ("high", None)
        assert other["labels"][0]["confidence"] == first["labels"][0]["confidence"]
        assert server.inferred("namer") == 2  # what was decided for one policy does not answer for another
        (third,) = await server.drafts([image()], CLASSIFICATION, project="unknown")
        assert third["badge"] == "high"
        assert server.inferred("namer") == 2


async def test_a_draft_not_worth_correcting_is_withheld_unless_raw_scores_are_asked_for(folder: Path) -> None:
    settings, record = calibrated(folder, "transcription")
    async with running(settings) as server:
        (draft,) = await server.drafts([SPEECH], TRANSCRIPTION)
        assert (draft["route"], draft["text"], draft["segments"]) == ("from_scratch", "", [])
        assert draft["calibration"] == record.id
        path = f"/v1/drafts/{draft['id']}"
        stored, raw = (await server.client.get(path)).json(), (await server.client.get(path, params={"include": "raw"})).json()
        assert (stored["route"], stored["text"], stored["segments"]) == ("from_scratch", "", [])
        assert (raw["route"], raw["text"], len(raw["segments"][0]["words"])) == ("from_scratch", "word0 word1 word2", 3)
        (again,) = await server.drafts([SPEECH], TRANSCRIPTION)
        assert (again["id"], again["segments"]) == (draft["id"], [])


async def test_uncalibrated_drafts_go_to_review_in_no_order(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        for item, path in ((image(), "/v1/detection/drafts"), (image(), CLASSIFICATION), (SPEECH, TRANSCRIPTION)):
            (draft,) = await server.drafts([item], path)
            assert (draft["route"], draft["priority"]) == ("review", None)
            assert "badge" not in json.dumps(draft)
