"""Simulated programmes: the engine against the code that serves, and a small run of the scorecard. The full one is a benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from candor.predictions import Floats
from review import simulate
from review.alarms import Detector, Screen, accused, log_mixture, log_odds_of, log_odds_of_review
from review.arms import ARMS, choose, draw, uniform
from review.effect import error_difference, ratio_of_means, time_ratio
from review.scorecard import TRUE, controls, lines_of, stakes, worked
from review.simulate import Group, World, population, run

SECRET = b"of sixteen bytes"


def test_the_engine_does_what_arms_detectors_and_screens_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record what is drawn and seen in a programme, and give it to the code that serves, reviewer by reviewer."""
    drawn: list[Any] = []
    seen: list[Any] = []
    missed: list[Any] = []

    def recorded_arms(u: Floats, *rates: Any) -> Any:
        drawn.append((u, choose(u, *rates)))
        return drawn[-1][1]

    def recorded_reviews(corrected: Any, right: Any, *more: Any) -> Any:
        seen.append((corrected, right))
        return original(corrected, right, *more)

    def recorded_misses(some: Any, *more: Any) -> Any:
        if np.ndim(some) == 2:
            missed.append(some)
        return log_odds_of(some, *more)

    original = log_odds_of_review
    monkeypatch.setattr(simulate, "choose", recorded_arms)
    monkeypatch.setattr(simulate, "log_odds_of_review", recorded_reviews)
    monkeypatch.setattr(simulate, "log_odds_of", recorded_misses)
    groups = (Group("attentive", 2), Group("stampers", 2, lam=0.9))
    world = World(groups, items=500)
    numbers = np.array([[uniform(SECRET, "1", f"i{item}", f"r{who}") for who in range(4)] for item in range(500)])
    found = run(world, 1, 7, uniforms=lambda item: numbers[item][None])
    assert (found.accused[0, 2:] > 0).all()
    for who in range(4):
        detector, screen, times = Detector(), Screen(), 0
        for item, ((u, arms), (corrected, right), miss) in enumerate(zip(drawn, seen, missed, strict=True)):
            arm = draw(world.policy.rates(in_badge_zone=False, badge_share=0, raised=screen.raised), float(u[0, who])).arm
            assert arm == ARMS[arms[0, who]], (who, item)
            screen = screen.drawn()
            if arm == "honeypot":
                detector = detector.update(f"i{item}", missed=bool(miss[0, who]))
                screen = screen.honeypot(missed=bool(miss[0, who]))
                times += 1
                if detector.alarm and detector.alarm.at == detector.honeypots:
                    assert found.accused[0, who] == item + 1
            elif arm == "assisted":
                screen = screen.update(corrected=bool(corrected[0, who]), right=float(right[0, who]))
        assert (times, screen.times) == (found.honeypots[0, who], found.screens[0, who])
        assert bool(detector.alarm) == bool(found.accused[0, who])


def test_a_small_scorecard_passes() -> None:
    found = run(World(population(0.7)), 20, 11)
    lines = list(lines_of("adaptive, catch 0.27", found))
    # 20 programmes show the least part of 1/20: a delay may miss its median by chance, a rate hardly
    assert [line.what for line in lines if line.reached is False and "change" not in line.what] == []
    assert next(line for line in lines if "change" in line.what).figures["median"] < 260  # type: ignore[operator]


def test_the_scorecard_fails_where_nobody_raises_the_rate_or_everybody_is_honest() -> None:
    sparse = run(World(population(0.7), rate=0.005, items=600), 10, 12)
    line = next(one for one in lines_of("adaptive, catch 0.27", sparse) if "within" in one.what)
    assert line.reached is False
    harsh = World((Group("attentive", 30, lam=0.6), *population(0.7)[1:]), rate=0.1, items=600)
    assert next(iter(lines_of("any", run(harsh, 10, 13)))).reached is False


def test_false_alarms_are_as_rare_as_is_said() -> None:
    assert [line.what for line in stakes() if line.reached is not True] == []


def test_naming_many_at_once_keeps_its_share_of_wrong_ones() -> None:
    rng = np.random.default_rng(14)
    shares, power = [], []
    for _ in range(1000):
        missed = rng.random((40, 40)) >= np.array([0.8] * 30 + [0.27] * 10)[:, None]
        evidence = np.exp(log_mixture(log_odds_of(missed).sum(axis=1)))
        named = accused(evidence, alpha=0.05)
        shares.append(named[:30].sum() / max(1, named.sum()))
        power.append(named[30:].mean())
    assert np.mean(shares) <= 0.05
    assert np.mean(power) > 0.8


@pytest.mark.parametrize("reviewers", [8, 20, 60])
def test_intervals_hold_the_truth_with_few_and_many_reviewers(reviewers: int) -> None:
    rng = np.random.default_rng(reviewers)
    held = []
    for _ in range(300 if reviewers < 60 else 150):
        work = worked(rng, reviewers, items=60)
        means, errors = TRUE["time"] * np.exp(0.15**2 / 2), error_difference(work)
        assert errors is not None
        pairs = ((time_ratio(work), TRUE["time"]), (ratio_of_means(work), means), (errors, TRUE["errors"]))
        held.append([(one.low or -1) <= truth <= (one.high or -1) for one, truth in pairs])
    # 93 to 97 %, and two and a half standard errors of so few studies on top
    assert all(0.885 <= one <= 0.99 for one in np.mean(held, axis=0)), np.mean(held, axis=0)


def test_24_control_items_tell_heavy_bias() -> None:
    assert controls().reached
