from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from candor.errors import InvalidRequest
from review.arms import ARMS, Policy, Rates, choose, draw, inverse_propensities, policy_of, uniform

SECRET = b"0123456789abcdef"
NUMBERS = np.array([uniform(SECRET, "1", f"item-{i}") for i in range(5000)])


# --- the number of an item


def test_numbers_are_uniform_and_independent_of_their_neighbours() -> None:
    assert kstest(NUMBERS, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(NUMBERS[:-1], NUMBERS[1:])[0, 1]) < 4 / np.sqrt(len(NUMBERS))
    others = np.array([uniform(SECRET, "2", f"item-{i}") for i in range(5000)])
    assert abs(np.corrcoef(NUMBERS, others)[0, 1]) < 4 / np.sqrt(len(NUMBERS))


def test_a_number_is_that_of_its_names_alone() -> None:
    assert uniform(SECRET, "1", "item-7") == NUMBERS[7]
    assert uniform(SECRET, "e", "cat") == pytest.approx(0.6568355115643737, abs=1e-15)  # openssl says so; another number moves every item
    different = {uniform(SECRET, *names) for names in [("a", "bc"), ("ab", "c"), ("a", "bc", "d"), ("a", "b", "cd"), ("a", "bc", "")]}
    assert len(different) == 5
    assert uniform(SECRET + b"x", "a", "bc") not in different


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="16 bytes"):
        uniform(b"short", "1", "a")


# --- arms


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 0.5), st.floats(0.001, 0.5), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_propensities_sum_to_one_and_every_arm_has_its_piece(control: float, honeypot: float, u: float, share: float) -> None:
    policy = Policy(control=control, honeypot=honeypot, raised=0.5)
    for zone in (True, False):
        rates = policy.rates(in_badge_zone=zone, badge_share=share)
        assert sum(rates.of(arm) for arm in ARMS) == pytest.approx(1)
        assert all(rates.of(arm) >= 0 for arm in ARMS)
        drawn = draw(rates, u)
        assert drawn.propensity == rates.of(drawn.arm) > 0
        assert rates.withheld >= 0.02


def test_arms_come_as_often_as_their_propensity_says() -> None:
    rates = Policy().rates(in_badge_zone=False, badge_share=0.2)
    arms = choose(NUMBERS, rates.withheld, rates.honeypot)
    expected = len(NUMBERS) * np.array([rates.of(arm) for arm in ARMS])
    assert chisquare(np.bincount(arms, minlength=3), expected).pvalue > 0.001
    assert [draw(rates, u).arm for u in NUMBERS[:200]] == [ARMS[i] for i in arms[:200]]


def test_a_raised_rate_moves_items_to_honeypots_and_no_others() -> None:
    usual, raised = (Policy().rates(in_badge_zone=True, badge_share=0.4, raised=one) for one in (False, True))
    for u in NUMBERS[:1000]:
        before, after = draw(usual, u).arm, draw(raised, u).arm
        assert after == before or (before, after) == ("assisted", "honeypot")
    assert raised == Rates(0.10, 0.20)


@pytest.mark.parametrize("share", [0.07, 0.1, 0.2, 0.29, 0.3, 0.6, 1.0])
def test_three_tenths_of_the_control_budget_lie_in_the_badge_zone(share: float) -> None:
    policy = Policy()
    zone, other = (policy.rates(in_badge_zone=one, badge_share=share).withheld for one in (True, False))
    assert zone * share + other * (1 - share) == pytest.approx(policy.control)
    assert zone * share >= 0.3 * policy.control - 1e-12
    assert zone >= other


def test_a_rare_zone_is_withheld_half_at_most_and_a_full_one_has_no_other() -> None:
    policy = Policy()
    assert policy.rates(in_badge_zone=True, badge_share=0.001).withheld == 0.5
    assert policy.rates(in_badge_zone=False, badge_share=0.001).withheld == pytest.approx(0.1, abs=1e-3)
    assert policy.rates(in_badge_zone=False, badge_share=0).withheld == 0.1


def test_weighted_controls_stand_for_all_items() -> None:
    rng = np.random.default_rng(5)
    zone = rng.random(len(NUMBERS)) < 0.15
    policy = Policy()
    draws = [draw(policy.rates(in_badge_zone=bool(one), badge_share=0.15), u) for one, u in zip(zone, NUMBERS, strict=True)]
    held = np.array([one.arm == "withheld" for one in draws])
    weights = inverse_propensities(draws)
    assert held[zone].mean() > 1.5 * held[~zone].mean()
    estimate = (weights * zone)[held].sum() / weights[held].sum()
    assert estimate == pytest.approx(zone.mean(), abs=0.04)
    assert zone[held].mean() > zone.mean() + 0.08  # what the weights are for


# --- stakes and nonsense


def test_high_stakes_withhold_more_and_show_only_the_sure() -> None:
    policy = Policy(stakes="high", strict_confidence=0.95)
    assert policy.rates(in_badge_zone=False, badge_share=0).withheld == 0.2
    assert not policy.shows_badges
    assert [policy.shows(one) for one in (None, 0.94, 0.95)] == [False, False, True]
    assert Policy().shows(None)
    assert Policy().shows_badges


@pytest.mark.parametrize(
    "wrong",
    [
        {"control": 0.04},
        {"control": 0.6},
        {"honeypot": 0.0},
        {"honeypot": 0.3},
        {"raised": 0.7},
        {"badge_budget": 1.2},
        {"stakes": "some"},
        {"raised_items": 0},
        {"colour": 1},
        {"control": float("nan")},
    ],
)
def test_policies_that_would_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        policy_of(wrong)


def test_a_policy_comes_back_from_json() -> None:
    policy = Policy(control=0.2, stakes="high")
    assert policy_of(policy.as_json()) == policy
