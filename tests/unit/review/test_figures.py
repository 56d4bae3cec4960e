from __future__ import annotations

import numpy as np
import pytest

from candor.errors import InvalidRequest
from review.figures import (
    clopper_pearson,
    corrections,
    detection,
    difference,
    expected_corrections,
    jeffreys,
    median_seconds,
    population,
    rate,
    reliance,
    wilson,
)


def test_intervals_of_nine_in_ten() -> None:
    assert wilson(9, 10) == pytest.approx((0.5958499732, 0.9821237869))  # statsmodels 0.15.0
    assert jeffreys(9, 10) == pytest.approx((0.6186852289, 0.9889883262))
    assert clopper_pearson(9, 10) == pytest.approx((0.5549838830, 0.9974714214))
    assert (jeffreys(0, 12)[0], jeffreys(12, 12)[1], clopper_pearson(0, 5)[0], clopper_pearson(5, 5)[1]) == (0, 1, 0, 1)


def test_which_interval_is_shown_depends_on_n() -> None:
    assert [rate(n // 2, n).method for n in (9, 10, 39, 40)] == [None, "jeffreys", "jeffreys", "wilson"]
    few = rate(9, 9)
    assert (few.enough, few.value, few.as_json()["status"]) == (False, None, "not enough")
    assert rate(27, 30).as_json()["status"] == "ok"
    for wrong in ((3, 2), (-1, 5)):
        with pytest.raises(InvalidRequest):
            rate(*wrong)


def test_the_difference_of_rates_is_newcombes() -> None:
    found = difference(rate(56, 70), rate(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)  # Newcombe (1998), table II, (a)
    assert not difference(rate(1, 5), rate(48, 80)).enough


# REVIEW.md, section 6
@pytest.mark.parametrize(
    ("counts", "sensitivity", "criterion"),
    [((27, 30, 4, 200), 3.22, 0.40), ((9, 30, 1, 200), 1.93, 1.47), ((27, 30, 40, 200), 2.05, -0.19)],
)
def test_an_attentive_a_stamping_and_an_overcorrecting_reviewer(
    counts: tuple[int, int, int, int], sensitivity: float, criterion: float
) -> None:
    found = detection(*counts)
    assert (found.sensitivity, found.criterion) == pytest.approx((sensitivity, criterion), abs=0.006)
    assert found.enough


def test_the_error_of_sensitivity_is_what_repetition_shows() -> None:
    rng = np.random.default_rng(1)
    hits, false = rng.binomial(60, 0.8, 1000), rng.binomial(300, 0.05, 1000)
    seen = [detection(int(h), 60, int(f), 300) for h, f in zip(hits, false, strict=True)]
    assert np.std([one.sensitivity for one in seen]) == pytest.approx(np.mean([one.sensitivity_error for one in seen]), rel=0.08)
    assert np.std([one.criterion for one in seen]) == pytest.approx(np.mean([one.criterion_error for one in seen]), rel=0.08)
    assert not detection(5, 9, 0, 300).enough
    assert np.isfinite(detection(0, 0, 0, 0).sensitivity)
    with pytest.raises(InvalidRequest):
        detection(5, 4, 0, 1)


def test_corrections_are_measured_against_what_confidence_predicts() -> None:
    right = np.full(400, 0.9)
    assert expected_corrections([0.9, 1.0]).tolist() == pytest.approx([0.1 * 0.9 + 0.9 * 0.02, 0.02])
    corrected = np.zeros(400)
    corrected[:9] = 1
    found = corrections(corrected, right, others=(np.r_[np.ones(45), np.zeros(355)], right))
    assert found.expected == pytest.approx(43.2)
    assert found.ratio == pytest.approx(9 / 43.2)
    assert (found.low or 0) * 43.2 == pytest.approx(4.1, abs=0.05)  # Poisson limits of 9: 4.115 to 17.085
    assert (found.high or 0) * 43.2 == pytest.approx(17.1, abs=0.05)
    assert found.peers == pytest.approx(45 / 43.2)
    assert found.relative == pytest.approx(9 / 45)
    assert corrections([1] * 5, [0.5] * 5).ratio is None
    with pytest.raises(InvalidRequest):
        expected_corrections([1.2])


def test_the_median_of_seconds_has_an_interval_that_holds() -> None:
    rng = np.random.default_rng(2)
    held = [(one.low or 0) <= 10 <= (one.high or 0) for one in (median_seconds(10 * np.exp(rng.normal(0, 0.6, 31))) for _ in range(600))]
    assert 0.93 <= np.mean(held) <= 0.985
    assert not median_seconds([1, 2, 3]).enough
    ten = median_seconds(range(1, 11))
    assert (ten.value, ten.low, ten.high) == (5.5, 2, 9)  # the second and the ninth hold the median with 0.979
    with pytest.raises(InvalidRequest):
        median_seconds([-1.0])


# --- shrinkage


def test_shrinkage_finds_the_population_it_was_drawn_from() -> None:
    rng = np.random.default_rng(3)
    true = rng.beta(0.85 * 20, 0.15 * 20, 400)
    n = rng.integers(10, 80, 400)
    y = rng.binomial(n, true)
    fit = population(y.tolist(), n.tolist())
    assert fit is not None
    assert fit.mean == pytest.approx(0.85, abs=0.02)
    assert 12 < fit.strength < 32
    shrunk = np.array([fit.shrunk(int(a), int(b)) for a, b in zip(y, n, strict=True)])
    assert np.mean((shrunk - true) ** 2) < 0.8 * np.mean((y / n - true) ** 2)
    below = np.array([fit.below(int(a), int(b)) for a, b in zip(y, n, strict=True)])
    sure = below > 0.5
    assert np.mean(true[sure] < 0.8) == pytest.approx(below[sure].mean(), abs=0.08)


def test_ranking_is_by_evidence_and_not_by_rate() -> None:
    fit = population([45, 48, 44, 46, 20], [50, 50, 50, 50, 50])
    assert fit is not None
    assert fit.below(20, 50) > fit.below(6, 10) > fit.below(45, 50)
    assert fit.mean > fit.shrunk(6, 10) > 0.6
    assert population([1, 2], [5, 5]) is None
    alike = population([45] * 6, [50] * 6)
    assert alike is not None
    assert alike.strength <= 1000.001
    with pytest.raises(InvalidRequest):
        population([3], [2])


def test_reliance_on_advice_by_hand() -> None:
    first = [0] * 10 + [1] * 12
    advice = [1] * 10 + [0] * 12
    final = [1] * 4 + [0] * 6 + [1] * 9 + [0] * 3
    found = reliance(first, advice, final)
    assert ((found.helped.y, found.helped.n), (found.withstood.y, found.withstood.n)) == ((4, 10), (9, 12))
