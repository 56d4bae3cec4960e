"""Apply a calibration to one prediction. A pure function, on the path of every draft: tens of microseconds."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from calibration.record import CalibrationRecord
from candor.confidences import UNCALIBRATED, Confidences
from candor.predictions import Classification, Detections, Floats, Prediction, Transcript
from candor.tasks import SPECS, softmax


def apply(
    record: CalibrationRecord | None, prediction: Prediction, model_version: str, display_threshold: float | None = None
) -> Confidences:
    """Return the prediction's confidences in the shape that `Confidences` describes.

    `display_threshold` is the one under which boxes are shown now. A calibration for another version or another threshold says
    nothing about these scores: the answer is then `uncalibrated`, as it is without any.
    """
    if record is None or mismatch(record, prediction, model_version, display_threshold):
        return UNCALIBRATED
    temperature = record.parameters["temperature"]
    if isinstance(prediction, Classification):
        labels = softmax(np.asarray(prediction.logits, np.float64) / temperature)
    else:
        labels = np.asarray(expit(score_logits(prediction) / temperature + record.parameters["bias"]))
    return Confidences(status=record.status, calibration=record.id, labels=labels)


def score_logits(prediction: Detections | Transcript) -> Floats:
    """Return the logits that are calibrated: one per box, or one per word over all segments in order."""
    if isinstance(prediction, Detections):
        return np.asarray(prediction.logit, np.float64)
    return np.array([word.logit for segment in prediction.segments for word in segment.words], np.float64)


def mismatch(record: CalibrationRecord, prediction: Prediction, model_version: str, display_threshold: float | None) -> str:
    """Return why a record can't be applied; empty where it can."""
    if not isinstance(prediction, SPECS[record.task].prediction):
        return f"it was made for {record.task}"
    return misfit(record, model_version, display_threshold)


def misfit(record: CalibrationRecord, model_version: str, display_threshold: float | None) -> str:
    """Return why a record does not belong to a version shown under a threshold; empty where it does."""
    if record.model_version != model_version:
        return f"it was made for {record.model_version}, and this is {model_version}"
    if record.task == "detection" and record.display_threshold != display_threshold:
        return f"it was fitted for boxes shown from score {record.display_threshold}, and they are shown from {display_threshold}"
    return ""
