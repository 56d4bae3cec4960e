"""The high-confidence badge: its promise is kept at the stated rate, and a threshold that only looks good breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from calibration.threshold import (
    EPSILON,
    Selection,
    binomial_p,
    bounded_p,
    least_items,
    measured_on,
    proportion,
    select,
    select_badge,
    select_badge_clustered,
    thresholds,
)
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

RESPLITS = 200
VIOLATIONS = 0.05 + 2 * np.sqrt(0.05 * 0.95 / RESPLITS)  # delta + 2 standard errors


def drawn(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Confidences that say what is true: logits of mean 3.04 and deviation 3.9. 60 % of them may be marked at 2 %, 72 % at 5 %."""
    p = expit(3.04 + 3.9 * rng.normal(size=n))
    return p, (rng.random(n) < p).astype(np.float64)


def drawn_items(rng: np.random.Generator, items: int) -> tuple[Floats, Floats, Ints]:
    """The same, six labels to an item or so, of which an item's own effect makes all likelier or none."""
    cluster = np.repeat(np.arange(items), 1 + rng.poisson(5, items))
    logit = 3.04 + 3.9 * rng.normal(size=len(cluster))
    right = rng.random(len(cluster)) < expit(logit + 1.5 * rng.normal(size=items)[cluster])
    return expit(logit), right.astype(np.float64), cluster


def item_error(threshold: float, p: Floats, y: Floats, cluster: Ints) -> float:
    marked = p >= threshold
    labels, wrong = np.bincount(cluster, marked), np.bincount(cluster, marked * (1 - y))
    return float((wrong[labels > 0] / labels[labels > 0]).mean())


def naive(p: Floats, y: Floats, epsilon: float) -> float:
    """The most generous threshold whose labels are wrong often enough to look right."""
    order = np.argsort(-p)
    share = np.cumsum(1 - y[order]) / np.arange(1, len(p) + 1)
    return float(p[order][np.flatnonzero(share <= epsilon)[-1]])


def test_the_promise_is_kept_over_resplits_and_a_naive_threshold_breaks_it() -> None:
    everything, _ = drawn(np.random.default_rng(1), 100_000)
    ordered = np.sort(everything)[::-1]
    error = np.cumsum(1 - ordered) / np.arange(1, len(ordered) + 1)  # the true share wrong down to each confidence
    broken, naively_broken, coverage = 0, 0, []
    for seed in range(RESPLITS):
        p, y = drawn(np.random.default_rng(seed), 1000)
        found, _ = select_badge(p, y, epsilon=0.05)
        if found is not None:
            marked = int((ordered >= found.threshold).sum())
            broken += error[marked - 1] > 0.05
            coverage.append(marked / len(ordered))
        naively_broken += error[int((ordered >= naive(p, y, 0.05)).sum()) - 1] > 0.05
    assert broken / RESPLITS <= VIOLATIONS
    assert len(coverage) == RESPLITS
    assert np.mean(coverage) > 0.6  # of 0.72 that could be marked, were all known
    assert naively_broken / RESPLITS > 0.4


def test_the_promise_is_kept_where_labels_of_an_item_stand_or_fall_together() -> None:
    everything = drawn_items(np.random.default_rng(1), 5_000)
    broken, certified = 0, 0
    for seed in range(RESPLITS):
        found, _ = select_badge_clustered(*drawn_items(np.random.default_rng(seed), 150), epsilon=0.05)
        if found is not None:
            certified += 1
            broken += item_error(found.threshold, *everything) > 0.05
    assert certified > 0.8 * RESPLITS
    assert broken / RESPLITS <= VIOLATIONS


def test_copies_of_a_label_add_nothing() -> None:
    """Ten labels each, all alike in an item: counted as labels, ten times too much would seem to be known."""
    kept, broken = 0, 0
    for seed in range(RESPLITS):
        rng = np.random.default_rng(seed)
        y = (rng.random(70) > 0.06).astype(np.float64)  # what is marked is wrong too often, whatever is marked
        p, cluster = rng.random(70), np.repeat(np.arange(70), 10)
        kept += select_badge_clustered(np.repeat(p, 10), np.repeat(y, 10), cluster, epsilon=0.05)[0] is not None
        broken += select_badge(np.repeat(p, 10), np.repeat(y, 10), epsilon=0.05)[0] is not None
    assert kept / RESPLITS <= VIOLATIONS
    assert broken / RESPLITS > 2 * VIOLATIONS


# --- exact numbers


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [
        (0.005, [598, 947, 1258, 2100, 3389]),
        (0.01, [299, 473, 628, 1049, 1693]),
        (0.02, [149, 236, 313, 523, 845]),
        (0.05, [59, 93, 124, 208, 336]),
    ],
)
def test_so_many_labels_certify_with_so_many_wrong_ones(epsilon: float, expected: list[int]) -> None:
    assert least_items(epsilon) == expected[0]
    for wrong, least in zip((0, 1, 2, 5, 10), expected, strict=True):
        assert binomial_p(wrong, least, epsilon) <= 0.05 < binomial_p(wrong, least - 1, epsilon)


def test_59_right_labels_certify_5_percent_and_58_do_not() -> None:
    p = np.linspace(0.9, 0.99, 59)
    found, why = select_badge(p, np.ones(59), epsilon=0.05)
    assert found == Selection(0.0, 0.05, 0.05, "label", 59, 59, 0, 59)
    assert "(0 of 59 were" in why
    missing, why = select_badge(p[:58], np.ones(58), epsilon=0.05)
    assert missing is None
    assert why == "58 labels are too few: without a single wrong one it takes 59 to show that at most 5% are wrong"


def test_without_a_wrong_label_items_certify_as_labels_do() -> None:
    for n, epsilon in ((58, 0.05), (59, 0.05), (149, 0.02)):
        assert bounded_p(np.zeros(n), epsilon) == pytest.approx(binomial_p(0, n, epsilon))


def test_the_bound_holds_for_losses_at_its_edge() -> None:
    """Losses of 0 and 1 whose mean is epsilon: the worst that there is."""
    rng = np.random.default_rng(0)
    wrong = rng.binomial(200, 0.05, 2000)
    p_values = {k: bounded_p(np.repeat([1.0, 0.0], [k, 200 - k]), 0.05) for k in set(wrong.tolist())}
    assert np.mean([p_values[k] <= 0.05 for k in wrong.tolist()]) <= 0.05
    assert all(p_values[k] >= binom.cdf(k, 200, 0.05) - 1e-12 for k in p_values)  # never less than the exact one


def test_thresholds_never_look_at_what_is_right_and_go_down_in_steps() -> None:
    p, _ = drawn(np.random.default_rng(0), 1000)
    found = list(thresholds(p, None, 0.05, 0.05))
    assert found == sorted(found, reverse=True)
    marked = [int((p >= one).sum()) for one in found]
    assert marked[:3] == [120, 170, 220]  # 2 ln(20) / 0.05 of them, then 5 % more each time
    assert marked[-1] == 1000


def test_of_items_the_first_threshold_marks_enough_of_them() -> None:
    p, _, cluster = drawn_items(np.random.default_rng(0), 300)
    first = next(thresholds(p, cluster, 0.05, 0.05))
    assert len(np.unique(cluster[p >= first])) == 120


def test_testing_stops_at_the_first_failure() -> None:
    p = np.linspace(1, 0, 1000)
    y = np.ones(1000)
    y[[130, 132, 134, 136, 138, 140, 142, 144, 146, 148]] = 0  # too many of the first 170, not too many of all
    assert binomial_p(10, 1000, 0.05) <= 0.05
    found, _ = select_badge(p, y, epsilon=0.05)
    assert found is not None
    assert (found.labels, found.wrong) == (120, 0)


# --- what is shown of it


def test_a_badge_is_selected_on_some_rows_and_measured_on_others() -> None:
    p, y = drawn(np.random.default_rng(0), 1000)
    q, z = drawn(np.random.default_rng(1), 500)
    badge, why = select("classification", EPSILON["classification"], (p, y, np.arange(1000)), (q, z, np.arange(500)))
    assert badge is not None
    assert (badge.epsilon, badge.delta, badge.unit) == (0.02, 0.05, "label")
    marked = p >= badge.threshold
    assert badge.rows == {"n": 1000, "labels": marked.sum(), "wrong": (1 - y[marked]).sum(), "items": marked.sum()}
    there = q >= badge.threshold
    assert (badge.figures["n"], badge.figures["labels"]) == (500, there.sum())
    assert badge.figures["coverage"]["value"] == pytest.approx(there.mean())
    assert badge.figures["wrong"]["value"] == pytest.approx((1 - z[there]).mean(), abs=1e-6)
    assert why.startswith("labels with confidence 0.9")
    assert "with probability 95% at most 2% of them are wrong" in why


def test_rows_of_several_to_an_item_are_taken_as_such() -> None:
    rows = drawn_items(np.random.default_rng(0), 400)
    badge, why = select("detection", 0.05, rows, drawn_items(np.random.default_rng(1), 300))
    assert badge is not None
    assert badge.unit == "item"
    assert badge.rows["items"] == len(np.unique(rows[2][rows[0] >= badge.threshold])) < badge.rows["labels"]
    wrong = badge.figures["wrong"]
    assert wrong["low"] < wrong["value"] < wrong["high"] < 0.06
    assert why.startswith("boxes with confidence")


def test_an_exact_interval_of_a_share() -> None:
    assert proportion(0, 0).value is None
    none, some, all_ = proportion(0, 59), proportion(3, 100), proportion(59, 59)
    assert [none.low, none.high] == pytest.approx([0, 1 - 0.025 ** (1 / 59)])
    assert [some.low, some.high] == pytest.approx([0.00623, 0.08518], abs=1e-5)  # published tables
    assert [all_.low, all_.high] == pytest.approx([0.025 ** (1 / 59), 1])


def test_the_error_on_other_rows_is_by_item_where_items_have_several_labels() -> None:
    p = np.array([0.9, 0.9, 0.9, 0.2, 0.9, 0.1])
    y = np.array([1, 1, 0, 0, 0, 0])
    found = measured_on(0.9, p, y, ["a", "a", "a", "a", "b", "c"])
    assert found["error"].value == pytest.approx((1 / 3 + 1) / 2)  # the third item has nothing marked
    assert found["coverage"].value == pytest.approx(4 / 6)
    alone = measured_on(0.9, p, y, range(6))
    assert [alone["error"].value, alone["coverage"].value] == pytest.approx([1 / 2, 4 / 6])
    assert measured_on(0.95, p, y, ["a", "a", "b", "b", "c", "c"])["error"].value is None
    assert measured_on(0.95, p, y, range(6))["error"].value is None


# --- what no threshold can be made of


@pytest.mark.parametrize("clusters", [None, np.arange(300) // 3])
def test_bad_rows_get_no_threshold_or_the_right_one(clusters: Any) -> None:
    def found(p: Any, y: Any) -> tuple[Selection | None, str]:
        if clusters is None:
            return select_badge(p, y, epsilon=0.05)
        return select_badge_clustered(p, y, clusters[: len(p)], epsilon=0.05)

    spread = np.linspace(0, 1, 300)
    assert found(spread, np.zeros(300))[0] is None
    everything = found(spread, np.ones(300))[0]
    assert everything is not None
    assert (everything.threshold, everything.labels, everything.coverage) == (0.0, 300, 1.0)
    alike, why = found(np.full(300, 0.7), np.ones(300))
    assert alike is not None, why
    assert alike.labels == 300
    y = np.ones(300)
    y[::5] = 0
    missing, why = found(np.full(300, 0.7), y)
    assert missing is None
    assert why == "of the 300 surest labels 60 are wrong, too many to show that at most 5% are"
    assert "too few" in found([0.9, 0.8, 0.7], [1, 1, 1])[1]
    sure = found(np.ones(300), np.ones(300))[0]
    assert sure is not None
    assert sure.threshold <= 1


def test_equal_confidences_are_marked_together() -> None:
    p = np.repeat([0.95, 0.5, 0.2], [180, 60, 60])
    y = np.repeat([1.0, 0.0], [180, 120])
    found, _ = select_badge(p, y, epsilon=0.05)
    assert found is not None
    assert found.labels == 180
    assert 0.5 < found.threshold <= 0.95


def test_a_single_confidence_that_marks_too_few_is_passed_over() -> None:
    p = np.concatenate([[0.99, 0.98], np.full(298, 0.6)])
    found, why = select_badge(p, np.concatenate([np.ones(2), np.zeros(298)]), epsilon=0.05)
    assert (found, why) == (None, "of the 300 surest labels 298 are wrong, too many to show that at most 5% are")


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="NaN"):
        select_badge([0.5, np.nan], [1, 0], epsilon=0.05)
    with pytest.raises(InvalidRequest, match="no rows"):
        select_badge([], [], epsilon=0.05)
    with pytest.raises(InvalidRequest, match="2 labels have 3 clusters"):
        select_badge_clustered([0.5, 0.6], [1, 0], [1, 2, 3], epsilon=0.05)
    for epsilon, delta in ((0.0, 0.05), (1.0, 0.05), (0.05, 0.0), (np.nan, 0.05)):
        with pytest.raises(InvalidRequest, match="between 0 and 1"):
            select_badge([0.5], [1], epsilon=epsilon, delta=delta)


def test_no_rows_to_select_on_are_no_error() -> None:
    empty: tuple[Floats, Floats, Ints] = (np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    assert select("detection", 0.05, empty, empty) == (None, "no threshold: there are no rows to select one on")
    rows = (np.full(60, 0.9), np.ones(60), np.arange(60))
    badge, _ = select("classification", 0.05, rows, empty)
    assert badge is not None
    assert badge.figures == {"n": 0, "labels": 0}
    assert select("classification", 0.02, rows, rows)[1].startswith("no threshold: 60 labels are too few")
