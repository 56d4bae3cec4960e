"""Agreement and reliance of real people, against what was published of them and against other people's code."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from candor.predictions import Floats
from review.agreement import alpha, interval_of_alpha, kappa, mean_pairwise_kappa, table_of
from review.figures import rate, reliance
from tests.shared_data import shared_data


def read(name: str) -> list[dict[str, str]]:
    with shared_data("annotators", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ratings(rows: list[dict[str, str]]) -> tuple[Floats, list[str]]:
    """Labels (people, items), NaN where there is none, and the items' names."""
    items, people = (sorted({row[name] for row in rows}) for name in ("item", "annotator"))
    table = np.full((len(people), len(items)), np.nan)
    for row in rows:
        table[people.index(row["annotator"]), items.index(row["item"])] = float(row["label"])
    return table, items


# Of the full set of bluebirds (108 items; 76 of them are here): majority vote right 0.7593, workers 0.6356, mean pairwise kappa 0.1396
def test_bluebirds_are_like_the_set_that_they_were_taken_from() -> None:
    rows = read("bluebirds.csv")
    table, items = ratings(rows)
    truth = {row["item"]: float(row["truth"]) for row in rows}
    right = table == np.array([truth[item] for item in items])
    rng = np.random.default_rng(1)
    published = {"vote": 0.7593, "worker": 0.6356, "kappa": 0.1396}

    def figures(some: Floats, hits: Floats) -> dict[str, float]:
        return {"vote": float((hits.mean(axis=0) > 0.5).mean()), "worker": float(hits.mean()), "kappa": mean_pairwise_kappa(some) or 0.0}

    drawn = defaultdict(list)
    for _ in range(25):
        at = rng.integers(0, len(items), len(items))
        for name, value in figures(table[:, at], right[:, at].astype(np.float64)).items():
            drawn[name].append(value)
    for name, value in figures(table, right.astype(np.float64)).items():
        assert abs(value - published[name]) < 2.5 * np.std(drawn[name]), name


def test_alpha_of_bluebirds() -> None:
    table, _ = ratings(read("bluebirds.csv"))
    assert alpha(table) == pytest.approx(0.10825685364393889, abs=1e-12)  # krippendorff 0.9.0
    low, high = interval_of_alpha(table, resamples=200) or (1, 0)
    assert low < 0.108 < high


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_against_scikit_learn(weights: str | None) -> None:
    table, _ = ratings(read("ducks.csv"))
    for first, second in ((0, 1), (5, 9), (20, 40)):
        both = ~np.isnan(table[first]) & ~np.isnan(table[second])
        a, b = table[first, both].tolist(), table[second, both].tolist()
        assert kappa(table_of(a, b)).value == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 5, 300).tolist(), rng.integers(0, 5, 300).tolist()
    found = kappa(table_of(a, b, order=range(5)), weights)  # type: ignore[arg-type]
    assert found.value == pytest.approx(cohen_kappa_score(a, b, weights=weights), abs=1e-12)


def test_intervals_of_kappa_hold_the_truth() -> None:
    rng = np.random.default_rng(4)
    joint = np.array([[0.40, 0.06, 0.02], [0.05, 0.25, 0.04], [0.01, 0.05, 0.12]])
    for weights in (None, "quadratic"):
        truth = kappa(joint * 1e6, weights).value or 0.0
        found = [kappa(rng.multinomial(250, joint.ravel()).reshape(3, 3), weights) for _ in range(800)]
        assert 0.925 <= np.mean([(one.low or 0) <= truth <= (one.high or 0) for one in found]) <= 0.97


# Of the published set: moved to disagreeing advice 50 %; right before and advised wrongly, 36 % followed. It is not said how level answers
# were counted there; here the one likeliest answer counts, and an answer that is level with others is none.
def test_people_follow_wrong_advice_as_often_as_was_published() -> None:
    followed, first, advice, kept = [], [], [], []
    for row in read("chatgpt_advice.csv"):
        before, after = (_likeliest(row, name) for name in ("init", "final"))
        advised, right = row["advice_answer"], row["correct_answer"]
        if before is None or advised not in "ABCD":
            continue
        if advised != before:
            followed.append(advised == after)
        first.append(right == before)
        advice.append(advised == right)
        kept.append(advised != after)
    moved, withstood = rate(sum(followed), len(followed)), reliance(first, advice, kept).withstood
    assert (moved.low or 1) < 0.50 < (moved.high or 0)
    assert 1 - (withstood.high or 1) < 0.36 < 1 - (withstood.low or 0)
    assert (moved.n, withstood.n) == (797, 155)


def _likeliest(row: dict[str, str], when: str) -> str | None:
    shares = {name: float(row[f"{when}_{name}"] or 0) for name in "ABCD"}
    best = [name for name, share in shares.items() if share == max(shares.values())]
    return best[0] if len(best) == 1 else None
