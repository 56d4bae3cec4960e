"""The scorecard of honest review: what the alarms and estimates do in simulated programmes, against what is asked of them.

The limits are those of the acceptance protocol. Each line has its n; a rate has its exact 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import exp, inf, isinf, log, sqrt
from typing import Any

import numpy as np

from candor.predictions import Floats, Ints
from review.alarms import FLOOR, RUN_LENGTH, WORSE, advance, log_mixture, log_odds_of
from review.effect import Estimate, Work, controls_needed, error_difference, ratio_of_means, time_ratio
from review.figures import clopper_pearson, difference, rate
from review.simulate import ITEMS, Outcome, World, population, run

SEED = 20260101
PATHS = 10_000  # of the stakes' rate of false alarms
ALPHA = 0.01
# the share of items that stampers don't look at, against the catch rate that is left
CATCH = {0.7: 0.27, 0.5: 0.45, 0.3: 0.63}
WORLDS: Mapping[str, World] = {
    "adaptive, catch 0.27": World(population(0.7)),
    "adaptive, catch 0.45": World(population(0.5)),
    "adaptive, catch 0.63": World(population(0.3)),
    "fixed 2 %, catch 0.27": World(population(0.7), rate=0.02),
    "fixed 5 %, catch 0.27": World(population(0.7), rate=0.05),
    "fixed 5 %, catch 0.45": World(population(0.5), rate=0.05),
    "fixed 10 %, catch 0.27": World(population(0.7), rate=0.10),
    "adaptive, catch 0.27, 3 % of drafts wrong": World(population(0.7), draft_error=0.03),
    "adaptive, catch 0.27, 30 % of drafts wrong": World(population(0.7), draft_error=0.30),
    "adaptive, catch 0.27, 30 % more wrong than said": World(population(0.7), misspecified=0.3),
    "adaptive, catch 0.27, 30 % fewer wrong than said": World(population(0.7), misspecified=-0.3),
    "adaptive, catch 0.27, 5 % of honeypots impossible": World(population(0.7), impossible=0.05),
    "adaptive, catch 0.27, 20 % of stampers know honeypots": World(population(0.7, recognise=0.2)),
}
_GATED = {"adaptive, catch 0.27": (500, 0.95, 200), "adaptive, catch 0.45": (1000, 0.90, 400)}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what was measured, what is asked, and whether it is reached; None where nothing is asked."""

    what: str
    measured: str
    asked: str
    reached: bool | None
    figures: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        """Return the line as JSON values."""
        return asdict(self)


def scorecard(programmes: int = 200, replicates: int = 1000, progress: Callable[[str], None] | None = None) -> Iterator[Line]:
    """Measure all, line by line; the same numbers, the same lines."""
    for number, (name, world) in enumerate(WORLDS.items()):
        if progress is not None:
            progress(name)
        yield from lines_of(name, run(world, programmes, SEED + number))
    yield from stakes()
    for reviewers in (8, 20, 60):
        if progress is not None:
            progress(f"coverage, {reviewers} reviewers")
        yield from coverage(reviewers, replicates)
    yield controls()


def lines_of(name: str, found: Outcome) -> Iterator[Line]:
    """Return the lines of one world: false accusations, power, delay, the weak, and what it costs."""
    attentive = found.accused[:, found.of("attentive")]
    yield _at_most(f"{name}: an attentive reviewer accused, per programme", (attentive > 0).any(axis=1), 0.05)
    yield _at_most(f"{name}: weak but honest, accused", found.accused[:, found.of("weak")].ravel() > 0, 0.10)
    within, share, delay = _GATED.get(name, (500, 0.0, 0))
    stampers = _waits(found.accused[:, found.of("stampers")], 0)
    yield _at_least(f"{name}: stampers accused within {within} items", stampers <= within, share)
    yield _quantiles(f"{name}: items until a stamper is accused", stampers, inf)
    drifters = _waits(found.accused[:, found.of("drifters")], found.items // 2)
    yield _quantiles(f"{name}: items from the change on", drifters, delay or inf)
    everybody, honest = found.honeypots.mean() / found.items, found.honeypots[:, found.of("attentive")].mean() / found.items
    asked = "adaptive" in name
    yield Line(
        f"{name}: honeypots among items, all and attentive",
        f"{everybody:.1%}, {honest:.1%}",
        "<= 5 %" if asked else "",
        bool(everybody <= 0.05) if asked else None,
        {"all": float(everybody), "attentive": float(honest)},
    )
    if "know" in name:
        yield _told_by_controls(name, found)


def _told_by_controls(name: str, found: Outcome) -> Line:
    """Of stampers who were not accused, how many does the control arm tell: more errors with drafts than without?"""
    some = found.of("stampers")
    rows = np.stack(
        [one[:, some].ravel() for one in (found.accused, found.assisted_wrong, found.assisted, found.control_wrong, found.control)]
    )
    left = rows[:, rows[0] == 0].T
    told = [(difference(rate(int(aw), int(a)), rate(int(cw), int(c))).low or 0.0) > 0 for _, aw, a, cw, c in left]
    return _at_least(f"{name}: of the others, told by the control arm", np.array(told, np.bool_), 0.0)


def stakes() -> Iterator[Line]:
    """Return how often the stakes of reviewers exactly at the floor ever reach 1 / alpha, and how long R takes to reach its bar."""
    rng = np.random.default_rng(SEED + 100)
    stake, crossed = np.zeros((PATHS, len(WORSE))), np.zeros(PATHS, np.bool_)
    for _ in range(600):
        stake += log_odds_of(rng.random(PATHS) >= FLOOR)
        crossed |= log_mixture(stake) >= -log(ALPHA)
    yield _at_most(f"stakes at the floor ever reach {1 / ALPHA:.0f}, within 600 honeypots", crossed, ALPHA + 2 * sqrt(ALPHA / PATHS))
    longest, paths = int(4 * RUN_LENGTH), 400
    log_r, lengths = np.full((paths, len(WORSE)), -np.inf), np.full(paths, longest)
    for at in range(longest):
        log_r = advance(log_r, log_odds_of(rng.random(paths) >= FLOOR))
        lengths = np.where((log_mixture(log_r) >= log(RUN_LENGTH)) & (lengths == longest), at + 1, lengths)
        if (lengths < longest).all():
            break
    mean, error = float(lengths.mean()), float(lengths.std() / sqrt(paths))
    figures = {"paths": float(paths), "mean": mean, "standard_error": error}
    measured = f"{mean:,.0f} +- {error:,.0f} (n {paths})"
    yield Line(
        f"mean honeypots until a false alarm at the floor, cut at {longest:,}",
        measured,
        f">= {RUN_LENGTH:,.0f}",
        mean >= RUN_LENGTH,
        figures,
    )


# --- estimates


def worked(rng: np.random.Generator, reviewers: int, items: int = 300) -> Work:
    """Return work of reviewers who differ in speed, care and in what drafts do for them; the mean effects are those of TRUE."""
    who = np.repeat(np.arange(reviewers), items)
    shown = rng.random(len(who)) >= 0.15
    hard = rng.random(len(who)) < 0.3
    speed, gain = rng.normal(2, 0.4, reviewers)[who], rng.normal(log(TRUE["time"]), 0.15, reviewers)[who]
    harm = rng.normal(TRUE["errors"], 0.02, reviewers)[who]
    seconds = np.exp(speed + gain * shown + 0.5 * hard + rng.normal(0, 0.6, len(who)))
    wrong = rng.random(len(who)) < np.clip(0.06 + 0.04 * hard + harm * shown, 0, 1)
    return Work([str(one) for one in who], shown, seconds, wrong.astype(np.float64), [str(one) for one in hard])


TRUE = {"time": 0.75, "errors": 0.04}


def coverage(reviewers: int, replicates: int) -> Iterator[Line]:
    """Return how often 95 % intervals hold the truth, with so many reviewers; the last line is an interval that takes items for units."""
    rng = np.random.default_rng(SEED + 200 + reviewers)
    held: dict[str, list[bool]] = {"time ratio": [], "ratio of means": [], "error difference": [], "time ratio, items as units": []}
    # the mean of exp(gain) over reviewers is not exp of the mean: what a bill sees is helped a little less
    means = TRUE["time"] * np.exp(0.15**2 / 2)
    for _ in range(replicates):
        work = worked(rng, reviewers)
        errors = error_difference(work)
        for name, one, truth in (
            ("time ratio", time_ratio(work), TRUE["time"]),
            ("ratio of means", ratio_of_means(work), means),
            ("error difference", errors, TRUE["errors"]),
            ("time ratio, items as units", _naive(work), TRUE["time"]),
        ):
            held[name].append(one is not None and (one.low or -inf) <= truth <= (one.high or inf))
    for name, hits in held.items():
        yield _coverage(f"{reviewers} reviewers: 95 % interval holds the {name}", np.array(hits), asked="items" not in name)


def _naive(work: Work) -> Estimate:
    """Return the time ratio as if each item told something new of what drafts do for people in general."""
    names, who = np.unique(work.reviewer, return_inverse=True)
    logs = np.log(work.seconds)
    logs -= (np.bincount(who, logs) / np.bincount(who, minlength=len(names)))[who]
    arms = [logs[work.assisted == side] for side in (True, False)]
    value, error = float(arms[0].mean() - arms[1].mean()), sqrt(sum(float(one.var()) / len(one) for one in arms))
    return Estimate(len(arms[0]), len(arms[1]), 0, exp(value), exp(value - 1.96 * error), exp(value + 1.96 * error))


def controls(replicates: int = 4000) -> Line:
    """Return how often 24 control items tell an error rate of 0.15 with drafts from one of 0.03 without."""
    rng = np.random.default_rng(SEED + 300)
    n = round(controls_needed(sqrt(0.03 * 0.97), 0.12, spread_assisted=sqrt(0.15 * 0.85)))
    control, assisted = rng.binomial(n, 0.03, replicates) / n, rng.binomial(9 * n, 0.15, replicates) / (9 * n)
    error = np.sqrt(0.03 * 0.97 / n + 0.15 * 0.85 / (9 * n))
    return _at_least(f"{n} control items tell errors of 0.15 from 0.03", (assisted - control) / error > 1.959964, 0.78)


# --- lines


def _waits(accused: Ints, start: int) -> Floats:
    """Return items from `start` on until each accusation; infinite where none came, and dropped where it came before."""
    waits = accused.ravel().astype(np.float64)
    waits[waits == 0] = inf
    return np.asarray(waits[waits > start] - start)


def _share(hits: Any) -> tuple[str, dict[str, float | None]]:
    n, y = len(hits), int(np.sum(hits))
    if not n:
        return "(none)", {"n": 0, "rate": None}
    low, high = clopper_pearson(y, n)
    return f"{y / n:.3f}, {low:.3f} to {high:.3f} (n {n:,})", {"n": n, "rate": y / n, "low": low, "high": high}


def _at_most(what: str, hits: Any, most: float) -> Line:
    measured, figures = _share(hits)
    return Line(what, measured, f"<= {most:.3g}", bool(np.mean(hits) <= most), figures)


def _at_least(what: str, hits: Any, least: float) -> Line:
    measured, figures = _share(hits)
    return Line(what, measured, f">= {least:.3g}" if least else "", bool(np.mean(hits) >= least) if least and len(hits) else None, figures)


def _coverage(what: str, hits: Any, *, asked: bool) -> Line:
    measured, figures = _share(hits)
    return Line(what, measured, "0.93 to 0.97" if asked else "fails", bool(0.93 <= np.mean(hits) <= 0.97) if asked else None, figures)


def _quantiles(what: str, waits: Floats, most: float) -> Line:
    if not len(waits):
        return Line(what, "(none)", "", None, {"n": 0})
    median, many = (float(np.quantile(waits, share, method="higher")) for share in (0.5, 0.9))
    words = [f"{one:,.0f}" if not isinf(one) else f"never in {ITEMS:,}" for one in (median, many)]
    figures = {"n": float(len(waits)), "median": None if isinf(median) else median, "q90": None if isinf(many) else many}
    asked = "" if isinf(most) else f"median <= {most:.0f}"
    return Line(what, f"median {words[0]}, q90 {words[1]} (n {len(waits):,})", asked, None if isinf(most) else median <= most, figures)
