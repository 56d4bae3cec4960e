from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.intervals import Figure, figures
from calibration.slices import slices, terciles, worst
from candor.errors import InvalidRequest

RNG = np.random.default_rng(5)
P = RNG.beta(4, 0.93, 1500)
CLUSTERS = np.arange(1500) // 3
KIND = np.repeat(["cat", "dog", "owl"], [600, 600, 300])
# honest on the whole: what is too high of cats is too low of dogs
Y = (RNG.random(1500) < np.clip(P + 0.12 * (KIND == "dog") - 0.12 * (KIND == "cat"), 0, 1)).astype(np.float64)


def test_each_value_of_each_attribute_is_a_slice() -> None:
    source = np.array(["a", "b"])[np.arange(1500) % 2]
    found = slices(P, Y, CLUSTERS, {"class": KIND, "source": source}, resamples=20)
    assert [(one.by, one.name, one.n, one.clusters) for one in found] == [
        ("class", "cat", 600, 200),
        ("class", "dog", 600, 200),
        ("class", "owl", 300, 100),
        ("source", "a", 750, 500),
        ("source", "b", 750, 500),
    ]
    cats = KIND == "cat"
    assert (found[0].accuracy, found[0].mean_confidence) == pytest.approx((Y[cats].mean(), P[cats].mean()))


def test_the_error_of_a_slice_is_that_of_its_rows() -> None:
    (one,) = slices(P, Y, CLUSTERS, {"all": np.full(1500, "all")}, resamples=60, seed=3)
    expected = figures(P, Y, CLUSTERS, resamples=60, seed=3).smece
    for name in ("value", "low", "high", "floor_mean", "floor_95"):
        assert getattr(one.smece, name) == pytest.approx(getattr(expected, name), abs=3e-4)


def test_a_dishonest_slice_of_an_honest_whole_is_named() -> None:
    whole = figures(P, Y, CLUSTERS, resamples=20).smece
    found = slices(P, Y, CLUSTERS, {"class": KIND}, resamples=20)
    lowest = worst(found)
    assert lowest is not None
    assert lowest.name in ("cat", "dog")
    assert whole.value is not None
    assert lowest.smece.value is not None
    assert lowest.smece.value > 0.08 > 2 * whole.value


def test_the_worst_of_too_few_rows_is_nobody() -> None:
    found = slices(P, Y, CLUSTERS, {"class": KIND}, resamples=20)
    assert worst(found, least=601) is None
    assert worst([]) is None
    owl = replace(found[2], smece=Figure(0.9))
    assert worst([*found[:2], owl]) in found[:2]
    assert worst([*found[:2], owl], least=300) == owl


def test_a_small_slice_is_counted_and_not_shown() -> None:
    (many, few) = slices(P, Y, CLUSTERS, {"class": np.repeat(["many", "none"], [1401, 99])}, resamples=20)
    assert (many.shown, few.shown, few.n) == (True, False, 99)
    assert (few.smece.low, few.smece.high, few.smece.floor_95) == (None, None, None)
    assert few.smece.value is not None
    assert few.as_json() == {
        "by": "class",
        "name": "none",
        "n": 99,
        "clusters": 33,
        "accuracy": round(few.accuracy, 6),
        "mean_confidence": round(few.mean_confidence, 6),
        "smece": {"value": round(few.smece.value, 6), "low": None, "high": None, "floor_mean": None, "floor_95": None},
        "shown": False,
    }


def test_one_cluster_has_a_floor_and_no_interval() -> None:
    (one,) = slices(P[:200], Y[:200], np.zeros(200), {"all": np.full(200, "x")}, resamples=20)
    assert one.smece.low is None
    assert one.smece.floor_95 is not None


def test_three_rows_all_right() -> None:
    (one,) = slices([0.5, 0.5, 1.0], [1, 1, 1], ["a", "b", "c"], {"all": np.full(3, "x")})
    assert (one.n, one.clusters, one.accuracy) == (3, 3, 1.0)
    assert one.mean_confidence == pytest.approx(2 / 3)
    assert one.smece == Figure(one.smece.value)
    assert one.smece.value == pytest.approx(1 / 3, abs=0.02)


def test_terciles() -> None:
    assert terciles([1, 9, 2, 8, 3, 7]).tolist() == ["small", "large", "small", "large", "medium", "medium"]
    names = terciles([1.0, np.nan, 2.0, np.inf, 3.0], ("low", "middling", "high"))
    assert names.tolist() == ["low", "unknown", "middling", "unknown", "high"]
    assert set(terciles(np.full(9, 4.0)).tolist()) == {"small"}
    assert terciles([np.nan]).tolist() == ["unknown"]
    assert terciles([]).tolist() == []
    assert np.unique(terciles(np.arange(300)), return_counts=True)[1].tolist() == [100, 100, 100]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="class has 2 values for 3 rows"):
        slices([0.5] * 3, [1] * 3, [0] * 3, {"class": np.array(["a", "b"])})
    with pytest.raises(InvalidRequest):
        slices([], [], [], {})
