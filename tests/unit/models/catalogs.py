"""Catalogs of fake models, over a folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from candor.predictions import Task
from models.catalog import Catalog, ModelEntry


def entry(name: str = "cats", source: str = "official:tiny", task: Task = "classification", **others: Any) -> ModelEntry:
    return ModelEntry(name, task, "fake", source, **others)


class Home:
    """A catalog's folder, and catalogs over it as separate processes would make them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = [
            entry(),
            entry("dogs", aliases=("production", "next")),
            entry("words", task="transcription", options={"task": "transcription"}),
        ]

    def catalog(self, *entries: ModelEntry) -> Catalog:
        return Catalog(entries or self.entries, self.folder / "models", self.folder / "cache")

    def within(self, name: str) -> list[str]:
        """What lies in a model's folder: versions, and what should not be there."""
        return sorted(path.name for path in (self.folder / "models" / name).iterdir() if path.name not in (".lock", "source.json"))
