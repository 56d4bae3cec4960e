"""A draft as a prediction: nothing leaves that Label Studio would refuse, and nothing that is not to be shown."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from candor.drafts import Draft, Timings
from candor.errors import CandorError, InvalidRequest, MediaTooLarge
from candor.predictions import Task
from serving.protocols.label_studio.config import layout, read
from serving.protocols.label_studio.regions import faults, prediction
from serving.protocols.label_studio.sources import digest, source_of, value_of
from tests.unit.serving.protocols.label_studio import BOXES, ONE, SEGMENTS, SEVERAL

V = "m@sha256:0123456789abcdef"


def draft(task: Task, payload: dict[str, Any], **changes: Any) -> Draft:
    values: dict[str, Any] = {
        "id": "drf_1",
        "item": "7:1",
        "task": task,
        "model_version": V,
        "calibration": "cal_1",
        "confidence_status": "calibrated",
        "confidence": None,
        "payload": payload,
        "timings": Timings(),
        "media_sha256": "0",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        **changes,
    }
    return Draft(**values)


def box(position: int, label: str, xyxy: list[float], confidence: float | None = 0.75) -> dict[str, Any]:
    return {"id": f"drf_1.{position}", "label": label, "xyxy": xyxy, "confidence": confidence, "raw": {"score": 0.9, "logit": 2.0}}


def boxes(*labels: dict[str, Any], **changes: Any) -> Draft:
    return draft("detection", {"image_size": [200, 100], "labels": list(labels)}, **changes)


def classes(*labels: tuple[str, float | None], **changes: Any) -> Draft:
    found = [
        {"id": f"drf_1.{n}", "label": label, "confidence": confidence, "raw": {"score": 0.5, "logit": 0.0}}
        for n, (label, confidence) in enumerate(labels)
    ]
    return draft("classification", {"image_size": [2, 1], "labels": found}, confidence=labels[0][1], **changes)


def test_boxes_stay_within_the_image_and_those_that_are_not_to_be_shown_are_left_out() -> None:
    made, left_out = prediction(
        boxes(box(0, "cat", [-4, 10, 250, 60]), box(1, "cow", [0, 0, 9, 9]), box(2, "dog", [210, 0, 220, 9]), box(3, "dog", [1, 2, 3, 4])),
        layout(read(BOXES)),
        V,
    )
    first, second = made["result"]
    assert first["value"] == {"x": 0.0, "y": 10.0, "width": 100.0, "height": 50.0, "rotation": 0, "rectanglelabels": ["cat"]}
    assert second["value"]["rectanglelabels"] == ["Hund"]
    assert second["id"] == "drf_1.3"
    assert made["score"] == 0.75
    assert len(left_out) == 2
    assert "'cow'" in left_out[0]


def test_without_a_calibration_there_is_no_score_and_never_a_raw_one() -> None:
    made, _ = prediction(boxes(box(0, "cat", [1, 2, 3, 4], None), confidence_status="uncalibrated"), layout(read(BOXES)), V)
    (region,) = made["result"]
    assert "score" not in region
    assert made["score"] is None
    assert region["meta"] == {"candor": {"draft": "drf_1", "confidence_status": "uncalibrated"}, "raw": {"score": 0.9}}


@pytest.mark.parametrize("changes", [{"arm": "withheld"}, {"route": "from_scratch"}, {}])
def test_what_is_not_shown_can_not_be_told_from_what_was_not_found(changes: dict[str, Any]) -> None:
    route = {"route": changes["route"]} if "route" in changes else {}
    arm = {"arm": changes["arm"]} if "arm" in changes else {}
    found = [] if not changes else [("cat", 0.3)]
    for one, config in ((boxes(*([box(0, "cat", [1, 2, 3, 4])] if found else [])), BOXES), (classes(*(found or [("cow", 0.4)])), ONE)):
        hidden = draft(one.task, {**one.payload, **route}, confidence=one.confidence, **arm)
        assert prediction(hidden, layout(read(config)), V)[0] == {"result": [], "score": None, "model_version": V}


def test_one_choice_is_the_first_and_several_are_the_likely_ones() -> None:
    labels = (("dog", 0.62), ("cat", 0.55), ("bird", 0.2))
    one, several = layout(read(ONE)), layout(read(SEVERAL))
    assert prediction(classes(*labels), one, V)[0]["result"][0]["value"] == {"choices": ["dog"]}
    assert prediction(classes(*labels), several, V)[0]["result"][0]["value"] == {"choices": ["dog", "cat"]}
    assert prediction(classes(("dog", 0.4), ("cat", 0.3)), several, V)[0]["result"] == []
    uncalibrated = classes(("dog", None), ("cat", None), confidence_status="uncalibrated")
    assert prediction(uncalibrated, several, V)[0]["result"][0]["value"] == {"choices": ["dog"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"from_name": "other"},
        {"to_name": "other"},
        {"type": "choices"},
        {"score": 1.0001},
        {"score": float("nan")},
        {"value": {"x": 100.01, "y": 0, "width": 1, "height": 1, "rectanglelabels": ["cat"]}},
        {"value": {"x": 0, "y": -0.01, "width": 1, "height": 1, "rectanglelabels": ["cat"]}},
        {"value": {"x": 0, "y": 0, "width": 1, "rectanglelabels": ["cat"]}},
        {"value": {"x": 0, "y": 0, "width": 1, "height": 1, "rectanglelabels": ["cow"]}},
        {"value": {"x": 0, "y": 0, "width": 1, "height": 1, "rectanglelabels": "cat"}},
        {"value": {"x": 0, "y": 0, "width": 1, "height": 1}},
    ],
)
def test_what_label_studio_would_refuse_is_found(wrong: dict[str, Any]) -> None:
    made, _ = prediction(boxes(box(0, "cat", [1, 2, 3, 4])), layout(read(BOXES)), V)
    (region,) = made["result"]
    assert faults(region, layout(read(BOXES))) == []
    assert len(faults({**region, **wrong}, layout(read(BOXES)))) == 1


def test_a_segment_that_ends_before_it_begins_or_has_no_list_of_texts_is_found() -> None:
    region = {"id": "a", "from_name": "said", "to_name": "sound", "type": "textarea"}
    told = [
        faults({**region, "value": value}, layout(read(SEGMENTS)))
        for value in ({"start": 1, "end": 2, "text": ["a"]}, {"start": 2, "end": 1, "text": ["a"]}, {"start": 1, "end": 2, "text": "a"})
    ]
    assert [len(one) for one in told] == [0, 1, 1]


def test_only_its_own_label_studio_is_asked_for_what_only_it_has() -> None:
    own = "https://ls.example/studio"
    for value in ("/data/upload/7/a.png", "/data/local-files/?d=a.png", "s3://bucket/a", "gs://b/a", "https://ls.example/data/a.png"):
        found = source_of(value, own, 100)
        assert (found.remote, found.url, found.data) == (value, None, None)
    for value in ("http://ls.example/a.png", "https://ls.example:444/a.png", "https://ls.example.org/a.png", "https://other.org/a"):
        assert source_of(value, own, 100).url == value
    assert source_of("https://ls.example/a.png", None, 100).url == "https://ls.example/a.png"


def test_data_is_unpacked_within_the_limit() -> None:
    coded = base64.b64encode(b"x" * 300).decode()
    assert source_of(f"data:image/png;base64,{coded}", None, 300).data == b"x" * 300
    assert source_of("data:,a%20b", None, 3).data == b"a b"
    assert source_of(coded, None, 300).data == b"x" * 300
    for value in (f"data:image/png;base64,{coded}", "data:,a%20bc"):
        with pytest.raises(MediaTooLarge):
            source_of(value, None, 3)


@pytest.mark.parametrize(
    "value", ["a.png", "//other.org/a", "ftp://a/b", "data:image/png;base64", "data:;base64,%%%", "https://a:port/", "x" * 300 + "!"]
)
def test_what_points_nowhere_is_said(value: str) -> None:
    with pytest.raises(InvalidRequest):
        source_of(value, "https://ls.example", 1000)


def test_what_only_label_studio_has_takes_its_address() -> None:
    with pytest.raises(CandorError, match="address and token"):
        source_of("/data/upload/7/a.png", None, 100)


def test_a_tasks_value_is_found_where_the_config_says() -> None:
    assert value_of({"image": " a "}, "image") == "a"
    assert value_of({"photo": {"url": "a"}}, "photo.url") == "a"
    assert value_of({"$undefined$": "a"}, "image") == "a"
    assert digest("a") != digest("b")
    for data in ({}, {"image": ["a", "b"]}, {"image": ""}):
        with pytest.raises(InvalidRequest):
            value_of(data, "image")
