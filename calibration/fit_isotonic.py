"""Fit the calibrations without a formula: isotonic regression, a histogram, and one constant for all.

They show what the fitted lines leave on the table. A histogram and a constant are for comparison only; an isotonic curve may be chosen
where there are rows enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from calibration.fit import checked_scores
from calibration.measure import BINS, as_rows, equal_width_bins
from candor.predictions import Floats

LEAST_ISOTONIC = 10_000  # with fewer rows it overfits against two parameters: it is shown then, and never chosen
MOST_KNOTS = 200


def fit_isotonic(logit: ArrayLike, correct: ArrayLike) -> dict[str, list[float]]:
    """Return the rising curve of least squares through rows of `logit` (n,) and `correct` (n,), as knots of the method `isotonic`.

    At most 200 knots, joined by lines and level outside them; each in [1 / 2n, 1 - 1 / 2n], so that no row is called impossible.
    Source: Zadrozny and Elkan, KDD 2002; the pools of adjacent violators of Ayer et al., 1955. Equal logits are one point.

    Raises:
        InvalidRequest: see `fit.fit_temperature_bias`.
    """
    z, y = checked_scores(logit, correct)
    x, point, rows = np.unique(z, return_inverse=True, return_counts=True)
    risen = isotonic_regression(np.bincount(point, y) / rows, weights=rows)
    starts, ends = risen.blocks[:-1], risen.blocks[1:] - 1
    knots = np.unique(np.concatenate([starts, ends]))  # a pool is level from its first point to its last
    if len(knots) > MOST_KNOTS:
        knots = knots[np.linspace(0, len(knots) - 1, MOST_KNOTS).round().astype(np.int64)]
    edge = 1 / (2 * len(z))
    return {"x": x[knots].tolist(), "y": np.clip(risen.x[knots], edge, 1 - edge).tolist()}


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """The fraction right of each bin of equal width, (bins,)."""

    values: Floats

    def __call__(self, confidence: ArrayLike) -> Floats:
        """Return the value of each confidence's bin."""
        return np.asarray(self.values[equal_width_bins(np.asarray(confidence, np.float64), len(self.values))])


def histogram(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Histogram:
    """Fit a histogram to rows of `confidence` (n,) and `correct` (n,).

    The bin's middle counts as one more row of it, so that an empty bin has a value and none has 0 or 1.
    Source: Zadrozny and Elkan, ICML 2001.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    bin_of = equal_width_bins(p, bins)
    middle = (np.arange(bins) + 0.5) / bins
    return Histogram((np.bincount(bin_of, y, bins) + middle) / (np.bincount(bin_of, minlength=bins) + 1))


def constant(correct: ArrayLike) -> float:
    """Return the fraction right of `correct` (n,): the confidence that is calibrated and says nothing."""
    return float(as_rows(correct, correct)[1].mean())
