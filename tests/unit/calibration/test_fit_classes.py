from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from calibration.fit import fit_temperature_bias, publishable
from calibration.fit_classes import LEAST_SLOPE, SPREADS, fit_classes
from calibration.measure import log_losses
from calibration.methods import METHODS, problem
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

CLASSES = 80


def world(seed: int = 0, classes: int = CLASSES) -> Floats:
    """Slopes and biases by class, (2, classes), around a = 0.8 and b = -0.4."""
    rng = np.random.default_rng(seed)
    return np.stack([np.clip(0.8 + 0.2 * rng.normal(size=classes), 0.2, None), -0.4 + 0.5 * rng.normal(size=classes)])


def drawn(truth: Floats, n: int, seed: int) -> tuple[Floats, Ints, Floats]:
    """Boxes whose classes follow Zipf's law, and whether they are right under those lines."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, truth.shape[1] + 1)
    c = rng.choice(truth.shape[1], n, p=share / share.sum())
    logit = 1.7 * rng.normal(size=n) + 0.3
    return logit, c, (rng.random(n) < expit(truth[0, c] * logit + truth[1, c])).astype(np.float64)


def held_out_nll(slope: Floats, bias: Floats, rows: tuple[Floats, Ints, Floats]) -> float:
    logit, c, correct = rows
    return float(log_losses(expit(slope[c] * logit + bias[c]), correct).mean())


def test_shrunk_beats_one_line_for_all_and_a_line_for_each() -> None:
    truth = world()
    rows, held_out = drawn(truth, 4000, 1), drawn(truth, 20_000, 2)
    shrunk = fit_classes(*rows, CLASSES)
    alone = fit_classes(*rows, CLASSES, spreads=(5.0, 5.0))
    pooled = shrunk.pooled
    everywhere = np.ones(CLASSES)
    found = held_out_nll(shrunk.slope, shrunk.bias, held_out)
    assert found < held_out_nll(everywhere / pooled.temperature, everywhere * (pooled.bias or 0.0), held_out) - 0.003
    assert found < held_out_nll(alone.slope, alone.bias, held_out) - 0.01
    assert found < held_out_nll(truth[0], truth[1], held_out) + 0.015
    assert shrunk.nll_after < pooled.nll_after < shrunk.nll_before


def test_lines_of_common_classes_are_found_and_the_shared_one() -> None:
    truth = world(3, classes=20)
    fit = fit_classes(*drawn(truth, 15_000, 4), 20)
    common = fit.rows > 1000
    assert common.sum() >= 4
    assert fit.slope[common] == pytest.approx(truth[0, common], abs=0.15)
    assert fit.bias[common] == pytest.approx(truth[1, common], abs=0.2)
    assert fit.shared_slope == pytest.approx(truth[0].mean(), abs=0.12)
    assert fit.shared_bias == pytest.approx(truth[1].mean(), abs=0.25)


def test_without_differences_every_class_has_the_pooled_line() -> None:
    fit = fit_classes(*drawn(np.array([[0.8] * 10, [-0.4] * 10]), 4000, 5), 10, spreads=(1e-4, 1e-4))
    assert fit.slope == pytest.approx(1 / fit.pooled.temperature, abs=1e-4)
    assert fit.bias == pytest.approx(fit.pooled.bias, abs=1e-4)
    assert fit.low < fit.pooled.temperature < fit.high


def test_the_parameters_are_the_most_probable_ones() -> None:
    """Against the model as it is written down, with a, b, da and db as separate parameters, found without a gradient's formula."""
    rows = drawn(world(6, classes=3), 200, 7)
    logit, c, correct = rows
    fit = fit_classes(*rows, 3)

    def penalised(parameters: Floats) -> float:
        a, b, da, db = parameters[0], parameters[1], parameters[2:5], parameters[5:]
        losses = log_losses(expit((a + da[c]) * logit + b + db[c]), correct).sum()
        return float(losses + (da**2).sum() / (2 * SPREADS[0] ** 2) + (db**2).sum() / (2 * SPREADS[1] ** 2))

    found = minimize(penalised, np.array([1.0, *[0.0] * 7]), method="BFGS", options={"gtol": 1e-4}).x
    assert fit.slope == pytest.approx(found[0] + found[2:5], abs=1e-4)
    assert fit.bias == pytest.approx(found[1] + found[5:], abs=1e-4)
    assert (fit.shared_slope, fit.shared_bias) == pytest.approx(found[:2], abs=1e-4)


def test_a_class_without_rows_has_the_shared_line() -> None:
    logit, c, correct = drawn(world(8, classes=4), 300, 9)
    fit = fit_classes(logit, c + 2, correct, 9)
    empty = fit.rows == 0
    assert empty.sum() == 5
    assert (fit.slope[empty] == fit.shared_slope).all()
    assert (fit.bias[empty] == fit.shared_bias).all()
    assert fit.as_json()["classes_with_rows"] == 4
    assert fit.as_json()["classes"] == 9


def test_confidence_rises_with_the_score_even_in_a_class_where_truth_falls() -> None:
    truth = np.array([[1.0, -1.5], [0.0, 0.0]])
    logit, c, correct = drawn(truth, 2000, 10)
    fit = fit_classes(logit, c, correct, 2)
    assert fit.slope[1] == LEAST_SLOPE
    assert expit(LEAST_SLOPE * logit + fit.bias[1])[c == 1].mean() == pytest.approx(correct[c == 1].mean(), abs=0.005)
    assert fit.slope[0] > 0.6


def test_one_class_and_what_a_record_holds() -> None:
    logit, _, correct = drawn(world(classes=1), 300, 11)
    fit = fit_classes(logit, np.zeros(300, np.int64), correct, 1)
    assert fit.slope == pytest.approx([1 / fit.pooled.temperature], abs=1e-4)
    assert problem("class_temperature_bias", fit.parameters, METHODS["detection"]) == ""
    said = fit.as_json()
    assert {"temperature", "low", "high", "n", "at_bound", "nll_before", "nll_after"} <= set(said)
    assert said["n"] == fit.n == 300


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_the_order_of_rows_and_the_names_of_classes_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logit, c, correct = drawn(world(seed, classes=6), 200, seed)
    fit = fit_classes(logit, c, correct, 6)
    turned, renamed = rng.permutation(200), rng.permutation(6)
    other = fit_classes(logit[turned], renamed[c[turned]], correct[turned], 6)
    assert other.slope[renamed] == pytest.approx(fit.slope, abs=1e-4)
    assert other.bias[renamed] == pytest.approx(fit.bias, abs=1e-4)
    assert (fit.slope >= LEAST_SLOPE).all()
    assert fit.nll_after <= fit.pooled.nll_after + 1e-9


def test_scores_that_separate_are_at_the_bound_and_finite() -> None:
    logit = np.linspace(-3, 3, 100)
    fit = fit_classes(logit, np.arange(100) % 3, logit > 0, 3)
    assert fit.at_bound
    assert np.isfinite([fit.slope, fit.bias]).all()
    with pytest.raises(InvalidRequest):
        publishable(fit.pooled)


LOGIT, CLASS, CORRECT = drawn(world(classes=5), 60, 12)


@pytest.mark.parametrize(
    ("logit", "classes", "correct", "said"),
    [
        (LOGIT[:3], CLASS[:3], CORRECT[:3], "3 rows"),
        (LOGIT, CLASS, np.ones(60), "all 60 labels are right"),
        (LOGIT, CLASS, np.zeros(60), "all 60 labels are wrong"),
        (np.where(LOGIT > 1, np.nan, LOGIT), CLASS, CORRECT, "NaN"),
        (np.ones(60), CLASS, CORRECT, "the same"),
        (LOGIT, CLASS + 1, CORRECT, "index from 0 to 4"),
        (LOGIT, CLASS - 1, CORRECT, "index from 0 to 4"),
        (LOGIT, CLASS.astype(np.float64), CORRECT, "index from 0 to 4"),
        (LOGIT, CLASS[:50], CORRECT, "one class for each"),
    ],
)
def test_bad_rows_are_refused(logit: Floats, classes: Ints, correct: Floats, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_classes(logit, classes, correct, 5)


def test_ties_are_no_trouble() -> None:
    correct = np.arange(60) % 3 == 0
    fit = fit_classes(np.repeat([0.0, 1.0], 30), np.arange(60) % 4, correct, 4)
    assert np.isfinite([fit.slope, fit.bias]).all()
    assert fit_temperature_bias(np.repeat([0.0, 1.0], 30), correct) == fit.pooled
