"""Where the files of items go: under the item's own path, and never outside the folder, whatever an item is called."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]')
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://([^?#]*)", re.IGNORECASE)
_LONGEST = 180  # bytes of a name, which may have 255


class Places:
    """Gives each item a path of its own. `renamed` counts those that an item's path did not do for: a tool won't find them by name."""

    def __init__(self, suffix: str) -> None:
        self.renamed = 0
        self._suffix = suffix
        self._files = set[str]()
        self._folders = set[str]()

    def of(self, item: str) -> PurePosixPath:
        """Return the path of an item's file, such as `a/b.txt` for `a/b.jpg`; of an address, under its host and path."""
        address = _ADDRESS.match(item)
        wanted = (address[1] if address else item).lstrip("/")
        kept = PurePosixPath(*_parts(wanted)) if _parts(wanted) else None
        path = None if kept is None else _named(kept, self._suffix)
        if kept is None or path is None or kept.as_posix() != wanted or not self._free(path):
            self.renamed += 1
            known = hashlib.sha256(item.encode(errors="surrogatepass")).hexdigest()[:16]
            path = PurePosixPath(f"{kept.stem if kept else 'item'}-{known}{self._suffix}")
        self._take(path)
        return path

    def _free(self, path: PurePosixPath) -> bool:
        """Tell whether nothing else has the path, also where capitals are not told apart, and none of its folders is a file."""
        folders = [parent.as_posix().casefold() for parent in path.parents]
        name = path.as_posix().casefold()
        return name not in self._files and name not in self._folders and self._files.isdisjoint(folders)

    def _take(self, path: PurePosixPath) -> None:
        self._files.add(path.as_posix().casefold())
        self._folders.update(parent.as_posix().casefold() for parent in path.parents)


def made(folder: Path, path: PurePosixPath) -> Path:
    """Return where a file goes, with the folders above it made."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def write(folder: Path, path: PurePosixPath, text: str) -> None:
    """Write a file under a folder."""
    made(folder, path).write_text(text, encoding="utf-8", errors="replace", newline="")


def _parts(item: str) -> list[str]:
    return [_part(part) for part in item.split("/") if part not in ("", ".")]


def _part(name: str) -> str:
    name = _NOT_IN_NAMES.sub("_", name)
    name = name.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    return "_" if name.strip(".") == "" else name


def _named(path: PurePosixPath, suffix: str) -> PurePosixPath:
    return path.with_name(path.stem + suffix)
