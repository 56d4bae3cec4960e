"""What applying a calibration costs: `python -m benchmarks.calibration`. It is on the path of every draft; 50 microseconds are allowed."""

from __future__ import annotations

import timeit
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import verdict
from calibration.apply import apply
from calibration.methods import METHODS
from calibration.record import CalibrationRecord
from candor.predictions import Classification, Detections, Prediction, Segment, Task, Transcript, Word

MOST_SECONDS = 50e-6
_CALLS, _REPEATS = 2_000, 7
_VERSION = "stub@sha256:" + "0" * 64


def record_for(task: Task) -> CalibrationRecord:
    """Return a calibration of a model that is not there."""
    return CalibrationRecord(
        task=task,
        method=METHODS[task][0],
        parameters={"temperature": 0.8} if task == "classification" else {"temperature": 0.8, "bias": -0.1},
        model_version=_VERSION,
        event="none",
        data={},
        fit={},
        figures={},
        status="calibrated",
        reason="",
        created_at="2026-01-01T00:00:00+00:00",
        display_threshold=0.1 if task == "detection" else None,
        normaliser={"name": "none", "version": "0"} if task == "transcription" else None,
    )


def prediction_for(task: Task) -> tuple[str, Prediction]:
    """Return a large prediction of an ordinary item, and what it has."""
    rng = np.random.default_rng(0)
    logits = np.sort(rng.normal(size=100))[::-1]
    if task == "detection":
        found = Detections((640, 480), rng.uniform(0, 480, (100, 4)), rng.integers(80, size=100), 1 / (1 + np.exp(-logits)), logits)
        return "100 boxes", found
    if task == "classification":
        return "1,000 classes", Classification((640, 480), rng.normal(size=1000))
    words = tuple(Word(f"word{i}", i * 0.3, i * 0.3 + 0.2, 0.9, float(logit), 0.9) for i, logit in enumerate(logits))
    return "100 words", Transcript(30.0, "en", (Segment("", 0.0, 30.0, words, -0.2, 0.01, 1.2),))


def seconds_of(task: Task) -> float:
    """Return the seconds of one application: the median of repeats, each the mean of many."""
    record, (_, prediction) = record_for(task), prediction_for(task)
    threshold = record.display_threshold
    if apply(record, prediction, _VERSION, threshold).labels is None:
        raise RuntimeError(f"the calibration of {task} was not applied: nothing would be measured")
    runs = timeit.repeat(lambda: apply(record, prediction, _VERSION, threshold), number=_CALLS, repeat=_REPEATS)
    return median(runs) / _CALLS


def main() -> None:
    """Print the table."""
    table = Table(title="Applying a calibration", title_justify="left")
    for column in ("task", "one item has", "microseconds", f"<= {MOST_SECONDS * 1e6:.0f}"):
        table.add_column(column)
    for task in METHODS:
        seconds = seconds_of(task)
        table.add_row(task, prediction_for(task)[0], f"{seconds * 1e6:.1f}", verdict(seconds <= MOST_SECONDS))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
