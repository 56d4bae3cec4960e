"""What `candor evaluate` reports: quality on all items, calibration on those that the calibration has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.special import logsumexp

from calibration.apply import misfit
from calibration.intervals import Figure, Figures, figures, mean_interval
from calibration.measure import log_losses, squared_losses
from calibration.methods import Estimator
from calibration.record import CalibrationRecord, Status
from calibration.verdict import LEAST_CLUSTERS, verdict
from calibration.words import Normaliser, normaliser_for
from candor import __version__
from candor.errors import CandorError, InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Detections, Floats, Transcript
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
            "sources": sorted({example.source for example in folder.examples} - {""}),
            "notes": [*folder.notes, *_doubts(run)],
        },
        "items": {"drafted": len(run.outcomes) - len(failed), "failed": failed, "seconds": round(run.seconds, 3)},
        "quality": quality(folder, run.outcomes, run.normaliser, manifest.display_threshold),
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
        report |= _foreign(record, run)
    measured = compared(rows, class_losses(record.estimator if record else None, rows))
    if record and measured.raw:
        status, reason = judged(int(record.fit.get("n", 0)), measured)
        report["here"] = {"status": status, "reason": reason}
    return {**report, **measured.as_json(), "by_source": _by_source(rows, folder)}


def _foreign(record: CalibrationRecord, run: Run) -> dict[str, str]:
    """Return another status where words are judged here by another normaliser than the record's: its claim is not about them."""
    if not record.normaliser or not run.normaliser or dict(record.normaliser) == run.normaliser.as_json():
        return {}
    return {
        "status": "unverified",
        "reason": f"it was fitted on words judged by {dict(record.normaliser)}, and they are judged here by {run.normaliser.as_json()}",
    }


def _by_source(rows: Rows, folder: LabelledFolder) -> dict[str, Any]:
    """Return for each named source whether its fraction right is what its mean score, or confidence, says."""
    source = np.array([example.source for example in folder.examples])[rows.item] if len(rows.item) else np.zeros(0, np.str_)
    answer = {}
    for name in sorted(set(source.tolist()) - {""}):
        part = rows.take(source == name)
        shown = figures(part.score if part.confidence is None else part.confidence, part.correct, part.cluster).as_json()
        answer[name] = {key: shown[key] for key in ("n", "clusters", "accuracy", "mean_confidence", "smece")}
    return answer


def _doubts(run: Run) -> list[str]:
    """Return what makes the figures doubtful, in words."""
    notes = []
    if run.folder.clusters < LEAST_CLUSTERS:
        notes.append(f"{run.folder.clusters} independent sources: the intervals are too narrow, as they can't know of others")
    sizes = [
        (example.size, outcome.image_size)
        for example, outcome in zip(run.folder.examples, run.outcomes, strict=True)
        if isinstance(outcome, Detections) and example.size is not None
    ]
    if other := sum(said != found for said, found in sizes):
        notes.append(f"{other} images are not of the size that their labels were made for (EXIF rotation, perhaps)")
    return notes


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of the raw score and of the confidence on the same rows, and their paired difference (confidence - raw)."""

    raw: Figures | None
    confidence: Figures | None
    difference: dict[str, Figure]
    class_nll: dict[str, Figure]  # classification: NLL over all classes, which the temperature minimises
    against_constant: dict[str, Figure] = field(default_factory=dict)  # the rows' own fraction right, given to every row

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        answer: dict[str, Any] = {
            "raw": self.raw.as_json() if self.raw else None,
            "confidence": self.confidence.as_json() if self.confidence else None,
            "difference": _as_json(self.difference),
            "against_constant": _as_json(self.against_constant),
        }
        if self.class_nll:
            answer["class_nll"] = _as_json(self.class_nll)
        return answer


def _as_json(found: Mapping[str, Figure]) -> dict[str, Any] | None:
    return {name: as_json(figure) for name, figure in found.items()} or None


def judged(fitted: int, measured: Comparison) -> tuple[Status, str]:
    """Return the verdict on rows that have confidences."""
    assert measured.raw is not None  # noqa: S101 - its caller has rows
    assert measured.confidence is not None  # noqa: S101
    return verdict(fitted, measured.raw, measured.confidence, measured.difference, measured.against_constant)


def compared(rows: Rows, losses: Mapping[str, Floats]) -> Comparison:
    """Measure rows with and without their confidences. `losses` are those of `class_losses`."""
    if not len(rows.correct):
        return Comparison(None, None, {}, {})
    raw = figures(rows.score, rows.correct, rows.cluster)
    class_nll = {name: mean_interval(values, rows.cluster) for name, values in losses.items()}
    if "confidence" in losses:
        class_nll["difference"] = mean_interval(losses["confidence"] - losses["raw"], rows.cluster)
    if rows.confidence is None:
        return Comparison(raw, None, {}, class_nll)
    constant = np.full(len(rows.correct), rows.correct.mean())
    difference, against_constant = (
        {
            name: mean_interval(loss(rows.confidence, rows.correct) - loss(other, rows.correct), rows.cluster)
            for name, loss in (("nll", log_losses), ("brier", squared_losses))
        }
        for other in (rows.score, constant)
    )
    return Comparison(raw, figures(rows.confidence, rows.correct, rows.cluster), difference, class_nll, against_constant)


def class_losses(estimator: Estimator | None, rows: Rows) -> dict[str, Floats]:
    """For classification: NLL over all classes of each row, of the raw logits and as calibrated; else nothing."""
    if rows.truth is None:
        return {}
    scaled = {"raw": rows.logits}
    if estimator is None or not len(rows.correct):
        pass
    elif estimator.method == "temperature":
        scaled["confidence"] = rows.logits / estimator.arrays["temperature"]
    elif estimator.method == "vector":
        scaled["confidence"] = rows.logits * estimator.arrays["scale"] + estimator.arrays["bias"]
    return {name: np.asarray(logsumexp(z, axis=1) - z[np.arange(len(z)), rows.truth]) for name, z in scaled.items()}
