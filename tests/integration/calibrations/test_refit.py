"""Refits on outcomes: known truths come back, only permitted streams count, and only what is shown to be better is promoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from calibration.record import CalibrationRecord, item_key
from candor.errors import InvalidRequest
from candor.predictions import Task
from serving.calibrations.refit import Fitted, compare, given_by, last_told, refit
from serving.evaluation.rows import side
from store.outcomes import Outcome
from tests.unit.calibration.records import record
from tests.unit.serving.calibrations.drafted import drawn
from tests.unit.serving.evaluation.made import manifest
from tests.unit.store.drafts import sha

TRUE_T, TRUE_B = 2.5, -0.8


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibration.intervals.RESAMPLES", 8)
        yield


def outcomes(logits: Sequence[float], right: Sequence[bool], task: Task = "classification", **changes: Any) -> list[Outcome]:
    """One outcome per item."""
    values: dict[str, Any] = {
        "label_index": 0,
        "stream": "gold",
        "propensity": 1.0,
        "event": "label",
        "confidence": None,
        "calibration": None,
        "model_version": manifest(task).version,
        "task": task,
        "source": "evt",
        **changes,
    }
    features = {"label": "cat", **values.pop("features", {})}
    return [
        Outcome(draft=f"drf_{i}", cluster=sha(str(i)), features={**features, "logit": float(x)}, correct=bool(y), **values)
        for i, (x, y) in enumerate(zip(logits, right, strict=True))
    ]


@cache
def found(n: int = 1200) -> Fitted:
    return refit(manifest("classification"), outcomes(*drawn(n, TRUE_T, TRUE_B)), None)


def test_the_true_temperature_and_bias_come_back() -> None:
    made = found().record
    assert made.method == "top_temperature_bias"
    assert made.fit["low"] < TRUE_T < made.fit["high"]
    assert made.parameters["bias"] == pytest.approx(TRUE_B, abs=0.25)
    assert (made.model_version, made.task) == (manifest("classification").version, "classification")
    assert made.figures["after"]["nll"]["value"] < made.figures["before"]["nll"]["value"]
    assert made.figures["methods"]["constant"]["brier"]["value"] > made.figures["after"]["brier"]["value"]
    assert CalibrationRecord.from_json(made.as_json()).id == made.id


def test_nothing_is_measured_on_what_was_fitted() -> None:
    made = found().record
    sides = [side(sha(str(i))) for i in range(1200)]
    assert set(made.fitted_items) == {item_key(sha(str(i))) for i in range(1200) if sides[i] != "test"}
    assert made.data["fit"]["rows"] == sides.count("fit")
    assert made.figures["after"]["n"] == made.data["test"]["rows"] == sides.count("test")


def test_counts_streams_and_effective_sizes_stand_in_the_record() -> None:
    rows = outcomes(*drawn(400, TRUE_T))
    rows = [replace(one, stream="blind", propensity=0.2) if i % 2 else one for i, one in enumerate(rows)]
    data = refit(manifest("classification"), rows, None).record.data
    part = data["fit"]
    assert sum(part["streams"].values()) == part["rows"] == part["items"]
    few, many = part["streams"]["gold"], part["streams"]["blind"]
    assert part["effective_rows"] == pytest.approx((few + 5 * many) ** 2 / (few + 25 * many), abs=0.1)
    assert part["greatest_weight"] == 5.0
    assert many_of(data, "test", "blind") <= data["thinned"]["test"] < data["test"]["rows"]  # a fifth of the gold ones stay


def many_of(data: Any, part: str, stream: str) -> int:
    count: int = data[part]["streams"][stream]
    return count


def test_weights_undo_a_draw_by_truth_where_ignoring_them_would_not() -> None:
    logits, right = drawn(6000, TRUE_T, TRUE_B, seed=8)
    chance = np.where(right, 0.1, 0.4)  # an audit that looks for errors
    kept = np.random.default_rng(1).random(6000) < chance
    rows = [replace(one, stream="audit", propensity=float(p)) for one, p, k in zip(outcomes(logits, right), chance, kept, strict=True) if k]
    made = refit(manifest("classification"), rows, None).record
    assert made.parameters["bias"] == pytest.approx(TRUE_B, abs=0.35)
    shown = made.figures["after"]
    assert shown["accuracy"] == pytest.approx(right.mean(), abs=0.07)
    ignored = refit(manifest("classification"), [replace(one, propensity=1.0) for one in rows], None).record
    assert ignored.parameters["bias"] < TRUE_B - 0.8


@pytest.mark.parametrize("stream", ["review", "honeypot"])
def test_reviews_and_honeypots_are_never_fitted_on(stream: str) -> None:
    rows = outcomes(*drawn(200, TRUE_T))
    with pytest.raises(InvalidRequest, match=f"1 of 200 labels are of stream {stream}"):
        refit(manifest("classification"), [*rows[:-1], replace(rows[-1], stream=stream)], None)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "there are no outcomes"),
        (outcomes([1.0, 2.0, 3.0], [True, False, True]), "at least|too few|30"),
        (outcomes(np.linspace(-2, 2, 200).tolist(), [True] * 200), "are right"),
        (outcomes(np.linspace(-2, 2, 200).tolist(), [False] * 200), "are wrong"),
        (outcomes([1.0] * 200, [True, False] * 100), "the same"),
        (outcomes(np.linspace(-2, 2, 200).tolist(), (np.linspace(-2, 2, 200) > 0).tolist()), "outside"),
    ],
    ids=["none", "three", "right", "wrong", "ties", "separated"],
)
def test_outcomes_that_hold_no_fit_are_refused_in_words(rows: list[Outcome], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        refit(manifest("classification"), rows, None)


def test_few_rows_are_not_verified() -> None:
    made = refit(manifest("classification"), outcomes(*drawn(300, TRUE_T)), None).record
    assert made.status == "unverified"
    assert "a claim takes at least" in made.reason


def in_force(temperature: float, bias: float, **changes: Any) -> CalibrationRecord:
    version = manifest("classification").version
    parameters = {"temperature": temperature, "bias": bias}
    return record("classification", method="top_temperature_bias", parameters=parameters, model_version=version, **changes)


def test_better_than_a_wrong_calibration_and_not_than_the_true_one() -> None:
    rows = outcomes(*drawn(1200, TRUE_T, TRUE_B))
    wrong, true = in_force(0.6, 0.5), in_force(TRUE_T, TRUE_B)
    better = refit(manifest("classification"), rows, wrong)
    assert better.better
    assert (better.promotion["decision"], better.promotion["than"]) == ("better", wrong.id)
    assert better.promotion["gain"]["low"] > 0
    same = refit(manifest("classification"), rows, true)
    assert not same.better
    assert same.promotion["decision"] == "not_better"
    assert same.promotion["gain"]["low"] <= 0
    against_raw = found()
    assert (against_raw.better, against_raw.promotion["than"]) == (True, "the raw score")


def test_a_stored_calibration_is_compared_on_later_outcomes_alone() -> None:
    new, old = in_force(TRUE_T, TRUE_B), in_force(0.6, 0.5)
    later = outcomes(*drawn(500, TRUE_T, TRUE_B, seed=5))
    found = compare(manifest("classification"), new, old, later)
    assert (found["decision"], found["than"], found["items"]) == ("better", old.id, 500)
    assert compare(manifest("classification"), old, new, later)["decision"] == "not_better"
    fitted = replace(new, fitted_items=tuple(item_key(one.cluster) for one in later[:100]))
    assert compare(manifest("classification"), fitted, old, later)["items"] == 400
    assert compare(manifest("classification"), new, old, [])["decision"] == "not_compared"
    with pytest.raises(InvalidRequest, match="review"):
        compare(manifest("classification"), new, old, [replace(later[0], stream="review")])


def test_a_badge_is_certified_on_rows_that_nothing_was_fitted_on() -> None:
    logits, right = drawn(1500, 0.3, 4.0)
    made = refit(manifest("classification"), outcomes(logits, right), None).record
    assert made.badge is not None
    assert made.badge.rows["n"] == [side(sha(str(i))) for i in range(1500)].count("select")
    assert made.badge.figures["wrong"]["low"] <= made.badge.epsilon
    none = found().record
    assert none.badge is None or none.badge.rows["labels"] > 0
    assert none.data["badge"]


def test_what_the_old_calibration_was_fitted_on_is_no_witness() -> None:
    rows = outcomes(*drawn(400, TRUE_T, TRUE_B))
    old = in_force(0.6, 0.5, fitted_items=tuple(item_key(one.cluster) for one in rows))
    made = refit(manifest("classification"), rows, old)
    assert (made.better, made.promotion["decision"]) == (False, "not_compared")


def test_the_last_truth_of_an_item_is_the_one_that_counts() -> None:
    first = outcomes([1.0, 2.0], [True, True])
    corrected = replace(first[0], correct=False, source="adjudicated")
    assert [(one.source, one.correct) for one in last_told([*first, corrected])] == [("evt", True), ("adjudicated", False)]


def test_confidences_of_a_calibration_are_those_shown_else_from_the_logit() -> None:
    rows = outcomes([1.0, -1.0, 0.5], [True] * 3)
    line = in_force(2.0, 0.1)
    rows[1] = replace(rows[1], confidence=0.77, calibration=line.id)
    assert given_by(line, rows, ()) == pytest.approx([expit(0.6), 0.77, expit(0.35)])
    by_class = record("detection", method="class_temperature_bias", parameters={"slope": [1.0, 0.5, 1.0], "bias": [0.0, 0.2, 0.0]})
    boxes = [replace(one, task="detection", features={**one.features, "label": label}) for one, label in zip(rows, "cdo", strict=True)]
    assert given_by(by_class, boxes, ("c", "d", "o")) == pytest.approx([expit(1.0), expit(-0.3), expit(0.5)])
    softmax = record("classification", parameters={"temperature": 1.5})
    rows[2] = replace(rows[2], confidence=0.4, calibration=softmax.id)
    assert given_by(softmax, rows, ())[2] == 0.4
    assert np.isnan(given_by(softmax, rows, ())[:2]).all()


def test_boxes_of_one_image_stand_together_and_keep_the_threshold() -> None:
    logits, right = drawn(800, TRUE_T, TRUE_B)
    rows = [
        replace(one, label_index=i % 4, draft=f"drf_{i // 4}", cluster=sha(str(i // 4)))
        for i, one in enumerate(outcomes(logits, right, "detection"))
    ]
    made = refit(manifest("detection"), rows, None).record
    assert (made.method, made.display_threshold) == ("temperature_bias", 0.25)
    assert made.data["fit"]["rows"] == 4 * made.data["fit"]["items"]


def test_words_are_fitted_as_one_normaliser_judged_them() -> None:
    rows = outcomes(*drawn(600, TRUE_T, TRUE_B), "transcription", features={"label": None, "normaliser": ["english", "2"]})
    rows = [replace(one, features={**one.features, "normaliser": ["english", "1"]}) if i % 5 == 0 else one for i, one in enumerate(rows)]
    made = refit(manifest("transcription"), rows, None).record
    assert (made.method, made.normaliser) == ("word_temperature_bias", {"name": "english", "version": "2"})
    assert sum(made.data[part]["rows"] for part in ("fit", "select", "test")) == 480
