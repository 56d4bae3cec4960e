"""Agreement, rates and the effect of drafts against statsmodels and krippendorff, on the same rows."""

from __future__ import annotations

from typing import get_args

import krippendorff
import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from candor.predictions import Floats, Ints
from review.agreement import Level, Weights, alpha, kappa
from review.effect import Work, controls_needed, difference
from review.figures import clopper_pearson, jeffreys, rate, wilson
from review.figures import difference as difference_of_rates


@pytest.mark.parametrize("weights", [None, *get_args(Weights)])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_kappa_and_its_interval(weights: Weights | None, k: int) -> None:
    rng = np.random.default_rng(k)
    for agree in (0.5, 3.0, 20.0):
        counts = rng.poisson(agree * np.eye(k) + 0.6)
        counts[0, 0] += 1
        expected = cohens_kappa(counts, wt=weights)
        found = kappa(counts, weights)
        assert found.low is not None
        assert found.value == pytest.approx(expected.kappa, abs=1e-12)
        assert found.low == pytest.approx(max(-1.0, expected.kappa_low), abs=1e-9)
        assert found.high == pytest.approx(min(1.0, expected.kappa_upp), abs=1e-9)


@pytest.mark.parametrize("level", get_args(Level))
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.7])
def test_alpha(level: Level, missing: float) -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 60)
    table = np.clip(truth + rng.integers(-1, 2, (6, 60)) * (rng.random((6, 60)) < 0.4), 0, 4).astype(np.float64)
    table[rng.random(table.shape) < missing] = np.nan
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert 0 < expected < 1
    assert alpha(table, level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("y", "n"), [(0, 10), (9, 10), (17, 39), (40, 40), (3, 2000)])
def test_intervals_of_a_rate(y: int, n: int) -> None:
    for ours, theirs in ((wilson, "wilson"), (clopper_pearson, "beta")):
        assert ours(y, n) == pytest.approx(proportion_confint(y, n, method=theirs), abs=1e-9)
    low, high = proportion_confint(y, n, method="jeffreys")  # it is not opened at 0 and n there
    assert jeffreys(y, n) == pytest.approx((0.0 if y == 0 else low, 1.0 if y == n else high), abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [((45, 60), (12, 50)), ((50, 50), (44, 50))])
def test_the_interval_of_a_difference(first: tuple[int, int], second: tuple[int, int]) -> None:
    found = difference_of_rates(rate(*first), rate(*second))
    expected = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def reviewed(people: int, each: int) -> tuple[Work, Floats, Ints]:
    """Items of people who differ, of which a fifth was shown no draft, and the seconds' logarithms."""
    rng = np.random.default_rng(people)
    who = np.repeat(np.arange(people), each)
    shown = rng.random(len(who)) < 0.8
    hard = rng.integers(0, 3, len(who))
    seconds = np.exp(2 + 0.3 * rng.normal(size=people)[who] - 0.2 * shown + 0.4 * hard + 0.5 * rng.normal(size=len(who)))
    work = Work([f"p{one}" for one in who], shown, seconds, stratum=[str(one) for one in hard])
    return work, np.log(seconds), who


def test_the_effect_is_least_squares_with_clustered_errors() -> None:
    work, outcome, who = reviewed(people=80, each=30)
    strata = np.array(work.stratum)
    dummies = [(strata == one).astype(np.float64) for one in ("1", "2")] + [(who == one).astype(np.float64) for one in range(80)]
    fit = OLS(outcome, np.column_stack([work.assisted, *dummies])).fit(
        cov_type="cluster", cov_kwds={"groups": who, "use_correction": False}
    )
    found = difference(outcome, work)
    assert found.value == pytest.approx(fit.params[0], abs=1e-9)
    assert found.error is not None
    assert 1 < found.error / fit.bse[0] < 1.05  # CR2 is CR0 made larger by what few clusters hide


@pytest.mark.parametrize(("spread", "effect", "share"), [(0.6, 0.1625, 0.10), (0.8, 0.2877, 0.10), (0.6, 0.5108, 0.5)])
def test_how_many_controls_are_needed(spread: float, effect: float, share: float) -> None:
    expected = NormalIndPower().solve_power(effect_size=effect / spread, alpha=0.05, power=0.8, ratio=(1 - share) / share)
    assert controls_needed(spread, effect, share=share) == pytest.approx(expected, rel=1e-3)
