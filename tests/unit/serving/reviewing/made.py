"""Reviews as they are read from the store, made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from serving.reviewing.people import Judged, judge
from store.judged import JudgedRow

START = datetime(2026, 3, 1, tzinfo=UTC)
TRUTH = {"label": "cat"}
NATURAL = {"labels": [{"id": "d.0", "label": "cat"}, {"id": "d.1", "label": "dog"}]}


def row(number: int = 0, **changes: Any) -> JudgedRow:
    """One review of a draft of a gold item, which is right and was accepted."""
    at = START + timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": f"rev_{number:06}",
        "event_id": f"e{number}",
        "draft": f"drf_{number}",
        "item": f"i{number}",
        "reviewer": "ann",
        "arm": "assisted",
        "skipped": False,
        "verdict": "accepted",
        "caught": None,
        "seconds": 10.0,
        "guideline_version": "1",
        "final": TRUTH,
        "finished_at": at,
        "received_at": at,
        "propensity": 0.9,
        "rates": {"withheld": 0.1, "honeypot": 0.02, "badge": False},
        "planted": None,
        "drawn_at": at - timedelta(minutes=1),
        "task": "classification",
        "model_version": "namer@sha256:" + 64 * "0",
        "confidence": 0.9,
        "confidence_status": "calibrated",
        "natural": NATURAL,
        "truth": TRUTH,
        "gold_since": START - timedelta(days=1),
        **changes,
    }
    return JudgedRow(**values)


def one(number: int = 0, **changes: Any) -> Judged:
    """The same, judged."""
    (found,) = judge([row(number, **changes)])
    return found


def honeypot(number: int = 0, *, caught: str = "caught", **changes: Any) -> Judged:
    """A honeypot, and what became of it."""
    final = TRUTH if caught == "caught" else {"label": "dog" if caught == "missed" else "cow"}
    planted = {"kind": "class_swap", "shown": {"label": "dog"}, "truth": TRUTH}
    verdict = "accepted" if caught == "missed" else "corrected"
    return one(number, **{"arm": "honeypot", "caught": caught, "planted": planted, "final": final, "verdict": verdict, **changes})


def work(
    reviewers: Sequence[str], items: int, seconds: Callable[[bool], float], wrong: Callable[[bool], float], **changes: Any
) -> list[Judged]:
    """Work of several people, a third of it withheld: mean seconds and the share of wrong labels, by whether the draft was shown."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(len(reviewers) * items):
        shown = bool(rng.random() > 1 / 3)
        final = {"label": "dog"} if rng.random() < wrong(shown) else TRUTH
        took = float(seconds(shown) * rng.lognormal(0, 0.3))
        arm = "assisted" if shown else "withheld"
        found.append(one(number, reviewer=reviewers[number % len(reviewers)], arm=arm, final=final, seconds=took, **changes))
    return found
