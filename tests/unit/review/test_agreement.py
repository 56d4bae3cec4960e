from __future__ import annotations

import numpy as np
import pytest

from candor.errors import InvalidRequest
from review.agreement import (
    Agreement,
    Level,
    Weights,
    ac1,
    alpha,
    alpha_of_distance,
    interval_of_alpha,
    kappa,
    mean_pairwise_kappa,
    table_of,
)

NAN = float("nan")
ORDERED = [[20, 5, 1], [3, 30, 7], [0, 4, 30]]
# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), example C: 4 people, 12 units, 5 values, some missing
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


# Computed by statsmodels 0.15.0, cohens_kappa
@pytest.mark.parametrize(
    ("counts", "weights", "value", "low", "high"),
    [
        ([[45, 5], [5, 45]], None, 0.8, 0.6824021609, 0.9175978391),
        (ORDERED, None, 0.6946564885, 0.5743161633, 0.8149968138),
        (ORDERED, "linear", 0.7475961538, 0.6430763984, 0.8521159093),
        (ORDERED, "quadratic", 0.8060708263, 0.7117587604, 0.9003828922),
    ],
)
def test_kappa_and_its_interval(counts: list[list[int]], weights: Weights | None, value: float, low: float, high: float) -> None:
    found = kappa(counts, weights)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=1e-9)


# Computed by irrCAC 0.4.4, which gives the standard error
@pytest.mark.parametrize(("counts", "value", "error"), [(ORDERED, 0.70274588, 0.05968658), ([[118, 5], [2, 0]], 0.94077634, 0.02305696)])
def test_ac1_and_its_interval(counts: list[list[int]], value: float, error: float) -> None:
    found = ac1(counts)
    assert found.value == pytest.approx(value, abs=1e-8)
    assert found.low is not None
    assert value - found.low == pytest.approx(1.959964 * error, abs=1e-6)


def test_rare_labels_make_kappa_collapse_and_not_ac1() -> None:
    # Feinstein and Cicchetti's first paradox (1990): 118 of 125 alike
    counts = [[118, 5], [2, 0]]
    assert (kappa(counts).value or 0) < 0
    assert (ac1(counts).value or 0) > 0.9


# Krippendorff prints .743, .815 and .849 for the example
@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: Level, value: float) -> None:
    assert alpha(EXAMPLE, level) == pytest.approx(value, abs=5e-4)


def test_alpha_of_any_distance_is_alpha_where_the_distance_is() -> None:
    items = [[one for one in column if not np.isnan(one)] for column in np.transpose(EXAMPLE)]
    assert alpha_of_distance(items, lambda a, b: float(a != b)) == pytest.approx(alpha(EXAMPLE))
    assert alpha_of_distance(items, lambda a, b: (a - b) ** 2) == pytest.approx(alpha(EXAMPLE, "interval"))


def test_the_interval_of_alpha_holds_it() -> None:
    low, high = interval_of_alpha(EXAMPLE, resamples=200) or (1, 0)
    assert -1 < low < 0.743 < high <= 1
    assert interval_of_alpha([[1, 1, 1], [1, 1, 1]], resamples=20) is None


def test_what_is_undefined_says_so() -> None:
    same = kappa(table_of(["a"] * 5, ["a"] * 5))
    assert same == Agreement(5, 1.0, 1.0, None)
    assert ac1([[5.0]]).value is None
    assert alpha([[1, 1], [1, 1]]) is None
    assert alpha([[1, NAN], [NAN, 2]]) is None
    assert alpha_of_distance([["a"]], lambda a, b: 1.0) is None
    assert mean_pairwise_kappa([[1, NAN], [NAN, 2]]) is None


def test_nonsense_is_refused() -> None:
    wrongs: list[list[list[float]]] = [[[1, 2]], [[0, 0], [0, 0]], [[1, -1], [1, 1]], [[NAN, 1], [1, 1]]]
    for wrong in wrongs:
        with pytest.raises(InvalidRequest):
            kappa(wrong)
    with pytest.raises(InvalidRequest):
        table_of(["a"], ["a", "b"])
    with pytest.raises(InvalidRequest, match="order"):
        table_of(["a"], ["b"], order=["a"])
    with pytest.raises(InvalidRequest):
        alpha([1, 2, 3])
