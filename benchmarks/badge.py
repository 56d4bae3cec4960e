"""Whether the high-confidence badge keeps its promise: `python -m benchmarks.badge`. Simulated labels whose truth is known.

For each number of rows, a threshold is selected again and again on fresh rows, and held against the truth: how often more labels are
wrong than promised, and which share of labels is marked. Beside it the threshold that anybody would write first: the most generous one
whose labels are wrong seldom enough on the rows themselves. It breaks its promise about every second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from benchmarks.figures import verdict
from calibration.measure import Bools
from calibration.threshold import DELTA, select_badge, select_badge_clustered
from candor.predictions import Floats, Ints

RESPLITS = 1000
TRUTH = 200_000  # labels that stand for all there will ever be
CASES = ((500, 0.05), (1000, 0.02), (1000, 0.05), (2000, 0.02), (2000, 0.05), (5000, 0.02), (5000, 0.05))
ITEM_CASES = ((100, 0.05), (200, 0.05), (500, 0.05), (2000, 0.05))
_MEAN, _DEVIATION = 3.04, 3.9  # of the logits: 60 % of the labels could be marked at 2 %, and 72 % at 5 %, were all known
_EFFECT = 1.5  # of an item on all its labels, in logits
_LABELS = 6  # of an item, in the mean

Rows: TypeAlias = tuple[Floats, Floats, Ints]  # confidence, correct, item
Chooser: TypeAlias = Callable[[Rows, float], float | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """How often a way to choose breaks its promise, and the mean share of labels that it marks, over resplits."""

    broken: float
    coverage: float


def labels(rng: np.random.Generator, n: int) -> Rows:
    """Draw labels, one per item, whose confidences are their probabilities."""
    p = expit(_MEAN + _DEVIATION * rng.normal(size=n))
    return p, (rng.random(n) < p).astype(np.float64), np.arange(n)


def items(rng: np.random.Generator, n: int) -> Rows:
    """Draw items of several labels each, which an item's own effect makes all likelier to be right, or none."""
    cluster = np.repeat(np.arange(n), 1 + rng.poisson(_LABELS - 1, n))
    logit = _MEAN + _DEVIATION * rng.normal(size=len(cluster))
    right = rng.random(len(cluster)) < expit(logit + _EFFECT * rng.normal(size=n)[cluster])
    return expit(logit), right.astype(np.float64), cluster


def certified(rows: Rows, epsilon: float) -> float | None:
    """Choose as Candor does."""
    confidence, correct, cluster = rows
    alone = len(cluster) == cluster[-1] + 1
    found, _ = (
        select_badge(confidence, correct, epsilon=epsilon)
        if alone
        else select_badge_clustered(confidence, correct, cluster, epsilon=epsilon)
    )
    return None if found is None else found.threshold


def naive(rows: Rows, epsilon: float) -> float | None:
    """Choose the most generous threshold that looks good enough."""
    order = np.argsort(-rows[0])
    share = np.cumsum(1 - rows[1][order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share <= epsilon)
    return float(rows[0][order][good[-1]]) if len(good) else None


def simulate(draw: Callable[[np.random.Generator, int], Rows], n: int, epsilon: float, choose: Chooser, resplits: int = RESPLITS) -> Kept:
    """Choose on fresh rows again and again. The same numbers give the same answer."""
    truth = _truth(draw)
    broken, coverage = 0, 0.0
    for seed in range(1, resplits + 1):
        threshold = choose(draw(np.random.default_rng(seed), n), epsilon)
        if threshold is not None:
            error, marked = truth.at(threshold)
            broken += error > epsilon
            coverage += marked
    return Kept(broken / resplits, coverage / resplits)


class _Truth:
    """The mean share of wrong labels of an item, and the share of labels that are marked, at each threshold of a fine grid."""

    def __init__(self, rows: Rows) -> None:
        confidence, correct, cluster = rows
        ordered = np.sort(confidence)[::-1]
        self._at = ordered[np.linspace(1, len(ordered) - 1, 1000).astype(np.int64)]
        self._error = np.array([_item_error(confidence >= one, correct, cluster) for one in self._at])
        self._marked = np.array([(confidence >= one).mean() for one in self._at])

    def at(self, threshold: float) -> tuple[float, float]:
        nearest = int(np.argmin(np.abs(self._at - threshold)))
        return float(self._error[nearest]), float(self._marked[nearest])


@cache
def _truth(draw: Callable[[np.random.Generator, int], Rows]) -> _Truth:
    return _Truth(draw(np.random.default_rng(0), TRUTH // (1 if draw is labels else _LABELS)))


def _item_error(marked: Bools, correct: Floats, cluster: Ints) -> float:
    found, wrong = np.bincount(cluster, marked), np.bincount(cluster, marked * (1 - correct))
    return float((wrong[found > 0] / found[found > 0]).mean())


def main() -> None:
    """Print the table."""
    allowed = DELTA + 2 * sqrt(DELTA * (1 - DELTA) / RESPLITS)
    table = Table(title=f"The badge over {RESPLITS:,} resplits, delta {DELTA}", title_justify="left")
    for column in ("rows", "epsilon", "naive: broken", "naive: marked", "broken", "marked", f"broken <= {allowed:.3f}"):
        table.add_column(column)
    for draw, cases in ((labels, CASES), (items, ITEM_CASES)):
        for n, epsilon in cases:
            loose, ours = (simulate(draw, n, epsilon, choose) for choose in (naive, certified))
            figures = (f"{loose.broken:.3f}", f"{loose.coverage:.2f}", f"{ours.broken:.3f}", f"{ours.coverage:.2f}")
            table.add_row(f"{n:,} {draw.__name__}", f"{epsilon:.0%}", *figures, verdict(ours.broken <= allowed))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
