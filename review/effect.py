"""What assistance does: seconds and errors of items whose draft was shown against items whose draft was withheld, at random.

Items are compared within reviewer and stratum. The items of one reviewer stand or fall together, so that intervals are over reviewers:
CR2 standard errors with Satterthwaite's degrees of freedom, which hold with eight reviewers as well, where a bootstrap's are too short.

Sources: Bell and McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples" (Survey Methodology, 2002);
Pustejovsky and Tipton, "Small-sample methods for cluster-robust variance estimation" (JBES, 2018).

All drafts that were assigned count as shown, whether anybody looked at them or not (intention to treat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

WINSOR = 0.99  # slower items, of each arm, count as slow as this quantile: somebody went for lunch
_GROUPS = 100  # of reviewers, of whom one at a time is left out
LEAST = 30  # items of each arm, below which no effect is stated


@dataclass(frozen=True, slots=True)
class Work:
    """Items that were labelled, one row each: by whom, with the draft shown or withheld, in which stratum, how long, and whether wrong.

    `wrong` is 0 or 1 against gold or an adjudicated label, None where nothing is known of any item; `weight` is 1 / propensity.
    """

    reviewer: Sequence[str]
    assisted: NDArray[np.bool_]
    seconds: Floats
    wrong: Floats | None = None
    stratum: Sequence[str] | None = None
    weight: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.reviewer)
        for some in (self.assisted, self.seconds, self.wrong, self.stratum, self.weight):
            if some is not None and len(some) != n:
                raise InvalidRequest(f"the columns of reviewed items have different lengths: {n} and {len(some)}")
        if n and not (np.isfinite(self.seconds).all() and (self.seconds > 0).all()):
            raise InvalidRequest("active seconds are finite and above 0: leave out items without a time")
        if self.wrong is not None and n and not ((self.wrong >= 0) & (self.wrong <= 1)).all():
            raise InvalidRequest("an item is wrong (1) or right (0)")
        if self.weight is not None and n and not (np.isfinite(self.weight).all() and (self.weight > 0).all()):
            raise InvalidRequest("a weight is 1 / propensity, above 0")

    @property
    def controls(self) -> int:
        """How many items had their draft withheld."""
        return int((~np.asarray(self.assisted, np.bool_)).sum())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference or ratio, assisted against control, with its 95 % interval. Nothing but counts where there is not enough."""

    assisted: int
    control: int
    reviewers: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None  # standard error, of the logarithm where it is a ratio
    freedom: float | None = None

    @property
    def enough(self) -> bool:
        """Whether anything can be said."""
        return self.value is not None


def winsorised(work: Work) -> Floats:
    """Return seconds (n,) with the slowest hundredth of each arm cut.

    By arm, since a common cut would shorten more of the slower arm, and so shrink the very difference that is measured.
    """
    seconds = np.array(work.seconds, np.float64)
    for arm in (True, False):
        rows = np.asarray(work.assisted, np.bool_) == arm
        if rows.any():
            seconds[rows] = np.minimum(seconds[rows], np.quantile(seconds[rows], WINSOR))
    return seconds


def time_ratio(work: Work) -> Estimate:
    """Return how many times as long a typical item takes when its draft is shown: exp of the difference in log seconds."""
    found = difference(np.log(winsorised(work)), work)
    if found.value is None or found.low is None or found.high is None:
        return found
    bounds = (exp(found.value), exp(found.low), exp(found.high))
    return Estimate(found.assisted, found.control, found.reviewers, *bounds, found.error, found.freedom)


def error_difference(work: Work) -> Estimate | None:
    """Return by how much errors become more frequent when drafts are shown; None where no item's truth is known."""
    return None if work.wrong is None else difference(np.asarray(work.wrong, np.float64), work)


def ratio_of_means(work: Work) -> Estimate:
    """Return the ratio of mean seconds, which is what a bill sees; items weigh 1 / propensity.

    The interval is that of the logarithm by the jackknife, one reviewer left out at a time (one of a hundred groups where there are
    more), with t of reviewers - 1. The slow hundredth is found anew each time: where it lies is uncertain too.

    Source: Efron and Stein, "The jackknife estimate of variance" (Annals of Statistics, 1981), which errs on the side of caution.
    """
    counts = _counts(work)
    numbers, reviewers = _numbers(work.reviewer)
    if not _enough(work) or reviewers < 2:
        return counts
    groups = min(reviewers, _GROUPS)
    arm = np.asarray(work.assisted, np.bool_)
    weight = np.ones(len(arm)) if work.weight is None else np.asarray(work.weight, np.float64)
    value, without = 0.0, np.zeros(groups)
    for side, sign in ((True, 1.0), (False, -1.0)):
        seconds, mine, group = np.asarray(work.seconds)[arm == side], weight[arm == side], numbers[arm == side] % groups
        if group.min() == group.max():
            return counts  # one reviewer holds all items of an arm
        value += sign * log(_mean(seconds, mine))
        without += [sign * log(_mean(seconds[group != one], mine[group != one])) for one in range(groups)]
    error = sqrt(float(((without - without.mean()) ** 2).sum()) * (groups - 1) / groups)
    half = float(student.ppf(0.975, groups - 1)) * error
    bounds = (exp(value), exp(value - half), exp(value + half))
    return Estimate(counts.assisted, counts.control, reviewers, *bounds, error, groups - 1.0)


def _mean(seconds: Floats, weight: Floats) -> float:
    return float(np.average(np.minimum(seconds, np.quantile(seconds, WINSOR)), weights=weight))


def difference(values: Floats, work: Work) -> Estimate:
    """Return the mean difference of any figure (n,), assisted less control: least squares with an effect for each reviewer and stratum.

    With one reviewer only, items are the sampled units: the interval then speaks of that reviewer alone.
    """
    numbers, reviewers = _numbers(work.reviewer)
    counts = _counts(work)
    design = _centred(_columns(work), numbers, reviewers)
    if not _enough(work) or float((design[:, 0] ** 2).sum()) < 1e-9:
        return counts
    outcome = _centred(values[:, None], numbers, reviewers)[:, 0]
    both = reviewers > 1
    value, error, freedom = _cr2(outcome, design, numbers if both else np.arange(len(values)), spread=both)
    if not both:
        freedom = len(values) - design.shape[1] - 1.0
    half = float(student.ppf(0.975, freedom)) * error
    return Estimate(counts.assisted, counts.control, reviewers, value, value - half, value + half, error, freedom)


# --- sizes


def controls_needed(spread: float, effect: float, *, share: float = 0.10, spread_assisted: float | None = None) -> float:
    """Return how many control items tell an effect with 80 % power at 5 %, two-sided; `share` of all items are controls.

    n = (1.96 + 0.84)^2 (s0^2 + s1^2 share / (1 - share)) / effect^2: `spread` is the standard deviation of control items, of log seconds
    for a time ratio, where the effect is its logarithm.

    Source: Cochran and Cox, "Experimental Designs" (1957), 2.2. With reviewers' own effects in the model nothing needs inflating.
    """
    return 2.801585**2 * _variance(spread, share, spread_assisted) / effect**2 if effect else inf


def controls_to_show_no_harm(error: float, margin: float, *, share: float = 0.10) -> float:
    """Return how many control items show that errors do not rise by `margin`, at 5 % one-sided and 80 % power.

    Source: Blackwelder, "Proving the null hypothesis in clinical trials" (1982).
    """
    return 2.486475**2 * _variance(sqrt(error * (1 - error)), share, None) / margin**2


def _variance(spread: float, share: float, assisted: float | None) -> float:
    return float(spread**2 + (spread if assisted is None else assisted) ** 2 * share / (1 - share))


# --- least squares


def _cr2(outcome: Floats, design: Floats, clusters: Ints, *, spread: bool) -> tuple[float, float, float]:
    """Return the first coefficient, its CR2 standard error and, with `spread`, Satterthwaite's degrees of freedom.

    The columns are centred within reviewers. With U_g = X_g (X'X)^-1/2, the leverage of cluster g is U_g U_g', and everything that is
    needed of (I - U_g U_g')^-1/2 follows from the small matrix U_g' U_g.
    """
    values, vectors = np.linalg.eigh(design.T @ design)
    kept = values > 1e-9 * values.max()  # columns that others already say are left out
    half = vectors[:, kept] / np.sqrt(values[kept])
    scaled = design @ half  # the U_g, one under the other
    residual = outcome - scaled @ (scaled.T @ outcome)
    wanted = half[0]
    count = int(clusters.max()) + 1
    scores = np.zeros((count, scaled.shape[1]))
    np.add.at(scores, clusters, scaled * residual[:, None])
    grams = np.zeros((count, scaled.shape[1], scaled.shape[1]))
    np.add.at(grams, clusters, scaled[:, :, None] * scaled[:, None, :])
    leverage, axes = np.linalg.eigh(grams)
    room = np.clip(1 - leverage, 0, None)
    stretch = np.where(room > 1e-9, 1 / np.sqrt(np.maximum(room, 1e-12)), 0.0)
    directions = np.einsum("gij,gj,gkj,k->gi", axes, stretch, axes, wanted)
    error = sqrt(float((np.einsum("gi,gi->g", directions, scores) ** 2).sum()))
    freedom = _satterthwaite(directions, grams) if spread else 0.0
    return float(wanted @ (scaled.T @ outcome)), error, freedom


def _satterthwaite(directions: Floats, grams: Floats) -> float:
    """Return (tr P)^2 / tr P^2, P the covariance of the clusters' contributions where errors are independent and alike."""
    pulled = np.einsum("gij,gj->gi", grams, directions)
    covariance = np.diag(np.einsum("gi,gi->g", directions, pulled)) - pulled @ pulled.T
    return float(max(1.0, np.trace(covariance) ** 2 / (covariance**2).sum()))


def _columns(work: Work) -> Floats:
    """Return the design (n, 1 + strata - 1): assisted, and all strata but the first."""
    columns = [np.asarray(work.assisted, np.float64)]
    if work.stratum is not None:
        numbers, count = _numbers(work.stratum)
        columns += [(numbers == one).astype(np.float64) for one in range(1, count)]
    return np.stack(columns, axis=1)


def _centred(columns: Floats, numbers: Ints, count: int) -> Floats:
    """Return columns (n, k) less the mean of each reviewer."""
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, numbers, columns)
    sizes = np.bincount(numbers, minlength=count)[:, None]
    return np.asarray(columns - (sums / np.maximum(sizes, 1))[numbers])


def _numbers(names: Sequence[str]) -> tuple[Ints, int]:
    positions = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return np.fromiter((positions[name] for name in names), np.int64, len(names)), len(positions)


def _counts(work: Work) -> Estimate:
    return Estimate(len(work.reviewer) - work.controls, work.controls, len(set(work.reviewer)))


def _enough(work: Work) -> bool:
    return min(work.controls, len(work.reviewer) - work.controls) >= LEAST
