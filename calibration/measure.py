"""How honest a confidence is: point figures over rows of (confidence, correct).

`confidence` (n,) holds probabilities, `correct` (n,) holds 0 or 1. Intervals and noise floors are in `calibration.intervals`.
No calibration error stands alone: a constant predictor has none. NLL and Brier are proper scores and can't be gamed so.
"""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct, idct
from scipy.stats import rankdata

from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

Bools: TypeAlias = NDArray[np.bool_]

BINS = 15
CELLS = 1024  # of the grid on which smECE smooths residuals
_TINY = 1e-12  # a confidence nearer to 0 or 1 is taken as this, so that one wrong certain row costs 27.6 nats and not infinity
_BISECTIONS = 16  # smECE's bandwidth to 2**-16


def as_rows(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64 after checking them.

    Raises:
        InvalidRequest: no rows, lengths that differ, a confidence outside [0, 1] or NaN, a truth other than 0 or 1.
    """
    p, y = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise InvalidRequest(f"confidence and correctness must be two lists of one length, not {p.shape} and {y.shape}")
    if not p.size:
        raise InvalidRequest("there are no rows to measure")
    if not ((p >= 0) & (p <= 1)).all():
        raise InvalidRequest("a confidence is NaN or outside 0 to 1")
    if not ((y == 0) | (y == 1)).all():
        raise InvalidRequest("a row is neither right (1) nor wrong (0)")
    return p, y


def log_losses(confidence: Floats, correct: Floats) -> Floats:
    """Negative log-likelihood of each row, in nats."""
    p = np.clip(confidence, _TINY, 1 - _TINY)
    return np.asarray(-np.where(correct == 1, np.log(p), np.log1p(-p)))


def squared_losses(confidence: Floats, correct: Floats) -> Floats:
    """Brier loss of each row: (confidence - correct) squared."""
    return np.asarray((confidence - correct) ** 2)


def nll(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean negative log-likelihood in nats."""
    return float(log_losses(*as_rows(confidence, correct)).mean())


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean squared difference of confidence and correctness."""
    return float(squared_losses(*as_rows(confidence, correct)).mean())


def equal_width_bins(confidence: Floats, bins: int = BINS) -> Ints:
    """Return each row's bin of [0, 1/bins), [1/bins, 2/bins), …; the last one is closed, so that 1.0 has no bin of its own."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def equal_mass_bins(confidence: Floats, bins: int = BINS) -> Ints:
    """Return each row's bin between quantiles of the confidences; equal confidences stay together."""
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    return np.searchsorted(edges, confidence, side="right").astype(np.int64)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, *, equal_mass: bool = False) -> float:
    """Expected calibration error: the share-weighted mean over bins of |fraction right - mean confidence|.

    Source: Guo et al., ICML 2017, equation 3. Biased upward, most of all for honest predictors: read it next to its noise floor.
    """
    p, y = as_rows(confidence, correct)
    bin_of = equal_mass_bins(p, bins) if equal_mass else equal_width_bins(p, bins)
    return float(np.abs(np.bincount(bin_of, weights=y - p)).sum() / len(p))


def spread(confidence: Floats) -> tuple[Ints, Ints, Floats]:
    """Place confidences between the mid-points of the smoothing grid: left cell, right cell and the right one's share, each (n,)."""
    position = np.clip(confidence * CELLS - 0.5, 0, CELLS - 1)
    left = np.minimum(position.astype(np.int64), CELLS - 2)
    return left, left + 1, position - left


def smooth_errors(residuals: Floats) -> Floats:
    """smECE of each row of `residuals` (r, CELLS): sums of (correct - confidence) / n per grid cell.

    smECE at bandwidth s is the integral of |residual density smoothed by a Gaussian of width s, reflected at 0 and 1|; it falls as
    s grows, and smECE is its fixed point s = smECE_s. Reflection makes cosines the smoother's eigenfunctions, so that one DCT
    serves all bandwidths. Source: Blasiok and Nakkiran, "Smooth ECE", ICLR 2024, definitions 5 and 8.
    """
    waves = dct(residuals, axis=-1)
    decay = -0.5 * (np.pi * np.arange(residuals.shape[-1])) ** 2
    low, high = np.zeros(len(residuals)), np.ones(len(residuals))
    for _ in range(_BISECTIONS):
        width = (low + high) / 2
        error = np.abs(idct(waves * np.exp(decay * width[:, None] ** 2), axis=-1)).sum(axis=-1)
        low, high = np.where(error > width, width, low), np.where(error > width, high, width)
    return (low + high) / 2


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Smooth calibration error, resolved to 2e-5: no bins to choose, and continuous in the data."""
    p, y = as_rows(confidence, correct)
    left, right, share = spread(p)
    residual = (y - p) / len(p)
    cells = np.zeros((1, CELLS))
    np.add.at(cells[0], left, residual * (1 - share))
    np.add.at(cells[0], right, residual * share)
    return float(smooth_errors(cells)[0])


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Probability that a right row has a higher confidence than a wrong one, ties counting half; None where one kind is missing."""
    p, y = as_rows(confidence, correct)
    right = int(y.sum())
    wrong = len(y) - right
    if not right or not wrong:
        return None
    return float((rankdata(p)[y == 1].sum() - right * (right + 1) / 2) / (right * wrong))


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval for a proportion of independent rows; 95 % unless another `z` is given.

    Source: Wilson, JASA 1927. It is sound near 0 and 1, where the textbook interval is not.
    """
    if not 0 <= successes <= n or not n:
        raise InvalidRequest(f"{successes} of {n} is not a proportion")
    share, spread_ = successes / n, z * z / n
    centre = (share + spread_ / 2) / (1 + spread_)
    half = z * sqrt(share * (1 - share) / n + spread_ / (4 * n)) / (1 + spread_)
    return max(0.0, centre - half), min(1.0, centre + half)
