from __future__ import annotations

import dataclasses
from math import log

import numpy as np
import pytest
from scipy.linalg import pinvh, sqrtm

from candor.errors import InvalidRequest
from candor.predictions import Floats
from review.effect import Estimate, Work, controls_needed, controls_to_show_no_harm, difference, ratio_of_means, time_ratio, winsorised
from review.worth import Prices, worth


def made(
    reviewers: int = 8, items: int = 120, ratio: float = 0.7, harm: float = 0.0, seed: int = 0, control: float = 0.25, error: float = 0.1
) -> Work:
    """Work by reviewers of their own speed, whom drafts help each by a little more or less."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(reviewers), items)
    shown = rng.random(len(who)) >= control
    hard = rng.random(len(who)) < 0.3
    speed, help_ = rng.normal(2, 0.4, reviewers)[who], rng.normal(log(ratio), 0.05, reviewers)[who]
    seconds = np.exp(speed + help_ * shown + 0.5 * hard + rng.normal(0, 0.6, len(who)))
    wrong = (rng.random(len(who)) < error + harm * shown).astype(np.float64)
    return Work([f"r{one}" for one in who], shown, seconds, wrong, ["hard" if one else "easy" for one in hard], None)


def dense(values: Floats, work: Work) -> tuple[float, float, float]:
    """CR2 and Satterthwaite from their definitions, all reviewers' columns in the design and all matrices in full."""
    names = sorted(set(work.reviewer))
    at = np.array([names.index(one) for one in work.reviewer])
    x = np.column_stack([work.assisted.astype(float), [one == "hard" for one in work.stratum or ()], np.eye(len(names))[at]])
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    rest = np.eye(len(values)) - hat
    residual, picked = rest @ values, []
    for one in range(len(names)):
        own = at == one
        root = pinvh(np.real(sqrtm(rest[np.ix_(own, own)])), atol=1e-6)
        picked.append(rest[own].T @ (root @ (x[own] @ bread[:, 0])))
    rows = np.array(picked)
    covariance = rows @ rows.T
    own_scores = []
    for one in range(len(names)):
        own = at == one
        root = pinvh(np.real(sqrtm(rest[np.ix_(own, own)])), atol=1e-6)
        own_scores.append((x[own] @ bread[:, 0]) @ root @ residual[own])
    return (
        float((bread @ x.T @ values)[0]),
        float(np.sqrt(np.sum(np.square(own_scores)))),
        float(np.trace(covariance) ** 2 / (covariance**2).sum()),
    )


def test_cr2_is_what_its_definition_says() -> None:
    work = made(reviewers=6, items=20, control=0.45, seed=3)
    values = np.log(work.seconds)
    value, error, freedom = dense(values, work)
    got = difference(values, work)
    assert (got.value, got.error, got.freedom) == pytest.approx((value, error, freedom), rel=1e-6)


def test_a_known_time_ratio_is_found() -> None:
    found = time_ratio(made(reviewers=20, items=300))
    assert found.value == pytest.approx(0.7, abs=0.04)
    assert (found.low or 1) < 0.7 < (found.high or 0) < 0.8
    means = ratio_of_means(made(reviewers=20, items=300))
    assert means.value == pytest.approx(0.7, abs=0.06)
    assert (means.low or 1) < 0.7 < (means.high or 0)


def test_the_slow_hundredth_is_cut_in_each_arm_alike() -> None:
    work = made(reviewers=4, items=500, ratio=0.5)
    work.seconds[3] = 1e7
    cut = winsorised(work)
    assert cut.max() < 1e3
    for arm in (True, False):
        rows = work.assisted == arm
        assert 0.005 < np.mean(cut[rows] < work.seconds[rows]) <= 0.013


def test_weights_count_in_means() -> None:
    shown = np.array([True] * 40 + [False] * 40)
    seconds = np.array([1.0] * 40 + [1.0, 3.0] * 20)
    weight = np.array([1.0] * 40 + [3.0, 1.0] * 20)
    who = ["a", "b"] * 40
    assert ratio_of_means(Work(["a", "a", "b", "b"] * 20, shown, seconds)).value == pytest.approx(1 / 2)
    assert ratio_of_means(Work(who, shown, seconds, weight=weight)).value == pytest.approx(1 / 1.5)


def test_one_reviewer_speaks_for_himself() -> None:
    found = time_ratio(made(reviewers=1, items=400, seed=1))
    assert found.reviewers == 1
    assert (found.low or 1) < 0.7 < (found.high or 0)


# REVIEW.md, section 6: control items at a share of 10 %, 80 % power, 5 % two-sided
@pytest.mark.parametrize(
    ("spread", "sizes"), [(0.6, {0.10: 283, 0.15: 119, 0.25: 38, 0.40: 13}), (0.8, {0.10: 503, 0.15: 212, 0.25: 68, 0.40: 22})]
)
def test_sizes_for_time(spread: float, sizes: dict[float, int]) -> None:
    assert [round(controls_needed(spread, log(1 - saving))) for saving in sizes] == pytest.approx(list(sizes.values()), abs=1)


@pytest.mark.parametrize(("before", "after", "size"), [(0.05, 0.07, 1074), (0.05, 0.10, 181), (0.10, 0.15, 328), (0.03, 0.15, 24)])
def test_sizes_for_errors(before: float, after: float, size: int) -> None:
    spreads = [np.sqrt(p * (1 - p)) for p in (before, after)]
    assert controls_needed(spreads[0], after - before, spread_assisted=spreads[1]) == pytest.approx(size, abs=1)


def test_sizes_for_no_harm() -> None:
    assert [round(controls_to_show_no_harm(0.05, margin)) for margin in (0.02, 0.01)] == pytest.approx([816, 3264], abs=1)


# --- the verdict


def test_assistance_that_saves_time_and_harms_nothing_pays() -> None:
    work = made(reviewers=20, items=300, error=0.02)
    found = worth(work)
    assert found.says == "assist pays"
    assert "less time" in found.why
    priced = worth(work, Prices(hour=30, error=0.5))
    assert priced.verdict == "assist pays"
    assert priced.net is not None
    assert priced.net.value is not None
    assert 0 < priced.net.value < 0.05


def test_errors_can_eat_up_the_time_saved() -> None:
    work = made(reviewers=20, items=300, harm=0.1)
    assert worth(work).verdict == "assist hurts"
    cheap, dear = (worth(work, Prices(hour=30, error=price)) for price in (0.01, 5.0))
    assert (cheap.verdict, dear.verdict) == ("assist pays", "assist hurts")
    assert cheap.break_even == pytest.approx(dear.break_even)
    assert 0.01 < (cheap.break_even or 0) < 5
    assert worth(work, Prices(hour=30, error=0.0, draft=3.0)).verdict == "assist hurts"


def test_slower_work_hurts() -> None:
    assert worth(made(reviewers=20, items=300, ratio=1.3, error=0.02)).verdict == "assist hurts"


def test_too_little_says_how_much_more() -> None:
    little = worth(made(reviewers=4, items=20, control=0.1))
    assert little.says == f"not enough evidence: {little.more_controls} more control items"
    assert 200 < (little.more_controls or 0) < 300
    unknown = worth(dataclasses.replace(made(reviewers=20, items=300), wrong=None), Prices(30, 1))
    assert unknown.verdict == "not enough evidence"  # time alone shows nothing
    assert "adjudicated" in unknown.why
    none = Work([], np.zeros(0, np.bool_), np.zeros(0))
    assert worth(none).more_controls == 283


def test_the_number_of_further_items_is_about_what_it_takes() -> None:
    few = worth(made(reviewers=12, items=40, ratio=0.9, control=0.2, error=0.0, seed=5), Prices(hour=30, error=0.01))
    assert few.verdict == "not enough evidence"
    more = (few.more_controls or 0) / 0.2
    assert 100 < more < 20_000
    enough = worth(made(reviewers=12, items=int(more / 12) + 40, ratio=0.9, control=0.2, error=0.0, seed=6), Prices(hour=30, error=0.01))
    assert enough.verdict == "assist pays"


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": np.array([0.0, 1.0])},
        {"seconds": np.array([np.nan, 1.0])},
        {"wrong": np.array([2.0, 0])},
        {"weight": np.array([0.0, 1])},
        {"reviewer": ["a"]},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    right = {"reviewer": ["a", "b"], "assisted": np.array([True, False]), "seconds": np.array([1.0, 2.0])}
    with pytest.raises(InvalidRequest):
        Work(**{**right, **wrong})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        Prices(hour=0, error=1)


def test_arms_that_nobody_had_both_of_compare_nothing() -> None:
    work = Work(["a"] * 40 + ["b"] * 40, np.array([True] * 40 + [False] * 40), np.ones(80))
    assert difference(np.ones(80), work) == Estimate(40, 40, 2)
