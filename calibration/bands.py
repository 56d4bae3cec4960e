"""The reliability diagram: the fraction right against the confidence, with the band in which an honest confidence's fractions lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from calibration.intervals import RESAMPLES, SEED, percentile_interval
from calibration.measure import BINS, as_rows, equal_width_bins
from candor.predictions import Floats, Ints

_CHUNK = 1_000_000  # numbers held at once while simulating


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Any]:
    """Return the diagram as JSON values: `n`, and `bins` of equal width, the last one closed, those without rows left out.

    A bin has its edges `low` and `high`, `n`, its mean `confidence`, the fraction `correct`, and `band_low` and `band_high`: the middle
    95 % of that fraction if each row were right with its own confidence as the probability. One bin in twenty lies outside by chance.
    Rows are taken as independent: where those of an image or a speaker are not, the band is too narrow.

    Source: Broecker and Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 2007; the confidences are
    kept as they are, and only the truths are drawn.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    bin_of = equal_width_bins(p, bins)
    n = np.bincount(bin_of, minlength=bins)
    right = _simulated(p, bin_of, bins, resamples, seed)
    said, found = (np.bincount(bin_of, values, bins) for values in (p, y))
    rows = []
    for index in np.flatnonzero(n):
        band_low, band_high = percentile_interval(right[:, index] / n[index])
        row = {
            "low": index / bins,
            "high": (index + 1) / bins,
            "confidence": said[index] / n[index],
            "correct": found[index] / n[index],
            "band_low": band_low,
            "band_high": band_high,
        }
        rows.append({"n": int(n[index]), **{name: round(float(value), 6) for name, value in row.items()}})
    return {"n": len(p), "bins": rows}


def consistency_p(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, *, resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """Return the p-value of the ECE: how often confidences that are exactly right would show this one or a larger.

    With many rows it is small for any confidence, as none is exactly right: judge the size of the error, not this alone.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    bin_of = equal_width_bins(p, bins)
    said, found = (np.bincount(bin_of, values, bins) for values in (p, y))
    errors = np.abs(_simulated(p, bin_of, bins, resamples, seed) - said).sum(axis=1)
    larger = np.count_nonzero(errors >= np.abs(found - said).sum() - 1e-9)
    return float((1 + larger) / (1 + resamples))


def _simulated(p: Floats, bin_of: Ints, bins: int, resamples: int, seed: int) -> Floats:
    """How many rows of each bin are right, (resamples, bins), where each is right with probability `p`."""
    rng = np.random.default_rng(seed)
    member = csr_array((np.ones(len(p)), (np.arange(len(p)), bin_of)), shape=(len(p), bins))
    step = max(1, _CHUNK // len(p))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([(rng.random((size, len(p))) < p).astype(np.float64) @ member for size in sizes])
