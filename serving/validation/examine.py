"""Try a model out: scan its file, let its family take it in, load it, check it, measure it. Runs in `serving.validation.sandbox`.

Nothing here knows of the database. Whatever goes wrong is told in the report; only what ends the process is told by its parent.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import psutil

from candor.conformance import NonConformant, check, predict
from candor.errors import CandorError, Internal, InvalidRequest, StorageUnavailable, UnsafeArtifact
from candor.families import Device, LoadedModel, MediaLimits
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Prediction
from models.artifacts import hash_files
from models.isolated import family_for
from models.requested import Requested
from models.safety.archives import ArchiveLimits
from models.safety.scan import kind_of, refuse_dangerous, scan
from serving.jobs.problems import as_problem
from serving.validation import samples
from serving.validation.order import Order, manifest_of

At: TypeAlias = Callable[[float, str], None]

_RUNS = 3  # timed runs of each batch size; their median counts
_NEAR_BEST = 0.95  # a smaller batch of so much of the best throughput is chosen
_SHARE_OF_TIME = 0.4  # that measuring may take
_WITHOUT_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "failed to allocate", "unable to allocate", "out of memory")
_ALONE = "a prediction may not depend on the other items of its batch: export the model for inference, without statistics over a batch"


def examine(order: Order, at: At) -> dict[str, Any]:
    """Return what was found: the report, and with it `adopted`, what the family learnt of the model, where it passed."""
    return _Trial(order, at).run()


class _Trial:
    """One model, tried step by step; what is known so far is in the report."""

    def __init__(self, order: Order, at: At) -> None:
        self._order = order
        self._at = at
        self._asked = Requested.of(order.request)
        self._step = "scanned"
        self._checks: list[dict[str, Any]] = []
        self._found: dict[str, Any] = {"memory_bytes": None, "speed": [], "device": "cpu", "max_batch": None, "samples": "", "scan": {}}

    def run(self) -> dict[str, Any]:
        started, problem, adopted = time.monotonic(), None, None
        try:
            adopted = self._passed()
        except Exception as raised:  # noqa: BLE001 - whatever a stranger's file causes is told
            error = plainly(raised, self._step, self._order.artifact.parent)
            problem = as_problem(error)
            self._checks.append({"name": self._step, "passed": False, "detail": error.detail})
        found = {**self._found, "checks": self._checks, "passed": problem is None, "problem": problem}
        return {**found, "seconds": round(time.monotonic() - started, 3), "adopted": adopted}

    def _passed(self) -> dict[str, Any]:
        self._begin(0.1, "scanned", "scanning the file")
        limits = ArchiveLimits(bytes=self._order.memory_bytes)
        self._found["scan"] = scan(self._order.artifact, self._asked.family, limits)
        refuse_dangerous(self._order.artifact, self._found["scan"])
        self._pass(f"{self._found['scan']['format']}: nothing in it would run")
        self._begin(0.15, "taken in", f"taking it in as {self._asked.family}")
        family = family_for(self._asked.family)
        if self._order.task not in family.tasks:
            raise InvalidRequest(
                f"the family {family.name} has models for {' and '.join(sorted(family.tasks))}, not for {self._order.task}"
            )
        adopted = family.adopt(str(_named(self._order.artifact)), self._order.adopted, self._asked.options())
        manifest = manifest_of(self._order, adopted, hash_files(self._order.adopted))
        self._pass(", ".join(manifest.files))
        self._begin(0.35, "loaded", "loading it")
        before = psutil.Process().memory_info().rss
        model = family.load(manifest, self._order.adopted, Device(threads=self._order.threads, max_batch=max(self._order.batches)))
        self._pass("")
        try:
            self._try(model, manifest)
            self._found["rss_bytes"] = max(0, psutil.Process().memory_info().rss - before)
        finally:
            model.close()
        return asdict(adopted)

    def _try(self, model: LoadedModel, manifest: Manifest) -> None:
        items = self._items()
        self._begin(0.45, "labels", "running sample items")
        model.warmup()
        for prediction in predict(model, items, batch=1):
            _check_labels(prediction, manifest.labels)
        self._pass(f"{len(manifest.labels)} labels" if manifest.labels else "")
        self._begin(0.55, "conformance", "checking that predictions do not depend on their batch")
        bad = samples.BAD[:1] if self._asked.family == "fake" else samples.BAD  # which takes any bytes
        for line in check(model, items, bad):
            self._checks.append({"name": "conformance", "passed": True, "detail": line})
        self._begin(0.75, "measured", "measuring speed and memory")
        self._found["memory_bytes"] = int(model.memory())
        self._found["speed"] = self._speed(model, items)
        self._found["max_batch"] = best_batch(self._found["speed"])
        self._pass("")

    def _items(self) -> list[bytes]:
        real = [path.read_bytes() for path in self._order.samples]
        made = samples.made(self._order.task)
        self._found["samples"] = f"{len(real)} real and {0 if len(real) > 2 else len(made)} made in code"
        return real if len(real) > 2 else [*real, *made]

    def _speed(self, model: LoadedModel, items: Sequence[bytes]) -> list[dict[str, Any]]:
        ends = time.monotonic() + _SHARE_OF_TIME * self._order.seconds
        measured: list[dict[str, Any]] = []
        for batch in sorted(set(self._order.batches)):
            took = []
            for _ in range(1 + _RUNS):  # the first one is not counted: it may be slower
                if (units := _units(model, items, batch)) is None:
                    return measured
                start = time.monotonic()
                model.infer(units)
                took.append(time.monotonic() - start)
                if time.monotonic() + 2 * took[-1] > ends:
                    break
            if len(took) <= _RUNS and measured:  # no time for larger ones
                return measured
            seconds = median(took[1:] or took)
            speed = {"batch": batch, "seconds": round(seconds, 6), "items_per_second": round(batch / max(seconds, 1e-9), 3)}
            measured.append(speed)
            if len(took) <= _RUNS:
                return measured
        return measured

    def _begin(self, share: float, name: str, words: str) -> None:
        self._step = name
        self._at(share, words)

    def _pass(self, detail: str) -> None:
        self._checks.append({"name": self._step, "passed": True, "detail": detail})


def best_batch(speed: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the smallest measured batch that is nearly as fast as the best."""
    best = max((one["items_per_second"] for one in speed), default=0.0)
    return min((one["batch"] for one in speed if one["items_per_second"] >= _NEAR_BEST * best), default=None)


def plainly(raised: Exception, step: str, scratch: Path) -> CandorError:
    """Return what went wrong as an error that says what to do."""
    words = " ".join(str(raised).split()).replace(f"{scratch}/", "").replace(str(scratch), "")[:500]
    if isinstance(raised, MemoryError) or any(one in words.lower() for one in _WITHOUT_MEMORY):
        return UnsafeArtifact(
            f"it takes more memory than a model may have here ({words or 'none was left'}): use a smaller model, or let the operator raise "
            "validation.memory_bytes"
        )
    if isinstance(raised, NonConformant):
        remedy = _ALONE if "alone against" in words else "mend it and register it again"
        return UnsafeArtifact(f"its predictions break a rule: {words}. {remedy[0].upper()}{remedy[1:]}")
    if isinstance(raised, Internal):
        return UnsafeArtifact(f"{words}. Try the exported file on a few of your own items before you register it")
    if isinstance(raised, CandorError):
        return type(raised)(words)
    if isinstance(raised, OSError) and raised.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _disk_error(raised)
    return UnsafeArtifact(f"it can't be used, for it failed when it was to be {step} ({type(raised).__name__}: {words}): export it again")


def _disk_error(raised: OSError) -> CandorError:
    if raised.errno == errno.EFBIG:
        return UnsafeArtifact("what it unpacks to is far larger than the file: save it without compression, or export it to ONNX")
    return StorageUnavailable("the disk on which models are tried is full: let the operator free some, then register it again")


def _named(path: Path) -> Path:
    """Families tell safetensors by their name: give the file the one that its content has."""
    if kind_of(path) == "safetensors" and path.suffix != ".safetensors":
        return path.rename(path.with_suffix(".safetensors"))
    return path


def _check_labels(prediction: Prediction, labels: Sequence[str]) -> None:
    """Refuse a model whose outputs are for another number of classes than it has labels."""
    if isinstance(prediction, Classification) and prediction.logits.shape != (len(labels),):
        raise InvalidRequest(
            f"the model gives {prediction.logits.shape[-1]} figures for an image and has {len(labels)} labels: name them all"
        )
    if isinstance(prediction, Detections) and len(prediction.class_index):
        highest = int(prediction.class_index.max())
        if highest >= len(labels):
            raise InvalidRequest(f"the model finds class {highest}, counted from 0, and has only {len(labels)} labels: name them all")


def _units(model: LoadedModel, items: Sequence[bytes], count: int) -> list[Any] | None:
    """Return so many fresh units of the items, again and again where they are few; None where they have none."""
    units: list[Any] = []
    while len(units) < count:
        before = len(units)
        for data in items:
            units += model.prepare(data, MediaLimits()).units
        if len(units) == before:
            return None
    return units[:count]
