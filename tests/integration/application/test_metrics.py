"""What is counted, alone and over several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from candor.drafts import Timings
from candor.errors import UndecodableImage
from serving import metrics
from serving.batching import BatchReport
from tests.unit.store.drafts import draft


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_draft_is_counted_with_its_steps() -> None:
    labels = {"task": "detection", "confidence_status": "unverified", "cached": "false"}
    fetch = {"task": "detection", "step": "fetch"}
    before = sample("candor_drafts_total", **labels), sample("candor_item_step_seconds_sum", **fetch)
    metrics.item("detection", draft(confidence_status="unverified", timings=Timings(fetch=1.5)), None)
    assert sample("candor_drafts_total", **labels) == before[0] + 1
    assert sample("candor_item_step_seconds_sum", **fetch) == pytest.approx(before[1] + 1.5)


def test_a_stored_draft_does_not_count_its_steps_again() -> None:
    infer = {"task": "detection", "step": "infer"}
    before = sample("candor_item_step_seconds_count", **infer)
    again = draft(timings=replace(Timings(infer=1.0), cached=True))
    metrics.item("detection", again, None)
    assert sample("candor_item_step_seconds_count", **infer) == before
    assert sample("candor_drafts_total", task="detection", confidence_status="calibrated", cached="true") >= 1


def test_a_failed_item_is_counted_by_its_code() -> None:
    labels = {"task": "classification", "code": "undecodable_image"}
    before = sample("candor_item_errors_total", **labels)
    metrics.item("classification", None, UndecodableImage())
    assert sample("candor_item_errors_total", **labels) == before + 1


def test_batches_are_counted_with_what_was_dropped() -> None:
    before = sample("candor_dropped_units_total", task="transcription"), sample("candor_batch_size_sum", task="transcription")
    metrics.batch("transcription", BatchReport(size=3, seconds=0.1, dropped=2))
    metrics.batch("transcription", BatchReport(size=4, seconds=0.1, dropped=0))
    assert sample("candor_dropped_units_total", task="transcription") == before[0] + 2
    assert sample("candor_batch_size_sum", task="transcription") == before[1] + 7


def test_what_is_held_is_let_go_also_when_it_fails() -> None:
    before = sample("candor_held_items", task="detection")
    with suppress(RuntimeError), metrics.held("detection", 5):
        assert sample("candor_held_items", task="detection") == before + 5
        raise RuntimeError
    assert sample("candor_held_items", task="detection") == before


def test_steps_have_the_names_of_the_timings() -> None:
    assert [name for name in Timings().as_json() if name not in ("batch_size", "cached")] == list(metrics._STEPS)


def test_processes_count_together(tmp_path: Path) -> None:
    """The client library chooses where it counts when it is imported, so this needs processes."""
    count = "from serving import metrics; metrics.REQUESTS.labels('/x', 'GET', '200').inc(3); metrics.HELD.labels('detection').inc(2)"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for program in (count, f"{count}; print(metrics.exposition().decode())"):
        answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert 'candor_requests_total{method="GET",route="/x",status="200"} 6.0' in answer.stdout
    assert 'candor_held_items{task="detection"} 2.0' in answer.stdout  # of the process that lives
