"""What a reviewer is told of their own work: their figures, and the items that had an error planted, after a while.

Nothing of it is younger than the project's window, counts included: whoever saw a count change would know which items are honeypots.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from review.figures import median_seconds, rate
from serving.reviewing.figures import counts
from serving.reviewing.people import Judged

WINDOW_DAYS = 30
_MOST = 200  # items, the newest


def summary(reviewer: str, rows: Sequence[Judged], now: datetime, window_days: float = WINDOW_DAYS) -> dict[str, Any]:
    """Return a reviewer's own figures and items; `rows` are theirs, in the order in which they were finished."""
    until = now - timedelta(days=window_days)
    old = [one for one in rows if max(one.row.finished_at, one.row.received_at) <= until]
    of = counts(old)
    shown = [one for one in old if one.row.arm != "withheld"]
    seconds = [one.row.seconds for one in shown if one.row.seconds is not None]
    return {
        "reviewer": reviewer,
        "until": until.isoformat(),
        "window_days": window_days,
        "reviews": len(old),
        "too_new": len(rows) - len(old),
        "corrected": rate(sum(one.corrected for one in shown), len(shown)).as_json(),
        "caught": rate(of.caught, of.honeypots).as_json(),
        "false_corrections": rate(of.spoilt, of.right).as_json(),
        "seconds": median_seconds(seconds).as_json(),
        "items": [_told(one) for one in [one for one in old if one.caught is not None][-_MOST:]],
        "about": "Some drafts had an error on purpose, so that it can be told how many are found. These are the ones that you have seen.",
    }


def _told(one: Judged) -> dict[str, Any]:
    planted = one.row.planted or {}
    return {
        "item": one.row.item,
        "finished_at": one.row.finished_at.isoformat(),
        "result": one.caught,
        "error": planted.get("kind"),
        "shown": planted.get("shown"),
        "truth": planted.get("truth"),
        "final": one.row.final,
    }
