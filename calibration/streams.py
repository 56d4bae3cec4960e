"""Where labels come from, what each kind may be used for, and estimates that allow for how they were drawn.

- `gold`: gold items with the model's own draft. `blind`: the draft was withheld, a person labelled without it. `audit`: accepted items,
  drawn at random, labelled anew by somebody who did not see the draft. These tell how often drafts are right.
- `review`: what people did with drafts that they saw. They overlook errors, so that drafts seem better than they are (`apparent_accuracy`).
- `honeypot`: a planted error. It tells something of the reviewer, and of the model nothing.

A calibration is fitted on, and watched with, the first three alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from calibration.intervals import Figure, cluster_numbers, ratio_interval
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

Stream: TypeAlias = Literal["gold", "blind", "audit", "review", "honeypot"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
PERMITTED: frozenset[Stream] = frozenset({"gold", "blind", "audit"})

CLIP = 50.0  # the greatest weight: one label of a rare stratum must not decide alone
LEAST_BLIND = 200  # truths, before a proxy may lend them strength
_LEAST_CLUSTERS = 20
_Z = 1.959964  # of a 95 % interval
_REASONS: dict[str, str] = {
    "review": "reviewers overlook errors of drafts that they are shown, so that drafts would seem better than they are",
    "honeypot": "a honeypot's error was planted and says nothing of the model",
}


def permitted(stream: str) -> bool:
    """Whether labels of a stream may calibrate or watch a confidence.

    Raises:
        InvalidRequest: there is no such stream.
    """
    if stream not in STREAMS:
        raise InvalidRequest(f"there is no stream {stream!r}; the streams are {', '.join(STREAMS)}")
    return stream in PERMITTED


def require_permitted(streams: Iterable[str]) -> None:
    """Refuse labels among which is one that must not calibrate; `streams` holds the stream of each label.

    Raises:
        InvalidRequest: a label of an ordinary review or of a honeypot, or of no known stream.
    """
    counts = Counter(streams)
    refused = {stream: count for stream, count in counts.items() if not permitted(stream)}
    if refused:
        told = "; ".join(
            f"{count} of {counts.total()} labels are of stream {stream}: {_REASONS[stream]}" for stream, count in refused.items()
        )
        raise InvalidRequest(f"{told}. Take labels of {', '.join(sorted(PERMITTED))} only")


def weights(propensity: ArrayLike, clip: float = CLIP) -> Floats:
    """Return 1 / propensity (n,), at most `clip`: for how many labels each one stands.

    Raises:
        InvalidRequest: a propensity that is NaN, 0 or less, or above 1; a clip below 1.
    """
    drawn = np.asarray(propensity, np.float64)
    if not clip >= 1:
        raise InvalidRequest(f"weights are clipped at {clip:g}; it takes 1 or more")
    if drawn.ndim != 1 or not ((drawn > 0) & (drawn <= 1)).all():
        raise InvalidRequest("propensities are a list of probabilities above 0 and at most 1: log them when items are drawn")
    return np.minimum(1 / drawn, clip)


def effective_sample_size(weight: ArrayLike) -> float:
    """Return (sum w)^2 / sum w^2: how many equally weighted labels would tell as much (Kish, 1965). No labels: 0."""
    w = np.asarray(weight, np.float64)
    if w.ndim != 1 or not ((w >= 0) & np.isfinite(w)).all():
        raise InvalidRequest("weights are a list of finite numbers, 0 or more")
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


def hajek_mean(values: ArrayLike, weight: ArrayLike, clusters: ArrayLike, *, resamples: int | None = None) -> Figure:
    """Return sum(w v) / sum(w) with its cluster-bootstrap interval: an estimate for all items, from those that were drawn (Hajek, 1971).

    Raises:
        InvalidRequest: no values, lists of several lengths, a value or weight that is not finite, or a weight of 0 or less.
    """
    v, w = _sample(values, weight)
    numbers, _ = _clusters(clusters, len(v))
    sums, sizes = (np.bincount(numbers, weights=one).astype(np.float64) for one in (w * v, w))
    return ratio_interval(sums, sizes, resamples)


def apparent_accuracy(accuracy: float, catch: float, false_correction: float) -> float:
    """Return the share of drafts that reviewers leave as they are: a (1 - f) + (1 - a) (1 - c).

    `accuracy` a is the share of right drafts, `catch` c the share of wrong ones that reviewers change, `false_correction` f that of
    right ones.

    Raises:
        InvalidRequest: one of them is no probability.
    """
    _probabilities(accuracy=accuracy, catch=catch, false_correction=false_correction)
    return accuracy * (1 - false_correction) + (1 - accuracy) * (1 - catch)


def rogan_gladen(apparent: float, catch: float, false_correction: float) -> float:
    """Return the accuracy behind an apparent one, (A - (1 - c)) / (c - f), held to 0 to 1 (Rogan and Gladen, 1978).

    Only as good as `catch` and `false_correction`, which must come from gold items.

    Raises:
        InvalidRequest: one of them is no probability, or reviewers change right drafts as readily as wrong ones.
    """
    _probabilities(apparent=apparent, catch=catch, false_correction=false_correction)
    if catch <= false_correction:
        raise InvalidRequest("reviewers change right drafts as often as wrong ones: their reviews say nothing of the drafts' accuracy")
    return min(1.0, max(0.0, (apparent - (1 - catch)) / (catch - false_correction)))


@dataclass(frozen=True, slots=True)
class PpiMean:
    """The mean of a truth from few truths alone, and from them and many proxies together.

    `tuning` is lambda, the strength lent by the proxies; `powered` is None where there are too few truths, and `reason` says so.
    """

    truths: int
    proxies: int
    truths_only: Figure
    tuning: float | None
    powered: Figure | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return the estimates as JSON values."""
        both = {
            name: None if one is None else {"value": one.value, "low": one.low, "high": one.high}
            for name, one in (("truths_only", self.truths_only), ("powered", self.powered))
        }
        return {"truths": self.truths, "proxies": self.proxies, "tuning": self.tuning, "reason": self.reason, **both}


def ppi_mean(
    truth: ArrayLike, proxy: ArrayLike, proxy_only: ArrayLike, *, weight: ArrayLike | None = None, clusters: ArrayLike | None = None
) -> PpiMean:
    """Estimate the mean of `truth` (n,) with the help of a proxy that is known for the same labels (n,) and for others (m,).

    The labels with a truth must be drawn at random, with `weight` (n,) where not equally often, from where the others come from; rows of
    a cluster stand or fall together. The estimate is lambda mean(proxy_only) + mean(truth - lambda proxy), which has no bias however bad
    the proxy is, with the lambda of least variance, held to 0 to 1. PPI++, power tuning: Angelopoulos, Duchi and Zrnic (2023): lambda =
    cov(truth, proxy) / ((1 + n / m) var(proxy)), here with the cluster-robust variances of the three means. Intervals are normal.

    Raises:
        InvalidRequest: no rows, lists of several lengths, or a value that is not finite.
    """
    y, w = _sample(truth, np.ones(np.shape(truth)) if weight is None else weight)
    f, _ = _sample(proxy, w)
    others, equal = _sample(proxy_only, np.ones(np.shape(proxy_only)))
    numbers, count = _clusters(np.arange(len(y)) if clusters is None else clusters, len(y))
    shifts = [_shifts(values, w, numbers) for values in (y, f)]
    alone = _normal(float(w @ y / w.sum()), _product(shifts[0], shifts[0]), count)
    if len(y) < LEAST_BLIND or count < _LEAST_CLUSTERS:
        reason = f"{len(y)} truths from {count} sources; a proxy helps from {LEAST_BLIND} and {_LEAST_CLUSTERS} on"
        return PpiMean(len(y), len(others), alone, None, None, reason)
    spread = _shifts(others, equal, np.arange(len(others)))
    noise = _product(spread, spread)
    below = _product(shifts[1], shifts[1]) + noise
    tuning = min(1.0, max(0.0, _product(shifts[0], shifts[1]) / below)) if below > 0 else 0.0
    rest = shifts[0] - tuning * shifts[1]
    value = tuning * float(others.mean()) + float(w @ (y - tuning * f) / w.sum())
    powered = _normal(value, tuning**2 * noise + _product(rest, rest), count)
    return PpiMean(len(y), len(others), alone, tuning, powered, "")


def _shifts(values: Floats, w: Floats, numbers: Ints) -> Floats:
    """Return how much each cluster moves the weighted mean: their products sum to variances and covariances of such means."""
    moved = np.bincount(numbers, weights=w * (values - w @ values / w.sum())) / w.sum()
    return np.asarray(moved * sqrt(len(moved) / max(len(moved) - 1, 1)))


def _product(one: Floats, other: Floats) -> float:
    return float(one @ other)


def _normal(value: float, variance: float, count: int) -> Figure:
    if count < 2:
        return Figure(value)
    half = _Z * sqrt(max(variance, 0.0))
    return Figure(value, value - half, value + half)


def _sample(values: ArrayLike, weight: ArrayLike) -> tuple[Floats, Floats]:
    v, w = np.asarray(values, np.float64), np.asarray(weight, np.float64)
    if v.ndim != 1 or v.shape != w.shape or not v.size:
        raise InvalidRequest(f"an estimate takes lists of one length, with a row at least, not {v.shape} and {w.shape}")
    if not (np.isfinite(v).all() and np.isfinite(w).all() and (w > 0).all()):
        raise InvalidRequest("a value is NaN or infinite, or a weight is 0 or less")
    return v, w


def _clusters(clusters: ArrayLike, rows: int) -> tuple[Ints, int]:
    if np.shape(clusters) != (rows,):
        raise InvalidRequest(f"each of {rows} rows belongs to one cluster; the clusters' shape is {np.shape(clusters)}")
    return cluster_numbers(clusters)


def _probabilities(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InvalidRequest(f"{name.replace('_', ' ')} is {value:g}; it is a probability, 0 to 1")
