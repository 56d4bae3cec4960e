"""Drafts in a project's labels are judged in those, and tell calibrations only what is about the model's own classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from candor.drafts import Draft
from candor.errors import InvalidRequest
from candor.mapping import LabelMap
from candor.predictions import Classification, Detections, Prediction, Task
from serving.calibrations.judging import BoxesTruth, LabelTruth, TrueBox, judge
from tests.unit.serving.calibrations.test_judging import LABELS, SIZE, boxes, stored, verdicts

PETS = LabelMap({"cat": "pet", "dog": "pet", "owl": "bird"}, ("pet", "bird", "fish"))


def mapped(task: Task, prediction: Prediction) -> Draft:
    draft = stored(task, prediction)
    return replace(draft, payload=PETS.mapped(task, draft.payload))


def test_boxes_are_judged_by_the_projects_labels() -> None:
    found: Detections = boxes(([0, 0, 10, 10], 1, 0.9), ([50, 50, 60, 60], 2, 0.8))
    draft = mapped("detection", found)
    truth = BoxesTruth((TrueBox("pet", (0, 0, 10, 10)), TrueBox("Fish", (20, 20, 30, 30)), TrueBox("bird", (0, 0, 9, 9))))
    judged = judge(draft, truth, LABELS)
    assert verdicts(judged) == [(0, True), (1, False)]
    assert [(one.label, one.as_class) for one in judged] == [("dog", False), ("owl", True)]
    assert [one.logit for one in judged] == pytest.approx(logit([0.9, 0.8]), abs=1e-5)
    with pytest.raises(InvalidRequest, match="'cat' is not in the label set of the draft's model or project"):
        judge(draft, BoxesTruth((TrueBox("cat", (0, 0, 10, 10)),)), LABELS)


def test_an_image_is_judged_by_the_projects_labels() -> None:
    logits = np.array([1.2, 1.8, 2.0, 0.5])
    draft = mapped("classification", Classification(SIZE, logits))
    (found,) = judge(draft, LabelTruth("pet"), LABELS)
    pet = np.exp(logits[:2]).sum() / np.exp(logits).sum()
    assert (found.correct, found.as_class) == (True, False)
    assert found.logit == pytest.approx(logit(pet), abs=1e-4)
    assert not judge(draft, LabelTruth("fish"), LABELS)[0].correct
    (owl,) = judge(mapped("classification", Classification(SIZE, np.array([0, 0, 9.0, 0]))), LabelTruth("bird"), LABELS)
    assert (owl.correct, owl.as_class, owl.label) == (True, True, "owl")
