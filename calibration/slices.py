"""Whether a confidence is honest in each part of the rows: honesty on the whole can hide a class or a noise level where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from calibration.intervals import RESAMPLES, SEED, Figure, cluster_numbers, draw_clusters
from calibration.measure import CELLS, Bools, as_rows, smooth_ece, smooth_errors, spread
from calibration.refinement import bounded, figure_json
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

LEAST_SHOWN = 100  # rows from which a slice's error is worth looking at: a perfect predictor's smECE of 100 rows is about 6 %
LEAST_JUDGED = 500  # rows from which a slice may be called the worst
UNKNOWN = "unknown"
_COARSER = 4  # cells of the smoothing grid that are joined while resampling: four times as fast, and right to 1e-4
_CHUNK = 1_000_000  # numbers held at once while simulating


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows whose attribute `by` is `name`. One that is not `shown` has too few rows: its error has no interval and no floor."""

    by: str
    name: str
    n: int
    clusters: int
    accuracy: float
    mean_confidence: float
    smece: Figure
    shown: bool

    def as_json(self) -> dict[str, Any]:
        """Return the slice as JSON values."""
        return {
            "by": self.by,
            "name": self.name,
            "n": self.n,
            "clusters": self.clusters,
            "accuracy": round(self.accuracy, 6),
            "mean_confidence": round(self.mean_confidence, 6),
            "smece": figure_json(self.smece),
            "shown": self.shown,
        }


def slices(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike,
    attributes: Mapping[str, NDArray[np.str_]],
    *,
    resamples: int | None = None,
    seed: int = SEED,
) -> list[Slice]:
    """Cut rows (n,) by each attribute (n,): one slice for each of its values, attributes in their order, values sorted.

    Raises:
        InvalidRequest: see `measure.as_rows`; an attribute has another length.
    """
    p, y = as_rows(confidence, correct)
    numbers, _ = cluster_numbers(clusters)
    found = []
    for by, values in attributes.items():
        if np.shape(values) != p.shape:
            raise InvalidRequest(f"the attribute {by} has {np.size(values)} values for {len(p)} rows")
        for name in np.unique(values):
            mine: Bools = values == name
            found.append(_slice(by, str(name), (p[mine], y[mine], numbers[mine]), resamples or RESAMPLES, seed))
    return found


def terciles(values: ArrayLike, names: Sequence[str] = ("small", "medium", "large")) -> NDArray[np.str_]:
    """Return the name of each value's third, lowest first; equal values stay together. One that is not finite is `unknown`."""
    found = np.asarray(values, np.float64)
    known = np.isfinite(found)
    answer = np.full(found.shape, UNKNOWN, dtype=np.dtype(f"<U{max(len(name) for name in (*names, UNKNOWN))}"))
    if known.any():
        edges = np.quantile(found[known], [1 / 3, 2 / 3])
        answer[known] = np.array(names)[np.searchsorted(edges, found[known], side="left")]
    return answer


def worst(found: Iterable[Slice], least: int = LEAST_JUDGED) -> Slice | None:
    """Return the slice of largest smECE among those of `least` rows or more; None where there is none: nothing can be told."""
    judged = [one for one in found if one.n >= least]
    return max(judged, key=lambda one: one.smece.value or 0.0, default=None)


def _slice(by: str, name: str, rows: tuple[Floats, Floats, Ints], resamples: int, seed: int) -> Slice:
    p, y, _ = rows
    clusters, count = cluster_numbers(rows[2])
    shown = len(p) >= LEAST_SHOWN
    smece = _smece(p, y, clusters, resamples, seed) if shown else Figure(smooth_ece(p, y))
    return Slice(by, name, len(p), count, float(y.mean()), float(p.mean()), smece, shown)


def _smece(p: Floats, y: Floats, clusters: Ints, resamples: int, seed: int) -> Figure:
    """SmECE with its cluster-bootstrap interval and its noise floor, as `intervals.figures` has them, without all the others."""
    count, at = int(clusters.max()) + 1, np.arange(len(p))
    left, right, share = spread(p)
    to = np.concatenate([left, right]) // _COARSER
    cells = csr_array((np.concatenate([1 - share, share]), (np.concatenate([at, at]), to)), (len(p), CELLS // _COARSER))
    value, resampled = smooth_ece(p, y), np.zeros(0)
    if count > 1:
        of_cluster = csr_array((y - p, (clusters, at)), shape=(count, len(p))) @ cells
        drawn = draw_clusters(count, resamples, seed)
        resampled = smooth_errors(drawn @ of_cluster / (drawn @ np.bincount(clusters))[:, None])
    floor = smooth_errors(_honest(p, cells, resamples, seed + 1) / len(p))
    found = bounded(value, resampled)
    return Figure(value, found.low, found.high, float(floor.mean()), float(np.percentile(floor, 95)))


def _honest(p: Floats, cells: csr_array, resamples: int, seed: int) -> Floats:
    """Sums of (correct - confidence) per cell, (resamples, cells), where each row is right with probability `p`."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(p))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([((rng.random((size, len(p))) < p) - p) @ cells for size in sizes])
