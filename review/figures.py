"""Figures of a reviewer: rates with intervals, what calibrated confidence predicts, and signal detection. Counts always stand beside them.

`y` counts successes among `n`. Where n is below LEAST, no rate is shown: ten coins tell nothing about a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betaln
from scipy.stats import beta, binom, norm

from candor.errors import InvalidRequest
from candor.predictions import Floats

LEAST = 10  # below this "not enough" is shown
FEW = 40  # below this Jeffreys' interval, from it on Wilson's
FLOOR = 0.8  # of the catch rate, by policy
CATCH, SPOIL = 0.9, 0.02  # of an attentive reviewer: wrong labels corrected, right ones changed
_Z = float(norm.ppf(0.975))

Method = Literal["wilson", "jeffreys", "newcombe", "order statistics"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its counts and 95 % interval. Below LEAST it says `enough` False and gives no figure."""

    y: int
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: Method | None = None

    @property
    def enough(self) -> bool:
        """Whether there were enough to say anything."""
        return self.value is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; `not enough` where nothing can be said."""
        return {**asdict(self), "status": "ok" if self.enough else "not enough"}


def wilson(y: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval. Source: Wilson (JASA, 1927)."""
    share, square = y / n, _Z**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def jeffreys(y: int, n: int) -> tuple[float, float]:
    """Return the equal-tailed 95 % interval under the prior Beta(1/2, 1/2), open at 0 and n.

    Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion" (Statistical Science, 2001).
    """
    low, high = (float(beta.ppf(tail, y + 0.5, n - y + 0.5)) for tail in (0.025, 0.975))
    return (0.0 if y == 0 else low), (1.0 if y == n else high)


def clopper_pearson(y: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval, which holds the truth too often. Source: Clopper and Pearson (Biometrika, 1934)."""
    low = 0.0 if y == 0 else float(beta.ppf(0.025, y, n - y + 1))
    return low, 1.0 if y == n else float(beta.ppf(0.975, y + 1, n - y))


def rate(y: int, n: int) -> Rate:
    """Return y / n with the interval that is shown.

    Raises:
        InvalidRequest: not 0 <= y <= n.
    """
    if not 0 <= y <= n:
        raise InvalidRequest(f"{y} of {n} is no rate")
    if n < LEAST:
        return Rate(y, n)
    few = n < FEW
    return Rate(y, n, y / n, *(jeffreys(y, n) if few else wilson(y, n)), method="jeffreys" if few else "wilson")


def difference(first: Rate, second: Rate) -> Rate:
    """Return the difference of two independent rates, first - second; `y` and `n` are then the first's.

    Over-reliance is this: P(final wrong | wrong draft shown) - P(final wrong | labelled blind), on items of the same strata.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", method 10 (Statistics in Medicine, 1998).
    """
    if min(first.n, second.n) < LEAST:
        return Rate(first.y, first.n)
    p1, p2 = first.y / first.n, second.y / second.n
    (l1, u1), (l2, u2) = wilson(first.y, first.n), wilson(second.y, second.n)
    low = p1 - p2 - sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2)
    high = p1 - p2 + sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2)
    return Rate(first.y, first.n, p1 - p2, low, high, "newcombe")


# --- corrections against what confidence predicts


@dataclass(frozen=True, slots=True)
class Corrections:
    """Corrections made, and those that calibrated confidence predicts of an attentive reviewer.

    `ratio` is made / expected with its interval (Byar's, exact enough from 10 on); `peers` the same over the others' on routed-at-random
    work, and `relative` ratio / peers.
    """

    made: Rate
    expected: float
    ratio: float | None
    low: float | None
    high: float | None
    peers: float | None = None
    relative: float | None = None


def expected_corrections(right: ArrayLike, catch: float = CATCH, spoil: float = SPOIL) -> Floats:
    """Return for each draft the probability (n,) of a correction: (1 - p) catch + p spoil, p its calibrated probability of standing."""
    p = np.asarray(right, np.float64)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise InvalidRequest("a confidence is NaN or outside 0 to 1")
    return np.asarray((1 - p) * catch + p * spoil)


def corrections(
    corrected: ArrayLike, right: ArrayLike, *, others: tuple[ArrayLike, ArrayLike] | None = None, catch: float = CATCH, spoil: float = SPOIL
) -> Corrections:
    """Compare corrections (n,) with those expected; `others` are the same two lists of the peers.

    Source of the standardisation: Breslow and Day, "Statistical Methods in Cancer Research" II (1987), 2.3, with Byar's limits.
    """
    made = rate(int(np.sum(np.asarray(corrected))), len(np.asarray(corrected)))
    expected = float(expected_corrections(right, catch, spoil).sum())
    if not made.enough or expected <= 0:
        return Corrections(made, expected, None, None, None)
    low, high = (bound / expected for bound in _byar(made.y))
    ratio, peers = made.y / expected, None
    if others is not None and len(np.asarray(others[0])) >= LEAST:
        peers = float(np.sum(np.asarray(others[0])) / expected_corrections(others[1], catch, spoil).sum())
    return Corrections(made, expected, ratio, low, high, peers, ratio / peers if peers else None)


def _byar(count: int) -> tuple[float, float]:
    low = 0.0 if count == 0 else count * (1 - 1 / (9 * count) - _Z / (3 * sqrt(count))) ** 3
    more = count + 1
    return max(0.0, low), more * (1 - 1 / (9 * more) + _Z / (3 * sqrt(more))) ** 3


# --- signal detection


@dataclass(frozen=True, slots=True)
class Detection:
    """Sensitivity d' and criterion c: the signal is a wrong draft, the response a correction. Stamping raises c, inability lowers d'."""

    sensitivity: float
    criterion: float
    sensitivity_error: float
    criterion_error: float
    wrong: int
    right: int

    @property
    def enough(self) -> bool:
        """Whether both kinds of drafts were seen often enough."""
        return min(self.wrong, self.right) >= LEAST


def detection(hits: int, wrong: int, false: int, right: int) -> Detection:
    """Return d' = z(H) - z(F) and c = -(z(H) + z(F)) / 2 of `hits` of `wrong` drafts corrected and `false` of `right` ones changed.

    H = (hits + 1/2) / (wrong + 1) and F likewise, the log-linear correction. Sources: Hautus (Behavior Research Methods, 1995); standard
    errors by the delta method of Gourevitch and Galanter (Psychometrika, 1967).

    Raises:
        InvalidRequest: more hits than drafts.
    """
    if not (0 <= hits <= wrong and 0 <= false <= right):
        raise InvalidRequest(f"{hits} of {wrong} and {false} of {right} are no rates")
    shares = np.array([(hits + 0.5) / (wrong + 1), (false + 0.5) / (right + 1)])
    z = norm.ppf(shares)
    variances = shares * (1 - shares) / (np.array([wrong + 1, right + 1]) * norm.pdf(z) ** 2)
    error = sqrt(float(variances.sum()))
    return Detection(float(z[0] - z[1]), float(-(z[0] + z[1]) / 2), error, error / 2, wrong, right)


# --- seconds


def median_seconds(seconds: ArrayLike) -> Rate:
    """Return the median of active seconds with its distribution-free interval of order statistics; `y` and `n` are the count.

    Source: David and Nagaraja, "Order Statistics" (2003), 7.1.
    """
    times = np.sort(np.asarray(seconds, np.float64))
    n = len(times)
    if n and not (np.isfinite(times).all() and times[0] >= 0):
        raise InvalidRequest("seconds are finite and not negative")
    if n < LEAST:
        return Rate(n, n)
    below = int(binom.ppf(0.025, n, 0.5))
    return Rate(n, n, float(np.median(times)), float(times[max(below - 1, 0)]), float(times[min(n - below, n - 1)]), "order statistics")


# --- shrinkage over reviewers, for ranking


@dataclass(frozen=True, slots=True)
class Population:
    """How catch rates differ between reviewers: Beta(m k, (1 - m) k), with mean m and strength k in honeypots."""

    mean: float
    strength: float

    def shrunk(self, y: int, n: int) -> float:
        """The reviewer's posterior mean, (k m + y) / (k + n)."""
        return (self.strength * self.mean + y) / (self.strength + n)

    def below(self, y: int, n: int, floor: float = FLOOR) -> float:
        """The posterior probability that the reviewer's rate is below the floor: what reviewers are ranked by."""
        return float(beta.cdf(floor, self.strength * self.mean + y, self.strength * (1 - self.mean) + n - y))


def population(successes: Sequence[int], totals: Sequence[int]) -> Population | None:
    """Fit the beta-binomial by marginal maximum likelihood; None with fewer than three reviewers who saw anything.

    The strength stays between 1 and 1,000: likelihoods of alike reviewers rise without end.

    Source: Skellam (JRSS B, 1948) for the likelihood; Efron, "Large-Scale Inference" (2010), chapter 1, for its use.
    """
    y, n = (np.asarray(some, np.float64) for some in (successes, totals))
    if y.shape != n.shape or not ((y >= 0) & (y <= n)).all():
        raise InvalidRequest("successes and totals are two lists of one length, and no success is without its trial")
    y, n = y[n > 0], n[n > 0]
    if len(n) < 3:
        return None

    def loss(at: Floats) -> float:
        mean, strength = 1 / (1 + np.exp(-at[0])), np.exp(at[1])
        a, b = mean * strength, (1 - mean) * strength
        return float(-(betaln(a + y, b + n - y) - betaln(a, b)).sum())

    start = (y.sum() + 0.5) / (n.sum() + 1)
    bounds = [(-7.0, 7.0), (0.0, float(np.log(1000)))]
    fits = [minimize(loss, [np.log(start / (1 - start)), np.log(k)], method="L-BFGS-B", bounds=bounds) for k in (3.0, 30.0, 300.0)]
    best = min(fits, key=lambda one: float(one.fun)).x
    return Population(float(1 / (1 + np.exp(-best[0]))), float(np.exp(best[1])))


# --- relying on advice, where a first answer was given before it


@dataclass(frozen=True, slots=True)
class Reliance:
    """Followed right advice after a wrong answer (`helped`); kept a right answer against wrong advice (`withstood`)."""

    helped: Rate
    withstood: Rate


def reliance(first_right: ArrayLike, advice_right: ArrayLike, final_right: ArrayLike) -> Reliance:
    """Return relative reliance on advice (RAIR) and on oneself (RSR) of two-step items (n,).

    Source: Schemmer et al., "Appropriate reliance on AI advice" (IUI, 2023).
    """
    first, advice, final = (np.asarray(one, np.bool_) for one in (first_right, advice_right, final_right))
    helped, withstood = ~first & advice, first & ~advice
    return Reliance(rate(int(final[helped].sum()), int(helped.sum())), rate(int(final[withstood].sum()), int(withstood.sum())))
