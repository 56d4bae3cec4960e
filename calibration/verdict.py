"""When a calibration may call itself `calibrated`: what was shown on held-out rows, and nothing less.

It was fitted on 500 rows or more. From 5,000 held-out rows the upper bound of smECE must be at most 3 %; from 1,000 rows at most 5 %, as
less can't be told apart from noise; below that no claim is made. The scores that can't be gamed must not get worse, must beat the best
constant (which has no calibration error at all), and right labels must still rank above wrong ones. Bounds on few clusters are not to be
trusted.
"""

from __future__ import annotations

from collections.abc import Mapping

from calibration.intervals import Figure, Figures
from calibration.record import Status

LEAST_FITTED = 500
LEAST_ROWS = 1_000
LEAST_CLUSTERS = 20
MANY_ROWS = 5_000
LIMIT, LIMIT_MANY = 0.05, 0.03
SLACK = 0.001  # of NLL and Brier, where the raw score was already as good as noise lets one see
_LOST = 0.005  # of AUROC


def verdict(
    fitted: int, before: Figures, after: Figures, differences: Mapping[str, Figure], against_constant: Mapping[str, Figure]
) -> tuple[Status, str]:
    """Return the status and its reason in words.

    Args:
        fitted: Rows that the calibration was fitted on.
        before: Figures of the raw score on held-out rows.
        after: Figures of the confidence on the same rows.
        differences: after - before of `nll` and `brier`, paired by row.
        against_constant: after - those of the rows' own fraction right, given to every row; paired likewise.
    """
    found = _too_little(fitted, after) or _dishonest(after) or _worse(before, after, differences) or _empty(against_constant)
    if found:
        return "unverified", found
    return (
        "calibrated",
        f"smECE is at most {after.smece.high:.1%} (97.5 % bound) on {after.n:,} held-out rows from {after.clusters} sources",
    )


def _too_little(fitted: int, after: Figures) -> str:
    if after.n < LEAST_ROWS:
        return f"{after.n} held-out rows; a claim takes at least {LEAST_ROWS:,}"
    if fitted < LEAST_FITTED:
        return f"fitted on {fitted} rows; a claim takes at least {LEAST_FITTED}"
    if after.clusters < LEAST_CLUSTERS or after.smece.high is None:
        return f"the held-out rows come from {after.clusters} independent sources; a claim takes at least {LEAST_CLUSTERS}"
    return ""


def _dishonest(after: Figures) -> str:
    limit = LIMIT_MANY if after.n >= MANY_ROWS else LIMIT
    if after.smece.high is not None and after.smece.high <= limit:
        return ""
    bound = f"{after.smece.high:.1%} on {after.n:,} held-out rows from {after.clusters} sources"
    return f"the upper bound of smECE is {bound}; it may be {limit:.0%}"


def _worse(before: Figures, after: Figures, differences: Mapping[str, Figure]) -> str:
    for name in ("nll", "brier"):
        high = differences[name].high
        if high is None or high > _allowed(before):
            return f"on held-out rows {name} is not shown to be at least as good as the raw score's"
    ranks = before.auroc.value, after.auroc.value
    if ranks[0] is not None and ranks[1] is not None and ranks[1] < ranks[0] - _LOST:
        return f"on held-out rows it ranks right above wrong labels less well than the raw score: AUROC {ranks[1]:.3f}, not {ranks[0]:.3f}"
    return ""


def _empty(against_constant: Mapping[str, Figure]) -> str:
    high = against_constant["brier"].high
    return "" if high is not None and high < 0 else "on held-out rows it is not shown to say more than one number for all labels would"


def _allowed(before: Figures) -> float:
    floor, value = before.smece.floor_95, before.smece.value
    return SLACK if floor is not None and value is not None and value <= floor else 0.0
