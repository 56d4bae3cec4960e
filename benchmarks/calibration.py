"""What applying a calibration costs: `python -m benchmarks.calibration`. It is on the path of every draft; 50 microseconds are
allowed for an image of 100 boxes."""

from __future__ import annotations

import timeit
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import verdict
from calibration.apply import apply
from calibration.features import WORD_FEATURES
from calibration.methods import METHODS, Method
from calibration.record import Badge, CalibrationRecord, Further
from candor.predictions import Classification, Detections, Prediction, Segment, Task, Transcript, Word

MOST_SECONDS = 50e-6
_CALLS, _REPEATS = 1_000, 7
_CLASSES = 80
_VERSION = "stub@sha256:" + "0" * 64


def record_for(task: Task, method: Method) -> CalibrationRecord:
    """Return a calibration of a model that is not there; a detector's also tells which boxes need no edit."""
    further = {}
    if task == "detection":
        further["no_edit"] = Further(method, parameters_of(method), "none", {}, {}, "calibrated", "")
    return CalibrationRecord(
        task=task,
        method=method,
        parameters=parameters_of(method),
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
        further=further,
        badge=Badge(0.9, 0.05, 0.05, "label", {}, {}),
    )


def parameters_of(method: Method) -> dict[str, Any]:
    """Return parameters that a method could have."""
    if method == "class_temperature_bias":
        return {"slope": [0.8] * _CLASSES, "bias": [-0.1] * _CLASSES}
    if method == "vector":
        return {"scale": [0.8] * 1000, "bias": [0.1] * 1000}
    if method == "isotonic":
        return {"x": np.linspace(-5, 5, 200).tolist(), "y": np.linspace(0.01, 0.99, 200).tolist()}
    if method == "word_logistic":
        ones = [1.0] * len(WORD_FEATURES)
        return {"features": list(WORD_FEATURES), "centre": ones, "scale": ones, "weights": ones, "bias": 0.0}
    return {"temperature": 0.8} if method == "temperature" else {"temperature": 0.8, "bias": -0.1}


def prediction_for(task: Task) -> tuple[str, Prediction]:
    """Return a large prediction of an ordinary item, and what it has."""
    rng = np.random.default_rng(0)
    logits = np.sort(rng.normal(size=100))[::-1]
    if task == "detection":
        found = Detections((640, 480), rng.uniform(0, 480, (100, 4)), rng.integers(_CLASSES, size=100), 1 / (1 + np.exp(-logits)), logits)
        return "100 boxes", found
    if task == "classification":
        return "1,000 classes", Classification((640, 480), rng.normal(size=1000))
    words = tuple(Word(f"word{i}", i * 0.3, i * 0.3 + 0.2, 0.9, float(logit), 0.9) for i, logit in enumerate(logits))
    return "100 words", Transcript(30.0, "en", (Segment("", 0.0, 30.0, words, -0.2, 0.01, 1.2),))


def seconds_of(task: Task, method: Method) -> float:
    """Return the seconds of one application: the median of repeats, each the mean of many."""
    record, (_, prediction) = record_for(task, method), prediction_for(task)
    threshold = record.display_threshold
    if apply(record, prediction, _VERSION, threshold).labels is None:
        raise RuntimeError(f"the calibration of {task} was not applied: nothing would be measured")
    runs = timeit.repeat(lambda: apply(record, prediction, _VERSION, threshold), number=_CALLS, repeat=_REPEATS)
    return median(runs) / _CALLS


def main() -> None:
    """Print the table."""
    table = Table(title="Applying a calibration", title_justify="left")
    for column in ("task", "method", "one item has", "microseconds", f"<= {MOST_SECONDS * 1e6:.0f}"):
        table.add_column(column)
    for task, methods in METHODS.items():
        for method in methods:
            seconds = seconds_of(task, method)
            held = verdict(seconds <= MOST_SECONDS) if task == "detection" else "none set"
            table.add_row(task, method, prediction_for(task)[0], f"{seconds * 1e6:.1f}", held)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
