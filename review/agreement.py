"""How far people agree, beyond chance: Cohen's kappa, Gwet's AC1, Krippendorff's alpha.

Kappa of labels that both people made from the same shown draft is too high, since both hold on to the draft: compute it where both
labelled blind, and show the gap between the two as a measure of anchoring.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from candor.errors import InvalidRequest
from candor.predictions import Floats

Weights: TypeAlias = Literal["linear", "quadratic"]
Level: TypeAlias = Literal["nominal", "ordinal", "interval"]
_Z = float(norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class Agreement:
    """One coefficient over n items with its 95 % interval; `observed` is the plain share that agrees, `chance` that expected of chance.

    `value` is None where chance alone agrees always, as where everybody gave one label: then nothing can be said beyond it.
    """

    n: int
    observed: float
    chance: float
    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: getattr(self, name) for name in ("n", "observed", "chance", "value", "low", "high")}


def table_of(first: Sequence[Hashable], second: Sequence[Hashable], order: Sequence[Hashable] | None = None) -> Floats:
    """Return the counts (k, k) of two people's labels of the same items; `order` lists the labels, for weights.

    Raises:
        InvalidRequest: no items, lengths that differ, or a label that is not in `order`.
    """
    if len(first) != len(second) or not first:
        raise InvalidRequest(f"agreement needs two lists of labels of the same items, not {len(first)} and {len(second)}")
    names = list(order) if order is not None else sorted({*first, *second}, key=repr)
    at = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    try:
        np.add.at(counts, ([at[one] for one in first], [at[one] for one in second]), 1.0)
    except KeyError as error:
        raise InvalidRequest(f"a label is not in the order that was given: {error}") from error
    return counts


def kappa(counts: ArrayLike, weights: Weights | None = None) -> Agreement:
    """Return Cohen's kappa of a table (k, k) of counts, weighted by the distance of ordered labels where that is asked.

    kappa = (po - pe) / (1 - pe), po = sum w p_ij, pe = sum w p_i. p_.j. Sources: Cohen (1960; weighted, Psychological Bulletin, 1968);
    the standard error is that of Fleiss, Cohen and Everitt (Psychological Bulletin, 1969).

    Raises:
        InvalidRequest: no square table of counts, or an empty one.
    """
    p, n = _shares(counts)
    w = _agreement_weights(len(p), weights)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float((w * p).sum()), float(rows @ w @ columns)
    if 1 - chance < 1e-12:
        return Agreement(n, observed, chance, None)
    value = (observed - chance) / (1 - chance)
    means = (w @ columns)[:, None] + (rows @ w)[None, :]
    spread = float((p * (w - means * (1 - value)) ** 2).sum()) - (value - chance * (1 - value)) ** 2
    half = _Z * sqrt(max(spread, 0.0) / n) / (1 - chance)
    return Agreement(n, observed, chance, value, max(-1.0, value - half), min(1.0, value + half))


def ac1(counts: ArrayLike) -> Agreement:
    """Return Gwet's AC1 of a table (k, k), which rare labels do not make collapse as they do kappa.

    pe = sum q (1 - q) / (k - 1), q the mean of both people's share of a label. Source, of the variance too: Gwet, "Computing inter-rater
    reliability and its variance in the presence of high agreement" (BJMSP, 2008), for two people and an infinite population of items.

    Raises:
        InvalidRequest: no square table of counts, or an empty one.
    """
    p, n = _shares(counts)
    k = len(p)
    if k < 2:
        return Agreement(n, 1.0, 1.0, None)
    shares = (p.sum(axis=0) + p.sum(axis=1)) / 2
    observed, chance = float(np.trace(p)), float((shares * (1 - shares)).sum() / (k - 1))
    value = (observed - chance) / (1 - chance)
    if n < 2:
        return Agreement(n, observed, chance, value)
    # each item's own contribution: its agreement, less what its labels do to chance agreement
    own = (np.eye(k) - chance) / (1 - chance)
    rarity = (1 - shares) / (k - 1)
    labels = (rarity[:, None] + rarity[None, :]) / 2
    influence = own - 2 * (1 - value) * (labels - chance) / (1 - chance)
    half = _Z * sqrt(float((p * (influence - value) ** 2).sum()) * n / (n - 1) / n)
    return Agreement(n, observed, chance, value, max(-1.0, value - half), min(1.0, value + half))


def alpha(ratings: ArrayLike, level: Level = "nominal") -> float | None:
    """Return Krippendorff's alpha of ratings (people, items), NaN where somebody did not label an item; None where it is undefined.

    alpha = 1 - Do / De over the matrix of coincidences of items with two labels or more. Source: Krippendorff, "Content Analysis" (2004),
    chapter 11; "Computing Krippendorff's alpha-reliability" (2011).

    Raises:
        InvalidRequest: not a table of numbers.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2:
        raise InvalidRequest(f"alpha needs a table of people by items, not {table.shape}")
    values, numbers = np.unique(table[~np.isnan(table)], return_inverse=True)
    if len(values) < 2:
        return None
    counts = np.zeros((table.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(~np.isnan(table))[1], numbers), 1.0)
    counts = counts[counts.sum(axis=1) >= 2]
    per_item = counts.sum(axis=1, keepdims=True)
    coincidences = (counts / (per_item - 1)).T @ counts - np.diag((counts / (per_item - 1)).sum(axis=0))
    totals = coincidences.sum(axis=1)
    distances = _distances(values, totals, level)
    expected = float(totals @ distances @ totals) / (totals.sum() - 1) if totals.sum() > 1 else 0.0
    return None if expected <= 0 else 1 - float((coincidences * distances).sum()) / expected


def alpha_of_distance(items: Sequence[Sequence[Any]], distance: Callable[[Any, Any], float]) -> float | None:
    """Return alpha where labels are anything that has a distance from 0 to 1: boxes, transcripts. `items` hold the labels of each item.

    Do is the mean distance within an item, De that of any two labels of all; each item's pairs weigh 1 / (its labels - 1). So it is
    `alpha` with another distance. It takes time by the square of the number of labels.
    """
    paired = [list(one) for one in items if len(one) >= 2]
    everything = [label for one in paired for label in one]
    n = len(everything)
    if n < 3:
        return None
    within = sum(2 * _pairs(one, distance) / (len(one) - 1) for one in paired) / n
    between = 2 * _pairs(everything, distance) / (n * (n - 1))
    return None if between <= 0 else 1 - within / between


def interval_of_alpha(
    ratings: ArrayLike, level: Level = "nominal", *, resamples: int = 1000, seed: int = 20260101
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of alpha over items drawn anew; None where fewer than half of the resamples define it."""
    table = np.asarray(ratings, np.float64)
    rng = np.random.default_rng(seed)
    found = [alpha(table[:, rng.integers(0, table.shape[1], table.shape[1])], level) for _ in range(resamples)]
    defined = [one for one in found if one is not None]
    if len(defined) * 2 < resamples:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def mean_pairwise_kappa(ratings: ArrayLike) -> float | None:
    """Return the mean of Cohen's kappa over all pairs of people (people, items) with an item in common, where it is defined."""
    table = np.asarray(ratings, np.float64)
    found = []
    for i in range(len(table)):
        for j in range(i + 1, len(table)):
            both = ~np.isnan(table[i]) & ~np.isnan(table[j])
            if both.any():
                found.append(kappa(table_of(table[i, both].tolist(), table[j, both].tolist())).value)
    defined = [one for one in found if one is not None]
    return float(np.mean(defined)) if defined else None


def _pairs(labels: Sequence[Any], distance: Callable[[Any, Any], float]) -> float:
    return sum(distance(labels[i], labels[j]) for i in range(len(labels)) for j in range(i))


def _shares(counts: ArrayLike) -> tuple[Floats, int]:
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not (table >= 0).all() or table.sum() <= 0:
        raise InvalidRequest(f"agreement needs a square table of counts, not {table.shape}")
    return table / table.sum(), int(table.sum())


def _agreement_weights(k: int, weights: Weights | None) -> Floats:
    if weights is None or k < 2:
        return np.eye(k)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / (k - 1)
    return np.asarray(1 - (apart if weights == "linear" else apart**2))


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.asarray(np.subtract.outer(values, values) ** 2)
    ranks = np.cumsum(totals) - totals / 2  # of the labels between two ones, half of both ends
    return np.asarray(np.subtract.outer(ranks, ranks) ** 2)
