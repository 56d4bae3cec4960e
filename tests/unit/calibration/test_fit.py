from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax

from calibration.fit import fit_temperature, fit_temperature_bias, publishable
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints


def drawn(temperature: float, n: int = 1500, k: int = 20, seed: int = 0) -> tuple[Floats, Ints]:
    """Logits that are `temperature` times too large for the truths drawn from them."""
    rng = np.random.default_rng(seed)
    honest = 2 * rng.normal(size=(n, k))
    truth = (honest + rng.gumbel(size=(n, k))).argmax(axis=1)
    return temperature * honest, truth


def scored(temperature: float, bias: float, n: int = 4000, seed: int = 0) -> tuple[Floats, Floats]:
    """Logits whose right confidence is sigmoid(logit / temperature + bias)."""
    rng = np.random.default_rng(seed)
    logit = 2 * rng.normal(size=n) - 0.5
    return logit, (rng.random(n) < expit(logit / temperature + bias)).astype(np.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5, 4.0])
def test_the_temperature_that_made_the_logits_is_found(temperature: float) -> None:
    fit = fit_temperature(*drawn(temperature))
    assert fit.temperature == pytest.approx(temperature, rel=0.08)
    assert fit.low < temperature < fit.high
    assert not fit.at_bound
    assert fit.nll_after <= fit.nll_before


def test_the_interval_covers_as_often_as_it_says() -> None:
    found = [fit_temperature(*drawn(1.5, n=200, k=5, seed=seed)) for seed in range(80)]
    assert 0.90 <= np.mean([fit.low <= 1.5 <= fit.high for fit in found]) <= 0.99


@given(st.floats(0.2, 5), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_scaling_shifting_and_permuting(factor: float, seed: int) -> None:
    logits, truth = drawn(1.5, n=200, k=5, seed=seed)
    fit = fit_temperature(logits, truth)
    rng = np.random.default_rng(seed)
    turned = rng.permutation(len(truth))
    shifted = logits + rng.normal(size=(len(truth), 1)) * 50
    assert fit_temperature(factor * logits, truth).temperature == pytest.approx(factor * fit.temperature, rel=1e-6)
    assert fit_temperature(shifted, truth).temperature == pytest.approx(fit.temperature, rel=1e-6)
    assert fit_temperature(logits[turned], truth[turned]).temperature == pytest.approx(fit.temperature, rel=1e-6)
    # The least NLL, by looking around it.
    at = np.arange(len(truth))
    for other in (0.98, 1.02):
        assert -log_softmax(logits / (other * fit.temperature), axis=1)[at, truth].mean() > fit.nll_after


def test_half_precision_logits_are_enough() -> None:
    logits, truth = drawn(1.5)
    assert fit_temperature(logits.astype(np.float16), truth).temperature == pytest.approx(
        fit_temperature(logits, truth).temperature, abs=1e-3
    )


@pytest.mark.parametrize("best", [True, False])
def test_all_right_and_all_wrong_run_into_the_bound_and_are_not_published(best: bool) -> None:
    logits, _ = drawn(1.0, n=100)
    fit = fit_temperature(logits, logits.argmax(axis=1) if best else logits.argmin(axis=1))
    assert fit.at_bound
    assert np.isfinite([fit.temperature, fit.low, fit.high, fit.nll_after]).all()
    assert fit.temperature == pytest.approx(1 / 20 if best else 20)
    with pytest.raises(InvalidRequest, match=r"outside 0\.05 to 20"):
        publishable(fit)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.5, 1.0), (2.5, -0.7), (1.7, 0.6)])
def test_temperature_and_bias_are_found(temperature: float, bias: float) -> None:
    fit = fit_temperature_bias(*scored(temperature, bias))
    assert fit.temperature == pytest.approx(temperature, rel=0.12)
    assert fit.bias == pytest.approx(bias, abs=0.15)
    assert fit.low < temperature < fit.high
    assert publishable(fit) is fit


@given(st.floats(0.2, 5), st.floats(-5, 5))
@settings(max_examples=8, deadline=None)
def test_temperature_and_bias_follow_a_change_of_scale(factor: float, shift: float) -> None:
    logit, correct = scored(1.7, 0.6, n=300)
    fit, moved = fit_temperature_bias(logit, correct), fit_temperature_bias(factor * logit + shift, correct)
    assert fit.bias is not None
    assert moved.bias is not None
    assert moved.temperature == pytest.approx(factor * fit.temperature, rel=1e-4)
    assert moved.bias == pytest.approx(fit.bias - shift / moved.temperature, abs=1e-4)
    assert moved.nll_after == pytest.approx(fit.nll_after, abs=1e-9)


def test_the_fit_is_stationary_and_honest_on_average() -> None:
    logit, correct = scored(1.7, 0.6)
    fit = fit_temperature_bias(logit, correct)
    assert fit.bias is not None
    confidence = expit(logit / fit.temperature + fit.bias)
    assert confidence.mean() == pytest.approx(correct.mean(), abs=1e-6)
    assert ((confidence - correct) * logit).mean() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("turned", [1, -1])
def test_scores_that_separate_or_contradict_are_not_published(turned: int) -> None:
    logit = np.linspace(-3, 3, 100)
    fit = fit_temperature_bias(turned * logit, logit > 0)
    assert fit.at_bound
    with pytest.raises(InvalidRequest):
        publishable(fit)


LOGITS, TRUTH = drawn(1.0, n=60)
LOGIT, CORRECT = scored(1.0, 0.0, n=60)


@pytest.mark.parametrize(
    ("logit", "correct", "said"),
    [
        (LOGIT[:3], CORRECT[:3], "3 rows"),
        (LOGIT, np.ones(60), "all 60 labels are right"),
        (LOGIT, np.zeros(60), "all 60 labels are wrong"),
        (np.where(LOGIT > 1, np.nan, LOGIT), CORRECT, "NaN"),
        (np.ones(60), CORRECT, "the same"),
        (LOGIT, CORRECT * 2, "neither right"),
        (LOGIT, CORRECT[:50], "one length"),
    ],
)
def test_bad_scores_are_refused(logit: Floats, correct: Floats, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_temperature_bias(logit, correct)


@pytest.mark.parametrize(
    ("logits", "truth", "said"),
    [
        (LOGITS[:3], TRUTH[:3], "3 rows"),
        (np.where(LOGITS > 5, np.inf, LOGITS), TRUTH, "NaN or infinite"),
        (LOGITS, TRUTH + 1000, "index"),
        (LOGITS, TRUTH - 100, "index"),
        (LOGITS, TRUTH.astype(np.float64), "index"),
        (LOGITS[:, :1], TRUTH * 0, "at least 2"),
    ],
)
def test_bad_logits_are_refused(logits: Floats, truth: Ints, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_temperature(logits, truth)
