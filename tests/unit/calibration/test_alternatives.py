from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from calibration.alternatives import FitRows, HeldOutRows, alternatives, challenger_wins, one_temperature
from calibration.fit import fit_temperature_bias
from calibration.fit_isotonic import fit_isotonic, histogram
from calibration.measure import brier, nll
from candor.errors import InvalidRequest
from candor.predictions import Floats

RESAMPLES = 20
METHODS = ["uncalibrated", "temperature", "chosen", "isotonic", "histogram", "constant"]


def drawn(n: int, seed: int, slope: float = 0.5, bias: float = -0.8) -> FitRows:
    rng = np.random.default_rng(seed)
    logit = 2 * rng.normal(size=n)
    return FitRows(logit, expit(logit), (rng.random(n) < expit(slope * logit + bias)).astype(np.float64))


def held_out(n: int, seed: int, slope: float = 0.5) -> HeldOutRows:
    rows = drawn(n, seed, slope)
    return HeldOutRows(rows.logit, rows.score, rows.correct, np.arange(n) // 2)


FIT, TEST = drawn(800, 1), held_out(800, 2)
LINE = fit_temperature_bias(FIT.logit, FIT.correct)
CHOSEN: Floats = expit(TEST.logit / LINE.temperature + (LINE.bias or 0.0))


def test_all_are_measured_on_the_same_rows() -> None:
    found = alternatives(FIT, TEST, CHOSEN, "temperature_bias", resamples=RESAMPLES)
    assert list(found["methods"]) == METHODS
    assert all(one["n"] == 800 for one in found["methods"].values())
    assert all(set(one) == {"n", "nll", "brier", "smece", "ece", "auroc"} for one in found["methods"].values())
    assert (found["chosen"], found["fitted"], found["clusters"], found["isotonic_may_be_chosen"]) == ("temperature_bias", 800, 400, False)
    assert found["methods"]["uncalibrated"]["nll"]["value"] == pytest.approx(nll(TEST.score, TEST.correct), abs=1e-6)
    fraction = np.full(800, FIT.correct.mean())
    assert found["methods"]["constant"]["brier"]["value"] == pytest.approx(brier(fraction, TEST.correct), abs=1e-6)
    assert found["methods"]["constant"]["auroc"]["value"] == 0.5
    assert found["constant_loses"] is True
    for name, difference in found["differences"].items():
        for loss in ("nll", "brier"):
            apart = found["methods"]["chosen"][loss]["value"] - found["methods"][name][loss]["value"]
            assert difference[loss]["value"] == pytest.approx(apart, abs=3e-6)
            assert difference[loss]["low"] <= difference[loss]["value"] <= difference[loss]["high"]
    # A bias is missing from the raw score and from a temperature: the line beats both.
    assert found["differences"]["uncalibrated"]["nll"]["high"] < 0
    assert found["differences"]["temperature"]["nll"]["high"] < 0


def test_every_alternative_is_fitted_on_the_fit_rows_alone() -> None:
    curve = fit_isotonic(FIT.logit, FIT.correct)
    expected = {
        "temperature": expit(TEST.logit / one_temperature(FIT.logit, FIT.correct)),
        "isotonic": np.interp(TEST.logit, curve["x"], curve["y"]),
        "histogram": histogram(FIT.score, FIT.correct)(TEST.score),
    }
    found = alternatives(FIT, TEST, CHOSEN, "temperature_bias", resamples=2)["methods"]
    for name, p in expected.items():
        assert found[name]["nll"]["value"] == pytest.approx(nll(p, TEST.correct), abs=1e-6)


@pytest.mark.parametrize("chosen", ["constant", "shuffled", "noise"])
def test_a_confidence_that_tells_nothing_does_not_beat_the_constant(chosen: str) -> None:
    rng = np.random.default_rng(5)
    p = {
        "constant": np.full(800, FIT.correct.mean()),
        "shuffled": rng.permutation(CHOSEN),
        "noise": np.clip(FIT.correct.mean() + 0.1 * rng.normal(size=800), 0.01, 0.99),
    }[chosen]
    assert alternatives(FIT, TEST, p, chosen, resamples=RESAMPLES)["constant_loses"] is False


def test_one_cluster_proves_nothing() -> None:
    found = alternatives(FIT, replace(TEST, cluster=np.zeros(800)), CHOSEN, "temperature_bias", resamples=RESAMPLES)
    assert found["constant_loses"] is False
    assert found["differences"]["constant"]["brier"]["high"] is None


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_one_temperature_is_found_and_least(temperature: float) -> None:
    rows = drawn(4000, 3, 1 / temperature, 0.0)
    found = one_temperature(rows.logit, rows.correct)
    assert found == pytest.approx(temperature, rel=0.1)
    least = nll(expit(rows.logit / found), rows.correct)
    assert all(nll(expit(rows.logit / (other * found)), rows.correct) > least for other in (0.97, 1.03))


def test_one_temperature_ends_at_its_bounds() -> None:
    logit = np.linspace(-3, 3, 50)
    assert one_temperature(logit, logit > 0) == pytest.approx(1 / 20)
    assert one_temperature(logit, logit < 0) == 20


def test_a_challenger_wins_only_beyond_its_interval() -> None:
    rng = np.random.default_rng(6)
    champion = rng.gamma(2, 0.2, 600)
    better, won = champion - 0.05 + 0.2 * rng.normal(size=600), np.arange(600)
    wins, figure = challenger_wins(champion, better, won)
    assert wins
    assert figure.value == pytest.approx((better - champion).mean())
    assert figure.high is not None
    assert figure.high < 0
    assert not challenger_wins(better, champion, won)[0]
    assert not challenger_wins(champion, champion, won)[0]
    # The same gain from three sources, one of them against it, is no proof; nor is any gain from one source.
    split = np.repeat([0, 1, 2], 200)
    mixed = champion + np.repeat([-0.1, -0.1, 0.05], 200)
    assert mixed.mean() < champion.mean()
    assert not challenger_wins(champion, mixed, split)[0]
    assert not challenger_wins(champion, better, np.zeros(600))[0]


def test_bad_rows_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="3 rows"):
        alternatives(FitRows(FIT.logit[:3], FIT.score[:3], np.array([0.0, 1, 1])), TEST, CHOSEN, "x")
    with pytest.raises(InvalidRequest, match="all 800 labels are right"):
        alternatives(replace(FIT, correct=np.ones(800)), TEST, CHOSEN, "x")
    with pytest.raises(InvalidRequest, match="one length"):
        alternatives(FIT, TEST, CHOSEN[:5], "x")
    with pytest.raises(InvalidRequest, match="several lengths"):
        alternatives(FIT, replace(TEST, cluster=np.arange(5)), CHOSEN, "x")
    with pytest.raises(InvalidRequest, match="NaN"):
        alternatives(FIT, replace(TEST, logit=np.full(800, np.nan)), CHOSEN, "x")
    with pytest.raises(InvalidRequest, match="NaN"):
        alternatives(FIT, TEST, np.full(800, np.nan), "x")
    for champion, challenger, clusters in ((np.ones(3), np.ones(2), np.ones(3)), (np.ones(3), np.ones(3), np.ones(2)), (np.ones(0),) * 3):
        with pytest.raises(InvalidRequest, match="same held-out rows"):
            challenger_wins(champion, challenger, clusters)
    with pytest.raises(InvalidRequest, match="NaN"):
        challenger_wins(np.ones(3), np.full(3, np.nan), np.arange(3))
