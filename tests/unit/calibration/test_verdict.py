from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.intervals import Figure, Figures, figures
from calibration.verdict import verdict

RNG = np.random.default_rng(3)
P = RNG.beta(4, 0.93, 1000)
HONEST = figures(P, RNG.random(1000) < P, np.arange(1000), resamples=300)
BETTER = {"nll": Figure(-0.1, -0.2, -0.05), "brier": Figure(-0.02, -0.03, -0.01)}
DISHONEST = replace(HONEST, smece=Figure(0.2, 0.1, 0.3, 0.02, 0.03))


def bounded(high: float | None, n: int = 1000, clusters: int = 100) -> Figures:
    return replace(HONEST, n=n, clusters=clusters, smece=Figure(0.02, 0.01, high, 0.02, 0.03))


def test_an_honest_predictor_passes_on_enough_rows() -> None:
    status, reason = verdict(500, HONEST, HONEST, BETTER, BETTER)
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
        (bounded(0.01, clusters=20), "calibrated", "20 sources"),
        (bounded(None, clusters=1), "unverified", "1 independent"),
    ],
)
def test_the_bound_of_smece_decides(figures_after: Figures, status: str, said: str) -> None:
    found = verdict(500, HONEST, figures_after, BETTER, BETTER)
    assert found[0] == status
    assert said.replace(" %", "%") in found[1]


def test_a_fit_on_few_rows_makes_no_claim() -> None:
    status, reason = verdict(499, HONEST, HONEST, BETTER, BETTER)
    assert (status, "499" in reason) == ("unverified", True)


@pytest.mark.parametrize("name", ["nll", "brier"])
def test_a_calibration_that_makes_proper_scores_worse_is_not_believed(name: str) -> None:
    worse = {**BETTER, name: Figure(0.0, -0.01, 0.005)}
    status, reason = verdict(500, DISHONEST, HONEST, worse, BETTER)
    assert (status, name in reason) == ("unverified", True)
    unknown = {**BETTER, name: Figure(0.0)}
    assert verdict(500, DISHONEST, HONEST, unknown, BETTER)[0] == "unverified"


def test_where_the_raw_score_was_as_good_as_can_be_seen_a_thousandth_is_allowed() -> None:
    slight = {**BETTER, "nll": Figure(0.0, -0.001, 0.0009)}
    assert verdict(500, bounded(0.03), HONEST, slight, BETTER)[0] == "calibrated"
    assert verdict(500, DISHONEST, HONEST, slight, BETTER)[0] == "unverified"


@pytest.mark.parametrize("high", [0.0, 0.001, None])
def test_a_confidence_that_says_no_more_than_a_constant_is_not_believed(high: float | None) -> None:
    status, reason = verdict(500, DISHONEST, HONEST, BETTER, {**BETTER, "brier": Figure(-0.001, -0.01, high)})
    assert (status, "one number for all" in reason) == ("unverified", True)


def test_a_confidence_that_ranks_less_well_is_not_believed() -> None:
    assert HONEST.auroc.value is not None
    ranked = {lost: replace(HONEST, auroc=Figure(HONEST.auroc.value - lost)) for lost in (0.004, 0.006)}
    assert verdict(500, HONEST, ranked[0.004], BETTER, BETTER)[0] == "calibrated"
    status, reason = verdict(500, HONEST, ranked[0.006], BETTER, BETTER)
    assert (status, "AUROC" in reason) == ("unverified", True)
