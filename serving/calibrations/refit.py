"""Fit a calibration anew on stored outcomes, measure it on others of them, and say whether it may take the place of the one in force.

Only outcomes of permitted streams are fitted on, each with weight 1 / its chance of being drawn. Items are split by their bytes, as
`serving.evaluation.rows` splits them: what is measured on was never fitted on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from calibration.alternatives import FitRows, HeldOutRows, alternatives
from calibration.bands import reliability
from calibration.fit import Fit, publishable
from calibration.fit_weighted import fit_temperature_bias_weighted
from calibration.measure import Bools, log_losses
from calibration.methods import Method
from calibration.promotion import promote
from calibration.record import Badge, CalibrationRecord, item_key
from calibration.refinement import refinement
from calibration.streams import CLIP, PERMITTED, effective_sample_size, require_permitted, weights
from calibration.threshold import EPSILON, select
from candor.errors import InvalidRequest
from candor.manifest import Manifest, canonical_json
from candor.predictions import Detections, Floats, Task
from serving.access import Principal
from serving.calibrations.service import CalibrationService
from serving.evaluation.evaluate import Comparison, compared, judged, libraries, now
from serving.evaluation.quality import as_json
from serving.evaluation.rows import EVENTS, SPLIT_RULE, Rows, side
from store import Store
from store.outcomes import Outcome, Outcomes

METHOD: Mapping[Task, Method] = {
    "classification": "top_temperature_bias",
    "detection": "temperature_bias",
    "transcription": "word_temperature_bias",
}
_RICHER = ("class_temperature_bias", "isotonic", "vector", "word_logistic")  # more parameters than a refit has
_LINES = (*METHOD.values(),)  # sigmoid(logit / temperature + bias)
Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A new calibration, and whether it may be promoted: `promotion` says why, as JSON values."""

    record: CalibrationRecord
    promotion: Mapping[str, Any]
    better: bool


async def fit_outcomes(
    store: Store, manifest: Manifest, source: Mapping[str, Any], in_force: CalibrationRecord | None, tell: Tell
) -> Fitted:
    """Fit on the stored outcomes of one model version.

    Args:
        store: Where they are.
        manifest: The model version's.
        source: `streams` and `after`, as the request has them.
        in_force: The calibration to compare with; None: the raw score.
        tell: Is told how far the work is.

    Raises:
        InvalidRequest: too few outcomes, all right or all wrong, or a temperature outside its bounds.
    """
    streams = source.get("streams") or sorted(PERMITTED)
    require_permitted(streams)
    after = source.get("after")
    found = await Outcomes(store).of_version(manifest.version, streams, after=datetime.fromisoformat(after) if after else None)
    tell(0.3, f"fitting on {len(found):,} outcomes")
    return await asyncio.to_thread(refit, manifest, found, in_force)


def refit(manifest: Manifest, outcomes: Sequence[Outcome], in_force: CalibrationRecord | None) -> Fitted:
    """Fit, measure and compare; see `fit_outcomes`. `outcomes` are in order of arrival."""
    require_permitted(one.stream for one in outcomes)
    if not outcomes:
        raise InvalidRequest(f"there are no outcomes of the streams asked for of {manifest.version}: POST /v1/outcomes first")
    labels = _Labels(_alike(last_told(outcomes)))
    parts = {name: labels.take(labels.side == name) for name in ("fit", "select", "test")}
    rows = parts["fit"]
    fit = publishable(fit_temperature_bias_weighted(rows.logit, rows.correct, rows.weight, rows.cluster))
    record = _measured(manifest, fit, parts)
    found = _shadow(manifest, record, in_force, parts["test"])
    return Fitted(record, found, found["decision"] == "better")


async def shadow(store: Store, service: CalibrationService, calibration_id: str, who: Principal) -> dict[str, Any]:
    """Score a stored calibration against the one in force, on all outcomes that neither was fitted on; see `Fitted.promotion`.

    Raises:
        UnknownCalibration: there is none of that id.
        UnknownModel: its version is not installed here.
    """
    record = (await service.get(calibration_id, who)).record
    found = await service.of_version(record.model_version, who)
    outcomes = await Outcomes(store).of_version(record.model_version, sorted(PERMITTED))
    return await asyncio.to_thread(compare, found.manifest, record, found.now.record, outcomes)


def compare(
    manifest: Manifest, record: CalibrationRecord, in_force: CalibrationRecord | None, outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Compare on outcomes in order of arrival; see `shadow`."""
    require_permitted(one.stream for one in outcomes)
    seen = set(record.fitted_items)
    fresh = [one for one in _alike(last_told(outcomes)) if item_key(one.cluster) not in seen]
    return _shadow(manifest, record, in_force, _Labels(fresh))


def last_told(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return, of each item's bytes, the labels of the draft and event that came last: a correction stands for what it corrects."""
    chosen = {one.cluster: (one.draft, one.source) for one in outcomes}
    return [one for one in outcomes if chosen[one.cluster] == (one.draft, one.source)]


def _alike(outcomes: list[Outcome]) -> list[Outcome]:
    """Return, of words, those that the same normaliser judged as most: another one may judge the same words otherwise."""
    if not outcomes:
        return []
    judges = Counter(tuple(one.features.get("normaliser") or ()) for one in outcomes)
    most = judges.most_common(1)[0][0]
    return [one for one in outcomes if tuple(one.features.get("normaliser") or ()) == most]


class _Labels:
    """Outcomes as columns (n,)."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.logit = np.array([float(one.features["logit"]) for one in outcomes], np.float64)
        self.correct = np.array([one.correct for one in outcomes], np.float64)
        self.weight = weights([one.propensity for one in outcomes])
        self.cluster: NDArray[np.str_] = np.array([one.cluster for one in outcomes], np.str_)

    @property
    def side(self) -> NDArray[np.str_]:
        """On which side of the split each label stands."""
        return np.array([side(cluster) for cluster in self.cluster.tolist()], np.str_)

    def take(self, mask: Bools) -> _Labels:
        """Return the labels where `mask` (n,) is true."""
        return _Labels([one for one, kept in zip(self.outcomes, mask, strict=True) if kept])

    def evenly(self) -> _Labels:
        """Return a sample in which all have had the same chance: an item is kept with its weight over the greatest one, by hash."""
        chance = self.weight / self.weight.max() if len(self.weight) else self.weight
        return self.take(np.array([_draw(name) for name in self.cluster.tolist()]) < chance)

    def described(self) -> dict[str, Any]:
        """Return counts, for the record."""
        return {
            "rows": len(self.outcomes),
            "items": len(set(self.cluster.tolist())),
            "clusters": len(set(self.cluster.tolist())),
            "streams": dict(sorted(Counter(one.stream for one in self.outcomes).items())),
            "effective_rows": round(effective_sample_size(self.weight), 1),
            "greatest_weight": float(self.weight.max()) if len(self.weight) else None,
        }


def _draw(cluster: str) -> float:
    """A number from 0 to 1 that belongs to a cluster, and not to its side of the split."""
    return int.from_bytes(hashlib.sha256(f"candor-thin-1:{cluster}".encode()).digest()[:7]) / 2**56


def _measured(manifest: Manifest, fit: Fit, parts: Mapping[str, _Labels]) -> CalibrationRecord:
    even = {name: part.evenly() for name, part in parts.items()}
    rows = even["test"]
    if not len(rows.logit):
        raise InvalidRequest("no outcomes are left to measure the calibration on: they come from too few items, or were drawn too unevenly")
    score, confidence = np.asarray(expit(rows.logit)), _line(fit, rows)
    at = np.arange(len(score))
    measured = compared(Rows(rows.logit, score, rows.correct, rows.cluster, at, at, confidence=confidence), {})
    badge, why = _badge(manifest.task, fit, even["select"], rows)
    status, reason = judged(int(effective_sample_size(parts["fit"].weight)), measured)
    return CalibrationRecord(
        task=manifest.task,
        method=METHOD[manifest.task],
        parameters={"temperature": fit.temperature, "bias": fit.bias},
        model_version=manifest.version,
        event=EVENTS[manifest.task],
        data={**_data(parts, even), "badge": why},
        fit=fit.as_json(),
        figures=_figures(measured, even, confidence, METHOD[manifest.task]),
        status=status,
        reason=reason,
        created_at=now(),
        libraries=libraries(),
        display_threshold=manifest.display_threshold if manifest.task == "detection" else None,
        normaliser=_normaliser(rows.outcomes[0]),
        fitted_items=tuple(sorted({item_key(name) for part in ("fit", "select") for name in parts[part].cluster.tolist()})),
        badge=badge,
    )


def _badge(task: Task, fit: Fit, selection: _Labels, test: _Labels) -> tuple[Badge | None, str]:
    """Return the threshold of the high-confidence badge, certified on rows that nothing was fitted on, or None; and why, in words."""
    chosen, measured = ((_line(fit, rows), rows.correct, rows.cluster) for rows in (selection, test))
    return select(task, EPSILON[task], chosen, measured)


def _figures(measured: Comparison, even: Mapping[str, _Labels], confidence: Floats, method: Method) -> dict[str, Any]:
    """Return the figures of the test rows, as `candor calibrate` names them."""
    figures, rows = measured.as_json(), even["test"]
    return {
        "before": figures.pop("raw"),
        "after": figures.pop("confidence"),
        **figures,
        **_beside(even["fit"], rows, confidence, method),
        "refinement": {name: as_json(figure) for name, figure in refinement(confidence, rows.correct, rows.cluster).items()},
        "reliability": {"before": reliability(expit(rows.logit), rows.correct), "after": reliability(confidence, rows.correct)},
    }


def _line(fit: Fit, rows: _Labels) -> Floats:
    return np.asarray(expit(rows.logit / fit.temperature + (fit.bias or 0.0)))


def _beside(fit_rows: _Labels, test: _Labels, confidence: Floats, method: str) -> dict[str, Any]:
    """Return the other methods on the same rows; nothing where the evenly drawn rows can't hold them."""
    try:
        found = alternatives(
            FitRows(fit_rows.logit, np.asarray(expit(fit_rows.logit)), fit_rows.correct),
            HeldOutRows(test.logit, np.asarray(expit(test.logit)), test.correct, test.cluster),
            confidence,
            method,
        )
    except InvalidRequest:
        return {}
    return {"methods": found["methods"], "method_differences": found["differences"], "constant_loses": found["constant_loses"]}


def _normaliser(outcome: Outcome) -> dict[str, str] | None:
    judged_by = outcome.features.get("normaliser")
    return {"name": judged_by[0], "version": judged_by[1]} if judged_by else None


def _data(parts: Mapping[str, _Labels], even: Mapping[str, _Labels]) -> dict[str, Any]:
    told = [[one.draft, one.label_index, one.stream, one.propensity, one.correct] for part in parts.values() for one in part.outcomes]
    return {
        "name": "outcomes",
        "sha256": hashlib.sha256(canonical_json(sorted(told))).hexdigest(),
        "split": None,
        "caveat": (
            f"outcomes of shown labels, weighted by 1 / their chance of being drawn (at most {CLIP:g}); figures are of outcomes that were "
            "not fitted on, thinned so that all had the same chance"
        ),
        "rule": SPLIT_RULE,
        **{name: part.described() for name, part in parts.items()},
        "thinned": {name: len(part.logit) for name, part in even.items()},
        "logits_reconstructed": True,  # from figures rounded to six digits
    }


def _shadow(manifest: Manifest, record: CalibrationRecord, in_force: CalibrationRecord | None, rows: _Labels) -> dict[str, Any]:
    """Return whether the new calibration is shown to be better, on those rows that the one in force was not fitted on, as JSON values."""
    seen = set(in_force.fitted_items) if in_force else set()
    rows = rows.take(np.array([item_key(cluster) not in seen for cluster in rows.cluster.tolist()], np.bool_))
    new = given_by(record, rows.outcomes, manifest.labels)
    old = np.asarray(expit(rows.logit)) if in_force is None else given_by(in_force, rows.outcomes, manifest.labels)
    known = np.isfinite(old) & np.isfinite(new)
    if not known.any():
        reason = "no outcome that neither was fitted on shows what both say of it: compare again when more have come in"
        return {"decision": "not_compared", "reason": reason}
    before, after = (log_losses(one[known], rows.correct[known]) for one in (old, new))
    simpler = in_force is not None and in_force.method in _RICHER and record.method not in _RICHER
    decision = promote(before, after, rows.cluster[known], rows.weight[known], simpler=simpler)
    than = in_force.id if in_force else "the raw score"
    return {"decision": "better" if decision.promote else "not_better", "than": than, **decision.as_json()}


def given_by(record: CalibrationRecord, outcomes: Sequence[Outcome], labels: Sequence[str]) -> Floats:
    """Return the confidence (n,) that a calibration gives each label: as it was shown, else from the logit. NaN where neither tells."""
    shown = np.array([one.confidence if one.calibration == record.id and one.confidence is not None else np.nan for one in outcomes])
    logit = np.array([float(one.features["logit"]) for one in outcomes], np.float64)
    if record.method in _LINES:
        return np.where(np.isnan(shown), expit(logit / record.parameters["temperature"] + record.parameters["bias"]), shown)
    if record.task == "detection":
        index = {label: position for position, label in enumerate(labels)}
        classes = np.array([index[str(one.features["label"])] for one in outcomes], np.int64)
        found = Detections((1, 1), np.zeros((len(logit), 4)), classes, np.asarray(expit(logit)), logit)
        return np.where(np.isnan(shown), record.estimator(found), shown)
    return np.asarray(shown)
