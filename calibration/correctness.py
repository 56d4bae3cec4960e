"""The correctness rules of detection and classification: what a confidence is the probability of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.measure import Bools
from candor.predictions import Classification, Detections, Floats, Ints

IOU = 0.5
MOST_BOXES = 100  # per image and class, as COCO counts them

DETECTION_EVENT = (
    "the box matches a not-yet-matched true box of its class at IoU >= 0.5, matching in descending score (COCO, at most 100 boxes per "
    "image and class); a duplicate is wrong; a box whose best match is a crowd region is not counted"
)
CLASSIFICATION_EVENT = "the label equals the truth"


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """What is really in one image. A crowd region stands for many objects that nobody counted."""

    xyxy: Floats  # (m, 4) pixels
    class_index: Ints  # (m,)
    crowd: Bools  # (m,)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """For each label: was it right, and does it count at all."""

    correct: Bools
    counted: Bools


def judge_class(prediction: Classification, truth: int) -> bool:
    """Whether the most probable class is the true one."""
    return int(np.argmax(prediction.logits)) == truth


def judge_boxes(prediction: Detections, truth: TrueBoxes, iou: float = IOU) -> Outcomes:
    """Match boxes (n,), in descending score, with true boxes: one to one within a class, each with the best that is left.

    Source: the matching of COCO's evaluation (Lin et al., 2014), as pycocotools carries it out over all areas.
    """
    correct, counted = np.zeros(len(prediction.score), np.bool_), np.ones(len(prediction.score), np.bool_)
    for index in np.unique(prediction.class_index):
        mine = np.flatnonzero(prediction.class_index == index)
        mine = mine[np.argsort(-prediction.score[mine], kind="stable")]
        true = truth.class_index == index
        matched, ignored = _match(prediction.xyxy[mine[:MOST_BOXES]], truth.xyxy[true], truth.crowd[true], iou)
        correct[mine[:MOST_BOXES]] = matched
        counted[mine[:MOST_BOXES]] = ~ignored
        counted[mine[MOST_BOXES:]] = False
    return Outcomes(correct, counted)


def _match(boxes: Floats, true: Floats, crowd: Bools, iou: float) -> tuple[Bools, Bools]:
    """Return (matched, ignored) for boxes of one class in descending score. A crowd is the match only where no single box is."""
    matched, ignored = np.zeros(len(boxes), np.bool_), np.zeros(len(boxes), np.bool_)
    if not len(true):
        return matched, ignored
    overlap = overlaps(boxes, true, crowd)
    free = ~crowd
    for i, row in enumerate(overlap):
        single = np.where(free, row, -1.0)
        best = len(single) - 1 - int(np.argmax(single[::-1]))  # the last of equals, as COCO has it
        if single[best] >= iou:
            matched[i], free[best] = True, False
        else:
            ignored[i] = bool((row[crowd] >= iou).any())
    return matched, ignored


def overlaps(boxes: Floats, true: Floats, crowd: Bools) -> Floats:
    """Intersection over union (n, m) of pixel boxes; over the box's own area where the true one is a crowd region."""
    corner = np.minimum(boxes[:, None, 2:], true[None, :, 2:]) - np.maximum(boxes[:, None, :2], true[None, :, :2])
    shared = np.clip(corner, 0, None).prod(axis=2)
    own, other = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (boxes, true))
    union = np.where(crowd[None, :], own[:, None], own[:, None] + other[None, :] - shared)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
