"""Unpack an uploaded archive of a labelled folder, which is hostile until shown otherwise."""

from __future__ import annotations

from pathlib import Path

from candor.errors import InvalidRequest
from models.safety import archives
from models.safety.archives import ArchiveLimits
from serving.evaluation.examples import FILES


def unpack(data: bytes, folder: Path, limits: ArchiveLimits | None = None) -> Path:
    """Unpack a zip or tar archive (also .gz, .bz2, .xz) into an empty folder.

    Returns:
        The labelled folder in it: `folder` itself, or the one folder that the archive holds.

    Raises:
        InvalidRequest: no such archive, a broken one, a member that is no plain file inside it, or no labels in it.
        MediaTooLarge: more files or bytes than it may unpack to.
        StorageUnavailable: the disk is full or can't be written.
    """
    archives.unpack(data, folder, limits)
    return _root(folder)


def _root(folder: Path) -> Path:
    """Return where the labels lie: here, or in the one folder that there is."""
    names = tuple(FILES.values())
    if any((folder / name).is_file() for name in names):
        return folder
    inner = [path for path in folder.iterdir() if path.is_dir() and path.name != "__MACOSX" and not path.name.startswith(".")]
    if len(inner) == 1 and any((inner[0] / name).is_file() for name in names):
        return inner[0]
    raise InvalidRequest(f"the archive holds no labelled folder: one of {', '.join(names)} must lie at its top, or in its one folder")
