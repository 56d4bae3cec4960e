from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.intervals import Figure, Figures, figures
from calibration.verdict import verdict

RNG = np.random.default_rng(3)
P = RNG.beta(4, 0.93, 1000)
HONEST = figures(P, RNG.random(1000) < P, np.arange(1000))
BETTER = {"nll": Figure(-0.1, -0.2, -0.05), "brier": Figure(-0.02, -0.03, -0.01)}


def bounded(high: float | None, n: int = 1000, clusters: int = 100) -> Figures:
    return replace(HONEST, n=n, clusters=clusters, smece=Figure(0.02, 0.01, high, 0.02, 0.03))


def test_an_honest_predictor_passes_on_enough_rows() -> None:
    status, reason = verdict(HONEST, HONEST, BETTER)
    assert status == "calibrated"
    assert "1,000 held-out rows" in reason


@pytest.mark.parametrize(
    ("figures_after", "status", "said"),
    [
        (bounded(0.01, n=999), "unverified", "999 held-out rows"),
        (bounded(0.05), "calibrated", "5.0 %"),
        (bounded(0.0501), "unverified", "it may be 5%"),
        (bounded(0.05, n=4999), "calibrated", ""),
        (bounded(0.031, n=5000), "unverified", "it may be 3%"),
        (bounded(0.03, n=5000), "calibrated", ""),
        (bounded(0.01, clusters=19), "unverified", "19 independent sources"),
        (bounded(None, clusters=1), "unverified", "1 independent"),
    ],
)
def test_the_bound_of_smece_decides(figures_after: Figures, status: str, said: str) -> None:
    found = verdict(HONEST, figures_after, BETTER)
    assert found[0] == status
    assert said.replace(" %", "%") in found[1]


def test_a_calibration_that_makes_proper_scores_worse_is_not_believed() -> None:
    worse = {**BETTER, "brier": Figure(0.0, -0.01, 0.005)}
    status, reason = verdict(replace(HONEST, smece=Figure(0.2, 0.1, 0.3, 0.02, 0.03)), HONEST, worse)
    assert (status, "brier" in reason) == ("unverified", True)
    # Where the raw score was already as good as can be seen, a thousandth is allowed.
    slight = {**BETTER, "nll": Figure(0.0, -0.001, 0.0009)}
    assert verdict(bounded(0.03), HONEST, slight)[0] == "calibrated"
    assert verdict(replace(HONEST, smece=Figure(0.2, 0.1, 0.3, 0.02, 0.03)), HONEST, slight)[0] == "unverified"
