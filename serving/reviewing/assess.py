"""Does a task fit drafts at all? A model is run on a labelled sample before a project begins, and a checklist is answered by numbers.

The limits are our own. What people would make of the drafts is taken from published studies, since nobody has reviewed any yet: with a
draft before them they correct 65 of 100 errors that they would not have made by themselves (Skitka et al. 1999: 97 % right without the aid
where it fails, 65 % with it), and spoil 2 in 100 right labels. So the answer is a beginning; the control arm tells what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from calibration.correctness import TrueBoxes
from calibration.record import CalibrationRecord
from candor.errors import CandorError
from candor.predictions import Floats, Transcript
from review.figures import SPOIL, Rate, rate
from serving.evaluation.evaluate import Run, evaluate
from serving.evaluation.examples import Example
from serving.evaluation.rows import Calibrator, Outcome, Rows, build_rows, seen_by, words_of
from serving.reviewing.agreement import resampled

Fits: TypeAlias = Literal["fits", "does not fit", "not sure"]
Stakes: TypeAlias = Literal["normal", "high"]

CATCH, BLIND_ERROR = 0.65, 0.03
LEAST_ITEMS, LEAST_SOURCES = 100, 30
MOST_WORK = {"normal": 0.5, "high": 0.3}  # edits for each label that would have to be made without a draft
LEAST_MARKED = 0.2  # of labels, by the badge
MORE_ERRORS = {"normal": 0.02, "high": 0.0}  # than people make without drafts


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: what was measured, what is asked, and whether it holds; None where that is not known."""

    name: str
    measured: str
    asked: str
    holds: bool | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def assess(run: Run, record: CalibrationRecord | None, uncalibrated: str, stakes: Stakes = "normal") -> dict[str, Any]:
    """Return the answer, its conditions and what they were made of, as JSON values."""
    report = evaluate(run, record, uncalibrated)
    edits = edits_of(run)
    used = record if record is not None and report["calibration"]["status"] != "uncalibrated" else None
    conditions = [
        _enough(report),
        _work(edits, stakes),
        _calibrated(report["calibration"]),
        _marked(run, used),
        _residual(run, stakes),
    ]
    untouched = rate(int((edits[:, 0] == 0).sum()), len(edits))
    return {
        "fits": verdict(conditions),
        "stakes": stakes,
        "conditions": [one.as_json() for one in conditions],
        "items_without_edit": untouched.as_json(),
        "model": report["model"],
        "data": report["data"],
        "quality": report["quality"],
        "calibration": {name: report["calibration"][name] for name in ("status", "reason", "id")},
    }


def verdict(conditions: list[Condition]) -> Fits:
    """Return whether the task fits: all conditions hold, one does not, or one is not known."""
    if any(one.holds is False for one in conditions):
        return "does not fit"
    return "not sure" if any(one.holds is None for one in conditions) else "fits"


def edits_of(run: Run) -> Floats:
    """Return for each item that was drafted (n, 2): edits that make its draft right, and labels that it takes without a draft.

    A box of the wrong class counts twice, as one too many and one missing: the figure errs on the side of caution.
    """
    rows = _shown(run, build_rows(run.folder, run.outcomes, run.normaliser))
    found = []
    for index, (example, outcome) in enumerate(zip(run.folder.examples, run.outcomes, strict=True)):
        if not isinstance(outcome, CandorError):
            found.append(_edits(run, example, outcome, rows.correct[rows.item == index]))
    return np.array(found, np.float64).reshape(-1, 2)


def _edits(run: Run, example: Example, outcome: Outcome, correct: Floats) -> tuple[float, float]:
    if isinstance(outcome, Transcript) and run.normaliser is not None:
        judged = words_of(example, outcome, run.normaliser)
        return float(judged.errors), float(judged.reference)
    if not isinstance(example.truth, TrueBoxes):
        return float(not correct.all()), 1.0
    objects = ~example.truth.crowd
    if run.folder.judged_classes is not None:
        objects = objects & np.isin(example.truth.class_index, list(run.folder.judged_classes))
    count, hits = float(objects.sum()), float(correct.sum())
    return float((correct == 0).sum()) + max(0.0, count - hits), count


def _shown(run: Run, rows: Rows) -> Rows:
    threshold = run.manifest.display_threshold
    return rows.take(rows.score >= threshold) if run.manifest.task == "detection" and threshold is not None else rows


def _enough(report: Mapping[str, Any]) -> Condition:
    items, sources = int(report["items"]["drafted"]), int(report["data"]["clusters"])
    holds = True if items >= LEAST_ITEMS and sources >= LEAST_SOURCES else None
    return Condition("the sample tells enough", f"{items:,} items, {sources:,} sources", f">= {LEAST_ITEMS} and {LEAST_SOURCES}", holds)


def _work(edits: Floats, stakes: Stakes) -> Condition:
    asked = f"<= {MOST_WORK[stakes]:.0%} of the labels"
    scratch = float(edits[:, 1].sum())
    low, high = resampled(edits) if len(edits) else (None, None)
    if scratch == 0 or low is None or high is None:
        return Condition("drafts leave less to do than an empty item", "no labels in the sample", asked, None)
    left = float(edits[:, 0].sum()) / scratch
    measured = f"{left:.0%} ({low:.0%} to {high:.0%}), {edits[:, 0].mean():.2f} edits per item"
    return Condition("drafts leave less to do than an empty item", measured, asked, _between(low, high, MOST_WORK[stakes]))


def _calibrated(found: Mapping[str, Any]) -> Condition:
    here = found.get("here", {}).get("status", found["status"])
    status = found["status"] if here == "calibrated" else here
    holds = {"calibrated": True, "uncalibrated": False}.get(status)
    return Condition("confidence means what it says", f"{status}: {found['reason'] or found['id']}", "calibrated, here too", holds)


def _marked(run: Run, record: CalibrationRecord | None) -> Condition:
    name, asked = "the badge takes work away", f">= {LEAST_MARKED:.0%} of labels, wrong no more often than it promises"
    if record is None or record.badge is None:
        return Condition(name, "no badge is certified", asked, None)
    calibrator = Calibrator(record, run.manifest.version, run.manifest.display_threshold)
    rows = _shown(run, build_rows(run.folder, run.outcomes, run.normaliser, calibrator))
    rows = rows.take(~seen_by(record, run.folder)[rows.item])
    if rows.confidence is None or not len(rows.correct):
        return Condition(name, "the calibration gives these labels no confidence, or has seen them all", asked, None)
    marked = rows.confidence >= record.badge.threshold
    wrong = rate(int((rows.correct[marked] == 0).sum()), int(marked.sum()))
    share = float(marked.mean())
    measured = f"{share:.0%} of labels, {_of(wrong)} of them wrong, at most {record.badge.epsilon:.1%} promised"
    broken = wrong.low is not None and wrong.low > record.badge.epsilon
    return Condition(name, measured, asked, False if broken or share < LEAST_MARKED else True if wrong.enough else None)


def _residual(run: Run, stakes: Stakes) -> Condition:
    """Hold the errors that are left after a review against those of people without drafts: (1 - a)(1 - c) + a f, a the share right."""
    rows = _shown(run, build_rows(run.folder, run.outcomes, run.normaliser))
    right, most = rate(int(rows.correct.sum()), len(rows.correct)), BLIND_ERROR + MORE_ERRORS[stakes]
    name, asked = "errors that slip through stay rare", f"<= {most:.1%} of drafted labels ({BLIND_ERROR:.0%} without drafts)"
    if right.value is None or right.low is None or right.high is None:
        return Condition(name, _of(right), asked, None)
    left, high, low = (_left(one) for one in (right.value, right.low, right.high))
    measured = f"{left:.1%} expected ({low:.1%} to {high:.1%}), as {right.value:.0%} of labels are right"
    return Condition(name, measured, asked, _between(low, high, most))


def _left(right: float) -> float:
    return (1 - right) * (1 - CATCH) + right * SPOIL


def _between(low: float, high: float, most: float) -> bool | None:
    return True if high <= most else False if low > most else None


def _of(found: Rate) -> str:
    return f"{found.y} of {found.n}" if found.value is None else f"{found.value:.1%} (n {found.n})"
