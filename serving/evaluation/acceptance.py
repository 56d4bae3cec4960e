"""The acceptance protocol: what a calibration must show on rows that it has never seen, criterion by criterion.

Each criterion passes, fails, or is not verified: the data are too few to tell. One that fails makes the whole fail; nothing is averaged
away. The thresholds stand here and nowhere else, so that they are agreed on before anybody looks at the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from calibration.apply import misfit
from calibration.correctness import MOST_BOXES
from calibration.intervals import Figure, Figures
from calibration.measure import ece
from calibration.record import CalibrationRecord
from calibration.slices import slices, worst
from calibration.streams import permitted
from calibration.threshold import measured_on
from calibration.verdict import LEAST_CLUSTERS, LEAST_FITTED, LEAST_ROWS, LIMIT, LIMIT_MANY, MANY_ROWS, SLACK
from candor.predictions import Detections
from serving.evaluation.calibrate import shown
from serving.evaluation.evaluate import Comparison, Run, class_losses, compared
from serving.evaluation.measured import attributes
from serving.evaluation.quality import average_precision, coco_matches
from serving.evaluation.rows import Calibrator, Rows, build_rows, seen_by, sides_of

Verdict: TypeAlias = Literal["pass", "fail", "not verified"]
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "not verified": 3}
_SLICE_LIMIT = 0.06
_AUROC_LOSS = 0.005
_AP_CHANGE = 0.001


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion: its name, how it came out, and the figures behind that in words."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All criteria of one calibration on one folder."""

    calibration: str
    model_version: str
    rows: int
    clusters: int
    criteria: tuple[Criterion, ...]

    @property
    def verdict(self) -> Verdict:
        """Fail if one failed, else not verified if one could not be told, else pass."""
        found = {criterion.verdict for criterion in self.criteria}
        return "fail" if "fail" in found else "not verified" if "not verified" in found else "pass"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"verdict": self.verdict, **asdict(self), "criteria": [asdict(criterion) for criterion in self.criteria]}


def accept(run: Run, record: CalibrationRecord) -> Acceptance:
    """Hold a calibration against the test side of a folder's rows."""
    judged = build_rows(run.folder, run.outcomes, run.normaliser)
    integrity = list(_integrity(run, record, judged))
    rows = _test_rows(run, record, judged)
    if any(criterion.verdict == "fail" for criterion in integrity) or rows.confidence is None or not len(rows.correct):
        empty = Criterion("test rows", "not verified", "no rows to measure") if not integrity or not len(rows.correct) else None
        criteria = (*integrity, *([empty] if empty else []))
        return Acceptance(record.id, record.model_version, len(rows.correct), len(np.unique(rows.cluster)), criteria)
    measured = compared(rows, class_losses(record.estimator, rows))
    assert measured.raw is not None  # noqa: S101 - there are rows
    assert measured.confidence is not None  # noqa: S101
    before, after = measured.raw, measured.confidence
    criteria = (
        *integrity,
        _enough(record, after),
        *_proper_scores(before, measured),
        _smooth(after),
        _binned(after),
        _ranking(before, after),
        *_order(run, record),
        _badge(record, rows),
        _slices(run, rows),
    )
    return Acceptance(record.id, record.model_version, after.n, after.clusters, criteria)


def _test_rows(run: Run, record: CalibrationRecord, judged: Rows) -> Rows:
    rows = shown(judged, run.manifest)
    rows = rows.take(sides_of(run.folder)[rows.item] == "test") if len(rows.correct) else rows
    calibrator = Calibrator(record, run.manifest.version, run.manifest.display_threshold)
    return rows.attached(run.outcomes, lambda prediction: calibrator(prediction).labels)


def _integrity(run: Run, record: CalibrationRecord, judged: Rows) -> Iterator[Criterion]:
    """Whether the record may be held against these rows at all."""
    wrong = misfit(record, run.manifest.version, run.manifest.display_threshold)
    yield _told("made for this version and threshold", wrong or "it was", bad=bool(wrong))
    leaked = _leaked(run, record)
    yield _told("test rows never fitted on", f"{leaked} test items were fitted or selected on" if leaked else "none was", bad=bool(leaked))
    others = [stream for stream in record.data.get("streams", ()) if not permitted(stream)]
    yield _told("fitted on permitted labels", f"it was fitted on {', '.join(others)}" if others else "only on those", bad=bool(others))
    if run.normaliser is not None:
        same = dict(record.normaliser or {}) == run.normaliser.as_json()
        yield _told(
            "words judged by one normaliser",
            "they are" if same else f"fitted by {record.normaliser}, here {run.normaliser.as_json()}",
            bad=not same,
        )
    closed = ece([0.95, 1.0], [1, 0])
    yield _told("the last bin is closed", f"ECE of the test vector is {closed:.3f}; it is 0.475", bad=abs(closed - 0.475) > 1e-9)
    if run.manifest.task == "detection":
        yield _matching(run, judged)


def _leaked(run: Run, record: CalibrationRecord) -> int:
    """How many test items the record has seen, itself or another of its cluster."""
    side, seen = sides_of(run.folder), seen_by(record, run.folder)
    twice = {example.sha256 for example, where in zip(run.folder.examples, side, strict=True) if where != "test"}
    bytes_twice = np.array([example.sha256 in twice for example in run.folder.examples], np.bool_)
    return int(((side == "test") & (seen | bytes_twice)).sum())


def _matching(run: Run, judged: Rows) -> Criterion:
    """Boxes are judged here by our own matching and by pycocotools: they must agree, crowd regions and duplicates too."""
    right, counted = coco_matches(run.folder, run.outcomes)
    found = int(judged.correct.sum()), len(judged.correct)
    detail = f"{found[0]} of {found[1]} right here, {right} of {counted} by COCO's own code (at most {MOST_BOXES} per image and class)"
    return _told("matching agrees with COCO", detail, bad=found != (right, counted))


def _enough(record: CalibrationRecord, after: Figures) -> Criterion:
    fitted = int(record.fit.get("n", 0))
    few = after.n < LEAST_ROWS or after.clusters < LEAST_CLUSTERS or fitted < LEAST_FITTED
    needed = f"it takes {LEAST_FITTED}, {LEAST_ROWS:,} and {LEAST_CLUSTERS}"
    detail = f"fitted on {fitted:,} rows, tested on {after.n:,} from {after.clusters} sources; {needed}"
    return Criterion("enough data", "not verified" if few else "pass", detail)


def _proper_scores(before: Figures, measured: Comparison) -> Iterator[Criterion]:
    many = before.n >= LEAST_ROWS and before.clusters >= LEAST_CLUSTERS
    value, floor = before.smece.value, before.smece.floor_95
    slack = SLACK if value is not None and floor is not None and value <= floor else 0.0
    for name in ("nll", "brier"):
        figure = measured.difference[name]
        yield _bounded(f"{name} no worse than the raw score's", figure, slack, many=many)
    yield _bounded(
        "brier better than one number for all", measured.against_constant["brier"], 0.0, many=True
    )  # a constant itself gets no mercy


def _bounded(name: str, difference: Figure, limit: float, *, many: bool) -> Criterion:
    """A difference whose interval must lie at or below a limit. One that is above it fails, but needs no proof only where rows are many."""
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None:
        return Criterion(name, "not verified", "there is no interval")
    verdict: Verdict = "pass" if high <= limit else "fail" if low > limit or (many and value > limit) else "not verified"
    return Criterion(name, verdict, f"difference {value:+.4f} ({low:+.4f} to {high:+.4f})")


def _smooth(after: Figures) -> Criterion:
    limit = LIMIT_MANY if after.n >= MANY_ROWS else LIMIT
    figure = after.smece
    if after.n < LEAST_ROWS or figure.high is None or figure.value is None:
        return Criterion("smECE", "not verified", f"{after.n} rows; below {LEAST_ROWS:,} nothing can be told")
    detail = f"{figure.value:.3f} (97.5 % bound {figure.high:.3f}, allowed {limit}; noise floor {figure.floor_mean:.3f})"
    told = figure.low is not None and figure.value > limit
    return Criterion("smECE", "pass" if figure.high <= limit else "fail" if told else "not verified", detail)


def _binned(after: Figures) -> Criterion:
    figure = after.ece
    if figure.value is None or figure.floor_95 is None:
        return Criterion("ECE against its noise", "not verified", "there are no rows")
    return _told(
        "ECE against its noise",
        f"{figure.value:.3f}; twice the null's 95th percentile is {2 * figure.floor_95:.3f}",
        bad=figure.value > 2 * figure.floor_95,
    )


def _ranking(before: Figures, after: Figures) -> Criterion:
    if before.auroc.value is None or after.auroc.value is None:
        return Criterion("ranking kept", "not verified", "all rows are right, or all are wrong")
    lost = before.auroc.value - after.auroc.value
    detail = f"AUROC {after.auroc.value:.4f}, raw {before.auroc.value:.4f}; accuracy {after.accuracy:.4f}, raw {before.accuracy:.4f}"
    return _told("ranking kept", detail, bad=lost > _AUROC_LOSS or before.accuracy != after.accuracy)


def _order(run: Run, record: CalibrationRecord) -> Iterator[Criterion]:
    """Detection: average precision with the confidence in the place of the score."""
    if run.manifest.task != "detection":
        return
    reordered: list[Any] = []
    for outcome in run.outcomes:
        if isinstance(outcome, Detections):
            confidence = record.estimator(outcome)
            order = np.argsort(-confidence, kind="stable")
            outcome = Detections(  # noqa: PLW2901
                outcome.image_size, outcome.xyxy[order], outcome.class_index[order], confidence[order], outcome.logit[order]
            )
        reordered.append(outcome)
    before, after = average_precision(run.folder, run.outcomes), average_precision(run.folder, reordered)
    if before is None or after is None:
        yield Criterion("average precision kept", "not verified", "there are no true boxes")
    else:
        yield _told("average precision kept", f"mAP {after:.4f}, with the raw score {before:.4f}", bad=abs(after - before) > _AP_CHANGE)


def _badge(record: CalibrationRecord, rows: Rows) -> Criterion:
    name = "badge keeps its promise"
    if record.badge is None:
        return Criterion(name, "not verified", str(record.data.get("badge", "none was selected")))
    assert rows.confidence is not None  # noqa: S101
    found = measured_on(record.badge.threshold, rows.confidence, rows.correct, rows.cluster)
    error = found["error"]
    if error.value is None or error.low is None:
        return Criterion(name, "not verified", "no test row is at or above the threshold")
    promise = f"promised {record.badge.epsilon}; coverage {found['coverage'].value:.2f}"
    detail = f"{error.value:.3f} wrong ({error.low:.3f} to {error.high:.3f}), {promise}"
    return _told(name, detail, bad=error.low > record.badge.epsilon)


def _slices(run: Run, rows: Rows) -> Criterion:
    assert rows.confidence is not None  # noqa: S101
    found = slices(rows.confidence, rows.correct, rows.cluster, attributes(rows, run.folder, run.manifest))
    lowest = worst(found)
    if lowest is None or lowest.smece.value is None:
        return Criterion("worst slice", "not verified", "no slice has 500 rows")
    detail = f"{lowest.by} = {lowest.name}: smECE {lowest.smece.value:.3f} on {lowest.n} rows, allowed {_SLICE_LIMIT}"
    return _told("worst slice", detail, bad=lowest.smece.value > _SLICE_LIMIT)


def _told(name: str, detail: str, *, bad: bool) -> Criterion:
    return Criterion(name, "fail" if bad else "pass", detail)
