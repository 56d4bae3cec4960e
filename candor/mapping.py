"""A project's own labels over a model's classes: many to one, or dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from candor.manifest import canonical_json
from candor.predictions import Task


@dataclass(frozen=True)
class LabelMap:
    """`to` maps a model's class to the project's label; a class that it does not name is dropped."""

    to: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Names the mapping on the drafts that were made with it."""
        return hashlib.sha256(canonical_json(dict(self.to))).hexdigest()[:16]

    def mapped(self, task: Task, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a draft's payload in the project's labels."""
        raise NotImplementedError
