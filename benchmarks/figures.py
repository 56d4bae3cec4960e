"""The arithmetic of the benchmark: rates without edge effects, percentiles, ratios, and verdicts in words. No clocks, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

RATIO_FLOOR = 0.90  # served / raw
ADDED_CEILING = 0.020  # seconds, median, at one request a second
_SETTLE = 0.1  # seconds; longer than the answers of one batch are spread over


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a phase at saturation goes on: `seconds`, and until `least` items are done, but never longer than `most` seconds."""

    warm: int  # items before the measured window begins
    seconds: float
    least: int
    most: float


class Window:
    """Counts completions between two moments that both stand at the beginning of a burst.

    Batches complete in bursts. A window that began or ended within one would count part of a batch without its time, or the time without
    the part: with a few batches in all, an error of tens of percent. So it opens at the first completion after a pause that no burst
    outlasts, counting that one, and closes before the first one after such a pause at the other end.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.items = 0
        self.begin: float | None = None
        self.end: float | None = None
        self._warmed = 0
        self._due: float | None = None  # the next completion after this opens, or closes, the window

    @property
    def open(self) -> bool:
        """Whether completions are being counted."""
        return self.begin is not None and self.end is None

    @property
    def closed(self) -> bool:
        """Whether the window is complete."""
        return self.end is not None

    def add(self, at: float, items: int) -> None:
        """Take note of items that were completed at a time. Times do not decrease."""
        if self.end is not None:
            return
        if self._due is not None and at > self._due:
            self._due = None
            if self.begin is not None:
                self.end = at
                return
            self.begin = at
        if self.begin is None:
            self._warmed += items
            if self._due is None and self._warmed >= self.bounds.warm:
                self._due = at + _SETTLE
            return
        self.items += items
        if self._due is None and self._enough(at - self.begin):
            self._due = at + _SETTLE

    def rate(self) -> float:
        """Return items per second.

        Raises:
            ValueError: the window is not complete.
        """
        if self.begin is None or self.end is None:
            raise ValueError("too few completions for a rate")
        return self.items / (self.end - self.begin)

    def _enough(self, elapsed: float) -> bool:
        return (elapsed >= self.bounds.seconds and self.items >= self.bounds.least) or elapsed >= self.bounds.most


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value under which `share` (0 to 1) of the values lie: the nearest rank, always one of them.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]


def mean_batch(sizes: Sequence[int]) -> float:
    """Return the mean size of the batches whose items tell their batch's size: a batch of n is told of n times."""
    told = [size for size in sizes if size > 0]
    return len(told) / sum(1 / size for size in told) if told else 0.0


def paired_ratio(served: Sequence[float], raw: Sequence[float]) -> float:
    """Return the median over repeats of served / raw, each repeat's two measured one after the other."""
    return median(one / other for one, other in zip(served, raw, strict=True))


def added(served: Sequence[tuple[str, float]], raw: Mapping[str, Sequence[float]]) -> list[float]:
    """Return, for each served item (file, seconds), its seconds less the median of the raw ones of the same file."""
    alone = {name: median(seconds) for name, seconds in raw.items()}
    return [seconds - alone[name] for name, seconds in served]


def verdict(reached: bool, *, quiet: bool = True) -> str:
    """Say whether a floor is reached; on a machine that others kept busy nobody knows."""
    if not quiet:
        return "not judged"
    return "pass" if reached else "FAIL"
