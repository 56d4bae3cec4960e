"""What `candor evaluate` reports: quality on all items, calibration on those that the calibration has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.special import logsumexp

from calibration.apply import misfit
from calibration.intervals import Figure, Figures, figures, mean_interval
from calibration.measure import log_losses, squared_losses
from calibration.record import CalibrationRecord
from calibration.words import Normaliser, normaliser_for
from candor import __version__
from candor.errors import CandorError, InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Floats, Transcript
from serving.evaluation.examples import LabelledFolder
from serving.evaluation.quality import as_json, quality
from serving.evaluation.rows import EVENTS, Calibrator, Outcome, Rows, build_rows, seen_by

SCHEMA = 1
_LIBRARIES = ("numpy", "scipy", "jiwer", "whisper-normalizer", "pycocotools")


@dataclass(frozen=True, slots=True)
class Run:
    """One model's outcomes on one folder: one per example, in order."""

    folder: LabelledFolder
    manifest: Manifest
    outcomes: Sequence[Outcome]
    seconds: float

    @property
    def normaliser(self) -> Normaliser | None:
        """For transcription: the normaliser of the language that most recordings are in."""
        if self.manifest.task != "transcription":
            return None
        languages = Counter(outcome.language for outcome in self.outcomes if isinstance(outcome, Transcript))
        return normaliser_for(languages.most_common(1)[0][0] if languages else "en")

    def check(self) -> None:
        """Raise InvalidRequest where no item at all was drafted."""
        failed = [outcome for outcome in self.outcomes if isinstance(outcome, CandorError)]
        if len(failed) == len(self.outcomes):
            raise InvalidRequest(f"all {len(failed)} items failed; the first one: {failed[0].detail}")


def libraries() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {"candor": __version__, **{name: version(name) for name in _LIBRARIES}}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def evaluate(run: Run, record: CalibrationRecord | None, uncalibrated: str = "no calibration was given") -> dict[str, Any]:
    """Return the report as JSON values. `uncalibrated` says in words why there is no record, where there is none."""
    run.check()
    manifest, folder = run.manifest, run.folder
    failed = [
        {"file": example.file, "code": outcome.code, "detail": outcome.detail}
        for example, outcome in zip(folder.examples, run.outcomes, strict=True)
        if isinstance(outcome, CandorError)
    ]
    return {
        "schema": SCHEMA,
        "model": {"name": manifest.name, "version": manifest.version, "task": manifest.task, "family": manifest.family},
        "data": {
            "name": folder.name,
            "sha256": folder.sha256,
            "split": folder.split,
            "items": len(folder.examples),
            "clusters": folder.clusters,
            "notes": list(folder.notes),
        },
        "items": {"drafted": len(run.outcomes) - len(failed), "failed": failed, "seconds": round(run.seconds, 3)},
        "quality": quality(folder, run.outcomes, run.normaliser),
        "calibration": _calibration(run, record, uncalibrated),
        "libraries": libraries(),
        "created_at": now(),
    }


def _calibration(run: Run, record: CalibrationRecord | None, uncalibrated: str) -> dict[str, Any]:
    manifest, folder = run.manifest, run.folder
    threshold = manifest.display_threshold
    if record is not None and (reason := misfit(record, manifest.version, threshold)):
        record, uncalibrated = None, reason
    calibrator = Calibrator(record, manifest.version, threshold) if record else None
    rows = build_rows(folder, run.outcomes, run.normaliser, calibrator)
    rows = rows.take(rows.score >= threshold) if manifest.task == "detection" and threshold is not None else rows
    report: dict[str, Any] = {
        "status": record.status if record else "uncalibrated",
        "reason": record.reason if record else uncalibrated,
        "id": record.id if record else None,
        "event": EVENTS[manifest.task],
        "display_threshold": threshold,
        "rows": "all",
        "left_out_items": 0,
    }
    if record:
        seen = seen_by(record, folder)
        rows = rows.take(~seen[rows.item])
        report |= {"rows": "held out" if seen.any() else "all", "left_out_items": int(seen.sum())}
        if record.normaliser and run.normaliser and dict(record.normaliser) != run.normaliser.as_json():
            report["reason"] += f"; it was fitted with {dict(record.normaliser)}, and words are judged here by {run.normaliser.as_json()}"
    return {**report, **compared(rows, record.parameters["temperature"] if record else None).as_json()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of the raw score and of the confidence on the same rows, and their paired difference (confidence - raw)."""

    raw: Figures | None
    confidence: Figures | None
    difference: dict[str, Figure]
    class_nll: dict[str, Figure]  # classification: NLL over all classes, which the temperature minimises

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        answer: dict[str, Any] = {
            "raw": self.raw.as_json() if self.raw else None,
            "confidence": self.confidence.as_json() if self.confidence else None,
            "difference": {name: as_json(figure) for name, figure in self.difference.items()} or None,
        }
        if self.class_nll:
            answer["class_nll"] = {name: as_json(figure) for name, figure in self.class_nll.items()}
        return answer


def compared(rows: Rows, temperature: float | None) -> Comparison:
    """Measure rows with and without their confidences."""
    if not len(rows.correct):
        return Comparison(None, None, {}, {})
    raw = figures(rows.score, rows.correct, rows.cluster)
    class_nll = {}
    if rows.truth is not None:
        class_nll["raw"] = mean_interval(_class_losses(rows, 1.0), rows.cluster)
        if temperature:
            class_nll["confidence"] = mean_interval(_class_losses(rows, temperature), rows.cluster)
    if rows.confidence is None:
        return Comparison(raw, None, {}, class_nll)
    difference = {
        name: mean_interval(losses(rows.confidence, rows.correct) - losses(rows.score, rows.correct), rows.cluster)
        for name, losses in (("nll", log_losses), ("brier", squared_losses))
    }
    return Comparison(raw, figures(rows.confidence, rows.correct, rows.cluster), difference, class_nll)


def _class_losses(rows: Rows, temperature: float) -> Floats:
    scaled = rows.logits / temperature
    return np.asarray(logsumexp(scaled, axis=1) - scaled[np.arange(len(scaled)), rows.truth])
