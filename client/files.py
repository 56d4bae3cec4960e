"""Finds the images and recordings under the paths that somebody named, and cuts them into requests."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

Task: TypeAlias = Literal["detection", "transcription", "classification"]
MediaKind: TypeAlias = Literal["image", "audio"]

MEDIA_OF: dict[Task, MediaKind] = {"detection": "image", "classification": "image", "transcription": "audio"}

_IMAGES = frozenset([".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif"])
_AUDIO = frozenset(
    [".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au", ".caf", ".amr", ".mka"]
)


class Sendable(Protocol):
    """What can be sent to be drafted: a file, or an item that is none."""

    @property
    def item(self) -> str:
        """Its name in the request and in the answer."""

    @property
    def size(self) -> int:
        """Bytes that it adds to a request."""


S = TypeVar("S", bound=Sendable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file to draft. `item` names it in the request and in the answer."""

    path: Path
    kind: MediaKind
    item: str = ""

    def __post_init__(self) -> None:
        if not self.item:
            object.__setattr__(self, "item", item_name(self.path))

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where it can't be told, so that reading it tells what is wrong."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


@dataclass(slots=True)
class Found:
    """What lay under the paths, in the order of the paths and sorted inside each folder. `skipped` counts by reason."""

    files: list[MediaFile] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def keep(self, kind: MediaKind) -> None:
        """Skip the files of the other kind."""
        other = {"image": "recording", "audio": "image"}[kind]
        self.skipped[other] += sum(file.kind != kind for file in self.files)
        self.files = [file for file in self.files if file.kind == kind]
        self.skipped = +self.skipped  # without zeros


def item_name(path: Path) -> str:
    """Return the name of a file as an item: its path, also where that is not UTF-8, which can't go over the wire as it is."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def media_kind(path: Path) -> MediaKind | None:
    """Tell by its name whether a file holds an image or sound; None: neither."""
    suffix = path.suffix.lower()
    return "image" if suffix in _IMAGES else "audio" if suffix in _AUDIO else None


def find_media(paths: Iterable[Path]) -> Found:
    """Return the media files under the paths, folders with all that is in them, hidden files apart. A file named twice is one item.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    found, seen = Found(), set[Path]()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        for file in _walk(path, found) if path.is_dir() else [path]:
            kind = media_kind(file)
            if kind is None:
                found.skipped["neither image nor recording"] += 1
            elif file not in seen:
                seen.add(file)
                found.files.append(MediaFile(file, kind))
    return found


def _walk(folder: Path, found: Found) -> Iterator[Path]:
    def unreadable(_error: OSError) -> None:
        found.skipped["folder that can't be read"] += 1

    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def batches(entries: Iterable[T], items: int, most_bytes: float = math.inf) -> Iterator[list[T]]:
    """Cut the entries, in order, into batches of at most `items` and `most_bytes`; a larger file is a batch of its own."""
    batch = Batch[T](items, most_bytes)
    for entry in entries:
        if (full := batch.add(entry)) is not None:
            yield full
    if batch.held:
        yield batch.held


class Batch(Generic[T]):
    """Gathers entries, of which some have a size, until they are enough for a request."""

    def __init__(self, items: int, most_bytes: float) -> None:
        self.held: list[T] = []
        self._items, self._most_bytes, self._bytes = items, most_bytes, 0

    def add(self, entry: T) -> list[T] | None:
        """Take an entry, and return those before it where it does not fit with them."""
        size, full = int(getattr(entry, "size", 0)), None
        if self.held and (len(self.held) >= self._items or self._bytes + size > self._most_bytes):
            full, self.held, self._bytes = self.held, [], 0
        self.held.append(entry)
        self._bytes += size
        return full
