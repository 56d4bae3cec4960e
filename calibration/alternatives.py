"""The chosen calibration side by side with the others, fitted on the same rows and measured on the same held-out rows.

A calibration is worth publishing only if it beats saying the same thing of every label; and a richer one replaces a plainer one only
if it wins on rows that neither has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from calibration.fit import WIDEST
from calibration.fit_isotonic import LEAST_ISOTONIC, constant, fit_isotonic, histogram
from calibration.intervals import Figure, figures, mean_interval
from calibration.measure import as_rows, log_losses, squared_losses
from calibration.refinement import figure_json
from candor.errors import InvalidRequest
from candor.predictions import Floats

SHOWN = ("n", "nll", "brier", "smece", "ece", "auroc")
_LOSSES = (("nll", log_losses), ("brier", squared_losses))


@dataclass(frozen=True, slots=True, eq=False)
class FitRows:
    """Labels that calibrations are fitted on, each list (n,): the logit of the raw top score (for a classification the top label's
    log-odds, see `methods.top_logit`), the raw score, and whether it is right (0 or 1).
    """

    logit: Floats
    score: Floats
    correct: Floats


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRows:
    """Labels that no fit has seen, each list (n,); rows of one `cluster` stand or fall together."""

    logit: Floats
    score: Floats
    correct: Floats
    cluster: ArrayLike


def alternatives(fit: FitRows, test: HeldOutRows, chosen: Floats, chosen_name: str, *, resamples: int | None = None) -> dict[str, Any]:
    """Return figures of each calibration on the held-out rows, and the paired differences of the chosen one from each other, as JSON.

    `chosen` (n,) is the chosen calibration's confidence in each held-out row. `methods` and `differences` are keyed by `uncalibrated`,
    `temperature` (one parameter), `chosen`, `isotonic`, `histogram` and `constant` (the fit rows' fraction right). A difference is
    chosen - other, so that below 0 the chosen one is better. `constant_loses` says whether it is so for the Brier score against the
    constant with its whole interval: where it is not, the confidence tells nothing.

    Raises:
        InvalidRequest: rows that can't be fitted or measured, or lists of several lengths.
    """
    _check(fit, test, chosen)
    curve = fit_isotonic(fit.logit, fit.correct)
    found = {
        "uncalibrated": test.score,
        "temperature": expit(test.logit / one_temperature(fit.logit, fit.correct)),
        "chosen": chosen,
        "isotonic": np.interp(test.logit, curve["x"], curve["y"]),
        "histogram": histogram(fit.score, fit.correct)(test.score),
        "constant": np.full(len(test.score), constant(fit.correct)),
    }
    measured = {name: figures(p, test.correct, test.cluster, resamples=resamples).as_json() for name, p in found.items()}
    differences = {
        name: {
            loss: mean_interval(losses(chosen, test.correct) - losses(p, test.correct), test.cluster, resamples=resamples)
            for loss, losses in _LOSSES
        }
        for name, p in found.items()
        if name != "chosen"
    }
    return {
        "chosen": chosen_name,
        "fitted": len(fit.logit),
        "clusters": measured["chosen"]["clusters"],
        "isotonic_may_be_chosen": len(fit.logit) >= LEAST_ISOTONIC,
        "methods": {name: {key: one[key] for key in SHOWN} for name, one in measured.items()},
        "differences": {name: {loss: figure_json(figure) for loss, figure in one.items()} for name, one in differences.items()},
        "constant_loses": _below_zero(differences["constant"]["brier"]),
    }


def challenger_wins(
    nll_champion: Floats, nll_challenger: Floats, clusters: ArrayLike, *, resamples: int | None = None
) -> tuple[bool, Figure]:
    """Whether a challenger may replace a champion, and the mean difference (challenger - champion) of their held-out NLL.

    Both are losses of the same rows (n,), in nats. It wins only where the whole 95 % interval of the difference is below 0.

    Raises:
        InvalidRequest: no rows, lists of several lengths, or a loss that is NaN or infinite.
    """
    champion, challenger = np.asarray(nll_champion, np.float64), np.asarray(nll_challenger, np.float64)
    if champion.ndim != 1 or not champion.shape == challenger.shape == np.shape(clusters) or not champion.size:
        raise InvalidRequest("champion and challenger are compared on the same held-out rows: one loss of each and one cluster per row")
    if not (np.isfinite(champion).all() and np.isfinite(challenger).all()):
        raise InvalidRequest("a held-out loss is NaN or infinite")
    difference = mean_interval(challenger - champion, clusters, resamples=resamples)
    return _below_zero(difference), difference


def one_temperature(logit: ArrayLike, correct: ArrayLike) -> float:
    """Return the T from 1/20 to 20 of least NLL of sigmoid(logit / T): the bound where it lies outside.

    The NLL's slope in 1 / T, mean((sigmoid(logit / T) - correct) logit), rises: its root is bracketed.
    """
    z, y = np.asarray(logit, np.float64), np.asarray(correct, np.float64)

    def slope(u: float) -> float:
        return float(((expit(exp(u) * z) - y) * z).mean())

    widest = log(WIDEST)
    if slope(-widest) >= 0:
        return WIDEST
    if slope(widest) <= 0:
        return 1 / WIDEST
    return exp(-float(brentq(slope, -widest, widest, xtol=1e-12)))


def _check(fit: FitRows, test: HeldOutRows, chosen: Floats) -> None:
    as_rows(fit.score, fit.correct)
    as_rows(chosen, test.correct)
    as_rows(test.score, test.correct)
    if np.shape(test.logit) != np.shape(test.score) or np.shape(test.cluster) != np.shape(test.score):
        raise InvalidRequest("each held-out row has a logit, a score, a truth and a cluster: the lists are of several lengths")
    if not np.isfinite(test.logit).all():
        raise InvalidRequest("a logit is NaN or infinite: the model's output is broken, or its probabilities were rounded to 0 or 1")


def _below_zero(difference: Figure) -> bool:
    return difference.high is not None and difference.high < 0
