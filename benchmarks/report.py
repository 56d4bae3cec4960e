"""What a run comes to: one summary per task, as a table for people and JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.figures import ADDED_CEILING, RATIO_FLOOR, added, paired_ratio, percentile, verdict
from benchmarks.machine import QUIET
from benchmarks.null import HEADROOM
from benchmarks.raw import RawRun
from benchmarks.served import BULK, CLIENTS, IN_FLIGHT, ServedRun
from benchmarks.session import Ceiling, Results
from candor.predictions import Task
from candor.tasks import SPECS
from serving.loading import cores


@dataclass(frozen=True, slots=True)
class Summary:
    """One task's figures over all repeats. Rates in items/s, times in seconds."""

    task: Task
    model: str
    max_batch: int
    raw: float
    raw_ahead: float
    raw_half: float  # in the batches that the clients can form
    raw_alone: float
    clients: float
    clients_batch: float
    bulk: float
    bulk_batch: float
    clients_ratio: float
    bulk_ratio: float
    ahead_ratio: float  # the better of the two phases against the loop that prepares ahead
    period: float
    paced: int
    served_alone: float
    added_p50: float
    added_p99: float
    generator_cpu: float  # cores busy, the greater of the two phases
    others_cpu: float  # cores that were busy with other work, in the phase in which it was most

    @property
    def quiet(self) -> bool:
        """Whether this machine was left alone."""
        return self.others_cpu <= QUIET * cores()

    @property
    def floors(self) -> dict[str, bool]:
        """Whether each floor is reached."""
        return {
            "clients_ratio": self.clients_ratio >= RATIO_FLOOR,
            "bulk_ratio": self.bulk_ratio >= RATIO_FLOOR,
            "added_p50": self.added_p50 <= ADDED_CEILING,
        }

    def judged(self, figure: str, floor: str) -> str:
        """Return a figure with the verdict on it, in rich's markup."""
        reached = self.floors[floor]
        style = "yellow" if not self.quiet else "green" if reached else "bold red"
        return f"{figure} [{style}]{verdict(reached, quiet=self.quiet)}[/]"


def summarise(task: Task, raw: Sequence[RawRun], served: Sequence[ServedRun]) -> Summary:
    """Put the repeats together: medians of rates, medians of each repeat's own ratio, all paced items in one."""
    plain, clients, bulk = [run.plain for run in raw], [run.clients.rate for run in served], [run.bulk.rate for run in served]
    alone = {name: [run.latency[name] for run in raw] for name in raw[0].latency}
    more = added([one for run in served for one in run.latency], alone)
    phases = [phase for run in served for phase in (run.clients, run.bulk)]
    return Summary(
        task=task,
        model=raw[0].version.partition("@")[0],
        max_batch=raw[0].max_batch,
        raw=median(plain),
        raw_ahead=median(run.ahead for run in raw),
        raw_half=median(run.half for run in raw),
        raw_alone=median(seconds for run in raw for seconds in run.latency.values()),
        clients=median(clients),
        clients_batch=median(run.clients.batch for run in served),
        bulk=median(bulk),
        bulk_batch=median(run.bulk.batch for run in served),
        clients_ratio=paired_ratio(clients, plain),
        bulk_ratio=paired_ratio(bulk, plain),
        ahead_ratio=paired_ratio([max(both) for both in zip(clients, bulk, strict=True)], [run.ahead for run in raw]),
        period=max(run.period for run in raw),
        paced=len(more),
        served_alone=median(seconds for run in served for _, seconds in run.latency),
        added_p50=percentile(more, 0.5),
        added_p99=percentile(more, 0.99),
        generator_cpu=max(phase.cpu["generator"] for phase in phases),
        others_cpu=max([phase.cpu["others"] for phase in phases] + [run.others for run in raw]),
    )


def summaries(results: Results) -> list[Summary]:
    """Return the summary of each task."""
    return [summarise(task, runs, results.served[task]) for task, runs in results.raw.items()]


def table_of(found: Sequence[Summary], repeats: int) -> Table:
    """Return the table: a row for each figure, a column for each task."""
    table = Table(title=f"Served against raw, medians of {repeats} interleaved repeat{'s' if repeats > 1 else ''}", title_justify="left")
    table.add_column("")
    for one in found:
        table.add_column(one.task, justify="right")
    table.add_column("floor", justify="right")
    for name, cells, floor in _rows(found):
        table.add_row(name, *cells, floor, end_section=bool(floor))
    return table


def _rows(found: Sequence[Summary]) -> list[tuple[str, list[str], str]]:
    floor = f">= {RATIO_FLOOR:.2f}"
    return [
        ("model, batch cap", [f"{one.model}, {one.max_batch}" for one in found], ""),
        ("raw loop, items/s", [f"{one.raw:.2f}" for one in found], ""),
        ("raw loop that prepares ahead, items/s", [f"{one.raw_ahead:.2f}" for one in found], ""),
        (f"raw loop in batches of {CLIENTS // 2} at most, items/s", [f"{one.raw_half:.2f}" for one in found], ""),
        (
            f"served, {CLIENTS} clients, items/s (mean batch)",
            [f"{one.clients:.2f} ({one.clients_batch:.1f})" for one in found],
            "",
        ),
        (
            "served, bulk, items/s (mean batch)",
            [f"{one.bulk:.2f} ({one.bulk_batch:.1f})" for one in found],
            "",
        ),
        ("served / raw, clients", [one.judged(f"{one.clients_ratio:.2f}", "clients_ratio") for one in found], floor),
        ("served / raw, bulk", [one.judged(f"{one.bulk_ratio:.2f}", "bulk_ratio") for one in found], floor),
        ("better of both / raw that prepares ahead", [f"{one.ahead_ratio:.2f}" for one in found], "none set"),
        ("one item alone, raw, p50 ms", [f"{one.raw_alone * 1000:.1f}" for one in found], ""),
        ("one item alone, served, p50 ms", [f"{one.served_alone * 1000:.1f}" for one in found], ""),
        (
            "added, p50 ms",
            [one.judged(f"{one.added_p50 * 1000:.1f}", "added_p50") for one in found],
            f"<= {ADDED_CEILING * 1000:.0f} ms",
        ),
        ("added, p99 ms (n, one every s)", [f"{one.added_p99 * 1000:.1f} ({one.paced}, {one.period:.1f})" for one in found], "none set"),
        ("cores busy at most: generator, other work", [f"{one.generator_cpu:.2f}, {one.others_cpu:.2f}" for one in found], ""),
    ]


def notes(results: Results, found: Sequence[Summary]) -> list[str]:
    """Return what a reader of the table must know."""
    told = [
        f"{CLIENTS} clients of one item each form batches of {CLIENTS // 2}: while those run, the other {CLIENTS - CLIENTS // 2} wait",
        f"bulk: {BULK['image']} images or {BULK['audio']} recordings in a request, {IN_FLIGHT} requests in flight",
    ]
    told += [
        _headroom(kind, ceiling, max(rates))
        for kind, ceiling, rates in (
            ("single", results.single, [one.clients for one in found]),
            ("bulk", results.bulk, [one.bulk for one in found]),
        )
        if ceiling is not None
    ]
    return [*told, _conclusion(found)]


def _conclusion(found: Sequence[Summary]) -> str:
    if noisy := [f"{one.task} ({one.others_cpu:.2f} of {cores()} cores)" for one in found if not one.quiet]:
        return (
            f"NOT JUDGED, because other work took more than {QUIET:.0%} of this machine: {', '.join(noisy)}. Measure again when it is quiet"
        )
    missed = [f"{one.task}: {name}" for one in found for name, reached in one.floors.items() if not reached]
    return f"floors missed: {', '.join(missed)}" if missed else "every floor is reached"


def _headroom(kind: str, ceiling: Ceiling, offered: float) -> str:
    """Say what the generator can do beside what it offered. Where the null application held it up, its own cores tell."""
    head = f"generator, {kind} requests: {ceiling.rate:.0f} images/s against a null application, keeping {ceiling.cpu:.2f} cores busy: "
    factor, alone = ceiling.rate / offered, ceiling.rate / max(ceiling.cpu, 0.01) / offered
    if factor >= HEADROOM:
        return f"{head}{factor:.0f} times the busiest task here, enough"
    if alone >= HEADROOM:
        return (
            f"{head}{factor:.1f} times the busiest task here; the null application was the limit: with a core to itself {alone:.0f} times"
        )
    return f"{head}{factor:.1f} times the busiest task here: THE GENERATOR LIMITS, {HEADROOM:.0f} times are needed"


def as_json(results: Results, found: Sequence[Summary], machine: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON values, each run included."""
    tasks = {}
    for one in found:
        runs = {"raw": [asdict(run) for run in results.raw[one.task]], "served": [asdict(run) for run in results.served[one.task]]}
        tasks[one.task] = {"media": SPECS[one.task].media, "summary": asdict(one), "floors": one.floors, "quiet": one.quiet, "runs": runs}
    generator = {kind: asdict(one) for kind, one in (("single", results.single), ("bulk", results.bulk)) if one is not None}
    floors = {"ratio": RATIO_FLOOR, "added_p50_seconds": ADDED_CEILING, "generator_headroom": HEADROOM}
    return {"machine": machine, "settings": settings, "floors": floors, "generator": generator, "tasks": tasks}
