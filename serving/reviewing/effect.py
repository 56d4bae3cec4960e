"""What drafts do in a project: seconds and errors where they are shown against where chance withheld them, and whether they pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from review.effect import LEAST, Estimate, Work, ratio_of_means, time_ratio
from review.worth import Prices, Worth, worth
from serving.reviewing.people import Judged


def effect(rows: Sequence[Judged], prices: Prices | None = None) -> dict[str, Any]:
    """Return the time ratio of all items, and the verdict.

    The verdict needs known truths: it rests on gold items alone where both arms have enough of them, else on time, and then never says
    that drafts pay. Honeypots are left out, and whoever gets no drafts by policy: neither is what drafts do.
    """
    used = [one for one in rows if one.row.arm in ("assisted", "withheld") and one.randomised and (one.row.seconds or 0) > 0]
    gold = [one for one in used if one.final_right is not None]
    everything = work_of(used, errors=False)
    known = work_of(gold, errors=True)
    enough = min(known.controls, len(gold) - known.controls) >= LEAST
    judged = worth(known, prices) if enough else worth(everything, None)
    return {
        "verdict": judged.verdict,
        "says": says(judged, enough=enough),
        "why": judged.why,
        "rests_on": "gold items" if enough else "all items, without known truths",
        "items": {"assisted": len(used) - everything.controls, "control": everything.controls},
        "gold": {"assisted": len(gold) - known.controls, "control": known.controls, "needed": LEAST},
        "time_ratio": estimate(time_ratio(everything)),
        "ratio_of_means": estimate(ratio_of_means(everything)),
        "errors": _errors(gold, judged),
        "net": estimate(judged.net),
        "break_even": judged.break_even,
        "more_controls": judged.more_controls,
    }


def says(judged: Worth, *, enough: bool) -> str:
    """Return the verdict in words."""
    if judged.more_controls is None or not enough:
        return judged.says
    return f"{judged.verdict}: {judged.more_controls:,} more control items that are gold"


def work_of(rows: Sequence[Judged], *, errors: bool) -> Work:
    """Return reviews as work that is compared within reviewer and stratum."""
    wrong = np.array([0.0 if one.final_right else 1.0 for one in rows]) if errors else None
    return Work(
        [one.row.reviewer for one in rows],
        np.array([one.row.arm == "assisted" for one in rows], np.bool_),
        np.array([one.row.seconds or 0.0 for one in rows], np.float64),
        wrong,
        _strata(rows),
        np.array([1 / max(one.row.propensity or 1.0, 0.02) for one in rows], np.float64),
    )


def estimate(found: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate as JSON values; `not enough` where nothing can be said."""
    return None if found is None else {**asdict(found), "status": "ok" if found.enough else "not enough"}


def prices_of(section: Mapping[str, Any], given: Mapping[str, float | None]) -> Prices | None:
    """Return the prices of a request, else the project's own; None where one of the two that are needed is missing."""
    second = section.get("price_of_second")
    hour = given.get("hour") if given.get("hour") is not None else (None if second is None else 3600 * second)
    error = given.get("error") if given.get("error") is not None else section.get("price_of_error")
    return None if not hour or error is None else Prices(float(hour), float(error), float(given.get("draft") or 0.0))


def _errors(gold: Sequence[Judged], judged: Worth) -> dict[str, Any]:
    shares = {}
    for name, arm in (("assisted", "assisted"), ("control", "withheld")):
        some = [one for one in gold if one.row.arm == arm]
        shares[name] = {"n": len(some), "wrong": sum(not one.final_right for one in some)}
    return {**shares, "difference": estimate(judged.errors)}


def _strata(rows: Sequence[Judged]) -> list[str]:
    """Return each item's stratum: the third of its draft's confidence, and whether it has the badge: such are withheld more often."""
    known = sorted(one.row.confidence for one in rows if one.row.confidence is not None)
    cuts = [known[len(known) * part // 3] for part in (1, 2)] if len(known) >= 3 * LEAST else []
    return [f"{_third(one.row.confidence, cuts)} {bool((one.row.rates or {}).get('badge'))}" for one in rows]


def _third(confidence: float | None, cuts: Sequence[float]) -> str:
    return "unknown" if confidence is None else str(sum(confidence >= cut for cut in cuts))
