from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from calibration.fit import fit_temperature
from calibration.fit_vector import fit_vector
from calibration.methods import METHODS, Estimator, problem
from candor.errors import InvalidRequest
from candor.predictions import Classification, Floats, Ints

T = 1.6


def drawn(n: int, k: int, seed: int, bias: Floats | float = 0.0, scale: Floats | float = 1.0) -> tuple[Floats, Ints]:
    """Logits for which softmax(scale logits / T + bias) is the probability of the truths drawn."""
    rng = np.random.default_rng(seed)
    logits = T * 2 * rng.normal(size=(n, k))
    return logits, (scale * logits / T + bias + rng.gumbel(size=(n, k))).argmax(axis=1)


def under_temperature(temperature: float, logits: Floats, truth: Ints) -> float:
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(truth)), truth].mean())


def test_biases_that_a_temperature_cannot_mend_are_found() -> None:
    bias = np.random.default_rng(1).normal(size=10)
    fit = fit_vector(*drawn(1500, 10, 2, bias))
    held_out = drawn(5000, 10, 3, bias)
    best = float((logsumexp(held_out[0] / T + bias, axis=1) - (held_out[0] / T + bias)[np.arange(5000), held_out[1]]).mean())
    found = float(fit.losses(*held_out).mean())
    assert found < under_temperature(fit.temperature.temperature, *held_out) - 0.08
    assert found < best + 0.012
    assert fit.bias - fit.bias.mean() == pytest.approx(bias - bias.mean(), abs=0.4)
    assert fit.bias_spread == pytest.approx(bias.std(), rel=0.5)
    assert fit.nll_after < fit.temperature.nll_after <= fit.nll_before
    assert 0.05 < fit.changed(held_out[0]) < 0.5


def test_scales_that_a_temperature_cannot_mend_are_found() -> None:
    scale = np.repeat([0.6, 1.4], 4)
    fit = fit_vector(*drawn(2000, 8, 4, scale=scale))
    held_out = drawn(4000, 8, 5, scale=scale)
    assert float(fit.losses(*held_out).mean()) < under_temperature(fit.temperature.temperature, *held_out) - 0.03
    assert fit.scale[:4].max() < fit.scale[4:].min()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [3, 100])
def test_a_truth_that_is_a_temperature_costs_no_more_than_noise(k: int, seed: int) -> None:
    fit = fit_vector(*drawn(600, k, seed))
    held_out = drawn(3000, k, 100 + seed)
    # A hundred free biases would cost 100 / 2n = 0.08 nats.
    assert float(fit.losses(*held_out).mean()) < under_temperature(fit.temperature.temperature, *held_out) + 0.006


@given(st.integers(0, 1000))
@settings(max_examples=3, deadline=None)
def test_rows_classes_and_a_common_constant_may_move(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = drawn(200, 5, seed, rng.normal(size=5))
    fit = fit_vector(logits, truth)
    rows, names = rng.permutation(200), rng.permutation(5)
    turned = fit_vector(logits[rows], truth[rows])
    renamed = fit_vector(logits[:, names], np.argsort(names)[truth])
    assert turned.scale == pytest.approx(fit.scale, abs=2e-3)
    assert renamed.scale == pytest.approx(fit.scale[names], abs=2e-3)
    assert renamed.bias == pytest.approx(fit.bias[names], abs=5e-3)
    assert fit_vector(logits + 30, truth).losses(logits + 30, truth) == pytest.approx(fit.losses(logits, truth), abs=1e-2)
    assert (fit.scale > 0).all()


def test_the_parameters_are_those_that_are_applied() -> None:
    logits, truth = drawn(300, 5, 6, np.arange(5) / 2)
    fit = fit_vector(logits, truth)
    assert problem("vector", fit.parameters, METHODS["classification"]) == ""
    applied = [Estimator("vector", fit.parameters)(Classification((1, 1), row))[t] for row, t in zip(logits, truth, strict=True)]
    assert -np.log(applied) == pytest.approx(fit.losses(logits, truth), abs=1e-9)
    assert fit.nll_after == pytest.approx(fit.losses(logits, truth).mean(), abs=1e-9)
    assert fit.as_json()["n"] == fit.n == 300
    assert fit.as_json()["temperature"] == fit_temperature(logits, truth).temperature


def test_a_temperature_alone_changes_no_class() -> None:
    logits, _ = drawn(200, 5, 7)
    fit = fit_vector(logits, logits.argmax(axis=1))
    assert fit.at_bound
    assert fit.changed(logits) == 0
    assert fit.changed(logits[:0]) == 0
    assert (fit.scale_spread, fit.bias_spread) == (0.0, 0.0)
    assert (fit.scale == 1 / fit.temperature.temperature).all()


def test_classes_that_never_occur_are_no_trouble() -> None:
    logits, truth = drawn(200, 6, 8)
    logits[:, 5] = -800.0
    fit = fit_vector(logits, np.minimum(truth, 4))
    assert np.isfinite([fit.scale, fit.bias]).all()
    assert np.isfinite(fit.nll_after)


LOGITS, TRUTH = drawn(60, 4, 9)


@pytest.mark.parametrize(
    ("logits", "truth", "said"),
    [
        (LOGITS[:3], TRUTH[:3], "3 rows"),
        (np.where(LOGITS > 5, np.nan, LOGITS), TRUTH, "NaN or infinite"),
        (LOGITS, TRUTH + 10, "index"),
        (LOGITS[:, :1], TRUTH * 0, "at least 2"),
    ],
)
def test_bad_logits_are_refused(logits: Floats, truth: Ints, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_vector(logits, truth)
