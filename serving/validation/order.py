"""What passes between the worker and the process that it tries a model in: JSON files in a scratch folder, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from candor.families import Adopted
from candor.manifest import Manifest
from candor.predictions import Task
from models.requested import Requested

ORDER, RESULT, PROGRESS, ADOPTED = "order.json", "result.json", "progress.json", "adopted"


@dataclass(frozen=True, slots=True)
class Order:
    """One model to try. `request` is the registry's (`Requested.of` reads it); `artifact` the file, `adopted` an empty folder."""

    model: str
    task: Task
    owner: str
    request: Mapping[str, Any]
    artifact: Path
    adopted: Path
    samples: tuple[Path, ...] = ()  # real items, beside those that are made
    batches: tuple[int, ...] = (1, 4)
    threads: int = 1
    memory_bytes: int = 6 * 2**30
    seconds: float = 300.0

    def as_json(self) -> dict[str, Any]:
        """Return the order as JSON values."""
        paths = {"artifact": str(self.artifact), "adopted": str(self.adopted), "samples": [str(path) for path in self.samples]}
        return {**asdict(self), **paths, "request": dict(self.request), "batches": list(self.batches)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Order:
        """Read an order; who wrote it is trusted."""
        paths = {"artifact": Path(value["artifact"]), "adopted": Path(value["adopted"])}
        samples = tuple(Path(path) for path in value["samples"])
        return cls(**{**value, **paths, "samples": samples, "batches": tuple(value["batches"])})


def manifest_of(order: Order, adopted: Adopted, files: Mapping[str, str]) -> Manifest:
    """Return the manifest of what a family took in: what was asked for wins over what the family learnt."""
    asked = Requested.of(order.request)
    return Manifest(
        name=order.model,
        task=order.task,
        family=asked.family,
        files=dict(files),
        labels=tuple(adopted.labels),
        input=dict(adopted.input),
        output=dict(adopted.output),
        display_threshold=adopted.display_threshold if asked.display_threshold is None else asked.display_threshold,
        licence=asked.licence or adopted.licence,
        notes=asked.notes,
        owner=order.owner,
        metadata=dict(asked.metadata),
    )
