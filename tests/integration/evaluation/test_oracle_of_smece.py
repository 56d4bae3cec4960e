"""Our smooth calibration error against that of its inventors. Their package draws plots, and is slow to import."""

from __future__ import annotations

import numpy as np
import pytest
import relplot

from calibration.measure import smooth_ece
from calibration.slices import slices

TOLERANCE = 1.5e-3  # they look for the bandwidth in ten steps, from 1 down


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("n", [50, 500, 5000])
def test_smooth_ece_against_relplot(n: int, power: float) -> None:
    rng = np.random.default_rng(n)
    p = rng.beta(4, 0.93, n)
    y = (rng.random(n) < p**power).astype(np.float64)
    assert smooth_ece(p, y) == pytest.approx(relplot.smECE(p, y), abs=TOLERANCE)
    (whole,) = slices(p, y, np.arange(n), {"all": np.full(n, "all")}, resamples=2)
    assert whole.smece.value == smooth_ece(p, y)


def test_at_the_ends_of_the_scale() -> None:
    p = np.repeat([0.0, 1.0], 100)
    y = np.where(np.arange(200) % 25 == 0, 1 - p, p)  # a large error is no test: relplot cuts wide Gaussians off at half the scale
    assert smooth_ece(p, y) == pytest.approx(relplot.smECE(p, y), abs=TOLERANCE)
    assert smooth_ece(p, y) == pytest.approx(0.04, abs=TOLERANCE)
