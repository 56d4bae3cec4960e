"""A team's own family, run in a process of its own: for the engine, a family and a model like every other.

Their code is trusted to run: the operator installed it. A bug in it must still cost no more than its own drafts, so it shares no
memory with the server, and what it answers is checked (`candor.frames`). Units and results stay in its process; here are their numbers.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from candor import frames
from candor.errors import CandorError, ModelUnavailable, WorkerLost
from candor.families import Adopted, Device, Family, LoadedModel, MediaLimits, PreparedItem, get_family, is_own
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Prediction, Task
from models.isolated_process import FamilyProcess

HANG_SECONDS = 60.0  # without an answer to one step of an item; `hang_seconds` in a model's options says otherwise
LOAD_SECONDS, ADOPT_SECONDS = 300.0, 600.0
_LONGEST_PAUSE = 30.0  # between two starts of a process that dies again and again
_LARGEST_COST = 1e6


def family_for(name: str) -> Family:
    """Return the installed family of that name: Candor's own as it is, a team's own in a process of its own.

    Raises:
        InvalidRequest: no installed package offers it.
    """
    return IsolatedFamily(name) if is_own(name) else get_family(name)


class IsolatedFamily:
    """A family whose code is imported in another process alone."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def tasks(self) -> frozenset[Task]:
        """The tasks that it says it has models for."""
        process = FamilyProcess(self.name)
        process.close()
        return process.tasks  # type: ignore[return-value] # compared with tasks, and never shown as one

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Let the family take in a model; see `candor.families.Family.adopt`."""
        rest = {name: value for name, value in options.items() if name != "hang_seconds"}
        process = FamilyProcess(self.name)
        try:
            asked = {"source": source, "folder": str(folder.absolute()), "options": rest}
            told, _ = process.call("adopt", asked, seconds=ADOPT_SECONDS)
        except RuntimeError as error:
            raise ModelUnavailable(f"the family {self.name} failed to take in the model: {error}") from error
        finally:
            process.close()
        own = {"hang_seconds": float(options["hang_seconds"])} if "hang_seconds" in options else {}
        return Adopted(tuple(told["labels"]), {**told["input"], **own}, told["output"], told["display_threshold"], told["licence"])

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> LoadedModel:
        """Start a process for the version and load it there."""
        model = IsolatedModel(self.name, manifest, artifact, device)
        model.start()
        return model


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Item:
    """An item that a process holds. It forgets it when this goes, whichever way the item ended."""

    process: FamilyProcess
    number: int
    forget: weakref.finalize[..., _Item] | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    item: _Item
    number: int
    cost: float


class IsolatedModel:
    """A `LoadedModel` in a process of its own, which is started again at the next use after it was lost."""

    def __init__(
        self, family: str, manifest: Manifest, artifact: Path, device: Device, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._family = family
        self._manifest = manifest
        self._load = {"manifest": manifest.as_json(), "artifact": str(artifact.absolute()), "device": asdict(device)}
        self._clock = clock
        self._hang = float(manifest.input.get("hang_seconds", HANG_SECONDS))
        self._numbers = itertools.count(1)
        self._starting = threading.Lock()
        self._process: FamilyProcess | None = None
        self._closed = False
        self._losses = 0  # in a row
        self._lost_at = 0.0
        self._said = 0
        self.concurrent_infer = False

    def start(self) -> None:
        """Start the process and load the version in it.

        Raises:
            CandorError: it can't be loaded.
        """
        process = FamilyProcess(self._family)
        try:
            told, _ = process.call("load", self._load, seconds=LOAD_SECONDS)
        except BaseException as error:
            process.close()
            if isinstance(error, RuntimeError):  # their bug
                raise ModelUnavailable(f"the family {self._family} failed to load {self._manifest.name}: {error}") from error
            raise
        self.concurrent_infer = bool(told["concurrent_infer"])
        self._said = int(told["memory"])
        self._process = process

    def warmup(self) -> None:
        """Run the slow first calls."""
        told, _ = self._running().call("warmup", {}, seconds=LOAD_SECONDS)
        self._said = int(told["memory"])

    def memory(self) -> int:
        """What the model says that it holds, or what its process holds, if that is more."""
        process = self._process
        return max(self._said, process.resident() if process else 0)

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode one item there."""
        process = self._running()
        item = _Item(process, next(self._numbers))
        item.forget = weakref.finalize(item, process.release, item.number)
        item.forget.atexit = False
        told, _ = process.call("prepare", {"item": item.number, "limits": asdict(limits)}, data, seconds=self._hang)
        return PreparedItem(_Units(item, told, self._hang), item)

    def cost(self, unit: _Unit) -> float:
        """What the model said of the unit when it was made."""
        return unit.cost

    def infer(self, units: Sequence[_Unit]) -> list[Any]:
        """Run one batch there. Units that went with a lost process fail."""
        results: list[Any] = [WorkerLost("the process that had the item stopped: send the item again", retry_after=1.0)] * len(units)
        for process in {id(unit.item.process): unit.item.process for unit in units}.values():
            if process.dead:
                continue
            places = [place for place, unit in enumerate(units) if unit.item.process is process]
            asked = [[units[place].item.number, units[place].number] for place in places]
            told, _ = process.call("infer", {"units": asked}, seconds=self._hang)
            for place, error in zip(places, told["errors"], strict=True):
                results[place] = units[place].number if error is None else _item_error(error)
        return results

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Turn the results, which are there, into the prediction."""
        held: _Item = item.context
        if held.forget is not None:
            held.forget.detach()  # finishing it there ends it there
        told, body = held.process.call("finish", {"item": held.number, "units": list(results)}, seconds=self._hang)
        try:
            prediction = frames.unpacked(told, body)
        except frames.BrokenFrame as error:
            raise RuntimeError(f"the family {self._family} answered {error}") from error
        _check(prediction, self._manifest)
        self._losses = 0
        return prediction

    def close(self) -> None:
        """End the process."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                self._process.close()

    def _running(self) -> FamilyProcess:
        process = self._process
        if process is not None and not process.dead:
            return process
        with self._starting:
            if self._closed:
                raise WorkerLost("the model is being unloaded: send the item again", retry_after=1.0)
            if self._process is not None and self._process.dead:
                self._process, self._losses, self._lost_at = None, self._losses + 1, self._clock()
            if self._process is None:
                self._start_again()
            assert self._process is not None  # noqa: S101 - or the start has raised
            return self._process

    def _start_again(self) -> None:
        """Start it, at once after the first loss, and after longer and longer pauses while it goes on dying."""
        pause = min(2.0 ** (self._losses - 2), _LONGEST_PAUSE) if self._losses > 1 else 0.0
        left = self._lost_at + pause - self._clock()
        if left > 0:
            raise WorkerLost(
                f"the process of the family {self._family} stopped {self._losses} times in a row: it is started again in {left:.0f} s",
                retry_after=max(left, 1.0),
            )
        try:
            self.start()
            self._warm_again()
        except CandorError as error:
            self._losses, self._lost_at, self._process = self._losses + 1, self._clock(), None
            raise WorkerLost(f"the family {self._family} does not start again: {error.detail}", retry_after=pause + 1.0) from error

    def _warm_again(self) -> None:
        assert self._process is not None  # noqa: S101
        try:
            self._process.call("warmup", {}, seconds=LOAD_SECONDS)
        except RuntimeError as error:
            self._process.close()
            raise ModelUnavailable(str(error)) from error


class _Units(Iterator[_Unit]):
    """The units of an item, made there one by one. The first came with the item."""

    def __init__(self, item: _Item, first: Mapping[str, Any], hang: float) -> None:
        self._item = item
        self._hang = hang
        self._next: Mapping[str, Any] | None = first
        self._left = 1

    def __next__(self) -> _Unit:
        if self._next is None:
            if not self._left:
                raise StopIteration
            self._next, _ = self._item.process.call("next", {"item": self._item.number}, seconds=self._hang)
        told, self._next = self._next, None
        if told["unit"] is None:
            self._left = 0
            raise StopIteration
        self._left = int(told["left"])
        return _Unit(self._item, int(told["unit"]), min(max(float(told["cost"]), 0.0), _LARGEST_COST))

    def __length_hint__(self) -> int:
        return self._left


def _item_error(told: Mapping[str, Any]) -> CandorError:
    error = frames.error_from(told)
    return error if isinstance(error, CandorError) else WorkerLost(str(error))


def _check(prediction: Prediction, manifest: Manifest) -> None:
    """A class that the version does not have would fail later, where nobody knows whose fault it was."""
    classes = len(manifest.labels)
    if isinstance(prediction, Classification) and len(prediction.logits) != classes:
        raise RuntimeError(f"a prediction has {len(prediction.logits)} logits, and {manifest.name} has {classes} labels")
    if isinstance(prediction, Detections) and not np.all((prediction.class_index >= 0) & (prediction.class_index < classes)):
        raise RuntimeError(f"a box has a class outside the {classes} labels of {manifest.name}")
