"""Records to test with."""

from __future__ import annotations

from typing import Any

from calibration.methods import METHODS
from calibration.record import CalibrationRecord
from candor.predictions import Task

VERSION = "m@sha256:" + "a" * 64


def record(task: Task = "detection", **changed: Any) -> CalibrationRecord:
    values: dict[str, Any] = {
        "task": task,
        "method": METHODS[task][0],
        "parameters": {"temperature": 2.0} if task == "classification" else {"temperature": 2.0, "bias": 0.5},
        "model_version": VERSION,
        "event": "the label is right",
        "data": {"name": "some", "sha256": "0" * 64},
        "fit": {"n": 100},
        "figures": {},
        "status": "unverified",
        "reason": "100 held-out rows",
        "created_at": "2026-01-01T00:00:00+00:00",
        "display_threshold": 0.25 if task == "detection" else None,
        "normaliser": {"name": "n", "version": "1"} if task == "transcription" else None,
    }
    return CalibrationRecord(**{**values, **changed})
