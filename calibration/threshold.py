"""The high-confidence badge: a threshold at or above which labels are wrong at most so often, with a stated probability.

Learn then test: thresholds are tested one after the other, the strictest first, against the hypothesis that more than `epsilon` of what
they mark is wrong, up to the first that can't be rejected; the last rejected one is used. As the order looks at confidences alone and
testing ends at the first failure, the chance that any wrong hypothesis is rejected is at most `delta`, without a correction for their
number. The most generous threshold whose share wrong merely looks small enough breaks such a promise about every second time.

The rows must be those that neither the calibration nor the choice of its method has seen, and the promise holds for data like them.

Sources: Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test", Annals of Applied Statistics 2025 (arXiv 2110.01052, 2021),
fixed-sequence testing; Bates, Angelopoulos, Lei, Malik and Jordan, "Distribution-free, risk-controlling prediction sets", JACM 2021, for
the bound on the mean of losses from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import ceil, e, log, log1p
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, betaincinv, rel_entr

from calibration.intervals import Figure, cluster_numbers, mean_interval, ratio_interval
from calibration.measure import Bools, as_rows
from calibration.record import Badge
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints, Task

EPSILON: Mapping[Task, float] = {"classification": 0.02, "detection": 0.05, "transcription": 0.05}
DELTA = 0.05
STEP = 0.05  # of coverage, from one threshold that is tested to the next

Rows: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike]  # confidence, correct (0 or 1) and cluster, each (n,)
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Selection:
    """A certified threshold, and what it marks of the rows that it was selected on.

    `unit` is what counts as one draw: `label`, or `item` where the labels of one stand or fall together. Then the promise is about the
    share of wrong labels in an item, on average over the items with a marked label.
    """

    threshold: float
    epsilon: float
    delta: float
    unit: str
    n: int  # labels looked at
    labels: int  # of them at or above the threshold
    wrong: int  # of those
    items: int  # that have one

    @property
    def coverage(self) -> float:
        """The share of labels at or above the threshold."""
        return self.labels / self.n


def select_badge(confidence: ArrayLike, correct: ArrayLike, *, epsilon: float, delta: float = DELTA) -> tuple[Selection | None, str]:
    """Return the threshold for labels that are independent of each other, one per item, or None; and why, in words.

    Args:
        confidence: Probabilities (n,).
        correct: 0 or 1 (n,).
        epsilon: Largest share of wrong ones among the labels marked.
        delta: Largest chance that the rows mislead.

    Raises:
        InvalidRequest: see `measure.as_rows`; epsilon or delta is not between 0 and 1.
    """
    return _selected(confidence, correct, None, epsilon, delta)


def select_badge_clustered(
    confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike, *, epsilon: float, delta: float = DELTA
) -> tuple[Selection | None, str]:
    """Return the threshold for labels of which those of one cluster (the boxes of an image) stand or fall together; else as above.

    An item's loss is the share of wrong ones among its labels that are marked; items without any are not counted.

    Raises:
        InvalidRequest: as above, or clusters of another length.
    """
    return _selected(confidence, correct, clusters, epsilon, delta)


def select(task: Task, epsilon: float, selection: Rows, test: Rows, delta: float = DELTA) -> tuple[Badge | None, str]:
    """Return the badge of a calibration, selected on some rows and measured on others, or None; and why, in words.

    Labels count as independent where no two of the selection rows are of one cluster.

    Raises:
        InvalidRequest: rows that can't be measured. No rows at all are no error: nothing is certified then.
    """
    confidence, correct, clusters = (np.asarray(one) for one in selection)
    if not confidence.size:
        return None, "no threshold: there are no rows to select one on"
    alone = len(np.unique(clusters)) == len(clusters)
    if alone:
        found, why = select_badge(confidence, correct, epsilon=epsilon, delta=delta)
    else:
        found, why = select_badge_clustered(confidence, correct, clusters, epsilon=epsilon, delta=delta)
    if found is None:
        return None, f"no threshold: {why}"
    rows = {key: value for key, value in asdict(found).items() if key in ("n", "labels", "wrong", "items")}
    noun = {"classification": "labels", "detection": "boxes", "transcription": "words"}[task]
    return Badge(found.threshold, epsilon, delta, found.unit, rows, _tested(found, test)), f"{noun} {why}"


def measured_on(threshold: float, confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike) -> dict[str, Figure]:
    """Return what a threshold marks of rows that its selection has not seen: `coverage`, the share of labels that are marked, and `error`.

    The error is the mean over items of the share of wrong ones among their marked labels, which for one label each is the share of wrong
    ones; its 95 % interval is then that of Clopper and Pearson, else it and that of the coverage come from resampled clusters. It is
    None where nothing is marked.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    p, y = as_rows(confidence, correct)
    numbers, count = cluster_numbers(clusters)
    marked = p >= threshold
    if count == len(p):
        wrong = int((y[marked] == 0).sum())
        return {"coverage": proportion(int(marked.sum()), count), "error": proportion(wrong, int(marked.sum()))}
    labels = np.bincount(numbers, marked, count)
    coverage = ratio_interval(labels.astype(np.float64), np.bincount(numbers, minlength=count).astype(np.float64))
    losses = _losses(numbers, marked, y, count)
    return {"coverage": coverage, "error": mean_interval(losses, np.arange(len(losses))) if len(losses) else Figure(None)}


def proportion(hits: int, n: int) -> Figure:
    """A share with its 95 % interval of Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934."""
    if not n:
        return Figure(None)
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 0.025))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 0.975))
    return Figure(hits / n, low, high)


def least_items(epsilon: float, delta: float = DELTA) -> int:
    """Return how many marked items it takes, none of them wrong, to certify anything: the least m of (1 - epsilon)^m <= delta."""
    return ceil(log(delta) / log1p(-epsilon))


def binomial_p(wrong: int, n: int, epsilon: float) -> float:
    """Return the p-value of "more than epsilon are wrong" after so many wrong ones of n independent labels."""
    return float(bdtr(wrong, n, epsilon))


def bounded_p(losses: Floats, epsilon: float) -> float:
    """Return the p-value of "the mean loss is above epsilon" after independent losses from 0 to 1: Hoeffding's or Bentkus's bound.

    Source: Bates et al. 2021, section 3.1: the lesser of exp(-n kl(min(mean, epsilon), epsilon)) and e P(Bin(n, epsilon) <= ceil(n mean)).
    """
    n = len(losses)
    if not n:
        return 1.0
    mean = float(losses.mean())
    low = min(mean, epsilon)
    hoeffding = float(np.exp(-n * (rel_entr(low, epsilon) + rel_entr(1 - low, 1 - epsilon))))
    bentkus = e * float(bdtr(ceil(n * mean - 1e-9), n, epsilon))
    return min(hoeffding, bentkus, 1.0)


def thresholds(confidence: Floats, clusters: Ints | None, epsilon: float, delta: float) -> Iterator[float]:
    """Yield the thresholds to be tested, the strictest first. Only confidences are looked at, never whether they are right.

    The first one marks 2 ln(1/delta) / epsilon items, so that a few wrong ones would pass (where there are fewer, the least that can
    certify anything), and each further one STEP more of the labels, the last one all. A threshold is the least number above the
    confidence of the label just outside, so that those inside are an ordinary sample of all that the threshold will ever mark; equal
    confidences are inside or outside together, and a threshold that so marks too few items to certify anything is passed over.
    """
    n = len(confidence)
    ordered = np.sort(confidence)[::-1]
    firsts = ordered if clusters is None else np.sort(_greatest(confidence, clusters))[::-1]
    least = least_items(epsilon, delta)
    wanted = ceil(2 * log(1 / delta) / epsilon)
    first = wanted if wanted <= len(firsts) else least
    start = np.nextafter(firsts[first], np.inf) if first < len(firsts) else 0.0
    coverages = np.arange(np.count_nonzero(confidence >= start) / n, 1, STEP)
    sizes = np.unique(np.append(np.ceil(coverages * n - 1e-9).astype(np.int64), n))
    found = [float(np.nextafter(ordered[size], np.inf)) if size < n else 0.0 for size in sizes]
    for threshold in dict.fromkeys(found):
        if np.count_nonzero(firsts >= threshold) >= least:
            yield threshold


def _selected(
    confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike | None, epsilon: float, delta: float
) -> tuple[Selection | None, str]:
    p, y = as_rows(confidence, correct)
    if not (0 < epsilon < 1 and 0 < delta < 1):
        raise InvalidRequest(f"epsilon and delta are shares between 0 and 1, not {epsilon} and {delta}")
    numbers = None if clusters is None else _numbered(clusters, len(p))
    count, unit = (len(p), "label") if numbers is None else (int(numbers.max()) + 1, "item")
    least = least_items(epsilon, delta)
    if count < least:
        return (
            None,
            f"{count} {unit}s are too few: without a single wrong one it takes {least} to show that at most {epsilon:.0%} are wrong",
        )
    found: Selection | None = None
    failed = ""
    for threshold in thresholds(p, numbers, epsilon, delta):
        marked = p >= threshold
        wrong, losses = int((y[marked] == 0).sum()), _losses(numbers, marked, y, count)
        tried = Selection(threshold, epsilon, delta, unit, len(p), int(marked.sum()), wrong, len(losses))
        chance = binomial_p(wrong, tried.labels, epsilon) if numbers is None else bounded_p(losses, epsilon)
        if chance > delta:
            failed = f"of the {tried.labels:,} surest labels {wrong:,} are wrong, too many to show that at most {epsilon:.0%} are"
            break
        found = tried
    if found is None:
        return None, failed or f"confidences are too much alike: no threshold marks {least} {unit}s or more"
    return found, _told(found)


def _told(found: Selection) -> str:
    of_items = f" in {found.items:,} items" if found.unit == "item" else ""
    return (
        f"with confidence {found.threshold:.4f} or more are marked: with probability {1 - found.delta:.0%} at most {found.epsilon:.0%} of "
        f"them are wrong ({found.wrong:,} of {found.labels:,}{of_items} were, where the threshold was selected)"
    )


def _tested(found: Selection, test: Rows) -> dict[str, Any]:
    confidence, correct, clusters = (np.asarray(one) for one in test)
    if not confidence.size:
        return {"n": 0, "labels": 0}
    measured = measured_on(found.threshold, confidence, correct, clusters)
    marked = confidence >= found.threshold
    counts = {"n": len(confidence), "labels": int(marked.sum()), "items": len(np.unique(clusters[marked]))}
    return {**counts, "coverage": _as_json(measured["coverage"]), "wrong": _as_json(measured["error"])}


def _as_json(figure: Figure) -> dict[str, float | None]:
    return {name: None if (value := getattr(figure, name)) is None else round(value, _DIGITS) for name in ("value", "low", "high")}


def _numbered(clusters: ArrayLike, n: int) -> Ints:
    if np.shape(clusters) != (n,):
        raise InvalidRequest(f"{n} labels have {np.size(clusters)} clusters")
    return cluster_numbers(clusters)[0]


def _greatest(confidence: Floats, clusters: Ints) -> Floats:
    """The greatest confidence of each cluster."""
    found = np.zeros(int(clusters.max()) + 1)
    np.maximum.at(found, clusters, confidence)
    return found


def _losses(clusters: Ints | None, marked: Bools, correct: Floats, count: int) -> Floats:
    """The share of wrong ones among the marked labels of each item that has any."""
    if clusters is None:
        return 1 - correct[marked]
    labels = np.bincount(clusters, marked, count)
    wrong = np.bincount(clusters, marked * (1 - correct), count)
    return np.asarray(wrong[labels > 0] / labels[labels > 0])
