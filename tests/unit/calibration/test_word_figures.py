from __future__ import annotations

import numpy as np
import pytest

from calibration.intervals import Figure, draw_clusters
from calibration.word_figures import word_figures
from candor.errors import InvalidRequest

RNG = np.random.default_rng(4)
P = np.round(RNG.beta(4, 0.93, 90), 1)
Y = (RNG.random(90) < P).astype(np.float64)
SPEAKERS = np.arange(90) // 6


def test_nce_against_its_formula() -> None:
    found = word_figures([0.9, 0.8, 0.6, 0.3], [1, 1, 0, 1], np.zeros(4))
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    said = -np.mean(np.log([0.9, 0.8, 0.4, 0.3]))
    assert found.nce.value == pytest.approx((entropy - said) / entropy)


def test_nce_is_one_for_the_truth_none_for_the_base_rate_and_below_for_worse() -> None:
    y = np.array([1.0] * 8 + [0] * 2)
    assert word_figures(y, y, np.zeros(10)).nce.value == pytest.approx(1)
    assert word_figures(np.full(10, 0.8), y, np.zeros(10)).nce.value == pytest.approx(0)
    worse = word_figures(np.full(10, 0.5), y, np.zeros(10)).nce.value
    assert worse is not None
    assert worse < 0


def test_the_share_to_be_read_again_by_hand() -> None:
    # five wrong words: the fourth is the seventh from below
    y = np.array([0.0, 1, 0, 1, 0, 1, 0, 1, 1, 0])
    found = word_figures(np.linspace(0.05, 0.95, 10), y, np.zeros(10))
    assert found.reviewed.value == pytest.approx(0.7)
    assert found.aupr_wrong.value == pytest.approx(np.mean([1, 2 / 3, 3 / 5, 4 / 7, 5 / 10]))
    # three wrong words: two of them are less than 80 %
    assert word_figures([0.1, 0.2, 0.3, 0.9], [0, 0, 0, 1], np.zeros(4)).reviewed.value == pytest.approx(0.75)


def test_words_of_one_confidence_are_read_in_any_order() -> None:
    found = word_figures(np.full(100, 0.7), [0] * 10 + [1] * 90, np.zeros(100))
    assert found.reviewed.value == pytest.approx(0.8)
    assert found.aupr_wrong.value == pytest.approx(0.1)


def test_figures_of_resamples_are_those_of_their_words_written_out() -> None:
    found = word_figures(P, Y, SPEAKERS, resamples=40, seed=2)
    written = [np.repeat(np.arange(90), times[SPEAKERS]) for times in draw_clusters(15, 40, 2).astype(np.int64)]
    singles = [word_figures(P[at], Y[at], np.zeros(len(at))) for at in written]
    for name in ("nce", "aupr_wrong", "reviewed"):
        figure = getattr(found, name)
        values = [getattr(single, name).value for single in singles]
        assert (figure.low, figure.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
        assert figure.low < figure.value < figure.high


def test_all_right_and_all_wrong() -> None:
    right = word_figures([0.9, 1.0, 0.9], [1, 1, 1], ["a", "b", "c"], resamples=20)
    assert (right.nce, right.aupr_wrong, right.reviewed) == (Figure(None), Figure(None), Figure(None))
    wrong = word_figures([0.9, 1.0, 0.9], [0, 0, 0], ["a", "b", "c"], resamples=20)
    assert wrong.nce == Figure(None)
    assert (wrong.aupr_wrong.value, wrong.wrong) == (1.0, 3)
    assert wrong.reviewed.value == 1.0  # 80 % of three is three


def test_a_rare_error_may_be_missing_from_a_resample() -> None:
    found = word_figures(np.full(6, 0.9), [1, 1, 1, 1, 1, 0], np.arange(6), resamples=50).as_json()
    assert (found["n"], found["clusters"], found["wrong"]) == (6, 6, 1)
    for name in ("nce", "aupr_wrong", "reviewed"):
        assert np.isfinite([found[name][key] for key in ("value", "low", "high")]).all()


def test_bad_rows_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        word_figures([0.5, np.nan], [1, 0], ["a", "b"])
    with pytest.raises(InvalidRequest):
        word_figures([], [], [])
