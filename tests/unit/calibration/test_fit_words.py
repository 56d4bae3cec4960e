from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from calibration.correctness import Outcomes
from calibration.features import SEGMENT_FEATURES, WORD_FEATURES
from calibration.fit import fit_temperature_bias
from calibration.fit_words import LEAST_OF_A_KIND, STRENGTHS, enough, fit_logistic, fit_segments, judge_segments
from calibration.methods import METHODS, Estimator, logistic, problem
from calibration.words import JudgedWords, judge_words, normaliser_for
from candor.errors import InvalidRequest
from candor.predictions import Floats, Segment, Transcript, Word

TRUE_WEIGHTS, TRUE_BIAS = np.array([0.9, -0.6, 0.3]), 1.2


def made(n: int, seed: int = 0, noise: int = 0, per_cluster: int = 20) -> tuple[Floats, Floats, Any]:
    """Rows whose labels follow a known logistic law, with `noise` further features that tell nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal([2.0, -1.0, 5.0], [2.0, 1.0, 0.5], (n, 3))
    correct = (rng.uniform(size=n) < expit(x @ TRUE_WEIGHTS + TRUE_BIAS - 3)).astype(float)
    clusters = np.array([f"speaker {i // per_cluster}" for i in range(n)])
    return np.column_stack([x, rng.normal(size=(n, noise))]), correct, clusters


def test_known_weights_are_recovered() -> None:
    fit = fit_logistic(*made(5000, per_cluster=50))
    assert np.array(fit.weights) == pytest.approx(TRUE_WEIGHTS * fit.scale, abs=0.3)  # three standard errors
    assert fit.bias == pytest.approx(TRUE_BIAS - 3 + TRUE_WEIGHTS @ fit.centre, abs=0.3)
    assert (fit.n, fit.clusters, fit.folds) == (5000, 100, 5)


def test_the_fit_is_the_least_of_its_own_objective() -> None:
    x, y, clusters = made(400)
    fit = fit_logistic(x, y, clusters)
    arrays = {name: np.asarray(value) for name, value in fit.parameters(["a", "b", "c"]).items() if name != "features"}
    wrong = logistic(arrays, x) - y
    assert wrong.sum() == pytest.approx(0, abs=1e-5)  # the bias has no penalty
    standard = (x - x.mean(0)) / x.std(0)
    strengths = [STRENGTHS[0], fit.strength, fit.strength]
    assert wrong @ standard == pytest.approx(-np.multiply(strengths, fit.weights), abs=1e-5)


def test_where_the_others_tell_nothing_temperature_and_bias_are_left() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal([1, *[0] * 8], 2, (300, 9))
    y = (rng.uniform(size=300) < expit(0.7 * x[:, 0] - 0.5)).astype(float)
    fit, line = fit_logistic(x, y, np.arange(300) // 10), fit_temperature_bias(x[:, 0], y)
    assert fit.weights[0] / fit.scale[0] == pytest.approx(1 / line.temperature, rel=0.02)
    assert np.abs(fit.weights[1:]).max() < 0.02
    assert fit.nll_after == pytest.approx(line.nll_after, abs=2e-3)


def test_features_that_tell_nothing_are_shrunk_harder() -> None:
    telling, y, clusters = made(600)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(600, 20))
    assert fit_logistic(noise, rng.integers(2, size=600), clusters).strength >= 100 * fit_logistic(telling, y, clusters).strength


def test_cross_validation_keeps_a_recording_together() -> None:
    """A feature that names the recording tells all about its rows and nothing about other recordings."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(40), 25)
    recording = rng.normal(size=(40, 30))
    y = (rng.uniform(size=40) < 0.5)[of].astype(float)
    grouped = fit_logistic(recording[of], y, of.astype(str))
    scattered = fit_logistic(recording[of], y, np.arange(1000).astype(str))
    assert grouped.strength > 10 * scattered.strength
    assert grouped.nll_cross_validated > 0.6
    assert scattered.nll_cross_validated < 0.3


def test_the_order_of_the_rows_does_not_matter() -> None:
    x, y, clusters = made(500, noise=3)
    order = np.random.default_rng(3).permutation(500)
    one, other = fit_logistic(x, y, clusters), fit_logistic(x[order], y[order], clusters[order])
    assert one.strength == other.strength
    assert one.weights == pytest.approx(other.weights, abs=1e-7)
    assert one.nll_cross_validated == pytest.approx(other.nll_cross_validated, abs=1e-9)


def test_a_row_of_weight_two_is_two_rows_and_one_of_none_is_none() -> None:
    x, y, clusters = made(300)
    other, _, _ = made(300, seed=1)
    every, both = np.repeat([True, False], 300), np.append(clusters, clusters)
    weighted = fit_logistic(np.vstack([x, other + 1]), np.append(y, 1 - y), both, weights=every * 5)
    twice = fit_logistic(np.vstack([x, x]), np.append(y, y), both)
    assert weighted.strength == twice.strength
    for name in ("centre", "scale", "weights", "bias", "nll_before", "nll_after", "nll_cross_validated"):
        assert getattr(weighted, name) == pytest.approx(getattr(twice, name), abs=1e-6), name


def test_perfect_separation_stays_finite() -> None:
    x, _, clusters = made(200)
    fit = fit_logistic(x, x[:, 0] > 2, clusters)
    assert np.isfinite([*fit.weights, fit.bias, fit.nll_after]).all()
    assert np.abs(fit.weights).max() < 30


def test_a_constant_feature_gets_no_weight() -> None:
    x, y, clusters = made(300)
    noise = 0.1 + 1e-12 * y  # what is left of rounding tells nothing, even where it seems to
    fit = fit_logistic(np.column_stack([x, np.full(300, 0.1), np.zeros(300), noise]), y, clusters)
    assert fit.centre[3:] == pytest.approx((0.1, 0.0, 0.1))
    assert fit.scale[3:] == (1.0, 1.0, 1.0)
    assert fit.weights[3:] == (0.0, 0.0, 0.0)
    assert fit.weights[:3] == pytest.approx(fit_logistic(x, y, clusters).weights)


def test_the_nll_before_is_that_of_the_raw_scores() -> None:
    x, y, clusters = made(300)
    p = expit(x[:, 0])
    fit = fit_logistic(x, y, clusters)
    assert fit.nll_before == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    assert fit.nll_after < fit.nll_cross_validated < fit.nll_before
    assert fit.as_json() == {
        "n": 300,
        "wrong": int((y == 0).sum()),
        "clusters": 15,
        "folds": 5,
        "strength": fit.strength,
        "nll_before": fit.nll_before,
        "nll_after": fit.nll_after,
        "nll_cross_validated": fit.nll_cross_validated,
    }


def test_its_parameters_are_those_of_the_method() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, len(WORD_FEATURES)))
    fit = fit_logistic(x, x[:, 0] + rng.normal(size=100) > 0, np.arange(100) % 10)
    parameters = fit.parameters(WORD_FEATURES)
    assert problem("word_logistic", parameters, METHODS["transcription"]) == ""
    words = (Word("one", 0.0, 0.3, 0.9, 2.2, 0.9), Word("two", 0.3, 0.6, 0.5, 0.0, 0.5))
    confidences = Estimator("word_logistic", parameters)(Transcript(1, "en", (Segment("one two", 0, 1, words, -0.2, 0.1, 1.0),)))
    assert confidences.shape == (2,)
    assert ((confidences > 0) & (confidences < 1)).all()
    with pytest.raises(ValueError, match="1 names for 12 features"):
        fit.parameters(["one"])


def test_the_segment_fit_starts_from_the_product_of_its_words() -> None:
    rng = np.random.default_rng(0)
    product = rng.uniform(0.2, 0.99, 400)
    x = rng.normal(size=(400, len(SEGMENT_FEATURES)))
    x[:, SEGMENT_FEATURES.index("product_logit")] = logit(product)
    y = (rng.uniform(size=400) < expit(logit(product) - 1)).astype(float)
    fit = fit_segments(x, y, np.arange(400) // 10)
    assert fit.nll_before == pytest.approx(-(y * np.log(product) + (1 - y) * np.log(1 - product)).mean())
    assert fit.nll_cross_validated < fit.nll_before
    with pytest.raises(InvalidRequest, match="segment features"):
        fit_segments(x[:, 1:], y, np.arange(400))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y, c: (x[:3], y[:3], c[:3]), "3 rows"),
        (lambda x, y, c: (x, np.ones(60), c), "all 60 labels are right"),
        (lambda x, y, c: (x, np.zeros(60), c), "all 60 labels are wrong"),
        (lambda x, y, c: (x, y + 0.5, c), "neither right"),
        (lambda x, y, c: (np.where(x > 2, np.nan, x), y, c), "NaN"),
        (lambda x, y, c: (x, y, np.full(60, "one")), "one cluster"),
        (lambda x, y, c: (x, y[:50], c), "must be"),
        (lambda x, y, c: (x[:, 0], y, c), "must be"),
        (lambda x, y, c: (x, y, c, np.full(60, -1.0)), "weights"),
        (lambda x, y, c: (x, y, c, np.zeros(60)), "weights"),
        (lambda x, y, c: (x, y, c, y), "all 4. labels are right"),
        (lambda x, y, c: (x, c == "speaker 0", c.copy()), None),
        (lambda x, y, c: (x, np.arange(60) > 5, np.where(np.arange(60) > 9, "b", "a")), None),
    ],
)
def test_rows_that_hold_no_fit_are_refused_in_words(change: Any, said: str | None) -> None:
    rows = change(*made(60))
    if said is None:  # one kind in one cluster only: a fold cannot be fitted, the others can
        assert np.isfinite(fit_logistic(*rows).weights).all()
        return
    with pytest.raises(InvalidRequest, match=said):
        fit_logistic(*rows)


def test_few_wrong_words_leave_the_fallback() -> None:
    many = np.repeat([0, 1], [LEAST_OF_A_KIND, 4000])
    assert enough(many) == ""
    assert enough(many[1:]).startswith("199 wrong words: the model over all features takes at least 200")
    assert "temperature and bias alone" in enough(many[1:])
    assert enough(1 - many[1:], "segments").startswith("199 right segments")
    assert enough([]).startswith("0 wrong")


def judged(text: str, reference: str) -> JudgedWords:
    return judge_words(text.split(), text, reference, normaliser_for("en"))


@pytest.mark.parametrize(
    ("segments", "reference", "expected"),
    [
        (["the cat", "sat down"], "The cat sat down.", "rr"),
        (["the bat", "sat down"], "the cat sat down", "wr"),  # substitution
        (["the cat", "sat right down"], "the cat sat down", "rw"),  # insertion
        (["the cat", "down"], "the cat sat down", "wr"),  # deletion between segments: of the one before
        (["cat", "sat down"], "the cat sat down", "wr"),  # at the beginning: of the first
        (["the cat", "sat"], "the cat sat down", "rw"),  # at the end: of the last
        (["the black", "dog and cat"], "the black dog and the cat", "rw"),  # within
        (["thank you", "bye"], "", "ww"),  # nothing was said
        (["uh", "the cat"], "the cat", "-r"),
        (["the cat", "", "sat"], "the cat sat", "r-r"),
        ([], "the cat", ""),
        (["twenty one", "dollars"], "$21", "rr"),
    ],
)
def test_a_segment_is_right_where_all_its_words_are_and_none_is_missing(segments: list[str], reference: str, expected: str) -> None:
    found = judge_segments(judged(" ".join(filter(None, segments)), reference), [len(segment.split()) for segment in segments])
    marks = ["-" if not counted else "r" if right else "w" for right, counted in zip(found.correct, found.counted, strict=True)]
    assert "".join(marks) == expected


def test_every_error_of_a_recording_is_in_some_segment() -> None:
    whole = judged("the bat sat on mat", "a cat sat on the mat today")
    found = judge_segments(whole, [2, 2, 1])
    assert list(found.correct) == [False, False, False]
    assert list(judge_segments(judged("a cat sat", "a cat sat"), [1, 1, 1]).correct) == [True] * 3


def test_counts_that_are_not_those_of_the_words_are_refused() -> None:
    nothing = Outcomes(np.zeros(2, np.bool_), np.zeros(2, np.bool_))
    with pytest.raises(ValueError, match="segments of 3 words for 2 judged ones"):
        judge_segments(JudgedWords(nothing, 0, 0, ()), [1, 2])
