from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from calibration.bands import consistency_p, reliability
from candor.errors import InvalidRequest


def test_bins_by_hand() -> None:
    found = reliability([0.05, 0.95, 1.0, 0.97], [0, 1, 0, 1], bins=10, resamples=20)
    assert found["n"] == 4
    assert [(row["low"], row["high"], row["n"]) for row in found["bins"]] == [(0.0, 0.1, 1), (0.9, 1.0, 3)]
    assert found["bins"][1]["confidence"] == pytest.approx(2.92 / 3, abs=1e-6)
    assert found["bins"][1]["correct"] == pytest.approx(2 / 3, abs=1e-6)


def test_the_band_is_the_middle_of_what_honest_confidences_give() -> None:
    p = np.repeat([0.3, 0.9], [40, 200])
    found = reliability(p, np.ones(240), resamples=4000)["bins"]
    for row, chance in zip(found, (0.3, 0.9), strict=True):
        low, high = binom.ppf([0.025, 0.975], row["n"], chance) / row["n"]
        assert row["band_low"] == pytest.approx(low, abs=1.01 / row["n"])
        assert row["band_high"] == pytest.approx(high, abs=1.01 / row["n"])


def test_certain_rows_have_no_band() -> None:
    (row,) = reliability([1.0, 1.0, 1.0], [1, 1, 0], resamples=20)["bins"]
    assert (row["band_low"], row["band_high"]) == (1.0, 1.0)
    assert row["correct"] == pytest.approx(2 / 3, abs=1e-6)


def test_an_honest_confidence_is_rejected_as_often_as_was_said() -> None:
    rng = np.random.default_rng(0)
    values = []
    for seed in range(300):
        p = rng.beta(4, 0.93, 100)
        values.append(consistency_p(p, rng.random(100) < p, resamples=99, seed=seed))
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_an_overconfident_one_is_rejected() -> None:
    p = np.random.default_rng(1).beta(4, 0.93, 1000)
    assert consistency_p(p, np.random.default_rng(2).random(1000) < p - 0.1, resamples=99) == pytest.approx(0.01)
    assert consistency_p([1.0], [1], resamples=9) == 1.0


def test_the_same_error_above_and_below_is_the_same() -> None:
    p = np.full(55, 0.1)  # 5.5 right ones are expected, in floats a little less
    for right in (5, 6):
        assert consistency_p(p, np.arange(55) < right, resamples=50) == 1.0


def test_chunks_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.random.default_rng(1).beta(4, 0.93, 50)
    whole = reliability(p, p > 0.5, resamples=30)
    monkeypatch.setattr("calibration.bands._CHUNK", 200)
    assert reliability(p, p > 0.5, resamples=30) == whole
    assert reliability(p, p > 0.5, resamples=30, seed=1) != whole


def test_bad_rows_are_refused() -> None:
    for measure in (reliability, consistency_p):
        with pytest.raises(InvalidRequest):
            measure([], [])
        with pytest.raises(InvalidRequest):
            measure([np.nan], [1])
