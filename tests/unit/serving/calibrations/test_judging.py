"""Stored drafts against the truth: the same verdicts as on the predictions that they were drawn from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from calibration.correctness import TrueBoxes, judge_boxes
from calibration.methods import top_logit
from calibration.words import judge_words, normaliser_for
from candor.confidences import UNCALIBRATED, Confidences
from candor.drafts import Draft
from candor.errors import InvalidRequest
from candor.predictions import Classification, Detections, Prediction, Segment, Task, Transcript, Word
from candor.tasks import Rendering, render
from serving.calibrations.judging import BoxesTruth, JudgedLabel, LabelTruth, TextTruth, TrueBox, Truth, judge, top_log_odds
from tests.unit.store.drafts import draft

LABELS = ("cat", "dog", "owl", "Fox")
SIZE = (100, 80)


def stored(task: Task, prediction: Prediction, confidences: Confidences = UNCALIBRATED, threshold: float | None = None) -> Draft:
    """A draft as it comes back from the database."""
    payload = json.loads(json.dumps(render(task, prediction, confidences, Rendering("drf_1", LABELS, threshold))))
    return draft(id="drf_1", task=task, payload=payload)


def boxes(*found: tuple[list[float], int, float]) -> Detections:
    score = np.array([one[2] for one in found])
    corners = np.array([one[0] for one in found], np.float64).reshape(-1, 4)
    return Detections(SIZE, corners, np.array([one[1] for one in found], np.int64), score, logit(score))


def verdicts(found: list[JudgedLabel]) -> list[tuple[int, bool]]:
    return [(one.position, one.correct) for one in found]


def test_an_image_is_right_where_its_first_label_is() -> None:
    image = stored(
        "classification", Classification(SIZE, np.array([1.0, 3.0, 2.0, 0.5])), Confidences("calibrated", "cal_1", np.full(4, 0.6))
    )
    (found,) = judge(image, LabelTruth("dog"), LABELS)
    assert (found.position, found.correct, found.confidence, found.label) == (0, True, 0.6, "dog")
    assert found.logit == pytest.approx(top_logit(Classification(SIZE, np.array([1.0, 3.0, 2.0, 0.5]))))
    assert judge(image, LabelTruth(" DOG"), LABELS)[0].correct
    assert not judge(image, LabelTruth("owl"), LABELS)[0].correct
    assert not judge(image, LabelTruth(None), LABELS)[0].correct


@pytest.mark.parametrize("peak", [1.0, 5.0, 12.0, 16.0])
def test_log_odds_come_back_from_five_rounded_labels_of_many(peak: float) -> None:
    rng = np.random.default_rng(2)
    logits = np.append(rng.normal(size=200), peak)
    exact = top_logit(Classification(SIZE, logits))
    order = np.argsort(-logits)[:5]
    scores = softmax(logits)
    shown = [{"raw": {"score": round(float(scores[i]), 6), "logit": round(float(logits[i]), 6)}} for i in order]
    found = top_log_odds(shown, 201)
    assert np.isfinite(found)
    rounding = 5e-7 / (1 - expit(exact))  # of the probability, relative to what is left
    assert abs(found - exact) <= (1.5 * rounding + 1e-5 if rounding < 0.3 else 3.0)


def test_log_odds_of_a_certain_image_stay_finite() -> None:
    shown = [{"raw": {"score": 1.0, "logit": 40.0}}, {"raw": {"score": 0.0, "logit": -3.0}}]
    assert top_log_odds(shown, 2) == pytest.approx(43.0)
    assert np.isfinite(top_log_odds(shown, 1000))
    assert np.isfinite(top_log_odds(shown[:1], 1000))


def test_boxes_are_matched_as_the_rule_says() -> None:
    prediction = boxes(([0, 0, 10, 10], 0, 0.9), ([0, 0, 10, 9], 0, 0.8), ([50, 50, 60, 60], 1, 0.7), ([20, 20, 40, 40], 2, 0.6))
    truth = (TrueBox("cat", (0, 0, 10, 10)), TrueBox("dog", (50, 50, 60, 64)), TrueBox("owl", (0, 0, 100, 80), crowd=True))
    found = judge(stored("detection", prediction), BoxesTruth(truth), LABELS)
    assert verdicts(found) == [(0, True), (1, False), (2, True)]  # a duplicate is wrong, and what lies in a crowd does not count
    assert [one.logit for one in found] == pytest.approx(prediction.logit[:3], abs=1e-5)
    assert [one.label for one in found] == ["cat", "cat", "dog"]
    expected = judge_boxes(
        prediction, TrueBoxes(np.array([b.xyxy for b in truth], float), np.array([0, 1, 2]), np.array([False, False, True]))
    )
    assert [one.correct for one in found] == expected.correct[expected.counted].tolist()


def test_boxes_that_were_not_shown_change_nothing() -> None:
    prediction = boxes(([0, 0, 10, 10], 0, 0.9), ([30, 30, 40, 40], 0, 0.2))
    shown = stored("detection", prediction, threshold=0.25)
    assert verdicts(judge(shown, BoxesTruth((TrueBox("cat", (30, 30, 40, 40)),)), LABELS)) == [(0, False)]


def test_all_boxes_of_an_empty_image_are_wrong_and_an_empty_draft_has_no_labels() -> None:
    prediction = boxes(([0, 0, 10, 10], 0, 0.9), ([30, 30, 40, 40], 1, 0.5))
    assert verdicts(judge(stored("detection", prediction), BoxesTruth(()), LABELS)) == [(0, False), (1, False)]
    assert judge(stored("detection", boxes()), BoxesTruth((TrueBox("cat", (0, 0, 5, 5)),)), LABELS) == []


def test_classes_that_nobody_looked_for_are_not_judged() -> None:
    prediction = boxes(([0, 0, 10, 10], 0, 0.9), ([30, 30, 40, 40], 1, 0.5))
    found = judge(stored("detection", prediction), BoxesTruth((), classes=("Dog",)), LABELS)
    assert verdicts(found) == [(1, False)]


def test_words_are_judged_on_normalised_text() -> None:
    said, really = "Won't cost twenty one dollars uh okay", "won't cost $21 ok"
    words = tuple(Word(word, float(i), i + 0.5, 0.6, 0.4 + i, 0.5) for i, word in enumerate(said.split()))
    spoken = stored("transcription", Transcript(9.0, "en", (Segment(said, 0.0, 9.0, words, -0.1, 0.0, 1.0),)))
    found = judge(spoken, TextTruth(really), ())
    normaliser = normaliser_for("en")
    expected = judge_words(said.split(), said, really, normaliser).outcomes
    assert verdicts(found) == [(i, bool(expected.correct[i])) for i in range(7) if expected.counted[i]]
    assert 5 not in [one.position for one in found]  # "uh" normalises to nothing
    assert found[1].logit == pytest.approx(1.4)
    assert {one.normaliser for one in found} == {(normaliser.name, normaliser.version)}
    assert not any(one.correct for one in judge(spoken, TextTruth(""), ()))  # all invented


SOME_BOXES = stored("detection", boxes(([0, 0, 10, 10], 0, 0.9)))
AN_IMAGE = stored("classification", Classification(SIZE, np.array([1.0, 3.0, 2.0, 0.5])))


@pytest.mark.parametrize(
    ("of", "truth", "words"),
    [
        (AN_IMAGE, LabelTruth("zebra"), "not in the label set"),
        (AN_IMAGE, TextTruth("dog"), "is of task classification"),
        (SOME_BOXES, LabelTruth("dog"), "is of task detection"),
        (SOME_BOXES, BoxesTruth((TrueBox("zebra", (0, 0, 5, 5)),)), "not in the label set"),
        (SOME_BOXES, BoxesTruth((), classes=("zebra",)), "not in the label set"),
        (SOME_BOXES, BoxesTruth((TrueBox("cat", (0, 0, 5, 5)),), classes=("dog",)), "not among"),
        (SOME_BOXES, BoxesTruth((TrueBox("cat", (90, 0, 130, 5)),)), "outside the image"),
        (SOME_BOXES, BoxesTruth((TrueBox("cat", (-30, 0, 13, 5)),)), "outside the image"),
        (SOME_BOXES, BoxesTruth((TrueBox("cat", (10, 0, 10, 5)),)), "no area"),
        (SOME_BOXES, BoxesTruth((TrueBox("cat", (float("nan"), 0, 10, 5)),)), "no area"),
        (draft(task="classification", payload={"labels": []}), LabelTruth("dog"), "stored without"),
        (draft(task="detection", payload={"labels": [{"label": "dog"}], "image_size": [9, 9]}), BoxesTruth(()), "stored without"),
    ],
    ids=["label", "text for image", "label for boxes", "box", "class", "excluded", "right of", "left of", "flat", "nan", "empty", "old"],
)
def test_a_truth_that_can_not_be_is_refused(of: Draft, truth: Truth, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        judge(of, truth, LABELS)


def test_a_box_may_stand_a_rounding_over_the_edge() -> None:
    truth: Any = BoxesTruth((TrueBox("cat", (-0.4, -0.9, 100.7, 80.9)),))
    assert verdicts(judge(SOME_BOXES, truth, LABELS)) == [(0, False)]
