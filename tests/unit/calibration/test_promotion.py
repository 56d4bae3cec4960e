from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from calibration.measure import log_losses
from calibration.promotion import MARGIN, MOST, gain_interval, promote
from candor.errors import InvalidRequest
from candor.predictions import Floats


def losses(rng: np.random.Generator, labels: int, old: float, new: float) -> tuple[Floats, Floats]:
    """Losses of two temperatures on labels whose own is 1."""
    z = logit(rng.beta(4, 0.93, labels).clip(1e-6, 1 - 1e-6))
    y = (rng.random(labels) < expit(z)).astype(np.float64)
    return log_losses(expit(z / old), y), log_losses(expit(z / new), y)


def trap(rng: np.random.Generator, labels: int) -> tuple[Floats, Floats]:
    """A new calibration that is better by a little on nearly every label, worse by much on a few, and no better in the mean."""
    rare = rng.random(labels) < 0.005
    return np.where(rare, 0.0, 0.01), np.where(rare, 1.99, 0.0)


def test_a_calibration_that_gains_is_promoted() -> None:
    found = promote(*losses(np.random.default_rng(0), 4000, 0.6, 1.0))
    assert found.promote
    assert found.gain.low is not None
    assert found.gain.low > 0
    assert found.more is None
    assert found.reason.startswith("it is better: mean gain +0.0")


def test_a_calibration_that_loses_is_not() -> None:
    found = promote(*losses(np.random.default_rng(0), 4000, 1.0, 0.5))
    assert not found.promote
    assert found.reason.startswith("it is worse: ")
    assert found.more is None
    assert not promote(*losses(np.random.default_rng(0), 4000, 1.0, 0.5), simpler=True).promote


def test_too_few_labels_are_told_in_words_with_how_many_are_wanting() -> None:
    old, new = losses(np.random.default_rng(0), 60, 0.7, 1.0)
    first = promote(old, new)
    assert not first.promote
    assert first.more is not None
    assert f"not enough evidence: about {first.more:,} more labels" in first.reason
    times = -(-(60 + first.more) // 60)  # as often as that the very same labels again
    assert times > 2
    assert not promote(np.tile(old, times - 1), np.tile(new, times - 1)).promote
    assert promote(np.tile(old, times), np.tile(new, times)).promote


def test_a_simpler_calibration_need_not_gain() -> None:
    rng = np.random.default_rng(2)
    old = rng.random(12_000)
    new = old + rng.choice([-0.01, 0.01], 12_000)
    assert not promote(old, new).promote
    found = promote(old, new, simpler=True)
    assert found.promote
    assert "simpler, and worse by less than 0.002 nats" in found.reason
    assert not promote(old, new + 2 * MARGIN, simpler=True).promote


def test_the_same_calibration_twice_gains_nothing() -> None:
    found = promote(np.ones(300), np.ones(300))
    assert not found.promote
    assert found.gain.value == 0
    assert "no gain is seen" in found.reason


def test_one_label_decides_nothing() -> None:
    found = promote([1.0], [0.5])
    assert not found.promote
    assert found.gain.low == pytest.approx(-MOST, abs=0.05)
    assert found.gain.high == pytest.approx(MOST, abs=0.05)


def test_looking_again_and_again_promotes_no_equal() -> None:
    rng = np.random.default_rng(3)
    false = []
    for _ in range(50):
        old, new = trap(rng, 800)
        false.append(any(promote(old[:n], new[:n]).promote for n in (200, 400, 800)))
    assert np.mean(false) <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 50)


def test_a_normal_interval_would_promote_an_equal() -> None:
    """Why there is none here."""
    rng = np.random.default_rng(3)
    false = []
    for _ in range(60):
        old, new = trap(rng, 200)
        gain = old - new
        false.append(gain.mean() - 1.96 * gain.std() / np.sqrt(200) > 0)
    assert np.mean(false) > 0.2


def test_losses_beyond_the_bound_forbid_a_promotion() -> None:
    old, new = np.full(3000, 0.3), np.full(3000, 0.15)
    new[::50] = 9.0  # held to 2 nats the mean gain is above 0; in full it is not
    found = promote(old, new)
    assert found.gain.low is not None
    assert found.gain.low > 0
    assert not found.promote
    assert found.more is None
    assert "worse by more than 2 nats" in found.reason


def test_labels_of_an_item_are_one_gain() -> None:
    old, new = losses(np.random.default_rng(4), 1500, 0.6, 1.0)
    items = np.arange(1500)
    repeated, plain = promote(np.repeat(old, 5), np.repeat(new, 5), np.repeat(items, 5)), promote(old, new)
    assert (repeated.gain.value, repeated.gain.low) == pytest.approx((plain.gain.value, plain.gain.low))
    assert (repeated.labels, repeated.items, repeated.effective_items) == (7500, 1500, 1500)


def test_weights_move_the_gain_to_what_they_stand_for() -> None:
    gains = np.repeat([0.5, -0.5], 400)
    found = promote(gains, np.zeros(800), weights=np.repeat([1.0, 3.0], 400))
    assert found.gain.value == pytest.approx(-0.25)
    assert found.effective_items == pytest.approx(640)
    assert found.reason.startswith("it is worse")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-MOST, MOST), min_size=1, max_size=60), st.floats(0.1, 5))
def test_intervals_are_ordered_and_mirror(values: list[float], weight: float) -> None:
    gains, weights = np.array(values), np.full(len(values), weight)
    found, mirrored = gain_interval(gains, weights), gain_interval(-gains, weights)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert -MOST <= found.low <= found.value <= found.high <= MOST
    assert mirrored.low == pytest.approx(-found.high, abs=1e-6)


def test_an_interval_refutes_what_lies_below_it() -> None:
    rng = np.random.default_rng(5)
    gains, weights = rng.choice([-1.0, 1.2], 400), rng.uniform(1, 4, 400)
    found = gain_interval(gains, weights)
    assert found.low is not None

    def evidence(mean: float) -> float:
        shares = 0.95 / 2.0 ** np.arange(7)
        return float(np.mean([np.prod(1 + c * weights / weights.max() * (gains - mean) / (2 + mean)) for c in shares]))

    assert evidence(found.low) == pytest.approx(40, rel=1e-4)
    assert evidence(found.low - 0.01) > 40


def test_a_decision_is_json() -> None:
    found = promote(*losses(np.random.default_rng(0), 100, 0.6, 1.0)).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["gain"]) == {"value", "low", "high"}


@pytest.mark.parametrize(
    ("old", "new", "clusters", "weights"),
    [
        ([], [], None, None),
        ([1], [1, 2], None, None),
        ([float("nan")], [1], None, None),
        ([1], [float("inf")], None, None),
        ([1], [1], [1, 2], None),
        ([1], [1], None, [0]),
        ([1], [1], None, [float("nan")]),
        (1, 1, None, None),
    ],
)
def test_bad_losses_are_refused(old: Any, new: Any, clusters: Any, weights: Any) -> None:
    with pytest.raises(InvalidRequest):
        promote(old, new, clusters, weights)
