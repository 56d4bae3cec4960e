"""What a built-in model is made of: an archive from the package index, pinned by hash, and the conversion of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from candor.families import Adopted
from candor.predictions import Task


@dataclass(frozen=True)
class Member:
    """One file inside an archive."""

    path: str
    sha256: str
    size: int  # bytes

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.name or "\\" in self.path:
            raise ValueError(f"a member's path stays inside its archive: {self.path!r}")

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Archive:
    """One file of a package on the index, a wheel (zip) or an sdist (tar), and the members that are wanted of it."""

    package: str
    version: str
    filename: str
    sha256: str
    size: int  # bytes
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"two members of {self.filename} have the same file name")
        if PurePosixPath(self.filename).name != self.filename:
            raise ValueError(f"an archive's file name has no folders: {self.filename!r}")


@dataclass(frozen=True)
class Recipe:
    """One built-in model. `convert` turns the members, by name, into the artifact's files in an empty folder.

    `files` pins what the conversion must write and `labels_sha256` the label set, one label a line, so that the model's version is
    the same on every machine.
    """

    name: str
    task: Task
    family: str
    archive: Archive
    files: Mapping[str, str]
    labels_sha256: str
    convert: Callable[[Mapping[str, Path], Path], Adopted]
    notes: str
