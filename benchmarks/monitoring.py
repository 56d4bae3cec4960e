"""How soon the monitor tells a dishonest calibration, and how seldom it errs: `python -m benchmarks.monitoring`.

Simulated labels with known truths; the same seed, the same figures. The population: independent labels whose confidence p is drawn from
Beta(4, 0.93), a model that is right four times in five and often sure; each is right with probability p - gap, held to 0 to 1, where the
gap is constant and a negative one is under-confidence. A delay is judged against the figure that the monitor was sized with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, isinf, sqrt
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.figures import verdict
from calibration.intervals import Figure
from calibration.measure import log_losses
from calibration.monitor import ALPHA, EPSILON, RUN_LENGTH, AlarmKind, Monitor
from calibration.promotion import promote
from calibration.streams import ppi_mean
from candor.predictions import Floats

SEED = 20260101
SLACK = 1.5  # a delay may be that many times what was expected
LONGEST = 12_000  # labels; later alarms count as never
QUIET = 2_000  # labels before a change
# gap: median and 90th percentile of labels that were expected
OVER = {0.03: (3096, inf), 0.05: (774, 1560), 0.08: (235, 521), 0.12: (114, 236)}
CHANGE = {0.05: (462, 1184), 0.08: (200, 412), 0.12: (98, 199)}
FALSE_LABELS = 3_000  # that a path without anything to tell is watched for
_STEP = 250
_REVIEWS, _AUDITED = 20_000, 1_000
_LOOKS = range(100, 3001, 100)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reached` is None where nothing is judged."""

    what: str
    measured: str
    expected: str
    reached: bool | None
    figures: Mapping[str, float | None]


def drawn(rng: np.random.Generator, labels: int, gap: float) -> tuple[Floats, Floats]:
    """Return confidences and truths (labels,) of the population above."""
    p = rng.beta(4, 0.93, labels)
    return p, (rng.random(labels) < np.clip(p - gap, 0, 1)).astype(np.float64)


def labels_until(kind: AlarmKind, rng: np.random.Generator, gap: float, start: Monitor, longest: int = LONGEST) -> float:
    """Return after how many further labels of a gap an alarm comes; infinite where none came within the longest wait."""
    monitor = start
    while monitor.labels - start.labels < longest:
        monitor = monitor.run(*drawn(rng, _STEP, gap))
        if alarm := monitor.alarm(kind):
            return float(alarm.at - start.labels)
    return inf


def delay_row(what: str, delays: list[float], expected: tuple[float, float] | None) -> Row:
    """Put delays beside what was expected of their median and 90th percentile."""
    median, most = (float(np.quantile(delays, share, method="higher")) for share in (0.5, 0.9))
    figures = {"paths": len(delays), "median": _number(median), "q90": _number(most)}
    measured = f"{_words(median)} / {_words(most)} (n {len(delays):,})"
    if expected is None:
        return Row(what, measured, "", None, figures)
    reached = median <= SLACK * expected[0] and most <= SLACK * expected[1]
    return Row(what, measured, f"<= {SLACK} x {_words(expected[0])} / {_words(expected[1])}", reached, figures)


def rate_row(what: str, events: list[bool], most: float) -> Row:
    """Put a rate beside the one that is stated: it may be 2 standard errors above."""
    rate, bound = float(np.mean(events)), most + 2 * sqrt(most * (1 - most) / len(events))
    return Row(what, f"{rate:.4f} (n {len(events):,})", f"<= {bound:.4f}", rate <= bound, {"paths": len(events), "rate": rate})


def delays(paths: int) -> list[Row]:
    """Measure how many labels an alarm takes, from the first label on, and after a quiet time."""
    rng = np.random.default_rng(SEED)
    rows = []
    for gap, expected in OVER.items():
        found = [labels_until("over", rng, gap, Monitor()) for _ in range(paths)]
        rows.append(delay_row(f"labels until `over`, gap {gap:.0%}", found, expected))
    for gap in OVER:
        found = [labels_until("under", rng, -gap, Monitor()) for _ in range(paths)]
        rows.append(delay_row(f"labels until `under`, gap -{gap:.0%}", found, None))
    for gap, expected in CHANGE.items():
        quiet = [Monitor().run(*drawn(rng, QUIET, 0.0)) for _ in range(paths)]
        kept = [one for one in quiet if one.alarm("change") is None]
        found = [labels_until("change", rng, gap, one) for one in kept]
        rows.append(delay_row(f"labels from a change to `change`, gap {gap:.0%}, after {QUIET:,} honest ones", found, expected))
    return rows


def false_alarms(paths: int) -> list[Row]:
    """Measure how often an alarm comes where none should, and how long it takes at the edge of what is tolerated."""
    rng = np.random.default_rng(SEED + 1)
    rows = []
    for gap in (0.0, EPSILON):
        found = [Monitor().run(*drawn(rng, FALSE_LABELS, gap)) for _ in range(paths)]
        rows.append(
            rate_row(f"false `over` within {FALSE_LABELS:,} labels, gap {gap:.0%}", [bool(one.alarm("over")) for one in found], ALPHA)
        )
        changes = [bool(one.alarm("change")) for one in found]
        # R at the alarm, or at the last label if that is earlier, is expected to be no more than the labels so far
        rows.append(rate_row(f"false `change` within {FALSE_LABELS:,} labels, gap {gap:.0%}", changes, FALSE_LABELS / RUN_LENGTH))
    mirrored = [bool(Monitor().run(*drawn(rng, FALSE_LABELS, -EPSILON)).alarm("under")) for _ in range(paths)]
    rows.append(rate_row(f"false `under` within {FALSE_LABELS:,} labels, gap -{EPSILON:.0%}", mirrored, ALPHA))
    longest = int(5 * RUN_LENGTH)
    runs = [min(longest, labels_until("change", rng, EPSILON, Monitor(), longest)) for _ in range(max(20, paths // 50))]
    mean, error = float(np.mean(runs)), float(np.std(runs) / sqrt(len(runs)))
    figures = {"paths": len(runs), "mean": mean, "standard_error": error}
    what = f"mean labels until a false `change`, gap {EPSILON:.0%}, cut at {longest:,}"
    rows.append(
        Row(what, f"{mean:,.0f} +- {error:,.0f} (n {len(runs):,})", f">= {RUN_LENGTH:,.0f}", mean + 2 * error >= RUN_LENGTH, figures)
    )
    return rows


def reviewed(rng: np.random.Generator, items: int) -> tuple[Floats, Floats]:
    """Return whether drafts of a model that is 6 points too sure are right, and whether reviewers let them pass.

    They catch 45 % of errors where the confidence is above 0.9 and 75 % elsewhere, and change 2 % of right drafts.
    """
    p, right = drawn(rng, items, 0.06)
    caught = rng.random(items) < np.where(p > 0.9, 0.45, 0.75)
    return right, np.where(right == 1, rng.random(items) >= 0.02, ~caught).astype(np.float64)


def estimates(paths: int) -> list[Row]:
    """Measure whether 95 % intervals of the accuracy hold it: of reviews alone, of audited truths alone, and of both together."""
    rng = np.random.default_rng(SEED + 2)
    truth = float(np.mean([drawn(rng, 1_000_000, 0.06)[1].mean() for _ in range(10)]))
    held: dict[str, list[bool]] = {"reviews alone": [], "audited truths alone": [], "truths with reviews as proxy (PPI++)": []}
    widths: dict[str, list[float]] = {name: [] for name in held}
    for _ in range(paths):
        right, passed = reviewed(rng, _REVIEWS)
        found = ppi_mean(right[:_AUDITED], passed[:_AUDITED], passed[_AUDITED:])
        half = 1.96 * passed.std() / sqrt(_REVIEWS)
        mean = float(passed.mean())
        for name, one in zip(held, (Figure(mean, mean - half, mean + half), found.truths_only, found.powered), strict=True):
            low, high = _ends(one)
            held[name].append(low <= truth <= high)
            widths[name].append(high - low)
    rows = []
    for name, hits in held.items():
        coverage, width = float(np.mean(hits)), float(np.mean(widths[name]))
        reached = None if name == "reviews alone" else 0.93 <= coverage <= 0.97
        figures = {"paths": len(hits), "coverage": coverage, "width": width}
        expected = "fails" if reached is None else "0.93 to 0.97"
        rows.append(Row(f"coverage: {name}", f"{coverage:.3f}, width {width:.4f} (n {len(hits):,})", expected, reached, figures))
    return rows


def trap(rng: np.random.Generator, labels: int) -> tuple[Floats, Floats]:
    """Return losses of a calibration and of a new one that is better by a little, rarely worse by much, and no better in the mean."""
    rare = rng.random(labels) < 0.005
    return np.where(rare, 0.0, 0.01), np.where(rare, 1.99, 0.0)


def repaired(rng: np.random.Generator, labels: int) -> tuple[Floats, Floats]:
    """Return losses of a calibration that is 8 points too sure, and of a new one that says what is so."""
    p, right = drawn(rng, labels, 0.08)
    return log_losses(p, right), log_losses(np.clip(p - 0.08, 1e-6, 1), right)


def promotions(paths: int) -> list[Row]:
    """Measure how often a calibration that is no better is promoted by one of many looks, and what a better one takes."""
    rng = np.random.default_rng(SEED + 3)
    false, needed = [], []
    for _ in range(paths):
        old, new = trap(rng, _LOOKS[-1])
        false.append(any(promote(old[:n], new[:n]).promote for n in _LOOKS))
        old, new = repaired(rng, _LOOKS[-1])
        needed.append(next((float(n) for n in _LOOKS if promote(old[:n], new[:n]).promote), inf))
    return [
        rate_row(f"an equal is promoted by one of {len(_LOOKS)} looks", false, 0.025),
        delay_row("labels until a calibration that repairs a gap of 8% is promoted", needed, None),
    ]


def _ends(figure: Figure | None) -> tuple[float, float]:
    if figure is None or figure.low is None or figure.high is None:
        raise RuntimeError("an estimate has no interval: nothing would be measured")
    return figure.low, figure.high


def _number(value: float) -> float | None:
    return None if isinf(value) else value


def _words(value: float) -> str:
    return "never" if isinf(value) else f"{value:,.0f}"


def table_of(rows: list[Row]) -> Table:
    """Return the table: a line for each figure."""
    table = Table(title="The monitor and its estimates on simulated labels", title_justify="left")
    for column in ("", "measured", "expected", ""):
        table.add_column(column)
    for row in rows:
        table.add_row(row.what, row.measured, row.expected, "" if row.reached is None else verdict(row.reached))
    return table


def main(
    paths: Annotated[int, typer.Option(min=20, help="Simulated paths of each delay; of false alarms five times as many.")] = 2_000,
    to: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("var/bench/monitoring.json"),
) -> None:
    """Simulate, print the table and write the figures. Exit code 1 where one is not as expected."""
    rows = delays(paths) + false_alarms(5 * paths) + estimates(paths) + promotions(max(20, paths // 5))
    found: dict[str, Any] = {
        "seed": SEED,
        "population": "p ~ Beta(4, 0.93), right with probability p - gap",
        "rows": [asdict(r) for r in rows],
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    Console(width=150).print(table_of(rows))
    if any(row.reached is False for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
