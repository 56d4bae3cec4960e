"""Fit the word and segment models of transcription, and judge segments.

Both are logistic models with an L2 penalty on standardised features; how strong the penalty is, cross-validation over whole clusters
(recordings, speakers) decides, so that words of one voice never vouch for each other. The first feature, the log-odds of the raw score,
is hardly penalised: where the others tell nothing they vanish, and temperature and bias on the raw score are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from calibration.correctness import Outcomes
from calibration.features import SEGMENT_FEATURES
from calibration.fit import LEAST_ROWS
from calibration.measure import Bools
from calibration.words import JudgedWords
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

SEGMENT_EVENT = (
    "all words of the segment are right and none is missed: its normalised text is that of the reference; a word missed between two "
    "segments counts for the one before, at the beginning of the recording for the first; a segment that normalises to nothing is not "
    "counted"
)
LEAST_OF_A_KIND = 200  # wrong labels, and right ones, below which a dozen weights are not worth their noise
STRENGTHS = tuple(float(10 ** (half / 2)) for half in range(-2, 9))  # 0.1 to 10,000
FOLDS = 5
_STEPS = 100  # of Newton's method; it takes about ten
_GRADIENT = 1e-9  # a fit has converged where the mean gradient is below it
_LEAST_DEVIATION = 1e-9  # a feature that varies less is constant


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted logistic model: confidence = sigmoid(weights . (features - centre) / scale + bias).

    `strength` is the precision of the Gaussian prior of each weight but the first (whose own is 0.1): the penalty is strength / 2 times
    the squared weight, beside the sum of the rows' NLL. NLLs are means over the rows, in nats: of the raw scores, of the fit on its own
    rows, and of fits on rows that each row's cluster was not among.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    strength: float
    n: int
    wrong: int
    clusters: int
    folds: int
    nll_before: float
    nll_after: float
    nll_cross_validated: float

    def parameters(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what the methods `word_logistic` and `segment_logistic` take. `names` are those of the features, in order.

        Raises:
            ValueError: not as many names as features.
        """
        if len(names) != len(self.weights):
            raise ValueError(f"{len(names)} names for {len(self.weights)} features")
        found = {"features": list(names), "centre": list(self.centre), "scale": list(self.scale), "weights": list(self.weights)}
        return {**found, "bias": self.bias}

    def as_json(self) -> dict[str, Any]:
        """Return what justifies the fit, as JSON values; its parameters stand elsewhere."""
        names = ("n", "wrong", "clusters", "folds", "strength", "nll_before", "nll_after", "nll_cross_validated")
        return {name: getattr(self, name) for name in names}


def enough(correct: ArrayLike, noun: str = "words") -> str:
    """Return why a logistic model should not be fitted on these rows; empty where it may."""
    right = int(np.count_nonzero(correct))
    for kind, count in (("wrong", np.size(correct) - right), ("right", right)):
        if count < LEAST_OF_A_KIND:
            return (
                f"{count} {kind} {noun}: the model over all features takes at least {LEAST_OF_A_KIND}, so temperature and bias alone "
                "are fitted"
            )
    return ""


def fit_logistic(features: ArrayLike, correct: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None) -> LogisticFit:
    """Fit a logistic model by penalised NLL.

    Args:
        features: (n, f), the first of them the log-odds of the raw score. One that is constant gets scale 1 and weight 0.
        correct: (n,) of 0 and 1.
        clusters: (n,) names of what each row comes from.
        weights: (n,) how much each row counts, on any scale; default: all the same.

    Raises:
        InvalidRequest: fewer than 30 rows or two clusters, all right or all wrong, or values that are NaN or out of range.
    """
    x, y, names, w = _checked(features, correct, clusters, weights)
    before = x[:, 0]
    centre, scale, varies = _standard(x, w)
    x = (x - centre) / scale * varies
    fold = _folds(names)
    held_out = [_held_out(x, y, w, fold == k) for k in range(FOLDS)]
    strength, cross_validated = _chosen([losses for losses in held_out if losses is not None])
    found = _solve(x, y, w, strength, np.zeros(x.shape[1] + 1)) + 0.0  # no -0.0 for a constant feature
    return LogisticFit(
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(found[:-1].tolist()),
        bias=float(found[-1]),
        strength=strength,
        n=len(y),
        wrong=int((y == 0).sum()),
        clusters=len(np.unique(names)),
        folds=sum(losses is not None for losses in held_out),
        nll_before=_loss(before, y, w),
        nll_after=_loss(_linear(x, found), y, w),
        nll_cross_validated=cross_validated,
    )


def fit_segments(features: ArrayLike, correct: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None) -> LogisticFit:
    """Fit the segment model on `segment_features` (s, g). Its raw score is the product of the words' confidences.

    Raises:
        InvalidRequest: as `fit_logistic`.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[1] != len(SEGMENT_FEATURES):
        raise InvalidRequest(f"segment features must be (s, {len(SEGMENT_FEATURES)}), not {x.shape}")
    return fit_logistic(x, correct, clusters, weights)


def judge_segments(judged: JudgedWords, counts: Sequence[int]) -> Outcomes:
    """Judge the segments of one recording by SEGMENT_EVENT. `counts` (s,) are the numbers of displayed words in each, in order.

    Raises:
        ValueError: the counts are not those of the judged words.
    """
    words = len(judged.outcomes.correct)
    if sum(counts) != words:
        raise ValueError(f"segments of {sum(counts)} words for {words} judged ones")
    of = np.repeat(np.arange(len(counts)), np.asarray(counts, np.int64))
    counted = np.bincount(of[judged.outcomes.counted], minlength=len(counts)) > 0
    wrong = np.bincount(of[judged.outcomes.counted & ~judged.outcomes.correct], minlength=len(counts)) > 0
    if words:
        wrong[[of[max(before - 1, 0)] for before in judged.missed]] = True
    return Outcomes(counted & ~wrong, counted)


def _checked(features: ArrayLike, correct: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Any, Floats]:
    x, y, names = np.asarray(features, np.float64), np.asarray(correct, np.float64), np.asarray(clusters).astype(np.str_)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if x.ndim != 2 or not x.shape[1] or any(one.shape != (len(x),) for one in (y, names, w)):
        raise InvalidRequest(
            f"features must be (n, f), and labels, clusters and weights (n,): not {x.shape}, {y.shape}, {names.shape}, {w.shape}"
        )
    if len(y) < LEAST_ROWS:
        raise InvalidRequest(f"{len(y)} rows to fit a calibration on; it takes at least {LEAST_ROWS}, and 500 to be of use")
    if not np.isfinite(x).all():
        raise InvalidRequest("a feature is NaN or infinite: take them from calibration.features, which are finite")
    if not ((y == 0) | (y == 1)).all():
        raise InvalidRequest("a row is neither right (1) nor wrong (0)")
    if not (np.isfinite(w) & (w >= 0)).all() or not w.any():
        raise InvalidRequest("weights must be finite and not negative, and some above 0")
    kept = y[w > 0]
    if kept.min() == kept.max():
        raise InvalidRequest(f"all {len(kept)} labels are {'right' if kept[0] else 'wrong'}: a calibration needs some of both kinds")
    if len(np.unique(names)) < 2:
        raise InvalidRequest(
            "all rows come from one cluster: it takes rows of several recordings or speakers to tell what holds for others"
        )
    return x, y, names, w * (len(w) / w.sum())


def _standard(x: Floats, w: Floats) -> tuple[Floats, Floats, Bools]:
    """Return the weighted mean and standard deviation of each feature, and whether it varies; of a constant one, its value and 1."""
    share = w / w.sum()
    centre = share @ x
    deviation = np.sqrt(share @ (x - centre) ** 2)
    varies = deviation > _LEAST_DEVIATION * np.maximum(1, np.abs(centre))
    return np.where(varies, centre, x[np.argmax(w)]), np.where(varies, deviation, 1.0), varies


def _folds(names: Any) -> Ints:
    """Deal the clusters out over the folds in the order of their hashes: by their names alone, whatever the order of the rows."""
    unique, inverse = np.unique(names, return_inverse=True)
    hashes = [hashlib.sha256(f"candor-fold-1:{name}".encode()).digest() for name in unique.tolist()]
    dealt = np.empty(len(unique), np.int64)
    dealt[sorted(range(len(unique)), key=hashes.__getitem__)] = np.arange(len(unique)) % FOLDS
    return dealt[inverse]


def _held_out(x: Floats, y: Floats, w: Floats, out: Bools) -> tuple[float, Floats] | None:
    """Return a fold's weight and, for each strength, the summed NLL of its rows under a fit of the others; None where that can't be."""
    rest, kind = ~out & (w > 0), y[~out & (w > 0)]
    if not w[out].any() or not len(kind) or kind.min() == kind.max():
        return None
    losses, found = [], np.zeros(x.shape[1] + 1)
    for strength in reversed(STRENGTHS):  # the strongest is nearly solved at 0, and each next one begins at the last
        found = _solve(x[rest], y[rest], w[rest], strength, found)
        losses.append(_loss(_linear(x[out], found), y[out], w[out]) * float(w[out].sum()))
    return float(w[out].sum()), np.array(losses[::-1])


def _chosen(held_out: Sequence[tuple[float, Floats]]) -> tuple[float, float]:
    """Return the strength of the least NLL over all held-out rows, the stronger of equals, and that NLL."""
    if not held_out:
        raise InvalidRequest(
            "the wrong (or the right) labels all come from one cluster, so that no penalty can be cross-validated: add recordings"
        )
    total = np.sum([losses for _, losses in held_out], axis=0) / sum(weight for weight, _ in held_out)
    best = len(total) - 1 - int(np.argmin(total[::-1]))
    return STRENGTHS[best], float(total[best])


def _linear(x: Floats, found: Floats) -> Floats:
    return np.asarray(x @ found[:-1] + found[-1])


def _loss(q: Floats, y: Floats, w: Floats) -> float:
    """Weighted mean NLL of log-odds."""
    return float(np.average(np.logaddexp(0, q) - y * q, weights=w))


def _solve(x: Floats, y: Floats, w: Floats, strength: float, start: Floats) -> Floats:
    """Return the weights (f,) and the bias, which has no penalty, of the least penalised NLL: Newton's method, steps halved where
    they overshoot. The objective is convex, and has a minimum because both kinds of labels are there.
    """
    design = np.column_stack([x, np.ones(len(x))])
    penalty = np.array([STRENGTHS[0], *[strength] * (x.shape[1] - 1), 0.0])

    def objective(beta: Floats) -> float:
        q = design @ beta
        return float(w @ (np.logaddexp(0, q) - y * q) + penalty @ beta**2 / 2)

    beta, total = start, float(w.sum())
    least = objective(beta)
    for _ in range(_STEPS):
        p = expit(design @ beta)
        gradient = design.T @ (w * (p - y)) + penalty * beta
        if np.abs(gradient).max() <= _GRADIENT * total:
            return beta
        curvature = (design * (w * p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-12 * total)
        beta, reached = _stepped(objective, beta, np.linalg.solve(curvature, gradient), least)
        if reached >= least:  # float noise: there is nothing lower
            return beta
        least = reached
    raise InvalidRequest(f"the fit of the logistic model did not converge on these {len(y)} rows")


def _stepped(objective: Any, beta: Floats, step: Floats, least: float) -> tuple[Floats, float]:
    """Take the longest of the steps 1, 1/2, 1/4, … that leads lower; stay where none does."""
    for halvings in range(40):
        taken = beta - step / 2**halvings
        if (reached := objective(taken)) < least:
            return taken, reached
    return beta, least
