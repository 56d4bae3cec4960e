"""Judge a stored draft against the truth: which of the labels that it proposed were right. The caller's own verdict is never taken.

A stored payload holds the shown labels with their raw scores and logits, to six digits. That is all that the correctness rules of
`calibration.correctness` and `calibration.words` look at: boxes under the display threshold come after all shown ones and so can't take
a true box from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any, TypeAlias

import numpy as np
from scipy.special import logsumexp

from calibration.correctness import TrueBoxes, judge_boxes
from calibration.words import judge_words, normaliser_for
from candor.drafts import Draft
from candor.errors import InvalidRequest
from candor.mapping import vocabulary
from candor.predictions import Detections

_BEYOND = 1.0  # pixels by which a drawn box may stand over the image's edge: tools round
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class LabelTruth:
    """The class of an image; None where it is none of the model's."""

    label: str | None


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One true box, in pixels of the image after EXIF rotation."""

    label: str
    xyxy: tuple[float, float, float, float]
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class BoxesTruth:
    """All objects of an image. `classes`: those that were looked for, where not the whole label set was; others are not judged."""

    boxes: tuple[TrueBox, ...]
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TextTruth:
    """What was said; empty where nothing was."""

    text: str


Truth: TypeAlias = LabelTruth | BoxesTruth | TextTruth
_NEEDED = {
    "classification": (LabelTruth, '{"label": "…"}'),
    "detection": (BoxesTruth, '{"boxes": […]}'),
    "transcription": (TextTruth, '{"text": "…"}'),
}


@dataclass(frozen=True, slots=True)
class JudgedLabel:
    """One label of a draft that counts. `position` is the box's, the word's over all segments, or 0 for an image's first label."""

    position: int
    correct: bool
    confidence: float | None  # as it was shown
    logit: float  # log-odds of the raw score
    label: str | None  # the model's class; None for a word
    as_class: bool = True  # right just where the model's class is: else a calibration of the classes learns nothing of it
    normaliser: tuple[str, str] | None = None  # name and version, of words: another one may judge the same word otherwise


def judge(draft: Draft, truth: Truth, labels: Sequence[str]) -> list[JudgedLabel]:
    """Return the labels of a draft that count, each right or wrong by its task's rule; of a mapped draft in its project's labels.

    Args:
        draft: As it is stored.
        truth: Of the kind that the draft's task needs.
        labels: The label set of the draft's model version; empty for transcription.

    Raises:
        InvalidRequest: a truth of another kind, a class outside the label set, a box outside the image or without an area, or a draft
            whose payload holds no raw logits.
    """
    kind, shape = _NEEDED[draft.task]
    if not isinstance(truth, kind):
        raise InvalidRequest(f"draft {draft.id} is of task {draft.task}: its truth is written {shape}")
    try:
        names = _Classes(vocabulary(draft.payload) or labels)
        if isinstance(truth, LabelTruth):
            return _judge_image(draft.payload, truth, names, len(labels))
        if isinstance(truth, BoxesTruth):
            return _judge_boxes(draft.payload, truth, names)
        return _judge_text(draft.payload, truth)
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidRequest(f"draft {draft.id} was stored without what it takes to judge it: {error}") from error


class _Classes:
    """Class names to indices, whatever their case."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._index = {label.casefold(): index for index, label in enumerate(labels)}

    def __call__(self, name: str) -> int:
        index = self._index.get(name.strip().casefold())
        if index is None:
            raise InvalidRequest(f"{name[:80]!r} is not in the label set of the draft's model or project")
        return index


def _judge_image(payload: Mapping[str, Any], truth: LabelTruth, classes: _Classes, known: int) -> list[JudgedLabel]:
    shown = payload["labels"]
    if not shown and vocabulary(payload) is not None:  # all classes were dropped: nothing was proposed
        return []
    first = shown[0]
    right = truth.label is not None and classes(truth.label) == classes(first["label"])
    return [JudgedLabel(0, right, first["confidence"], top_log_odds(shown, known), *_class(first))]


def top_log_odds(shown: Sequence[Mapping[str, Any]], classes: int) -> float:
    """Return the log-odds of the first label's softmax probability, from what a stored draft shows of it.

    Where the logits of all classes are shown it is exact. Else it comes from the probability, which is rounded to six digits; the odds
    against it are at least those that the other shown logits make, so that a probability rounded to 1 stays finite.
    """
    logits = np.array([one["raw"]["logit"] for one in shown], np.float64)
    against = float(logsumexp(logits[1:]) - logits[0]) if len(logits) > 1 else -np.inf
    if len(shown) < classes or not isfinite(against):
        score = float(shown[0]["raw"]["score"])
        against = max(against, log(max(1 - score, _TINY)) - log(max(score, _TINY)))
    return -against


def _judge_boxes(payload: Mapping[str, Any], truth: BoxesTruth, classes: _Classes) -> list[JudgedLabel]:
    shown = payload["labels"]
    true = _true_boxes(truth, classes, payload["image_size"])
    looked_for = None if truth.classes is None else {classes(name) for name in truth.classes}
    if looked_for is not None and (other := sorted({box.label for box in truth.boxes if classes(box.label) not in looked_for})):
        raise InvalidRequest(f"a true box is of class {other[0]!r}, which is not among the truth's `classes`")
    found = Detections(
        image_size=tuple(payload["image_size"]),
        xyxy=np.array([one["xyxy"] for one in shown], np.float64).reshape(-1, 4),
        class_index=np.array([classes(one["label"]) for one in shown], np.int64),
        score=np.array([one["raw"]["score"] for one in shown], np.float64),
        logit=np.array([one["raw"]["logit"] for one in shown], np.float64),
    )
    outcomes = judge_boxes(found, true)
    return [
        JudgedLabel(i, bool(outcomes.correct[i]), one["confidence"], float(found.logit[i]), *_class(one))
        for i, one in enumerate(shown)
        if outcomes.counted[i] and (looked_for is None or int(found.class_index[i]) in looked_for)
    ]


def _class(label: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the model's class behind a shown label, and whether the label is right just where the class is."""
    return label["raw"].get("class", label["label"]), label["raw"].get("as_class", True)


def _true_boxes(truth: BoxesTruth, classes: _Classes, size: Sequence[float]) -> TrueBoxes:
    for position, box in enumerate(truth.boxes):
        left, top, right, bottom = box.xyxy
        if not all(isfinite(x) for x in box.xyxy) or right <= left or bottom <= top:
            raise InvalidRequest(f"true box {position}: xyxy {list(box.xyxy)} has no area")
        if min(left, top) < -_BEYOND or right > size[0] + _BEYOND or bottom > size[1] + _BEYOND:
            raise InvalidRequest(
                f"true box {position}: xyxy {list(box.xyxy)} lies outside the image of {size[0]} x {size[1]} pixels (after EXIF rotation)"
            )
    return TrueBoxes(
        xyxy=np.array([box.xyxy for box in truth.boxes], np.float64).reshape(-1, 4),
        class_index=np.array([classes(box.label) for box in truth.boxes], np.int64),
        crowd=np.array([box.crowd for box in truth.boxes], np.bool_),
    )


def _judge_text(payload: Mapping[str, Any], truth: TextTruth) -> list[JudgedLabel]:
    words = [word for segment in payload["segments"] for word in segment["words"]]
    normaliser = normaliser_for(payload["language"])
    found = judge_words([word["text"] for word in words], payload["text"], truth.text, normaliser)
    by = (normaliser.name, normaliser.version)
    return [
        JudgedLabel(i, bool(found.outcomes.correct[i]), word["confidence"], float(word["raw"]["logit"]), None, normaliser=by)
        for i, word in enumerate(words)
        if found.outcomes.counted[i]
    ]
