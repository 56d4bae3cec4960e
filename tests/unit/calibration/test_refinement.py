from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.intervals import draw_clusters
from calibration.refinement import aurc, refinement, risk_coverage
from candor.errors import InvalidRequest
from candor.predictions import Floats

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60)
RNG = np.random.default_rng(3)
P = np.round(RNG.beta(4, 0.93, 60), 1)  # rounded, so that there are ties
Y = (RNG.random(60) < P).astype(np.float64)
CLUSTERS = np.arange(60) // 3


def test_risk_at_each_coverage_by_hand() -> None:
    coverage, risk = risk_coverage([0.6, 0.9, 0.7, 0.8], [0, 1, 1, 0])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc([0.6, 0.9, 0.7, 0.8], [0, 1, 1, 0]) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_ties_are_the_mean_over_all_their_orders() -> None:
    p, y = np.array([0.9, 0.5, 0.5, 0.5, 0.1, 0.1]), np.array([1.0, 0, 1, 1, 0, 1])
    risks = [np.cumsum(1 - y[list(order)]) / np.arange(1, 7) for order in permutations(range(6)) if (np.diff(p[list(order)]) <= 0).all()]
    assert risk_coverage(p, y)[1] == pytest.approx(np.mean(risks, axis=0))


def test_figures_of_resamples_are_those_of_their_rows_written_out() -> None:
    drawn = draw_clusters(20, 40, 5).astype(np.int64)
    found = refinement(P, Y, CLUSTERS, resamples=40, seed=5)
    assert found["aurc"].value == pytest.approx(aurc(P, Y))
    assert found["sharpness"].value == pytest.approx(np.var(P))
    written = [np.repeat(np.arange(60), times[CLUSTERS]) for times in drawn]
    for name, values in (("aurc", [aurc(P[at], Y[at]) for at in written]), ("sharpness", [np.var(P[at]) for at in written])):
        assert (found[name].low, found[name].high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = refinement(P, Y, CLUSTERS, resamples=40)
    monkeypatch.setattr("calibration.refinement._CHUNK", 100)
    assert refinement(P, Y, CLUSTERS, resamples=40) == whole
    assert refinement(P, Y, CLUSTERS, resamples=40, seed=1) != whole


def test_a_constant_is_honest_and_tells_nothing() -> None:
    found = refinement(np.full(10, 0.8), [1] * 8 + [0] * 2, np.arange(10), resamples=20)
    assert found["aurc"].value == pytest.approx(0.2)
    assert found["sharpness"].value == pytest.approx(0, abs=1e-12)


def test_better_ranking_has_less_area() -> None:
    y = np.array([1.0] * 30 + [0.0] * 10)
    best, worst = np.linspace(1, 0, 40), np.linspace(0, 1, 40)
    assert aurc(best, y) < aurc(np.full(40, 0.5), y) < aurc(worst, y)


@pytest.mark.parametrize("y", [[1.0, 1, 1], [0.0, 0, 0]])
def test_one_kind_of_rows_only(y: list[float]) -> None:
    found = refinement([0.5, 0.5, 1.0], y, ["a", "b", "c"], resamples=20)
    assert found["aurc"].value == pytest.approx(1 - y[0])
    assert (found["aurc"].low, found["aurc"].high) == pytest.approx((1 - y[0], 1 - y[0]))


def test_one_cluster_has_no_interval() -> None:
    figure = refinement([0.5, 0.6], [1, 0], ["a", "a"])["aurc"]
    assert figure.value == pytest.approx(0.75)
    assert (figure.low, figure.high) == (None, None)


@given(rows)
def test_areas_agree_with_the_curve_and_lie_between_the_best_and_the_worst_order(made: list[tuple[float, bool]]) -> None:
    p, y = (np.array(column, np.float64) for column in zip(*made, strict=True))
    figure = refinement(p, y, np.zeros(len(p)))["aurc"]
    assert figure.value == pytest.approx(aurc(p, y))
    assert aurc(y, y) - 1e-9 <= aurc(p, y) <= aurc(1 - y, y) + 1e-9
    assert risk_coverage(p, y)[1][-1] == pytest.approx(1 - y.mean())


@pytest.mark.parametrize(("p", "y"), [([], []), ([0.5], [1, 0]), ([np.nan], [1]), ([0.5], [2])])
def test_bad_rows_are_refused(p: Floats, y: Floats) -> None:
    with pytest.raises(InvalidRequest):
        refinement(p, y, np.zeros(len(p)))
