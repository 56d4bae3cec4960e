"""The seam between serving and models: a family is the code that runs one kind of model.

A family is found by entry point in group `candor.families`. It knows nothing of HTTP, Ray, databases or calibration. Its model
does three things to an item, and the engine calls them so:

    prepare(bytes) -> PreparedItem     one item, on a CPU thread; decode, cut, resize
    infer(units) -> one result each    one device call per batch; units of different items share it
    finish(item, results) -> Prediction  one item, on a CPU thread

An image is one unit. A recording is many (windows of speech), made one after another while earlier ones are being inferred, so
that a long recording needs no more memory than a short one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol

from candor.errors import InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Prediction, Task


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how a model runs. The values are configuration; `serving.config` documents them."""

    name: str = "cpu"  # "cpu" or "cuda:<n>"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    threads: int = 1  # intra-op threads of one infer call, CPU only
    max_batch: int = 16
    channels_last: bool = True
    compile: bool = False
    memory_fraction: float | None = None  # of the GPU, enforced by the allocator


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What `prepare` refuses with MediaTooLarge."""

    pixels: int = 50_000_000
    seconds: float = 7_200.0


@dataclass(slots=True)
class PreparedItem:
    """One item on its way through the engine.

    `units` is consumed once, in order, on a prepare thread; it may be a generator that decodes as it goes and it may raise a
    CandorError. `context` is whatever `finish` needs besides the results (it may be filled in while units are made).
    """

    units: Iterator[Any]
    context: Any = None


class LoadedModel(Protocol):
    """One model version in memory. `prepare` and `finish` are called from many threads at once, `infer` from one at a time
    unless `concurrent_infer` is true."""

    concurrent_infer: bool

    def warmup(self) -> None:
        """Run the slow first calls (compilation, caches), so that the first request does not pay for them."""

    def memory(self) -> int:
        """Bytes that this model holds on its device."""

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode one item.

        Raises:
            UnreadableItem, MediaTooLarge: the item is bad; the others of its batch are not touched.
        """

    def cost(self, unit: Any) -> float:
        """Return what the unit costs the device, in units of the largest ordinary one (1.0)."""

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Run one batch. One result per unit, in order; a result may be a CandorError, which fails that unit alone.

        A result must not depend on the other units of the batch, beyond float noise.
        """

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Turn the results of an item's units, in order, into its prediction."""

    def close(self) -> None:
        """Give the memory back."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a family learnt of a model that it took in: the parts of its manifest that only the family can tell."""

    labels: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    display_threshold: float | None = None
    licence: str = "unknown"


class Family(Protocol):
    """One kind of model."""

    name: str

    @property
    def tasks(self) -> frozenset[Task]:
        """The tasks that it has models for."""

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Take in a model that people have, once: write its files, in a safe format, into the empty `folder`.

        `source` is a path of a local file or an official name (`yolo11n`, `base.en`, `resnet50`), which is fetched from the
        family's own hub where that can be reached. `options` are the operator's settings for this model.

        Raises:
            UnsafeArtifact: the file would run code.
            ModelUnavailable: the name is unknown or its hub can't be reached; the detail says what to do instead.
        """

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> LoadedModel:
        """Load a version whose files, already verified, lie in the folder `artifact`.

        Raises:
            UnsafeArtifact: the file would run code or is not what the manifest says.
            ModelUnavailable: something is missing on this machine; the detail says what to install.
        """


_GROUP = "candor.families"


def family_names() -> list[str]:
    """Names of the installed families."""
    return sorted(point.name for point in entry_points(group=_GROUP))


@cache
def is_own(name: str) -> bool:
    """Whether a family comes from a package that the operator installed beside Candor: a team's own code.

    Raises:
        InvalidRequest: no installed package offers it.
    """
    for point in entry_points(group=_GROUP, name=name):
        return point.dist is None or point.dist.name != "candor"
    raise _unknown(name)


@cache
def get_family(name: str) -> Family:
    """Return the installed family of that name; only its own module is imported.

    Raises:
        InvalidRequest: no installed package offers it.
    """
    for point in entry_points(group=_GROUP, name=name):
        family: Family = point.load()()
        return family
    raise _unknown(name)


def _unknown(name: str) -> InvalidRequest:
    return InvalidRequest(f"no family {name!r} is installed: one of {', '.join(family_names())}")
