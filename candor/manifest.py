"""A manifest says what a model version is: its task, family, files by hash, label set and preprocessing.

The version's name is the SHA-256 of the manifest's canonical JSON, so that a changed file, label or preprocessing step is
another version, and a calibration made for one can't be applied to the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from candor.errors import InvalidRequest
from candor.predictions import TASKS, Task

SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """One immutable model version. `files` maps a file name inside the artifact folder to its SHA-256 in hex."""

    name: str
    task: Task
    family: str
    files: Mapping[str, str]
    labels: tuple[str, ...] = ()  # empty for transcription
    input: Mapping[str, Any] = field(default_factory=dict)  # preprocessing, as the family documents it
    output: Mapping[str, Any] = field(default_factory=dict)  # head and post-processing, as the family documents it
    display_threshold: float | None = None  # detection: boxes below it are not shown
    licence: str = "unknown"
    notes: str = ""
    schema: int = SCHEMA
    owner: str = ""  # the team that registered it; empty for a model of the configuration, which every team may use
    metadata: Mapping[str, Any] = field(default_factory=dict)  # free: what its owner wants to remember of it

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise InvalidRequest(f"manifest schema {self.schema} is not known here (known: {SCHEMA})")
        if self.task not in TASKS:
            raise InvalidRequest(f"unknown task {self.task!r}: one of {', '.join(TASKS)}")
        if not self.name or any(c in self.name for c in "@/ \n"):
            raise InvalidRequest(f"a model name is not empty and has no '@', '/' or space: {self.name!r}")

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON, without what changes no prediction.

        The owner is in it: two teams' versions never share a calibration. Without an owner it is left out, as in older manifests.
        """
        body = {key: value for key, value in self.as_json().items() if key not in ("notes", "licence", "metadata")}
        if not self.owner:
            del body["owner"]
        return "sha256:" + hashlib.sha256(canonical_json(body)).hexdigest()

    @property
    def version(self) -> str:
        """The full name of this version, `name@sha256:<hex>`."""
        return f"{self.name}@{self.digest}"

    def as_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Build a manifest from JSON values.

        Raises:
            InvalidRequest: a field is missing or unknown.
        """
        try:
            return cls(**{**value, "labels": tuple(value.get("labels", ()))})
        except TypeError as error:
            raise InvalidRequest(f"the manifest is not valid: {error}") from error


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
