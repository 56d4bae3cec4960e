"""What is done with a draft's confidences: who looks at it first, whether it is shown at all, whether it may wear a badge.

A policy changes no confidence. Without confidences every draft goes to review, in no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal, TypeAlias

from candor.predictions import Task
from candor.tasks import SPECS

Route: TypeAlias = Literal["review", "from_scratch"]

# A first label that is right less than once in five costs a look and a correction and saves next to nothing. A transcript with more than
# three wrong words in ten slows down whoever corrects it (Gaur et al., "The effects of automatic speech recognition quality on human
# transcription latency", W4A 2016: about 30 % word error rate). A wrong box goes with one key, so boxes are always shown.
FROM_SCRATCH_BELOW: Mapping[Task, float] = {"classification": 0.2, "transcription": 0.7}


@dataclass(frozen=True, slots=True)
class Policy:
    """What one project wants.

    `badge`: labels of high confidence are marked where the calibration has certified a threshold. `from_scratch_below`: by task, the
    confidence below which a draft is withheld, as correcting it would cost more than starting clean; a task that is not named withholds
    none. A classification's confidence is its first label's; of boxes and of words it is their mean. `needs_confidence`: a draft
    whose confidence is not known is withheld too.
    """

    badge: bool = True
    from_scratch_below: Mapping[Task, float] = field(default_factory=lambda: FROM_SCRATCH_BELOW)
    needs_confidence: bool = False


def route(task: Task, confidences: Sequence[float] | None, policy: Policy) -> Route:
    """Return where a draft goes: `from_scratch` where its mean confidence is below the policy's, else `review`.

    `confidences` are those of the labels that a person judges (`TaskSpec.judged`); None where there is no calibration. A draft without
    labels has nothing that could cost a correction.
    """
    least = policy.from_scratch_below.get(task)
    if least is None or not confidences:
        return "review"
    return "from_scratch" if fmean(confidences) < least else "review"


def priority(task: Task, confidences: Sequence[float] | None) -> float | None:
    """Return how soon people should look at a draft, from 0 to 1, the hardest first; None where there is no calibration.

    Classification: 1 - the first label's confidence, the probability that it is wrong (least confidence: Lewis and Gale, SIGIR 1994).
    Boxes and words: E / (1 + E), E the number of wrong labels that is to be expected, the sum of 1 - confidence. What the model has
    missed is not in it: a draft without labels has 0. Compare priorities within a task, not across tasks.
    """
    if confidences is None:
        return None
    expected = sum((1 - confidence for confidence in confidences), 0.0)
    return round(expected if task == "classification" else expected / (1 + expected), 6)


def decided(task: Task, payload: Mapping[str, Any], policy: Policy, *, calibrated: bool) -> dict[str, Any]:
    """Return a draft's payload with its `route` and `priority`, as it is stored.

    A draft keeps what was decided when it was made: another policy later changes new drafts.
    """
    judged = SPECS[task].judged(payload)
    confidences = [label["confidence"] for label in judged] if calibrated else None
    unknown = policy.needs_confidence and bool(judged) and not calibrated
    where: Route = "from_scratch" if unknown else route(task, confidences, policy)
    return {**payload, "route": where, "priority": priority(task, confidences)}
