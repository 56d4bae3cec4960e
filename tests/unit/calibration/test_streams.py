from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.streams import (
    LEAST_BLIND,
    PpiMean,
    Stream,
    apparent_accuracy,
    effective_sample_size,
    hajek_mean,
    permitted,
    ppi_mean,
    require_permitted,
    rogan_gladen,
    weights,
)
from candor.errors import InvalidRequest
from candor.predictions import Floats

# --- what each stream is for


def test_each_stream_is_either_permitted_or_not() -> None:
    assert {stream: permitted(stream) for stream in get_args(Stream)} == {
        "gold": True,
        "blind": True,
        "audit": True,
        "review": False,
        "honeypot": False,
    }
    with pytest.raises(InvalidRequest, match="no stream 'golden'"):
        permitted("golden")


def test_permitted_labels_may_be_fitted_on() -> None:
    require_permitted(["gold", "blind", "audit", "gold"])
    require_permitted([])


@pytest.mark.parametrize(("stream", "reason"), [("honeypot", "planted"), ("review", "overlook")])
def test_one_forbidden_label_is_enough_to_refuse_a_fit(stream: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"1 of 4 labels are of stream {stream}: .*{reason}.*audit, blind, gold"):
        require_permitted(["gold", stream, "blind", "audit"])


# --- weights


def test_weights_are_clipped_inverse_propensities() -> None:
    assert weights([1, 0.5, 0.1, 0.001]).tolist() == [1, 2, 10, 50]
    assert weights([0.1], clip=4).tolist() == [4]
    assert weights([]).tolist() == []


@pytest.mark.parametrize(("propensity", "clip"), [([0], 50), ([1.1], 50), ([-0.1], 50), ([float("nan")], 50), ([0.5], 0.5), (0.5, 50)])
def test_propensities_are_probabilities(propensity: Any, clip: float) -> None:
    with pytest.raises(InvalidRequest):
        weights(propensity, clip)


def test_effective_sample_sizes() -> None:
    assert effective_sample_size([2, 2, 2]) == 3
    assert effective_sample_size([1, 1, 1, 1, 50]) == pytest.approx(54**2 / 2504)
    assert effective_sample_size([]) == 0
    with pytest.raises(InvalidRequest):
        effective_sample_size([float("inf")])


def test_a_weighted_mean_estimates_what_was_not_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    zone = rng.random(40_000) < 0.2
    right = rng.random(40_000) < np.where(zone, 0.98, 0.7)
    propensity = np.where(zone, 0.1, 0.02)
    seen = rng.random(40_000) < propensity
    found = hajek_mean(right[seen], weights(propensity[seen]), np.flatnonzero(seen))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= right.mean() <= found.high
    assert right[seen].mean() > found.high


def test_rows_of_a_cluster_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.random(100) < 0.8, 9).astype(np.float64)
    alone, together = (hajek_mean(values, np.ones(900), clusters) for clusters in (np.arange(900), np.arange(900) // 9))
    assert alone.high is not None
    assert alone.low is not None
    assert together.high is not None
    assert together.low is not None
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(3, rel=0.25)


# --- reviews


def test_apparent_accuracy_is_more_than_the_true_one() -> None:
    assert apparent_accuracy(0.85, 0.65, 0.02) == pytest.approx(0.8855)
    assert apparent_accuracy(0.70, 0.65, 0.02) == pytest.approx(0.791)


@given(st.floats(0, 1), st.floats(0.3, 1), st.floats(0, 0.2))
def test_rogan_and_gladen_undo_it(accuracy: float, catch: float, false_correction: float) -> None:
    apparent = apparent_accuracy(accuracy, catch, false_correction)
    assert rogan_gladen(apparent, catch, false_correction) == pytest.approx(accuracy, abs=1e-9)


def test_an_estimate_stays_a_probability_and_needs_reviewers_who_look() -> None:
    assert rogan_gladen(0.2, 0.7, 0.05) == 0
    assert rogan_gladen(1.0, 0.7, 0.05) == 1
    with pytest.raises(InvalidRequest, match="say nothing"):
        rogan_gladen(0.9, 0.1, 0.1)
    with pytest.raises(InvalidRequest, match=r"catch is 1\.2"):
        apparent_accuracy(0.9, 1.2, 0.1)


# --- truths and proxies together


def reviewed(rng: np.random.Generator, items: int) -> tuple[Floats, Floats]:
    """Whether drafts of an over-confident model are right, and whether reviewers, who look less where confidence is high, let them pass."""
    p = rng.beta(4, 0.93, items)
    right = rng.random(items) < np.clip(p - 0.06, 0, 1)
    caught = rng.random(items) < np.where(p > 0.9, 0.45, 0.75)
    return right.astype(np.float64), np.where(right, rng.random(items) >= 0.02, ~caught).astype(np.float64)


def test_truths_with_proxies_cover_and_reviews_alone_do_not() -> None:
    rng = np.random.default_rng(3)
    truth = float(np.mean([reviewed(rng, 100_000)[0].mean() for _ in range(5)]))
    covered, naive, widths = [], [], []
    for _ in range(100):
        right, passed = reviewed(rng, 6000)
        found = ppi_mean(right[:400], passed[:400], passed[400:])
        assert found.powered is not None
        low, high = found.powered.low, found.powered.high
        assert low is not None
        assert high is not None
        assert found.truths_only.low is not None
        assert found.truths_only.high is not None
        covered.append(low <= truth <= high)
        widths.append((high - low) / (found.truths_only.high - found.truths_only.low))
        half = 1.96 * passed.std() / np.sqrt(len(passed))
        naive.append(abs(passed.mean() - truth) <= half)
    assert 0.90 <= np.mean(covered) <= 0.99
    assert np.mean(naive) == 0
    assert np.mean(widths) < 0.85


def test_the_tuning_is_that_of_the_paper_and_the_interval_follows() -> None:
    rng = np.random.default_rng(4)
    right, passed = reviewed(rng, 5000)
    y, f, others = right[:1000], passed[:1000], passed[1000:]
    found = ppi_mean(y, f, others)
    tuning = np.cov(y, f)[0, 1] / ((1 + 1000 / 4000) * np.var(passed, ddof=1))
    assert found.tuning == pytest.approx(tuning, rel=0.05)
    assert found.powered is not None
    assert found.tuning is not None
    assert found.powered.value is not None
    assert found.powered.value == pytest.approx(found.tuning * others.mean() + (y - found.tuning * f).mean())
    half = 1.959964 * np.sqrt(found.tuning**2 * np.var(others, ddof=1) / 4000 + np.var(y - found.tuning * f, ddof=1) / 1000)
    assert found.powered.high == pytest.approx(found.powered.value + half)


@pytest.mark.parametrize("proxy", ["useless", "reversed", "constant"])
def test_a_bad_proxy_does_no_harm(proxy: str) -> None:
    rng = np.random.default_rng(5)
    right, passed = reviewed(rng, 4000)
    said = {"useless": rng.random(4000), "reversed": 1 - passed, "constant": np.ones(4000)}[proxy]
    found = ppi_mean(right[:500], said[:500], said[500:])
    assert found.tuning == pytest.approx(0, abs=0.15)
    assert found.powered is not None
    assert found.powered.value == pytest.approx(found.truths_only.value, abs=0.005)


def test_weights_and_clusters_count_for_truths_with_proxies() -> None:
    rng = np.random.default_rng(6)
    right, passed = reviewed(rng, 4000)
    alone = ppi_mean(right[:400], passed[:400], passed[400:])
    repeated = ppi_mean(np.repeat(right[:400], 4), np.repeat(passed[:400], 4), passed[400:], clusters=np.repeat(np.arange(400), 4))
    weighted = ppi_mean(right[:400], passed[:400], passed[400:], weight=np.full(400, 7.0))
    for other in (repeated, weighted):
        assert other.tuning == pytest.approx(alone.tuning)
        for ours, theirs in ((other.truths_only, alone.truths_only), (other.powered, alone.powered)):
            assert ours is not None
            assert theirs is not None
            assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_few_truths_stand_alone() -> None:
    rng = np.random.default_rng(7)
    right, passed = reviewed(rng, 3000)
    few = ppi_mean(right[: LEAST_BLIND - 1], passed[: LEAST_BLIND - 1], passed[LEAST_BLIND:])
    assert isinstance(few, PpiMean)
    assert few.powered is None
    assert few.truths_only.low is not None
    assert "199 truths" in few.reason
    assert few.as_json()["powered"] is None
    clusters = np.arange(400) // 25
    assert ppi_mean(right[:400], passed[:400], passed[400:], clusters=clusters).powered is None


def test_all_right_gives_no_nan() -> None:
    found = ppi_mean(np.ones(300), np.ones(300), np.ones(900))
    assert found.powered is not None
    assert (found.powered.low, found.powered.value, found.powered.high) == (1, 1, 1)


@pytest.mark.parametrize(
    ("truth", "proxy", "others", "weight"),
    [
        ([], [], [1], None),
        ([1], [1, 0], [1], None),
        ([1], [1], [], None),
        ([float("nan")], [1], [1], None),
        ([1], [1], [float("inf")], None),
        ([1], [1], [1], [0]),
    ],
)
def test_bad_estimates_are_refused(truth: Any, proxy: Any, others: Any, weight: Any) -> None:
    with pytest.raises(InvalidRequest):
        ppi_mean(truth, proxy, others, weight=weight)


def test_clusters_have_one_entry_per_row() -> None:
    with pytest.raises(InvalidRequest):
        hajek_mean([1, 0], [1, 1], [1])
