"""Does assistance pay? Time saved and errors made, put together with the user's own prices, and a verdict in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, isfinite, log
from typing import Any, Literal, TypeAlias

import numpy as np

from candor.errors import InvalidRequest
from review.effect import (
    LEAST,
    Estimate,
    Work,
    controls_needed,
    controls_to_show_no_harm,
    difference,
    error_difference,
    time_ratio,
    winsorised,
)

Verdict: TypeAlias = Literal["assist pays", "assist hurts", "not enough evidence"]

MARGIN = 0.02  # more errors than that are harm, where errors have no price
SAVING = 0.10  # of time: the least that is worth finding out
WORTH = 0.05  # of an item's cost, likewise
SPREAD = 0.6  # of log seconds, where nothing was measured yet


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost, in one currency: an hour of work, a wrong label that gets through, and a draft."""

    hour: float
    error: float
    draft: float = 0.0

    def __post_init__(self) -> None:
        if not all(isfinite(one) and one >= 0 for one in (self.hour, self.error, self.draft)) or self.hour == 0:
            raise InvalidRequest("prices are not negative, and an hour of work costs something")


@dataclass(frozen=True, slots=True)
class Worth:
    """The verdict and what it rests on. `net` is money saved per item; `more_controls` is how many further control items would tell.

    `break_even` is the price of an error at which the time saved is eaten up; None where errors do not rise or no prices are given.
    """

    verdict: Verdict
    why: str
    time: Estimate
    errors: Estimate | None
    net: Estimate | None = None
    break_even: float | None = None
    more_controls: int | None = None

    @property
    def says(self) -> str:
        """The verdict in words."""
        return self.verdict if self.more_controls is None else f"{self.verdict}: {self.more_controls:,} more control items"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "says": self.says}


def worth(work: Work, prices: Prices | None = None) -> Worth:
    """Judge assistance. With prices, and where truths are known, by money; else by time, and by errors against a margin of 2 points.

    Time alone is never enough to say that assistance pays: without any known truth there is no such verdict.
    """
    time, errors = time_ratio(work), error_difference(work)
    share = work.controls / len(work.reviewer) if work.controls else 0.10
    if not time.enough:
        spread = _spread(work)
        needed = max(LEAST, controls_needed(spread, log(1 - SAVING), share=min(max(share, 0.05), 0.5)))
        return _undecided("too few items of one arm", time, errors, needed, work.controls)
    if prices is None or errors is None:
        return _by_margin(work, time, errors, share)
    return _by_money(work, time, errors, prices)


def _by_money(work: Work, time: Estimate, errors: Estimate, prices: Prices) -> Worth:
    seconds = winsorised(work)
    wrong = np.zeros(len(seconds)) if work.wrong is None else np.asarray(work.wrong, np.float64)
    cost = seconds * prices.hour / 3600 + wrong * prices.error
    found = difference(cost, work)
    if found.value is None or found.low is None or found.high is None or found.error is None:
        return _undecided("too few items of one arm", time, errors, 2 * LEAST, work.controls)
    value, low, high = -found.value - prices.draft, -found.high - prices.draft, -found.low - prices.draft
    net = Estimate(found.assisted, found.control, found.reviewers, value, low, high, found.error, found.freedom)
    even = _break_even(difference(seconds, work), errors, prices)
    if low > 0:
        return Worth("assist pays", f"it saves {value:.4g} per item ({low:.4g} to {high:.4g})", time, errors, net, even)
    if high < 0:
        return Worth("assist hurts", f"it costs {-value:.4g} per item ({-high:.4g} to {-low:.4g})", time, errors, net, even)
    least = WORTH * float(cost[~np.asarray(work.assisted, np.bool_)].mean())
    needed = work.controls * (2.801585 * found.error / max(abs(value), least, 1e-12)) ** 2
    why = f"between {-low:.4g} lost and {high:.4g} saved per item"
    if max(-low, high) <= least:
        why += ", which is too little to matter"
    return _undecided(why, time, errors, needed, work.controls, net, even)


def _by_margin(work: Work, time: Estimate, errors: Estimate | None, share: float) -> Worth:
    if time.value is None or time.low is None or time.high is None:
        return _undecided("too few items of one arm", time, errors, 2 * LEAST, work.controls)
    harm = errors is not None and errors.low is not None and errors.low > MARGIN
    safe = errors is not None and errors.high is not None and errors.high <= MARGIN
    if harm and errors is not None:
        return Worth("assist hurts", f"errors rise by {errors.value:.1%}, more than {MARGIN:.0%}", time, errors)
    if time.low > 1:
        return Worth("assist hurts", f"items take {time.value - 1:.0%} longer", time, errors)
    if time.high < 1 and safe:
        return Worth("assist pays", f"items take {1 - time.value:.0%} less time, and errors rise by less than {MARGIN:.0%}", time, errors)
    needed, why = float(LEAST), []
    if time.high >= 1:
        needed = max(needed, work.controls * (2.801585 * (time.error or 0.0) / max(abs(log(time.value)), -log(1 - SAVING))) ** 2)
        why.append("the time saved is not sure")
    if errors is None:
        why.append("nobody knows how many labels are wrong: have control items adjudicated, or add gold")
        needed = max(needed, work.controls + controls_to_show_no_harm(0.05, MARGIN, share=share))
    elif not safe:
        base = max(0.01, float(np.mean(work.wrong[~np.asarray(work.assisted, np.bool_)]))) if work.wrong is not None else 0.05
        needed = max(needed, controls_to_show_no_harm(min(base, 0.5), MARGIN, share=share))
        why.append("whether errors rise is not sure")
    return _undecided("; ".join(why), time, errors, needed, work.controls)


def _break_even(seconds: Estimate, errors: Estimate, prices: Prices) -> float | None:
    if seconds.value is None or errors.value is None or errors.value <= 0:
        return None
    return max(0.0, (-seconds.value * prices.hour / 3600 - prices.draft) / errors.value)


def _spread(work: Work) -> float:
    """Return the standard deviation of log seconds of control items within reviewers, or a usual one while there are few."""
    control = ~np.asarray(work.assisted, np.bool_)
    return float(np.std(np.log(work.seconds[control]))) if control.sum() >= LEAST else SPREAD


def _undecided(
    why: str, time: Estimate, errors: Estimate | None, needed: float, have: int, net: Estimate | None = None, even: float | None = None
) -> Worth:
    return Worth("not enough evidence", why, time, errors, net, even, max(1, ceil(needed) - have))
