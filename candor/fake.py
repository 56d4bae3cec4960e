"""A family without a model: deterministic, instant or as slow as it is told, and able to fail on demand.

The whole server is tested with it in milliseconds. Its items are any bytes, or JSON orders that make it misbehave:
`{"units": 3}`, `{"fail": "prepare" | "infer" | "batch" | "finish"}`. `manifest.input` may set a cost in seconds,
`{"base": a, "each": b}`: a batch of n units takes a + b n; how long a load takes, `{"load": seconds}`; and what it holds,
`{"bytes": n}`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from candor.errors import CandorError, UnreadableItem
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Prediction, Segment, Task, Transcript, Word


class FakeModel:
    """One fake version. `batches` records the size of every batch that it ran."""

    concurrent_infer = False

    def __init__(self, manifest: Manifest) -> None:
        self._task: Task = manifest.task
        self._classes = max(1, len(manifest.labels))
        self._base = float(manifest.input.get("base", 0.0))
        self._each = float(manifest.input.get("each", 0.0))
        self._bytes = int(manifest.input.get("bytes", 1 << 20))
        self.batches: list[int] = []

    def warmup(self) -> None:
        """Nothing is slow the first time."""

    def memory(self) -> int:
        """As it is told; nothing is really held."""
        return self._bytes

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Read the orders; empty bytes are unreadable."""
        if not data:
            raise UnreadableItem("the item is empty")
        orders = _orders(data)
        if orders.get("fail") == "prepare":
            raise UnreadableItem("told to fail in prepare")
        seed = int.from_bytes(hashlib.sha256(data).digest()[:4], "big")
        units = ((seed + i, orders) for i in range(int(orders.get("units", 1))))
        return PreparedItem(units=units, context=orders)

    def cost(self, unit: Any) -> float:
        """Every unit costs the same."""
        return 1.0

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Sleep for the configured cost and answer with numbers made from each unit alone."""
        self.batches.append(len(units))
        if self._base or self._each:
            time.sleep(self._base + self._each * len(units))
        if any(orders.get("fail") == "batch" for _, orders in units):
            raise RuntimeError("told to fail the whole batch")
        return [UnreadableItem("told to fail in infer") if orders.get("fail") == "infer" else seed for seed, orders in units]

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Build the task's prediction from the seeds."""
        if item.context.get("fail") == "finish":
            raise RuntimeError("told to fail in finish")
        rng = np.random.default_rng(results[0] if results else 0)
        if self._task == "classification":
            return Classification((64, 48), rng.normal(size=self._classes))
        if self._task == "transcription":
            words = tuple(Word(f"word{i}", float(i), i + 0.5, 0.5, 0.0, 0.5) for i in range(len(results)))
            segment = Segment(" ".join(word.text for word in words), 0.0, float(len(results)), words, -0.1, 0.01, 1.0)
            return Transcript(float(len(results)), "en", (segment,) if words else ())
        logit = np.sort(rng.normal(size=2))[::-1]
        boxes = np.array([[1.0, 2, 30, 40], [5, 5, 20, 20]])
        return Detections((64, 48), boxes, rng.integers(self._classes, size=2), 1 / (1 + np.exp(-logit)), logit)

    def close(self) -> None:
        """Nothing to give back."""


def _orders(data: bytes) -> dict[str, Any]:
    try:
        orders: dict[str, Any] = json.loads(data) if data.startswith(b"{") else {}
    except (ValueError, RecursionError):  # bytes that only begin like orders
        return {}
    return orders


class FakeFamily:
    """Family `fake`, for tests and for trying the server without a model."""

    name = "fake"
    tasks: frozenset[Task] = frozenset({"detection", "transcription", "classification"})

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Write a file that stands for weights; the task's labels and costs come from `options`."""
        (folder / "model.json").write_text(json.dumps({"source": source}))
        labels = tuple(options.get("labels", () if options.get("task") == "transcription" else ("cat", "dog")))
        told = {key: options[key] for key in ("base", "each", "fail", "load", "bytes") if key in options}
        return Adopted(labels=labels, input=told, display_threshold=options.get("display_threshold"))

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> FakeModel:
        """Return a fake model; `manifest.input["fail"]` makes the load itself fail."""
        if manifest.input.get("fail"):
            raise CandorError("told to fail in load")
        time.sleep(float(manifest.input.get("load", 0.0)))
        return FakeModel(manifest)
