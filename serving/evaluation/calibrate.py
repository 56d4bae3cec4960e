"""What `candor calibrate` does: fit on one half of the clusters, measure on the other, and say how far to believe it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from calibration.fit import Fit, fit_temperature, fit_temperature_bias, publishable
from calibration.measure import Bools
from calibration.methods import METHODS
from calibration.record import CalibrationRecord, item_key
from candor.errors import CandorError, InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Classification
from serving.evaluation.evaluate import Run, compared, judged, libraries, now
from serving.evaluation.rows import EVENTS, SPLIT_RULE, Calibrator, Rows, build_rows, fitted_side

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


def calibrate(run: Run, name: str = "", caveat: str = "") -> CalibrationRecord:
    """Fit a calibration and measure it on clusters that the fit has not seen.

    Args:
        run: The model's outcomes on the folder.
        name: Name of the data, for the record; default: the folder's.
        caveat: What is known against the data, and its licence, for the record.

    Raises:
        InvalidRequest: too few rows, rows of one kind, a temperature outside its bounds, or a detector without a display threshold.
    """
    run.check()
    shown_from = display_threshold(run.manifest)
    fitted = fitted_side(run.folder)
    rows = build_rows(run.folder, run.outcomes, run.normaliser)
    fit_rows = rows.take(fitted[rows.item] & (rows.score >= (shown_from or 0.0) - MARGIN))
    fit = publishable(_fit(run.manifest, fit_rows))
    draft = _unmeasured(run, shown_from, fit)

    held_out = build_rows(run.folder, run.outcomes, run.normaliser, Calibrator(draft, draft.model_version, shown_from))
    held_out = held_out.take(~fitted[held_out.item] & (held_out.score >= (shown_from or 0.0)))
    if not len(held_out.correct):
        raise InvalidRequest("no rows are left to measure the calibration on: the data come from too few sources")
    measured = compared(held_out, fit.temperature)
    status, reason = judged(fit.n, measured)
    figures = measured.as_json()
    return replace(
        draft,
        status=status,
        reason=reason,
        figures={"before": figures.pop("raw"), "after": figures.pop("confidence"), **figures},
        data=_data(run, (fitted, fit_rows, held_out), name, caveat),
        fitted_items=tuple(sorted({item_key(e.sha256) for e, used in zip(run.folder.examples, fitted, strict=True) if used})),
    )


def _fit(manifest: Manifest, rows: Rows) -> Fit:
    if manifest.task == "classification":
        return fit_temperature(rows.logits, rows.truth if rows.truth is not None else np.zeros(0, np.int64))
    return fit_temperature_bias(rows.logits, rows.correct)


def _unmeasured(run: Run, shown_from: float | None, fit: Fit) -> CalibrationRecord:
    parameters = {"temperature": fit.temperature}
    return CalibrationRecord(
        task=run.manifest.task,
        method=METHODS[run.manifest.task][0],
        parameters=parameters if fit.bias is None else {**parameters, "bias": fit.bias},
        model_version=run.manifest.version,
        event=EVENTS[run.manifest.task],
        data={},
        fit=fit.as_json(),
        figures={},
        status="unverified",
        reason="not measured yet",
        created_at=now(),
        libraries=libraries(),
        display_threshold=shown_from,
        normaliser=run.normaliser.as_json() if run.normaliser else None,
    )


def _data(run: Run, parts: tuple[Bools, Rows, Rows], name: str, caveat: str) -> dict[str, Any]:
    fitted, fit_rows, held_out = parts
    folder = run.folder

    def part(items: Bools, rows: Rows) -> dict[str, int]:
        return {"rows": len(rows.correct), "items": int(items.sum()), "clusters": len(np.unique(rows.cluster))}

    return {
        "name": name or folder.name,
        "sha256": folder.sha256,
        "split": folder.split,
        "sources": sorted({example.source for example in folder.examples} - {""}),
        "caveat": " ".join(filter(None, [caveat, *folder.notes])),
        "rule": SPLIT_RULE,
        "fit": part(fitted, fit_rows),
        "test": part(~fitted, held_out),
        "failed_items": sum(isinstance(outcome, CandorError) for outcome in run.outcomes),
        "logits_reconstructed": any(isinstance(o, Classification) and o.reconstructed for o in run.outcomes),
    }
