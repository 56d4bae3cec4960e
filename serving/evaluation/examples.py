"""What a labelled folder is once it is read, and what its readers share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from calibration.correctness import TrueBoxes
from candor.errors import InvalidRequest
from candor.manifest import canonical_json
from candor.predictions import Task

FILES: Mapping[Task, str] = {"detection": "annotations.json", "classification": "labels.csv", "transcription": "transcripts.csv"}

Truth: TypeAlias = TrueBoxes | int | str


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled item. Examples of one `cluster` (a speaker, a photographer, else the item's own bytes) are not independent."""

    file: str  # relative to the folder, with /
    path: Path
    sha256: str
    cluster: str
    truth: Truth
    row: Any  # the label as JSON values, for the data's hash
    source: str = ""
    size: tuple[int, int] | None = None  # width and height that an image's boxes were drawn on, where the labels say


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """A folder's examples in file-name order. `notes` say what was left out and what is known against the data."""

    task: Task
    name: str
    folder: Path
    examples: tuple[Example, ...]
    split: str | None
    notes: tuple[str, ...] = ()
    judged_classes: frozenset[int] | None = None  # detection: classes of the model that the data labels

    @property
    def clusters(self) -> int:
        """How many independent sources the examples come from."""
        return len({example.cluster for example in self.examples})

    @property
    def sha256(self) -> str:
        """Hash of file names, their bytes and their labels; the order of rows does not matter."""
        rows = sorted((example.file, example.sha256, example.row) for example in self.examples)
        return hashlib.sha256(canonical_json(rows)).hexdigest()

    def from_sources(self, sources: Sequence[str]) -> LabelledFolder:
        """Return the folder's examples of these sources; of all where none is named.

        Raises:
            InvalidRequest: one has no examples.
        """
        have = {example.source for example in self.examples}
        if unknown := sorted(set(sources) - have):
            raise InvalidRequest(f"{self.folder} has no source {unknown[0]!r}: it has {', '.join(sorted(have - {''})) or 'none'}")
        return replace(self, examples=tuple(e for e in self.examples if e.source in sources)) if sources else self

    def limited(self, limit: int | None) -> LabelledFolder:
        """Return the folder's first `limit` examples by hash, so that they are spread over it and always the same."""
        if limit is None or limit >= len(self.examples):
            return self
        kept = {example.file for example in sorted(self.examples, key=lambda example: example.sha256)[:limit]}
        note = f"limited to {limit} of {len(self.examples)} items"
        return replace(self, examples=tuple(e for e in self.examples if e.file in kept), notes=(*self.notes, note))


@dataclass(slots=True)
class Problems:
    """What is wrong with the rows of one file. The first is told; the rest are counted."""

    file: str
    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Note a problem at `where` (a line, an id)."""
        self.found.append(f"{self.file} {where}: {what}")

    def check(self) -> None:
        """Raise InvalidRequest if there are any."""
        if self.found:
            more = len(self.found) - 1
            raise InvalidRequest(self.found[0] + (f" (and {more} more rows are wrong)" if more else ""))


class Files:
    """Finds and hashes a folder's media; each may be named once."""

    def __init__(self, folder: Path, subfolder: str = "") -> None:
        self._root = folder.resolve()
        self._places = [self._root / subfolder, self._root] if subfolder else [self._root]
        self._seen: set[str] = set()

    def find(self, name: str) -> tuple[str, Path, str]:
        """Return the name relative to the folder, the path and the SHA-256.

        Raises:
            ValueError: no name, outside the folder, missing, unreadable or named before; the message says which.
        """
        if not name:
            raise ValueError("no file is named")
        for place in self._places:
            path = Path(os.path.normpath(place / name))  # not resolved: a folder of links to files elsewhere is a folder too
            if not path.is_relative_to(self._root):
                raise ValueError(f"file {name!r} lies outside the folder")
            if _is_file(path, name):
                relative = path.relative_to(self._root).as_posix()
                if relative in self._seen:
                    raise ValueError(f"file {name!r} is named a second time")
                self._seen.add(relative)
                return relative, path, _digest(path, name)
        raise ValueError(f"there is no file {name!r}")


def _is_file(path: Path, name: str) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ValueError(f"file {name[:80]!r} can't be read: {error.strerror}") from error


def _digest(path: Path, name: str) -> str:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"file {name!r} can't be read: {error.strerror}") from error


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `; the nearest is 'x'`, or nothing where nothing is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; the nearest is {near[0]!r}" if near else ""
