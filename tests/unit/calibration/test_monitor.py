from __future__ import annotations

import json
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import monitor
from calibration.monitor import Alarm, Monitor, by_item
from candor.errors import InvalidRequest
from candor.predictions import Floats

rows = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5]), st.floats(0.01, 3)),
    max_size=40,
)


def drawn(rng: np.random.Generator, labels: int, gap: float) -> tuple[Floats, Floats]:
    """Confidences of a model that is right four times in five, and truths that are right by `gap` less often than it says."""
    p = rng.beta(4, 0.93, labels)
    return p, (rng.random(labels) < np.clip(p - gap, 0, 1)).astype(np.float64)


def label_of(found: Monitor, kind: monitor.AlarmKind) -> float:
    alarm = found.alarm(kind)
    return alarm.at if alarm else np.inf


# --- one label after the other


def by_hand(p: Floats, y: Floats, w: Floats, alpha: float, run_length: float) -> dict[str, int]:
    """The definitions, in plain arithmetic: when each alarm comes."""
    stakes, detectors = np.ones((2, 5)), np.zeros((2, 5))
    found: dict[str, int] = {}
    for at in range(len(p)):
        excess = np.array([p[at] - y[at] - 0.01, y[at] - p[at] - 0.01])
        factors = 1 + w[at] / w.max() * np.outer(excess, [0.1, 0.25, 0.5, 0.8, 0.95])
        stakes, detectors = stakes * factors, (detectors + 1) * factors
        for kind, value, bar in (
            ("over", stakes[0].mean(), 1 / alpha),
            ("under", stakes[1].mean(), 1 / alpha),
            ("change", 0.75 * detectors[0].mean() + 0.25 * detectors[1].mean(), run_length),
        ):
            if value >= bar:
                found.setdefault(kind, at + 1)
    return found


@pytest.mark.parametrize("run_length", [2.5, 10, 300])
@pytest.mark.parametrize("gap", [0.15, -0.15, 0.0])
def test_alarms_come_when_the_definitions_say(gap: float, run_length: float) -> None:
    rng = np.random.default_rng(3)
    p, y = drawn(rng, 400, gap)
    w = rng.uniform(0.5, 3, 400)
    found = Monitor(alpha=0.05, run_length=run_length, heaviest=float(w.max())).run(p, y, w)
    assert {one.kind: one.at for one in found.alarms} == by_hand(p, y, w, 0.05, run_length)


@settings(max_examples=25, deadline=None)
@given(rows, st.integers(0, 40))
def test_a_run_is_one_update_after_the_other(some: list[tuple[float, float, float]], cut: int) -> None:
    start = Monitor(alpha=0.5, run_length=5, heaviest=3)
    at_once = start.run(*np.array(some).reshape(-1, 3).T)
    one_by_one = start
    for number, (p, y, w) in enumerate(some):
        if number == cut:
            one_by_one = Monitor.from_json(json.loads(json.dumps(one_by_one.as_json())))
        one_by_one = one_by_one.update(p, y, w)
    assert one_by_one == at_once
    assert at_once.labels == len(some)


def test_long_runs_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    p, y = drawn(np.random.default_rng(1), 500, 0.1)
    whole = Monitor().run(p, y)
    monkeypatch.setattr(monitor, "_ROWS", 7)
    assert Monitor().run(p, y) == whole


def test_the_order_of_labels_matters() -> None:
    p, y = np.full(72, 0.8), np.repeat([1.0, 0.0], [60, 12])
    first, last = Monitor().run(p, y[::-1]), Monitor().run(p, y)
    assert first.log_evidence == pytest.approx(last.log_evidence)
    assert first.alarm("over")
    assert not last.alarm("over")


# --- stakes stay above 0 and finite


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1))
def test_no_label_takes_a_whole_stake(p: float, y: float, w: float) -> None:
    found = Monitor().update(p, y, w)
    assert all(np.isfinite(one) and one >= log(1 - 0.95 * 1.01) - 1e-12 for row in found.stakes for one in row)


@pytest.mark.parametrize(
    "fields", [{"bets": (0.995,)}, {"bets": ()}, {"bets": (0.0, 0.5)}, {"epsilon": 0.2}, {"heaviest": 0}, {"alpha": 0}]
)
def test_a_monitor_whose_stakes_could_become_negative_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Monitor(**fields)


@pytest.mark.parametrize(("p", "y", "kind"), [(1.0, 0.0, "over"), (0.0, 1.0, "under")])
def test_a_hundred_thousand_labels_neither_overflow_nor_vanish(p: float, y: float, kind: monitor.Direction) -> None:
    found = Monitor().run(np.full(100_000, p), np.full(100_000, y))
    assert found.log_evidence[kind] == pytest.approx(100_000 * log(1 + 0.95 * 0.99) - log(5))
    other: monitor.Direction = "under" if kind == "over" else "over"
    assert found.log_evidence[other] == pytest.approx(100_000 * log(1 - 0.1 * 1.01) - log(5))
    assert Monitor.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False))) == found


# --- false alarms


def test_false_alarms_are_as_rare_as_stated_at_the_edge_of_what_is_tolerated() -> None:
    rng = np.random.default_rng(11)
    paths, alpha = 200, 0.2
    false = [Monitor(alpha=alpha).run(*drawn(rng, 400, 0.01)).alarm("over") is not None for _ in range(paths)]
    assert 0 < np.mean(false) <= alpha + 2 * sqrt(alpha * (1 - alpha) / paths)


@pytest.mark.parametrize("gap", [-0.01, 0.01])
def test_an_honest_model_goes_on_for_as_long_as_stated_between_false_changes(gap: float) -> None:
    rng = np.random.default_rng(12)
    lengths = [min(400, label_of(Monitor(run_length=40).run(*drawn(rng, 400, gap)), "change")) for _ in range(80)]
    assert np.mean(lengths) >= 40


# --- delays: medians and 90th percentiles that the monitor was sized with


@pytest.mark.parametrize(("gap", "median", "most"), [(0.05, 774, 1560), (0.08, 235, 521), (0.12, 114, 236)])
def test_too_high_confidence_is_noticed_in_time(gap: float, median: float, most: float) -> None:
    rng = np.random.default_rng(5)
    longest = int(1.5 * most)
    labels = [label_of(Monitor().run(*drawn(rng, longest, gap)), "over") for _ in range(max(25, 30_000 // longest))]
    assert np.median(labels) <= 1.5 * median
    assert np.mean(np.isfinite(labels)) >= 0.9 - 2 * sqrt(0.09 / len(labels))  # are noticed within 1.5 times the 90th percentile


@pytest.mark.parametrize(("gap", "median", "most"), [(0.08, 200, 412), (0.12, 98, 199)])
def test_a_change_is_noticed_in_time_after_a_long_quiet(gap: float, median: float, most: float) -> None:
    rng = np.random.default_rng(6)
    quiet = [one for one in (Monitor().run(*drawn(rng, 1000, 0.0)) for _ in range(25)) if not one.alarm("change")]
    assert len(quiet) >= 22
    alarms = [one.run(*drawn(rng, int(1.5 * most), gap)).alarm("change") for one in quiet]
    delays = [one.at - 1000 if one else np.inf for one in alarms]
    assert {one.direction for one in alarms if one} == {"over"}
    assert np.median(delays) <= 1.5 * median
    assert np.mean(np.isfinite(delays)) >= 0.9 - 2 * sqrt(0.09 / len(delays))


def test_too_low_confidence_is_the_mirror_of_too_high() -> None:
    p, y = drawn(np.random.default_rng(8), 800, 0.12)
    over, under = Monitor().run(p, y), Monitor().run(1 - p, 1 - y)
    assert under.stakes[::-1] == tuple(pytest.approx(row) for row in over.stakes)
    assert [(one.kind, one.direction) for one in over.alarms] == [("over", "over"), ("change", "over")]
    assert [(one.kind, one.direction) for one in under.alarms] == [("under", "under"), ("change", "under")]
    assert label_of(over, "over") == label_of(under, "under")
    assert label_of(over, "change") < label_of(under, "change")  # too low a confidence is doubted less


def test_an_alarm_stays() -> None:
    rng = np.random.default_rng(9)
    alarmed = Monitor().run(*drawn(rng, 500, 0.2))
    later = alarmed.run(*drawn(rng, 3000, 0.0))
    assert later.log_evidence["over"] < log(100)
    assert later.alarm("over") == alarmed.alarm("over")
    assert [one.at for one in later.alarms] == sorted(one.at for one in later.alarms)


# --- weights and items


def two_strata(rng: np.random.Generator, labels: int) -> tuple[Floats, Floats, Floats]:
    """Labels of an honest model that is too bold where one looks nine times as often, and as much too modest elsewhere."""
    bold = rng.random(labels) < 0.9
    p = rng.uniform(0.5, 0.9, labels)
    y = (rng.random(labels) < p - np.where(bold, 0.1, -0.1)).astype(np.float64)
    return p, y, np.where(bold, 1.0, 9.0)


def test_weights_undo_how_labels_were_drawn() -> None:
    rng = np.random.default_rng(2)
    weighted, plain = [], []
    for _ in range(25):
        p, y, w = two_strata(rng, 700)
        weighted.append(Monitor(heaviest=9).run(p, y, w).alarm("over") is not None)
        plain.append(Monitor().run(p, y).alarm("over") is not None)
    assert np.mean(weighted) <= 0.02
    assert np.mean(plain) >= 0.5


def test_labels_of_one_item_are_one_bet() -> None:
    rng = np.random.default_rng(4)
    items = np.repeat(np.arange(100), 10)
    together, apart = [], []
    for _ in range(25):
        p, y = np.full(1000, 0.8), np.repeat(rng.random(100) < 0.8, 10)
        together.append(Monitor().run(*by_item(p, y, items)).alarm("over") is not None)
        apart.append(Monitor().run(p, y).alarm("over") is not None)
    assert np.mean(together) <= 0.04
    assert np.mean(apart) >= 0.1


def test_items_keep_the_order_in_which_they_came() -> None:
    p, y = by_item([0.5, 0.9, 0.7, 0.2], [1, 0, 0, 1], ["b", "a", "b", "a"])
    assert p.tolist() == pytest.approx([0.6, 0.55])
    assert y.tolist() == [0.5, 0.5]


# --- bad input


@pytest.mark.parametrize(
    ("p", "y", "w"),
    [
        ([float("nan")], [1], None),
        ([1.1], [1], None),
        ([0.5], [2], None),
        ([0.5], [float("nan")], None),
        ([0.5, 0.5], [1], None),
        ([0.5], [1], [0]),
        ([0.5], [1], [1.5]),
        ([0.5], [1], [float("nan")]),
        (0.5, 1, 1),
    ],
)
def test_bad_labels_are_refused(p: Any, y: Any, w: Any) -> None:
    with pytest.raises(InvalidRequest):
        Monitor().run(p, y, w)


def test_no_labels_change_nothing() -> None:
    assert Monitor().run([], []) == Monitor()


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": -1},
        {"stakes": [[0.0]]},
        {"stakes": [["nan"] * 5] * 2},
        {"stakes": []},
        {"alarms": [{"kind": "over", "direction": "over", "at": 9, "value": 101.0}]},
        {"alarms": [{"kind": "odd", "direction": "over", "at": 1, "value": 101.0}]},
        {"alarms": [{"kind": "over"}]},
        {"bets": [2.0] * 5},
        {"alpha": "low"},
        {"more": 1},
    ],
)
def test_a_state_that_was_damaged_is_refused(changed: dict[str, Any]) -> None:
    whole = Monitor().update(0.5, 1).as_json()
    with pytest.raises(InvalidRequest):
        Monitor.from_json({**whole, **changed})


def test_a_state_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        Monitor.from_json([1])


def test_an_alarm_says_what_it_took() -> None:
    found = Monitor(alpha=0.5).run(np.full(10, 1.0), np.zeros(10)).alarm("over")
    # after one label the mean of 1 + 0.99 b over the bets is 1.51; after two, that of the squares
    squares = np.mean((1 + 0.99 * np.array([0.1, 0.25, 0.5, 0.8, 0.95])) ** 2)
    assert found is not None
    assert found == Alarm("over", "over", 2, found.value)
    assert found.value == pytest.approx(squares)
