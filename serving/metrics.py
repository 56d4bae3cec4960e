"""What Candor counts, for Prometheus. The names of the steps are those of the timings on every draft.

Several processes serve one machine. Where PROMETHEUS_MULTIPROC_DIR is set, as `candor serve` does, they count into files there and
any of them can show the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from candor.drafts import Draft
from candor.errors import CandorError
from candor.predictions import Task
from serving.batching import BatchReport
from serving.config import metrics_folder

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_STEPS = ("fetch", "prepare", "queue", "infer", "finish")

if (_folder := metrics_folder()) is not None:  # on another machine of a cluster nobody has made it yet
    Path(_folder).mkdir(parents=True, exist_ok=True)

REQUESTS = Counter("candor_requests", "HTTP requests answered.", ["route", "method", "status"])
REQUEST_SECONDS = Histogram("candor_request_seconds", "Seconds from a request's first byte to its answer.", ["route"], buckets=_SECONDS)
DRAFTS = Counter("candor_drafts", "Drafts answered.", ["task", "confidence_status", "cached"])
ITEM_ERRORS = Counter("candor_item_errors", "Items answered with an error.", ["task", "code"])
STEP_SECONDS = Histogram("candor_item_step_seconds", "Seconds of one item in each step.", ["task", "step"], buckets=_SECONDS)
BATCH_SIZE = Histogram("candor_batch_size", "Units in one device call.", ["task"], buckets=_SIZES)
BATCH_SECONDS = Histogram("candor_batch_seconds", "Seconds of one device call.", ["task"], buckets=_SECONDS)
DROPPED = Counter("candor_dropped_units", "Units not inferred because their callers had gone.", ["task"])
HELD = Gauge("candor_held_items", "Items taken in and not answered yet.", ["task"], multiprocess_mode="livesum")
REFUSED = Counter("candor_refused", "Requests refused because of what their team may take.", ["team", "reason"])


def refused(team: str, reason: str) -> None:
    """Count one request that was refused because of its team's limits."""
    REFUSED.labels(team, reason).inc()


def item(task: Task, draft: Draft | None, error: CandorError | None) -> None:
    """Count one answered item."""
    if error is not None:
        ITEM_ERRORS.labels(task, error.code).inc()
    if draft is None:
        return
    DRAFTS.labels(task, draft.confidence_status, str(draft.timings.cached).lower()).inc()
    if not draft.timings.cached:
        for step in _STEPS:
            STEP_SECONDS.labels(task, step).observe(getattr(draft.timings, step))


def batch(task: Task, report: BatchReport) -> None:
    """Count one device call. Called from the device's thread."""
    BATCH_SIZE.labels(task).observe(report.size)
    BATCH_SECONDS.labels(task).observe(report.seconds)
    if report.dropped:
        DROPPED.labels(task).inc(report.dropped)


@contextmanager
def held(task: Task, items: int) -> Iterator[None]:
    """Count items while they are held."""
    HELD.labels(task).inc(items)
    try:
        yield
    finally:
        HELD.labels(task).dec(items)


def exposition() -> bytes:
    """Return all counts of this machine's processes in Prometheus' text format."""
    if (folder := metrics_folder()) is None:
        return generate_latest(REGISTRY)
    _forget_the_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Leave out what killed processes were holding; what they had counted stays."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}:
        if not psutil.pid_exists(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
