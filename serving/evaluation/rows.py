"""Judge a folder's predictions by the task's correctness rule: one row per label that counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.apply import apply
from calibration.correctness import (
    CLASSIFICATION_EVENT,
    DETECTION_EVENT,
    Outcomes,
    TrueBoxes,
    judge_boxes,
    judge_class,
)
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
SPLIT_RULE = "a cluster is fitted where the SHA-256 of 'candor-split-1:' and its name is in the lower half, else held out"

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
    confidence: Floats | None = None
    truth: Ints | None = None

    def take(self, mask: Bools) -> Rows:
        """Return the rows where `mask` (n,) is true."""
        return replace(
            self,
            logits=self.logits[mask],
            score=self.score[mask],
            correct=self.correct[mask],
            cluster=self.cluster[mask],
            item=self.item[mask],
            confidence=None if self.confidence is None else self.confidence[mask],
            truth=None if self.truth is None else self.truth[mask],
        )


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
        if not isinstance(outcome, CandorError) and (part := _judge(index, example, outcome, folder, normaliser, calibrator)) is not None
    ]
    return _joined(parts)


def words_of(example: Example, prediction: Transcript, normaliser: Normaliser) -> JudgedWords:
    """Judge one recording's words."""
    words = [word.text.strip() for segment in prediction.segments for word in segment.words]
    return judge_words(words, prediction.text, str(example.truth), normaliser)


def _judge(
    index: int,
    example: Example,
    prediction: Prediction,
    folder: LabelledFolder,
    normaliser: Normaliser | None,
    calibrator: Calibrator | None,
) -> Rows | None:
    confidences = calibrator(prediction).labels if calibrator else None
    if isinstance(prediction, Classification):
        return _image_row(index, example, prediction, confidences)
    if isinstance(prediction, Detections):
        assert isinstance(example.truth, TrueBoxes)  # noqa: S101 - read_folder pairs them
        found = judge_boxes(prediction, example.truth)
        judged = np.isin(prediction.class_index, list(folder.judged_classes or ()))
        outcomes, score = Outcomes(found.correct, found.counted & judged), prediction.score
    else:
        assert normaliser is not None  # noqa: S101 - its caller chose one
        outcomes = words_of(example, prediction, normaliser).outcomes
        score = np.array([word.score for segment in prediction.segments for word in segment.words], np.float64)
    return Rows(
        logits=score_logits(prediction),
        score=score,
        correct=outcomes.correct.astype(np.float64),
        cluster=np.full(len(score), example.cluster),
        item=np.full(len(score), index),
        confidence=confidences,
    ).take(outcomes.counted)


def _image_row(index: int, example: Example, prediction: Classification, confidences: Floats | None) -> Rows:
    truth = int(str(example.truth))
    return Rows(
        logits=prediction.logits[None, :],
        score=softmax(prediction.logits).max(keepdims=True),
        correct=np.array([float(judge_class(prediction, truth))]),
        cluster=np.array([example.cluster]),
        item=np.array([index]),
        confidence=None if confidences is None else confidences[[int(np.argmax(prediction.logits))]],
        truth=np.array([truth]),
    )


def _joined(parts: Sequence[Rows]) -> Rows:
    def joined(name: str) -> NDArray[np.generic] | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    if not parts:
        empty = np.zeros(0)
        return Rows(empty, empty, empty, np.zeros(0, np.str_), np.zeros(0, np.int64))
    return Rows(**{name: joined(name) for name in Rows.__slots__})  # type: ignore[arg-type]


def is_fitted(cluster: str) -> bool:
    """On which side of the split a cluster stands: always the same, in whatever folder it is found. See SPLIT_RULE."""
    return hashlib.sha256(f"candor-split-1:{cluster}".encode()).digest()[0] < 128


def fitted_side(folder: LabelledFolder) -> Bools:
    """Return for each example whether it is fitted on."""
    return np.array([is_fitted(example.cluster) for example in folder.examples], np.bool_)


def seen_by(record: CalibrationRecord, folder: LabelledFolder) -> Bools:
    """Return for each example whether the calibration has seen it, or another one of its cluster in this folder."""
    keys = set(record.fitted_items)
    seen = {example.cluster for example in folder.examples if item_key(example.sha256) in keys}
    return np.array([example.cluster in seen for example in folder.examples], np.bool_)
