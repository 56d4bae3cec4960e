"""Our figures against other people's code, on the same rows."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from calibration.measure import auroc, brier, ece, nll
from calibration.word_figures import word_figures
from calibration.words import Normaliser, judge_words
from candor.predictions import Floats

AS_IT_IS = Normaliser("none", "1", str)


def rows(seed: int, digits: int) -> tuple[Floats, Floats]:
    """Rows that are honest (even seeds) or too bold, with ties where `digits` is small."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(3, 0.9, 400), digits)
    return p, (rng.random(400) < p ** (1 + seed % 2)).astype(np.float64)


CASES = [(0, 6), (1, 6), (2, 1), (3, 2)]


@pytest.mark.parametrize(("seed", "digits"), CASES)
def test_ranking_and_proper_scores_against_scikit_learn(seed: int, digits: int) -> None:
    p, y = rows(seed, digits)
    assert auroc(p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    inside = (p > 0) & (p < 1)  # scikit-learn clips the others elsewhere
    assert nll(p[inside], y[inside]) == pytest.approx(log_loss(y[inside], p[inside]), abs=1e-12)


@pytest.mark.parametrize(("seed", "digits"), CASES)
def test_finding_wrong_words_against_scikit_learn(seed: int, digits: int) -> None:
    p, y = rows(seed, digits)
    found = word_figures(p, y, np.zeros(len(p)))
    assert found.aupr_wrong.value == pytest.approx(average_precision_score(1 - y, -p), abs=1e-12)


@pytest.mark.parametrize(("seed", "digits"), CASES)
@pytest.mark.parametrize("bins", [10, 15])
def test_ece_against_edges_searched_in_a_list(seed: int, digits: int, bins: int) -> None:
    p, y = rows(seed, digits)
    p = np.where(np.isin(p * bins, np.arange(1, bins)), p + 1e-6, p)  # on an edge the last digit of a float decides
    edges = np.linspace(0, 1, bins + 1)
    of_row = np.clip(np.digitize(p, edges) - 1, 0, bins - 1)
    expected = sum((of_row == b).mean() * abs(y[of_row == b].mean() - p[of_row == b].mean()) for b in set(of_row.tolist()))
    assert ece(p, y, bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_words_against_jiwer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = [f"w{i}" for i in rng.integers(6, size=30)]
    shown = [word if rng.random() > 0.2 else f"x{i}" for i, word in enumerate(said) if rng.random() > 0.1]
    shown += [f"y{i}" for i in range(seed % 3)]
    judged = judge_words(shown, " ".join(shown), " ".join(said), AS_IT_IS)
    expected = jiwer.process_words(" ".join(said), " ".join(shown))
    assert judged.outcomes.counted.all()
    assert int(judged.outcomes.correct.sum()) == expected.hits
    assert int((~judged.outcomes.correct).sum()) == expected.substitutions + expected.insertions
    assert len(judged.missed) == expected.deletions
    assert judged.errors / judged.reference == pytest.approx(jiwer.wer(" ".join(said), " ".join(shown)))
    assert judged.errors == edits(said, shown)


def edits(one: list[str], other: list[str]) -> int:
    """Levenshtein's distance, by his recurrence."""
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b)))
        last = row
    return last[-1]
