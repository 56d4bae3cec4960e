"""What follows from a planted error: confidence, route, priority, classes, the order of fields."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from candor.drafts import Draft
from candor.mapping import LabelMap
from candor.policy import Policy, decided
from serving.arms import planting
from serving.arms.planting import Making, Material, confusion, has_badge, planted
from tests.unit.store.drafts import draft

CLASSES = ("cat", "cow", "dog")
MAKING = Making(Policy(), CLASSES, None)


def image(first: str = "cat", confidence: float = 0.8, badge: bool = False, **changes: Any) -> Draft:
    rest = [name for name in CLASSES if name != first]
    shares = [confidence, *(round((1 - confidence) / 2, 6) for _ in rest)]
    marked = {"badge": "high"} if badge else {}
    labels = [
        {"id": f"drf_x.{n}", "label": name, "confidence": share, **(marked if n == 0 else {}), "raw": {"score": share, "logit": -n}}
        for n, (name, share) in enumerate(zip([first, *rest], shares, strict=True))
    ]
    payload = decided("classification", {"image_size": [8, 8], **marked, "labels": labels}, Policy(), calibrated=True)
    return draft(**{"task": "classification", "confidence": confidence, "payload": payload, **changes})


def boxes(label: str = "cat", **changes: Any) -> Draft:
    raw = {"score": 0.7, "logit": 0.8, **changes.pop("raw", {})}
    label_ = {"id": "drf_x.0", "label": label, "xyxy": [1.0, 1.0, 30.0, 30.0], "confidence": 0.7, "raw": raw}
    mapped = {"raw": {"vocabulary": ["cattle", "pet"]}} if "label_map" in changes else {}
    payload = decided("detection", {"image_size": [64, 48], "labels": [label_], **mapped}, Policy(), calibrated=True)
    return draft(**{"confidence": None, "payload": payload, **changes})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_confidence_and_priority_follow_the_planted_labels() -> None:
    pool = [image("dog", 0.55 + n / 100) for n in range(30)]
    natural = image("cat", 0.93, badge=True)
    found = planted(natural, {"label": "cat"}, Material(pool), MAKING, rng())
    assert found is not None
    made, error = found
    assert (made.id, made.arm, error.kind) == (natural.id, "honeypot", "class_swap")
    assert made.payload["labels"][0]["label"] != "cat"
    # what the model said of the right label: a row of another item's would be known again
    assert [one["confidence"] for one in made.payload["labels"]] == [one["confidence"] for one in natural.payload["labels"]]
    assert (made.confidence, made.payload["priority"], made.payload["badge"]) == (0.93, pytest.approx(0.07), "high")
    assert list(made.payload) == list(natural.payload) == ["image_size", "badge", "labels", "route", "priority"]
    assert planted(natural, {"label": "cat"}, Material(pool), MAKING, rng()) == found  # the same chance, the same error


def test_no_planted_box_repeats_another_items_figures() -> None:
    pool = [boxes(("cat", "dog")[n % 2], raw={"score": 0.5, "logit": n / 40}) for n in range(40)]
    natural = boxes("cat", raw={"score": 0.6, "logit": 0.4055})
    said, kinds = {json.dumps(one.payload["labels"][0]["raw"]) for one in pool}, set()
    for seed in range(80):
        found = planted(natural, {"boxes": [{"label": "cat", "xyxy": [1.0, 1.0, 30.0, 30.0]}]}, Material(pool), MAKING, rng(seed))
        assert found is not None
        made, error = found
        kinds.add(error.kind)
        for label in made.payload["labels"]:
            assert json.dumps(label["raw"]) not in said
        if error.label is not None:
            (label,) = [one for one in made.payload["labels"] if one["id"] == error.label]
            assert error.shown == {"label": label["label"], "xyxy": label["xyxy"]}
    assert {"class_swap", "box_missing", "box_shift"} <= kinds


def test_an_added_box_lies_between_two_natural_ones() -> None:
    pool = [wide(n / 40, 20 * (n % 3)) for n in range(40)]
    natural, found = wide(0.31, 400), None
    for seed in range(60):
        found = planted(natural, {"boxes": [{"label": "cat", "xyxy": [400, 400, 420, 420]}]}, Material(pool), MAKING, rng(seed))
        if found is not None and found[1].kind == "box_spurious":
            break
    assert found is not None
    made, error = found
    (new,) = [one for one in made.payload["labels"] if one["id"] == error.label]
    assert new["raw"]["score"] == pytest.approx(1 / (1 + math.exp(-new["raw"]["logit"])), abs=1e-6)
    assert 0 < new["raw"]["logit"] < 1
    assert new["raw"]["logit"] not in {one.payload["labels"][0]["raw"]["logit"] for one in pool}
    assert new["xyxy"] not in [one.payload["labels"][0]["xyxy"] for one in pool]
    scores = [one["raw"]["score"] for one in made.payload["labels"]]
    assert scores == sorted(scores, reverse=True)


def wide(logit: float, at: float) -> Draft:
    raw = {"score": round(1 / (1 + math.exp(-logit)), 6), "logit": logit}
    label = {"id": "drf_x.0", "label": "cat", "xyxy": [at, at, at + 20, at + 20], "confidence": 0.5, "raw": raw}
    payload = {"image_size": [640, 640], "labels": [label]}
    return draft(confidence=None, payload=decided("detection", payload, Policy(), calibrated=True))


@pytest.mark.parametrize(
    "pool",
    [
        [image() for _ in range(planting.LEAST_POOL - 1)],
        [image(calibration="cal_2") for _ in range(60)],
        [image(label_map="x") for _ in range(60)],
        [image("dog", 0.1) for _ in range(60)],  # they are not shown
    ],
)
def test_without_enough_drafts_to_hide_among_nothing_is_planted(pool: list[Draft]) -> None:
    assert planted(image(), {"label": "cat"}, Material(pool), MAKING, rng()) is None


def test_a_draft_that_is_not_shown_carries_no_error() -> None:
    pool = [image("dog", 0.6) for _ in range(30)]
    assert planted(image("cat", 0.1), {"label": "cat"}, Material(pool), MAKING, rng()) is None
    strict = Making(Policy(from_scratch_below={"classification": 0.9}), CLASSES, None)
    assert planted(image("cat", 0.85), {"label": "cat"}, Material(pool), strict, rng()) is None


def test_gold_of_another_task_plants_nothing() -> None:
    assert planted(image(), {"text": "cat"}, Material([image() for _ in range(40)]), MAKING, rng()) is None


def test_a_models_own_error_is_taken_as_it_is() -> None:
    natural = image("cat", 0.7)
    found = planted(natural, {"label": "dog"}, Material([image() for _ in range(30)]), MAKING, rng())
    assert found is not None
    assert found[1].natural
    assert found[0].payload == natural.payload


def test_a_planted_label_had_one_of_its_own_classes() -> None:
    labels = LabelMap({"cat": "pet", "dog": "pet", "cow": "cattle"})
    raw = {"pet": {"class": "cat", "as_class": False}, "cattle": {"class": "cow", "as_class": True}}
    pool = [boxes(name, raw=raw[name], label_map=labels.digest) for name in ("pet", "cattle") for _ in range(20)]
    natural = boxes("pet", raw=raw["pet"], label_map=labels.digest)
    making, seen = Making(Policy(), CLASSES, labels), set()
    for seed in range(60):
        found = planted(natural, {"boxes": [{"label": "pet", "xyxy": [1.0, 1.0, 30.0, 30.0]}]}, Material(pool), making, rng(seed))
        for label in found[0].payload["labels"] if found else ():
            seen.add((label["label"], label["raw"]["class"], label["raw"]["as_class"]))
    assert seen <= {("pet", "cat", False), ("pet", "dog", False), ("cattle", "cow", True)}
    assert {name for name, _, _ in seen} == {"pet", "cattle"}


def test_confusions_are_counted_from_gold_items() -> None:
    drafts = [image("dog", item="a"), image("dog", item="b"), image("cat", item="c"), image("cow", item="d")]
    truths = {"a": {"label": "cat"}, "b": {"label": "cat"}, "c": {"label": "cat"}, "d": {"text": "no label"}}
    assert confusion(drafts, truths) == {"cat": {"dog": 2.0}}


def test_the_badge_zone_is_where_everything_has_the_badge() -> None:
    assert has_badge(image(badge=True))
    assert not has_badge(image())
    assert not has_badge(boxes())
    assert not has_badge(draft(payload={"labels": []}))
