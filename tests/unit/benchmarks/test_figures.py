from __future__ import annotations

import pytest

from benchmarks.figures import Bounds, Window, added, mean_batch, paired_ratio, percentile, verdict


def window(bounds: Bounds, completions: list[tuple[float, int]]) -> Window:
    made = Window(bounds)
    for at, items in completions:
        made.add(at, items)
    return made


def bursts(n: int, size: int, every: float) -> list[tuple[float, int]]:
    """Batches of `size` every so many seconds, their answers spread over 20 ms."""
    return [(batch * every + i * 0.02 / size, 1) for batch in range(1, n + 1) for i in range(size)]


@pytest.mark.parametrize("warm", [1, 3, 8, 11, 16])
@pytest.mark.parametrize("seconds", [7.0, 10.0, 11.5])
def test_the_rate_of_bursts_does_not_depend_on_where_the_window_falls(warm: int, seconds: float) -> None:
    found = window(Bounds(warm, seconds, 0, 1e9), bursts(40, 8, every=2.0))
    assert found.closed
    assert found.rate() == pytest.approx(4.0)
    assert found.items % 8 == 0


def test_a_steady_stream_is_counted_whole() -> None:
    found = window(Bounds(5, 2.0, 0, 1e9), [(i * 0.01, 1) for i in range(1000)])
    assert found.rate() == pytest.approx(100.0)
    assert found.begin == pytest.approx(0.15)  # the fifth at 0.04, and the pause after it


def test_the_window_waits_for_the_least_items_but_not_for_ever() -> None:
    patient = window(Bounds(1, 1.0, 48, 1e9), bursts(40, 8, every=2.0))
    assert patient.items == 48
    hasty = window(Bounds(1, 1.0, 48, 3.0), bursts(40, 8, every=2.0))
    assert hasty.items == 24


def test_bulk_requests_count_with_all_their_items() -> None:
    found = window(Bounds(96, 10.0, 0, 1e9), [(i * 1.5, 32) for i in range(1, 30)])
    assert found.rate() == pytest.approx(32 / 1.5)


def test_an_incomplete_window_has_no_rate() -> None:
    found = window(Bounds(4, 10.0, 0, 1e9), [(1.0, 4), (2.0, 4)])
    assert found.open
    assert not found.closed
    with pytest.raises(ValueError, match="too few"):
        found.rate()


def test_what_comes_after_the_window_changes_nothing() -> None:
    found = window(Bounds(1, 1.0, 0, 1e9), bursts(10, 4, every=2.0))
    before = (found.items, found.begin, found.end)
    found.add(1000.0, 99)
    assert (found.items, found.begin, found.end) == before


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentiles_are_nearest_ranks(share: float, expected: float) -> None:
    assert percentile([*range(100, 0, -1)], share) == expected


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_mean_batch_counts_batches_and_not_items() -> None:
    assert mean_batch([16] * 16 + [1, 1, 2, 2]) == pytest.approx(20 / 4)
    assert mean_batch([0, 0]) == 0.0


def test_ratios_are_taken_within_a_repeat() -> None:
    assert paired_ratio([9, 45, 18], [10, 50, 10]) == pytest.approx(0.9)  # a machine that was slow for a while is no loss


def test_added_latency_is_held_against_the_same_file() -> None:
    raw = {"short": [0.1, 0.3, 0.2], "long": [1.0]}
    assert added([("long", 1.1), ("short", 0.25)], raw) == pytest.approx([0.1, 0.05])


def test_verdicts() -> None:
    assert [verdict(True), verdict(False), verdict(True, quiet=False)] == ["pass", "FAIL", "not judged"]
