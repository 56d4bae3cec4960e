"""How far a figure can be trusted: cluster-bootstrap intervals, and the noise floor that a perfect predictor would show.

Rows of one cluster (the boxes of an image, the words of a speaker) stand or fall together, so clusters are drawn, not rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from calibration.measure import (
    CELLS,
    as_rows,
    auroc,
    brier,
    ece,
    equal_mass_bins,
    equal_width_bins,
    log_losses,
    nll,
    smooth_ece,
    smooth_errors,
    spread,
    squared_losses,
)
from candor.predictions import Floats, Ints

RESAMPLES = 1000  # where a caller names no other number
SEED = 20260101
_CHUNK = 4_000_000  # numbers held at once while resampling


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its value, the 95 % interval, and mean and 95th percentile of what a perfect predictor of the same n shows.

    The interval is None where there are fewer than two clusters; the floor where it means nothing. Resampling adds noise of its own
    to a calibration error, so its interval lies high: the upper end is conservative, and the lower end is never above the value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    floor_mean: float | None = None
    floor_95: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one set of rows. `ece_equal_mass` uses 15 bins of equal mass, `ece` 15 of equal width."""

    n: int
    clusters: int
    accuracy: float
    mean_confidence: float
    nll: Figure
    brier: Figure
    ece: Figure
    ece_equal_mass: Figure
    smece: Figure
    auroc: Figure

    def as_json(self, digits: int = 6) -> dict[str, Any]:
        """Return the figures as JSON values, rounded."""
        rounded: dict[str, Any] = _rounded(asdict(self), digits)
        return rounded


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner, digits) for key, inner in value.items()}
    return round(value, digits) if isinstance(value, float) else value


def cluster_numbers(clusters: ArrayLike) -> tuple[Ints, int]:
    """Return each row's cluster as a number from 0, and how many clusters there are."""
    names, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    return numbers.astype(np.int64), len(names)


def draw_clusters(count: int, resamples: int, seed: int) -> Floats:
    """Return (resamples, count): how often each cluster is drawn when `count` of them are drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)


def mean_interval(values: Floats, clusters: ArrayLike, *, resamples: int | None = None, seed: int = SEED) -> Figure:
    """Mean of per-row values (a paired difference of losses, say) with its cluster-bootstrap interval."""
    numbers, count = cluster_numbers(clusters)
    sums, sizes = np.zeros(count), np.zeros(count)
    np.add.at(sums, numbers, values)
    np.add.at(sizes, numbers, 1.0)
    return ratio_interval(sums, sizes, resamples, seed)


def ratio_interval(numerators: Floats, denominators: Floats, resamples: int | None = None, seed: int = SEED) -> Figure:
    """sum(numerators) / sum(denominators), one of each per cluster (errors and words of a speaker), with its interval."""
    if denominators.sum() <= 0:
        return Figure(None)
    value = float(numerators.sum() / denominators.sum())
    if len(numerators) < 2:
        return Figure(value)
    drawn = draw_clusters(len(numerators), resamples or RESAMPLES, seed)
    below = drawn @ denominators
    return Figure(value, *percentile_interval((drawn @ numerators)[below > 0] / below[below > 0]))


def percentile_interval(values: Floats) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def figures(confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike, *, resamples: int | None = None, seed: int = SEED) -> Figures:
    """Measure rows of (confidence, correct) with percentile intervals over clusters and noise floors; the same seed, the same answer.

    The floor draws each row's correctness anew with the row's own confidence as its probability.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    resamples = resamples or RESAMPLES
    numbers, count = cluster_numbers(clusters)
    engine = _Resampler(p)
    spreads = engine.bootstrap(y, numbers, draw_clusters(count, resamples, seed)) if count > 1 else {}
    floors = engine.floor(resamples, seed + 1)

    def figure(name: str, value: float | None) -> Figure:
        floor = floors.get(name)
        limits = (None, None) if floor is None else (float(floor.mean()), float(np.percentile(floor, 95)))
        if value is None or not len(spreads.get(name, ())):
            return Figure(value, None, None, *limits)
        low, high = percentile_interval(spreads[name])
        return Figure(value, min(low, value), max(high, value), *limits)

    return Figures(
        n=len(p),
        clusters=count,
        accuracy=float(y.mean()),
        mean_confidence=float(p.mean()),
        nll=figure("nll", nll(p, y)),
        brier=figure("brier", brier(p, y)),
        ece=figure("ece", ece(p, y)),
        ece_equal_mass=figure("ece_equal_mass", ece(p, y, equal_mass=True)),
        smece=figure("smece", smooth_ece(p, y)),
        auroc=figure("auroc", auroc(p, y)),
    )


class _Resampler:
    """Computes all figures of many resamples at once: each is a function of weighted sums over rows.

    The bins of equal mass are those of the rows themselves, not of each resample.
    """

    def __init__(self, confidence: Floats) -> None:
        self._p = confidence
        self._rows = len(confidence)
        at = np.arange(self._rows)
        left, right, share = spread(confidence)
        self._cells = csr_array(
            (np.concatenate([1 - share, share]), (np.concatenate([at, at]), np.concatenate([left, right]))), shape=(self._rows, CELLS)
        )
        self._bins = {
            name: csr_array((np.ones(self._rows), (at, bins)))
            for name, bins in (("ece", equal_width_bins(confidence)), ("ece_equal_mass", equal_mass_bins(confidence)))
        }

    def bootstrap(self, correct: Floats, clusters: Ints, drawn: Floats) -> dict[str, Floats]:
        """Return each figure in each resample; AUROC only of those that hold right and wrong rows."""
        losses = {"nll": log_losses(self._p, correct), "brier": squared_losses(self._p, correct)}
        parts = []
        for some in self._chunks(drawn):
            weights = some[:, clusters]
            totals = weights.sum(axis=1)
            part = {name: weights @ loss / totals for name, loss in losses.items()}
            part |= self._errors(weights * (correct - self._p), totals)
            part["auroc"] = self._aurocs(weights * correct, weights * (1 - correct))
            parts.append(part)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def floor(self, resamples: int, seed: int) -> dict[str, Floats]:
        """Return the figures of a predictor whose confidences are exactly right, once for each simulated set of truths."""
        rng = np.random.default_rng(seed)
        parts = []
        for some in self._chunks(np.empty((resamples, 0))):
            truths = (rng.random((len(some), self._rows)) < self._p).astype(np.float64)
            part = {"nll": log_losses(self._p, truths).mean(axis=1), "brier": squared_losses(self._p, truths).mean(axis=1)}
            parts.append(part | self._errors(truths - self._p, np.full(len(some), float(self._rows))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _errors(self, residuals: Floats, totals: Floats) -> dict[str, Floats]:
        found = {name: np.abs(residuals @ bins).sum(axis=1) / totals for name, bins in self._bins.items()}
        return {**found, "smece": smooth_errors(residuals @ self._cells / totals[:, None])}

    def _aurocs(self, right: Floats, wrong: Floats) -> Floats:
        order = np.argsort(self._p, kind="stable")
        starts = np.flatnonzero(np.diff(self._p[order], prepend=-1.0))
        right, wrong = (np.add.reduceat(weights[:, order], starts, axis=1) for weights in (right, wrong))
        below = np.cumsum(wrong, axis=1) - wrong / 2
        pairs = right.sum(axis=1) * wrong.sum(axis=1)
        return np.asarray((right * below).sum(axis=1)[pairs > 0] / pairs[pairs > 0])

    def _chunks(self, drawn: Floats) -> Iterator[Floats]:
        step = max(1, _CHUNK // max(self._rows, CELLS))
        for start in range(0, len(drawn), step):
            yield drawn[start : start + step]
