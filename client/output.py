"""Writes drafts as JSON, whole or not at all, or as JSON lines, each as soon as it is there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol


class Format(StrEnum):
    """How drafts are written."""

    json = "json"
    jsonl = "jsonl"


class Output(Protocol):
    """Takes drafts one after another."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """Take one."""


class _Lines:
    def __init__(self, file: IO[str], replace: bool) -> None:
        self._file = file
        self._replace = replace

    def write(self, entry: Mapping[str, Any]) -> None:
        if self._replace:
            self._file.truncate(0)
            self._replace = False
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()


class _Kept:
    def __init__(self) -> None:
        self.entries: list[Mapping[str, Any]] = []

    def write(self, entry: Mapping[str, Any]) -> None:
        self.entries.append(entry)


@contextmanager
def opened(path: Path | None, how: Format) -> Iterator[Output]:
    """Open standard output, or a file, for drafts. What was taken is written also where an error or Ctrl-C ends the work early.

    A JSON file is replaced in one step at the end, so that nobody ever reads half of one. Where nothing was taken, an earlier file
    stays as it was.

    Raises:
        OSError: the file can't be written; told before the work, not after.
    """
    if how is Format.jsonl:
        with _file(path) as file:
            yield _Lines(file, replace=path is not None)
        return
    kept = _Kept()
    with _replacing(path, kept) as file:
        try:
            yield kept
        finally:
            if kept.entries:
                json.dump(kept.entries, file, ensure_ascii=False, indent=2)
                file.write("\n")


@contextmanager
def _file(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        yield file


@contextmanager
def _replacing(path: Path | None, kept: _Kept) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            os.fchmod(file.fileno(), 0o644)
            yield file
        finally:
            file.flush()
            if kept.entries:
                os.replace(file.name, path)
            else:
                os.unlink(file.name)
