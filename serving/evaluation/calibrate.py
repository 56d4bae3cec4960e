"""What `candor calibrate` does: fit on some clusters, select on others, measure on the rest, and say how far to believe it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.record import Badge, CalibrationRecord, Further, item_key
from calibration.threshold import EPSILON, select
from candor.errors import CandorError, InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Classification
from serving.evaluation.evaluate import Run, judged, libraries, now
from serving.evaluation.measured import measure
from serving.evaluation.methods import Fitted, by_class, chosen
from serving.evaluation.rows import EVENTS, NO_EDIT_EVENT, SPLIT_RULE, Rows, Side, build_rows, sides_of
from serving.evaluation.segments import SEGMENT_EVENT, fitted_segments, segment_rows

MARGIN = 0.05  # detection: boxes so far below the display threshold are fitted too, so that the fit is not cut off at its edge


def display_threshold(manifest: Manifest) -> float | None:
    """Return the score from which boxes are shown; None for other tasks. It is the version's own: a calibration holds for no other.

    Raises:
        InvalidRequest: a detector without one.
    """
    if manifest.task != "detection":
        return None
    threshold = manifest.display_threshold
    if threshold is None:
        raise InvalidRequest(
            f"{manifest.name} has no display threshold: set models.{manifest.name}.options.display_threshold to the score from which its "
            "boxes are shown"
        )
    if not 0 <= threshold <= 1:
        raise InvalidRequest(f"a display threshold is 0 to 1, not {threshold}")
    return threshold


def shown(rows: Rows, manifest: Manifest, margin: float = 0.0) -> Rows:
    """Return the rows of labels that are shown: for detection those at or above the display threshold, less a margin."""
    return rows.take(rows.score >= (display_threshold(manifest) or 0.0) - margin) if manifest.task == "detection" else rows


def calibrate(run: Run, name: str = "", caveat: str = "") -> CalibrationRecord:
    """Fit a calibration, select its method and its badge, and measure it, each on clusters that the others have not seen.

    Args:
        run: The model's outcomes on the folder.
        name: Name of the data, for the record; default: the folder's.
        caveat: What is known against the data, and its licence, for the record.

    Raises:
        InvalidRequest: too few rows, rows of one kind, a temperature outside its bounds, a detector without a display threshold, or an item
            that stands on two sides of the split.
    """
    run.check()
    display_threshold(run.manifest)
    sides = sides_of(run.folder)
    _refuse_leaks(run, sides)
    split = _Split(run, sides)
    fitted, notes = chosen(run.manifest, split.fit, split.select, run.outcomes)
    rows = {side: rows.attached(run.outcomes, fitted.estimator) for side, rows in split.measured.items()}
    if not len(rows["test"].correct):
        raise InvalidRequest("no rows are left to measure the calibration on: the data come from too few sources")
    measured = measure(run, fitted.estimator, split.fit, rows["test"])
    status, reason = judged(int(fitted.fit["n"]), measured.comparison)
    badge, why = _badge(run, rows["select"], rows["test"])
    further, missing = _further(run, split, fitted)
    return CalibrationRecord(
        task=run.manifest.task,
        method=fitted.method,
        parameters=fitted.parameters,
        model_version=run.manifest.version,
        event=EVENTS[run.manifest.task],
        data={**_data(run, split, rows["test"], name, caveat), "selection": [*notes, *missing], "badge": why},
        fit=fitted.fit,
        figures=measured.figures,
        status=status,
        reason=reason,
        created_at=now(),
        libraries=libraries(),
        display_threshold=display_threshold(run.manifest),
        normaliser=run.normaliser.as_json() if run.normaliser else None,
        fitted_items=tuple(sorted({item_key(e.sha256) for e, side in zip(run.folder.examples, sides, strict=True) if side != "test"})),
        further=further,
        badge=badge,
    )


class _Split:
    """A folder's rows by side. `fit` reaches a little below the display threshold; `measured` holds what is shown."""

    def __init__(self, run: Run, sides: NDArray[np.str_]) -> None:
        rows = build_rows(run.folder, run.outcomes, run.normaliser)
        of_row = sides[rows.item]
        self.sides = sides
        self.fit = shown(rows.take(of_row == "fit"), run.manifest, MARGIN)
        self.measured: dict[Side, Rows] = {side: shown(rows.take(of_row == side), run.manifest) for side in ("select", "test")}

    @property
    def select(self) -> Rows:
        """The rows that methods and thresholds are selected on."""
        return self.measured["select"]


def _refuse_leaks(run: Run, sides: NDArray[np.str_]) -> None:
    """Raise InvalidRequest where the same bytes stand on two sides: the test would be on rows that were fitted."""
    where: dict[str, str] = {}
    for example, side in zip(run.folder.examples, sides.tolist(), strict=True):
        if where.setdefault(example.sha256, side) != side:
            raise InvalidRequest(
                f"{example.file} is also there under another name and source, so that it would be fitted on and tested on: give both one "
                "source (column `speaker` or `source`), or remove one"
            )


def _badge(run: Run, select_rows: Rows, test_rows: Rows) -> tuple[Badge | None, str]:
    """Return the threshold of the high-confidence badge, certified on the selection rows, or None; and why, in words."""
    assert select_rows.confidence is not None  # noqa: S101 - its caller attached them
    assert test_rows.confidence is not None  # noqa: S101
    selection = (select_rows.confidence, select_rows.correct, select_rows.cluster)
    test = (test_rows.confidence, test_rows.correct, test_rows.cluster)
    return select(run.manifest.task, EPSILON[run.manifest.task], selection, test)


def _further(run: Run, split: _Split, fitted: Fitted) -> tuple[dict[str, Further], list[str]]:
    """Fit the task's further event, where the rows can hold it; return it, or why there is none."""
    try:
        if run.manifest.task == "detection":
            return {"no_edit": _no_edit(run, split)}, []
        if run.manifest.task == "transcription":
            return {"segment": _segment(run, split, fitted)}, []
    except InvalidRequest as error:
        what = "probability that a box needs no edit" if run.manifest.task == "detection" else "segment model"
        return {}, [f"no {what}: {error.detail}"]
    return {}, []


def _no_edit(run: Run, split: _Split) -> Further:
    def at_iou(rows: Rows) -> Rows:
        return replace(rows, correct=rows.no_edit if rows.no_edit is not None else rows.correct)

    fit_rows, test_rows = at_iou(split.fit), at_iou(split.measured["test"])
    return _as_further(run, by_class(run.manifest, fit_rows, fit_rows.correct), fit_rows, test_rows, NO_EDIT_EVENT)


def _segment(run: Run, split: _Split, words: Fitted) -> Further:
    rows = segment_rows(run, words.estimator)
    of_row = split.sides[rows.item]
    fit_rows = rows.take(of_row == "fit")
    fitted = fitted_segments(run, fit_rows, words.estimator)
    return _as_further(run, fitted, fit_rows, rows.take(of_row == "test"), SEGMENT_EVENT, words)


def _as_further(run: Run, fitted: Fitted, fit_rows: Rows, test_rows: Rows, event: str, words: Fitted | None = None) -> Further:
    test_rows = test_rows.attached(
        run.outcomes, lambda prediction: fitted.estimator(prediction, words.estimator(prediction) if words else None)
    )
    if not len(test_rows.correct):
        raise InvalidRequest("no rows are left to measure it on")
    measured = measure(run, fitted.estimator, fit_rows, test_rows, task=False)
    status, reason = judged(int(fitted.fit["n"]), measured.comparison)
    return Further(fitted.method, fitted.parameters, event, fitted.fit, measured.figures, status, reason)


def _data(run: Run, split: _Split, test_rows: Rows, name: str, caveat: str) -> dict[str, Any]:
    folder = run.folder

    def part(side: Side, rows: Rows) -> dict[str, int]:
        return {"rows": len(rows.correct), "items": int((split.sides == side).sum()), "clusters": len(np.unique(rows.cluster))}

    return {
        "name": name or folder.name,
        "sha256": folder.sha256,
        "split": folder.split,
        "sources": sorted({example.source for example in folder.examples} - {""}),
        "caveat": " ".join(filter(None, [caveat, *folder.notes])),
        "rule": SPLIT_RULE,
        "fit": part("fit", split.fit),
        "select": part("select", split.select),
        "test": part("test", test_rows),
        "failed_items": sum(isinstance(outcome, CandorError) for outcome in run.outcomes),
        "logits_reconstructed": any(isinstance(o, Classification) and o.reconstructed for o in run.outcomes),
    }
