"""Weighted fits: rows of weight w are w equal rows, and a biased sample with its chances tells of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from calibration.fit import fit_temperature_bias
from calibration.fit_weighted import fit_temperature_bias_weighted
from candor.errors import InvalidRequest


def drawn(n: int, temperature: float = 1.7, bias: float = -0.6, seed: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    z = 2.5 * rng.normal(size=n) + 0.5
    return z, (rng.random(n) < expit(z / temperature + bias)).astype(float)


def test_equal_weights_are_the_unweighted_fit() -> None:
    z, y = drawn(800)
    plain, weighted = fit_temperature_bias(z, y), fit_temperature_bias_weighted(z, y, np.full(800, 7.0), np.arange(800))
    assert weighted.temperature == pytest.approx(plain.temperature, abs=1e-6)
    assert weighted.bias == pytest.approx(plain.bias, abs=1e-6)
    assert (weighted.n, weighted.at_bound) == (800, False)
    assert (weighted.nll_before, weighted.nll_after) == pytest.approx((plain.nll_before, plain.nll_after))
    # independent rows of a true model: the robust interval and the likelihood's are nearly one
    assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high), rel=0.03)


def test_a_weight_is_so_many_rows() -> None:
    z, y = drawn(300)
    times = np.random.default_rng(1).integers(1, 4, 300)
    repeated = fit_temperature_bias(np.repeat(z, times), np.repeat(y, times))
    weighted = fit_temperature_bias_weighted(z, y, times.astype(float), np.arange(300))
    assert (weighted.temperature, weighted.bias) == pytest.approx((repeated.temperature, repeated.bias), abs=1e-6)


def test_weights_undo_a_draw_that_depends_on_the_truth() -> None:
    z, y = drawn(40_000)
    rng = np.random.default_rng(5)
    chance = np.where(y == 1, 0.1, 0.4)  # wrong labels are looked at four times as often
    kept = rng.random(len(z)) < chance
    ignored = fit_temperature_bias(z[kept], y[kept])
    weighted = fit_temperature_bias_weighted(z[kept], y[kept], 1 / chance[kept], np.flatnonzero(kept))
    assert weighted.temperature == pytest.approx(1.7, rel=0.05)
    assert weighted.bias == pytest.approx(-0.6, abs=0.07)
    assert weighted.low < 1.7 < weighted.high
    assert ignored.bias is not None
    assert ignored.bias < -1.5  # what it would be without


def test_rows_that_stand_together_widen_the_interval() -> None:
    z, y = drawn(200)
    four = np.repeat(np.arange(200), 4)
    alone = fit_temperature_bias_weighted(z, y, np.ones(200), np.arange(200))
    together = fit_temperature_bias_weighted(z[four], y[four], np.ones(800), four)
    apart = fit_temperature_bias_weighted(z[four], y[four], np.ones(800), np.arange(800))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), rel=1e-4)
    assert apart.high - apart.low < 0.6 * (together.high - together.low)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": np.zeros(40)}, "above 0"),
        ({"weight": np.full(40, np.nan)}, "finite"),
        ({"weight": np.ones(39)}, "one weight"),
        ({"correct": np.ones(40)}, "all 40 labels are right"),
        ({"correct": np.zeros(40)}, "all 40 labels are wrong"),
        ({"logit": np.full(40, np.nan)}, "NaN"),
        ({"logit": np.ones(40)}, "scores are the same"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_hold_no_fit_are_refused_in_words(change: dict[str, Any], words: str) -> None:
    z, y = drawn(40)
    rows: dict[str, Any] = {"logit": z, "correct": y, "weight": np.ones(40), "cluster": np.arange(40), **change}
    with pytest.raises(InvalidRequest, match=words):
        fit_temperature_bias_weighted(**rows)


def test_three_rows_are_too_few() -> None:
    with pytest.raises(InvalidRequest, match="3"):
        fit_temperature_bias_weighted([0.0, 1.0, 2.0], [0, 1, 1], [1, 1, 1], [0, 1, 2])


def test_labels_that_separate_end_at_the_bound_and_one_cluster_has_no_interval() -> None:
    z = np.linspace(-3, 3, 60)
    found = fit_temperature_bias_weighted(z, z > 0, np.ones(60), np.zeros(60))
    assert found.at_bound
    assert (found.low, found.high) == (1 / 20, 20)
