"""When a calibration may call itself `calibrated`: what was shown on held-out rows, and nothing less.

From 5,000 rows the upper bound of smECE must be at most 3 %; from 1,000 rows at most 5 %, as less can't be told apart from noise; below
that no claim is made. The scores that can't be gamed must not get worse. Bounds on few clusters are not to be trusted.
"""

from __future__ import annotations

from calibration.intervals import Figure, Figures
from calibration.record import Status

LEAST_ROWS = 1_000
LEAST_CLUSTERS = 20
MANY_ROWS = 5_000
LIMIT, LIMIT_MANY = 0.05, 0.03
_SLACK = 0.001  # of NLL and Brier, where the raw score was already as good as noise lets one see


def verdict(before: Figures, after: Figures, differences: dict[str, Figure]) -> tuple[Status, str]:
    """Return the status and its reason in words. `differences` are after - before of `nll` and `brier`, paired by row."""
    limit = LIMIT_MANY if after.n >= MANY_ROWS else LIMIT
    bound = after.smece.high
    if after.n < LEAST_ROWS:
        return "unverified", f"{after.n} held-out rows; a claim takes at least {LEAST_ROWS:,}"
    if after.clusters < LEAST_CLUSTERS or bound is None:
        return "unverified", f"the held-out rows come from {after.clusters} independent sources; a claim takes at least {LEAST_CLUSTERS}"
    if bound > limit:
        return "unverified", (
            f"the upper bound of smECE is {bound:.1%} on {after.n:,} held-out rows from {after.clusters} sources; it may be {limit:.0%}"
        )
    for name, difference in differences.items():
        if difference.high is None or difference.high > _allowed(before):
            return "unverified", f"on held-out rows {name} is not shown to be at least as good as the raw score's"
    return "calibrated", f"smECE is at most {bound:.1%} (97.5 % bound) on {after.n:,} held-out rows from {after.clusters} sources"


def _allowed(before: Figures) -> float:
    floor = before.smece.floor_95
    value = before.smece.value
    return _SLACK if floor is not None and value is not None and value <= floor else 0.0
