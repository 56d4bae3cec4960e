from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from calibration.fit_isotonic import MOST_KNOTS, constant, fit_isotonic, histogram
from calibration.methods import METHODS, problem
from candor.errors import InvalidRequest
from candor.predictions import Floats


def drawn(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    logit = 2 * rng.normal(size=n)
    return logit, (rng.random(n) < expit(0.5 * logit - 0.5)).astype(np.float64)


def by_hand(y: Floats) -> Floats:
    """Isotonic regression by its min-max formula (Barlow et al., 1972): max over starts of min over ends of the mean."""
    n = len(y)
    return np.array([max(min(float(y[s : e + 1].mean()) for e in range(i, n)) for s in range(i + 1)) for i in range(n)])


@given(st.integers(0, 1000), st.integers(30, 40))
@settings(max_examples=6, deadline=None)
def test_the_curve_is_the_rising_one_of_least_squares_and_bounded(seed: int, n: int) -> None:
    logit, correct = drawn(n, seed)
    if correct.min() == correct.max():
        return
    found = fit_isotonic(logit, correct)
    assert (np.diff(found["x"]) > 0).all()
    assert (np.diff(found["y"]) >= 0).all()
    order = np.argsort(logit)
    expected = np.clip(by_hand(correct[order]), 1 / (2 * n), 1 - 1 / (2 * n))
    assert np.interp(logit[order], found["x"], found["y"]) == pytest.approx(expected, abs=1e-9)


def test_many_rows_make_few_knots_near_the_truth() -> None:
    logit, correct = drawn(30_000)
    rounded = np.round(logit, 3)
    found = fit_isotonic(rounded, correct)
    assert len(found["x"]) <= MOST_KNOTS
    assert problem("isotonic", found, METHODS["detection"]) == ""
    at = np.linspace(-4, 4, 50)
    assert np.interp(at, found["x"], found["y"]) == pytest.approx(expit(0.5 * at - 0.5), abs=0.05)
    assert (found["x"][0], found["x"][-1]) == (rounded.min(), rounded.max())


def test_more_steps_than_knots_are_thinned_to_a_rising_curve() -> None:
    x = np.linspace(-4, 4, 1000)
    # 1,000 points with 300 rows each, their fraction right rising: 300 pools at least.
    share = np.round(expit(x) * 300)
    correct = (np.tile(np.arange(300), (1000, 1)) < share[:, None]).astype(np.float64)
    found = fit_isotonic(np.repeat(x, 300), correct.ravel())
    assert len(found["x"]) == MOST_KNOTS
    assert (np.diff(found["y"]) >= 0).all()
    assert np.interp(x, found["x"], found["y"]) == pytest.approx(share / 300, abs=0.01)


def test_equal_logits_are_one_point() -> None:
    found = fit_isotonic(np.repeat([0.0, 1.0], 50), np.concatenate([np.arange(50) < 10, np.arange(50) < 30]))
    assert found == {"x": [0.0, 1.0], "y": [0.2, 0.6]}
    falling = fit_isotonic(np.repeat([0.0, 1.0], [10, 40]), np.concatenate([np.arange(10) < 5, np.arange(40) < 10]))
    assert falling["y"] == pytest.approx([0.3, 0.3])


def test_scores_that_contradict_the_truth_give_one_level() -> None:
    logit = np.linspace(-3, 3, 100)
    found = fit_isotonic(logit, logit < 0)
    assert found["y"] == pytest.approx([0.5, 0.5])


LOGIT, CORRECT = drawn(60)


@pytest.mark.parametrize(
    ("logit", "correct", "said"),
    [
        (LOGIT[:3], CORRECT[:3], "3 rows"),
        (LOGIT, np.ones(60), "all 60 labels are right"),
        (np.where(LOGIT > 1, np.nan, LOGIT), CORRECT, "NaN"),
        (np.ones(60), CORRECT, "the same"),
    ],
)
def test_bad_scores_are_refused(logit: Floats, correct: Floats, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_isotonic(logit, correct)


def test_a_histogram_says_each_bins_fraction_right() -> None:
    p = np.array([0.05] * 99 + [0.95] * 9 + [1.0] * 10)
    y = np.array([1.0] * 30 + [0.0] * 69 + [1.0] * 19)
    found = histogram(p, y, bins=10)
    assert found(np.array([0.0, 0.05, 0.99, 1.0])) == pytest.approx([30.05 / 100, 30.05 / 100, 19.95 / 20, 19.95 / 20])
    assert found([0.5]) == pytest.approx([0.55])  # nobody fell there: its own middle
    assert ((found.values > 0) & (found.values < 1)).all()


def test_the_constant_is_the_fraction_right() -> None:
    assert constant([1, 0, 0, 1, 1]) == pytest.approx(0.6)
    with pytest.raises(InvalidRequest, match="no rows"):
        constant([])
    with pytest.raises(InvalidRequest):
        constant([0.5, 1])
