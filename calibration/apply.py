"""Apply a calibration to one prediction. A pure function, on the path of every draft: tens of microseconds."""

from __future__ import annotations

from calibration.record import CalibrationRecord
from candor.confidences import UNCALIBRATED, Confidences
from candor.predictions import Prediction
from candor.tasks import SPECS


def apply(
    record: CalibrationRecord | None, prediction: Prediction, model_version: str, display_threshold: float | None = None
) -> Confidences:
    """Return the prediction's confidences in the shape that `Confidences` describes.

    `display_threshold` is the one under which boxes are shown now. A calibration for another version or another threshold says
    nothing about these scores: the answer is then `uncalibrated`, as it is without any.
    """
    if record is None or mismatch(record, prediction, model_version, display_threshold):
        return UNCALIBRATED
    labels = record.estimator(prediction)
    further = {name: one.estimator(prediction, labels) for name, one in record.further.items()}
    badges = labels >= record.badge.threshold if record.badge is not None else None
    return Confidences(record.status, record.id, labels, badges, further.get("no_edit"), further.get("segment"))


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
