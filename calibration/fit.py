"""Fit the two calibrations that are shipped: one temperature over classes, and temperature with bias on one score's logit.

Both are convex in their natural parameters, are solved in float64 from logits, and say so where the data can't hold them. A fit
that runs into its bounds is returned with `at_bound`; `publishable` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import exp, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize
from scipy.special import expit, logsumexp

from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

LEAST_ROWS = 30
WIDEST = 20.0  # temperatures from 1/20 to 20
_U = log(WIDEST)
_CHI2_95 = 3.841458820694124  # 95 % quantile of chi-squared with one degree of freedom
_GRADIENT = 1e-6  # a fit has converged where the mean gradient is below it


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted calibration: confidence = softmax(logits / temperature), or sigmoid(logit / temperature + bias).

    `low` and `high` are the 95 % profile-likelihood interval of the temperature (rows taken as independent), cut at the bounds.
    NLL is the mean over the rows that it was fitted on, in nats.
    """

    temperature: float
    low: float
    high: float
    at_bound: bool
    n: int
    nll_before: float
    nll_after: float
    bias: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fit as JSON values."""
        return asdict(self)


def publishable(fit: Fit) -> Fit:
    """Return the fit if it may become a calibration.

    Raises:
        InvalidRequest: the best temperature lies outside the bounds, so that the data do not determine it.
    """
    if fit.at_bound:
        raise InvalidRequest(
            f"the best temperature on these {fit.n} rows lies outside {1 / WIDEST:g} to {WIDEST:g}: nearly all labels are right, "
            "nearly all are wrong, or the scores don't rank them; no calibration can be published from them"
        )
    return fit


def fit_temperature(logits: ArrayLike, truth: ArrayLike) -> Fit:
    """Fit softmax(logits / T) by least mean NLL. `logits` (n, k), `truth` (n,) class indices.

    In u = log(1/T) the NLL's slope has the sign of mean(sum_k p_k z_k - z_truth), which rises with u: its root is bracketed.
    Source: Guo et al., ICML 2017, section 4.2.

    Raises:
        InvalidRequest: fewer than 30 rows, fewer than two classes, NaN or infinity, an index outside the classes.
    """
    z, y = _checked_logits(logits, truth)
    at_truth = z[np.arange(len(z)), y]

    def loss(u: float) -> float:
        return float((logsumexp(exp(u) * z, axis=1) - exp(u) * at_truth).mean())

    def slope(u: float) -> float:
        scaled = exp(u) * z
        weights = np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))
        return float(((weights * z).sum(axis=1) - at_truth).mean())

    u, at_bound = _root(slope)
    low, high = _profile(loss, u, len(z))
    return Fit(exp(-u), exp(-high), exp(-low), at_bound, len(z), loss(0.0), loss(u))


def fit_temperature_bias(logit: ArrayLike, correct: ArrayLike) -> Fit:
    """Fit sigmoid(logit / T + b) by least mean NLL. `logit` (n,), `correct` (n,) of 0 and 1.

    This is Platt scaling (Platt, 1999) with the slope held positive, so that the order of scores never changes: a temperature
    alone can't move a score of one half, and detectors need that.

    Raises:
        InvalidRequest: fewer than 30 rows, all right or all wrong, NaN or infinity, or no convergence.
    """
    z, y = checked_scores(logit, correct)
    slope, bias = _logistic(z, y, 1 / WIDEST, WIDEST)

    def profile(u: float) -> float:
        return _loss(z, y, exp(u), _best_bias(z, y, exp(u)))

    low, high = _profile(profile, log(slope), len(z))
    at_bound = not 1.0001 / WIDEST < slope < 0.9999 * WIDEST
    return Fit(1 / slope, exp(-high), exp(-low), at_bound, len(z), _loss(z, y, 1.0, 0.0), _loss(z, y, slope, bias), bias)


def _root(slope: Callable[[float], float]) -> tuple[float, bool]:
    if slope(-_U) >= 0:
        return -_U, True
    if slope(_U) <= 0:
        return _U, True
    return float(brentq(slope, -_U, _U, xtol=1e-12)), False


def _profile(loss: Callable[[float], float], best: float, n: int) -> tuple[float, float]:
    """Return the interval of u in which 2 n (NLL(u) - NLL(best)) stays under the 95 % quantile, within the bounds."""
    least = loss(best)

    def excess(u: float) -> float:
        return 2 * n * (loss(u) - least) - _CHI2_95

    low = float(brentq(excess, -_U, best, xtol=1e-6)) if best > -_U and excess(-_U) > 0 else -_U
    high = float(brentq(excess, best, _U, xtol=1e-6)) if best < _U and excess(_U) > 0 else _U
    return low, high


def _loss(z: Floats, y: Floats, slope: float, bias: float) -> float:
    q = slope * z + bias
    return float((np.logaddexp(0, q) - y * q).mean())


def _logistic(z: Floats, y: Floats, least: float, most: float) -> tuple[float, float]:
    """Return slope (held between `least` and `most`) and bias of the logistic fit. Scores are standardised for conditioning."""
    centre, scale = float(z.mean()), float(z.std())
    x = (z - centre) / scale

    def objective(parameters: Floats) -> tuple[float, Floats]:
        slope, bias = parameters
        wrong = expit(slope * x + bias) - y
        return _loss(x, y, slope, bias), np.array([(wrong * x).mean(), wrong.mean()])

    share = float(y.mean())
    start = np.array([min(max(scale, least * scale), most * scale), log(share / (1 - share))])
    bounds = [(least * scale, most * scale), (None, None)]
    answer = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 0, "gtol": 1e-10, "maxiter": 1000})
    gradient = objective(answer.x)[1]
    inside = least * scale < answer.x[0] < most * scale
    if not np.isfinite(answer.x).all() or abs(gradient[1]) > _GRADIENT or (inside and abs(gradient[0]) > _GRADIENT):
        raise InvalidRequest(f"the fit of temperature and bias did not converge on these {len(z)} rows: {answer.message}")
    slope = float(np.clip(answer.x[0] / scale, least, most))
    return slope, float(answer.x[1]) - slope * centre


def _best_bias(z: Floats, y: Floats, slope: float) -> float:
    """Return the bias of least NLL for a given slope: the mean confidence, which rises with it, is then the fraction right."""
    share = float(y.mean())
    middle = log(share / (1 - share))
    return float(brentq(lambda bias: float(expit(slope * z + bias).mean()) - share, middle - slope * z.max(), middle - slope * z.min()))


def _checked_logits(logits: ArrayLike, truth: ArrayLike) -> tuple[Floats, Ints]:
    z, y = np.asarray(logits, np.float64), np.asarray(truth)
    if z.ndim != 2 or z.shape[1] < 2 or y.shape != (len(z),):
        raise InvalidRequest(f"logits must be (n, k) with k of at least 2 and truths (n,), not {z.shape} and {y.shape}")
    _enough(len(z))
    if not np.isfinite(z).all():
        raise InvalidRequest("a logit is NaN or infinite: the model's output is broken, or its probabilities were rounded to 0 or 1")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= z.shape[1]:
        raise InvalidRequest(f"a true class is not an index from 0 to {z.shape[1] - 1}")
    return z - z.max(axis=1, keepdims=True), y.astype(np.int64)


def checked_scores(logit: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64, (n,) each, after checking that something can be fitted on them.

    Raises:
        InvalidRequest: too few rows, all right or all wrong, NaN or infinity, or scores that are all the same.
    """
    z, y = np.asarray(logit, np.float64), np.asarray(correct, np.float64)
    if z.ndim != 1 or z.shape != y.shape:
        raise InvalidRequest(f"logits and truths must be two lists of one length, not {z.shape} and {y.shape}")
    _enough(len(z))
    if not np.isfinite(z).all():
        raise InvalidRequest("a logit is NaN or infinite: the model's output is broken, or its probabilities were rounded to 0 or 1")
    if not ((y == 0) | (y == 1)).all():
        raise InvalidRequest("a row is neither right (1) nor wrong (0)")
    if y.min() == y.max():
        raise InvalidRequest(f"all {len(y)} labels are {'right' if y[0] else 'wrong'}: a calibration needs some of both kinds")
    if not isfinite(float(z.std())) or z.std() < 1e-9:
        raise InvalidRequest("all scores are the same: they can't tell right labels from wrong ones")
    return z, y


def _enough(rows: int) -> None:
    if rows < LEAST_ROWS:
        raise InvalidRequest(f"{rows} rows to fit a calibration on; it takes at least {LEAST_ROWS}, and 500 to be of use")
