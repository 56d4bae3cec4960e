from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.measure import auroc, brier, ece, nll, smooth_ece, wilson
from candor.errors import InvalidRequest
from candor.predictions import Floats

rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def smooth_ece_by_quadrature(p: Floats, y: Floats) -> float:
    """The definition, with no transform: reflected Gaussians summed on a fine grid, and the fixed point by bisection."""
    at = (np.arange(2_000) + 0.5) / 2_000

    def error(width: float) -> float:
        density = np.zeros_like(at)
        for turn in range(-2, 3):
            for centre in (2 * turn + p, 2 * turn - p):
                density += ((y - p)[:, None] * np.exp(-0.5 * ((at - centre[:, None]) / width) ** 2)).sum(axis=0)
        return float(np.abs(density / (width * np.sqrt(2 * np.pi) * len(p))).mean())

    low, high = 0.0, 1.0
    for _ in range(13):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return (low + high) / 2


def test_confidence_of_exactly_one_shares_the_last_bin() -> None:
    assert ece([0.95, 1.0], [1, 0]) == pytest.approx(0.475)
    assert ece([1.0, 1.0], [0, 0]) == pytest.approx(1.0)


def test_by_hand() -> None:
    p, y = [0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0]
    assert nll(p, y) == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.3, 0.9])))
    assert brier(p, y) == pytest.approx((0.01 + 0.64 + 0.49 + 0.01) / 4)
    assert ece(p, y, bins=2) == pytest.approx((abs(1 - 1.7) + abs(1 - 0.4)) / 4)
    assert ece(p, y, bins=2, equal_mass=True) == pytest.approx(ece(p, y, bins=2))
    assert auroc(p, y) == pytest.approx(3 / 4)
    assert auroc([0.5, 0.5], [1, 0]) == 0.5
    assert auroc([0.5, 0.6], [1, 1]) is None


def test_a_certain_wrong_row_costs_much_and_not_infinity() -> None:
    assert nll([1.0], [0]) == pytest.approx(27.6, abs=0.1)


@pytest.mark.parametrize("seed", range(2))
def test_smooth_ece_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.beta(3, 1, 120)
    y = (rng.random(120) < p ** (1 + seed)).astype(np.float64)
    assert smooth_ece(p, y) == pytest.approx(smooth_ece_by_quadrature(p, y), abs=5e-4)


def test_smooth_ece_at_the_ends_of_the_scale() -> None:
    p, y = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert smooth_ece(p, y) == pytest.approx(smooth_ece_by_quadrature(p, y), abs=5e-4)


def test_a_constant_predictor_has_no_calibration_error_and_loses_on_brier() -> None:
    y = np.array([1] * 8 + [0] * 2)
    assert smooth_ece(np.full(10, 0.8), y) < 2e-5
    assert brier(np.full(10, 0.8), y) > brier(np.where(y, 0.9, 0.4), y)


@given(rows)
def test_order_does_not_matter_and_figures_stay_in_range(made: list[tuple[float, bool]]) -> None:
    p, y = np.array([row[0] for row in made]), np.array([float(row[1]) for row in made])
    turned = np.random.default_rng(0).permutation(len(p))
    for figure in (nll, brier, ece, smooth_ece):
        value = figure(p, y)
        assert value == pytest.approx(figure(p[turned], y[turned]), abs=1e-6)
        assert 0 <= value <= 28
    assert smooth_ece(p, y) <= np.abs(y - p).mean() + 2e-3


@given(rows)
def test_auroc_is_the_share_of_ordered_pairs(made: list[tuple[float, bool]]) -> None:
    p, y = np.array([row[0] for row in made]), np.array([row[1] for row in made])
    pairs = [(a > b) + (a == b) / 2 for a in p[y] for b in p[~y]]
    expected = np.mean(pairs) if pairs else None
    assert auroc(p, y) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("p", "y"), [([], []), ([0.5], [1, 0]), ([np.nan], [1]), ([1.2], [1]), ([0.5], [2]), ([[0.5]], [[1]])])
def test_bad_rows_are_refused(p: list[float], y: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        ece(p, y)


def test_wilson_against_published_values() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    with pytest.raises(InvalidRequest):
        wilson(0, 0)
