"""A project's labels: nothing is made up, nothing is drafted twice, and what a label was stays known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.confidences import UNCALIBRATED, Confidences
from candor.mapping import LabelMap, vocabulary
from candor.predictions import Classification, Detections
from candor.tasks import Rendering, render

CLASSES = ("car", "truck", "cat", "dog", "bus", "bird", "boat")


def image(logits: list[float], confidences: Confidences = UNCALIBRATED) -> dict[str, Any]:
    classes = CLASSES[: len(logits)]
    return render("classification", Classification((8, 8), np.array(logits)), confidences, Rendering("drf_1", classes, None, len(classes)))


def boxes(*found: tuple[str, list[float], float], confident: list[float] | None = None) -> dict[str, Any]:
    score = np.array([score for _, _, score in found])
    xyxy = np.array([box for _, box, _ in found], np.float64).reshape(-1, 4)
    prediction = Detections((99, 99), xyxy, np.array([CLASSES.index(name) for name, _, _ in found], np.int64), score, np.log(score))
    confidences = Confidences("calibrated", "cal_1", np.array(confident)) if confident else UNCALIBRATED
    return render("detection", prediction, confidences, Rendering("drf_1", CLASSES))


def calibrated(*values: float, badge: int | None = None) -> Confidences:
    badges = None if badge is None else np.arange(len(values)) == badge
    return Confidences("calibrated", "cal_1", np.array(values), badges)


VEHICLES = LabelMap({"car": "vehicle", "truck": "vehicle", "cat": "cat"}, ("vehicle", "cat", "tricycle"))


def test_one_object_is_drafted_once() -> None:
    payload = boxes(
        ("truck", [0, 0, 10, 10], 0.9),
        ("car", [1, 0, 11, 10], 0.8),  # the truck again
        ("car", [40, 40, 50, 50], 0.7),
        ("car", [41, 40, 51, 50], 0.6),  # the model says: two cars
        ("dog", [0, 0, 10, 10], 0.5),
        ("cat", [0, 0, 10, 10], 0.4),  # another label in the same place
    )
    mapped = VEHICLES.mapped("detection", payload)
    assert [(one["label"], one["raw"]["class"], one["raw"]["score"]) for one in mapped["labels"]] == [
        ("vehicle", "truck", 0.9),
        ("vehicle", "car", 0.7),
        ("vehicle", "car", 0.6),
        ("cat", "cat", 0.4),
    ]
    assert [one["id"] for one in mapped["labels"]] == [f"drf_1.{n}" for n in range(4)]
    assert [one["raw"]["as_class"] for one in mapped["labels"]] == [False, False, False, True]
    assert vocabulary(mapped) == ["cat", "tricycle", "vehicle"]
    assert vocabulary(payload) is None


def test_of_two_boxes_the_surer_one_stays() -> None:
    payload = boxes(("truck", [0, 0, 10, 10], 0.9), ("car", [0, 0, 10, 10], 0.8), confident=[0.3, 0.6])
    (label,) = VEHICLES.mapped("detection", payload)["labels"]
    assert (label["raw"]["class"], label["confidence"], label["id"]) == ("car", 0.6, "drf_1.0")


def test_classes_of_an_image_are_summed_and_never_scaled_up() -> None:
    payload = image([1.0, 0.9, 2.0, 3.0], calibrated(0.2, 0.25, 0.15, 0.4, badge=3))
    assert payload["badge"] == "high"
    mapped = VEHICLES.mapped("classification", payload)
    assert [(one["label"], one["confidence"]) for one in mapped["labels"]] == [("vehicle", 0.45), ("cat", 0.15)]
    assert "badge" not in mapped  # it was the dog's
    raw = mapped["labels"][0]["raw"]
    assert raw["logit"] == pytest.approx(np.logaddexp(1.0, 0.9), abs=1e-5)
    assert [one["class"] for one in raw["from"]] == ["car", "truck"]


def test_a_badge_stays_with_the_answer_that_it_was_given_to() -> None:
    badged = image([3.0, 0.0, 1.0], calibrated(0.9, 0.04, 0.06, badge=0))
    mapped = VEHICLES.mapped("classification", badged)
    assert (mapped["badge"], [one.get("badge") for one in mapped["labels"]]) == ("high", ["high", None])


def test_an_image_of_which_all_was_dropped_has_no_label() -> None:
    mapped = LabelMap({"zebra": "horse"}).mapped("classification", image([1.0, 0.0]))
    assert mapped["labels"] == []
    assert LabelMap({"zebra": "horse"}).mapped("detection", boxes(("car", [0, 0, 1, 1], 0.5)))["labels"] == []


def test_a_transcript_stays_as_it_is() -> None:
    payload = {"text": "hello", "segments": []}
    assert VEHICLES.mapped("transcription", payload) == payload


def test_another_vocabulary_is_another_mapping() -> None:
    assert len({LabelMap({"a": "b"}).digest, LabelMap({"a": "c"}).digest, LabelMap({"a": "b"}, ("b", "c")).digest}) == 3
    assert LabelMap({"a": "b", "c": "d"}, ("x", "y")).digest == LabelMap({"c": "d", "a": "b"}, ("y", "x")).digest


logits = st.lists(st.floats(-20, 20), min_size=2, max_size=len(CLASSES))
maps = st.dictionaries(st.sampled_from(CLASSES), st.sampled_from(["x", "y", "cat"]), min_size=1)
corner = st.floats(0, 50)
box = st.tuples(corner, corner, st.floats(1, 40), st.floats(1, 40)).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
found_boxes = st.lists(st.tuples(st.sampled_from(CLASSES), box, st.floats(0.01, 0.99)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(logits, maps)
def test_of_an_image_no_probability_is_made_up(values: list[float], to: dict[str, str]) -> None:
    exponentials = np.exp(np.array(values) - max(values))
    payload = image(values, calibrated(*(exponentials / exponentials.sum())))
    mapped = LabelMap(to).mapped("classification", payload)["labels"]
    _sound(payload["labels"], mapped)
    assert sum(one["confidence"] for one in mapped) <= 1 + 1e-5
    assert [one["confidence"] for one in mapped] == sorted((one["confidence"] for one in mapped), reverse=True)
    assert len({one["label"] for one in mapped}) == len(mapped)


@settings(max_examples=60, deadline=None)
@given(found_boxes, maps)
def test_boxes_are_renamed_or_gone(found: list[tuple[str, list[float], float]], to: dict[str, str]) -> None:
    payload = boxes(*sorted(found, key=lambda one: -one[2]))
    mapped = LabelMap(to).mapped("detection", payload)["labels"]
    _sound(payload["labels"], mapped)
    before = [(one["label"], tuple(one["xyxy"])) for one in payload["labels"]]
    assert all((one["raw"]["class"], tuple(one["xyxy"])) in before for one in mapped)
    assert all(to[one["raw"]["class"]] == one["label"] for one in mapped)


@settings(max_examples=40, deadline=None)
@given(found_boxes)
def test_the_identity_changes_no_label_however_often(found: list[tuple[str, list[float], float]]) -> None:
    same = LabelMap({name: name for name in CLASSES})
    payload = boxes(*sorted(found, key=lambda one: -one[2]))
    once = same.mapped("detection", payload)
    assert [{**one, "raw": None} for one in once["labels"]] == [{**one, "raw": None} for one in payload["labels"]]
    assert same.mapped("detection", once) == once


def _sound(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    assert len(after) <= len(before)
    assert [one["id"] for one in after] == [f"drf_1.{n}" for n in range(len(after))]
