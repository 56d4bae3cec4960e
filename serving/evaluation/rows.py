"""Judge a folder's predictions by the task's correctness rule: one row per label that counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.apply import apply
from calibration.correctness import (
    CLASSIFICATION_EVENT,
    DETECTION_EVENT,
    IOU,
    TrueBoxes,
    judge_boxes,
    judge_class,
)
from calibration.detection_figures import best_ious
from calibration.measure import Bools
from calibration.methods import score_logits
from calibration.record import CalibrationRecord, item_key
from calibration.words import WORD_EVENT, JudgedWords, Normaliser, judge_words
from candor.confidences import Confidences
from candor.errors import CandorError
from candor.predictions import Classification, Detections, Floats, Ints, Prediction, Task, Transcript
from candor.tasks import softmax
from serving.evaluation.examples import Example, LabelledFolder

EVENTS: dict[Task, str] = {"detection": DETECTION_EVENT, "classification": CLASSIFICATION_EVENT, "transcription": WORD_EVENT}
SPLIT_RULE = (
    "the SHA-256 of 'candor-split-2:' and a cluster's name, as a fraction: below 0.4 it is fitted on, below 0.6 methods and thresholds are "
    "selected on it, else it is the test; of fewer than 30 clusters the place in the order of these fractions counts in their stead"
)
Side: TypeAlias = Literal["fit", "select", "test"]
_EDGES: tuple[tuple[float, Side], ...] = ((0.4, "fit"), (0.6, "select"))
_MANY = 30  # clusters from which each one's side is its own, whatever else is in the folder
NO_EDIT_IOU = 0.75
NO_EDIT_EVENT = "the same as for the box's confidence at IoU >= 0.75: it stands so well that nobody needs to move it"

Outcome: TypeAlias = Prediction | CandorError


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one folder: boxes, words or images that count.

    `logits` is what a calibration is fitted on: (n,), or (n, k) for classification with `truth` (n,) beside it.
    """

    logits: Floats
    score: Floats  # raw score, as a probability
    correct: Floats  # 0 or 1
    cluster: NDArray[np.str_]
    item: Ints  # index of the example
    position: Ints  # index of the label in the prediction
    confidence: Floats | None = None
    truth: Ints | None = None
    class_index: Ints | None = None  # detection and classification: the label's class
    size: Floats | None = None  # square pixels of a box or an image, seconds of a word
    iou: Floats | None = None  # detection: overlap with the true box that the box is matched with at any overlap, 0 where there is none
    matched: Floats | None = None  # detection: the same at IoU 0.5 or more
    no_edit: Floats | None = None  # detection: 0 or 1, whether the box is right at IoU 0.75 too

    def take(self, mask: Bools) -> Rows:
        """Return the rows where `mask` (n,) is true."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{name: value[mask] for name, value in values.items() if value is not None})

    def attached(self, outcomes: Sequence[Outcome], estimate: Callable[[Prediction], Floats | None]) -> Rows:
        """Return the rows with the confidences that `estimate` gives their labels; outcomes are the examples', in order."""
        confidence = np.zeros(len(self.correct))
        for index in np.unique(self.item):
            outcome, mine = outcomes[index], self.item == index
            assert not isinstance(outcome, CandorError)  # noqa: S101 - an item that failed has no rows
            found = estimate(outcome)
            if found is None:
                return replace(self, confidence=None)
            confidence[mine] = found[self.position[mine]]
        return replace(self, confidence=confidence)


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A record as it would be applied in serving."""

    record: CalibrationRecord
    model_version: str
    display_threshold: float | None

    def __call__(self, prediction: Prediction) -> Confidences:
        """Apply it to one prediction."""
        return apply(self.record, prediction, self.model_version, self.display_threshold)


def build_rows(
    folder: LabelledFolder, outcomes: Sequence[Outcome], normaliser: Normaliser | None = None, calibrator: Calibrator | None = None
) -> Rows:
    """Judge every prediction. `normaliser` is needed for transcription. Items that failed give no rows.

    `confidence` is set where a calibrator is given that fits these predictions.
    """
    parts = [
        part
        for index, (example, outcome) in enumerate(zip(folder.examples, outcomes, strict=True))
        if not isinstance(outcome, CandorError) and (part := _judge(index, example, outcome, folder, normaliser)) is not None
    ]
    rows = joined(parts)
    return rows.attached(outcomes, lambda prediction: calibrator(prediction).labels) if calibrator else rows


def words_of(example: Example, prediction: Transcript, normaliser: Normaliser) -> JudgedWords:
    """Judge one recording's words."""
    words = [word.text.strip() for segment in prediction.segments for word in segment.words]
    return judge_words(words, prediction.text, str(example.truth), normaliser)


def _judge(index: int, example: Example, prediction: Prediction, folder: LabelledFolder, normaliser: Normaliser | None) -> Rows:
    if isinstance(prediction, Classification):
        return _image_row(index, example, prediction)
    if isinstance(prediction, Detections):
        return _box_rows(index, example, prediction, folder)
    assert normaliser is not None  # noqa: S101 - its caller chose one
    outcomes = words_of(example, prediction, normaliser).outcomes
    score = np.array([word.score for segment in prediction.segments for word in segment.words], np.float64)
    lengths = np.array([word.end - word.start for segment in prediction.segments for word in segment.words], np.float64)
    rows = label_rows(index, example, score_logits(prediction), score, outcomes.correct)
    return replace(rows, size=lengths).take(outcomes.counted)


def label_rows(index: int, example: Example, logits: Floats, score: Floats, correct: Bools) -> Rows:
    """Return the rows of one item\'s labels, in the prediction\'s order."""
    return Rows(
        logits=logits,
        score=score,
        correct=correct.astype(np.float64),
        cluster=np.full(len(score), example.cluster),
        item=np.full(len(score), index),
        position=np.arange(len(score)),
    )


def _box_rows(index: int, example: Example, prediction: Detections, folder: LabelledFolder) -> Rows:
    assert isinstance(example.truth, TrueBoxes)  # noqa: S101 - read_folder pairs them
    found, close = judge_boxes(prediction, example.truth), judge_boxes(prediction, example.truth, NO_EDIT_IOU)
    judged = np.isin(prediction.class_index, list(folder.judged_classes or ()))
    rows = label_rows(index, example, score_logits(prediction), prediction.score, found.correct)
    area = np.prod(prediction.xyxy[:, 2:] - prediction.xyxy[:, :2], axis=1)
    rows = replace(rows, class_index=prediction.class_index, size=area, no_edit=close.correct.astype(np.float64))
    rows = replace(rows, iou=best_ious(prediction, example.truth), matched=best_ious(prediction, example.truth, IOU))
    return rows.take(found.counted & judged)


def _image_row(index: int, example: Example, prediction: Classification) -> Rows:
    best, truth = int(np.argmax(prediction.logits)), int(str(example.truth))
    score = softmax(prediction.logits).max(keepdims=True)
    rows = label_rows(index, example, prediction.logits[None, :], score, np.array([judge_class(prediction, truth)]))
    return replace(
        rows,
        position=np.array([best]),
        truth=np.array([truth]),
        class_index=np.array([best]),
        size=np.array([np.prod(prediction.image_size)], np.float64),
    )


def joined(parts: Sequence[Rows]) -> Rows:
    """Return all rows of several items as one."""

    def column(name: str) -> NDArray[np.generic] | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    if not parts:
        empty = np.zeros(0)
        return Rows(empty, empty, empty, np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Rows(**{name: column(name) for name in Rows.__slots__})  # type: ignore[arg-type]


def side(cluster: str) -> Side:
    """On which side of the split a cluster of many stands: always the same, in whatever folder it is found. See SPLIT_RULE."""
    return _at(_share(cluster))


def sides_of(folder: LabelledFolder) -> NDArray[np.str_]:
    """Return each example's side."""
    names = sorted({example.cluster for example in folder.examples}, key=lambda name: (_share(name), name))
    if len(names) >= _MANY:
        found = {name: side(name) for name in names}
    else:  # by chance alone a side of so few may be empty
        found = {name: _at((place + 0.5) / len(names)) for place, name in enumerate(names)}
    return np.array([found[example.cluster] for example in folder.examples], np.str_)


def _share(cluster: str) -> float:
    return int.from_bytes(hashlib.sha256(f"candor-split-2:{cluster}".encode()).digest()[:4]) / 2**32


def _at(share: float) -> Side:
    return next((name for edge, name in _EDGES if share < edge), "test")


def seen_by(record: CalibrationRecord, folder: LabelledFolder) -> Bools:
    """Return for each example whether the calibration has seen it, or another one of its cluster in this folder."""
    keys = set(record.fitted_items)
    seen = {example.cluster for example in folder.examples if item_key(example.sha256) in keys}
    return np.array([example.cluster in seen for example in folder.examples], np.bool_)
