"""How well a confidence tells right labels from wrong ones, which no calibration error sees: AURC and sharpness.

Everything here depends on the rows only through how many are right and wrong at each level of confidence, and in each cluster, so that
a bootstrap is one sparse product. Labels of one level have no order: figures are what a random order among them gives on average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from calibration.intervals import RESAMPLES, SEED, Figure, cluster_numbers, draw_clusters, percentile_interval
from calibration.measure import as_rows
from candor.predictions import Floats

_CHUNK = 200_000  # numbers held at once while resampling: what a cache holds

Statistic: TypeAlias = Callable[[Floats, Floats], Floats]
"""A figure of each of r sets of rows, (r,), from how many labels each has at each level of confidence, lowest first, and how many of
them are wrong: two arrays (r, levels). NaN where it means nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """How many labels, and how many wrong ones, each cluster has at each level of confidence: (clusters, levels), lowest first."""

    confidence: Floats  # (levels,)
    labels: csr_array
    wrong: csr_array

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike) -> Levels:
        """Count rows (n,).

        Raises:
            InvalidRequest: see `measure.as_rows`.
        """
        p, y = as_rows(confidence, correct)
        numbers, count = cluster_numbers(clusters)
        level, level_of = np.unique(p, return_inverse=True)
        labels, wrong = (csr_array((ones, (numbers, level_of)), shape=(count, len(level))) for ones in (np.ones(len(p)), 1 - y))
        return cls(level, labels, wrong)

    def figures(self, statistics: Mapping[str, Statistic], resamples: int | None = None, seed: int = SEED) -> dict[str, Figure]:
        """Return each statistic of the rows with its cluster-bootstrap interval."""
        count = self.labels.shape[0]
        whole = np.ones((1, count))
        values = {name: float(statistic(whole @ self.labels, whole @ self.wrong)[0]) for name, statistic in statistics.items()}
        found: dict[str, list[Floats]] = {name: [] for name in statistics}
        drawn = draw_clusters(count, resamples or RESAMPLES, seed) if count > 1 else np.zeros((0, count))
        step = max(1, _CHUNK // max(len(self.confidence), count))
        for start in range(0, len(drawn), step):
            labels, wrong = (drawn[start : start + step] @ counts for counts in (self.labels, self.wrong))
            for name, statistic in statistics.items():
                found[name].append(statistic(labels, wrong))
        return {name: bounded(value, np.concatenate(found[name] or [np.zeros(0)])) for name, value in values.items()}


def bounded(value: float, resampled: Floats) -> Figure:
    """Return a value with the middle 95 % of what resamples gave, widened to hold the value; those that are NaN tell nothing."""
    if not np.isfinite(value):
        return Figure(None)
    kept = resampled[np.isfinite(resampled)]
    if not len(kept):
        return Figure(value)
    low, high = percentile_interval(kept)
    return Figure(value, min(low, value), max(high, value))


def figure_json(figure: Figure, digits: int = 6) -> dict[str, float | None]:
    """Return a figure, its interval and its floor as JSON values, rounded."""
    return {name: None if value is None else round(value, digits) for name, value in asdict(figure).items()}


def refinement(
    confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike, *, resamples: int | None = None, seed: int = SEED
) -> dict[str, Figure]:
    """Return `aurc` and `sharpness` of rows (n,), each with its interval; the same seed, the same answer.

    Sharpness is the variance of the confidence. It rewards boldness and not truth, so that it is worth something only beside a small
    calibration error.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    levels = Levels.of(confidence, correct, clusters)

    def variance(labels: Floats, _wrong: Floats) -> Floats:
        n = labels.sum(axis=1)
        mean = labels @ levels.confidence / n
        return np.asarray(np.maximum(labels @ levels.confidence**2 / n - mean**2, 0))

    return levels.figures({"aurc": _aurc, "sharpness": variance}, resamples, seed)


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return coverage k/n and risk at each k = 1…n, both (n,): the share wrong among the k labels of highest confidence.

    Source: El-Yaniv and Wiener, JMLR 2010.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    _, level, sizes = np.unique(-p, return_inverse=True, return_counts=True)
    wrong_share = np.bincount(level, 1 - y) / sizes  # of a level: each of its places has it on average
    taken = np.arange(1, len(p) + 1)
    return taken / len(p), np.cumsum(np.repeat(wrong_share, sizes)) / taken


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean of the risk over all coverages 1/n…1. Lower is better; a random order has the error
    rate, so that only values on the same rows compare.

    Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation", ICLR 2019, section 2.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    return float(risk_coverage(confidence, correct)[1].mean())


def _aurc(labels: Floats, wrong: Floats) -> Floats:
    """AURC of whole numbers of labels per level, (r, levels), lowest first.

    A level of m labels, e of them wrong, that comes after N labels, E of them wrong, adds the sum over j = 1…m of
    (E + j e/m) / (N + j), which is e + (E - N e/m) (H(N+m) - H(N)) with the harmonic numbers H.
    """
    labels, wrong = labels[:, ::-1], wrong[:, ::-1]
    upto, wrong_upto = np.cumsum(labels, axis=1), np.cumsum(wrong, axis=1)
    before, wrong_before = upto - labels, wrong_upto - wrong
    share = np.divide(wrong, labels, out=np.zeros_like(wrong), where=labels > 0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, upto[:, -1].max() + 1))])
    steps = harmonic[upto.astype(np.int64)] - harmonic[before.astype(np.int64)]
    return np.asarray((wrong + (wrong_before - before * share) * steps).sum(axis=1) / upto[:, -1])
