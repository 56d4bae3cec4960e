"""Packs a labelled folder into an archive to upload. The same folder makes the same bytes, so that it is uploaded once."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from client.errors import BadOption
from client.uploads import Progress, unheard

LABELS = ("annotations.json", "labels.csv", "transcripts.csv")
_TEXTS = (".json", ".csv", ".txt", ".yaml", ".yml", ".md")  # media is compressed already
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 2**20


def pack(folder: Path, archive: Path, progress: Progress = unheard) -> None:
    """Write the folder's files into a zip archive, hidden ones apart.

    Raises:
        BadOption: it is no labelled folder.
        OSError: a file can't be read, or the archive can't be written.
    """
    if not folder.is_dir():
        raise BadOption(f"{folder} is no folder")
    if not any((folder / name).is_file() for name in LABELS):
        kinds = "annotations.json (COCO boxes), labels.csv (classes) or transcripts.csv (speech)"
        raise BadOption(f"{folder} is no labelled folder: it needs {kinds}")
    files = list(_files(folder))
    with zipfile.ZipFile(archive, "w", allowZip64=True) as written:
        for number, path in enumerate(files, 1):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if path.suffix.lower() in _TEXTS else zipfile.ZIP_STORED
            with path.open("rb") as source, written.open(info, "w", force_zip64=path.stat().st_size > 2**31) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
            progress("packing", number / len(files))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path
