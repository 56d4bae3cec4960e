"""What a word confidence is worth to those who correct transcripts: NCE, finding wrong words, and how much must be read again.

ECE and AUROC of words are `intervals.figures`. Words that were said and not shown have no confidence: the caller counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.intervals import SEED, Figure
from calibration.measure import log_losses
from calibration.refinement import Levels, figure_json
from candor.predictions import Floats

CAUGHT = 0.8  # share of the wrong words that a review should catch


@dataclass(frozen=True, slots=True)
class WordFigures:
    """Figures of one set of words; None where all of them are right, or (NCE) all wrong."""

    n: int
    clusters: int
    wrong: int
    nce: Figure  # 1: perfect; 0: as good as the fraction right, given to every word; below 0: worse than that
    aupr_wrong: Figure  # of a word's being wrong; a random order has the share of wrong words
    reviewed: Figure  # share of words to look at, least confidence first, until 80 % of the wrong ones are found

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "n": self.n,
            "clusters": self.clusters,
            "wrong": self.wrong,
            **{name: figure_json(getattr(self, name)) for name in ("nce", "aupr_wrong", "reviewed")},
        }


def word_figures(
    confidence: ArrayLike, correct: ArrayLike, clusters: ArrayLike, *, resamples: int | None = None, seed: int = SEED
) -> WordFigures:
    """Measure words (n,); clusters are speakers or recordings, of which intervals are a bootstrap. The same seed, the same answer.

    Raises:
        InvalidRequest: see `measure.as_rows`.
    """
    levels = Levels.of(confidence, correct, clusters)
    of_wrong, of_right = (log_losses(levels.confidence, np.full(len(levels.confidence), truth)) for truth in (0.0, 1.0))

    def nce(labels: Floats, wrong: Floats) -> Floats:
        """(H(b) - H(confidence)) / H(b), b the fraction right. Source: Siu and Gish, Computer Speech & Language 1999."""
        n = labels.sum(axis=1)
        b = 1 - wrong.sum(axis=1) / n
        known = (b > 0) & (b < 1)
        b = np.where(known, b, 0.5)
        entropy = -b * np.log(b) - (1 - b) * np.log(1 - b)
        said = (wrong @ of_wrong + (labels - wrong) @ of_right) / n
        return np.where(known, (entropy - said) / entropy, np.nan)

    found = levels.figures({"nce": nce, "aupr_wrong": _aupr, "reviewed": _reviewed}, resamples, seed)
    return WordFigures(int(levels.labels.sum()), levels.labels.shape[0], int(levels.wrong.sum()), **found)


def _aupr(labels: Floats, wrong: Floats) -> Floats:
    """Average precision of finding wrong labels, least confidence first: precision at each level, weighted by the recall it adds.

    The levels are steps, with no line drawn between them: that would promise too much (Davis and Goadrich, ICML 2006).
    """
    total = wrong.sum(axis=1)
    upto = np.cumsum(labels, axis=1)
    precision = np.divide(np.cumsum(wrong, axis=1), upto, out=np.zeros_like(wrong), where=upto > 0)
    return np.where(total > 0, (precision * wrong).sum(axis=1) / np.maximum(total, 1), np.nan)


def _reviewed(labels: Floats, wrong: Floats) -> Floats:
    """Share of labels, least confidence first, that holds 80 % of the wrong ones or more: on average, within a level."""
    total, upto = wrong.sum(axis=1), np.cumsum(wrong, axis=1)
    needed = np.ceil(CAUGHT * total)
    row, at = np.arange(len(wrong)), np.argmax(upto >= needed[:, None], axis=1)
    share = (needed - upto[row, at] + wrong[row, at]) / np.maximum(wrong[row, at], 1)
    looked_at = np.cumsum(labels, axis=1)[row, at] - labels[row, at] * (1 - share)
    return np.where(total > 0, looked_at / labels.sum(axis=1), np.nan)
