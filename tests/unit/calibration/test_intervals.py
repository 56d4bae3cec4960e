from __future__ import annotations

import numpy as np
import pytest

from calibration.intervals import figures, mean_interval, ratio_interval
from calibration.measure import auroc, ece, nll, smooth_ece, squared_losses
from candor.predictions import Floats, Ints

RNG = np.random.default_rng(7)
P = RNG.beta(4, 0.93, 400)
Y = (RNG.random(400) < P).astype(np.float64)


def by_hand(p: Floats, y: Floats, clusters: Ints, resamples: int) -> list[tuple[float, float]]:
    """Draw clusters and rows one by one and compute each figure from the rows drawn."""
    rng = np.random.default_rng(1)
    names = np.unique(clusters)
    values = []
    for _ in range(resamples):
        drawn = rng.choice(names, len(names))
        at = np.concatenate([np.flatnonzero(clusters == name) for name in drawn])
        values.append([nll(p[at], y[at]), ece(p[at], y[at]), smooth_ece(p[at], y[at]), auroc(p[at], y[at]) or 0.5])
    low, high = np.percentile(values, [2.5, 97.5], axis=0).tolist()
    return list(zip(low, high, strict=True))


def test_intervals_equal_a_bootstrap_made_row_by_row() -> None:
    clusters: Ints = np.arange(400, dtype=np.int64) // 4
    found = figures(P, Y, clusters, resamples=1000)
    assert found.clusters == 100
    expected = by_hand(P, Y, clusters, 200)
    for figure, (low, high) in zip((found.nll, found.ece, found.smece, found.auroc), expected, strict=True):
        assert figure.low is not None
        assert figure.high is not None
        assert figure.value is not None
        width = high - low
        assert figure.low == pytest.approx(min(low, figure.value), abs=0.2 * width)
        assert figure.high == pytest.approx(high, abs=0.2 * width)


def test_rows_of_a_cluster_stand_or_fall_together() -> None:
    p, y = np.repeat(P[:100], 4), np.repeat(Y[:100], 4)
    single, clustered = (mean_interval(squared_losses(p, y), clusters) for clusters in (np.arange(400), np.arange(400) // 4))
    assert single.value == clustered.value
    assert clustered.high is not None
    assert single.high is not None
    assert clustered.value is not None
    assert (clustered.high - clustered.value) / (single.high - clustered.value) == pytest.approx(2, rel=0.25)


def test_the_floor_is_what_a_perfect_predictor_shows() -> None:
    # CALIBRATION.md, section 1.4: n = 1000 at accuracy .81: ECE 2.93 / 4.13, equal mass 2.81 / 3.84, smECE 2.56 / 3.19, in percent.
    p = np.random.default_rng(0).beta(4, 0.93, 1000)
    found = figures(p, np.ones(1000), np.arange(1000))
    for figure, mean, most in ((found.ece, 0.0293, 0.0413), (found.ece_equal_mass, 0.0281, 0.0384), (found.smece, 0.0256, 0.0319)):
        assert figure.floor_mean == pytest.approx(mean, rel=0.2)
        assert figure.floor_95 == pytest.approx(most, rel=0.2)
    assert found.brier.floor_mean == pytest.approx(float((p * (1 - p)).mean()), rel=0.05)


def test_the_same_seed_gives_the_same_answer() -> None:
    once = figures(P, Y, np.arange(400), resamples=50)
    assert once == figures(P, Y, np.arange(400), resamples=50)
    assert once != figures(P, Y, np.arange(400), resamples=50, seed=1)


def test_one_cluster_has_no_interval() -> None:
    found = figures(P, Y, np.zeros(400), resamples=50)
    assert (found.smece.low, found.smece.high) == (None, None)
    assert found.smece.floor_95 is not None


def test_right_rows_only_have_no_auroc() -> None:
    found = figures(P, np.ones(400), np.arange(400), resamples=50).as_json()
    assert found["auroc"] == {"value": None, "low": None, "high": None, "floor_mean": None, "floor_95": None}
    assert found["accuracy"] == 1.0


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = figures(P, Y, np.arange(400), resamples=100).as_json()
    monkeypatch.setattr("calibration.intervals._CHUNK", 50_000)
    assert figures(P, Y, np.arange(400), resamples=100).as_json() == whole


def test_ratios_and_means_over_clusters() -> None:
    assert ratio_interval(np.array([1.0, 3.0]), np.array([10.0, 10.0])).value == pytest.approx(0.2)
    assert ratio_interval(np.array([5.0]), np.array([0.0])).value is None
    assert ratio_interval(np.array([5.0]), np.array([10.0])).low is None
    found = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]), ["a", "a", "b", "c"])
    assert found.value == pytest.approx(2.5)
    assert found.low == pytest.approx(1.5)
    assert found.high == pytest.approx(4.0)
