"""Answers of the API, made by the kernel's own rendering, for tests of what shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from candor.confidences import UNCALIBRATED, Confidences
from candor.drafts import Draft, Timings
from candor.predictions import Classification, Detections, Prediction, Segment, Task, Transcript, Word
from candor.tasks import SPECS, Rendering, render
from client.files import MEDIA_OF, MediaFile
from scripts.demo.drafting import Drafted

LABELS = ("cat", "dog")
TIMINGS = Timings(fetch=0.001, prepare=0.002, queue=0.003, infer=0.02, finish=0.004, batch_size=4)


def drafted(task: Task, prediction: Prediction, probabilities: list[float] | None = None, path: Path = Path("a/cat.jpg")) -> Drafted:
    confidences = UNCALIBRATED if probabilities is None else Confidences("calibrated", "cal_1", np.array(probabilities))
    payload = render(task, prediction, confidences, Rendering("drf_1", LABELS))
    confidence = SPECS[task].confidence(payload)
    draft = Draft(
        "drf_1", path.name, task, "m@sha256:0", confidences.calibration, confidences.status, confidence, payload, TIMINGS, "0",
        datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return Drafted(MediaFile(path, MEDIA_OF[task], path.name), task, draft.as_wire())


def boxes(size: tuple[int, int], *xyxy: tuple[float, float, float, float], classes: tuple[int, ...] | None = None) -> Detections:
    n = len(xyxy)
    return Detections(size, np.array(xyxy, float).reshape(n, 4), np.array(classes or (0,) * n, np.int64), np.full(n, 0.9), np.full(n, 2.2))


def classes(*logits: float) -> Classification:
    return Classification((64, 48), np.array(logits))


def speech(text: str) -> Transcript:
    words = tuple(Word(word, float(i), i + 0.5, 0.9, 2.2, 0.9) for i, word in enumerate(text.split()))
    return Transcript(float(len(words)), "en", (Segment(text, 0.0, float(len(words)), words, -0.1, 0.01, 1.0),) if words else ())


def failed(task: Task, code: str, path: Path = Path("a/cat.jpg")) -> Drafted:
    error: dict[str, Any] = {"type": f"/problems/{code}", "title": code, "status": 422, "code": code, "detail": "[why]", "retryable": False}
    return Drafted(MediaFile(path, MEDIA_OF[task], path.name), task, {"item": path.name, "task": task, "error": error})
