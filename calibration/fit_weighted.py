"""Fit temperature and bias where rows count unequally: outcomes that were drawn with known chances, each worth 1 / its chance.

The weighted mean NLL is, in expectation, that of all items which could have been drawn (Horvitz and Thompson, JASA 1952; normalised by
the weights' sum: Hajek, 1971), so that the fit is for them and not for the sample.
"""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from calibration.fit import WIDEST, Fit, checked_scores
from calibration.intervals import cluster_numbers
from candor.errors import InvalidRequest
from candor.predictions import Floats

_GRADIENT = 1e-6  # as in `fit`: converged where the gradient of the weighted mean is below it
_Z_95 = 1.959963984540054


def fit_temperature_bias_weighted(logit: ArrayLike, correct: ArrayLike, weight: ArrayLike, cluster: ArrayLike) -> Fit:
    """Fit sigmoid(logit / T + b) by least weighted mean NLL. All four are (n,).

    The interval of T is the cluster-robust one (the sandwich of White, 1980, over clusters, by the delta method in log T): weights and
    rows that stand or fall together make the profile likelihood's too narrow. `nll_before` and `nll_after` are weighted means.

    Raises:
        InvalidRequest: see `fit.fit_temperature_bias`; also a weight that is not above 0 and finite.
    """
    z, y = checked_scores(logit, correct)
    w = np.asarray(weight, np.float64)
    if w.shape != z.shape or not (np.isfinite(w).all() and (w > 0).all()):
        raise InvalidRequest("each row needs one weight, finite and above 0")
    w = w / w.sum()
    slope, bias = _least(z, y, w)
    spread = _log_slope_deviation((z, y, w), slope, bias, cluster)
    at_bound = not 1.0001 / WIDEST < slope < 0.9999 * WIDEST
    low, high = (min(max(exp(sign * _Z_95 * spread) / slope, 1 / WIDEST), WIDEST) for sign in (-1, 1))
    return Fit(1 / slope, low, high, at_bound, len(z), _loss(z, y, w, 1.0, 0.0), _loss(z, y, w, slope, bias), bias)


def _loss(z: Floats, y: Floats, w: Floats, slope: float, bias: float) -> float:
    q = slope * z + bias
    return float((w * (np.logaddexp(0, q) - y * q)).sum())


def _least(z: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """Return slope and bias of least weighted NLL, the slope within its bounds; scores are standardised for conditioning."""
    centre, scale = float(z.mean()), float(z.std())
    x = (z - centre) / scale

    def objective(parameters: Floats) -> tuple[float, Floats]:
        wrong = w * (expit(parameters[0] * x + parameters[1]) - y)
        return _loss(x, y, w, *parameters), np.array([(wrong * x).sum(), wrong.sum()])

    least, most = scale / WIDEST, scale * WIDEST
    share = float((w * y).sum())
    start = np.array([min(max(scale, least), most), log(share / (1 - share))])
    options = {"ftol": 0, "gtol": 1e-10, "maxiter": 1000}
    answer = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(least, most), (None, None)], options=options)
    gradient = objective(answer.x)[1]
    inside = least < answer.x[0] < most
    if not np.isfinite(answer.x).all() or abs(gradient[1]) > _GRADIENT or (inside and abs(gradient[0]) > _GRADIENT):
        raise InvalidRequest(f"the weighted fit of temperature and bias did not converge on these {len(z)} rows: {answer.message}")
    slope = float(np.clip(answer.x[0] / scale, 1 / WIDEST, WIDEST))
    return slope, float(answer.x[1]) - slope * centre


def _log_slope_deviation(rows: tuple[Floats, Floats, Floats], slope: float, bias: float, cluster: ArrayLike) -> float:
    """Return the standard deviation of log(slope), clusters taken as independent; infinity where there are fewer than two."""
    z, y, w = rows
    numbers, count = cluster_numbers(cluster)
    if count < 2:
        return np.inf
    design = np.stack([z, np.ones_like(z)], axis=1)
    p = expit(slope * z + bias)
    curvature = design.T @ (design * (w * p * (1 - p))[:, None])
    scores = np.zeros((count, 2))
    np.add.at(scores, numbers, design * (w * (p - y))[:, None])
    try:
        half = np.linalg.solve(curvature, scores.T)
    except np.linalg.LinAlgError:
        return np.inf
    return sqrt(float((half @ half.T)[0, 0]) * count / (count - 1)) / slope
