"""Writes files that appear whole at the end, or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class Replacing:
    """A file that nobody sees yet. `appear` puts it where it is wanted; without that, what was there stays as it was."""

    file: IO[str]
    appear: Callable[[], None]


@contextmanager
def replacing(path: Path | None) -> Iterator[Replacing]:
    """Open what is to be a file, or the text on standard output.

    Raises:
        OSError: it can't be written there.
    """
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "newline": ""}
    if path is None:
        with tempfile.TemporaryFile("w+", **options) as file:
            yield Replacing(file, lambda: _show(file))
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name[:40]}.", delete=False, **options) as named:
        beside = Path(named.name)
        try:
            os.fchmod(named.fileno(), 0o644)
            yield Replacing(named, lambda: _put(named, beside, path))
        finally:
            beside.unlink(missing_ok=True)


def _show(file: IO[str]) -> None:
    file.seek(0)
    shutil.copyfileobj(file, sys.stdout)


def _put(file: Any, beside: Path, path: Path) -> None:
    file.flush()
    os.replace(beside, path)
