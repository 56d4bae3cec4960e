"""The simulation of the badge: it finds a broken promise, and gives the same answer again."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import badge


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badge, "TRUTH", 6_000)
    badge._truth.cache_clear()


def test_a_naive_threshold_is_found_out_and_ours_is_not() -> None:
    naive, ours = (badge.simulate(badge.labels, 400, 0.05, choose, resplits=30) for choose in (badge.naive, badge.certified))
    assert ours.broken <= 0.1
    assert naive.broken > 0.3
    assert 0.4 < ours.coverage < naive.coverage < 0.9
    assert badge.simulate(badge.labels, 400, 0.05, badge.certified, resplits=30) == ours


def test_labels_of_an_item_are_chosen_for_as_such() -> None:
    confidence, _, item = badge.items(np.random.default_rng(0), 50)
    assert len(item) > 150
    assert badge.certified((confidence, np.ones(len(item)), item), 0.05) is None  # 50 items certify nothing, 59 do
    kept = badge.simulate(badge.items, 150, 0.05, badge.certified, resplits=5)
    assert kept.broken == 0
    assert kept.coverage > 0.1


def test_nothing_is_chosen_where_all_are_wrong() -> None:
    rows = (np.linspace(0, 1, 100), np.zeros(100), np.arange(100))
    assert badge.naive(rows, 0.05) is badge.certified(rows, 0.05) is None
