"""Whether a new calibration may take the old one's place: both are scored on labels that came after the new one was fitted.

The gain of a label is NLL of the old - NLL of the new, in nats, held to -2 to 2 (`MOST`): a new one that is worse by more is counted as
2 worse, and may not be promoted unless the mean gain before that is above 0 too. The interval of the mean gain is a confidence sequence:
it holds at all sample sizes at once, so that one may look after every label and promote at the first good moment.

To doubt that the mean is m or less, stakes of 1 are multiplied by 1 + c (g - m) / (MOST + m) at each gain g: by 1 - c at least. Where it
is m or less, their average over several c ever reaches 40 with probability 1 / 40 at most; the interval's lower end is the greatest m that
is refuted so, and its upper end is found likewise. No normality is assumed: small gains on most labels and rare great losses, which is
what an over-confident calibration shows, are no trap.
Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from calibration.intervals import Figure, cluster_numbers
from calibration.streams import effective_sample_size
from candor.errors import InvalidRequest
from candor.predictions import Floats

MOST = 2.0  # nats
MARGIN = 0.002  # nats; a simpler calibration may be that much worse
LEVEL = 0.95
_SHARES = 0.95 / 2.0 ** np.arange(7)  # c
_BAR = log(2 / (1 - LEVEL))  # half of what is left to each end


@dataclass(frozen=True, slots=True)
class Decision:
    """What shadow scoring says. `gain` is the mean gain per item in nats with its 95 % confidence sequence.

    `more` is about how many further labels would decide it, if they are like those seen; None where it is decided or no number would.
    """

    promote: bool
    reason: str
    gain: Figure
    labels: int
    items: int
    effective_items: float
    more: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return {**asdict(self), "gain": {"value": self.gain.value, "low": self.gain.low, "high": self.gain.high}}


def promote(
    nll_old: ArrayLike, nll_new: ArrayLike, clusters: ArrayLike | None = None, weights: ArrayLike | None = None, *, simpler: bool = False
) -> Decision:
    """Decide from the losses of both calibrations on the same labels (n,), in nats.

    Promoted is what gains: the lower end of the gain's interval is above 0. If the new one is `simpler` (fewer parameters), it is enough
    that it is above -0.002. Labels of one cluster (an item's) count as one gain, their mean, each item once; their weights, 1 /
    propensity, are averaged likewise.

    Raises:
        InvalidRequest: no labels, lists of several lengths, a loss that is NaN or infinite, or a weight of 0 or less.
    """
    old, new, names, w = _checked(nll_old, nll_new, clusters, weights)
    numbers, items = cluster_numbers(names)
    sizes = np.bincount(numbers)
    heavy = np.bincount(numbers, weights=w) / sizes
    raw = np.bincount(numbers, weights=old - new) / sizes
    gains = np.bincount(numbers, weights=np.clip(old - new, -MOST, MOST)) / sizes
    gain = gain_interval(gains, heavy)
    floor, plain = -MARGIN if simpler else 0.0, float(heavy @ raw / heavy.sum())
    shown = gain.low is not None and gain.low > floor
    promoted = shown and plain > floor
    further = None if shown else _further(gains, heavy, floor)
    more = None if further is None else ceil(further * len(old) / items)
    reason = _reason(gain, plain, floor, more, promoted=promoted)
    return Decision(promoted, reason, gain, len(old), items, effective_sample_size(heavy), more)


def gain_interval(gains: Floats, weights: Floats) -> Figure:
    """Return the weighted mean of gains (k,), each of -MOST to MOST, with its 95 % confidence sequence.

    A gain of weight w is bet on with the share c w / max(w), so that no stake becomes negative.
    """
    value = float(weights @ gains / weights.sum())
    low = _lower(gains, weights)
    high = -_lower(-gains, weights)
    return Figure(value, min(low, value), max(high, value))


def _lower(gains: Floats, weights: Floats) -> float:
    """Return the mean at which the evidence against all lower ones is just enough. Evidence falls as the mean that is doubted rises."""

    def excess(mean: float) -> float:
        return _evidence(_stakes(gains, weights, mean)) - _BAR

    value = float(weights @ gains / weights.sum())  # against which there is no evidence: the logarithm of 1 + x is x at most
    below = 0.001
    while value - below > -MOST and excess(value - below) <= 0:
        below *= 2
    least = max(value - below, -MOST + 1e-9)
    if value <= least or excess(least) <= 0:
        return -MOST
    return float(brentq(excess, least, value, xtol=1e-8))


def _stakes(gains: Floats, weights: Floats, mean: float) -> Floats:
    """Return the logarithm of the stake of each share c against the mean being at most `mean`."""
    moved = weights / weights.max() * (gains - mean) / (MOST + mean)
    return np.asarray(np.log1p(_SHARES[:, None] * moved).sum(axis=1))


def _evidence(stakes: Floats) -> float:
    return float(np.logaddexp.reduce(stakes)) - log(len(_SHARES))


def _further(gains: Floats, weights: Floats, floor: float) -> int | None:
    """Return how many further items like these would lift the lower end above `floor`: stakes grow as they grew."""
    stakes = _stakes(gains, weights, floor)
    if stakes.max() <= 0:
        return None
    times = _BAR + log(len(_SHARES)) + 1.0
    found = brentq(lambda factor: _evidence(stakes * factor) - _BAR, 0.0, times / stakes.max())
    return max(1, ceil((float(found) - 1) * len(gains)))


def _reason(gain: Figure, plain: float, floor: float, more: int | None, *, promoted: bool) -> str:
    shown = f"mean gain {gain.value:+.4f} nats, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
    if promoted and gain.low is not None and gain.low > 0:
        return f"it is better: {shown}"
    if promoted:
        return f"it is simpler, and worse by less than {MARGIN} nats: {shown}"
    if gain.high is not None and gain.high <= floor:
        return f"it is worse: {shown}"
    if plain <= floor and gain.value is not None and gain.value > floor:
        return f"some labels are worse by more than {MOST:g} nats; with those in full the mean gain is {plain:+.4f}: {shown}"
    if more is None:
        return f"no gain is seen, and more labels like these would show none: {shown}"
    return f"not enough evidence: about {more:,} more labels like these would do; {shown}"


def _checked(
    nll_old: ArrayLike, nll_new: ArrayLike, clusters: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Floats, Floats, ArrayLike, Floats]:
    old, new = np.asarray(nll_old, np.float64), np.asarray(nll_new, np.float64)
    w = np.ones(old.shape) if weights is None else np.asarray(weights, np.float64)
    names = np.arange(old.size) if clusters is None else np.asarray(clusters)
    if old.ndim != 1 or not old.shape == new.shape == names.shape == w.shape:
        raise InvalidRequest("old and new are compared on the same labels: one loss of each, one cluster and one weight per label")
    if not old.size:
        raise InvalidRequest("there are no labels to compare on: a new calibration waits for labels that came after its fit")
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        raise InvalidRequest("a loss is NaN or infinite")
    if not ((w > 0) & np.isfinite(w)).all():
        raise InvalidRequest("a weight is NaN, infinite, or 0 or less")
    return old, new, names, w
